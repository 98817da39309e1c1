"""Devices that are here, devices that are not, and versions."""

import importlib.metadata
import logging
import re
import sys
import time
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindefense import runtime
from mindefense.errors import DeviceError, InputError
from mindefense.runtime import compiled, device_in_use, use_device, versions


@pytest.mark.parametrize("name", ["cpu", "TPU", "", "Ascend910", None])
def test_unknown_devices(name):
    with pytest.raises(InputError, match=r"^device_target: expected auto or CPU or GPU or Ascend, got "):
        use_device(name)


@pytest.mark.parametrize("name", ["GPU", "Ascend"])
def test_devices_that_are_not_here(capfd, name):
    if ms.hal.is_available(name):
        pytest.skip(f"this machine has {name}")
    capfd.readouterr()
    with pytest.raises(DeviceError, match=f"^device_target {name}: expected an available device .*CPU") as caught:
        use_device(name)
    assert "\n" not in str(caught.value)
    assert "--device_target auto" in str(caught.value)
    assert capfd.readouterr() == ("", "")


SET_DEVICE = ms.set_device
"""MindSpore's own, which tests of the command line replace."""


@pytest.fixture
def claiming(monkeypatch):
    """MindSpore says that a GPU is there, which is not true of this machine."""
    if ms.hal.is_available("GPU"):
        pytest.skip("this machine has a GPU")
    monkeypatch.setattr(ms, "set_device", SET_DEVICE)
    real = ms.hal.is_available
    monkeypatch.setattr(ms.hal, "is_available", lambda name: name == "GPU" or real(name))
    runtime._tried.cache_clear()
    mode = ms.get_context("mode")
    yield
    ms.set_context(mode=mode)
    runtime._tried.cache_clear()


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
@pytest.mark.parametrize("device_id", [None, 1])
def test_the_device_chosen(monkeypatch, here, asked, given, device_id):
    calls, tried = [], []
    monkeypatch.setattr(ms.hal, "is_available", lambda name: name in here)
    monkeypatch.setattr(ms, "set_device", lambda *args: calls.append(args))
    monkeypatch.setattr(ms, "set_context", lambda **settings: calls.append(settings))
    monkeypatch.setattr(ms, "set_deterministic", lambda on: calls.append({"deterministic": on}))
    monkeypatch.setattr(runtime, "_tried", lambda *args: tried.append(args))
    if given is None:
        with pytest.raises(DeviceError, match=r"expected an available device \(GPU, CPU\)"):
            use_device(asked)
        assert calls == []
    else:
        assert use_device(asked, device_id=device_id, tell=pytest.fail) == given
        settings = (
            [{"mode": ms.PYNATIVE_MODE}] if given == "CPU" else [{"deterministic": True}, {"mode": ms.GRAPH_MODE}]
        )
        assert calls == [(given, device_id), *settings]
        assert tried == ([(given, device_id)] if asked == "auto" and given != "CPU" else [])


@pytest.mark.parametrize(
    ("faults", "given", "told"),
    [
        ({}, "Ascend", []),
        ({"Ascend": "no driver"}, "GPU", ["Ascend is available but does not work (no driver); using GPU"]),
        (
            {"Ascend": "no driver", "GPU": "a wrong sort"},
            "CPU",
            [
                "Ascend is available but does not work (no driver); using CPU",
                "GPU is available but does not work (a wrong sort); using CPU",
            ],
        ),
    ],
)
def test_devices_that_do_not_compute_are_passed_over(monkeypatch, faults, given, told):
    lines = []
    monkeypatch.setattr(ms.hal, "is_available", lambda name: True)
    monkeypatch.setattr(runtime, "_tried", lambda name, _: faults.get(name))
    monkeypatch.setattr(runtime, "_set", lambda *_: None)
    assert use_device(tell=lines.append) == use_device() == given
    assert lines == told


def test_a_device_that_only_mindspore_believes_in(capfd, claiming):
    lines = []
    capfd.readouterr()
    assert use_device("auto", tell=lines.append) == "CPU"
    (line,) = lines
    assert line == "GPU is available but does not work (Unsupported device target GPU); using CPU"
    assert device_in_use() == "CPU"
    began = time.perf_counter()
    use_device("auto")
    assert time.perf_counter() - began < 0.5, "what a child process has found out is remembered"
    assert capfd.readouterr() == ("", "")


def test_that_device_when_it_is_asked_for(claiming):
    with pytest.raises(
        DeviceError, match=r"^device_target GPU: expected a device that computes correctly, got Unsupported"
    ) as c:
        use_device("GPU")
    assert "\n" not in str(c.value)
    assert "use --device_target auto" in str(c.value)
    assert use_device("CPU") == device_in_use() == "CPU"


TRIALS = {
    "says nothing": ("pass", r"the process that tried ended with code 0"),
    "leaves": ("raise SystemExit(3)", r"the process that tried ended with code 3"),
    "crashes": ("import os; os.abort()", r"the process that tried ended with signal 6"),
    "chatters": ("print('GPU 0: ready')\nprint('mindefense: no kernels')\nprint('bye')", r"no kernels"),
    "hangs with a child": (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "open(sys.argv[3], 'w').write(str(child.pid))\n"
        "time.sleep(60)",
        r"no answer within 0\.7 s",
    ),
}


