"""Importing the package is silent and quick, and everything it names is there."""

import json
import subprocess
import sys

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


def test_names():
    assert len(set(mindefense.__all__)) == len(mindefense.__all__)
    assert dir(mindefense) == sorted(mindefense.__all__)
    for name in ("nothing", "__path_of_nothing__"):
        with pytest.raises(AttributeError, match=f"module 'mindefense' has no attribute '{name}'"):
            getattr(mindefense, name)
