"""Helpers of all loaders: finding a file, opening it safely, reading arrays and the permutation without pickles."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import numpy as np

from mindefense.errors import DataError

GZIP_MAGIC, ZIP_MAGIC = b"\x1f\x8b", b"PK"
ORDER_FILES = ("shuffle_index.npy", "shuffle_index.npz")
ORDER_LIMIT = 1 << 26
TAR_HEADER = 512
READ_SIZE = 1 << 20


class MissingData(DataError):
    """No file of a data set exists at the given path; any other DataError means that a file exists and is invalid."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """A published data set, for file search and error messages.

    Attributes:
        name: Name of the data set.
        accepted: Names that its file may have in a folder, in the order of the search.
        remedy: How to get the data set, for error messages.
    """

    name: str
    accepted: tuple[str, ...]
    remedy: str

    def damaged(self, what: str, *, expected: str, got: str) -> DataError:
        """The error for a file that exists and is invalid."""
        return DataError(what, expected=expected, got=got, fix=f"replace the file: {self.remedy}")


def find_file(path: str | os.PathLike[str], origin: Origin) -> Path:
    """The data file at `path`.

    Args:
        path: The file itself, with any name, or a folder that contains one of `origin.accepted`.
        origin: The data set.

    Raises:
        MissingData: If there is no such file.
        DataError: If there is no permission to read it.
    """
    path = Path(path)
    for file in (path, *(path / name for name in origin.accepted)):
        if file.is_file():
            if not os.access(file, os.R_OK):
                raise DataError(str(file), expected="a readable file", got="no permission", fix=f"chmod u+r {file}")
            return file
    names = ", ".join(origin.accepted)
    got = "a folder without it" if path.is_dir() else "no such file"
    raise MissingData(
        f"{origin.name} data {path}", expected=f"a file or a folder with one of {names}", got=got, fix=origin.remedy
    )


def starts_with(file: Path, magic: bytes) -> bool:
    """Whether `file` starts with these bytes. Formats are recognized by content, because users may rename files."""
    with file.open("rb") as stream:
        return stream.read(len(magic)) == magic


def compressed_by(file: Path) -> str | None:
    """The program that unpacks a file, recognized by content; None if it is not compressed."""
    magics = {b"\x1f\x8b": "gunzip", b"BZh": "bunzip2", b"\xfd7zXZ\0": "unxz", b"\x28\xb5\x2f\xfd": "unzstd"}
    return next((program for magic, program in magics.items() if starts_with(file, magic)), None)


class _Bounded(io.RawIOBase):
    """A stream that raises an error after `limit` bytes, because a small archive may unpack to a huge size."""

    def __init__(self, stream: BinaryIO, limit: int, too_long: DataError):
        self._stream, self._left, self._too_long = stream, limit, too_long

    def readable(self) -> bool:
        return True

    def readinto(self, buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        chunk = self._stream.read(len(view))
        view[: len(chunk)] = chunk
        self._left -= len(chunk)
        if self._left < 0:
            raise self._too_long
        return len(chunk)


@contextlib.contextmanager
def open_text(file: Path, members: tuple[str, ...], origin: Origin, *, limit: int) -> Iterator[BinaryIO]:
    """Opens the text in `file`: plain, gzipped, or a regular file in a (gzipped) tar. Nothing is unpacked to disk.

    Args:
        file: An existing file.
        members: Names that the text may have in an archive; ``a/b`` also matches ``c/a/b``.
        origin: The data set, for messages.
        limit: Largest number of unpacked bytes, including archive headers.

    Yields:
        A binary stream that can only be read forward.

    Raises:
        DataError: If the archive is truncated, damaged or too long, lacks the member, or has it as a link or with an
            unsafe name; possibly only while the stream is read.
    """
    too_long = origin.damaged(str(file), expected=f"at most {limit:,} bytes of text", got="more")
    try:
        with _unzipped(file) as stream:
            is_tar = _is_tar_header(stream.read(TAR_HEADER))
        with _unzipped(file) as stream:
            bounded = _Bounded(stream, limit, too_long)
            if not is_tar:
                yield cast(BinaryIO, io.BufferedReader(bounded))
                return
            # "r|" reads only forward, so that the limit applies to everything that is unpacked.
            with tarfile.open(fileobj=cast(BinaryIO, bounded), mode="r|", bufsize=READ_SIZE) as archive:
                yield _member(archive, file, members, origin)
    except (EOFError, zlib.error, tarfile.TarError, OSError) as error:
        raise origin.damaged(
            str(file), expected="a readable file", got=f"a damaged or truncated one ({error})"
        ) from error


def _unzipped(file: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(file)) if starts_with(file, GZIP_MAGIC) else file.open("rb")


def _is_tar_header(head: bytes) -> bool:
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def _member(archive: tarfile.TarFile, file: Path, members: tuple[str, ...], origin: Origin) -> BinaryIO:
    wanted = [PurePosixPath(name).parts for name in members]
    seen: list[str] = []
    for entry in archive:
        path = PurePosixPath(entry.name)
        if not any(path.parts[-len(parts) :] == parts for parts in wanted) or entry.isdir():
            seen.append(entry.name)
            continue
        stream = archive.extractfile(entry) if entry.isreg() and not entry.issparse() else None
        if stream is None or path.is_absolute() or ".." in path.parts:
            kind = "a link or special file" if stream is None else "an unsafe name"
            raise origin.damaged(f"{file} member {entry.name}", expected="a regular file inside the archive", got=kind)
        return cast(BinaryIO, stream)
    found = ", ".join(seen[:3]) + (" …" if len(seen) > 3 else "")
    raise origin.damaged(str(file), expected=f"an archive with {' or '.join(members)}", got=found or "an empty one")


def load_arrays(file: Path, names: tuple[str, ...], origin: Origin, *, limit: int) -> list[np.ndarray]:
    """Reads numeric arrays from an npz file without unpickling.

    Args:
        file: An existing file.
        names: Names of the arrays.
        origin: The data set, for messages.
        limit: Largest number of bytes of one array.

    Returns:
        One array per name, as stored.

    Raises:
        DataError: If the file is damaged, lacks an array, or an array is not numeric.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            stored = {info.filename: info for info in archive.infolist()}
            missing = [name for name in names if f"{name}.npy" not in stored]
            if missing:
                got = ", ".join(sorted(stored)) or "none"
                raise origin.damaged(str(file), expected=f"arrays {', '.join(names)}", got=got)
            wanted = [stored[f"{name}.npy"] for name in names]
            if max(info.file_size for info in wanted) > limit:
                raise origin.damaged(str(file), expected=f"at most {limit:,} bytes per array", got="more")
            raw = [archive.read(info) for info in wanted]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise origin.damaged(str(file), expected="a readable npz file", got=f"a damaged one ({error})") from error
    return [_array(data, f"{file} array {name}", origin) for data, name in zip(raw, names, strict=True)]


