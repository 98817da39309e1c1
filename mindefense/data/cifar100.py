"""CIFAR-100: small color images of 100 classes, the data set of MindArmour's membership tutorial."""

from __future__ import annotations

import os
import pickle
import pickletools
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mindefense.data.files import MissingData, Origin, find_file, open_text
from mindefense.errors import DataError
from mindefense.types import LabelledData

IMAGE, CLASSES, COARSE_CLASSES = (3, 32, 32), 100, 20
PIXELS = 3 * 32 * 32
LABELS = 2  # bytes before the pixels of a record: the coarse and the fine label
RECORD = LABELS + PIXELS
CIFAR10_RECORD = 1 + PIXELS
BLOCK = 256 * RECORD  # bytes read at a time
LIMIT = 1 << 28  # bytes; the published training images take 0.24 GB when pickled by Python 3
PARTS = ("train", "test")
ARCHIVE, PYTHON_ARCHIVE = "cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"
ORIGIN = Origin(
    name="cifar100",
    accepted=(ARCHIVE,),
    remedy="fetch the binary release with `mindefense download cifar100 --to DIR`",
)

Rows = tuple[list[np.ndarray], list[np.ndarray]]
"""Pieces of pixels ``(n, 3072)`` uint8 and of fine labels ``(n,)``, which are copied only once, by concatenation."""


def load_cifar100(path: str | os.PathLike[str]) -> LabelledData:
    """Loads CIFAR-100.

    Args:
        path: A folder with ``train.bin`` and ``test.bin``, or with ``train/train.bin`` and ``test/test.bin`` as in
            MindArmour's tutorial; or one that contains such a folder named ``cifar-100-binary``; or
            ``cifar-100-binary.tar.gz`` or a folder with it; or a folder with the files ``train`` and ``test`` of the
            Python release, or with a folder ``cifar-100-python`` that contains them. The first of these that exists
            is used.

    Returns:
        Features ``(N, 3, 32, 32)`` uint8, RGB images; labels ``(N,)`` int32, the fine label 0…99; `parts` ``train``
        and ``test``, in this order, each in the order of its file. The published files have 50,000 and 10,000 rows;
        any number ≥ 1 of records is accepted in each.

    Raises:
        DataError: If a file is missing, damaged or in another format. Nothing is unpacked to disk, and only the lists
            and bytes of a pickle are loaded.

    Source:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009; cs.toronto.edu/~kriz/cifar.html.
    """
    parts = _read(Path(path))
    labels = np.concatenate([piece for _, pieces in parts for piece in pieces], dtype=np.int32)
    pixels = np.empty((len(labels), PIXELS), np.uint8)  # in C order, even if a pickle has Fortran order
    np.concatenate([piece for pieces, _ in parts for piece in pieces], out=pixels)
    border = sum(len(piece) for piece in parts[0][1])
    return LabelledData(
        "cifar100",
        pixels.reshape(-1, *IMAGE),
        labels,
        CLASSES,
        parts={"train": range(border), "test": range(border, len(labels))},
    )


def _read(path: Path) -> list[Rows]:
    """The rows of each part, from the first known layout that exists at `path`."""
    if path.is_file():
        return _read_archive(path)
    folders = (path, path / "cifar-100-binary")
    flat = [[folder / f"{part}.bin" for part in PARTS] for folder in folders]
    deep = [[folder / part / f"{part}.bin" for part in PARTS] for folder in folders]
    if files := _choose([flat[0], deep[0], flat[1], deep[1]]):
        return [_read_records(file, file.name) for file in files]
    if (path / ARCHIVE).is_file():
        return _read_archive(path / ARCHIVE)
    if files := _choose([[folder / part for part in PARTS] for folder in (path, path / "cifar-100-python")]):
        return [_read_pickle(file) for file in files]
    if (path / PYTHON_ARCHIVE).is_file():
        fix = f"unpack it, or use the binary release: {ORIGIN.remedy}"
        raise DataError(str(path / PYTHON_ARCHIVE), expected="the files in it", got="the archive", fix=fix)
    raise MissingData(
        f"cifar100 data {path}",
        expected=f"{ARCHIVE} or a folder with it, with train.bin and test.bin, with train/train.bin and test/test.bin,"
        " with cifar-100-binary that holds such files, or with train and test of the Python release",
        got="a folder without any" if path.is_dir() else "no such file",
        fix=ORIGIN.remedy,
    )


