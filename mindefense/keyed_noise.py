"""Noise that is a function of a secret key and the query, and key files. Needs only NumPy.

Fresh noise for every query can be averaged out by repeated queries. Here each row seeds a counter-based generator
(Philox: Salmon et al., SC 2011) with the HMAC-SHA-256 of its bytes. The same query therefore gets the same noise, alone
or in any batch, in any order and in any process. Only the generator's raw stream is used, because NumPy guarantees it
across versions, but not its distributions (NEP 19).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import math
import os
import re
import secrets
import stat
from pathlib import Path

import numpy as np

from mindefense.errors import InputError, OutputError

KEY_BYTES = 32
"""Length in bytes of the keys of `write_key`."""
_IN_CACHE = 2**16  # numbers per block: larger blocks do not fit into the cache and take twice as long


def keyed_laplace(features: np.ndarray, scale: float, key: bytes) -> np.ndarray:
    """Laplace noise that is a function of a secret key and the row.

    Args:
        features: ``(N, ...)`` rows; rows that are equal as float32, with -0 equal to 0, are the same query.
        scale: Scale b of the Laplace distribution.
        key: The secret key.

    Returns:
        ``(N, ...)`` float32 noise, with absolute values of at most 37 b.
    """
    size = math.prod(features.shape[1:])
    noise = np.empty(features.shape, np.float32)
    rows = max(1, _IN_CACHE // max(1, size))
    for first in range(0, len(features), rows):
        block = features[first : first + rows]
        uniform = (_raw(block, size, key) >> np.uint64(11)) * 2.0**-53
        # The inverse distribution function is the logarithm of twice the tail probability. A tail of 0, which occurs
        # once in 2⁵³ numbers, is replaced by half of the smallest other value.
        tails = np.maximum(np.minimum(uniform, 1 - uniform), 2.0**-54)
        noise[first : first + rows] = np.copysign(-scale * np.log(2 * tails), uniform - 0.5).reshape(block.shape)
    return noise


def keyed_uniform(features: np.ndarray, count: int, key: bytes) -> np.ndarray:
    """Uniform numbers that are a function of a secret key and the row.

    Args:
        features: ``(N, ...)`` rows; see `keyed_laplace`.
        count: Number of values per row.
        key: The secret key, which must differ from that of `keyed_laplace`, because both use the same bits.

    Returns:
        ``(N, count)`` float32, odd multiples of 2⁻²⁴ in 0 … 1, both excluded.
    """
    raw = _raw(features, -(-count // 2), key)
    halves = raw.astype("<u8", copy=False).view("<u4")[:, :count]  # two values per number, the low half first
    return ((2 * (halves >> 9).astype(np.float64) + 1) * 2.0**-24).astype(np.float32)


def derive_key(key: bytes, purpose: str, *, again: int = 0) -> bytes:
    """Derives the key of one stream of random numbers.

    Args:
        key: The secret key of all streams.
        purpose: ``"noise"`` or ``"draws"``.
        again: 0 for the first stream; k for the stream of the k-th repetition of a query, which is independent.

    Returns:
        `key` itself for the first noise; otherwise an HMAC-SHA-512 with it. Queries use HMAC-SHA-256, so no query can
        reveal a derived key.
    """
    if (purpose, again) == ("noise", 0):
        return key
    return hmac.digest(key, f"{purpose} {again}".encode(), "sha512")


def _raw(features: np.ndarray, count: int, key: bytes) -> np.ndarray:
    """``(N, count)`` uint64 random numbers, from a separate stream for each row."""
    # Adding 0 makes -0 and 0 the same query, as they are for a network.
    rows = (np.ascontiguousarray(features, np.float32) + np.float32(0)).astype("<f4", copy=False)
    stream = np.random.Philox(key=0)
    start = stream.state  # setting a state is several times faster than creating a generator
    raw = np.empty((len(rows), count), np.uint64)
    for row, out in zip(rows, raw, strict=True):
        digest = hmac.digest(key, row.tobytes(), "sha256")
        start["state"]["key"] = np.frombuffer(digest, "<u8", 2)
        stream.state = start
        out[:] = stream.random_raw(count)
    return raw


@dataclasses.dataclass(frozen=True)
class KeyedNoise:
    """Laplace noise on inputs that is a function of key and row.

    Attributes:
        key: The secret key; not in the repr.
        scale: Scale b of the Laplace distribution.
    """

    key: bytes = dataclasses.field(repr=False)
    scale: float

    @classmethod
    def of(cls, key: bytes, scale: float, *, again: int = 0) -> KeyedNoise:
        """The noise with the key that `derive_key` derives from a secret key."""
        return cls(derive_key(key, "noise", again=again), scale)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """``(n, ...)`` float32 noise for ``(n, ...)`` inputs."""
        return keyed_laplace(inputs, self.scale, self.key)


@dataclasses.dataclass(frozen=True)
class KeyedDraws:
    """Uniform random numbers of a defense that are a function of key and row.

    Attributes:
        key: The secret key; not in the repr.
        count: Number of values per row.
    """

    key: bytes = dataclasses.field(repr=False)
    count: int

    @classmethod
    def of(cls, key: bytes, count: int, *, again: int = 0) -> KeyedDraws:
        """The draws with the key that `derive_key` derives from a secret key."""
        return cls(derive_key(key, "draws", again=again), count)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """``(n, count)`` float32 in 0 … 1, both excluded, for ``(n, ...)`` inputs."""
        return keyed_uniform(inputs, self.count, self.key)


def write_key(path: str | os.PathLike) -> bytes:
    """Creates a random key and writes it to a file that only its owner may read.

    Args:
        path: The file, which must not exist. Its folder is created if it does not exist.

    Returns:
        The key, 32 bytes.

    Raises:
        OutputError: If the file already exists, which does not change it, or it cannot be written.
    """
    path = Path(path)
    key = secrets.token_bytes(KEY_BYTES)
    if path.exists():
        raise _taken(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:  # another process may have created the file since the check
        raise (_taken(path) if path.exists() else _cannot_write(path, error)) from error
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            path.unlink()
        raise _cannot_write(path, error) from error
    return key


def read_key(path: str | os.PathLike) -> bytes:
    """Reads a key that `write_key` wrote.

    Raises:
        InputError: If the file is missing, has other contents, or can be read by others than its owner.
    """
    fix = f"give your key file, or make one: python -c \"from mindefense import write_key; write_key('{path}')\""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096).strip()
    except OSError as error:
        raise InputError(f"key {path}", expected="a file", got=error.strerror or str(error), fix=fix) from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        got = f"mode {stat.S_IMODE(mode):04o}"
        raise InputError(
            f"key {path}", expected="a file that only its owner may read", got=got, fix=f"chmod 600 {path}"
        )
    if not re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES), text):  # the message must not show the file's contents
        raise InputError(f"key {path}", expected=f"{2 * KEY_BYTES} hexadecimal digits", got="something else", fix=fix)
    return bytes.fromhex(text.decode("ascii"))


def _taken(path: Path) -> OutputError:
    fix = "use it, or move it away if answers may change, because another key gives other noise"
    return OutputError(f"there is already a key in {path}", fix=fix)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}", fix="choose a writable folder with free space"
    )
