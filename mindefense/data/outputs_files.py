"""Reads files of recorded outputs, npz and CSV, and checks the names of their arrays and columns."""

from __future__ import annotations

import csv
import difflib
import functools
import itertools
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mindefense.checks import first_bad
from mindefense.data.files import compressed_by, starts_with
from mindefense.errors import DataError, InputError, MindefenseError

FORMS = ("logits", "log_probs", "probs")
DEFENDED = "defended_"
WORDS = {
    "is_member": {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0},
    "split": {"fit": 1.0, "eval": 0.0},
}
"""The words that cells of a table may have, by array."""

ZIP_MAGICS, NPY_MAGIC = (b"PK\3\4", b"PK\5\6"), b"\x93NUMPY"
HEADER_LIMIT = 1 << 24
MATRICES = tuple(prefix + form for prefix in ("", DEFENDED) for form in FORMS)
COLUMNS = {"label": "labels", "is_member": "is_member", "split": "split", "index": "index"}
NUMBERED = re.compile(r"((?:defended_)?(?:logit|log_prob|prob))_([0-9]{1,7})")
FLAG_WITH_POINT = re.compile(r"[01]\.0*")  # pandas writes these for a column with missing values
NPZ_REMEDY = 'save with np.savez("outputs.npz", logits=…, labels=…, is_member=…)'
CSV_REMEDY = "start with the line logit_0,logit_1,…,label,is_member"


def is_npz(file: Path) -> bool:
    """Whether a file of outputs is an npz file; otherwise it is a CSV table.

    Raises:
        DataError: If it is neither, or is missing.
    """
    if not file.is_file():
        got = "a folder" if file.is_dir() else "no such file"
        raise DataError(f"outputs {file}", expected="an npz or CSV file", got=got, fix=NPZ_REMEDY)
    try:
        is_zip = any(starts_with(file, magic) for magic in ZIP_MAGICS)
        is_npy = starts_with(file, NPY_MAGIC)
        program = compressed_by(file)
    except OSError as error:
        raise unreadable(file, error) from error
    if is_npy:
        raise DataError(f"outputs {file}", expected="an npz or CSV file", got="a single array (npy)", fix=NPZ_REMEDY)
    if program is not None:
        raise packed(file, "an npz or CSV file", program)
    if not is_zip and file.suffix == ".npz":
        raise damaged(file, "one that is not a zip file")
    return is_zip


def packed(file: Path, expected: str, program: str) -> DataError:
    """The error for a file that must be unpacked first."""
    return DataError(f"outputs {file}", expected=expected, got="a compressed file", fix=f"unpack it with {program}")


def unreadable(file: Path, error: OSError) -> DataError:
    """The error for a file that the operating system cannot read."""
    return DataError(f"outputs {file}", expected="a readable file", got=error.strerror or str(error))


def damaged(file: Path, got: str) -> DataError:
    """The error for an npz file that is truncated or damaged."""
    return DataError(f"outputs {file}", expected="a readable npz file", got=got, fix="save or copy it again")


def read_npz(
    file: Path, known: Sequence[str] = (*MATRICES, *COLUMNS.values()), remedy: str = NPZ_REMEDY
) -> dict[str, np.ndarray]:
    """The arrays in an npz file.

    Args:
        file: The file.
        known: Names that arrays may have.
        remedy: Advice in the error about an array of another name.

    Raises:
        DataError: If the file is damaged or compressed as a whole.
        InputError: If an array has an unknown name or has objects.
    """
    arrays: dict[str, np.ndarray] = {}
    name = ""
    try:
        # Opened here, because NumPy does not close a damaged file.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            for name in held.files:
                if name.lower().endswith((".csv", ".npz")):
                    raise packed(file, "arrays in it", "unzip")
                if name not in known:
                    raise _unknown("array", name, difflib.get_close_matches(name.lower(), known, 1, 0.5), remedy)
                arrays[name] = held[name]
    except MindefenseError:
        raise
    except Exception as error:  # NumPy raises many kinds of errors for a damaged file
        if "allow_pickle" in str(error):
            kind = "np.float32" if name in MATRICES else "str" if name == "split" else "np.int64"
            fix = f"save np.array({name}.tolist()).astype({kind})"
            raise InputError(name, expected="numbers or text", got="Python objects", fix=fix) from error
        raise damaged(file, f"a damaged or truncated one ({str(error)[:80] or type(error).__name__})") from error
    return arrays


def _unknown(kind: str, name: str, near: list[str], remedy: str) -> InputError:
    return InputError(f"unknown {kind} {name[:40]!a}", fix=f"did you mean {near[0]}?" if near else remedy)


