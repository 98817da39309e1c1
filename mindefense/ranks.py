"""Work on many processes: rank 0 requests a job, every rank does a part, and the parts are returned in order.

The processes are started by MindSpore's launcher ``msrun``, on one host or several. They communicate through
MindSpore's collective operators: on Ascend by HCCL, on GPUs by NCCL, on CPUs by MindSpore itself. A message is a name,
JSON and arrays. The operators time out (on CPUs after 30 s), but rank 0 may be busy for longer. Ranks therefore first
wait for each other on sockets; through these they also notice that a rank has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import mindspore as ms
import numpy as np
from mindspore import ops

from mindefense.errors import InputError, MindefenseError, RankError
from mindefense.files import drop_unfinished

Job = Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], "np.ndarray | None"]
"""A job of a rank: a function from settings and arrays to its part of the result."""
_END = "end"
_IN_STEP = "in step: "
_PIECE = 1 << 26
"""Largest number of bytes per transfer."""
_JOIN_WITHIN = 120.0
"""Seconds in which the other ranks must connect to rank 0."""
_SPEAK_WITHIN = 5.0
"""Seconds in which a new connection must identify itself."""


def part_of(n: int, *, rank: int, size: int, block: int = 1) -> slice:
    """The rows of one rank: whole blocks, in the order of the ranks, divided as evenly as possible.

    Args:
        n: Number of rows.
        rank: Number of the rank.
        size: Number of ranks.
        block: Number of rows that stay together; the last block may be smaller.
    """
    blocks = -(-n // block)
    first, last = blocks * rank // size * block, blocks * (rank + 1) // size * block
    return slice(min(first, n), min(last, n))


class ProcessGroup:
    """The ranks of a job.

    Attributes:
        rank: Number of this process; rank 0 leads.
        size: Number of ranks.
        on_this_host: Number of ranks on this host.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size
        self._broadcast, self._all_gather = ops.Broadcast(0), ops.AllGather()
        host = np.frombuffer(zlib.crc32(_this_host().encode()).to_bytes(4, "little"), np.int32)
        self.on_this_host = int((self._gather(host) == host).sum())
        self._lines = self._call_in()
        self._is_over = False

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def lead(
        self,
        job: str,
        settings: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        here: Job,
    ) -> np.ndarray | None:
        """Runs a job on every rank; only rank 0 may call this.

        Args:
            job: Name of the job in the mapping that the other ranks give to `follow`.
            settings: Values that can be written as JSON.
            arrays: Arrays by name; every rank gets all of them completely.
            here: The job of this rank.

        Returns:
            The parts, concatenated along the first axis in the order of the ranks; None if they return none.

        Raises:
            RankError: If another rank fails; the message names it.
            MindefenseError: If this rank fails.
        """
        settings, arrays = dict(settings or {}), dict(arrays or {})
        self._tell(_pack(job, settings, arrays))
        return self._do(here, settings, arrays)

    @contextlib.contextmanager
    def in_step(self, job: str, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Starts a job, such as a training, in which all ranks call collective methods; only rank 0 may call this.

        If this rank fails within the context, the job ends, because the other ranks are waiting and cannot be told.
        """
        self._tell(_pack(_IN_STEP + job, dict(settings), dict(arrays)))
        try:
            yield
        except BaseException:
            self.abandon()
            raise

    def follow(self, jobs: Mapping[str, Job]) -> None:
        """Runs the jobs that rank 0 requests until it ends them; for the other ranks.

        Args:
            jobs: The jobs by name; a job may add further ones.
        """
        while True:
            job, settings, arrays = _unpack(self._tell(None))
            if job == _END:
                self._lines.hang_up()
                return
            if job.startswith(_IN_STEP):
                jobs[job.removeprefix(_IN_STEP)](settings, arrays)
            else:
                self._do(jobs[job], settings, arrays)

    def dismiss(self) -> None:
        """Ends `follow` on the other ranks; only rank 0 may call this. A second call does nothing."""
        if self._is_over:
            return
        self._is_over = True
        self._tell(_pack(_END, {}, {}))
        self._lines.hang_up()

    def abandon(self) -> None:
        """Marks the job as over without a message; for rank 0 if it fails. The others notice when this process ends."""
        self._is_over = True
        self._lines.stop_watching()

    # ---------------------------------------------------------------- called by all ranks together

    def agree(self, arrays: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """Rank 0's arrays by name, on every rank; the arguments of the other ranks are ignored."""
        return _unpack(self._tell(_pack("", {}, arrays or {}) if self.leads else None))[2]

    def meet(self) -> None:
        """Waits until all ranks have called this, without a time limit; call it before collective operators."""
        self._lines.meet()

    def total(self, values: np.ndarray) -> np.ndarray:
        """Float64 sum of all ranks' arrays of one shape, in the order of the ranks, so it is equal on all ranks."""
        values = np.ascontiguousarray(values, np.float64)
        self._lines.meet()
        parts = self._gather(values.reshape(-1).view(np.int32))
        return parts.reshape(self.size, -1).view(np.float64).sum(axis=0).reshape(values.shape)

    # ---------------------------------------------------------------- transport

    def _call_in(self) -> _Lines:
        """Connects every rank with rank 0, which broadcasts its address, port and a token."""
        told = np.zeros(64, np.int32)
        if not self.leads:
            where = json.loads(self._from_first(None, len(told)).tobytes().rstrip(b"\0"))
            return _Lines.to_first(self.rank, where)
        with socket.create_server((_own_address(), 0)) as listener:
            address, port = listener.getsockname()[:2]
            where = {"address": address, "port": port, "token": secrets.token_hex(16)}
            said = _words(json.dumps(where).encode())
            told[: len(said)] = said
            self._from_first(told, len(told))
            return _Lines.from_others(self.size - 1, listener, where["token"])

    def _do(self, job: Job, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> np.ndarray | None:
        # The package's own errors are reported to rank 0. Any other error ends this process, and with it the job.
        part, failure = None, None
        try:
            part = job(settings, arrays)
        except MindefenseError as error:
            failure = error
        said = {"failed": None if failure is None else str(failure)}
        outcomes = [_unpack(told) for told in self._collect(_pack("", said, {} if part is None else {"part": part}))]
        if failure is not None and self.leads:
            raise failure
        failed = {k: said["failed"] for k, (_, said, _) in enumerate(outcomes) if said["failed"] is not None}
        if failed and self.leads:
            rank, reason = next(iter(failed.items()))
            raise RankError(f"rank {rank} of {self.size} could not do its part ({reason})")
        parts = [arrays["part"] for _, _, arrays in outcomes if "part" in arrays]
        return np.concatenate(parts) if parts and self.leads else None

    def _tell(self, message: bytes | None) -> bytes:
        """Rank 0's bytes, on every rank."""
        self._lines.meet()
        size = None if message is None else np.array([len(message)], np.int64).view(np.int32)
        length = int(self._from_first(size, 2).view(np.int64)[0])
        pieces = []
        for first in range(0, length, _PIECE):
            words = -(-min(_PIECE, length - first) // 4)
            piece = None if message is None else _words(message[first : first + _PIECE])
            pieces.append(self._from_first(piece, words).tobytes())
        return message if message is not None else b"".join(pieces)[:length]

    def _from_first(self, words: np.ndarray | None, count: int) -> np.ndarray:
        sent = np.zeros(count, np.int32) if words is None else words
        return self._broadcast((ms.Tensor(sent),))[0].asnumpy()

    def _collect(self, message: bytes) -> list[bytes]:
        """Every rank's bytes, on every rank."""
        self._lines.meet()
        lengths = self._gather(np.array([len(message)], np.int64).view(np.int32)).view(np.int64)[:, 0]
        collected: list[list[bytes]] = [[] for _ in range(self.size)]
        for first in range(0, int(lengths.max()), _PIECE):
            words = np.zeros(-(-min(_PIECE, int(lengths.max()) - first) // 4), np.int32)
            own = _words(message[first : first + _PIECE])
            words[: len(own)] = own
            for pieces, row in zip(collected, self._gather(words), strict=True):
                pieces.append(row.tobytes())
        return [b"".join(pieces)[:length] for pieces, length in zip(collected, lengths, strict=True)]

    def _gather(self, words: np.ndarray) -> np.ndarray:
        """``(size, n)`` int32: the ``(n,)`` words of every rank; integers, because these are transferred exactly."""
        return self._all_gather(ms.Tensor(words)).asnumpy().reshape(self.size, -1)


def join_crew(choose_device: Callable[[], object]) -> ProcessGroup:
    """Joins the job that ``msrun`` has started.

    It does not return in the launcher's scheduler process, which runs the same script to connect the ranks.

    Args:
        choose_device: Sets MindSpore's device; called before the ranks are connected, and not in the scheduler.

    Raises:
        InputError: If this process was not started by ``msrun``.
        RankError: If the ranks cannot be connected.
    """
    role = os.environ.get("MS_ROLE")
    if role is None:
        raise InputError(
            "--distributed",
            expected="processes started by msrun",
            got="a single one",
            fix=f"start it with `msrun --worker_num=W --local_worker_num=W --join=True {sys.argv[0]} … --distributed`",
        )
    from mindspore.communication import get_group_size, get_rank, init

    if role == "MS_SCHED":
        ms.set_device("CPU")
        try:
            init()
        except RuntimeError as error:
            sys.exit(f"mindefense: scheduler process of msrun: {_first_line(error)}")
        sys.exit(0)
    choose_device()
    try:
        init()
        return ProcessGroup(get_rank(), get_group_size())
    except (RuntimeError, OSError, KeyError) as error:  # KeyError: variables of the launcher that are not set
        raise RankError(
            "the ranks could not connect",
            got=_first_line(error),
            fix="check that the port (--master_port) is free, all hosts reach --master_addr, and msrun started this",
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _this_host() -> str:
    """A unique name of this host; host names alone may be equal, for example in containers."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return socket.gethostname() + (boot.read_text() if boot.is_file() else "")


def _own_address() -> str:
    """The address of this host for other ranks: that of its connection to the scheduler, which all ranks can reach."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((os.environ["MS_SCHED_HOST"], int(os.environ["MS_SCHED_PORT"])))  # sends nothing
        return probe.getsockname()[0]


class _Lines:
    """Connections of rank 0 with each other rank: one to wait for each other, one to notice that a rank has ended.

    Args:
        meeting: Connections for waiting, by rank: to all other ranks on rank 0, to rank 0 on the others.
        living: Connections for noticing an end, likewise.
    """

    def __init__(self, meeting: dict[int, socket.socket], living: dict[int, socket.socket]):
        self._meeting, self._living = meeting, living
        self._first_to_tell = threading.Lock()
        self._is_over = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="watch of the ranks").start()

    @classmethod
    def to_first(cls, rank: int, where: Mapping[str, Any]) -> _Lines:
        """The connections of a rank other than 0."""
        lines = []
        for kind in ("m", "l"):
            line = socket.create_connection((where["address"], where["port"]), timeout=_JOIN_WITHIN)
            line.settimeout(None)
            line.sendall(f"{where['token']}{kind}{rank:08d}".encode())
            lines.append({0: line})
        return cls(*lines)

    @classmethod
    def from_others(cls, count: int, listener: socket.socket, token: str) -> _Lines:
        """The connections of rank 0; connections without the token are closed."""
        listener.settimeout(_JOIN_WITHIN)
        lines: dict[str, dict[int, socket.socket]] = {"m": {}, "l": {}}
        while any(len(held) < count for held in lines.values()):
            line, _ = listener.accept()
            line.settimeout(_SPEAK_WITHIN)
            try:
                said = line.recv(len(token) + 9, socket.MSG_WAITALL).decode("ascii", "replace")
            except OSError:
                said = ""
            if not secrets.compare_digest(said[: len(token)].encode(), token.encode()):
                line.close()
                continue
            line.settimeout(None)
            lines[said[len(token)]][int(said[-8:])] = line
        return cls(lines["m"], lines["l"])

    def meet(self) -> None:
        """Waits until all ranks have called this, without a time limit."""
        leads = 0 not in self._meeting
        for rank, line in self._meeting.items():
            if not leads:
                self._send(rank, line)
            self._receive(rank, line)
        if leads:
            for rank, line in self._meeting.items():
                self._send(rank, line)

    def hang_up(self) -> None:
        """Stops watching the other ranks, and tells them that this rank is about to end."""
        self.stop_watching()
        for line in self._living.values():
            with contextlib.suppress(OSError):
                line.sendall(b"e")

    def stop_watching(self) -> None:
        """Ignores the end of other ranks from now on."""
        self._is_over.set()

    def _send(self, rank: int, line: socket.socket) -> None:
        try:
            line.sendall(b"m")
        except OSError:
            self._is_gone(rank)

    def _receive(self, rank: int, line: socket.socket) -> None:
        try:
            said = line.recv(1)
        except OSError:
            said = b""
        if not said:
            self._is_gone(rank)

    def _watch(self) -> None:
        watched = {line: rank for rank, line in self._living.items()}
        while watched and not self._is_over.is_set():
            for line in select.select(list(watched), [], [])[0]:
                try:
                    said = line.recv(1)
                except OSError:
                    said = b""
                rank = watched.pop(line)
                if not said and not self._is_over.is_set():
                    self._is_gone(rank)

    def _is_gone(self, rank: int) -> NoReturn:
        """Ends this process, because the job cannot continue without that rank."""
        self._first_to_tell.acquire()
        print(
            f"mindefense: error: rank {rank} has ended and the job cannot continue; files written so far are complete, "
            f"the reason is in the log of rank {rank}",
            file=sys.stderr,
            flush=True,
        )
        drop_unfinished()
        os._exit(1)


def _pack(name: str, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    held = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
    listed = [[key, array.dtype.str, array.shape] for key, array in held.items()]
    head = json.dumps([name, settings, listed]).encode()
    return b"".join([len(head).to_bytes(8, "little"), head, *(array.tobytes() for array in held.values())])


def _unpack(message: bytes) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    at = 8 + int.from_bytes(message[:8], "little")
    name, settings, listed = json.loads(message[8:at])
    arrays = {}
    for key, kind, shape in listed:
        count = int(np.prod(shape, dtype=np.int64))
        arrays[key] = np.frombuffer(message, kind, count, at).reshape(shape).copy()  # a copy is aligned and writable
        at += arrays[key].nbytes
    return name, settings, arrays


def _words(message: bytes) -> np.ndarray:
    return np.frombuffer(message + b"\0" * (-len(message) % 4), np.int32)
