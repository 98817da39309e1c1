"""``mindefense doctor``: everything right here, and each thing that can be wrong, made wrong."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mindefense import doctor
from mindefense.doctor import OK, PACKAGES, PROBLEM, WARNING, Finding
from mindefense.reports.checkup import conclusion, print_findings

SETUP = (Path(__file__).parent.parent / "setup.py").read_text(encoding="utf-8")


def examine(*argv, cwd, path=(), **variables):
    """Exit code, findings by name, what else is on stderr; folders come before other packages."""
    environment = {name: value for name, value in os.environ.items() if name != "MINDEFENSE_DATA"} | variables
    environment["PYTHONPATH"] = os.pathsep.join([*map(str, path), *filter(None, sys.path)])
    run = subprocess.run(
        [sys.executable, "-m", "mindefense", "doctor", "--json", *map(str, argv)],
        capture_output=True, text=True, cwd=cwd, env=environment,
    )  # fmt: skip
    held = json.loads(run.stdout)
    findings = {found["name"]: Finding(**found) for found in held["findings"]}
    assert len(findings) == len(held["findings"])
    assert held["fit"] == (run.returncode == 0)
    for_people = io.StringIO()
    print_findings(list(findings.values()), file=for_people)
    return run.returncode, findings, run.stderr.replace(for_people.getvalue(), "")


def install(folder, name, version):
    """What pip leaves of a package, as far as versions go."""
    room = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    room.mkdir(parents=True)
    (room / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def package(folder, name, code):
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)


def test_all_is_right_here(tmp_path):
    code, findings, stderr = examine(cwd=tmp_path)
    assert (code, stderr) == (0, "")
    assert [name for name, found in findings.items() if found.state == PROBLEM] == []
    assert list(findings)[: 1 + len(PACKAGES)] == ["python", *PACKAGES]
    assert {*doctor.IMPORTS, "Ascend", "GPU", "CPU", "msrun", "cores", "memory", "data", "results"} <= findings.keys()
    assert findings["CPU"].found == "computes a product and a sort correctly"
    assert findings["data"].state == WARNING
    assert str(tmp_path) in findings["results"].found
    assert list(tmp_path.iterdir()) == []


def test_all_is_wrong(tmp_path):
    """NumPy cannot be imported, MindSpore crashes, versions do not fit, nothing can be written: it still says so."""
    fakes, data = tmp_path / "fakes", tmp_path / "data"
    data.mkdir()
    for name, version in (("numpy", "2.1.0"), ("scikit-learn", "1.10.0"), ("mindspore", "2.9.0")):
        install(fakes, name, version)
    package(fakes, "numpy", "raise ImportError('numpy is broken')")
    package(fakes, "mindspore", "import os; os.abort()")
    code, findings, stderr = examine("--data_path", data, cwd="/proc", path=[fakes], PATH="")
    assert (code, stderr) == (1, "")
    assert {name: found.state for name, found in findings.items() if found.state != OK} == {
        "mindspore": WARNING,
        **dict.fromkeys(["numpy", "scikit-learn", *doctor.IMPORTS, "devices", "data", "results"], PROBLEM),
    }
    assert "numpy is broken" in findings["import of scikit-learn"].found
    assert "signal 6" in findings["import of mindspore"].found
    assert "numpy is broken" in findings["data"].found
    assert "cannot write" in findings["results"].found
    assert all(found.fix for found in findings.values() if found.state != OK)


# ------------------------------------------------------------------------------------------------------------ versions

VERSIONS = [
    ("numpy", "1.26.4", OK, ""),
    ("numpy", "1.26", OK, ""),
    ("numpy", "1.25.2", PROBLEM, "older than required, >=1.26,<2"),
    ("numpy", "2", PROBLEM, "mindspore.dataset"),
    ("numpy", "2.0.0", PROBLEM, "mindspore.dataset"),
    ("numpy", "2.4.1", PROBLEM, "mindspore.dataset"),
    ("mindspore", "2.7.1", OK, ""),
    ("mindspore", "2.8.0rc1", OK, ""),
    ("mindspore", "2.7.0", PROBLEM, "older"),
    ("mindspore", "2.9.0", WARNING, "Conv2d"),
    ("mindspore", "2.10.0", WARNING, "Conv2d"),
    ("scikit-learn", "1.9.1", OK, ""),
    ("scikit-learn", "1.10.0", PROBLEM, "penalty"),
    ("scikit-learn", "1.3.2", PROBLEM, "older"),
    ("scipy", "1.11.0", OK, ""),
    ("scipy", "1.9.3", PROBLEM, "older"),
    ("mindarmour", "2.0.1", OK, ""),
    ("mindarmour", "1.9.0", PROBLEM, "older"),
    ("mindarmour", "2.1.0", PROBLEM, "newer"),
]


@pytest.mark.parametrize(("name", "version", "state", "word"), VERSIONS)
def test_versions(name, version, state, word, tmp_path, monkeypatch):
    install(tmp_path, name, version)
    monkeypatch.syspath_prepend(tmp_path)
    found = doctor.check_package(name)
    assert (found.name, found.state) == (name, state)
    assert found.found.startswith(version)
    assert word in found.found
    wanted = f'python -m pip install "{name}{PACKAGES[name].versions}"'
    assert found.fix == (None if state == OK else wanted + (' "numpy>=1.26,<2"' if name != "numpy" else ""))


def test_a_package_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert doctor.check_package("scipy") == Finding(
        "scipy", PROBLEM, "not installed", 'python -m pip install "scipy>=1.11" "numpy>=1.26,<2"'
    )


def test_what_is_wanted_is_what_setup_asks_for():
    wanted = re.search(r"install_requires=\[(.*?)\]", SETUP, re.DOTALL).group(1)
    assert set(re.findall(r'"([\w-]+[<>=][^"]*)"', wanted)) == {
        f"{name}{needed.versions}" for name, needed in PACKAGES.items()
    }
    first, beyond = (".".join(map(str, version)) for version in doctor.PYTHON)
    assert f'python_requires=">={first},<{beyond}"' in SETUP


@pytest.mark.parametrize(("version", "state"), [((3, 9, 1), PROBLEM), ((3, 10, 0), OK), ((3, 12, 9), OK),
                                                ((3, 13, 0), PROBLEM)])  # fmt: skip
def test_python(version, state, monkeypatch):
    monkeypatch.setattr(sys, "version_info", version)
    assert doctor.check_python().state == state


# ------------------------------------------------------------------------------------------------------------- imports

# A package that stands in front of the real one, what it does → title → words of what is found, of what to do.
BROKEN = {
    "not there": ("sklearn", "raise ModuleNotFoundError('No module named \\'sklearn\\'')", "import of scikit-learn",
                  "ModuleNotFoundError: No module named 'sklearn'", "reinstall them"),
    "crashes": ("scipy", "import os; os.kill(os.getpid(), 11)", "import of scikit-learn", "signal 11", "reinstall"),
    "leaves": ("scipy", "raise SystemExit(3)", "import of scikit-learn", "code 3", "reinstall"),
    "chatters": ("scipy", "print('mindefensive', flush=True)\nraise OSError('what\\na mess')", "import of scikit-learn",
                 "OSError: what", "reinstall"),
    "no libGL": ("cv2", "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')",
                 "import of mindarmour", "the system has no libGL.so.1", "apt-get install libgl1, or"),
    "no libglib": ("sklearn", "raise ImportError('libgthread-2.0.so.0: cannot open shared object file: No such file')",
                   "import of scikit-learn", "no libgthread-2.0.so.0", "apt-get install libglib2.0-0, or"),
    "no library, for real": ("sklearn", "import ctypes; ctypes.CDLL('libnowhere.so.7')", "import of scikit-learn",
                             "the system has no libnowhere.so.7", "install the package that contains libnowhere.so.7"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "code", "title", "found", "fix"), BROKEN.values(), ids=BROKEN)
def test_imports_that_fail(name, code, title, found, fix, tmp_path, monkeypatch, capfd):
    package(tmp_path, name, code)
    monkeypatch.syspath_prepend(tmp_path)
    finding = doctor.check_import(title)
    assert finding.state == PROBLEM
    assert found in finding.found
    assert fix in finding.fix
    assert capfd.readouterr() == ("", "")


def test_an_import_that_hangs(tmp_path, monkeypatch):
    package(tmp_path, "scipy", "import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "_TIMEOUT", 0.5)
    assert doctor.check_import("import of scikit-learn").found == "no answer within 0.5 s"


def test_what_went_wrong_inside_pages_of_mindspore(monkeypatch):
    pages = "raise RuntimeError('Exception thrown.\\n---\\nTraceback\\n  File\\nValueError: no copy\\n---\\nC++')"
    monkeypatch.setitem(doctor.IMPORTS, "mindspore.dataset", pages)
    assert doctor.check_import("mindspore.dataset").found == "ValueError: no copy"


# ------------------------------------------------------------------------------------------------------------- devices


@pytest.mark.parametrize(
    ("tried", "states"),
    [
        ({"CPU": None}, [OK, OK, OK]),
        ({"Ascend": None, "GPU": "no driver", "CPU": None}, [OK, WARNING, OK]),
        ({"CPU": "a wrong sort"}, [OK, OK, PROBLEM]),
    ],
)
def test_devices(tried, states, monkeypatch):
    monkeypatch.setattr(doctor, "_DEVICES", f"print('mindefense: ' + {json.dumps(tried)!r})")
    findings = doctor.check_devices()
    assert [(found.name, found.state) for found in findings] == list(zip(("Ascend", "GPU", "CPU"), states, strict=True))
    for found in findings:
        assert found.found == (tried[found.name] or "computes a product and a sort correctly" if found.name in tried
                               else "MindSpore finds none")  # fmt: skip
        assert (found.fix is None) == (found.state == OK)


def test_devices_that_could_not_be_tried(monkeypatch):
    monkeypatch.setattr(doctor, "_DEVICES", "raise SystemExit(1)")
    (found,) = doctor.check_devices()
    assert (found.name, found.state) == ("devices", PROBLEM)
    assert "code 1" in found.found


# --------------------------------------------------------------------------------------------------- the machine, data


def test_msrun(tmp_path, monkeypatch):
    launcher = tmp_path / "msrun"
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert doctor.check_msrun().state == WARNING
    launcher.write_text("")
    assert (doctor.check_msrun().state, doctor.check_msrun().found.split(",")[1]) == (OK, " which is not on the PATH")
    launcher.chmod(0o755)
    assert doctor.check_msrun() == Finding("msrun", OK, str(launcher))


@pytest.mark.parametrize(
    ("total", "free", "limit", "used", "state", "found"),
    [
        (16, 8, None, None, OK, "8.0 of 16.0 GiB free"),
        (16, 1, None, None, WARNING, "1.0 of 16.0 GiB free"),
        (16, 8, 4, 3, WARNING, "1.0 of 4.0 GiB free"),
        (16, 8, 4, 1, OK, "3.0 of 4.0 GiB free"),
        (16, 8, "max", 1, OK, "8.0 of 16.0 GiB free"),
        (None, None, None, None, OK, "unknown"),
    ],
)
def test_memory(total, free, limit, used, state, found, tmp_path):
    if total is not None:
        (tmp_path / "meminfo").write_text(f"MemTotal: {total << 20} kB\nMemAvailable:   {free << 20} kB\nHuge(a): 1\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text("max\n" if limit == "max" else f"{limit << 30}\n")
        (tmp_path / "memory.current").write_text(f"{used << 30}\n")
    finding = doctor.check_memory(proc=str(tmp_path / "meminfo"), limits=str(tmp_path))
    assert finding.state == state
    assert found in finding.found
    assert (finding.fix is None) == (state == OK)


def test_the_machine_that_this_is():
    assert re.fullmatch(r"\d+ of \d+", doctor.check_cores().found)
    assert "GiB free" in doctor.check_memory().found


def images(folder):
    folder.mkdir(parents=True)
    for part, count in (("train", 3), ("test", 2)):
        (folder / f"{part}.bin").write_bytes(np.zeros((count, 3074), np.uint8).tobytes())


def damaged(folder):
    folder.mkdir(parents=True)
    (folder / "dataset_location.tgz").write_bytes(b"\x1f\x8b no more")


# What makes a folder → name, state and words of each finding.
FOLDERS = {
    "nowhere": (lambda folder: None, [("data", PROBLEM, "which does not exist")]),
    "empty": (lambda folder: folder.mkdir(), [("data", WARNING, "without a known data set")]),
    "a file": (lambda folder: folder.write_text("x"), [("data", OK, "a file, which is not read; name its")]),
    "images": (images, [("data: cifar100", OK, "5 rows, 100 classes")]),
    "folder of images": (lambda folder: images(folder / "mine"), [("data: cifar100", OK, "mine: 5 rows")]),
    "release of images": (lambda folder: images(folder / "cifar-100-binary"), [("data: cifar100", OK, "5 rows")]),
    "damaged": (damaged, [("data: location", PROBLEM, "mindefense download location")]),
    "both": (lambda folder: (damaged(folder / "a"), images(folder / "b")),
             [("data: location", PROBLEM, "damaged"), ("data: cifar100", OK, "5 rows")]),
}  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize("by", ["--data_path", "MINDEFENSE_DATA"])
def test_data(make, expected, by, tmp_path, monkeypatch):
    folder = tmp_path / "data"
    make(folder)
    monkeypatch.setenv("MINDEFENSE_DATA", str(folder if by == "MINDEFENSE_DATA" else tmp_path / "elsewhere"))
    findings = doctor.check_data(None if by == "MINDEFENSE_DATA" else str(folder))
    assert [(found.name, found.state) for found in findings] == [(name, state) for name, state, _ in expected]
    for found, (_, _, words) in zip(findings, expected, strict=True):
        assert words in found.found
        if "not there" in words:
            assert by in found.found


def test_data_that_nobody_named(monkeypatch):
    monkeypatch.delenv("MINDEFENSE_DATA", raising=False)
    (found,) = doctor.check_data()
    assert (found.state, found.fix) == (WARNING, "mindefense download location --to data/location")


def test_real_data(data_root):
    assert "data: location" in {found.name for found in doctor.check_data(str(data_root)) if found.state == OK}


@pytest.mark.parametrize("folder", ["/proc", "file", "file/below"])
def test_where_nothing_can_be_written(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    found = doctor.check_folder(folder)
    assert found.state == PROBLEM
    assert found.found.startswith(f"cannot write {Path(folder).resolve()}/.writable: ")
    assert "--out DIR" in found.fix


def test_a_folder_that_was_removed(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert doctor.check_folder(os.curdir).state == PROBLEM


def test_little_room(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_LITTLE_DISK", 1 << 80)
    assert doctor.check_folder(tmp_path).state == WARNING


# -------------------------------------------------------------------------------------------------------------- screen

FINDINGS = [Finding("a", OK, "fine"), Finding("b", WARNING, "slow [x]", "wait"), Finding("c", PROBLEM, "bad", "mend")]
LINES = "ok       a: fine\nwarning  b: slow [x] → wait\nproblem  c: bad → mend\n"
LAST = "something will not work: 1 problem, 1 warning\n"


@pytest.mark.parametrize("has_rich", [True, False])
def test_elsewhere_than_on_a_terminal(has_rich, capsys, monkeypatch):
    if not has_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    print_findings(FINDINGS)
    assert capsys.readouterr().out == LINES + LAST


def test_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    print_findings(FINDINGS)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line.split() for line in plain.splitlines()] == [
        ["ok", "a", "fine"], ["warning", "b", "slow", "[x]"], ["→", "wait"], ["problem", "c", "bad"], ["→", "mend"],
        LAST.split(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("states", "said"),
    [
        ([OK], "everything needed is installed and compatible"),
        ([WARNING, WARNING], "everything needed is installed and compatible: 2 warnings"),
        ([PROBLEM, PROBLEM, WARNING], "something will not work: 2 problems, 1 warning"),
    ],
)
def test_the_last_line(states, said):
    assert conclusion([Finding("x", state, "") for state in states]) == said
