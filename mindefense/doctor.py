"""What is here, whether it fits together, and what to do about it.

All of it works where MindSpore, or anything else that is examined, cannot be imported: imports are tried in processes
of their own, quietly, since some of them end in a crash.
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
"""The first version of Python that there are MindSpore wheels for, and the first that there are none for."""
_TIMEOUT = 180.0
"""Seconds that one import gets; cold disks are slow."""
_DEVICES_TIMEOUT = 600.0
"""Seconds that all devices together get; each may take three minutes."""
_GIB = 1 << 30
_LITTLE_MEMORY, _LITTLE_DISK = 2 * _GIB, 1 * _GIB


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What was looked at.
        state: `OK`, `WARNING` (something is slow, missing or to be known) or `PROBLEM` (something will not work).
        found: What was found.
        fix: What to do about it; None if there is nothing to be done.
    """

    name: str
    state: str
    found: str
    fix: str | None = None


@dataclasses.dataclass(frozen=True)
class Needed:
    """A package and the versions of it that are known to work.

    Attributes:
        versions: As pip takes them.
        otherwise: What is wrong with a newer one.
        state: Of a newer one.
    """

    versions: str
    otherwise: str = "newer than what was tried"
    state: str = PROBLEM


PACKAGES = {
    "mindspore": Needed(">=2.7.1,<2.9", "2.9 and 2.10 have a CPU Conv2d that is tens of times slower", WARNING),
    "mindarmour": Needed("==2.0.*"),
    "numpy": Needed(">=1.26,<2", "NumPy 2 breaks mindspore.dataset"),
    "scikit-learn": Needed(">=1.4,<1.10", "1.10 drops the argument `penalty`, which MindArmour gives"),
    "scipy": Needed(">=1.11"),
    "joblib": Needed(">=1.3"),
    "threadpoolctl": Needed(">=3.1"),
    "psutil": Needed(">=5.9"),
    "shtab": Needed(">=1.7"),
    "rich": Needed(">=13"),
    "jinja2": Needed(">=3.1"),
    "matplotlib": Needed(">=3.8"),
}
"""What setup.py asks for; a test compares."""

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
"""Title → what is tried in a process of its own."""
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
    # MindSpore puts what went wrong into the middle of pages.
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
"""Libraries that OpenCV, which MindArmour imports, takes from the system, and Debian's packages of them."""


def examine(*, data_path: str | None = None) -> list[Finding]:
    """Looks at all there is to look at; some ten seconds, most of them imports.

    Args:
        data_path: Where data are; None for what ``MINDEFENSE_DATA`` names.
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
    """Whether there are wheels for this Python."""
    found = f"{platform.python_version()}, {platform.platform()}"
    if PYTHON[0] <= sys.version_info[:2] < PYTHON[1]:
        return Finding("python", OK, found)
    return Finding("python", PROBLEM, f"{found}: MindSpore has no wheels for it", "use Python 3.10, 3.11 or 3.12")


def check_package(name: str) -> Finding:
    """Whether a package is here in a version that fits the others.

    Args:
        name: A key of `PACKAGES`.
    """
    needed = PACKAGES[name]
    # In one call with NumPy, since mindarmour alone would bring one that is too new.
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
        return Finding(name, PROBLEM, f"{version}: older than what is needed, {needed.versions}", fix)
    return Finding(name, needed.state, f"{version}: {needed.otherwise}", fix)


def _compare(version: str, wanted: str) -> int:
    """-1 if a version is older than those wanted, 1 if newer, 0 if it is one of them."""
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
    """Whether something can be imported and used.

    Args:
        title: A key of `IMPORTS`.
    """
    try:
        wrong = ask_child(_TRIAL, IMPORTS[title], *sys.path, timeout=_TIMEOUT)
    except NoAnswer as silence:
        return Finding(title, PROBLEM, str(silence), "install all packages anew, in an environment of their own")
    if not wrong:
        return Finding(title, OK, "works")
    if library := re.search(r"(\S+\.so[.\d]*): cannot open shared object", wrong):
        package = _LIBRARIES.get(library[1], f"the package that holds {library[1]}")
        fix = f"apt-get install {package}" if library[1] in _LIBRARIES else f"install {package}"
        if package in _LIBRARIES.values():
            fix += ", or python -m pip install opencv-python-headless in place of opencv-python"
        return Finding(title, PROBLEM, f"the system has no {library[1]}", fix)
    return Finding(title, PROBLEM, wrong, "mend the packages above; if they are all right, install them anew")


def check_devices() -> list[Finding]:
    """Which devices are here, and whether each gets a small computation right."""
    try:
        tried: dict[str, str | None] = json.loads(ask_child(_DEVICES, *sys.path, timeout=_DEVICES_TIMEOUT))
    except NoAnswer as silence:
        return [Finding("devices", PROBLEM, f"not tried: {silence}", "mend the import of mindspore first")]
    findings = []
    for name in ("Ascend", "GPU", "CPU"):
        if name not in tried:
            findings.append(Finding(name, OK, "none that MindSpore finds"))
        elif (wrong := tried[name]) is None:
            findings.append(Finding(name, OK, "gets a product and a sort right"))
        else:
            fix = "look after driver and MindSpore build (docs/devices.md); until then --device_target CPU"
            state = PROBLEM if name == "CPU" else WARNING
            findings.append(Finding(name, state, wrong, "install mindspore anew" if name == "CPU" else fix))
    return findings


def check_msrun() -> Finding:
    """Whether the launcher of many processes is here."""
    beside = Path(sys.executable).with_name("msrun")
    if found := shutil.which("msrun"):
        return Finding("msrun", OK, found)
    if beside.is_file():
        return Finding(
            "msrun", OK, f"{beside}, which is not on the PATH", f"call it so, or . {beside.with_name('activate')}"
        )
    return Finding("msrun", WARNING, "none", "only --distributed needs it; it comes with mindspore")


def check_cores() -> Finding:
    """How many cores this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("cores", OK, f"{usable} of {os.cpu_count()}")


