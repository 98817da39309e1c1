"""Checks of the installation: packages, devices, resources and data, with advice on what to do.

The checks work even if MindSpore, or another checked package, cannot be imported. Imports are tried in separate
processes, because some of them crash.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from mindefense.errors import DataError, MindefenseError
from mindefense.files import check_writable
from mindefense.subprocesses import SAYS, NoAnswer, ask_child

OK, WARNING, PROBLEM = "ok", "warning", "problem"
PYTHON = ((3, 10), (3, 13))
"""The first version of Python with MindSpore wheels, and the first later version without."""
_TIMEOUT = 180.0
"""Time limit in seconds for one import, which is long because of slow disks."""
_DEVICES_TIMEOUT = 600.0
"""Time limit in seconds for all devices together; each may take three minutes."""
_GIB = 1 << 30
_LITTLE_MEMORY, _LITTLE_DISK = 2 * _GIB, 1 * _GIB


@dataclasses.dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: What was checked.
        state: `OK`, `WARNING` (something is slow, missing or unusual) or `PROBLEM` (something will not work).
        found: What was found.
        fix: What to do; None if nothing needs to be done.
    """

    name: str
    state: str
    found: str
    fix: str | None = None


@dataclasses.dataclass(frozen=True)
class Needed:
    """The versions of a package that are known to work.

    Attributes:
        versions: Version specifier in pip's format.
        otherwise: What is wrong with newer versions.
        state: State of the finding for a newer version.
    """

    versions: str
    otherwise: str = "newer than the tested versions"
    state: str = PROBLEM


PACKAGES = {
    "mindspore": Needed(">=2.7.1,<2.9", "2.9 and 2.10 have a CPU Conv2d that is tens of times slower", WARNING),
    "mindarmour": Needed("==2.0.*"),
    "numpy": Needed(">=1.26,<2", "NumPy 2 breaks mindspore.dataset"),
    "scikit-learn": Needed(">=1.4,<1.10", "1.10 removes the argument `penalty`, which MindArmour uses"),
    "scipy": Needed(">=1.11"),
    "dp-accounting": Needed(">=0.4,<0.7"),
    "joblib": Needed(">=1.3"),
    "threadpoolctl": Needed(">=3.1"),
    "psutil": Needed(">=5.9"),
    "shtab": Needed(">=1.7"),
    "rich": Needed(">=13"),
    "jinja2": Needed(">=3.1"),
    "matplotlib": Needed(">=3.8"),
}
"""The requirements of setup.py; a test compares them."""

IMPORTS = {
    "import of scikit-learn": "import numpy, scipy.optimize, sklearn.linear_model",
    "import of mindspore": "import mindspore",
    "mindspore.dataset": (
        "import numpy\n"
        "from mindspore.dataset import GeneratorDataset\n"
        "rows = [(numpy.zeros(2, numpy.float32), label) for label in range(3)]\n"
        "rows = GeneratorDataset(rows, ['image', 'label'], shuffle=False, num_parallel_workers=1).batch(2)\n"
        "found = [row['label'].tolist() for row in rows.create_dict_iterator(output_numpy=True, num_epochs=1)]\n"
        "assert found == [[0, 1], [2]], found"
    ),
    "import of mindarmour": (
        "from mindefense.runtime import quiet_mindarmour\n"
        "with quiet_mindarmour():\n"
        "    from mindarmour.privacy.evaluation import MembershipInference"
    ),
}
"""The code to run in a separate process, by title of the check."""
_TRIAL = f"""
import os, re, sys
sys.path[:] = sys.argv[2:]
os.environ.setdefault("GLOG_v", "3")
import warnings
warnings.simplefilter("ignore")
try:
    exec(sys.argv[1], {{}})
    said = ""
except Exception as error:
    lines = f"{{type(error).__name__}}: {{error}}".splitlines()
    # MindSpore's message is in the middle of a long text.
    said = next((line for line in lines[1:] if re.match(r"\\w+Error: ", line)), lines[0])
print("\\n{SAYS}" + " ".join(said.split()), flush=True)
"""
_DEVICES = f"""
import json, sys
sys.path[:] = sys.argv[1:]
from mindefense.runtime import try_devices
print("\\n{SAYS}" + json.dumps(try_devices()), flush=True)
"""
_LIBRARIES = {"libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0", "libglib-2.0.so.0": "libglib2.0-0"}
"""System libraries that OpenCV needs, which MindArmour imports, and their Debian packages."""


