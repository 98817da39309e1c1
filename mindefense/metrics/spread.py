"""Figures over several targets: how much they differ, and rates over the rows of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mindefense.metrics.intervals import tail_of
from mindefense.types import PooledRate, Spread

_DRAWS = 400
"""Bootstrap samples of targets."""
FEWEST_POOLED = 10
"""Targets below which a bootstrap over them has too narrow an interval."""


def spread_of(figure: str, target: float, values: Sequence[float], *, confidence: float = 0.95) -> Spread:
    """Compares a target's figure with those of T ≥ 2 other targets that were trained in the same way.

    Args:
        figure: Name of the figure, a share in 0 … 1.
        target: The figure for the target.
        values: The figures for the other targets.
        confidence: Confidence of both intervals.

    Returns:
        Mean with its Student interval, standard deviation, and the interval for one further model, which is wider by
        the deviation of a single figure. All ends are clipped to 0 … 1.

    Source:
        Hahn & Meeker, Statistical Intervals, 1991, section 4.7 (prediction of one further observation).
    """
    from scipy.special import stdtrit  # imported here, since the import is slow

    held = np.asarray(values, np.float64)
    count, mean, deviation = len(held), float(held.mean()), float(held.std(ddof=1))
    reach = float(stdtrit(count - 1, 1 - tail_of(confidence))) * deviation
    of_mean, of_one = reach / math.sqrt(count), reach * math.sqrt(1 + 1 / count)

    def clipped(value: float) -> float:
        return min(max(value, 0.0), 1.0)

    return Spread(
        figure,
        float(target),
        tuple(held.tolist()),
        mean,
        clipped(mean - of_mean),
        clipped(mean + of_mean),
        deviation,
        clipped(mean - of_one),
        clipped(mean + of_one),
    )


def pooled_rate(
    scores: Sequence[np.ndarray],
    is_member: Sequence[np.ndarray],
    *,
    fpr: float,
    seed: int = 0,
    confidence: float = 0.95,
) -> PooledRate | None:
    """The true positive rate at one threshold for several targets.

    Args:
        scores: For each target ``(N,)`` float64 scores, higher = more likely a member.
        is_member: For each target ``(N,)`` bool.
        fpr: Largest false positive rate over the rows of all targets, 0 … 1.
        seed: Seed of the bootstrap, which draws whole targets, because the rows of one target are not independent.
        confidence: Confidence of the interval.

    Returns:
        The rate; None with fewer than `FEWEST_POOLED` targets, and with fewer than ``1 / fpr`` non-members, of which a
        single mistake would be too many.
    """
    found = [np.sort(one[member]) for one, member in zip(scores, is_member, strict=True)]
    others = [np.sort(one[~member]) for one, member in zip(scores, is_member, strict=True)]
    members, non_members = sum(map(len, found)), sum(map(len, others))
    if len(scores) < FEWEST_POOLED or math.floor(non_members * fpr + 1e-9) < 1:
        return None
    # The threshold is among the largest scores of each target; the rest of the non-members need not be sorted again.
    allowed_at_most = math.floor(max(map(len, others)) * len(others) * fpr + 1e-9) + 1
    largest = [one[-allowed_at_most:] for one in others]

    def rate(chosen: Sequence[int]) -> float:
        allowed = math.floor(sum(len(others[number]) for number in chosen) * fpr + 1e-9)
        top = np.sort(np.concatenate([largest[number] for number in chosen]))[::-1]
        # The threshold is the first score that may not be exceeded; nothing above it is a mistake too many.
        threshold = top[allowed] if allowed < len(top) else -np.inf
        hits = sum(len(found[n]) - int(np.searchsorted(found[n], threshold, side="right")) for n in chosen)
        return hits / sum(len(found[number]) for number in chosen)

    rng = np.random.default_rng(seed)
    drawn = [rate(rng.integers(len(found), size=len(found)).tolist()) for _ in range(_DRAWS)]
    tail = tail_of(confidence)
    low, high = np.quantile(drawn, [tail, 1 - tail]).tolist()
    return PooledRate(fpr, rate(range(len(found))), low, high, members, non_members)
