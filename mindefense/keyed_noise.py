"""Noise that is a function of a secret key and the query, and the file that the key lives in. NumPy, no MindSpore.

Fresh noise for every query could be averaged away by asking again. Here each row seeds a counter-based generator
(Philox: Salmon et al., SC 2011) with the HMAC-SHA-256 of its bytes, so that the same query gets the same noise, alone,
in any batch, any order and any process. Only the generator's raw stream is drawn from: NumPy keeps that between its
versions, and does not promise as much for its distributions (NEP 19).
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
"""Length of the keys that `write_key` makes."""
_IN_CACHE = 2**16  # numbers worked on at a time: more would go through main memory, and take twice as long


def keyed_laplace(features: np.ndarray, scale: float, key: bytes) -> np.ndarray:
    """Laplace noise that is a function of a secret key and the row.

    Args:
        features: ``(N, ...)`` rows; what differs in no float32 digit is the same query, and so are -0 and 0.
        scale: Scale b of the Laplace distribution.
        key: The secret.

    Returns:
        ``(N, ...)`` float32 noise, every value within 37 b of 0.
    """
    size = math.prod(features.shape[1:])
    noise = np.empty(features.shape, np.float32)
    rows = max(1, _IN_CACHE // max(1, size))
    for first in range(0, len(features), rows):
        block = features[first : first + rows]
        uniform = (_raw(block, size, key) >> np.uint64(11)) * 2.0**-53
        # The inverse distribution function: the logarithm of twice the tail that a number cuts off. A tail of 0, once
        # in 2⁵³ numbers, counts as half the smallest other.
        tails = np.maximum(np.minimum(uniform, 1 - uniform), 2.0**-54)
        noise[first : first + rows] = np.copysign(-scale * np.log(2 * tails), uniform - 0.5).reshape(block.shape)
    return noise


def keyed_uniform(features: np.ndarray, count: int, key: bytes) -> np.ndarray:
    """Uniform numbers that are a function of a secret key and the row.

    Args:
        features: ``(N, ...)`` rows, as `keyed_laplace` takes them.
        count: How many numbers for each.
        key: The secret; another than that of `keyed_laplace`, which would take the same bits.

    Returns:
        ``(N, count)`` float32, odd multiples of 2⁻²⁴, so that neither 0 nor 1 is among them, nor 1 minus them.
    """
    raw = _raw(features, -(-count // 2), key)
    halves = raw.astype("<u8", copy=False).view("<u4")[:, :count]  # the low half of a number comes first
    return ((2 * (halves >> 9).astype(np.float64) + 1) * 2.0**-24).astype(np.float32)


def derive_key(key: bytes, purpose: str, *, again: int = 0) -> bytes:
    """The key of one stream of numbers.

    Args:
        key: The secret that all streams depend on.
        purpose: ``"noise"`` or ``"draws"``.
        again: k for a stream that is to differ from the first when the same is asked for the k-th time more.

    Returns:
        `key` itself for the first noise; else a hash of it, by another function than that of queries, so that no query
        can ask for it.
    """
    if (purpose, again) == ("noise", 0):
        return key
    return hmac.digest(key, f"{purpose} {again}".encode(), "sha512")


def _raw(features: np.ndarray, count: int, key: bytes) -> np.ndarray:
    """``(N, count)`` uint64 of each row's own stream."""
    # Adding 0 makes -0 and 0 one query, which they are to every network.
    rows = (np.ascontiguousarray(features, np.float32) + np.float32(0)).astype("<f4", copy=False)
    stream = np.random.Philox(key=0)
    start = stream.state  # putting a state back is several times faster than a new generator
    raw = np.empty((len(rows), count), np.uint64)
    for row, out in zip(rows, raw, strict=True):
        digest = hmac.digest(key, row.tobytes(), "sha256")
        start["state"]["key"] = np.frombuffer(digest, "<u8", 2)
        stream.state = start
        out[:] = stream.random_raw(count)
    return raw


@dataclasses.dataclass(frozen=True)
class KeyedNoise:
    """What is added to inputs: Laplace noise, a function of key and row.

    Attributes:
        key: The secret; not shown.
        scale: Scale b of the Laplace distribution.
    """

    key: bytes = dataclasses.field(repr=False)
    scale: float

    @classmethod
    def of(cls, key: bytes, scale: float, *, again: int = 0) -> KeyedNoise:
        """The noise that belongs to a secret from which several streams are derived."""
        return cls(derive_key(key, "noise", again=again), scale)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """``(n, ...)`` float32 noise for ``(n, ...)`` inputs."""
        return keyed_laplace(inputs, self.scale, self.key)


@dataclasses.dataclass(frozen=True)
class KeyedDraws:
    """What a defense draws for a query: uniform numbers, a function of key and row.

    Attributes:
        key: The secret; not shown.
        count: How many numbers for each row.
    """

    key: bytes = dataclasses.field(repr=False)
    count: int

    @classmethod
    def of(cls, key: bytes, count: int, *, again: int = 0) -> KeyedDraws:
        """The draws that belong to a secret from which several streams are derived."""
        return cls(derive_key(key, "draws", again=again), count)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """``(n, count)`` float32 in 0 … 1, both excluded, for ``(n, ...)`` inputs."""
        return keyed_uniform(inputs, self.count, self.key)


def write_key(path: str | os.PathLike) -> bytes:
    """Makes a new random key and writes it to a file that its owner alone may read.

    Args:
        path: The file, which must not be there yet. Its folder is made if need be.

    Returns:
        The key, 32 bytes.

    Raises:
        OutputError: If there is such a file, which is left as it is, or it cannot be written.
    """
    path = Path(path)
    key = secrets.token_bytes(KEY_BYTES)
    if path.exists():
        raise _taken(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:  # it may have come into being since
        raise (_taken(path) if path.exists() else _cannot_write(path, error)) from error
    try:
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(key.hex() + "\n")
    except OSError as error:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            path.unlink()
        raise _cannot_write(path, error) from error
    return key


def read_key(path: str | os.PathLike) -> bytes:
    """The key that `write_key` wrote.

    Raises:
        InputError: If the file is missing, holds something else, or others than its owner may read it.
    """
    fix = f"name the one in use, or make one: python -c \"from mindefense import write_key; write_key('{path}')\""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(4096).strip()
    except OSError as error:
        raise InputError(f"key {path}", expected="a file", got=error.strerror or str(error), fix=fix) from error
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        got = f"mode {stat.S_IMODE(mode):04o}"
        raise InputError(f"key {path}", expected="a file for its owner alone", got=got, fix=f"chmod 600 {path}")
    if not re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES), text):  # what the file holds is nobody's business
        raise InputError(f"key {path}", expected=f"{2 * KEY_BYTES} hexadecimal digits", got="something else", fix=fix)
    return bytes.fromhex(text.decode("ascii"))


def _taken(path: Path) -> OutputError:
    fix = "keep it, or move it away if every answer may change: another key gives other noise"
    return OutputError(f"there is a key in {path} already", fix=fix)


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(
        f"cannot write {path}: {error.strerror or error}", fix="choose a writable folder with free space"
    )
