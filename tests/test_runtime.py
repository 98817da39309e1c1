"""Devices that are here, devices that are not, and versions."""

import importlib.metadata
import logging
import sys

import mindspore as ms
import numpy as np
import pytest

from mindefense.errors import DeviceError, InputError
from mindefense.runtime import compiled, use_device, versions


@pytest.mark.parametrize("name", ["cpu", "TPU", "", "Ascend910", None])
def test_unknown_devices(name):
    with pytest.raises(InputError, match=r"^device_target: expected auto or CPU or GPU or Ascend, got "):
        use_device(name)


@pytest.mark.parametrize("name", ["GPU", "Ascend"])
def test_devices_that_are_not_here(capfd, name):
    if ms.hal.is_available(name):
        pytest.skip(f"this machine has {name}")
    capfd.readouterr()
    with pytest.raises(DeviceError, match=f"^device_target {name}: expected a device that is here .*CPU") as caught:
        use_device(name)
    assert "\n" not in str(caught.value)
    assert "--device_target auto" in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("here", "asked", "given"),
    [
        ({"CPU"}, "auto", "CPU"),
        ({"CPU", "GPU"}, "auto", "GPU"),
        ({"CPU", "GPU", "Ascend"}, "auto", "Ascend"),
        ({"CPU", "Ascend"}, "CPU", "CPU"),
        ({"CPU", "GPU"}, "GPU", "GPU"),
        ({"CPU", "GPU"}, "Ascend", None),
    ],
)
def test_the_device_chosen(monkeypatch, here, asked, given):
    calls = []
    monkeypatch.setattr(ms.hal, "is_available", lambda name: name in here)
    monkeypatch.setattr(ms, "set_device", lambda *args: calls.append(args))
    monkeypatch.setattr(ms, "set_context", lambda **settings: calls.append(settings))
    if given is None:
        with pytest.raises(DeviceError, match=r"expected a device that is here \(GPU, CPU\)"):
            use_device(asked)
        assert calls == []
    else:
        assert use_device(asked, device_id=1) == given
        assert calls == [(given, 1), {"mode": ms.PYNATIVE_MODE if given == "CPU" else ms.GRAPH_MODE}]


@pytest.fixture
def refusing(monkeypatch):
    """A MindSpore that has computed something on the CPU already, on a machine that has everything."""

    def refuse(*_):
        raise RuntimeError("The runtime has been initialized, please set it before")

    monkeypatch.setattr(ms.hal, "is_available", lambda name: True)
    monkeypatch.setattr(ms, "set_device", refuse)
    monkeypatch.setattr(ms, "get_context", {"device_target": "CPU"}.get)
    monkeypatch.setattr(ms, "set_context", lambda **_: None)


def test_the_device_in_use_can_be_asked_for_late(refusing):
    assert use_device("CPU") == "CPU"


def test_another_device_cannot_be_asked_for_late(refusing):
    with pytest.raises(
        DeviceError, match=r"^device_target GPU: expected to be chosen before .* call use_device first$"
    ):
        use_device("GPU")


def test_the_cpu_for_real():
    mode = ms.get_context("mode")
    try:
        ms.ops.relu(ms.Tensor([1.0])).asnumpy()
        assert use_device("CPU") == "CPU"
        assert ms.get_context("device_target") == "CPU"
        assert ms.get_context("mode") == ms.PYNATIVE_MODE
    finally:
        ms.set_context(mode=mode)


@pytest.mark.parametrize("outside", [ms.PYNATIVE_MODE, ms.GRAPH_MODE])
def test_compiled_for_a_while(outside):
    mode = ms.get_context("mode")
    try:
        ms.set_context(mode=outside)
        with compiled():
            assert ms.get_context("mode") == ms.GRAPH_MODE
            with compiled():
                pass
            assert ms.get_context("mode") == ms.GRAPH_MODE
        assert ms.get_context("mode") == outside
        with pytest.raises(KeyError), compiled():
            raise KeyError
        assert ms.get_context("mode") == outside
    finally:
        ms.set_context(mode=mode)


def test_logging_is_as_it_was():
    before = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with pytest.raises(DeviceError):
            use_device("GPU")
        assert logging.root.manager.disable == logging.INFO
    finally:
        logging.disable(before)


def test_versions():
    found = versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["mindspore"] == ms.__version__
    assert found["numpy"] == np.__version__
    assert {"mindefense", "mindarmour", "scikit-learn", "scipy", "platform"} <= set(found)
    assert all(isinstance(version, str) and version for version in found.values())


def test_a_package_that_is_not_installed(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert versions()["mindarmour"] == "not installed as a package"
