"""Devices and versions: the only place that chooses MindSpore's device and mode."""

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
"""Seconds that a device gets for its first computation, in which drivers start and kernels may be compiled."""
_TRIAL = f"""
import sys
sys.path[:] = sys.argv[3:]
from mindefense.runtime import _set, _whats_wrong
name, number = sys.argv[1:3]
print("{SAYS}" + (_whats_wrong(lambda: _set(name, int(number))) or ""), flush=True)
"""
"""What a child process computes: a device's name, its number and the parent's `sys.path` in, one line out."""
_OF_A_CLUSTER = (
    *("MS_ROLE", "MS_SCHED_", "MS_WORKER_NUM", "MS_SERVER_NUM", "MS_NODE_ID", "MS_TOPO_TIMEOUT", "MS_ENABLE_RECOVERY"),
    *("RANK_", "LOCAL_RANK", "MINDSPORE_HCCL_CONFIG_PATH", "HELP_CLUSTER", "OMPI_", "PMI_", "PMIX_"),
)
"""How variables begin by which launchers tell a process that it is one of many."""


def use_device(target: str = "auto", *, device_id: int | None = None, tell: Callable[[str], None] | None = None) -> str:
    """Makes MindSpore run on a device and returns which.

    A device counts as there when MindSpore says so and it gets a small product and a sort right. Having computed on
    one device, a process cannot go over to another: so ``"auto"`` tries Ascend and GPU in a child process first, and
    under ``msrun``, where nothing may compute before the processes have found each other, any target does. Where there
    is neither, ``"auto"`` starts and computes nothing.

    Args:
        target: ``"CPU"``, ``"GPU"``, ``"Ascend"``, or ``"auto"`` for the first of Ascend, GPU, CPU that computes.
        device_id: Which device of that kind; None for the first, or under ``msrun`` for that of this process.
        tell: Called with one line for each device that ``"auto"`` passes over because it does not compute.

    Returns:
        The device target now in use.

    Raises:
        InputError: If the name is none of these.
        DeviceError: If this machine, or this build of MindSpore, has no such device, or it does not compute.
    """
    if target not in DEVICE_TARGETS:
        raise InputError("device_target", expected=" or ".join(DEVICE_TARGETS), got=repr(target))
    available = [name for name in ("Ascend", "GPU", "CPU") if _is_available(name)]
    chosen = _first_that_computes(available, device_id, tell) if target == "auto" else target
    if chosen not in available:
        raise DeviceError(
            f"device_target {chosen}",
            expected=f"a device that is here ({', '.join(available)})",
            got="none of that kind",
            fix="use --device_target auto, or install what MindSpore needs for it (docs/devices.md)",
        )
    begin = functools.partial(_set, chosen, device_id)
    if "MS_ROLE" in os.environ:
        # A process of msrun gets its device when all have found each other; computing here would take it one before.
        wrong = None if chosen == "CPU" else _tried(chosen, device_id)
        wrong = wrong or begin()
    else:
        wrong = begin() if (target, chosen) == ("auto", "CPU") else _whats_wrong(begin)
    if wrong:
        raise DeviceError(
            f"device_target {chosen}",
            expected="a device that computes",
            got=wrong,
            fix="use --device_target auto or CPU, or look after driver and MindSpore build",
        )
    return chosen


def try_devices() -> dict[str, str | None]:
    """What is wrong with each device that MindSpore says is here; None if it computes, in a process of its own."""
    return {name: _tried(name, None) for name in ("Ascend", "GPU", "CPU") if _is_available(name)}


def device_in_use() -> str:
    """The device target that MindSpore computes on."""
    return ms.get_context("device_target")


def _set(target: str, device_id: int | None) -> None:
    """Tells MindSpore to run on a device, and how.

    Raises:
        DeviceError: If it computes on another one already.
    """
    try:
        ms.set_device(target, device_id)
    except RuntimeError as error:
        # MindSpore refuses once it has computed anything, even for the device it computes on.
        if not any(word in str(error) for word in ("has been initialized", "can not be modified")):
            raise
        if device_in_use() != target:
            raise DeviceError(
                f"device_target {target}",
                expected="to be chosen before MindSpore computes anything",
                got=f"a process that computes on {device_in_use()} already",
                fix="call use_device first",
            ) from error
    if target != "CPU":  # a CPU is so anyway; the same query must get the same answer
        with contextlib.suppress(RuntimeError):  # set already
            ms.set_deterministic(True)
    # Hot loops are compiled wherever they run; the rest is a handful of large operations, for which compiling one
    # graph more takes longer on a CPU than it saves.
    ms.set_context(mode=ms.PYNATIVE_MODE if target == "CPU" else ms.GRAPH_MODE)


def _whats_wrong(begin: Callable[[], None]) -> str | None:
    """What goes wrong with a product and a sort after `begin`, in one line; None if both come out right."""
    # Numbers that float16 holds exactly, since some devices compute with no more: that is less, but not wrong.
    numbers = np.random.default_rng(0).permutation(256).reshape(16, 16).astype(np.float32) / 16 - 8
    product = numbers @ numbers.T
    try:
        begin()
        found = ms.ops.matmul(ms.Tensor(numbers), ms.Tensor(np.ascontiguousarray(numbers.T))).asnumpy()
        ordered, order = (tensor.asnumpy() for tensor in ms.ops.sort(ms.Tensor(numbers)))
    except DeviceError:
        raise
    except Exception as error:  # drivers fail in every way there is
        said = str(error).strip() or type(error).__name__
        return said.splitlines()[0].split(". ")[0]  # MindSpore goes on for pages
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
                    tell(f"{other} is there but does not compute ({why}); using {name}")
            return name
        wrong[name] = fault
    raise AssertionError("the CPU is always there")


@functools.cache
def _tried(name: str, device_id: int | None) -> str | None:
    """What goes wrong when a process of its own computes on a device, in one line; None if nothing does."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_A_CLUSTER)}
    number = "0" if device_id is None else str(device_id)
    if device_id is None and "MS_ROLE" in os.environ:  # msrun gives each process of a host a device
        number = os.environ.get("DEVICE_ID", number)
    try:
        return ask_child(_TRIAL, name, number, *sys.path, timeout=_TIMEOUT, environment=environment) or None
    except NoAnswer as silence:
        return str(silence)


@contextlib.contextmanager
def compiled() -> Iterator[None]:
    """Runs Cells as graphs for a while, whatever the mode.

    In PyNative mode the thread that waits for a graph's result spins meanwhile; on a CPU it takes a core from those
    who compute it. The results are the same bits.
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
        with muted(logging.WARNING):  # MindSpore warns at length about every driver that is not there
            return bool(ms.hal.is_available(name))
    except (RuntimeError, ValueError):
        return False


@contextlib.contextmanager
def muted(level: int) -> Iterator[None]:
    """Keeps log messages up to `level` from the screen for a while."""
    before = logging.root.manager.disable
    logging.disable(max(level, before))
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def quiet_mindarmour() -> Iterator[None]:
    """For the import of MindArmour: without its warning, sleep and root-logger handler for MindSpore above 2.0.

    MindArmour 2.0 looks at the version string alone; that it works with the pinned versions is what our tests hold.
    """
    version = ms.__version__
    ms.__version__ = "2.0.0"
    try:
        yield
    finally:
        ms.__version__ = version


def versions() -> dict[str, str]:
    """Versions of everything that figures depend on."""
    packages = ("mindefense", "mindspore", "mindarmour", "numpy", "scikit-learn", "scipy")
    found = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
