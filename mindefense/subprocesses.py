"""Runs code in a child process, so that a crash or a hang does not affect this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping

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
