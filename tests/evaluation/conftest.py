import json
import subprocess
import sys
from pathlib import Path

import pytest

import mindefense  # noqa: F401  sets MindSpore's log level
from mindefense import cli

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "location_defense.py"


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


@pytest.fixture(scope="session")
def at_once(tmp_path_factory):
    """The folder of the same smoke test, done by the example in a process of its own."""
    # tests/test_examples.py looks at the same folder, so that one run serves both.
    out = tmp_path_factory.getbasetemp() / "example" / "out"
    if not out.exists():
        run = subprocess.run([sys.executable, EXAMPLE, "--smoke", "--out", out], capture_output=True, text=True)
        (out.parent / "run.json").write_text(json.dumps([run.returncode, run.stdout, run.stderr]))
    return out
