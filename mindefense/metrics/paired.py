"""How far two attackers that were judged by the same rows differ: intervals of paired differences."""

from __future__ import annotations

import math

import numpy as np

from mindefense.metrics.ranking import Counts
from mindefense.types import Difference, Trial


def accuracy_difference(before: Trial, after: Trial, *, confidence: float = 0.95) -> Difference:
    """How much lower the balanced accuracy of `after` is than that of `before`.

    A row that judges both enters both figures, so the difference varies less than two separate figures would. Its
    variance is that of the sum of what every row contributes (for equal rows, the paired form of McNemar's test).

    Args:
        before: One attacker.
        after: Another; rows are matched by ``Trial.samples``.
        confidence: Between 0 and 1, both excluded.

    Returns:
        The difference, positive if `after` is lower, and its interval.
    """
    return _difference(before, after, (_correctness(before), _correctness(after)), confidence, weight=0.5)


def auc_difference(before: Trial, after: Trial, *, confidence: float = 0.95) -> Difference:
    """How much lower the two-sided AUC of `after` is than that of `before` (DeLong et al. 1988, equation 5)."""
    return _difference(before, after, (_placements(before), _placements(after)), confidence, weight=1.0)


def _correctness(trial: Trial) -> np.ndarray:
    called = trial.scores > trial.threshold
    return np.where(trial.is_member, called, ~called).astype(np.float64)


def _placements(trial: Trial) -> np.ndarray:
    """The share of the other kind that each row is on the right side of; its mean over either kind is the AUC."""
    counts = Counts.of(trial.scores, trial.is_member)
    distinct = counts.thresholds[-2::-1]
    group = len(distinct) - 1 - np.searchsorted(distinct, trial.scores)
    above, upto = counts.called_non_members[group], counts.called_non_members[group + 1]
    of_member = 1 - (above + upto) / (2 * counts.n_non_members)
    above, upto = counts.called_members[group], counts.called_members[group + 1]
    placements = np.where(trial.is_member, of_member, (above + upto) / (2 * counts.n_members))
    return placements if counts.area() >= 0.5 else 1 - placements


def _difference(
    before: Trial, after: Trial, values: tuple[np.ndarray, np.ndarray], confidence: float, *, weight: float
) -> Difference:
    """The difference of two figures, each the mean over both kinds of the mean of its rows' values.

    Args:
        before: One attacker.
        after: Another.
        values: Of its rows, one array each.
        confidence: Of the interval.
        weight: What a mean over one kind counts in the variance: a balanced accuracy is half of two means that vary
            by themselves; an AUC is either of two means that vary together.
    """
    from scipy.special import ndtri  # kept out of the import of the package

    n = int(max(before.samples.max(), after.samples.max())) + 1
    change, variance = 0.0, 0.0
    for kind in (True, False):
        parts = np.zeros(n)
        for trial, of_rows, sign in ((before, values[0], 1), (after, values[1], -1)):
            those = trial.is_member == kind
            count, mean = int(those.sum()), float(of_rows[those].mean())
            change += sign * mean / 2
            # Divided by count - 1 in place of count: the mean was taken from the same rows.
            parts[trial.samples[those]] += sign * (of_rows[those] - mean) / math.sqrt(count * max(count - 1, 1))
        variance += weight**2 * float(parts @ parts)
    reach = -float(ndtri((1 - confidence) / 2)) * math.sqrt(variance)
    return Difference(change, max(change - reach, -1.0), min(change + reach, 1.0))