@pytest.mark.parametrize(("code", "why"), TRIALS.values(), ids=TRIALS)
def test_children_that_go_wrong(monkeypatch, tmp_path, claiming, code, why):
    lines = []
    note = tmp_path / "pid"
    monkeypatch.setattr(runtime, "_TRIAL", code)
    monkeypatch.setattr(runtime, "_TIMEOUT", 0.7 if "sleep" in code else 60.0)
    monkeypatch.setattr(sys, "path", [str(note), *sys.path])
    began = time.perf_counter()
    assert use_device("auto", tell=lines.append) == "CPU"
    assert time.perf_counter() - began < 20
    assert len(lines) == 1
    assert re.fullmatch(rf"GPU is available but does not work \({why}\); using CPU", lines[0])
    if "sleep" in code:
        assert not is_running(int(note.read_text()))


def is_running(pid):
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":  # ended, and not yet collected by whoever adopts orphans
            return False
        time.sleep(0.1)
    return True


LAUNCHED = {
    "MS_ROLE": "MS_WORKER",
    "MS_SCHED_HOST": "127.0.0.1",
    "MS_SCHED_PORT": "9",
    "MS_WORKER_NUM": "2",
    "MS_NODE_ID": "1",
    "RANK_ID": "1",
    "RANK_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "1",
}


def test_a_child_computes_for_itself_under_a_launcher(monkeypatch):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    assert runtime._tried.__wrapped__("CPU", None) is None


@pytest.mark.parametrize(
    ("launched", "device_id", "number"), [(True, None, "3"), (True, 1, "1"), (False, None, "0"), (False, 1, "1")]
)
def test_what_a_child_is_told(monkeypatch, launched, device_id, number):
    for name, value in LAUNCHED.items() if launched else ():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEVICE_ID", "3")
    monkeypatch.setenv("MINDEFENSE_TEST", "kept")
    monkeypatch.setattr(
        runtime, "_TRIAL", "import os, sys; print('mindefense:', sys.argv[1:3], *sorted(os.environ), sep=' ')"
    )
    said = str(runtime._tried.__wrapped__("GPU", device_id))
    assert said.startswith(f"['GPU', '{number}'] ")
    assert {"DEVICE_ID", "MINDEFENSE_TEST", "PATH"} <= set(said.split())
    assert not set(LAUNCHED) & set(said.split())


@pytest.mark.parametrize("fault", [None, "no driver"])
@pytest.mark.parametrize("asked", ["auto", "GPU", "CPU"])
def test_nothing_computes_here_before_the_ranks_of_a_job_have_met(monkeypatch, asked, fault):
    begun = []
    monkeypatch.setenv("MS_ROLE", "MS_WORKER")
    monkeypatch.setattr(ms.hal, "is_available", lambda name: name != "Ascend")
    monkeypatch.setattr(runtime, "_tried", lambda name, _: fault)
    monkeypatch.setattr(runtime, "_set", lambda name, _: begun.append(name))
    monkeypatch.setattr(runtime, "_whats_wrong", lambda _: pytest.fail("nothing is to be computed"))
    if (asked, fault) == ("GPU", "no driver"):
        with pytest.raises(
            DeviceError, match=r"^device_target GPU: expected a device that computes correctly, got no driver; "
        ):
            use_device(asked)
        assert begun == []
    else:
        given = "CPU" if asked == "CPU" or fault else "GPU"
        assert use_device(asked) == given
        assert begun == [given]


def wrong_product(x, y):
    return REAL_PRODUCT(x, y) + 30


def wrong_order(x):
    values, order = REAL_SORT(x)
    return values, order[:, ::-1]


def unsorted(x):
    return x, REAL_SORT(x)[1]


def broken(*_):
    raise ValueError("kernel Sort not found\nfor float32")


REAL_PRODUCT, REAL_SORT = ms.ops.matmul, ms.ops.sort


@pytest.mark.parametrize(
    ("name", "replacement", "why"),
    [
        ("matmul", wrong_product, r"a wrong matrix product, off by up to 30"),
        ("matmul", lambda x, y: x * float("nan"), r"a wrong matrix product, off by up to nan"),
        ("sort", wrong_order, r"a wrong sort"),
        ("sort", unsorted, r"a wrong sort"),
        ("sort", broken, r"kernel Sort not found"),
    ],
)
def test_wrong_answers_are_refused(monkeypatch, name, replacement, why):
    monkeypatch.setattr(ms.ops, name, replacement)
    with pytest.raises(
        DeviceError, match=rf"^device_target CPU: expected a device that computes correctly, got {why}; use "
    ):
        use_device("CPU")


def test_less_precision_is_no_wrong_answer(monkeypatch):
    half = lambda x: x.astype(ms.float16)  # noqa: E731
    monkeypatch.setattr(ms.ops, "matmul", lambda x, y: REAL_PRODUCT(half(x), half(y)).astype(ms.float32))
    monkeypatch.setattr(ms.ops, "sort", lambda x: REAL_SORT(half(x)))
    assert use_device("CPU") == "CPU"


def test_auto_costs_nothing_where_there_is_a_cpu_alone(monkeypatch):
    monkeypatch.setattr(ms.hal, "is_available", lambda name: name == "CPU")
    monkeypatch.setattr(runtime, "_whats_wrong", lambda _: pytest.fail("nothing is to be computed"))
    monkeypatch.setattr(runtime, "_tried", lambda *_: pytest.fail("no process is to be started"))
    assert use_device("auto") == "CPU"


@pytest.fixture
def refusing(monkeypatch):
    """A MindSpore that has computed something on the CPU already, on a machine that has everything."""

    def refuse(*_):
        raise RuntimeError("The runtime has been initialized, please set it before")

    monkeypatch.setattr(ms.hal, "is_available", lambda name: True)
    monkeypatch.setattr(ms, "set_device", refuse)
    monkeypatch.setattr(ms, "get_context", {"device_target": "CPU"}.get)
    monkeypatch.setattr(ms, "set_context", lambda **_: None)
    monkeypatch.setattr(ms, "set_deterministic", lambda _: None)


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
