"""Jobs of several processes, started as users start them: by MindSpore's launcher."""

import dataclasses
import os
import random
import socket
import sys
from pathlib import Path

import psutil

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


@dataclasses.dataclass
class Ended:
    """How a job ended: msrun's exit code, and what each rank said."""

    code: int
    said: list[str]


def command(workers, logs, script, *arguments):
    """The launcher's command line for a job on this host."""
    port = free_port()
    return [
        *(BIN / "msrun", f"--worker_num={workers}", f"--local_worker_num={workers}", "--master_addr=127.0.0.1"),
        *(f"--master_port={port}", "--join=True", f"--log_dir={logs}", script, *map(str, arguments)),
    ]


def first_handed_out():
    """The lowest port that the system gives to whoever asks for any, and to connections that go out."""
    told = Path("/proc/sys/net/ipv4/ip_local_port_range")
    return int(told.read_text(encoding="ascii").split()[0]) if told.is_file() else 32768


def free_port():
    """A port for the scheduler, which opens it seconds later, and under load much later.

    It is none that the system hands out, or a connection of another job may have it by then; all ranks would wait for a
    scheduler that cannot start.
    """
    lowest = first_handed_out()
    while True:
        port = random.SystemRandom().randrange(lowest // 2, lowest)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def end(job):
    """Ends a launcher and all that it has started."""
    for process in psutil.Process(job.pid).children(recursive=True):
        process.kill()
    job.kill()
    job.wait()


def environment():
    """With the interpreter that runs the tests as `python`, which is what msrun starts."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def said_by(logs, rank):
    """What a rank wrote."""
    path = logs / f"worker_{rank}.log"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
