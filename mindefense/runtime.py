"""Choice of MindSpore's device and mode, and versions; no other module sets the device."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator

import mindspore as ms
import numpy as np

from mindefense.errors import DeviceError, InputError
from mindefense.subprocesses import SAYS, NoAnswer, ask_child

DEVICE_TARGETS = ("auto", "CPU", "GPU", "Ascend")
_TIMEOUT = 180.0
"""Time limit in seconds for the first computation of a device, which starts drivers and may compile kernels."""
_TRIAL = f"""
import sys
sys.path[:] = sys.argv[3:]
from mindefense.runtime import _set, _whats_wrong
name, number = sys.argv[1:3]
print("{SAYS}" + (_whats_wrong(lambda: _set(name, int(number))) or ""), flush=True)
"""
"""Code of a child process: it takes a device's name, its number and the parent's `sys.path`, and prints one line."""
_OF_A_CLUSTER = (
    *("MS_ROLE", "MS_SCHED_", "MS_WORKER_NUM", "MS_SERVER_NUM", "MS_NODE_ID", "MS_TOPO_TIMEOUT", "MS_ENABLE_RECOVERY"),
    *("RANK_", "LOCAL_RANK", "MINDSPORE_HCCL_CONFIG_PATH", "HELP_CLUSTER", "OMPI_", "PMI_", "PMIX_"),
)
"""Prefixes of the environment variables by which launchers identify the processes of a job."""


def use_device(target: str = "auto", *, device_id: int | None = None, tell: Callable[[str], None] | None = None) -> str:
    """Sets MindSpore's device.

    A device is usable if MindSpore reports it and it computes a small product and a sort correctly. After its first
    computation, a process cannot change the device. ``"auto"`` therefore tries Ascend and GPU in a child process, and
    computes nothing if there are none. Under ``msrun``, no process may compute before all are connected, so every
    target other than the CPU is tried in a child process.

    Args:
        target: ``"CPU"``, ``"GPU"``, ``"Ascend"``, or ``"auto"`` for the first usable one of Ascend, GPU and CPU.
        device_id: Number of the device of that kind; None for the first, or under ``msrun`` for that of this process.
        tell: Called with one line for each device that ``"auto"`` skips because it is not usable.

    Returns:
        The device target that is now in use.

    Raises:
        InputError: If `target` has another value.
        DeviceError: If this machine, or this build of MindSpore, has no such device, or it is not usable.
    """
    if target not in DEVICE_TARGETS:
        raise InputError("device_target", expected=" or ".join(DEVICE_TARGETS), got=repr(target))
    available = [name for name in ("Ascend", "GPU", "CPU") if _is_available(name)]
    chosen = _first_that_computes(available, device_id, tell) if target == "auto" else target
    if chosen not in available:
        raise DeviceError(
            f"device_target {chosen}",
            expected=f"an available device ({', '.join(available)})",
            got="none of that kind",
            fix="use --device_target auto, or install the requirements of MindSpore (docs/devices.md)",
        )
    begin = functools.partial(_set, chosen, device_id)
    if "MS_ROLE" in os.environ:
        # A process of msrun gets its device when all are connected; computing here would initialize another one.
        wrong = None if chosen == "CPU" else _tried(chosen, device_id)
        wrong = wrong or begin()
    else:
        wrong = begin() if (target, chosen) == ("auto", "CPU") else _whats_wrong(begin)
    if wrong:
        raise DeviceError(
            f"device_target {chosen}",
            expected="a device that computes correctly",
            got=wrong,
            fix="use --device_target auto or CPU, or check driver and MindSpore build",
        )
    return chosen


def try_devices() -> dict[str, str | None]:
    """The error of each device that MindSpore reports, found in a child process; None if it computes correctly."""
    return {name: _tried(name, None) for name in ("Ascend", "GPU", "CPU") if _is_available(name)}


def device_in_use() -> str:
    """The device target that MindSpore computes on."""
    return ms.get_context("device_target")


def _set(target: str, device_id: int | None) -> None:
    """Sets MindSpore's device and mode.

    Raises:
        DeviceError: If MindSpore has already computed on another device.
    """
    try:
        ms.set_device(target, device_id)
    except RuntimeError as error:
        # After its first computation, MindSpore raises an error even for the device in use.
        if not any(word in str(error) for word in ("has been initialized", "can not be modified")):
            raise
        if device_in_use() != target:
            raise DeviceError(
                f"device_target {target}",
                expected="to be chosen before MindSpore computes anything",
                got=f"a process that already computes on {device_in_use()}",
                fix="call use_device first",
            ) from error
    if target != "CPU":  # the same query must get the same answer; a CPU is always deterministic
        with contextlib.suppress(RuntimeError):  # it is already set
            ms.set_deterministic(True)
    # Hot loops are always compiled. The rest consists of a few large operations, for which compiling a graph takes
    # longer on a CPU than it saves.
    ms.set_context(mode=ms.PYNATIVE_MODE if target == "CPU" else ms.GRAPH_MODE)


def _whats_wrong(begin: Callable[[], None]) -> str | None:
    """The error of a matrix product and a sort after `begin`, in one line; None if both are correct."""
    # Numbers that are exact in float16, because some devices compute with this precision, which is not an error.
    numbers = np.random.default_rng(0).permutation(256).reshape(16, 16).astype(np.float32) / 16 - 8
    product = numbers @ numbers.T
    try:
        begin()
        found = ms.ops.matmul(ms.Tensor(numbers), ms.Tensor(np.ascontiguousarray(numbers.T))).asnumpy()
        ordered, order = (tensor.asnumpy() for tensor in ms.ops.sort(ms.Tensor(numbers)))
    except DeviceError:
        raise
    except Exception as error:  # drivers may raise anything
        said = str(error).strip() or type(error).__name__
        return said.splitlines()[0].split(". ")[0]  # MindSpore's messages are very long
    if not np.allclose(found, product, rtol=0, atol=1e-2 * np.abs(product).max()):
        return f"a wrong matrix product, off by up to {np.abs(found - product).max():g}"
    if not ((ordered == np.sort(numbers)).all() and (order == np.argsort(numbers)).all()):
        return "a wrong sort"
    return None


def _first_that_computes(available: list[str], device_id: int | None, tell: Callable[[str], None] | None) -> str:
    wrong = {}
    for name in available:
        if name == "CPU" or (fault := _tried(name, device_id)) is None:
            for other, why in wrong.items():
                if tell is not None:
                    tell(f"{other} is available but does not work ({why}); using {name}")
            return name
        wrong[name] = fault
    raise AssertionError("the CPU is always available")


@functools.cache
def _tried(name: str, device_id: int | None) -> str | None:
    """The error when a child process computes on a device, in one line; None if there is none."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_A_CLUSTER)}
    number = "0" if device_id is None else str(device_id)
    if device_id is None and "MS_ROLE" in os.environ:  # msrun assigns a device to each process of a host
        number = os.environ.get("DEVICE_ID", number)
    try:
        return ask_child(_TRIAL, name, number, *sys.path, timeout=_TIMEOUT, environment=environment) or None
    except NoAnswer as silence:
        return str(silence)


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Runs Cells in graph mode within the context, whatever the mode outside.

    In PyNative mode, the thread that waits for a graph's result is busy and occupies a core of a CPU. The results are
    the same to the last bit.
    """
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    try:
        yield
    finally:
        ms.set_context(mode=before)


def _is_available(name: str) -> bool:
    if name == "CPU":
        return True
    try:
        with muted(logging.WARNING):  # MindSpore warns about every missing driver
            return bool(ms.hal.is_available(name))
    except (RuntimeError, ValueError):
        return False


@contextlib.contextmanager
def muted(level: int) -> Iterator[None]:
    """Suppresses log messages up to `level` within the context."""
    before = logging.root.manager.disable
    logging.disable(max(level, before))
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def quiet_mindarmour() -> Iterator[None]:
    """A context to import MindArmour in, without its warning, sleep and root-logger handler for MindSpore above 2.0.

    MindArmour 2.0 checks only the version string; our tests check that it works with the pinned versions.
    """
    version = ms.__version__
    ms.__version__ = "2.0.0"
    try:
        yield
    finally:
        ms.__version__ = version


def versions() -> dict[str, str]:
    """Versions of the programs that figures depend on, by name."""
    packages = ("mindefense", "mindspore", "mindarmour", "numpy", "scikit-learn", "scipy")
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
