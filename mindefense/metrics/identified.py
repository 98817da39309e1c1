"""How many members an attacker identifies almost surely: at a false positive rate that the sample carries."""

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
    """The smallest of `SMALL_FPRS` at which so many non-members allow one mistake; None if they are too few.

    Example:
        >>> small_fpr(2000), small_fpr(500), small_fpr(20)
        (0.001, 0.01, None)
    """
    return next((fpr for fpr in SMALL_FPRS if int(fpr * n_non_members + 1e-9) >= 1), None)


def standing(found: IdentifiedMembers, tail: float) -> tuple[bool, float, float, float]:
    """By what the attacker that heads a verdict is picked: the largest is best.

    Those that identify more members than chance explains come first, among them those at the smaller false positive
    rate, then those with the larger lower bound.

    Args:
        found: What an attacker identifies.
        tail: The p-value up to which chance does not explain it.
    """
    surely = found.p_value <= tail
    return surely, -found.fpr if surely else 0.0, found.share_low, found.share


def identified_members(
    scores: ArrayLike, is_member: ArrayLike, *, fpr: float, confidence: float = 0.95
) -> IdentifiedMembers:
    """The members above the threshold with at most a false positive rate of `fpr` in this sample.

    Whether they are more than chance explains is tested exactly. If members and non-members were alike, every order of
    them would be as likely, and the number of members that outscore all but a of the non-members would follow a
    negative hypergeometric distribution. That test pays for the choice of the threshold. Tied scores make it
    conservative.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        fpr: Bound on the false positive rate in the sample, 0 (excluded) … 1.
        confidence: Of the one-sided bound on the share. ``1 - 0.05 / k`` for the best of k attackers (Bonferroni).

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
    """The fewest identified members that chance does not explain; None if even all of them would not be enough.

    Args:
        n_members: Members that judge.
        n_non_members: Non-members that judge.
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
    """The chance that so many members or more outscore all but `allowed` of the non-members, if all are alike.

    They do if and only if at least `identified` of the first ``identified + allowed`` samples are members.
    """
    from scipy.special import gammaln  # kept out of the import of the package: it takes longer than all the rest

    if not identified:
        return 1.0
    drawn = min(identified + allowed, n_members + n_non_members)
    members = np.arange(identified, min(drawn, n_members) + 1)
    members = members[drawn - members <= n_non_members]

    def log_choose(n: int, k: np.ndarray | int) -> np.ndarray:
        return gammaln(n + 1) - gammaln(np.asarray(k) + 1) - gammaln(n - np.asarray(k) + 1)

    logs = log_choose(n_members, members) + log_choose(n_non_members, drawn - members)
    return float(min(1.0, np.exp(logs - log_choose(n_members + n_non_members, drawn)).sum()))