def _choose(layouts: list[list[Path]]) -> list[Path] | None:
    """The files of the first layout that exists; a part without the other is an error, to avoid mixing two releases."""
    for files in layouts:
        missing = [number for number, file in enumerate(files) if not file.is_file()]
        if len(missing) == 1:
            (number,) = missing
            raise DataError(
                f"cifar100 {PARTS[number]} part",
                expected=f"{files[number]} to go with {files[1 - number]}",
                got=f"no such file (looked for {', '.join(str(layout[number]) for layout in layouts)})",
                fix=f"put it there, or {ORIGIN.remedy}",
            )
        if not missing:
            return files
    return None


def _read_archive(file: Path) -> list[Rows]:
    return [_read_records(file, f"{part}.bin", archived=True) for part in PARTS]


def _read_records(file: Path, name: str, *, archived: bool = False) -> Rows:
    """Reads binary records from a file, or from the member `name` of an archive."""
    what = f"{file} member {name}" if archived else str(file)
    pixels, labels, size, wrong = [], [], 0, None
    with open_text(find_file(file, ORIGIN), (name,), ORIGIN, limit=LIMIT) as stream:
        # The stream of a file that is not an archive is the file itself, which would be read as both parts.
        if archived and not isinstance(stream, tarfile.ExFileObject):
            expected, fix = f"a folder with train.bin and test.bin, or {ARCHIVE}", f"give it, or {ORIGIN.remedy}"
            raise DataError(str(file), expected=expected, got="another file", fix=fix)
        while block := stream.read(BLOCK):
            rows = np.frombuffer(block[: len(block) // RECORD * RECORD], np.uint8).reshape(-1, RECORD)
            # After the first fault, only the size is still needed, which shows whether this is CIFAR-10.
            wrong = wrong or _wrong_label(rows[:, 0], rows[:, 1], size // RECORD)
            if wrong is None:
                pixels.append(rows[:, LABELS:].copy())
                labels.append(rows[:, 1].copy())
            size += len(block)
    if size % RECORD or not size:
        got = f"{size:,} bytes"
        if size and size % CIFAR10_RECORD == 0:
            got += f", which is {size // CIFAR10_RECORD:,} records of CIFAR-10"
        raise ORIGIN.damaged(what, expected=f"one or more whole records of {RECORD:,} bytes", got=got)
    if wrong is not None:
        row, coarse, fine = wrong
        raise _bad_labels(f"{what} record {row + 1}", coarse, fine)
    return pixels, labels


def _wrong_label(coarse: np.ndarray, fine: np.ndarray, start: int) -> tuple[int, int, int] | None:
    """Row, counted from `start`, and both labels of the first record with an invalid label; None if there is none."""
    wrong = np.flatnonzero((coarse >= COARSE_CLASSES) | (fine >= CLASSES))
    return (start + int(wrong[0]), int(coarse[wrong[0]]), int(fine[wrong[0]])) if len(wrong) else None


def _bad_labels(what: str, coarse: int, fine: int) -> DataError:
    expected = f"a coarse label 0…{COARSE_CLASSES - 1} and a fine label 0…{CLASSES - 1}"
    return ORIGIN.damaged(what, expected=expected, got=f"{coarse} and {fine}")


# The Python release. A pickle is a program. Here it may use only the instructions of the published files, and name only
# five objects, each of which is replaced by a harmless stand-in with the same result.

OPCODES = {
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_LIST", "APPEND",
    "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET",
}  # fmt: skip


def _read_pickle(file: Path) -> Rows:
    """Reads a file of the Python release."""
    find_file(file, ORIGIN)
    size = file.stat().st_size
    if size > LIMIT:
        raise ORIGIN.damaged(str(file), expected=f"at most {LIMIT:,} bytes", got=f"{size:,}")
    try:
        with file.open("rb") as stream:
            _check_program(stream)
            stream.seek(0)
            held = _Unpickler(stream, encoding="bytes").load()
    except Exception as error:  # a damaged pickle can fail in any way
        reason = " ".join(str(error).split())[:200]
        raise _foreign(file, f"something else ({reason})") from error
    pixels, coarse, fine = _fields(held, file)
    wrong = _wrong_label(coarse, fine, 0)
    if wrong is not None:
        raise _bad_labels(f"{file} row {wrong[0] + 1}", *wrong[1:])
    return [pixels], [fine]


def _foreign(file: Path, got: str) -> DataError:
    return DataError(
        str(file),
        expected="a file of CIFAR-100's Python release",
        got=got,
        fix=f"use the binary release: {ORIGIN.remedy}",
    )


def _fields(held: object, file: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels ``(n, 3072)`` uint8, and coarse and fine labels ``(n,)`` uint8, from the loaded pickle."""
    fields = held if isinstance(held, dict) else {}
    pixels, lists = fields.get(b"data"), [fields.get(key) for key in (b"coarse_labels", b"fine_labels")]
    if not isinstance(pixels, _Pixels) or pixels.rows is None or not len(pixels.rows):
        raise _foreign(file, "one without rows of data")
    count = len(pixels.rows)
    for labels in lists:
        # Checked one by one, because NumPy would also convert values of other types.
        if not isinstance(labels, list) or len(labels) != count or not all(map(_is_byte, labels)):
            raise _foreign(file, f"{count:,} rows of data without as many small numbers in coarse_labels, fine_labels")
    coarse, fine = (np.array(labels, np.uint8) for labels in lists)
    return pixels.rows, coarse, fine


def _is_byte(value: object) -> bool:
    return type(value) is int and 0 <= value < 256


def _check_program(stream: BinaryIO) -> None:
    """Raises for instructions that the published files do not use, and for memo indices that would need much memory."""
    for step, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if opcode.name not in OPCODES:
            raise pickle.UnpicklingError(f"instruction {opcode.name}")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > step:
            raise pickle.UnpicklingError(f"place {argument} in the memory after {step} instructions")


class _Inert:
    """Stand-in for an object that a pickle names; a pickle cannot change its attributes."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("a state for an object without one")


class _Function(_Inert):
    """Stand-in for a function; not a function itself, because a pickle could set its attributes."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]):
        self._call = call

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)


class _Dtype(_Inert):
    """Stand-in for NumPy's dtype uint8."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        # The state has version, byte order, subtype, names, fields and sizes; for uint8 the middle three are None.
        if type(state) is not tuple or state[2:5] != (None, None, None):
            raise pickle.UnpicklingError("a type other than uint8")


class _Pixels(_Inert):
    """Stand-in for an array of images; `rows` are ``(n, 3072)`` uint8."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, by_column, raw = state
        if type(dtype) is not _Dtype or type(raw) is not bytes:
            raise pickle.UnpicklingError("an array of a type other than uint8")
        count, rest = divmod(len(raw), PIXELS)
        if rest or shape != (count, PIXELS):
            raise pickle.UnpicklingError(f"an array of another shape than (n, {PIXELS}), or not all of it")
        self.rows = np.frombuffer(raw, np.uint8).reshape(count, PIXELS, order="F" if by_column else "C")


NDARRAY = _Inert()


def _reconstruct(kind: object, shape: object, code: object) -> _Pixels:
    """An empty array, which its state fills later."""
    if kind is not NDARRAY or shape != (0,) or code != b"b":
        raise pickle.UnpicklingError("an array made in another way")
    return _Pixels()


def _dtype(code: object, align: object = None, copy: object = None) -> _Dtype:
    if code not in ("u1", b"u1"):
        raise pickle.UnpicklingError("a type other than uint8")
    return _Dtype()


def _encode(text: object, encoding: object = None) -> bytes:
    """Decodes bytes as Python 3 writes them in this pickle protocol."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("an encoding other than latin1")
    return text.encode("latin-1")


STAND_INS: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _Function(_reconstruct),
    ("numpy._core.multiarray", "_reconstruct"): _Function(_reconstruct),
    ("numpy", "ndarray"): NDARRAY,
    ("numpy", "dtype"): _Function(_dtype),
    ("_codecs", "encode"): _Function(_encode),
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that can load only the stand-ins."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in STAND_INS:
            raise pickle.UnpicklingError(f"a pickle that asks for {module_name[:40]!r} {global_name[:40]!r}")
        return STAND_INS[module_name, global_name]
