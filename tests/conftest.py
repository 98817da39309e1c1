"""What all tests share: the folder of real data, the golden vectors in it, a place to work in, a study that is done."""

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mindefense  # noqa: F401  sets MindSpore's log level, which must happen before anybody imports mindspore
from mindefense import cli

EXAMPLE = Path(__file__).parent.parent / "examples" / "location_defense.py"

if "PYTEST_XDIST_WORKER" in os.environ:
    # Every core has a process of the tests already: others would take longer to start than small grids take, and
    # threads of MindSpore that wait for work would keep a core from the other processes.
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several processes, the tests of a file stay in one, since they share what takes long.

    So do the blocks of a page, with the tests of that page.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFileOrPage(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return scope_of(nodeid)

    return ByFileOrPage(config, log)


def scope_of(nodeid):
    """What has to stay in one process with a test: a page of the documentation, or else a file."""
    file, _, test = nodeid.partition("::")
    if block := re.match(r"test_block_runs\[(.+\.md):", test):
        return block[1]
    if page := re.fullmatch(r".*docs/test_(.+)_page\.py", file):
        return "README.md" if page[1] == "readme" else f"docs/{page[1]}.md"
    return file


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Makes a folder once for all processes: its name, and what makes it if it is not there."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def folder_of(name, make):
        folder = root / name
        with (root / f"{name}.lock").open("a+") as done:
            fcntl.flock(done, fcntl.LOCK_EX)
            done.seek(0)
            if not done.read():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                done.write("done")
        return folder

    return folder_of


@pytest.fixture(scope="session")
def example_run(made_once):
    """The folder of a smoke test of examples/location_defense.py: ``out``, and ``run.json`` with code and streams."""

    def make(folder):
        typed = [sys.executable, EXAMPLE, "--smoke", "--out", folder / "out"]
        run = subprocess.run(typed, capture_output=True, text=True, check=False)
        (folder / "run.json").write_text(json.dumps([run.returncode, run.stdout, run.stderr]))

    return made_once("example", make)


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


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, in a process that runs on the CPU."""
    import mindspore as ms

    # Other tests may have run something in this process, after which MindSpore lets nobody choose a device.
    monkeypatch.setattr(ms, "set_device", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def staged(made_once, on_the_cpu, tmp_path_factory):
    """The folder of a smoke test on the synthetic data, done a command at a time; a copy for this process."""

    def make(folder):
        for command in ("train --smoke", "train-shadow", "train-shadows", "train-defender", "defend", "evaluate"):
            name, *options = command.split()
            assert cli.main([name, "--out", str(folder / "out"), *options]) == 0

    return shutil.copytree(made_once("staged-once", make) / "out", tmp_path_factory.mktemp("staged") / "out")
