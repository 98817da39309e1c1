"""Work for a process of its own: what it does may crash, hang or spoil the process, and none of that reaches here."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping

SAYS = "mindefense: "
"""How the line begins that is a child's answer; whatever else it prints is dropped."""


class NoAnswer(Exception):
    """A child that ended, or was ended, without an answer; the message says how."""


def ask_child(code: str, *arguments: str, timeout: float, environment: Mapping[str, str] | None = None) -> str:
    """Runs Python code in a process of its own and returns the line that it prints after `SAYS`.

    Args:
        code: What to run. It finds `arguments` in ``sys.argv[1:]``.
        arguments: For the code. `sys.path` is not inherited; hand it over if it is needed.
        timeout: Seconds after which it is ended, with all processes that it started.
        environment: Its variables; None for those of this process.

    Raises:
        NoAnswer: If it prints no such line in time.
    """
    # A file and not a pipe: a driver's own children would hold a pipe open. A session, to end them all.
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
