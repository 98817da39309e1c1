"""Intervals of the difference between two attackers that were evaluated on the same rows."""

from __future__ import annotations

import math

import numpy as np

from mindefense.metrics.ranking import Counts
from mindefense.types import Difference, Trial


def accuracy_difference(before: Trial, after: Trial, *, confidence: float = 0.95) -> Difference:
    """The decrease of the balanced accuracy from `before` to `after`.

    A common row contributes to both figures, so that the difference varies less than that of independent figures. Its
    variance is that of the sum of the rows' contributions (for equal rows, the paired form of McNemar's test).

    Args:
        before: One attacker.
        after: Another; rows are matched by ``Trial.samples``.
        confidence: Between 0 and 1, both excluded.

    Returns:
        The difference, positive if `after` is lower, and its interval.
    """
    return _difference(before, after, (_correctness(before), _correctness(after)), confidence, weight=0.5)


def auc_difference(before: Trial, after: Trial, *, confidence: float = 0.95) -> Difference:
    """The decrease of the two-sided AUC from `before` to `after` (DeLong et al. 1988, equation 5)."""
    return _difference(before, after, (_placements(before), _placements(after)), confidence, weight=1.0)


def _correctness(trial: Trial) -> np.ndarray:
    called = trial.scores > trial.threshold
    return np.where(trial.is_member, called, ~called).astype(np.float64)


def _placements(trial: Trial) -> np.ndarray:
    return _placements_of(trial.scores, trial.is_member)


def _placements_of(scores: np.ndarray, is_member: np.ndarray) -> np.ndarray:
    """For each row, the share of the other kind that it is ranked correctly against; a kind's mean is the AUC."""
    counts = Counts.of(scores, is_member)
    distinct = counts.thresholds[-2::-1]
    group = len(distinct) - 1 - np.searchsorted(distinct, scores)
    above, upto = counts.called_non_members[group], counts.called_non_members[group + 1]
    of_member = 1 - (above + upto) / (2 * counts.n_non_members)
    above, upto = counts.called_members[group], counts.called_members[group + 1]
    placements = np.where(is_member, of_member, (above + upto) / (2 * counts.n_members))
    return placements if counts.area() >= 0.5 else 1 - placements


def _difference(
    before: Trial, after: Trial, values: tuple[np.ndarray, np.ndarray], confidence: float, *, weight: float
) -> Difference:
    """The difference of two figures, each the mean over both kinds of the mean of its rows' values.

    Args:
        before: One attacker.
        after: Another.
        values: Two arrays, the values of the rows of `before` and `after`.
        confidence: Confidence of the interval.
        weight: Weight of one kind's mean in the variance. A balanced accuracy is the average of two independent means;
            an AUC is equal to each of two means.
    """
    from scipy.special import ndtri  # imported here, since the import is slow

    n = int(max(before.samples.max(), after.samples.max())) + 1
    change, variance = 0.0, 0.0
    for kind in (True, False):
        parts = np.zeros(n)
        for trial, of_rows, sign in ((before, values[0], 1), (after, values[1], -1)):
            those = trial.is_member == kind
            count, mean = int(those.sum()), float(of_rows[those].mean())
            change += sign * mean / 2
            # Divided by count - 1 instead of count, since the mean is estimated from the same rows.
            parts[trial.samples[those]] += sign * (of_rows[those] - mean) / math.sqrt(count * max(count - 1, 1))
        variance += weight**2 * float(parts @ parts)
    reach = -float(ndtri((1 - confidence) / 2)) * math.sqrt(variance)
    return Difference(change, max(change - reach, -1.0), min(change + reach, 1.0))


def paired_auc_difference(
    is_member: np.ndarray, old: np.ndarray, new: np.ndarray, *, confidence: float = 0.95
) -> Difference:
    """The increase of the two-sided AUC from older to newer scores of the same rows (DeLong 1988).

    Args:
        is_member: ``(N,)`` bool.
        old: ``(N,)`` float64, higher = more likely a member.
        new: ``(N,)`` float64, higher = more likely a member.
        confidence: Between 0 and 1, both excluded.

    Returns:
        The difference, positive if the newer AUC is higher, and its interval.
    """
    from scipy.special import ndtri  # imported here, since the import is slow

    values = _placements_of(new, is_member) - _placements_of(old, is_member)
    change, variance = 0.0, 0.0
    for kind in (True, False):
        those = values[is_member == kind]
        change += float(those.mean()) / 2
        variance += float(those.var(ddof=1)) / len(those) if len(those) > 1 else 1.0
    reach = -float(ndtri((1 - confidence) / 2)) * math.sqrt(variance)
    return Difference(change, max(change - reach, -1.0), min(change + reach, 1.0))


def independent_difference(
    old: tuple[float, float, float], new: tuple[float, float, float], *, confidence: float = 0.95
) -> Difference:
    """The increase from an older to a newer figure of other rows, from the intervals of both.

    Args:
        old: The older figure and the ends of its 95 % interval.
        new: The newer figure and the ends of its 95 % interval.
        confidence: Confidence of the interval of the difference, between 0 and 1, both excluded.

    Returns:
        The difference, positive if the newer figure is higher, and its interval.

    Source:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 2008, equation
        3; the distances to the ends are widened as those of a normal distribution from 95 % to `confidence`.
    """
    from scipy.special import ndtri  # imported here, since the import is slow

    wider = float(ndtri((1 - confidence) / 2) / ndtri(0.025))
    (value, low, high), (value_new, low_new, high_new) = old, new
    change = value_new - value
    below = wider * math.hypot(value_new - low_new, high - value)
    above = wider * math.hypot(high_new - value_new, value - low)
    return Difference(change, max(change - below, -1.0), min(change + above, 1.0))
