"""Recorded outputs: the answers of a model of any framework to members and non-members, stored in a file."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindefense.checks import check_flags, check_labels, check_logits, check_same_length, first_bad
from mindefense.data.answers import check_same_rows, log_probs_of, of_two_classes, raise_masked
from mindefense.data.files import starts_with
from mindefense.data.outputs_files import (
    CSV_REMEDY,
    DEFENDED,
    FORMS,
    MATRICES,
    NPY_MAGIC,
    NPZ_REMEDY,
    WORDS,
    damaged,
    is_npz,
    nth_row,
    read_csv,
    read_npz,
    unreadable,
)
from mindefense.errors import DataError, InputError
from mindefense.files import sha256_of_file

FEWEST = 10
"""Smallest number of members, and of non-members, to fit attackers on and to evaluate them on."""


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedOutputs:
    """One model's answers to N members and non-members, with C ≥ 2 classes.

    Attributes:
        name: Name of the file, without its folder.
        log_probs: ``(N, C)`` float32, finite; the model's answers.
        labels: ``(N,)`` int32 true classes, ``0 … C-1``; None if the file lacks them.
        is_member: ``(N,)`` bool, True for samples that the model was trained on.
        split: ``(N,)`` bool, True for samples that attackers are fitted on, False for those that they are evaluated
            on; None if the file has no division.
        indices: ``(N,)`` int64, different numbers of the samples; ``0 … N-1`` if the file lacks them.
        defended_log_probs: ``(N, C)`` float32, finite; the answers of the defended model, or None.
        given: Form of the answers in the file: ``"logits"``, ``"log_probs"`` or ``"probs"``.
        note: A text on what was changed or lost in the answers, or None.
        sha256: Hexadecimal SHA-256 of the file; None if there is no file.
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
        defended = "undefended only" if self.defended_log_probs is None else "undefended and defended"
        return (
            f"RecordedOutputs({self.name!r}: {members:,} members, {len(self) - members:,} non-members, "
            f"{self.log_probs.shape[1]:,} classes, {defended}, given as {self.given})"
        )

    def __len__(self) -> int:
        return len(self.is_member)


def load_outputs(path: str | os.PathLike[str]) -> RecordedOutputs:
    """Loads recorded outputs from an npz file or a CSV table; the format is recognized by content.

    An npz file must have one of the arrays ``logits``, ``log_probs`` and ``probs``, ``(N, C)`` floating, and
    ``is_member``, ``(N,)`` bool or integers 0 and 1. It may have ``labels``, ``(N,)`` integers; ``split``, ``(N,)``
    text ``"fit"`` or ``"eval"``; ``index``, ``(N,)`` integers; and one of ``defended_logits``, ``defended_log_probs``
    and ``defended_probs``, ``(N, C)``. A CSV table in UTF-8 must have a header with the columns ``logit_0 …
    logit_{C-1}`` (or ``log_prob_…``, ``prob_…``) and ``is_member`` (0, 1, true, false), and may have ``label``,
    ``split``, ``index`` and ``defended_logit_0 …``, in any order. Without labels, attackers that need the true class
    cannot take part.

    Log-probabilities are computed from logits in float64. A class whose logit or log-probability is −∞, or below
    −`LARGEST`, has probability zero. Probabilities below `confidence.LOWEST_PROB`, including zero, are raised to it;
    values below zero by at most `checks.JUST_BELOW` count as zero. A binary model may have one column, ``(N, 1)``.
    Rows of probabilities are divided by their sum, which may differ from 1 by `ROUNDED_SUM` because of rounding; a
    difference above `checks.SUM_TOLERANCE` is reported in `note`.

    Args:
        path: The file.

    Raises:
        DataError: If the file is missing or damaged, lacks an array, has an unknown array, objects, or values of
            another form, or has too few members or non-members (`FEWEST` in each part).
    """
    file = Path(path)
    from_npz = is_npz(file)
    try:
        recorded = (
            _recorded(file.name, read_npz(file), NPZ_REMEDY)
            if from_npz
            else _recorded(file.name, read_csv(file), CSV_REMEDY)
        )
        return dataclasses.replace(recorded, sha256=sha256_of_file(file))
    except InputError as error:
        said = str(error)
        if not from_npz:  # the checks count rows from 0; a table has line numbers
            said = re.sub(
                r"^(\S+|.* that sum to \d+, not) row (\d+)",
                lambda at: f"{at[1]} line {nth_row(file, int(at[2]))[0]}",
                said,
            )
        raise DataError(f"{file}: {said}") from error
    except OSError as error:
        raise unreadable(file, error) from error


def with_defended(outputs: RecordedOutputs, path: str | os.PathLike[str]) -> RecordedOutputs:
    """Recorded outputs with the answers of the defended model to the same rows, from a second file.

    Args:
        outputs: The undefended outputs.
        path: The answers of the defended model, with the rows in the same order: ``(N, C)`` probabilities as ``.npy``,
            or a file in the format of `load_outputs`, of which the defended answers are taken, or the answers if there
            are no defended ones.

    Raises:
        DataError: If a file is damaged or has other rows, or `outputs` already has defended answers.
    """
    file = Path(path)
    if outputs.defended_log_probs is not None:
        got, fix = "defended answers as well", "give the defended answers in one file only"
        raise DataError(outputs.name, expected="only undefended answers", got=got, fix=fix)
    same = "give the answers to the same rows, in the same order"
    if file.is_file() and starts_with(file, NPY_MAGIC):
        try:
            with file.open("rb") as stream:
                values = np.load(stream, allow_pickle=False)
        except (ValueError, OSError) as error:
            raise damaged(file, f"a damaged or truncated one ({str(error)[:80]})") from error
        if values.shape != outputs.log_probs.shape:
            raise DataError(f"{file}", expected=str(outputs.log_probs.shape), got=str(values.shape), fix=same)
        try:
            defended, _ = log_probs_of(values, "probs", "defended_probs")
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
    # No attacker may be evaluated on rows that the defense was fitted on; the second file may record these rows.
    split = outputs.split if held.split is None else held.split
    return dataclasses.replace(outputs, defended_log_probs=defended, split=split)


