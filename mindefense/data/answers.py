"""What recorded answers are, logits, log-probabilities or probabilities, and what may be wrong with them."""

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
"""Logits beyond this leave float32 when they are subtracted."""
LARGEST_DISTANCE = 0.02
"""How far a probability may be from the softmax of the logits beside it; half precision stays below."""
CERTAIN = 0.01
"""Share of rows with a probability of exactly 1 above which `RecordedOutputs.note` mentions them."""


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
    """Logits or log-probabilities ``(N, C)`` in which classes that are switched off have finite values.

    Such a class has −inf, or a number that stands for it. It gets a probability of at most `LOWEST_PROB`, as a
    probability of zero does, and no more than any other class of the row.

    Raises:
        InputError: If all classes of a row are switched off.
    """
    if values.dtype.kind != "f" or not (is_masked := values < np.float64(-LARGEST)).any():
        return values
    if (row := first_bad(is_masked.all(axis=1))) is not None:
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


def log_probs_of(values: np.ndarray, form: str, name: str) -> tuple[np.ndarray, list[str]]:
    """``(N, C)`` outputs of one form → finite float32 log-probabilities, and what there is to say of them."""
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


def of_two_classes(values: np.ndarray, form: str, labels: np.ndarray | None) -> np.ndarray | None:
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
