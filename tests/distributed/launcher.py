"""Jobs of several processes, started as users start them: by MindSpore's launcher."""

import dataclasses
import os
import socket
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent


@dataclasses.dataclass
class Ended:
    """How a job ended: msrun's exit code, and what each rank said."""

    code: int
    said: list[str]


def command(workers, logs, script, *arguments):
    """The launcher's command line for a job on this host."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    return [
        *(BIN / "msrun", f"--worker_num={workers}", f"--local_worker_num={workers}", "--master_addr=127.0.0.1"),
        *(f"--master_port={port}", "--join=True", f"--log_dir={logs}", script, *map(str, arguments)),
    ]


def environment():
    """With the interpreter that runs the tests as `python`, which is what msrun starts."""
    return {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def said_by(logs, rank):
    """What a rank wrote."""
    path = logs / f"worker_{rank}.log"
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
