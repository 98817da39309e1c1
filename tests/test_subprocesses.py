"""Work in processes of one core each: an interrupt or an error ends all of it, and nothing is left."""

import functools
import os
import signal
import subprocess
import sys
import time

import pytest

from mindefense import subprocesses
from mindefense.errors import InputError, MindefenseError
from mindefense.subprocesses import processes, side_by_side

WAITING = """
import functools, os, sys, time
from pathlib import Path
from mindefense.subprocesses import side_by_side

def wait(number):
    (Path(sys.argv[1]) / str(number)).write_text(str(os.getpid()))
    time.sleep(600)

works = [functools.partial(wait, number) for number in range(2)]
try:
    list(side_by_side(works, 2))
except KeyboardInterrupt:
    print("interrupted")
"""
"""Two functions that write their process numbers into a folder and do not return."""


def test_results_come_in_order():
    works = [functools.partial(pow, 2, power) for power in range(5)]
    assert list(side_by_side(works, 2)) == list(side_by_side(works, 1)) == [1, 2, 4, 8, 16]


def test_error_of_a_function_is_the_one_it_raises():
    with pytest.raises(InputError, match=r"^x: expected 1, got 2; do y$"):
        list(side_by_side([_refuse, _refuse], 2))


def test_a_process_that_is_killed_is_named_in_one_line():
    with pytest.raises(MindefenseError, match=r"^one of 2 processes .* was killed; this often means .*--jobs"):
        list(side_by_side([_die, _die], 2))


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def _refuse():
    raise InputError("x", expected="1", got="2", fix="do y")


@pytest.mark.parametrize("send", [os.killpg, os.kill], ids=["to all", "to the first"])
def test_interrupt_ends_all_processes_without_a_traceback(send, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-c", WAITING, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        while run.poll() is None and not all((tmp_path / str(number)).is_file() for number in range(2)):
            time.sleep(0.05)
        send(run.pid, signal.SIGINT)
        # Both streams end when the last process that holds them does.
        assert run.communicate(timeout=60) == ("interrupted\n", "")
    finally:
        if run.returncode is None:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()


BLOCKED = """
import functools, signal
from mindefense.subprocesses import side_by_side

blocked = functools.partial(signal.pthread_sigmask, signal.SIG_BLOCK, ())
print([signal.SIGINT in signals for signals in side_by_side([blocked] * 2, 2)], blocked())
"""
"""Whether interrupts are blocked in two processes, the first that are started, and in the one that starts them."""


def test_processes_get_no_interrupt_and_the_one_that_starts_them_does():
    run = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[True, True] set()"


def test_processes_are_one_a_core_and_no_more_than_joblib_may_have(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert processes() == 1
    monkeypatch.setattr(subprocesses, "cores", lambda: 0)
    assert processes() == 0
