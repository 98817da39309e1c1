"""Checks and conversion of recorded answers: logits, log-probabilities or probabilities."""

from __future__ import annotations

import re

import numpy as np

from mindefense.checks import (
    JUST_BELOW,
    ROUNDED_SUM,
    SUM_TOLERANCE,
    check_logits,
    check_probs,
    first_bad,
    instead_of_logits,
    remedy_for_log_probs,
    remedy_for_probs,
)
from mindefense.confidence import LOWEST_PROB, log_probs, log_softmax, softmax
from mindefense.errors import InputError

LARGEST = 1e30
"""Largest absolute value of a logit; differences of larger ones may overflow float32."""
LARGEST_DISTANCE = 0.02
"""Largest difference between a probability and the softmax of the given logits; half precision has smaller ones."""
CERTAIN = 0.01
"""Share of rows with a probability of exactly 1 above which `RecordedOutputs.note` mentions them."""


def check_answers(values: np.ndarray, form: str, name: str) -> None:
    """Checks that finite ``(N, C)`` values are of the given form: ``"logits"``, ``"log_probs"`` or ``"probs"``.

    Sums of rows may differ from 1 by rounding.

    Raises:
        InputError: If they are of another form; the message has the likely form and what to do.
    """
    prefix = name.removesuffix(form)
    if form == "logits":
        found = instead_of_logits(values)
        if found is not None:
            got, kind = found
            fix = {
                "probs": f"save them as {prefix}probs",
                "per cent": f"these are per cent: divide by 100 and save them as {prefix}probs",
                "sigmoids": f"for independent sigmoids, one per class, save {prefix}logits=np.log(p / (1 - p)) after "
                "p = p.clip(1e-7, 1 - 1e-7); if these are logits, subtract 1 from all, which changes no probability",
            }[kind]
            raise InputError(name, expected="values from before softmax", got=got, fix=fix)
        return
    with np.errstate(over="ignore"):
        probs = values if form == "probs" else np.exp(values)
        sums = probs.sum(axis=1, dtype=np.float64)
    lowest = probs.min(axis=1)
    if (row := first_bad((lowest < -JUST_BELOW) | ~(np.abs(sums - 1) <= ROUNDED_SUM))) is None:
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
    """Replaces the values of masked classes in ``(N, C)`` logits or log-probabilities by finite ones.

    A class is masked if its value is −inf or below −`LARGEST`. It gets a probability of at most `LOWEST_PROB`, like
    a probability of zero, and at most that of any other class of the row.

    Raises:
        InputError: If all classes of a row are masked.
    """
    if values.dtype.kind != "f" or not (is_masked := values < np.float64(-LARGEST)).any():
        return values
    if (row := first_bad(is_masked.all(axis=1))) is not None:
        fix = "record this row again, or leave it out"
        got = f"{values[row].max():.3g} for every class"
        raise InputError(f"{name} row {row}", expected="a finite value for at least one class", got=got, fix=fix)
    values = values.astype(np.float64)
    highest, lowest = (
        pick.reduce(
            values, axis=1, where=~is_masked, initial=initial, keepdims=True
        )  # NaN is reported by a later check
        for pick, initial in ((np.fmax, -np.inf), (np.fmin, np.inf))
    )
    return np.where(is_masked, np.minimum(lowest, highest + np.log(LOWEST_PROB)), values)


def check_same_rows(probs: np.ndarray, logits: np.ndarray, name: str, logits_name: str, *, fix: str) -> None:
    """Checks that probabilities are the softmax of logits, row by row, up to `LARGEST_DISTANCE`.

    Raises:
        InputError: If they are not; the message names the first such row.
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


def log_probs_of(values: np.ndarray, form: str, name: str) -> tuple[np.ndarray, list[str]]:
    """Converts ``(N, C)`` outputs of one form to finite float32 log-probabilities.

    Returns:
        The log-probabilities, and notes on what was changed or lost.

    Raises:
        InputError: If the values are of another form, not finite, or of another shape.
    """
    if values.ndim == 1 or values.shape[1:] == (1,):
        raise InputError(name, expected="shape (N, C) with C ≥ 2", got=f"{values.shape}", fix=two_columns(name))
    if form != "probs" and values.ndim == 2:
        values = raise_masked(values, name)
    values = check_logits(values, name=name).astype(np.float64)
    if not len(values):
        raise InputError(name, expected="at least one row", got="none")
    if (row := first_bad((np.abs(values) > LARGEST).any(axis=1))) is not None:
        got = f"{np.abs(values[row]).max():.3g}"
        fix = "look for an overflow in the model"
        raise InputError(f"{name} row {row}", expected=f"sizes up to {LARGEST:g}", got=got, fix=fix)
    check_answers(values, form, name)
    if form == "logits":
        return log_softmax(values), []
    notes = []
    if form == "probs" and (below := np.count_nonzero(values < 0)):
        notes.append(f"{name}: {below} value{'s' * (below > 1)} just below 0 (rounding) were set to 0")
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
        notes.append(
            f"{name}: {certain} of {len(probs)} rows have a probability of exactly 1; logits would distinguish them"
        )
    return log_probs(values) if form == "probs" else values.astype(np.float32), notes


def two_columns(name: str) -> str:
    """The advice how to save the single output of a binary model, in an array of this name, as two classes."""
    if name.endswith("logits"):
        return f"for one logit z, save {name}=np.stack([0 * z, z], axis=1) after z = z.ravel()"
    values = "np.exp(x).ravel()" if name.endswith("log_probs") else "p.ravel()"
    target = f"{name.replace('log_probs', 'probs')}=" if name.endswith("probs") else ""
    return f"for one sigmoid p, save {target}np.stack([1 - p, p], axis=1) after p = {values}"


def of_two_classes(values: np.ndarray, form: str, labels: np.ndarray | None) -> np.ndarray | None:
    """The ``(N, 1)`` output of a binary model as ``(N, 2)`` in the same form; None if it may be something else.

    A column of the largest probabilities, or of those of the true class, looks similar. It is excluded because the
    probability of class 1 must be below and above one half in some rows.
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
