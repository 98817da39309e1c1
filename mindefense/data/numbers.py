"""Reads row numbers from a file, such as those of the rows that a model was trained on."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np

from mindefense.errors import DataError, InputError

SUFFIXES = (".txt", ".csv", ".npy")
"""Suffixes of files with row numbers: text with one number per line, or an array."""
_MOST_DIGITS = 18
"""Largest number of digits that always fits into an int64."""


def read_row_numbers(path: str | os.PathLike[str], *, rows: int | None = None) -> np.ndarray:
    """Reads row numbers from a file.

    Args:
        path: ``.txt`` or ``.csv`` with one number per line and nothing else, or ``.npy`` with integers ``(n,)``. Rows
            are counted from 0, and each is listed once.
        rows: Number of rows of the data set; None if it is unknown.

    Returns:
        ``(n,)`` int64, n ≥ 1, ascending.

    Raises:
        InputError: If the file has another suffix.
        DataError: If the file cannot be read, is empty, or has anything but different whole numbers from 0 to
            `rows` − 1; the message names the first wrong line or position.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise InputError("file of row numbers", expected=f"one that ends in {', '.join(SUFFIXES)}", got=str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        got = error.strerror or str(error)
        raise DataError(str(path), expected="a file with row numbers", got=got, fix="check the path") from error
    if path.suffix == ".npy":
        return check_row_numbers(_from_npy(raw, path), rows=rows, name=str(path), place="position")
    return check_row_numbers(_from_text(raw, path), rows=rows, name=str(path), place="line", first=1)


def check_row_numbers(
    numbers: np.ndarray, *, rows: int | None = None, name: str, place: str = "position", first: int = 0
) -> np.ndarray:
    """Checks row numbers.

    Args:
        numbers: ``(n,)`` integers.
        rows: Number of rows of the data set; None if it is unknown.
        name: Their name in messages.
        place: Name of a position in messages, such as ``"line"``.
        first: Number of the first position.

    Returns:
        ``(n,)`` int64, n ≥ 1, ascending.

    Raises:
        DataError: If there are none, or one is not an integer, negative, not below `rows`, or repeated.
    """
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
        got = f"{numbers.dtype} of shape {numbers.shape}" if numbers.size else "none"
        fix = "for a mask, give np.flatnonzero(mask)" if numbers.dtype == np.bool_ else "list the rows, counted from 0"
        raise DataError(name, expected="integers (n,), the numbers of rows", got=got, fix=fix)
    is_wrong = (numbers < 0) | (numbers > (np.iinfo(np.int64).max if rows is None else rows - 1))
    if is_wrong.any():
        at = int(is_wrong.argmax())
        expected = "a row number of at least 0" if rows is None else f"a row number 0 … {rows - 1}"
        fix = "count rows from 0" if numbers[at] == rows else None
        raise DataError(f"{name} {place} {first + at}", expected=expected, got=str(numbers[at]), fix=fix)
    ascending, where = np.unique(numbers, return_index=True)
    if len(ascending) < len(numbers):
        at = int(np.setdiff1d(np.arange(len(numbers)), where)[0])
        before = first + int(np.flatnonzero(numbers == numbers[at])[0])
        got = f"{numbers[at]}, which {place} {before} has too"
        raise DataError(f"{name} {place} {first + at}", expected="each row once", got=got)
    return ascending.astype(np.int64)


def _from_npy(raw: bytes, path: Path) -> np.ndarray:
    try:
        return np.lib.format.read_array(io.BytesIO(raw), allow_pickle=False)
    except Exception as error:  # NumPy raises many kinds of errors for a damaged header
        reason = " ".join(str(error).split())[:200]
        raise DataError(str(path), expected="an array of integers, no pickled objects", got=reason) from error


def _from_text(raw: bytes, path: Path) -> np.ndarray:
    try:
        lines = raw.decode("utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise DataError(str(path), expected="text with one row number per line", got=str(error)) from error
    numbers = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
            expected = "one whole number of at least 0, the number of a row"
            got = repr(text[:20]) if text else "an empty line"
            fix = "leave out the header" if number == 1 and text[:1].isalpha() else None
            raise DataError(f"{path} line {number}", expected=expected, got=got, fix=fix)
        numbers.append(int(text))
    return np.array(numbers, np.int64)
