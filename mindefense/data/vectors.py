"""Reads recorded confidence vectors in blocks of rows from ``.npy`` and ``.npz`` files of any size."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from mindefense.checks import JUST_BELOW, ROUNDED_SUM, SUM_TOLERANCE, check_logits
from mindefense.confidence import LOWEST_PROB, softmax
from mindefense.data.answers import LARGEST, check_answers, check_same_rows, raise_masked, two_columns
from mindefense.data.files import compressed_by, starts_with
from mindefense.data.outputs_files import NPY_MAGIC, ZIP_MAGICS, packed
from mindefense.errors import DataError, InputError

FORMS = ("probs", "log_probs", "logits")
"""Forms of the answers. The first one in a file is taken; the search starts from logits in the same file."""
NAMES = {**{form: (form, f"clean_{form}") for form in FORMS}, "noised_logits": ("noised_logits", "start_logits")}
"""The names that each array may have in an npz file."""
REMEDY = 'save with np.savez("big.npz", logits=…) or np.save("big.npy", probs)'
_ELEMENTS, _MOST_ROWS = 2**22, 2**16
_LOCAL_HEADER, _LENGTHS_AT = 30, 26


class Block(NamedTuple):
    """Some rows of recorded answers, after the checks.

    Attributes:
        first: Number of the first row in the file, counted from 0.
        probs: ``(n, C)`` float32 confidence vectors.
        predicted: ``(n,)`` predicted classes, determined before probabilities were rounded to float32.
        start_logits: ``(n, C)`` float32 logits that a search starts from; None for the logarithm of `probs`.
        rescaled: Number of rows that were divided by their sum, because it differed from 1 by rounding.
    """

    first: int
    probs: np.ndarray
    predicted: np.ndarray
    start_logits: np.ndarray | None
    rescaled: int


@dataclasses.dataclass(frozen=True)
class StoredMatrix:
    """An ``(N, C)`` floating array in a file, which is read in blocks.

    It is not memory-mapped, because the pages of a map would count as memory of this process.

    Attributes:
        file: The file.
        name: Name of the array.
        member: Name of the compressed member of a zip file; None if the bytes are stored uncompressed.
        offset: Position in bytes of the first element, in the file or the unpacked member.
        shape: ``(N, C)``.
        dtype: Type in which it is stored.
        by_column: Whether it is stored by columns (Fortran order).
    """

    file: Path
    name: str
    member: str | None
    offset: int
    shape: tuple[int, int]
    dtype: np.dtype
    by_column: bool

    def blocks(self, first: int, rows: int) -> Iterator[np.ndarray]:
        """Yields the rows from `first` on in blocks of at most `rows`, with the stored dtype.

        Raises:
            DataError: If the file cannot be read or is damaged.
        """
        n, classes = self.shape
        with _reading(self.file), contextlib.ExitStack() as open_files:
            stream = None
            if self.member is not None:
                archive = open_files.enter_context(zipfile.ZipFile(self.file))
                stream = open_files.enter_context(archive.open(self.member))
                stream.seek(self.offset + first * classes * self.dtype.itemsize)  # also unpacks the skipped bytes
            for start in range(first, n, rows):
                count = min(rows, n - start)
                if stream is not None:
                    yield self._values(_exactly(stream, count * classes * self.dtype.itemsize), (count, classes))
                elif self.by_column:
                    yield self._columns(start, count)
                else:
                    with self.file.open("rb") as plain:
                        plain.seek(self.offset + start * classes * self.dtype.itemsize)
                        held = _exactly(plain, count * classes * self.dtype.itemsize)
                    yield self._values(held, (count, classes))

    def _columns(self, start: int, count: int) -> np.ndarray:
        n, classes = self.shape
        values = np.empty((count, classes), self.dtype)
        with self.file.open("rb") as plain:
            for column in range(classes):
                plain.seek(self.offset + (column * n + start) * self.dtype.itemsize)
                values[:, column] = self._values(_exactly(plain, count * self.dtype.itemsize), (count,))
        return values

    def _values(self, held: bytes, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(held, self.dtype).reshape(shape)


@dataclasses.dataclass(frozen=True)
class RecordedVectors:
    """Recorded answers of a model, in a file that may be larger than the memory.

    Attributes:
        file: The file.
        form: Form of the answers, one of `FORMS`.
        answers: The answers.
        logits: Logits of the same answers if `form` is ``"probs"``, or None.
        noised_logits: Logits of the noised inputs, or None.
        state: Size, time and inode of the file, by which a change is detected.
    """

    file: Path
    form: str
    answers: StoredMatrix
    logits: StoredMatrix | None
    noised_logits: StoredMatrix | None
    state: tuple[int, int, int]

    def __len__(self) -> int:
        return self.answers.shape[0]

    @property
    def classes(self) -> int:
        """Number of classes C."""
        return self.answers.shape[1]

    @property
    def is_narrowed(self) -> bool:
        """Whether classes with different values in the file may have equal float32 probabilities."""
        return self.form != "probs" or self.answers.dtype.itemsize > 4

    def expect_noised(self) -> StoredMatrix:
        """The logits of the noised inputs.

        Raises:
            DataError: If the file has none.
        """
        if self.noised_logits is None:
            raise DataError(
                str(self.file),
                expected="an array noised_logits (N, C)",
                got="none",
                fix="this defense starts from the model's logits of the noised input: record them with the answers "
                "(docs/large_inputs.md)",
            )
        return self.noised_logits

    def blocks(self, first: int = 0, *, noised: bool = False, rows: int | None = None) -> Iterator[Block]:
        """Yields the rows from `first` on in blocks, after checking them.

        Args:
            first: Number of the first row, counted from 0.
            noised: Whether a search starts from `noised_logits`.
            rows: Largest number of rows of a block; None for `chunk_rows`. It does not change the values.

        Raises:
            DataError: If a row is not finite or not a confidence vector (the message has its number in the file), the
                file lacks required `noised_logits`, or it has changed since it was opened.
        """
        second = self.expect_noised() if noised else self.logits
        rows = rows or chunk_rows(self.classes)
        seconds = iter(()) if second is None else second.blocks(first, rows)
        for values in self.answers.blocks(first, rows):
            if _state_of(self.file) != self.state:
                raise DataError(str(self.file), expected="an unchanged file", got="a change while it was read")
            try:
                probs, logits, rescaled = _as_probs(values, self.form, self.answers.name)
                predicted = values.argmax(axis=1)
                if second is not None:
                    logits = _as_logits(raise_masked(next(seconds), second.name), second.name)
                    if second is self.logits:
                        fix = f"save both in the same order and without a temperature, or leave {second.name} out"
                        check_same_rows(probs, logits, self.answers.name, second.name, fix=fix)
            except InputError as error:
                said = re.sub(r" row (\d+)", lambda at, start=first: f" row {start + int(at[1])}", str(error), count=1)
                raise DataError(f"{self.file}: {said}") from error
            yield Block(first, probs, predicted, logits, rescaled)
            first += len(probs)

    def check(self, *, noised: bool = False, on_progress: Callable[[int], None] | None = None) -> str:
        """Reads and checks all rows once, so that an invalid row is reported before the computation starts.

        Args:
            noised: See `blocks`.
            on_progress: Called with the number of rows just read.

        Returns:
            The hexadecimal SHA-256 of all values that `blocks` yields, which does not depend on the file's format.

        Raises:
            DataError: See `blocks`.
        """
        answers, starts = hashlib.sha256(b"narrowed" if self.is_narrowed else b""), hashlib.sha256()
        for block in self.blocks(noised=noised):
            answers.update(block.probs.tobytes() + block.predicted.tobytes())
            if block.start_logits is not None:
                starts.update(block.start_logits.tobytes())
            if on_progress is not None:
                on_progress(len(block.probs))
        return hashlib.sha256(answers.digest() + starts.digest()).hexdigest()


def chunk_rows(classes: int) -> int:
    """Number of rows of C classes per block: 16 MiB as float32, a power of two to divide it evenly among processes."""
    fitting = max(1, _ELEMENTS // classes)
    return min(_MOST_ROWS, 1 << (fitting.bit_length() - 1))


def open_vectors(path: str | os.PathLike[str]) -> RecordedVectors:
    """Finds recorded answers in a file without reading them.

    An ``.npy`` file has probabilities ``(N, C)``. An ``.npz`` file, compressed or not, has ``probs``, ``log_probs`` or
    ``logits``, ``(N, C)``, or both ``probs`` and the ``logits`` of the same answers. These names may have the prefix
    ``clean_``. The file may also have ``noised_logits`` (or ``start_logits``), ``(N, C)``, the logits of the noised
    inputs. Other arrays are ignored. All floating types and byte orders are accepted; N ≥ 1, C ≥ 2.

    Args:
        path: The file; its format is recognized by content.

    Raises:
        DataError: If the file is missing, damaged or truncated, lacks the answers, or an array has another type or
            shape.
    """
    file = Path(path)
    if not file.is_file():
        got = "a folder" if file.is_dir() else "no such file"
        raise DataError(f"outputs {file}", expected="an npy or npz file", got=got, fix=REMEDY)
    with _reading(file):
        state = _state_of(file)
        if starts_with(file, NPY_MAGIC):
            with file.open("rb") as stream:
                found = {"probs": _matrix(file, "array", None, stream, 0, state[0])}
        elif any(starts_with(file, magic) for magic in ZIP_MAGICS):
            found = dict(_members(file))
        elif (program := compressed_by(file)) is not None:
            raise packed(file, "an npy or npz file", program)
        else:
            raise DataError(f"outputs {file}", expected="an npy or npz file", got="something else", fix=REMEDY)
    given = [form for form in FORMS if form in found]
    if not given:
        raise DataError(f"outputs {file}", expected=f"one of {', '.join(FORMS)}", got="none of them", fix=REMEDY)
    if len(given) > 1 and given != ["probs", "logits"]:
        raise DataError(f"outputs {file}", expected=f"one of {', '.join(given)}", got=f"{len(given)} of them")
    answers = found[given[0]]
    for other in found.values():
        if other.shape != answers.shape:
            raise DataError(
                f"{file}: {other.name}", expected=f"the shape of {answers.name} {answers.shape}", got=str(other.shape)
            )
    beside = found["logits"] if len(given) > 1 else None
    return RecordedVectors(file, given[0], answers, beside, found.get("noised_logits"), state)


def _members(file: Path) -> Iterator[tuple[str, StoredMatrix]]:
    """Yields the known arrays in an npz file, by their keys in `NAMES`."""
    with zipfile.ZipFile(file) as archive, file.open("rb") as plain:
        held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        for what, names in NAMES.items():
            present = [name for name in names if name in held]
            if len(present) > 1:
                raise DataError(f"outputs {file}", expected=f"one of {' and '.join(names)}", got="both")
            for name in present:
                info = held[name]
                if info.compress_type != zipfile.ZIP_STORED:
                    with archive.open(info) as stream:
                        yield what, _matrix(file, name, info.filename, stream, 0, info.file_size)
                    continue
                plain.seek(info.header_offset + _LENGTHS_AT)
                at = info.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", _exactly(plain, 4)))
                plain.seek(at)
                yield what, _matrix(file, name, None, plain, at, info.file_size)


def _matrix(file: Path, name: str, member: str | None, stream: IO[bytes], began: int, size: int) -> StoredMatrix:
    """The array whose header is next in `stream`, which is at position `began` and has `size` bytes for the array."""
    where = f"{file}: {name}"
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise DataError(where, expected="an array of numbers", got=f"npy version {version}", fix=REMEDY)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_column, dtype = read(stream)
    if dtype.kind != "f":
        got = "Python objects" if dtype.hasobject else str(dtype)
        raise DataError(where, expected="floating-point numbers", got=got, fix="apply .astype(np.float32)")
    if len(shape) != 2 or shape[1] < 2 or not shape[0]:
        fix = two_columns(name) if len(shape) == 1 or shape[1:] == (1,) else None
        raise DataError(where, expected="shape (N, C) with N ≥ 1 and C ≥ 2", got=str(shape), fix=fix)
    header = stream.tell() - (began if member is None else 0)
    wanted = header + shape[0] * shape[1] * dtype.itemsize
    if size < wanted:
        raise DataError(
            where, expected=f"{wanted:,} bytes", got=f"{size:,}", fix="save or copy it again: it is truncated"
        )
    if by_column and member is not None:
        fix = f"save np.ascontiguousarray({name}), or with np.savez"
        raise DataError(where, expected="rows in C order", got="compressed columns in Fortran order", fix=fix)
    return StoredMatrix(file, name, member, stream.tell(), (shape[0], shape[1]), dtype, by_column)


def _as_probs(values: np.ndarray, form: str, name: str) -> tuple[np.ndarray, np.ndarray | None, int]:
    """Float32 probabilities of answers of one form, logits (None for probabilities), and number of rescaled rows."""
    if form == "logits":
        logits = _as_logits(raise_masked(values, name), name)
        if len(logits) > 1:
            check_answers(logits, form, name)
        return softmax(logits), logits, 0
    held, logits = values, None
    if form == "log_probs":
        held = raise_masked(values, name).astype(np.float64)
        # Logarithms of zero are raised to the value that `confidence.log_probs` has for zero.
        lowest = np.log(LOWEST_PROB)
        is_zero = held <= lowest
        logits = _as_logits(np.maximum(held, lowest), name)  # NaN stays NaN
        with np.errstate(over="ignore"):
            values = np.where(is_zero, 0, np.exp(held))
    values = values.astype(np.result_type(values.dtype.newbyteorder("="), np.float32), copy=False)
    with np.errstate(invalid="ignore", over="ignore"):
        sums = values.sum(axis=1, dtype=np.float64)
        away = np.abs(sums - 1)
        is_off = (away > SUM_TOLERANCE) & (away <= ROUNDED_SUM)
    lowest = values.min()
    if not (away.max() <= ROUNDED_SUM and lowest >= -JUST_BELOW):  # also fails for NaN
        check_logits(held, name=name)
        check_answers(held, form, name)
    if lowest < 0:
        values = np.maximum(values, 0)
    if is_off.any():
        values = values.astype(np.float64)
        values[is_off] /= sums[is_off, None]
        if logits is not None:
            logits[is_off] -= np.log(sums[is_off, None]).astype(np.float32)
    return np.ascontiguousarray(values, np.float32), logits, int(is_off.sum())


def _as_logits(values: np.ndarray, name: str) -> np.ndarray:
    """Finite float32 logits."""
    check_logits(values, name=name)
    is_large = (np.abs(values) > LARGEST).any(axis=1)
    if is_large.any():
        fix = "look for an overflow in the model"
        raise InputError(f"{name} row {is_large.argmax()}", expected=f"sizes up to {LARGEST:g}", got="more", fix=fix)
    return np.ascontiguousarray(values, np.float32)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    held = stream.read(size)
    if len(held) != size:
        raise EOFError(f"it ends {size - len(held):,} bytes too early")
    return held


def _state_of(file: Path) -> tuple[int, int, int]:
    """Size, time and inode of a file, which change if it is written or replaced."""
    about = file.stat()
    return about.st_size, about.st_mtime_ns, about.st_ino


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Converts errors of reading a file to DataError of one line."""
    try:
        yield
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"outputs {file}", expected="a readable file", got=error.strerror or str(error)) from error
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error, struct.error, RuntimeError) as error:
        got = f"a damaged or truncated one ({str(error)[:80] or type(error).__name__})"
        raise DataError(f"outputs {file}", expected="a readable file", got=got, fix="save or copy it again") from error
