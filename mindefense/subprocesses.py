"""Runs code in child processes: where it may crash or hang, and work of one core each side by side."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from multiprocessing import resource_tracker
from typing import TypeVar

from mindefense.errors import MindefenseError

Result = TypeVar("Result")

SAYS = "mindefense: "
"""Prefix of the line with a child's answer; its other output is ignored."""


class NoAnswer(Exception):
    """A child process ended, or was killed, without an answer; the message has the reason."""


def ask_child(code: str, *arguments: str, timeout: float, environment: Mapping[str, str] | None = None) -> str:
    """Runs Python code in a child process and returns the rest of the line that it prints with the prefix `SAYS`.

    Args:
        code: The code.
        arguments: Its ``sys.argv[1:]``. `sys.path` is not inherited; pass it if it is needed.
        timeout: Seconds after which the child and all processes that it started are killed.
        environment: Its environment variables; None for those of this process.

    Raises:
        NoAnswer: If it prints no such line in time.
    """
    # A file and not a pipe, which a driver's child processes would keep open. A new session, to kill all of them.
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            code_left = child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"no answer within {timeout:g} s") from None
        finally:
            if child.returncode is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        said.seek(0)
        lines = said.read().decode(errors="replace").splitlines()
    for line in lines:
        if line.startswith(SAYS):
            return line.removeprefix(SAYS)
    how = f"signal {-code_left}" if code_left < 0 else f"code {code_left}"
    raise NoAnswer(f"the process that tried ended with {how}")


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes() -> int:
    """Number of processes for work of one core each: one per core, and at most ``LOKY_MAX_CPU_COUNT`` as in joblib."""
    from joblib import cpu_count

    return min(cores(), cpu_count())


def side_by_side(works: Iterable[Callable[[], Result]], jobs: int) -> Iterator[Result]:
    """Runs functions in processes of one core each; yields their results in the order of the functions.

    The exception of the function that fails first in time ends the others, and so does an interrupt of this process.

    Args:
        works: The functions, which are pickled; taken as processes become free.
        jobs: Number of processes; 1 to stay in this one.

    Raises:
        MindefenseError: If the operating system ends one of the processes.
    """
    if jobs == 1:
        for work in works:
            yield work()
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with parallel_config("loky", inner_max_num_threads=1):
        with _interrupts_blocked():
            results = Parallel(jobs, return_as="generator", max_nbytes=None, pre_dispatch="1.5*n_jobs")(
                delayed(work)() for work in works
            )
        try:
            yield from results
        except TerminatedWorkerError as error:
            raise MindefenseError(
                f"one of {jobs} processes that worked side by side was killed",
                fix="this often means that memory ran out: use fewer processes (--jobs), or close other programs",
            ) from error


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that are started inside never get an interrupt; the process that started them ends them.

    A terminal sends Ctrl-C to all processes, and those that are still importing packages would print a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # of multiprocessing, whose start ends the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
