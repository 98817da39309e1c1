"""Number of members that an attacker identifies almost surely, at a small false positive rate."""

from __future__ import annotations

import bisect

import numpy as np
from numpy.typing import ArrayLike

from mindefense.errors import InputError
from mindefense.metrics.intervals import clopper_pearson
from mindefense.metrics.ranking import Counts
from mindefense.types import IdentifiedMembers

SMALL_FPRS = (0.001, 0.01)
"""False positive rates at which an identification counts as almost sure, the smaller one first."""


def small_fpr(n_non_members: int) -> float | None:
    """The smallest of `SMALL_FPRS` that allows one mistake among `n_non_members`; None if they are too few.

    Example:
        >>> small_fpr(2000), small_fpr(500), small_fpr(20)
        (0.001, 0.01, None)
    """
    return next((fpr for fpr in SMALL_FPRS if int(fpr * n_non_members + 1e-9) >= 1), None)


def standing(found: IdentifiedMembers, tail: float) -> tuple[bool, float, float, float]:
    """The key by which the best attacker of a verdict is chosen; the largest key is the best.

    Attackers that identify more members than chance explains come first. Among them, a smaller false positive rate is
    better, and then a larger lower bound.

    Args:
        found: The members that an attacker identifies.
        tail: The p-value up to which chance does not explain it.
    """
    surely = found.p_value <= tail
    return surely, -found.fpr if surely else 0.0, found.share_low, found.share


def identified_members(
    scores: ArrayLike, is_member: ArrayLike, *, fpr: float, confidence: float = 0.95
) -> IdentifiedMembers:
    """The members above the lowest threshold whose false positive rate in this sample is at most `fpr`.

    An exact test decides whether their number is more than chance explains. If members and non-members had the same
    distribution, all orders of them would be equally likely, and the number of members that outscore all but a of the
    non-members would follow a negative hypergeometric distribution. The test takes the choice of the threshold into
    account. Tied scores make it conservative.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        fpr: Bound on the false positive rate in the sample, 0 (excluded) … 1.
        confidence: Confidence of the one-sided bound on the share; ``1 - 0.05 / k`` for the best of k attackers
            (Bonferroni).

    Returns:
        Counts, the lower bound on the share of members above this threshold, the upper bound on its false positive
        rate, and the p-value.

    Raises:
        InputError: If lengths differ, a score is NaN, there are no members or no non-members, or `fpr` or `confidence`
            is out of range.

    Example:
        >>> found = identified_members([3.0, 4.0, 1.0, 2.0], [True, True, False, False], fpr=0.1)
        >>> found.identified, found.mistakes, round(found.p_value, 4)
        (2, 0, 0.1667)
    """
    if not 0 < fpr <= 1:
        raise InputError("fpr", expected="above 0 and at most 1", got=str(fpr))
    counts = Counts.of(scores, is_member)
    allowed = int(fpr * counts.n_non_members + 1e-9)
    last = int(np.searchsorted(counts.called_non_members, allowed, side="right")) - 1
    identified = int(counts.called_members[last])
    return identified_of(
        identified,
        int(counts.called_non_members[last]),
        n_members=counts.n_members,
        n_non_members=counts.n_non_members,
        fpr=fpr,
        confidence=confidence,
    )


def identified_of(
    identified: int, mistakes: int, *, n_members: int, n_non_members: int, fpr: float, confidence: float
) -> IdentifiedMembers:
    """`identified_members` from counts: members and non-members above the threshold."""
    allowed = int(fpr * n_non_members + 1e-9)
    return IdentifiedMembers(
        fpr=float(fpr),
        identified=identified,
        mistakes=mistakes,
        n_members=n_members,
        n_non_members=n_non_members,
        share=identified / n_members,
        share_low=clopper_pearson(identified, n_members, confidence=1 - 2 * (1 - confidence))[0],
        fpr_high=clopper_pearson(mistakes, n_non_members, confidence=0.9)[1],
        p_value=_chance(identified, allowed, n_members, n_non_members),
    )


def fewest_beyond_chance(n_members: int, n_non_members: int, *, fpr: float, tail: float) -> int | None:
    """The smallest number of identified members that chance does not explain; None if even all are not enough.

    Args:
        n_members: Number of members in the evaluation.
        n_non_members: Number of non-members in the evaluation.
        fpr: Bound on the false positive rate in the sample.
        tail: The p-value up to which chance does not explain them.

    Example:
        >>> fewest_beyond_chance(1000, 1000, fpr=0.001, tail=0.05 / 4 / 16)
        14
    """
    allowed = int(fpr * n_non_members + 1e-9)
    numbers = range(1, n_members + 1)
    first = bisect.bisect_left(numbers, True, key=lambda k: _chance(k, allowed, n_members, n_non_members) <= tail)
    return numbers[first] if first < n_members else None


def _chance(identified: int, allowed: int, n_members: int, n_non_members: int) -> float:
    """The probability that at least `identified` members outscore all but `allowed` non-members by chance.

    This happens if and only if at least `identified` of the first ``identified + allowed`` samples are members.
    """
    from scipy.special import gammaln  # imported here, since importing it takes longer than the rest of the package

    if not identified:
        return 1.0
    drawn = min(identified + allowed, n_members + n_non_members)
    members = np.arange(identified, min(drawn, n_members) + 1)
    members = members[drawn - members <= n_non_members]

    def log_choose(n: int, k: np.ndarray | int) -> np.ndarray:
        return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1)

    logs = log_choose(n_members, members) + log_choose(n_non_members, drawn - members)
    return float(min(1.0, np.exp(logs - log_choose(n_members + n_non_members, drawn)).sum()))
