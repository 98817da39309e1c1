"""What a model of any framework answered, recorded in a file: members, non-members and their confidence vectors."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import functools
import itertools
import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from mindefense.checks import (
    JUST_BELOW,
    ROUNDED_SUM,
    SUM_TOLERANCE,
    check_flags,
    check_labels,
    check_logits,
    check_probs,
    check_same_length,
    instead_of_logits,
    remedy_for_log_probs,
    remedy_for_probs,
)
from mindefense.confidence import LOWEST_PROB, log_probs, log_softmax, softmax
from mindefense.data.files import compressed_by, starts_with
from mindefense.errors import DataError, InputError, MindefenseError
from mindefense.files import sha256_of_file

FEWEST = 10
"""Members and non-members that each half must have; with fewer, no attacker can be fitted or judged."""
LARGEST = 1e30
"""Logits beyond this leave float32 when they are subtracted."""
LARGEST_DISTANCE = 0.02
"""How far a probability may be from the softmax of the logits beside it; half precision stays below."""
CERTAIN = 0.01
"""Share of rows with a probability of exactly 1 above which `RecordedOutputs.note` mentions them."""

FORMS = ("logits", "log_probs", "probs")
DEFENDED = "defended_"
WORDS = {
    "is_member": {"0": 0.0, "1": 1.0, "false": 0.0, "true": 1.0},
    "split": {"fit": 1.0, "eval": 0.0},
}
"""What the cells of a table may say, by array."""

ZIP_MAGICS, NPY_MAGIC = (b"PK\3\4", b"PK\5\6"), b"\x93NUMPY"
HEADER_LIMIT = 1 << 24
MATRICES = tuple(prefix + form for prefix in ("", DEFENDED) for form in FORMS)
COLUMNS = {"label": "labels", "is_member": "is_member", "split": "split", "index": "index"}
NUMBERED = re.compile(r"((?:defended_)?(?:logit|log_prob|prob))_([0-9]{1,7})")
FLAG_WITH_POINT = re.compile(r"[01]\.0*")  # what pandas writes of a column that had a gap
NPZ_REMEDY = 'save with np.savez("outputs.npz", logits=…, labels=…, is_member=…)'
CSV_REMEDY = "start with the line logit_0,logit_1,…,label,is_member"


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedOutputs:
    """One model's answers to its members and to others, N rows and C ≥ 2 classes.

    Attributes:
        name: Name of the file, without its folder.
        log_probs: ``(N, C)`` float32, finite; the model's answers.
        labels: ``(N,)`` int32 true classes, ``0 … C-1``, or None if the file does not hold them.
        is_member: ``(N,)`` bool, True where the model was trained on the sample.
        split: ``(N,)`` bool, True where the attacker is fitted on the sample and False where it is judged; None if
            the file leaves that to the caller.
        indices: ``(N,)`` int64, each different: which sample it is; ``0 … N-1`` if the file does not say.
        defended_log_probs: ``(N, C)`` float32, finite; the answers with a defense in front, or None.
        given: What the file holds the answers as: ``"logits"``, ``"log_probs"`` or ``"probs"``.
        note: What was changed or is lost in the answers, in words, or None.
        sha256: SHA-256 of the file, hex; None if there is no file.
    """

    name: str
    log_probs: np.ndarray
    labels: np.ndarray | None
    is_member: np.ndarray
    split: np.ndarray | None
    indices: np.ndarray
    defended_log_probs: np.ndarray | None
    given: str
    note: str | None
    sha256: str | None = None

    def __repr__(self) -> str:
        members = int(np.count_nonzero(self.is_member))
        defended = "undefended alone" if self.defended_log_probs is None else "undefended and defended"
        return (
            f"RecordedOutputs({self.name!r}: {members:,} members, {len(self) - members:,} non-members, "
            f"{self.log_probs.shape[1]:,} classes, {defended}, given as {self.given})"
        )

    def __len__(self) -> int:
        return len(self.is_member)


def load_outputs(path: str | os.PathLike[str]) -> RecordedOutputs:
    """Loads recorded outputs from an npz file or a CSV table; which of the two is told by the content.

    An npz file holds one of the arrays ``logits``, ``log_probs`` and ``probs`` ``(N, C)`` floating, ``is_member (N,)``
    bool or integers 0 and 1, and perhaps ``labels (N,)`` integers, ``split (N,)`` text ``"fit"`` or ``"eval"``,
    ``index (N,)`` integers and one of ``defended_logits``, ``defended_log_probs`` and ``defended_probs`` ``(N, C)``.
    A CSV table has a header with the columns ``logit_0 … logit_{C-1}`` (or ``log_prob_…``, ``prob_…``), ``is_member``
    (0, 1, true, false) and perhaps ``label``, ``split``, ``index`` and ``defended_logit_0 …`` in any order; UTF-8.
    Without labels, attackers that need the true class cannot take part.

    Logits become log-probabilities in float64. A class whose logit or log-probability is −∞, or below −`LARGEST`, has
    a probability of zero. Probabilities below `confidence.LOWEST_PROB`, zero among them, are raised to it; those at
    most `checks.JUST_BELOW` below zero count as zero. The answers of a binary model may be one column, ``(N, 1)``.
    Rows of probabilities are divided by their sum, which may be `ROUNDED_SUM` away from 1, as that of
    numbers of few digits is; if one is further away than `checks.SUM_TOLERANCE`, `note` says so.

    Args:
        path: The file.

    Raises:
        DataError: The file is missing, damaged, lacks an array, holds an unknown one, objects, or values that are not
            what their name says, or has too few members or non-members (`FEWEST` in each half).
    """
    file = Path(path)
    is_npz = _is_npz(file)
    try:
        recorded = (
            _recorded(file.name, _read_npz(file), NPZ_REMEDY)
            if is_npz
            else _recorded(file.name, _read_csv(file), CSV_REMEDY)
        )
        return dataclasses.replace(recorded, sha256=sha256_of_file(file))
    except InputError as error:
        said = str(error)
        if not is_npz:  # the checks count rows from 0, people look for lines
            said = re.sub(
                r"^(\S+|.* that sum to \d+, not) row (\d+)",
                lambda at: f"{at[1]} line {_nth_row(file, int(at[2]))[0]}",
                said,
            )
        raise DataError(f"{file}: {said}") from error
    except OSError as error:
        raise _unreadable(file, error) from error


def with_defended(outputs: RecordedOutputs, path: str | os.PathLike[str]) -> RecordedOutputs:
    """Recorded outputs with the answers of a defense to the same rows, from a second file.

    Args:
        outputs: The undefended ones.
        path: What the defended model answered, in the same order of rows: ``(N, C)`` probabilities as ``.npy``, or a
            file as `load_outputs` takes it, whose defended answers are taken if it has any, and its answers else.

    Raises:
        DataError: If a file is damaged, or is of other rows.
    """
    file = Path(path)
    if outputs.defended_log_probs is not None:
        raise DataError(f"{outputs.name}", expected="undefended answers alone", got="defended ones too", fix="drop one")
    same = "give the answers to the same rows, in the same order"
    if file.is_file() and starts_with(file, NPY_MAGIC):
        try:
            with file.open("rb") as stream:
                values = np.load(stream, allow_pickle=False)
        except (ValueError, OSError) as error:
            raise _damaged(file, f"a damaged or cut one ({str(error)[:80]})") from error
        if values.shape != outputs.log_probs.shape:
            raise DataError(f"{file}", expected=str(outputs.log_probs.shape), got=str(values.shape), fix=same)
        try:
            defended, _ = _log_probs(values, "probs", "defended_probs")
        except InputError as error:
            raise DataError(f"{file}: {error}") from error
        return dataclasses.replace(outputs, defended_log_probs=defended)
    held = load_outputs(file)
    defended = held.log_probs if held.defended_log_probs is None else held.defended_log_probs
    if defended.shape != outputs.log_probs.shape:
        raise DataError(f"{file}", expected=str(outputs.log_probs.shape), got=str(defended.shape), fix=same)
    for name in ("is_member", "labels", "indices"):
        one, other = getattr(outputs, name), getattr(held, name)
        if one is not None and other is not None and not np.array_equal(one, other):
            row = int(np.flatnonzero(one != other)[0])
            raise DataError(f"{file} {name} row {row}", expected=str(one[row]), got=str(other[row]), fix=same)
    # Rows that a defense was fitted on must not judge, which the file that it wrote says.
    split = outputs.split if held.split is None else held.split
    return dataclasses.replace(outputs, defended_log_probs=defended, split=split)


def _is_npz(file: Path) -> bool:
    if not file.is_file():
        got = "a folder" if file.is_dir() else "nothing of that name"
        raise DataError(f"outputs {file}", expected="an npz or CSV file", got=got, fix=NPZ_REMEDY)
    try:
        is_zip = any(starts_with(file, magic) for magic in ZIP_MAGICS)
        is_npy = starts_with(file, NPY_MAGIC)
        program = compressed_by(file)
    except OSError as error:
        raise _unreadable(file, error) from error
    if is_npy:
        raise DataError(f"outputs {file}", expected="an npz or CSV file", got="a single array (npy)", fix=NPZ_REMEDY)
    if program is not None:
        raise packed(file, "an npz or CSV file", program)
    if not is_zip and file.suffix == ".npz":
        raise _damaged(file, "one that does not begin like a zip file")
    return is_zip


def packed(file: Path, expected: str, program: str) -> DataError:
    """The error for a file that has to be unpacked first."""
    return DataError(f"outputs {file}", expected=expected, got="a compressed file", fix=f"unpack it with {program}")


def _unreadable(file: Path, error: OSError) -> DataError:
    return DataError(f"outputs {file}", expected="a readable file", got=error.strerror or str(error))


def _damaged(file: Path, got: str) -> DataError:
    return DataError(f"outputs {file}", expected="a readable npz file", got=got, fix="save or copy it again")


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    name = ""
    try:
        # Opened here, since NumPy leaves a file that turns out to be damaged open.
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            known = (*MATRICES, *COLUMNS.values())
            for name in held.files:
                if name.lower().endswith((".csv", ".npz")):
                    raise packed(file, "arrays in it", "unzip")
                if name not in known:
                    raise _unknown("array", name, difflib.get_close_matches(name.lower(), known, 1, 0.5), NPZ_REMEDY)
                arrays[name] = held[name]
    except MindefenseError:
        raise
    except Exception as error:  # NumPy lets many kinds of error through on a damaged file
        if "allow_pickle" in str(error):
            kind = "np.float32" if name in MATRICES else "str" if name == "split" else "np.int64"
            fix = f"save np.array({name}.tolist()).astype({kind})"
            raise InputError(name, expected="numbers or text", got="Python objects", fix=fix) from error
        raise _damaged(file, f"a damaged or cut one ({str(error)[:80] or type(error).__name__})") from error
    return arrays


def _unknown(kind: str, name: str, near: list[str], remedy: str) -> InputError:
    return InputError(f"unknown {kind} {name[:40]!a}", fix=f"did you mean {near[0]}?" if near else remedy)


def _read_csv(file: Path) -> dict[str, np.ndarray]:
    names = _header(file)
    places = _places(names)
    words = {places[name][0]: known for name, known in WORDS.items() if name in places}
    table = _table(file, names, words)
    for place, known in words.items():
        if (row := _first(np.isnan(table[:, place]))) is not None:
            got = ascii(_nth_row(file, row)[1][place].strip()[:20])
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
    """Array → positions of its columns, in the order of the classes."""
    numbered: dict[str, dict[int, int]] = {}
    for place, name in enumerate(names):
        if name in COLUMNS:
            array, number = COLUMNS[name], 0
        elif match := NUMBERED.fullmatch(name):
            array, number = f"{match[1]}s", int(match[2])
        else:
            stem = name.rstrip("0123456789")  # compared without the number, else prob0 is as near to prob_1
            stems = [*COLUMNS, *(f"{matrix[:-1]}_" for matrix in MATRICES)]
            near = difflib.get_close_matches(stem.lower(), stems, 1, 0.5)
            ending = (name[len(stem) :] or "0") if near and near[0].endswith("_") else ""
            raise _unknown("column", name, [found + ending for found in near], CSV_REMEDY)
        if number in numbered.setdefault(array, {}):
            raise InputError(f"column {name}", expected="each name once", got="it twice", fix="leave one out")
        numbered[array][number] = place
    for array, places in numbered.items():
        if (missing := next((number for number in range(len(places)) if number not in places), None)) is not None:
            name = f"{array[:-1]}_{missing}"
            raise InputError(f"column {name}", expected="classes numbered from 0 without gaps", got="no such column")
    return {array: [places[number] for number in range(len(places))] for array, places in numbered.items()}


def _table(file: Path, names: list[str], words: Mapping[int, Mapping[str, float]]) -> np.ndarray:
    """The lines after the header as ``(N, columns)`` float64; cells of `words` that are none of these are NaN."""
    try:
        # Opened here, since NumPy tells from the name whether to unpack a file.
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
    """The error for the first line that is no row of numbers."""
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
    """Number and cells of each line that holds a row; slow, for messages."""
    with file.open(encoding="utf-8-sig", errors="replace") as stream:
        for line, text in enumerate(stream, start=1):
            if line > 1 and text != "\n":
                yield line, next(csv.reader([text]))


def _nth_row(file: Path, row: int) -> tuple[int, list[str]]:
    return next(itertools.islice(_rows(file), row, None))


def _as_integers(values: np.ndarray, name: str) -> np.ndarray:
    if (row := _first(~((values == np.floor(values)) & (np.abs(values) < 2**53)))) is not None:
        raise InputError(f"{name} row {row}", expected="a whole number below 2**53", got=f"{values[row]:.6g}")
    return values.astype(np.int64)


def _first(is_bad: np.ndarray) -> int | None:
    return int(np.argmax(is_bad)) if is_bad.any() else None


def _recorded(name: str, arrays: Mapping[str, np.ndarray], remedy: str) -> RecordedOutputs:
    """The outputs in these arrays, all of which are known by name."""
    given = _form(arrays, "")
    if given is None:
        raise InputError("outputs", expected=f"one of {', '.join(FORMS)}", got="none of them", fix=remedy)
    if "is_member" not in arrays:
        raise InputError("is_member", expected="one value a row", got="nothing of that name", fix=remedy)
    arrays, notes = _widened(arrays, is_table=remedy == CSV_REMEDY)
    answers, more = _log_probs(arrays[given], given, given)
    notes += more
    defended_given = _form(arrays, DEFENDED)
    defended = None
    if defended_given is not None:
        defended, more = _log_probs(arrays[defended_given], defended_given.removeprefix(DEFENDED), defended_given)
        notes += more
    labels = None
    if "labels" in arrays:
        labels = check_labels(_class_numbers(arrays["labels"]), num_classes=answers.shape[1], name="labels")
        labels = labels.astype(np.int32)
        check_same_length({given: answers, "labels": labels})
    is_member = _as_flags(arrays["is_member"])
    split = _as_is_fit(arrays["split"]) if "split" in arrays else None
    indices = arrays.get("index", np.arange(len(answers)))
    check_same_length({given: answers, "is_member": is_member, "index": np.atleast_1d(indices)})
    indices = _as_indices(indices, is_member)
    if split is not None:
        check_same_length({given: answers, "split": split})
    if defended is not None and defended.shape != answers.shape:
        raise InputError(str(defended_given), expected=f"the shape of {given} {answers.shape}", got=f"{defended.shape}")
    _check_enough(is_member, split)
    return RecordedOutputs(
        name=name,
        log_probs=answers,
        labels=labels,
        is_member=is_member,
        split=split,
        indices=indices,
        defended_log_probs=defended,
        given=given,
        note="; ".join(notes) or None,
    )


def _widened(arrays: Mapping[str, np.ndarray], *, is_table: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays with answers of one column, as binary models give them, made two, and what there is to say of them."""
    arrays, notes = dict(arrays), []
    for name in MATRICES:
        if name not in arrays or arrays[name].shape[1:] != (1,):
            continue
        if is_table:  # whose header says that the column belongs to class 0
            column = name.removesuffix("s")
            prob = column.replace("log_prob", "prob")
            fix = f"of one sigmoid p write {prob}_0 = 1 - p and {prob}_1 = p"
            if name.endswith("logits"):
                fix = f"of one logit z write {column}_0 = 0 and {column}_1 = z"
            raise InputError(f"column {column}_1", expected="two classes or more", got="one column", fix=fix)
        both = _of_two_classes(arrays[name], name.removeprefix(DEFENDED), arrays.get("labels"))
        if both is not None:
            arrays[name] = both
            what = "logit" if name.endswith("logits") else "probability"
            notes.append(f"{name}: one column, taken as the {what} of class 1, of classes 0 and 1")
    return arrays, notes


