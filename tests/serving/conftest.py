"""Exported graphs of a small network behind every kind of defense."""

import functools
import sys
from pathlib import Path

import pytest
from toy_graphs import BATCH, CLASSES

import mindefense  # noqa: F401  sets MindSpore's log level

sys.path.append(str(Path(__file__).parent.parent / "defenses"))  # where the toys are


@pytest.fixture(scope="session")
def net():
    from mindefense.models import MLP

    return MLP((6, 16, CLASSES), seed=3)


@pytest.fixture(scope="session")
def defense_of():
    """Name of a toy → the defense, ``bare`` → None."""
    from toy_defenses import BASELINES, SEARCHES

    makers = {**BASELINES, **SEARCHES, "bare": lambda _: None}
    return functools.cache(lambda name: makers[name](CLASSES))


@pytest.fixture(scope="session")
def exported(net, defense_of, tmp_path_factory):
    """Name of a toy, and batch size → where its graph lies."""
    from mindefense.serving import export_guarded

    @functools.cache
    def export(name, batch_size=BATCH):
        path = tmp_path_factory.mktemp("graph") / "guarded"
        export_guarded(net, defense_of(name), path, input_shape=(6,), batch_size=batch_size)
        return path

    return export
