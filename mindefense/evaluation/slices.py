"""An attacker's AUC within parts of the samples, and the table of per-sample records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mindefense.errors import InputError
from mindefense.metrics import auc, auc_interval
from mindefense.types import Outputs, RowRisks, Slice, Slices, Trial

CONFIDENCE = 0.95
"""Simultaneous confidence of the intervals of all parts."""


def slices_of(trial: Trial, answers: Outputs) -> Slices:
    """An attacker's AUC within parts of the samples.

    The parts are the true classes, the deciles of the largest undefended confidence, and the samples that the
    undefended target classifies correctly and incorrectly; if the true classes are unknown, only the deciles. Samples
    of equal confidence are in the same part, so several deciles may be merged.

    With k parts that have both members and non-members, each interval has a confidence of ``1 - 0.05 / k``
    (Bonferroni), so the worst part may be selected afterwards. The AUC within every part may be lower than the AUC over
    all samples, because an attacker may use only the part that a sample is in.

    Args:
        trial: The attacker's scores; its `samples` are positions in the rows of `answers`.
        answers: The answers to the evaluation's rows.

    Returns:
        The parts in the order above without empty ones; the AUC is None if members or non-members are missing.

    Raises:
        InputError: If the trial has samples that are not in the answers, or they disagree on membership.

    Example:
        >>> is_member = np.arange(40) < 20
        >>> answers = Outputs(np.arange(40) % 2, is_member, np.arange(40), np.full((40, 2), 0.5))
        >>> scores = np.where(answers.labels == 1, is_member, np.arange(40) // 2 % 2).astype(float)
        >>> from mindefense.metrics import membership_metrics
        >>> from mindefense.types import AttackResult
        >>> result = AttackResult("a", "none", "static", False, membership_metrics(scores, is_member, threshold=0.5))
        >>> found = slices_of(Trial(result, scores, 0.5, np.arange(40), is_member), answers)
        >>> found.worst.part, found.worst.auc
        ('class 1', 1.0)
    """
    _check(trial, answers)
    labels = None if answers.labels is None else answers.labels[trial.samples]
    clean = answers.clean_probs[trial.samples]
    parts = list(_parts(labels, clean))
    with_both = sum(0 < trial.is_member[inside].sum() < inside.sum() for _, _, inside in parts)
    confidence = 1 - (1 - CONFIDENCE) / max(with_both, 1)
    slices = tuple(_slice(trial, by, part, inside, confidence) for by, part, inside in parts)
    worst = max(slices, key=_distance, default=None)
    result = trial.result
    return Slices(
        attack=result.name,
        knowledge=result.knowledge,
        adversary=result.adversary,
        defended=result.defended,
        parts=slices,
        worst=worst if worst is not None and _distance(worst) > 0 else None,
    )


def record_columns(trials: Sequence[Trial], answers: Outputs, risks: Sequence[RowRisks] = ()) -> dict[str, np.ndarray]:
    """The table of per-sample records: label, membership, confidences, and the score of every attacker.

    Args:
        trials: The attackers; their `samples` are positions in the rows of `answers`.
        answers: The answers to the evaluation's N rows.
        risks: The risk of each of these rows, at most once for each state.

    Returns:
        ``(N,)`` columns by name, in the order of `answers`: ``index``, ``label``, ``is_member``, ``predicted`` (by the
        undefended target), ``classified_rightly`` (bool: the prediction is the label), ``confidence`` (the largest) and
        ``true_confidence`` (of the true class); with a defense, ``defended_confidence`` and
        ``defended_true_confidence``; with an online bank ``risk``, ``risk_low`` and ``risk_high`` (see `RowRisks`), and
        with a defense ``defended_risk`` and so on; and ``attack|knowledge|adversary|undefended`` or ``…|defended`` for
        each trial.
        Columns of trials have dtype object: a float, or None for samples that the attacker was not evaluated on, which
        Python's ``csv.writer`` writes as an empty field. No column has NaN. Columns that need true classes are left
        out if these are unknown.

    Raises:
        InputError: If a trial does not match the answers, or two trials have the same name.

    Example:
        >>> answers = Outputs(np.array([1]), np.array([True]), np.array([7]), np.array([[0.25, 0.75]]))
        >>> {name: column.tolist() for name, column in record_columns([], answers).items()}["confidence"]
        [0.75]
    """
    predicted = answers.clean_probs.argmax(axis=1)
    labels = answers.labels
    columns = {
        "index": answers.indices,
        **({} if labels is None else {"label": labels}),
        "is_member": answers.is_member,
        "predicted": predicted,
        **({} if labels is None else {"classified_rightly": predicted == labels}),
    }
    for state, probs in (("", answers.clean_probs), ("defended_", answers.defended_probs)):
        if probs is not None:
            columns[f"{state}confidence"] = probs.max(axis=1)
            if labels is not None:
                columns[f"{state}true_confidence"] = probs[np.arange(len(probs)), labels]
    for one in risks:
        state = "defended_" if one.defended else ""
        for name, values in (("risk", one.separation), ("risk_low", one.low), ("risk_high", one.high)):
            columns[state + name] = np.array([None if np.isnan(value) else value for value in values.tolist()], object)
    for trial in trials:
        _check(trial, answers)
        result = trial.result
        state = "defended" if result.defended else "undefended"
        name = "|".join((result.name, result.knowledge, result.adversary, state))
        if name in columns:
            raise InputError("trials", expected="one per name, knowledge, adversary and state", got=f"two of {name}")
        columns[name] = np.full(len(answers), None, dtype=object)
        columns[name][trial.samples] = trial.scores.tolist()
    return columns


def _parts(labels: np.ndarray | None, probs: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """For each part: the criterion, the part's name, and a mask ``(N,)`` bool of its samples."""
    for label in () if labels is None else np.unique(labels):
        yield "class", f"class {label}", labels == label
    top = probs.max(axis=1)
    for name, inside in _deciles(top):
        yield "confidence decile", name, inside
    if labels is None:
        return
    is_correct = probs.argmax(axis=1) == labels
    for name, inside in (("classified correctly", is_correct), ("classified incorrectly", ~is_correct)):
        if inside.any():
            yield "correctness", name, inside


def _deciles(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    ordered = np.sort(values)
    borders = ordered[np.arange(1, 10) * len(values) // 10]
    decile = np.searchsorted(borders, values, side="right")  # equal values are in the same decile
    first = 1
    for last in np.unique(decile):
        inside = decile == last
        number = f"decile {last + 1}" if first == last + 1 else f"deciles {first}–{last + 1}"
        bounds = dict.fromkeys(_figure(bound) for bound in (values[inside].min(), values[inside].max()))
        yield f"{number} (confidence {'–'.join(bounds)})", inside
        first = last + 2


def _figure(confidence: float) -> str:
    """Two decimals; more if a confidence below 1 would otherwise be rounded to 1."""
    texts = (f"{confidence:.{digits}f}" for digits in range(2, 9))
    return next((text for text in texts if confidence >= 1 or float(text) < 1), "1.00")


def _slice(trial: Trial, by: str, part: str, inside: np.ndarray, confidence: float) -> Slice:
    scores, is_member = trial.scores[inside], trial.is_member[inside]
    n_members = int(is_member.sum())
    n_non_members = len(is_member) - n_members
    if not (n_members and n_non_members):
        return Slice(by, part, n_members, n_non_members, None, None, None)
    low, high = auc_interval(scores, is_member, confidence=confidence)
    return Slice(by, part, n_members, n_non_members, auc(scores, is_member), low, high)


def _distance(part: Slice) -> float:
    """Distance of the interval from 0.5; negative if it contains 0.5."""
    if part.low is None or part.high is None:
        return -1.0
    return max(part.low - 0.5, 0.5 - part.high)


def _check(trial: Trial, answers: Outputs) -> None:
    samples, n = trial.samples, len(answers)
    name = f"trial of {trial.result.name}"
    if len(samples) and not (samples.min() >= 0 and samples.max() < n):
        raise InputError(
            f"{name}, samples",
            expected=f"positions 0 … {n - 1} of the answers",
            got=f"{samples.min()} … {samples.max()}",
        )
    if not np.array_equal(trial.is_member, answers.is_member[samples]):
        raise InputError(
            f"{name}, is_member",
            expected="the membership of its samples in the answers",
            got="other values",
            fix="give samples as positions in the rows of the answers, not in the data set",
        )