def _class_numbers(labels: np.ndarray) -> np.ndarray:
    """The labels, if they are not one row of values a sample."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "iufb":
        return labels
    is_binary = ((labels == 0) | (labels == 1)).all(axis=1)
    classes = np.where(is_binary, labels.sum(axis=1), 1)
    if is_binary.all() and (classes == 1).all():
        raise InputError("labels", expected="(N,)", got=f"{labels.shape}", fix="save labels.argmax(axis=1)")
    if not is_binary.all():
        row = _first(~is_binary)
        got = np.array2string(labels[row], precision=3, threshold=8, edgeitems=3)
        fix = "save the class numbers from before smoothing and mixup"
    else:
        row = _first(classes != 1)
        got = f"{classes[row]:.0f}"
        fix = (
            "of a multi-label model evaluate one label k at a time: labels=labels[:, k] and of its logits "
            "logits=np.stack([0 * z[:, k], z[:, k]], axis=1)"
        )
    raise InputError(f"labels row {row}", expected="one class a sample", got=got, fix=fix)


def _form(arrays: Mapping[str, np.ndarray], prefix: str) -> str | None:
    """The name of the one matrix with this prefix, or None."""
    found = [prefix + form for form in FORMS if prefix + form in arrays]
    if len(found) > 1:
        logits, probs = (arrays.get(prefix + form) for form in ("logits", "probs"))
        # Where they differ, nobody can say which of the two is right.
        if logits is not None and probs is not None and logits.ndim == 2 and logits.shape == probs.shape:
            check_same_rows(
                check_logits(probs, name=f"{prefix}probs"),
                check_logits(raise_masked(logits, f"{prefix}logits"), name=f"{prefix}logits"),
                f"{prefix}probs",
                f"{prefix}logits",
                fix="find out which of them are the answers to these rows, and save those alone",
            )
        raise InputError(
            "outputs", expected=f"one of {', '.join(found)}", got=f"{len(found)} of them", fix=f"save {found[0]} alone"
        )
    return found[0] if found else None


def check_answers(values: np.ndarray, form: str, name: str) -> None:
    """Checks that finite ``(N, C)`` values are what their name says; rounded sums pass.

    Raises:
        InputError: If they are something else; it says what they look like and what to do.
    """
    prefix = name.removesuffix(form)
    if form == "logits":
        found = instead_of_logits(values)
        if found is not None:
            got, kind = found
            fix = {
                "probs": f"save them as {prefix}probs",
                "per cent": f"these are per cent: divide by 100 and save them as {prefix}probs",
                "sigmoids": f"of independent sigmoids, one a class, save {prefix}logits=np.log(p / (1 - p)) after p = "
                "p.clip(1e-7, 1 - 1e-7); if these are logits, subtract 1 from all, which changes no probability",
            }[kind]
            raise InputError(name, expected="values from before softmax", got=got, fix=fix)
        return
    with np.errstate(over="ignore"):
        probs = values if form == "probs" else np.exp(values)
        sums = probs.sum(axis=1, dtype=np.float64)
    lowest = probs.min(axis=1)
    if (row := _first((lowest < -JUST_BELOW) | ~(np.abs(sums - 1) <= ROUNDED_SUM))) is None:
        return
    if form == "log_probs":
        expected, got = "a sum of 1", f"a sum of {sums[row]:.6g}"
        fix = remedy_for_log_probs(values, row)
        raise InputError(f"exp({name}) row {row}", expected=expected, got=got, fix=_with_prefix(fix, prefix))
    expected, got = "a sum of 1", f"a sum of {sums[row]:.6g}"
    if lowest[row] < -JUST_BELOW:
        expected, got = "values ≥ 0", f"a minimum of {lowest[row]:.6g}"
    raise InputError(f"{name} row {row}", expected=expected, got=got, fix=remedy_for_probs(values, row))


def _with_prefix(fix: str, prefix: str) -> str:
    return re.sub(r"(?<=save them as )", prefix, fix)


def raise_masked(values: np.ndarray, name: str) -> np.ndarray:
    """Logits or log-probabilities ``(N, C)`` in which classes that are switched off have finite values.

    Such a class has −inf, or a number that stands for it. It gets a probability of at most `LOWEST_PROB`, as a
    probability of zero does, and no more than any other class of the row.

    Raises:
        InputError: If all classes of a row are switched off.
    """
    if values.dtype.kind != "f" or not (is_masked := values < np.float64(-LARGEST)).any():
        return values
    if (row := _first(is_masked.all(axis=1))) is not None:
        fix = "record this row again, or leave it out"
        got = f"{values[row].max():.3g} for every class"
        raise InputError(f"{name} row {row}", expected="a finite value for at least one class", got=got, fix=fix)
    values = values.astype(np.float64)
    highest, lowest = (
        pick.reduce(values, axis=1, where=~is_masked, initial=initial, keepdims=True)  # NaN elsewhere stays where it is
        for pick, initial in ((np.fmax, -np.inf), (np.fmin, np.inf))
    )
    return np.where(is_masked, np.minimum(lowest, highest + np.log(LOWEST_PROB)), values)


def check_same_rows(probs: np.ndarray, logits: np.ndarray, name: str, logits_name: str, *, fix: str) -> None:
    """Checks that probabilities and logits that are given together belong to the same answers.

    Raises:
        InputError: If not, naming the first row that differs.
    """
    apart = np.abs(softmax(logits) - probs).max(axis=1)
    if (apart > LARGEST_DISTANCE).any():
        row = int(np.argmax(apart > LARGEST_DISTANCE))
        raise InputError(
            f"{logits_name} row {row}",
            expected=f"logits whose softmax is the row of {name}",
            got=f"a probability that differs by {apart[row]:.3g}",
            fix=fix,
        )


def _log_probs(values: np.ndarray, form: str, name: str) -> tuple[np.ndarray, list[str]]:
    """``(N, C)`` outputs of one form → finite float32 log-probabilities, and what there is to say of them."""
    if values.ndim == 1 or values.shape[1:] == (1,):
        raise InputError(name, expected="shape (N, C) with C ≥ 2", got=f"{values.shape}", fix=two_columns(name))
    if form != "probs" and values.ndim == 2:
        values = raise_masked(values, name)
    values = check_logits(values, name=name).astype(np.float64)
    if not len(values):
        raise InputError(name, expected="at least one row", got="none")
    if (row := _first((np.abs(values) > LARGEST).any(axis=1))) is not None:
        got = f"{np.abs(values[row]).max():.3g}"
        fix = "look for an overflow in the model"
        raise InputError(f"{name} row {row}", expected=f"sizes up to {LARGEST:g}", got=got, fix=fix)
    check_answers(values, form, name)
    if form == "logits":
        return log_softmax(values), []
    notes = []
    if form == "probs" and (below := np.count_nonzero(values < 0)):
        notes.append(f"{name}: {below} value{'s' * (below > 1)} just below 0, by rounding, were set to 0")
        values = np.maximum(values, 0)
    probs = values if form == "probs" else np.exp(values)
    sums = probs.sum(axis=1, keepdims=True)
    away = np.abs(sums - 1).max()
    if away > SUM_TOLERANCE:
        notes.append(f"{name}: sums of rows were up to {away:.2g} away from 1; each row was divided by its sum")
    probs = probs / sums
    values = probs if form == "probs" else values - np.log(sums)
    check_probs(probs, name=name if form == "probs" else f"exp({name})")
    certain = np.count_nonzero(probs.max(axis=1) == 1)
    if certain > CERTAIN * len(probs):
        notes.append(f"{name}: {certain} of {len(probs)} rows hold a probability of exactly 1; logits keep them apart")
    return log_probs(values) if form == "probs" else values.astype(np.float32), notes


def two_columns(name: str) -> str:
    """How the one output of a binary model, in an array of this name, is saved as two classes."""
    if name.endswith("logits"):
        return f"of one logit z save {name}=np.stack([0 * z, z], axis=1) after z = z.ravel()"
    values = "np.exp(x).ravel()" if name.endswith("log_probs") else "p.ravel()"
    target = f"{name.replace('log_probs', 'probs')}=" if name.endswith("probs") else ""
    return f"of one sigmoid p save {target}np.stack([1 - p, p], axis=1) after p = {values}"


def _of_two_classes(values: np.ndarray, form: str, labels: np.ndarray | None) -> np.ndarray | None:
    """The ``(N, 1)`` output of a binary model as two classes, in the same form; None if it may be something else.

    A column of the largest probabilities, or of those of the true class, looks much like a sigmoid. What a binary model
    says of class 1 is below one half where it predicts class 0.
    """
    if values.shape[1:] != (1,) or values.dtype.kind != "f" or labels is None or labels.dtype.kind not in "iub":
        return None
    if not np.array_equal(np.unique(labels), [0, 1]) or np.isnan(values).any():
        return None
    values = values.astype(np.float64)
    if form == "logits":
        return np.concatenate((np.zeros_like(values), values), axis=1) if values.min() < 0 < values.max() else None
    probs = values if form == "probs" else np.exp(values)
    if not 0 <= probs.min() < 0.5 < probs.max() <= 1:
        return None
    probs = np.concatenate((1 - probs, probs), axis=1)
    with np.errstate(divide="ignore"):
        return probs if form == "probs" else np.log(probs)


def _as_flags(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu" and ((values == 0) | (values == 1)).all():
        values = values == 1
    return check_flags(values, name="is_member")


def _as_is_fit(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "U" or values.ndim != 1:
        fix = 'save np.where(is_fit, "fit", "eval")'
        raise InputError("split", expected="text (N,)", got=f"{values.dtype} {values.shape}", fix=fix)
    if (row := _first(~np.isin(values, list(WORDS["split"])))) is not None:
        raise InputError(f"split row {row}", expected="fit or eval", got=ascii(str(values[row])[:20]))
    return values == "fit"


def _as_indices(values: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    if values.dtype.kind not in "iu" or values.ndim != 1:
        fix = "save index.astype(np.int64)"
        raise InputError("index", expected="integers (N,)", got=f"{values.dtype} {values.shape}", fix=fix)
    both = np.intersect1d(values[is_member], values[~is_member])
    if len(both):
        listed = ", ".join(map(str, both[:3])) + (", …" if len(both) > 3 else "")
        raise InputError(
            "index",
            expected="no sample as a member and as a non-member",
            got=f"{len(both):,} as both: {listed}",
            fix="take them out of the non-members; if the numbers of the non-members start again, number them on from "
            "the members, or leave index out",
        )
    order = np.argsort(values, kind="stable")
    again = order[1:][values[order[1:]] == values[order[:-1]]]
    if len(again):
        row = again.min()
        fix = "record each sample once, or leave index out"
        raise InputError(f"index row {row}", expected="every sample once", got=f"{values[row]} again", fix=fix)
    return values.astype(np.int64)


def _check_enough(is_member: np.ndarray, is_fit: np.ndarray | None) -> None:
    parts = [("", np.ones(len(is_member), bool), 2 * FEWEST)]
    if is_fit is not None:
        parts = [(" to fit on", is_fit, FEWEST), (" to judge on", ~is_fit, FEWEST)]
    for purpose, rows, fewest in parts:
        for kind, those, origin in (("members", is_member, "was"), ("non-members", ~is_member, "was not")):
            if (n := np.count_nonzero(rows & those)) < fewest:
                fix = f"add rows that the model {origin} trained on"
                raise InputError("is_member", expected=f"at least {fewest} {kind}{purpose}", got=str(n), fix=fix)
