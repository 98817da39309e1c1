"""The ROC curve, the area under it and the best threshold, computed from integer counts."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mindefense.checks import check_flags, check_same_length, check_scores
from mindefense.errors import InputError


class RocCurve(NamedTuple):
    """Every operating point of an attacker, from calling no sample a member to calling all of them members.

    Attributes:
        fpr: ``(K,)`` float64, rising from 0 to 1: share of the non-members called members.
        tpr: ``(K,)`` float64, rising from 0 to 1: share of the members called members.
        thresholds: ``(K,)`` float64, falling: calling ``score > thresholds[i]`` gives ``fpr[i]`` and ``tpr[i]``. The
            last is −∞: all samples are called members, those with a score of −∞ included.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


class Counts(NamedTuple):
    """Numbers of samples called members at each threshold; as integers, so that ties and areas are exact.

    Attributes:
        thresholds: ``(K,)`` float64, as in `RocCurve`.
        called_members: ``(K,)`` int64, rising from 0 to the number of members.
        called_non_members: ``(K,)`` int64, rising from 0 to the number of non-members.
    """

    thresholds: np.ndarray
    called_members: np.ndarray
    called_non_members: np.ndarray

    @classmethod
    def of(cls, scores: ArrayLike, is_member: ArrayLike) -> Counts:
        """Checks and sorts samples, in O(N log N).

        Args:
            scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
            is_member: ``(N,)`` bool, at least one sample of each kind.

        Returns:
            The counts at no sample, at each distinct score and at all samples.

        Raises:
            InputError: If lengths differ, a score is NaN, or there are no members or no non-members.
        """
        scores = check_scores(scores, name="scores")
        is_member = check_flags(is_member, name="is_member")
        check_same_length({"scores": scores, "is_member": is_member})
        n_members = int(is_member.sum())
        if n_members in (0, len(is_member)):
            raise InputError(
                "is_member",
                expected="members and non-members",
                got=f"{n_members} members, {len(is_member) - n_members} non-members",
                fix="score samples of both kinds",
            )
        distinct, group = np.unique(scores, return_inverse=True)
        members = np.bincount(group[is_member], minlength=len(distinct))
        non_members = np.bincount(group[~is_member], minlength=len(distinct))
        return cls(
            np.append(distinct[::-1], -np.inf),
            np.append(0, np.cumsum(members[::-1])),
            np.append(0, np.cumsum(non_members[::-1])),
        )

    @property
    def n_members(self) -> int:
        """Number of members."""
        return int(self.called_members[-1])

    @property
    def n_non_members(self) -> int:
        """Number of non-members."""
        return int(self.called_non_members[-1])

    def mirrored(self) -> Counts:
        """The counts of the negated scores with members and non-members swapped."""
        return Counts(
            np.append(-self.thresholds[-2::-1], -np.inf),
            self.n_non_members - self.called_non_members[::-1],
            self.n_members - self.called_members[::-1],
        )

    def swapped(self) -> Counts:
        """The counts of the same scores with members and non-members swapped."""
        return Counts(self.thresholds, self.called_non_members, self.called_members)

    def at(self, threshold: float) -> tuple[int, int]:
        """How many members and non-members have a score above `threshold`, which may be infinite.

        Raises:
            InputError: If it is NaN.
        """
        if np.isnan(threshold):
            raise InputError("threshold", expected="a number", got="NaN")
        # The last threshold calls all samples members; this is also correct for thresholds below the smallest score.
        distinct = self.thresholds[-2::-1]
        above = len(distinct) - int(np.searchsorted(distinct, threshold, side="right"))
        return int(self.called_members[above]), int(self.called_non_members[above])

    def area(self) -> float:
        """The area under the ROC curve."""
        # Trapezoids count ties as one half; they are doubled so that the sum is an integer.
        heights = self.called_members[1:] + self.called_members[:-1]
        return int(np.diff(self.called_non_members) @ heights) / (2 * self.n_members * self.n_non_members)


def roc_curve_points(scores: ArrayLike, is_member: ArrayLike) -> RocCurve:
    """The empirical ROC curve with one point for each distinct score and none left out (Fawcett 2006, Section 5).

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.

    Returns:
        K = 1 + number of distinct scores points, from (0, 0) to (1, 1). Unlike scikit-learn, thresholds are for ``>``.

    Raises:
        InputError: If lengths differ, a score is NaN, or there are no members or no non-members.

    Example:
        >>> fpr, tpr, thresholds = roc_curve_points([2.0, 1.0, 1.0], [True, True, False])
        >>> fpr.tolist(), tpr.tolist(), thresholds.tolist()
        ([0.0, 0.0, 1.0], [0.0, 0.5, 1.0], [2.0, 1.0, -inf])
    """
    counts = Counts.of(scores, is_member)
    return RocCurve(
        counts.called_non_members / counts.n_non_members, counts.called_members / counts.n_members, counts.thresholds
    )


def auc(scores: ArrayLike, is_member: ArrayLike) -> float:
    """Area under the ROC curve: the probability that a member outscores a non-member, with ties counted as one half.

    It is computed from integers with a single division, and is invariant under strictly increasing maps of the scores.
    It equals the Mann-Whitney U statistic divided by the number of pairs (Hanley and McNeil 1982).

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.

    Returns:
        0 … 1; 0.5 for uninformative scores.

    Raises:
        InputError: If lengths differ, a score is NaN, or there are no members or no non-members.

    Example:
        >>> auc([1.0, 1.0, 0.0], [True, False, False])
        0.75
    """
    return Counts.of(scores, is_member).area()


def best_threshold(scores: ArrayLike, is_member: ArrayLike) -> float:
    """The threshold for ``score > threshold`` with the highest balanced accuracy on these samples.

    Choose it on one half of the samples and evaluate it on the other. Candidates are the midpoints between neighboring
    distinct scores, and the largest score, with which no sample is called a member. Of equally good candidates the
    largest is chosen, with which the fewest samples are called members. Uninformative or inverted scores therefore get
    the largest score. The comparison uses integers, so that the order of the samples never matters.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.

    Returns:
        The threshold, between the smallest and the largest score; infinite only next to infinite scores. If there is no
        float between two neighbors, or one of them is infinite, it is the lower of the two, which also separates them.

    Raises:
        InputError: If lengths differ, a score is NaN, or there are no members or no non-members.

    Example:
        >>> best_threshold([0.0, 1.0, 2.0, 3.0], [False, False, True, True])
        1.5
    """
    counts = Counts.of(scores, is_member)
    true_negatives = counts.n_non_members - counts.called_non_members
    quality = counts.called_members * counts.n_non_members + true_negatives * counts.n_members
    # argmax returns the first of equal values, and thresholds decrease, so that the largest one is chosen.
    best = int(np.argmax(quality))
    low = float(counts.thresholds[best])
    if best == 0:
        return low
    high = float(counts.thresholds[best - 1])
    middle = low / 2 + high / 2  # halves first: the sum of two large scores would overflow
    return middle if low < middle < high else low