def check_memory(*, proc: str = "/proc/meminfo", limits: str = "/sys/fs/cgroup") -> Finding:
    """How much memory is free, within the limit of a container if there is one.

    Args:
        proc: Where Linux says what the machine has.
        limits: Where it says what a container may use.
    """
    try:
        held = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(proc).read_text(), re.M))
        total, free = (int(held[name]) << 10 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError):
        return Finding("memory", OK, "unknown on this system")
    try:
        limit, used = (int(Path(limits, name).read_text()) for name in ("memory.max", "memory.current"))
        total, free = min(total, limit), min(free, max(0, limit - used))
    except (OSError, ValueError):  # no container, or one without a limit
        pass
    found = f"{free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free >= _LITTLE_MEMORY:
        return Finding("memory", OK, found)
    return Finding(
        "memory", WARNING, found, "a run on Location takes up to 2 GiB: end other programs, or take a larger machine"
    )


def check_data(data_path: str | None = None) -> list[Finding]:
    """Which data sets a folder holds, or the folders in it; each is read whole.

    Args:
        data_path: A folder, or the file of a data set; None for what ``MINDEFENSE_DATA`` names.
    """
    said = "--data_path" if data_path is not None else "MINDEFENSE_DATA"
    where = data_path if data_path is not None else os.environ.get("MINDEFENSE_DATA")
    fetch = "mindefense download location --to data/location"
    if not where:
        return [Finding("data", WARNING, "no --data_path, no MINDEFENSE_DATA: rows would be made up", fetch)]
    root = Path(where)
    if not root.exists():
        return [Finding("data", PROBLEM, f"{said} names {root}, which is not there", f"check its spelling, or {fetch}")]
    if root.is_file():
        return [Finding("data", OK, f"{root}, a file; what it holds is for --dataset to say")]
    try:
        from mindefense.data import DATASETS, load_location  # noqa: F401  that NumPy is there shows here
        from mindefense.data.files import MissingData
    except ImportError as error:
        return [Finding("data", PROBLEM, f"{root}, not read: {error}", "mend the packages above")]
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
            if folder == root:  # a folder in it, which its loader may have looked into, would be told twice
                break
    if findings:
        return findings
    return [Finding("data", WARNING, f"{root}, without a data set that is known", fetch)]


def check_folder(folder: str | os.PathLike) -> Finding:
    """Whether results can be written, and how much.

    Args:
        folder: Where they would go.
    """
    try:
        folder = Path(folder).resolve()
        check_writable(folder)
        free = shutil.disk_usage(folder).free
    except (MindefenseError, OSError) as error:
        return Finding("results", PROBLEM, str(error), "go to a folder of your own, or give --out DIR")
    found = f"{folder}, {free / _GIB:.1f} GiB free"
    if free >= _LITTLE_DISK:
        return Finding("results", OK, found)
    return Finding("results", WARNING, found, "make room, or give --out DIR elsewhere")