def _recorded(name: str, arrays: Mapping[str, np.ndarray], remedy: str) -> RecordedOutputs:
    """The outputs in these arrays, all of which have known names."""
    given = _form(arrays, "")
    if given is None:
        raise InputError("outputs", expected=f"one of {', '.join(FORMS)}", got="none of them", fix=remedy)
    if "is_member" not in arrays:
        raise InputError("is_member", expected="one value per row", got="no such array", fix=remedy)
    arrays, notes = _widened(arrays, is_table=remedy == CSV_REMEDY)
    answers, more = log_probs_of(arrays[given], given, given)
    notes += more
    defended_given = _form(arrays, DEFENDED)
    defended = None
    if defended_given is not None:
        defended, more = log_probs_of(arrays[defended_given], defended_given.removeprefix(DEFENDED), defended_given)
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
    """The arrays, with the single column of binary models extended to two classes, and notes on that."""
    arrays, notes = dict(arrays), []
    for name in MATRICES:
        if name not in arrays or arrays[name].shape[1:] != (1,):
            continue
        if is_table:  # whose header says that the column belongs to class 0
            column = name.removesuffix("s")
            prob = column.replace("log_prob", "prob")
            fix = f"for one sigmoid p, write {prob}_0 = 1 - p and {prob}_1 = p"
            if name.endswith("logits"):
                fix = f"for one logit z, write {column}_0 = 0 and {column}_1 = z"
            raise InputError(f"column {column}_1", expected="two classes or more", got="one column", fix=fix)
        both = of_two_classes(arrays[name], name.removeprefix(DEFENDED), arrays.get("labels"))
        if both is not None:
            arrays[name] = both
            what = "logit" if name.endswith("logits") else "probability"
            notes.append(f"{name}: the one column was taken as the {what} of class 1 of two classes")
    return arrays, notes


def _class_numbers(labels: np.ndarray) -> np.ndarray:
    """Returns the labels unchanged, or raises InputError if they have several values per sample."""
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "iufb":
        return labels
    is_binary = ((labels == 0) | (labels == 1)).all(axis=1)
    classes = np.where(is_binary, labels.sum(axis=1), 1)
    if is_binary.all() and (classes == 1).all():
        raise InputError("labels", expected="(N,)", got=f"{labels.shape}", fix="save labels.argmax(axis=1)")
    if not is_binary.all():
        row = first_bad(~is_binary)
        got = np.array2string(labels[row], precision=3, threshold=8, edgeitems=3)
        fix = "save the class numbers from before smoothing and mixup"
    else:
        row = first_bad(classes != 1)
        got = f"{classes[row]:.0f}"
        fix = (
            "for a multi-label model with logits z, evaluate one label k at a time: labels=labels[:, k] and "
            "logits=np.stack([0 * z[:, k], z[:, k]], axis=1)"
        )
    raise InputError(f"labels row {row}", expected="one class per sample", got=got, fix=fix)


def _form(arrays: Mapping[str, np.ndarray], prefix: str) -> str | None:
    """The name of the one matrix with this prefix, or None."""
    found = [prefix + form for form in FORMS if prefix + form in arrays]
    if len(found) > 1:
        logits, probs = (arrays.get(prefix + form) for form in ("logits", "probs"))
        # If they differ, it is unknown which of the two is correct.
        if logits is not None and probs is not None and logits.ndim == 2 and logits.shape == probs.shape:
            check_same_rows(
                check_logits(probs, name=f"{prefix}probs"),
                check_logits(raise_masked(logits, f"{prefix}logits"), name=f"{prefix}logits"),
                f"{prefix}probs",
                f"{prefix}logits",
                fix="find out which of them are the answers to these rows, and save only those",
            )
        raise InputError(
            "outputs", expected=f"one of {', '.join(found)}", got=f"{len(found)} of them", fix=f"save only {found[0]}"
        )
    return found[0] if found else None


def _as_flags(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "iu" and ((values == 0) | (values == 1)).all():
        values = values == 1
    return check_flags(values, name="is_member")


def _as_is_fit(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "U" or values.ndim != 1:
        fix = 'save np.where(is_fit, "fit", "eval")'
        raise InputError("split", expected="text (N,)", got=f"{values.dtype} {values.shape}", fix=fix)
    if (row := first_bad(~np.isin(values, list(WORDS["split"])))) is not None:
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
            expected="no sample both as member and as non-member",
            got=f"{len(both):,} as both: {listed}",
            fix="remove them from the non-members; if non-members are numbered from 0 again, continue the numbers of "
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
        parts = [(" to fit on", is_fit, FEWEST), (" to evaluate on", ~is_fit, FEWEST)]
    for purpose, rows, fewest in parts:
        for kind, those, origin in (("members", is_member, "was"), ("non-members", ~is_member, "was not")):
            if (n := np.count_nonzero(rows & those)) < fewest:
                fix = f"add rows that the model {origin} trained on"
                raise InputError("is_member", expected=f"at least {fewest} {kind}{purpose}", got=str(n), fix=fix)
