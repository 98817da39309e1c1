"""What all tests share: the folder of real data, the golden vectors in it, and a study that is done."""

import os
from pathlib import Path

import numpy as np
import pytest

import mindefense  # noqa: F401  sets MindSpore's log level, which must happen before anybody imports mindspore
from mindefense import cli

if "PYTEST_XDIST_WORKER" in os.environ:
    # Every core has a process of the tests already, and starting others takes longer than small grids do.
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

LONG = (
    *("distributed/", "docs/test_pages", "docs/test_readme_page", "study/", "test_examples", "docs/", "serving/"),
    *(
        "test_cli_json",
        "test_docs_site",
        "test_training",
        "attacks/test_thresholds",
        "reports/",
        "evaluation/",
        "defenses/",
    ),
)
"""Parts of the names of tests that take long, the longest first."""


def pytest_collection_modifyitems(config, items):
    """What takes longest comes first where there are several processes, or one process works on it alone at the end."""
    if config.pluginmanager.hasplugin("xdist"):
        items.sort(key=lambda item: next((k for k, name in enumerate(LONG) if name in item.nodeid), len(LONG)))


@pytest.fixture(scope="session")
def data_root():
    """The folder with real data and published outputs."""
    root = os.environ.get("MINDEFENSE_DATA")
    if not root:
        pytest.skip("MINDEFENSE_DATA is not set: it must name the folder that holds golden/ and location/")
    if not Path(root).is_dir():
        pytest.skip(f"MINDEFENSE_DATA names {root}, which is no folder")
    return Path(root)


@pytest.fixture(scope="session")
def golden(data_root):
    """Name → arrays of a golden file, and under ``layers`` the defender's weights in it."""

    def load(name):
        path = data_root / "golden" / f"{name}.npz"
        if not path.is_file():
            pytest.skip(f"{path} is missing: the published outputs are not in MINDEFENSE_DATA")
        with np.load(path) as held:
            arrays = dict(held)
        arrays["layers"] = [(arrays[f"W{k}"], arrays[f"b{k}"]) for k in (1, 2, 3, 4)]
        return arrays

    return load


@pytest.fixture(scope="session")
def on_the_cpu():
    """Lets the command line run in this process, in which other tests may have run something before."""
    import mindspore as ms

    with pytest.MonkeyPatch.context() as patch:
        # After anything has run, MindSpore lets nobody choose a device.
        patch.setattr(ms, "set_device", lambda *_: None)
        yield


@pytest.fixture(scope="session")
def staged(tmp_path_factory, on_the_cpu):
    """The folder of a smoke test on the synthetic data, done a command at a time."""
    out = tmp_path_factory.mktemp("staged") / "out"
    for command in ("train --smoke", "train-shadow", "train-defender", "defend", "evaluate"):
        name, *options = command.split()
        assert cli.main([name, "--out", str(out), *options]) == 0
    return out
