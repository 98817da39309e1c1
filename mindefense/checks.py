"""Checks of user-supplied arrays. Each returns the array, or raises an `InputError` that names the first bad row."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from mindefense.errors import InputError

SUM_TOLERANCE = 1e-4
"""Largest difference between the sum of a confidence vector and 1; the rounding of a float32 softmax is far smaller."""
ROUNDED_SUM = 1e-2
"""Largest difference between the sum of a rounded confidence vector and 1, up to which it is rescaled."""
JUST_BELOW = 1e-6
"""Probabilities below 0 by at most this value are zeros with a rounding error."""

_FEWEST_TELLING = 10
_ALMOST_ALL = 0.95
_BASES = {np.e: "natural", 10.0: "base-10", 2.0: "base-2"}


def check_probs(probs: ArrayLike, *, name: str, tolerance: float = SUM_TOLERANCE) -> np.ndarray:
    """Checks confidence vectors.

    Args:
        probs: ``(N, C)`` floating, C ≥ 1; every row finite, ≥ 0 and summing to 1 within `tolerance` (summed in
            float64). N may be 0.
        name: Name of the array in messages.
        tolerance: Largest difference between a sum and 1.

    Returns:
        The same values and dtype as a NumPy array; not copied if it already was one.

    Raises:
        InputError: If `probs` is not such an array; the message names the first bad row.

    Example:
        >>> check_probs([[0.25, 0.75]], name="probs").shape
        (1, 2)
        >>> check_probs([[2.0, -1.0]], name="probs")
        Traceback (most recent call last):
        mindefense.errors.InputError: probs row 0: expected values ≥ 0, got a minimum of -1; apply softmax first
    """
    array = _as_floating_matrix(probs, name)
    with np.errstate(invalid="ignore", over="ignore"):  # comparisons with NaN are False, so such rows are bad
        sums = array.sum(axis=1, dtype=np.float64)
        row = first_bad(~((array.min(axis=1) >= 0) & (np.abs(sums - 1) <= tolerance)))
    if row is None:
        return array
    values = array[row].astype(np.float64)
    if not np.isfinite(values).all():
        expected, got, fix = _describe_not_finite(values)
        if values.max() <= 0 and abs(np.exp(values).sum() - 1) <= SUM_TOLERANCE:
            fix = "these are log-probabilities: apply exp first"
    elif values.min() < 0:
        expected, got, fix = "values ≥ 0", f"a minimum of {values.min():.6g}", remedy_for_probs(array, row)
    else:
        expected, got = f"a sum of 1 within {tolerance:g}", f"a sum of {sums[row]:.6g}"
        fix = remedy_for_probs(array, row)
    raise InputError(f"{name} row {row}", expected=expected, got=got, fix=fix)


def remedy_for_probs(array: np.ndarray, row: int) -> str:
    """The advice on ``(N, C)`` values that should be confidence vectors, from a finite row that is none.

    Softmax converts any values to confidence vectors, so it is advised only if no other explanation fits.
    """
    values = array[row].astype(np.float64)
    with np.errstate(over="ignore"):
        total = values.sum()
    if values.max() <= 0 and (base := _base_of(array, row)) is not None:
        return {
            "natural": "these are log-probabilities: apply exp first",
            "base-10": "these are base-10 logarithms of probabilities: apply 10.0 ** first",
            "base-2": "these are base-2 logarithms of probabilities: apply 2.0 ** first",
        }[base]
    if values.min() >= 0 and abs(total - 100) <= 100 * ROUNDED_SUM:
        return "these are per cent: divide by 100"
    if -JUST_BELOW <= values.min() < 0 and abs(total - 1) <= ROUNDED_SUM:
        return "this is a rounding error: set values below 0 to 0"
    if values.min() >= 0 and abs(total - 1) <= ROUNDED_SUM:
        return "divide each row by its sum"
    if values.min() < 0 or values.max() > 1:
        return _if_others_are_right(array) or "apply softmax first"
    return _remedy_for_fractions(array, total, "np.log(p / (1 - p)) after p = p.clip(1e-7, 1 - 1e-7)")


def remedy_for_log_probs(array: np.ndarray, row: int) -> str:
    """The advice on ``(N, C)`` values that should be log-probabilities, from a finite row that is none."""
    values = array[row].astype(np.float64)
    with np.errstate(over="ignore"):
        total = values.sum()
    if values.min() >= 0 and abs(total - 1) <= ROUNDED_SUM:
        return "these are probabilities: save them as probs"
    if values.min() >= 0 and abs(total - 100) <= 100 * ROUNDED_SUM:
        return "these are per cent: divide by 100 and save them as probs"
    if values.max() > 0:
        return _if_others_are_right(_powers(np.e, array)) or "these look like logits: save them as logits"
    if (base := _base_of(array, row)) not in (None, "natural"):
        return f"these are {base} logarithms: multiply by np.log({base.removeprefix('base-')})"
    return _remedy_for_fractions(
        _powers(np.e, array), np.exp(values).sum(), "x - np.log(-np.expm1(x)) after x = x.clip(max=-1e-7)"
    )


def instead_of_logits(logits: np.ndarray) -> tuple[str, str] | None:
    """Detects finite ``(N, C)`` values that are not logits.

    A few rows of logits may look like probabilities by chance, and a few rows of probabilities may be different, such
    as zeros for a failed request. Most rows decide.

    Returns:
        None for logits; otherwise a description and the kind: ``"probs"``, ``"per cent"`` or ``"sigmoids"``.
    """
    count = len(logits)
    lowest, highest, sums = logits.min(axis=1), logits.max(axis=1), logits.sum(axis=1, dtype=np.float64)
    for whole, kind in ((1, "probs"), (100, "per cent")):
        is_like = (lowest >= -JUST_BELOW) & (np.abs(sums - whole) <= whole * ROUNDED_SUM)
        if (alike := np.count_nonzero(is_like)) > count / 2:
            got = f"rows ≥ 0 that sum to {whole}"
            if (row := first_bad(~is_like)) is not None:
                got = f"{alike:,} of {count:,} {got}, not row {row}"
            return got, kind
    is_like = (lowest >= 0) & (highest <= 1)
    # Logits of an untrained network may also be in 0 … 1; sigmoids are above 0.5 for some class in many rows.
    if count >= _FEWEST_TELLING and is_like.mean() >= _ALMOST_ALL and np.count_nonzero(highest > 0.5) > count / 10:
        return "values from 0 to 1", "sigmoids"
    return None


def _powers(base: float, array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.power(base, array.astype(np.float64))


def _base_of(array: np.ndarray, row: int) -> str | None:
    """The base in `_BASES` to which the row and most others are logarithms of confidence vectors; None if none fits."""
    fits = {name: np.abs(_powers(base, array).sum(axis=1) - 1) <= ROUNDED_SUM for base, name in _BASES.items()}
    # A row with a single likely class may fit several bases, so the other rows decide.
    fitting = [name for name, fit in fits.items() if fit[row]]
    return max(fitting, key=lambda name: np.count_nonzero(fits[name]), default=None)


def _if_others_are_right(probs: np.ndarray) -> str | None:
    with np.errstate(invalid="ignore", over="ignore"):
        is_right = (probs.min(axis=1) >= 0) & (np.abs(probs.sum(axis=1, dtype=np.float64) - 1) <= ROUNDED_SUM)
    if (count := np.count_nonzero(is_right)) <= len(probs) / 2:
        return None
    return f"{count:,} of {len(probs):,} rows are valid: find out what is wrong with this one, or leave it out"


def _remedy_for_fractions(probs: np.ndarray, total: float, logits: str) -> str:
    """The advice on values from 0 to 1 that sum to `total`."""
    others = _if_others_are_right(probs)
    complete = "keep all classes, with six digits or more"
    if others is not None:
        return complete if 0.5 < total < 1 else others
    sigmoids = f"independent sigmoids, one per class: their logits are {logits}"
    with np.errstate(invalid="ignore", over="ignore"):
        sums = probs.sum(axis=1, dtype=np.float64)
    # The probabilities of a selection of the classes never sum to more than 1.
    return (
        f"these look like {sigmoids}" if (sums > 1 + ROUNDED_SUM).any() else f"{complete}; or, if they are {sigmoids}"
    )


def check_logits(logits: ArrayLike, *, name: str) -> np.ndarray:
    """Checks logits.

    Args:
        logits: ``(N, C)`` floating, C ≥ 1, every value finite. N may be 0.
        name: Name of the array in messages.

    Returns:
        The same values and dtype as a NumPy array; not copied if it already was one.

    Raises:
        InputError: If `logits` is not such an array; the message names the first bad row.
    """
    array = _as_floating_matrix(logits, name)
    if (row := first_bad(~np.isfinite(array).all(axis=1))) is not None:
        expected, got, fix = _describe_not_finite(array[row])
        raise InputError(f"{name} row {row}", expected=expected, got=got, fix=fix)
    return array


def check_scores(scores: ArrayLike, *, name: str) -> np.ndarray:
    """Checks one score per sample, higher = more likely a member.

    Infinities are allowed, because they can be ranked and occur in likelihood ratios and logarithms. NaN cannot be
    ranked and is rejected.

    Args:
        scores: ``(N,)`` real numbers. N may be 0.
        name: Name of the array in messages.

    Returns:
        ``(N,)`` float64.

    Raises:
        InputError: If `scores` is not one-dimensional, not real, or has a NaN; the message names the first such row.
    """
    array = _as_array(scores, name)
    if array.dtype.kind not in "iuf":
        raise InputError(name, expected="real numbers", got=str(array.dtype), fix="apply .astype(np.float64)")
    _check_one_dimension(array, name)
    array = array.astype(np.float64, copy=False)
    if (row := first_bad(np.isnan(array))) is not None:
        raise InputError(f"{name} row {row}", expected="a number", got="NaN", fix="find out why the attack returns NaN")
    return array


def check_fractions(fractions: ArrayLike, *, name: str) -> np.ndarray:
    """Checks one fraction per sample, such as the output of a sigmoid.

    Args:
        fractions: ``(N,)`` real numbers in 0 … 1. N may be 0.
        name: Name of the array in messages.

    Returns:
        ``(N,)`` float64.

    Raises:
        InputError: If `fractions` is not such an array; the message names the first bad row.
    """
    array = check_scores(fractions, name=name)
    if (row := first_bad((array < 0) | (array > 1))) is not None:
        raise InputError(f"{name} row {row}", expected="0 … 1", got=f"{array[row]:.6g}", fix="apply sigmoid first")
    return array


def check_flags(flags: ArrayLike, *, name: str) -> np.ndarray:
    """Checks one boolean per sample.

    Args:
        flags: ``(N,)`` bool. N may be 0. Integers are rejected, because 0/1, ±1 and class labels cannot be
            distinguished.
        name: Name of the array in messages.

    Returns:
        ``(N,)`` bool; not copied if it already was an array.

    Raises:
        InputError: If `flags` is not such an array.
    """
    array = _as_array(flags, name)
    if array.dtype != np.bool_:
        raise InputError(name, expected="bool", got=str(array.dtype), fix=f"pass {name} == 1, for example")
    return _check_one_dimension(array, name)


def check_labels(labels: ArrayLike, *, num_classes: int, name: str) -> np.ndarray:
    """Checks one class per sample.

    Args:
        labels: ``(N,)`` integers in 0 … `num_classes` − 1. N may be 0.
        num_classes: Number of classes.
        name: Name of the array in messages.

    Returns:
        ``(N,)`` of the same integer dtype; not copied if it already was an array.

    Raises:
        InputError: If `labels` is not such an array; the message names the first bad row.
    """
    array = _as_array(labels, name)
    if array.dtype.kind not in "iu":
        raise InputError(name, expected="integers", got=str(array.dtype), fix="apply .astype(np.int32)")
    _check_one_dimension(array, name)
    if (row := first_bad((array < 0) | (array >= num_classes))) is not None:
        raise InputError(
            f"{name} row {row}",
            expected=f"a class 0 … {num_classes - 1}",
            got=str(array[row]),
            fix="count classes from 0" if array[row] == num_classes else None,
        )
    return array


def check_same_length(arrays: Mapping[str, np.ndarray]) -> int:
    """Checks that arrays have the same number of rows.

    Args:
        arrays: At least one array, by its name in messages. The first one determines the length.

    Returns:
        The common length of the first axis, N ≥ 1.

    Raises:
        InputError: If the length of an array differs from the first, or there are no rows.

    Example:
        >>> check_same_length({"scores": np.zeros(3), "is_member": np.ones(3, bool)})
        3
    """
    lengths = {name: len(array) for name, array in arrays.items()}
    reference, length = next(iter(lengths.items()))
    for name, other in lengths.items():
        if other != length:
            raise InputError(name, expected=f"one row for each of the {length} of {reference}", got=str(other))
    if not length:
        raise InputError(reference, expected="at least one row", got="none")
    return length


def _as_array(value: ArrayLike, name: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise InputError(name, expected="an array", got=f"{type(value).__name__} of uneven rows") from error


def _as_floating_matrix(value: ArrayLike, name: str) -> np.ndarray:
    array = _as_array(value, name)
    if array.dtype.kind != "f":
        raise InputError(name, expected="floating-point numbers", got=str(array.dtype), fix="apply .astype(np.float32)")
    if array.ndim != 2 or not array.shape[1]:
        fix = {1: f"pass {name}[None] for a single sample", 3: f"pass {name}[..., 0]"}.get(array.ndim)
        if array.ndim == 3 and array.shape[2] != 1:
            fix = None
        raise InputError(name, expected="shape (N, C) with at least one class", got=str(array.shape), fix=fix)
    return array


def _check_one_dimension(array: np.ndarray, name: str) -> np.ndarray:
    if array.ndim != 1:
        is_column = array.ndim == 2 and array.shape[1] == 1
        raise InputError(name, expected="shape (N,)", got=str(array.shape), fix="apply .ravel()" if is_column else None)
    return array


def _describe_not_finite(values: np.ndarray) -> tuple[str, str, str]:
    column = int(np.argmin(np.isfinite(values)))
    fix = "look for an overflow in the model or a training that diverged"
    return "finite values", f"{values[column]} in column {column}", fix


def first_bad(is_bad: np.ndarray) -> int | None:
    """The first row that is True in a mask ``(N,)``, or None."""
    return int(np.argmax(is_bad)) if is_bad.any() else None