def examine(*, data_path: str | None = None) -> list[Finding]:
    """Runs all checks, which takes about ten seconds, mostly for imports.

    Args:
        data_path: Path of the data; None for that in ``MINDEFENSE_DATA``.

    Returns:
        One finding per check, or several for devices and data.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        devices = pool.submit(check_devices)
        imports = list(pool.map(check_import, IMPORTS))
    return [
        check_python(),
        *(check_package(name) for name in PACKAGES),
        *imports,
        *devices.result(),
        check_msrun(),
        check_cores(),
        check_memory(),
        *check_data(data_path),
        check_folder(os.curdir),
    ]


def check_python() -> Finding:
    """Whether there are MindSpore wheels for this Python."""
    found = f"{platform.python_version()}, {platform.platform()}"
    if PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        return Finding("python", OK, found)
    return Finding("python", PROBLEM, f"{found}: MindSpore has no wheels for it", "use Python 3.10, 3.11 or 3.12")


def check_package(name: str) -> Finding:
    """Whether a package is installed in a version that works with the others.

    Args:
        name: A key of `PACKAGES`.
    """
    needed = PACKAGES[name]
    # In one call with NumPy, because pip would install a version of it that is too new for mindarmour alone.
    together = dict.fromkeys([name, "numpy"])
    fix = "python -m pip install " + " ".join(f'"{each}{PACKAGES[each].versions}"' for each in together)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, PROBLEM, "not installed", fix)
    relation = _compare(version, needed.versions)
    if relation == 0:
        return Finding(name, OK, version)
    if relation < 0:
        return Finding(name, PROBLEM, f"{version}: older than required, {needed.versions}", fix)
    return Finding(name, needed.state, f"{version}: {needed.otherwise}", fix)


def _compare(version: str, wanted: str) -> int:
    """-1 if a version is older than those that the specifier allows, 1 if newer, 0 if it is allowed."""
    numbers = _numbers(version)
    for bound in wanted.split(","):
        limit = _numbers(bound)
        if bound.startswith("=="):
            shortened = numbers[: len(limit)]
            return (shortened > limit) - (shortened < limit)
        if bound.startswith(">=") and numbers < limit:
            return -1
        if bound.startswith("<") and numbers >= limit:
            return 1
    return 0


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``"2.8.0rc1"`` counts as 2.8.0."""
    found = re.search(r"\d+(\.\d+)*", version)
    return tuple(map(int, found.group().split("."))) if found else ()


def check_import(title: str) -> Finding:
    """Whether a package can be imported and used.

    Args:
        title: A key of `IMPORTS`.
    """
    try:
        wrong = ask_child(_TRIAL, IMPORTS[title], *sys.path, timeout=_TIMEOUT)
    except NoAnswer as silence:
        return Finding(title, PROBLEM, str(silence), "reinstall all packages in a new environment")
    if not wrong:
        return Finding(title, OK, "works")
    if library := re.search(r"(\S+\.so[.\d]*): cannot open shared object", wrong):
        package = _LIBRARIES.get(library[1], f"the package that contains {library[1]}")
        fix = f"apt-get install {package}" if library[1] in _LIBRARIES else f"install {package}"
        if package in _LIBRARIES.values():
            fix += ", or python -m pip install opencv-python-headless instead of opencv-python"
        return Finding(title, PROBLEM, f"the system has no {library[1]}", fix)
    return Finding(title, PROBLEM, wrong, "fix the packages above; if they have no problem, reinstall them")


def check_devices() -> list[Finding]:
    """Which devices there are, and whether each computes a small example correctly."""
    try:
        tried: dict[str, str | None] = json.loads(ask_child(_DEVICES, *sys.path, timeout=_DEVICES_TIMEOUT))
    except NoAnswer as silence:
        return [Finding("devices", PROBLEM, f"not tried: {silence}", "fix the import of mindspore first")]
    findings = []
    for name in ("Ascend", "GPU", "CPU"):
        if name not in tried:
            findings.append(Finding(name, OK, "MindSpore finds none"))
        elif (wrong := tried[name]) is None:
            findings.append(Finding(name, OK, "computes a product and a sort correctly"))
        else:
            fix = "check driver and MindSpore build (docs/devices.md); until then use --device_target CPU"
            state = PROBLEM if name == "CPU" else WARNING
            findings.append(Finding(name, state, wrong, "reinstall mindspore" if name == "CPU" else fix))
    return findings