def read_csv(file: Path) -> dict[str, np.ndarray]:
    """The arrays in a CSV table, by name.

    Raises:
        InputError: If a column is unknown, missing or repeated, or a cell has another value than its column allows.
    """
    names = _header(file)
    places = _places(names)
    words = {places[name][0]: known for name, known in WORDS.items() if name in places}
    table = _table(file, names, words)
    for place, known in words.items():
        if (row := first_bad(np.isnan(table[:, place]))) is not None:
            got = ascii(nth_row(file, row)[1][place].strip()[:20])
            raise InputError(f"{names[place]} row {row}", expected=" or ".join(known), got=got)
    arrays = {name: table[:, columns] for name, columns in places.items()}
    for name in COLUMNS.values():
        if name in arrays:
            values = arrays[name][:, 0]
            if name == "is_member":
                arrays[name] = values == 1
            elif name == "split":
                arrays[name] = np.where(values == 1, "fit", "eval")
            else:
                arrays[name] = _as_integers(values, name)
    return arrays


def _header(file: Path) -> list[str]:
    """The names in the first line of a table."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            names = [name.strip() for name in next(csv.reader([stream.readline(HEADER_LIMIT)]), [])]
    except (ValueError, csv.Error) as error:
        got = f"something else ({str(error)[:80]})"
        raise InputError("header", expected="an npz file, or text in UTF-8", got=got, fix=NPZ_REMEDY) from error
    if not any(names):
        raise InputError("line 1", expected="the names of the columns", got="an empty line", fix=CSV_REMEDY)
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise InputError("line 1", expected="commas between columns", got=word, fix='save with sep=","')
    if not names[0]:
        raise InputError("column 1", expected="a name", got="none", fix="save with df.to_csv(file, index=False)")
    return names


def _places(names: list[str]) -> dict[str, list[int]]:
    """The positions of each array's columns, in the order of the classes."""
    numbered: dict[str, dict[int, int]] = {}
    for place, name in enumerate(names):
        if name in COLUMNS:
            array, number = COLUMNS[name], 0
        elif match := NUMBERED.fullmatch(name):
            array, number = f"{match[1]}s", int(match[2])
        else:
            stem = name.rstrip("0123456789")  # without the number, because prob0 is as similar to prob_1 as to prob_0
            stems = [*COLUMNS, *(f"{matrix[:-1]}_" for matrix in MATRICES)]
            near = difflib.get_close_matches(stem.lower(), stems, 1, 0.5)
            ending = (name[len(stem) :] or "0") if near and near[0].endswith("_") else ""
            raise _unknown("column", name, [found + ending for found in near], CSV_REMEDY)
        if number in numbered.setdefault(array, {}):
            raise InputError(f"column {name}", expected="each name once", got="two of this name", fix="leave one out")
        numbered[array][number] = place
    for array, places in numbered.items():
        if (missing := next((number for number in range(len(places)) if number not in places), None)) is not None:
            name = f"{array[:-1]}_{missing}"
            raise InputError(f"column {name}", expected="classes numbered from 0 without gaps", got="no such column")
    return {array: [places[number] for number in range(len(places))] for array, places in numbered.items()}


def _table(file: Path, names: list[str], words: Mapping[int, Mapping[str, float]]) -> np.ndarray:
    """The lines after the header as ``(N, columns)`` float64; unknown words in columns of `words` become NaN."""
    try:
        # Opened here, because NumPy would unpack a file depending on its name.
        with file.open(encoding="utf-8-sig") as stream, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            table = np.loadtxt(
                stream,
                delimiter=",",
                comments=None,
                quotechar='"',
                skiprows=1,
                ndmin=2,
                encoding="utf-8",
                converters={place: functools.partial(_value, known=known) for place, known in words.items()},
            )
    except ValueError as error:
        raise _bad_cell(file, names, words) or InputError("table", expected="numbers", got=str(error)[:80]) from error
    if not table.size:
        raise InputError("line 2", expected="at least one row", got="none")
    if table.shape[1] != len(names):
        raise _bad_cell(file, names, words) or InputError("table", expected=f"{len(names)} columns")
    return table


def _value(text: str, *, known: Mapping[str, float]) -> float:
    word = text.strip().lower()
    return known.get(word[0] if FLAG_WITH_POINT.fullmatch(word) else word, math.nan)


def _bad_cell(file: Path, names: list[str], words: Mapping[int, object]) -> InputError | None:
    """The error for the first line that is not a row of numbers."""
    for line, cells in _rows(file):
        if len(cells) != len(names):
            return InputError(f"line {line}", expected=f"{len(names)} columns", got=str(len(cells)))
        for place, cell in enumerate(cells):
            if place not in words and not _is_number(cell):
                return InputError(f"{names[place]} line {line}", expected="a number", got=ascii(cell.strip()[:20]))
    return None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of each line with a row; slow, for messages only."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        for line, text in enumerate(stream, start=1):
            if line > 1 and text != "\n":
                yield line, next(csv.reader([text]))


def nth_row(file: Path, row: int) -> tuple[int, list[str]]:
    """Line number and cells of the row with this number, counted from 0; slow, for messages only."""
    return next(itertools.islice(_rows(file), row, None))


def _as_integers(values: np.ndarray, name: str) -> np.ndarray:
    if (row := first_bad(~((values == np.floor(values)) & (np.abs(values) < 2**53)))) is not None:
        raise InputError(f"{name} row {row}", expected="a whole number below 2**53", got=f"{values[row]:.6g}")
    return values.astype(np.int64)
