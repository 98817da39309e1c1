"""Importing the package is silent and quick, and everything it names is there."""

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mindefense


def in_a_process_of_its_own(code, *options):
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False)


def test_import_is_silent_and_light():
    run = in_a_process_of_its_own(
        "import sys, mindefense\n"
        "heavy = {'numpy', 'mindspore', 'mindarmour', 'scipy', 'sklearn', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)",
        "-Wdefault",
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def everything():
    """What a process says that uses every name and meets MindArmour, where sleeping is an error."""
    run = in_a_process_of_its_own(
        "import json, logging, sys, time\n"
        "def sleep(seconds): raise AssertionError(f'slept {seconds} s')\n"
        "time.sleep = sleep\n"
        "before = list(logging.getLogger().handlers)\n"
        "import mindefense\n"
        "missing = [name for name in mindefense.__all__ if not hasattr(mindefense, name)]\n"
        "lazy = 'mindarmour' not in sys.modules\n"
        "from mindefense.attacks import mindarmour\n"
        "import mindspore\n"
        "version = mindspore.__version__\n"
        "inference = mindarmour._new_inference(n_jobs=1)\n"
        "handlers = [repr(h) for h in logging.getLogger().handlers if h not in before]\n"
        "print(json.dumps({'missing': missing, 'lazy': lazy, 'handlers': handlers, 'kind': type(inference).__name__,\n"
        "                  'version': version == mindspore.__version__, 'imported': 'mindarmour' in sys.modules}))\n"
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout), run.stderr


def test_every_name_is_there(everything):
    assert everything[0]["missing"] == []


def test_mindarmour_comes_late_and_quietly(everything):
    said, noise = everything
    assert said["lazy"]
    assert (said["imported"], said["kind"]) == (True, "MembershipInference")
    assert said["handlers"] == []
    assert said["version"]
    assert noise == ""


PACKAGES = [name for _, name, is_package in pkgutil.walk_packages(mindefense.__path__, "mindefense.") if is_package]


@pytest.mark.parametrize("name", ["mindefense", *PACKAGES])
def test_a_package_that_loads_names_late_lists_them(name):
    package = importlib.import_module(name)
    if not hasattr(package, "__getattr__"):
        assert "__dir__" not in vars(package)
        return
    assert dir(package) == sorted(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    for one in package.__all__:
        assert hasattr(package, one), one
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        getattr(package, "nothing")  # noqa: B009  not by a name that a linter would know


def test_types_are_told_to_checkers_of_those_who_install_it():
    root = Path(mindefense.__file__).parent
    assert (root / "py.typed").read_bytes() == b""
    (data,) = re.findall(r'"mindefense": (\[.*?\])', (root.parent / "setup.py").read_text(encoding="utf-8"))
    assert "py.typed" in json.loads(data)


def test_names():
    assert len(set(mindefense.__all__)) == len(mindefense.__all__)
    assert dir(mindefense) == sorted(mindefense.__all__)
    for name in ("nothing", "__path_of_nothing__"):
        with pytest.raises(AttributeError, match=f"module 'mindefense' has no attribute '{name}'"):
            getattr(mindefense, name)