def check_msrun() -> Finding:
    """Whether msrun, the launcher of several processes, is installed."""
    beside = Path(sys.executable).with_name("msrun")
    if found := shutil.which("msrun"):
        return Finding("msrun", OK, found)
    if beside.is_file():
        return Finding(
            "msrun", OK, f"{beside}, which is not on the PATH", f"use this path, or . {beside.with_name('activate')}"
        )
    return Finding("msrun", WARNING, "none", "only --distributed needs it; it comes with mindspore")


def check_cores() -> Finding:
    """The number of cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", OK, f"{usable} of {os.cpu_count()}")


def check_memory(*, proc: str = "/proc/meminfo", limits: str = "/sys/fs/cgroup") -> Finding:
    """The free memory, within the limit of a container if there is one.

    Args:
        proc: Linux's file on the memory of the machine.
        limits: Linux's folder with the limits of the container.
    """
    try:
        held = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(proc).read_text(), re.M))
        total, free = (int(held[name]) << 10 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError):
        return Finding("memory", OK, "unknown on this system")
    try:
        limit, used = (int(Path(limits, name).read_text()) for name in ("memory.max", "memory.current"))
        total, free = min(total, limit), min(free, max(0, limit - used))
    except (OSError, ValueError):  # no container, or a container without a limit
        pass
    found = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free >= _LITTLE_MEMORY:
        return Finding("memory", OK, found)
    return Finding(
        "memory", WARNING, found, "a run on Location takes up to 2 GiB: end other programs, or use a larger machine"
    )


def check_data(data_path: str | None = None) -> list[Finding]:
    """The data sets in a folder or its subfolders; all of them are read.

    Args:
        data_path: A folder, or the file of a data set; None for the path in ``MINDEFENSE_DATA``.
    """
    said = "--data_path" if data_path is not None else "MINDEFENSE_DATA"
    where = data_path if data_path is not None else os.environ.get("MINDEFENSE_DATA")
    fetch = "mindefense download location --to data/location"
    if not where:
        return [Finding("data", WARNING, "no --data_path, no MINDEFENSE_DATA: runs would use synthetic rows", fetch)]
    root = Path(where)
    if not root.exists():
        return [Finding("data", PROBLEM, f"{said} is {root}, which does not exist", f"check the path, or {fetch}")]
    if root.is_file():
        return [Finding("data", OK, f"{root}, a file, which is not read; name its data set with --dataset")]
    try:
        from mindefense.data import DATASETS, load_location  # noqa: F401  fails if NumPy is missing
        from mindefense.data.files import MissingData
    except ImportError as error:
        return [Finding("data", PROBLEM, f"{root}, not read: {error}", "fix the packages above")]
    findings = []
    try:
        folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    except OSError as error:
        return [Finding("data", PROBLEM, f"{root}: {error.strerror}", f"chmod -R u+rX {root}")]
    for name, spec in DATASETS.items():
        load = spec.load()
        for folder in folders:
            try:
                data = load(folder)
            except MissingData:
                continue
            except (DataError, OSError) as error:
                findings.append(Finding(f"data: {name}", PROBLEM, str(error)))
            else:
                order = ", in the published order" if data.order is not None else ""
                found = f"{folder}: {len(data):,} rows, {data.num_classes} classes{order}"
                findings.append(Finding(f"data: {name}", OK, found))
            if folder == root:  # the loader may have read a subfolder, which would be reported twice
                break
    if findings:
        return findings
    return [Finding("data", WARNING, f"{root}, without a known data set", fetch)]


def check_folder(folder: str | os.PathLike) -> Finding:
    """Whether results can be written to a folder, and its free space.

    Args:
        folder: The folder.
    """
    try:
        folder = Path(folder).resolve()
        check_writable(folder)
        free = shutil.disk_usage(folder).free
    except (MindefenseError, OSError) as error:
        return Finding("results", PROBLEM, str(error), "change to a writable folder, or give --out DIR")
    found = f"{folder}, {free / _GIB:.1f} GiB free"
    if free >= _LITTLE_DISK:
        return Finding("results", OK, found)
    return Finding("results", WARNING, found, "free some space, or give --out DIR on another disk")