def _array(raw: bytes, what: str, origin: Origin) -> np.ndarray:
    expected = "an array of numbers, no pickled objects"
    try:
        array = np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds of errors for a damaged header
        raise origin.damaged(what, expected=expected, got=f"something else ({error})") from error
    if array.dtype.kind not in "biuf":
        raise origin.damaged(what, expected=expected, got=f"type {array.dtype}")
    return array


def read_order(folder: Path, rows: int, origin: Origin) -> np.ndarray | None:
    """The permutation of the rows in the published experiments, if it is in the folder of the data.

    Args:
        folder: Folder that may contain ``shuffle_index.npy``, or ``shuffle_index.npz`` with an array ``x``.
        rows: Number of rows of the data set, N.
        origin: The data set, for messages.

    Returns:
        ``(N,)`` int64, or None if there is no such file.

    Raises:
        DataError: If the file is damaged or not a permutation of ``0 … N-1``.
    """
    file = next((folder / name for name in ORDER_FILES if (folder / name).is_file()), None)
    if file is None:
        return None
    origin = dataclasses.replace(origin, remedy="take the published one, or remove it: it is optional")
    if starts_with(file, ZIP_MAGIC):
        (order,) = load_arrays(file, ("x",), origin, limit=ORDER_LIMIT)
    else:
        order = _array(file.read_bytes(), str(file), origin)
    if order.shape != (rows,) or not np.array_equal(np.sort(order), np.arange(rows)):
        raise origin.damaged(
            str(file), expected=f"a permutation of 0…{rows - 1}", got=f"shape {order.shape}, not a permutation of it"
        )
    return order.astype(np.int64)
