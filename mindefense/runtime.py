"""Devices and versions: the only place that chooses MindSpore's device and mode."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import platform
from collections.abc import Iterator

import mindspore as ms

from mindefense.errors import DeviceError, InputError

DEVICE_TARGETS = ("auto", "CPU", "GPU", "Ascend")


def use_device(target: str = "auto", *, device_id: int = 0) -> str:
    """Makes MindSpore run on a device and returns which.

    Args:
        target: ``"CPU"``, ``"GPU"``, ``"Ascend"``, or ``"auto"`` for the first of Ascend, GPU, CPU that is there.
        device_id: Which device of that kind.

    Returns:
        The device target now in use.

    Raises:
        InputError: If the name is none of these.
        DeviceError: If this machine, or this build of MindSpore, has no such device.
    """
    if target not in DEVICE_TARGETS:
        raise InputError("device_target", expected=" or ".join(DEVICE_TARGETS), got=repr(target))
    available = [name for name in ("Ascend", "GPU", "CPU") if _is_available(name)]
    if target == "auto":
        target = available[0]
    if target not in available:
        raise DeviceError(
            f"device_target {target}",
            expected=f"a device that is here ({', '.join(available)})",
            got="none of that kind",
            fix="use --device_target auto, or install the driver and the MindSpore build for it",
        )
    try:
        ms.set_device(target, device_id)
    except RuntimeError as error:
        # MindSpore refuses once it has computed anything, even for the device it computes on.
        if ms.get_context("device_target") != target:
            raise DeviceError(
                f"device_target {target}",
                expected="to be chosen before MindSpore computes anything",
                got=f"a process that computes on {ms.get_context('device_target')} already",
                fix="call use_device first",
            ) from error
    # Hot loops are compiled wherever they run; the rest is a handful of large operations, for which compiling one
    # graph more takes longer on a CPU than it saves.
    ms.set_context(mode=ms.PYNATIVE_MODE if target == "CPU" else ms.GRAPH_MODE)
    return target


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
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    return found
