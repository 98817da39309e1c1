"""From one score a sample to how well an attacker tells members from non-members.

Everywhere: `scores` is ``(N,)``, higher = more likely a member, ties and infinities welcome, NaN refused; `is_member`
is ``(N,)`` bool with at least one sample of each kind; a sample is called a member iff ``score > threshold``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from mindefense.checks import check_flags, check_fractions, check_probs, check_same_length, check_scores
from mindefense.errors import InputError
from mindefense.types import BudgetPoint, MembershipMetrics, RateAtFpr

PUBLISHED_BUDGETS = (1.0, 0.7, 0.5, 0.3, 0.1, 0.0)
"""Bounds on the expected L1 distortion in the tables of MemGuard (Jia et al. 2019) and DefenMI."""

VERDICT_THRESHOLD = 0.6
"""What accuracy, precision and recall must all exceed for MindArmour's tutorial to speak of a risk."""


class RocCurve(NamedTuple):
    """Every operating point of an attacker, from calling nobody a member to calling everybody.

    Attributes:
        fpr: ``(K,)`` float64, rising from 0 to 1: share of the non-members called members.
        tpr: ``(K,)`` float64, rising from 0 to 1: share of the members called members.
        thresholds: ``(K,)`` float64, falling: calling ``score > thresholds[i]`` gives ``fpr[i]`` and ``tpr[i]``. The
            last is −∞ and stands for calling everybody, samples with a score of −∞ included.
    """

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


class _Counts(NamedTuple):
    """Integer counts at each threshold, so that ties and areas are exact."""

    thresholds: np.ndarray
    called_members: np.ndarray
    called_non_members: np.ndarray

    @property
    def n_members(self) -> int:
        return int(self.called_members[-1])

    @property
    def n_non_members(self) -> int:
        return int(self.called_non_members[-1])


def membership_metrics(
    scores: ArrayLike, is_member: ArrayLike, *, threshold: float, fprs: Sequence[float] = (0.01, 0.001)
) -> MembershipMetrics:
    """All measures of one attacker on one set of samples.

    Accuracy, balanced accuracy, precision, recall and the share called member hold at `threshold`, which must have been
    chosen on *other* samples (`best_threshold` on the fit half) to mean anything. AUC and the true-positive rates at
    small false-positive rates use the ranking alone.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        threshold: Samples with ``score > threshold`` are called members; may be infinite.
        fprs: Bounds for `tpr_at_fpr`, each in 0 (excluded) … 1.

    Returns:
        Fractions in 0 … 1; `precision` is None if nobody was called a member.

    Raises:
        InputError: If lengths differ, a score or the threshold is NaN, or there are no members or no non-members.

    Example:
        >>> metrics = membership_metrics([3.0, 1.0, 2.0, 0.0], [True, True, False, False], threshold=1.5)
        >>> metrics.accuracy, metrics.precision, metrics.recall, metrics.auc
        (0.5, 0.5, 0.5, 0.75)
    """
    scores, is_member = _check(scores, is_member)
    if np.isnan(threshold):
        raise InputError("threshold", expected="a number", got="NaN")
    counts = _count(scores, is_member)
    n_members, n_non_members = counts.n_members, counts.n_non_members
    called = scores > threshold
    n_called = int(called.sum())
    true_positives = int((called & is_member).sum())
    true_negatives = n_non_members - (n_called - true_positives)
    return MembershipMetrics(
        n_members=n_members,
        n_non_members=n_non_members,
        accuracy=(true_positives + true_negatives) / len(scores),
        balanced_accuracy=(true_positives / n_members + true_negatives / n_non_members) / 2,
        precision=true_positives / n_called if n_called else None,
        recall=true_positives / n_members,
        share_called_member=n_called / len(scores),
        auc=_area(counts),
        tpr_at_fpr=tuple(_rate(counts, fpr) for fpr in fprs),
    )


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
    counts = _count(*_check(scores, is_member))
    return RocCurve(
        counts.called_non_members / counts.n_non_members, counts.called_members / counts.n_members, counts.thresholds
    )


def auc(scores: ArrayLike, is_member: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a member outscores a non-member, ties counted half.

    Counted in integers and divided once; any strictly rising map of the scores preserves it. Equals the Mann-Whitney U
    statistic over the number of pairs (Hanley and McNeil 1982).

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.

    Returns:
        0 … 1; 0.5 for scores that say nothing.

    Raises:
        InputError: If lengths differ, a score is NaN, or there are no members or no non-members.

    Example:
        >>> auc([1.0, 1.0, 0.0], [True, False, False])
        0.75
    """
    return _area(_count(*_check(scores, is_member)))


def tpr_at_fpr(scores: ArrayLike, is_member: ArrayLike, *, fpr: float) -> RateAtFpr:
    """Largest true-positive rate within a bound on the false-positive rate (Carlini et al. 2022, Section III).

    What the figure can carry, honestly:

    - The threshold is picked on the very samples it is judged on. The bound therefore holds for the false-positive
      rate *in this sample*; the rate in the population is above it about as often as below.
    - With fewer than 1/`fpr` non-members a single mistake already breaks the bound, so the figure is the true-positive
      rate at zero observed mistakes, whatever `fpr` says. `note` then names the number and how large the true
      false-positive rate may still be (0 of n: about 3.7/n; the two-sided 95 % "rule of three", Hanley and
      Lippman-Hand 1983).
    - 1/`fpr` is the least that makes sense, not enough for precision: one mistake in exactly 1/`fpr` is compatible
      with a rate 5.6 times the bound; ten in 10/`fpr` still with 1.8 times.
    - `low` and `high` cover chance in the draw of the *members*, for this threshold; neither the choice of the
      threshold nor the uncertainty of the false-positive rate is in them.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        fpr: Bound on the share of non-members called members, 0 (excluded) … 1.

    Returns:
        The rate, its exact 95 % interval (`clopper_pearson`) and a note if the non-members are too few.

    Raises:
        InputError: If lengths differ, a score is NaN, there are no members or no non-members, or `fpr` is out of range.

    Example:
        >>> rate = tpr_at_fpr([3.0, 1.0, 2.0, 0.0], [True, True, False, False], fpr=0.5)
        >>> rate.tpr, rate.note
        (1.0, None)
    """
    return _rate(_count(*_check(scores, is_member)), fpr)


def clopper_pearson(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a binomial proportion (Clopper and Pearson 1934).

    Each tail has at most (1 − `confidence`)/2; coverage is at least `confidence` for every true proportion, usually
    more (Brown, Cai and DasGupta 2001).

    Args:
        successes: 0 … `trials`.
        trials: At least 1.
        confidence: Between 0 and 1, both excluded.

    Returns:
        Lower and upper end; exactly 0 below for no success, exactly 1 above for successes only.

    Raises:
        InputError: If an argument is out of range or a count is not a whole number.

    Example:
        >>> low, high = clopper_pearson(0, 10)
        >>> low, round(high, 4)
        (0.0, 0.3085)
    """
    from scipy.special import betaincinv  # kept out of the import of the package: it takes longer than all the rest

    try:
        successes, trials = operator.index(successes), operator.index(trials)
    except TypeError as error:
        raise InputError("successes and trials", expected="whole numbers", got=f"{successes}, {trials}") from error
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError("successes", expected="0 … trials, and trials ≥ 1", got=f"{successes} of {trials}")
    if not 0 < confidence < 1:
        raise InputError("confidence", expected="between 0 and 1", got=str(confidence))
    tail = (1 - confidence) / 2
    failures = trials - successes
    low = float(betaincinv(successes, failures + 1, tail)) if successes else 0.0
    high = float(betaincinv(successes + 1, failures, 1 - tail)) if failures else 1.0
    return low, high


def best_threshold(scores: ArrayLike, is_member: ArrayLike) -> float:
    """The threshold for ``score > threshold`` with the highest balanced accuracy on these samples.

    To be fitted on one half and judged on the other. Candidates are the midpoints between neighbouring distinct scores
    and the largest score, which calls nobody. Of equally good ones the largest is taken, so the attacker accuses the
    fewest; scores that say nothing, or the opposite of what they should, get the largest score. Comparison is in
    integers: the order of the samples never matters.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.

    Returns:
        The threshold, between the least and the largest score; infinite only next to infinite scores. Where no number
        lies between two neighbours, or one of them is infinite, the lower of the two, which separates them as well.

    Raises:
        InputError: If lengths differ, a score is NaN, or there are no members or no non-members.

    Example:
        >>> best_threshold([0.0, 1.0, 2.0, 3.0], [False, False, True, True])
        1.5
    """
    counts = _count(*_check(scores, is_member))
    true_negatives = counts.n_non_members - counts.called_non_members
    quality = counts.called_members * counts.n_non_members + true_negatives * counts.n_members
    # argmax takes the first of equals and thresholds fall; calling everybody comes last and only ties with nobody.
    best = int(np.argmax(quality))
    low = float(counts.thresholds[best])
    if best == 0:
        return low
    high = float(counts.thresholds[best - 1])
    middle = low / 2 + high / 2  # halves first: the sum of two large scores would overflow
    return middle if low < middle < high else low


def verdict(metrics: MembershipMetrics) -> bool:
    """MindArmour's rule: the model leaks if accuracy, precision and recall all exceed `VERDICT_THRESHOLD`.

    A rule of thumb from the MindArmour tutorial on membership inference, kept for comparison; an attacker who finds a
    few members for certain passes under it, which is what `tpr_at_fpr` is for.

    Args:
        metrics: From `membership_metrics`.

    Returns:
        True if it leaks; False for an undefined precision, for then nobody was accused.
    """
    figures = (metrics.accuracy, metrics.precision, metrics.recall)
    return all(figure is not None and figure > VERDICT_THRESHOLD for figure in figures)


def budget_table(
    clean_probs: ArrayLike,
    defended_probs: ArrayLike,
    *,
    correct_clean: ArrayLike,
    correct_defended: ArrayLike,
    g_clean: ArrayLike,
    g_defended: ArrayLike,
    budgets: Sequence[float] = PUBLISHED_BUDGETS,
) -> tuple[BudgetPoint, ...]:
    """What an attacker achieves if the defense answers at random within a distortion budget.

    Phase II of MemGuard (Jia et al. 2019, Section 4); DefenMI publishes the same table. A sample gets
    its defended vector f′ with probability p and its clean vector f otherwise: ``p = min(ε / ‖f − f′‖₁, 1)``, but 0
    where f′ does not bring the defender's g nearer to 0.5, ``|g(f′) − 0.5| ≥ |g(f) − 0.5|``. Where f′ = f, p is 0 as
    well, so that budget 0 is the undefended model. Expectations are exact; nothing is drawn.

    The table describes an attacker who asks once. One who asks twice sees f sooner or later.

    Args:
        clean_probs: ``(N, C)`` floating, f.
        defended_probs: ``(N, C)`` floating, f′.
        correct_clean: ``(N,)`` bool, whether the attacker is right about the sample when it sees f.
        correct_defended: ``(N,)`` bool, whether it is right when it sees f′.
        g_clean: ``(N,)`` in 0 … 1, the defender's membership probability (sigmoid output) for f.
        g_defended: ``(N,)`` the same for f′.
        budgets: Bounds ε on the expected L1 distortion of each vector, ≥ 0; 2 is the largest distance there is.

    Returns:
        One point for each budget, in the order given. `mean_l1` never exceeds the budget and never falls as it grows.

    Raises:
        InputError: If shapes differ, a row is no confidence vector, a g is outside 0 … 1 or a budget is not ≥ 0.

    Example:
        >>> point, = budget_table(
        ...     [[1.0, 0.0]], [[0.5, 0.5]], correct_clean=[True], correct_defended=[False],
        ...     g_clean=[0.9], g_defended=[0.5], budgets=[0.25],
        ... )
        >>> point.accuracy, point.mean_l1
        (0.75, 0.25)
    """
    clean_probs = check_probs(clean_probs, name="clean_probs")
    defended_probs = check_probs(defended_probs, name="defended_probs")
    correct_clean = check_flags(correct_clean, name="correct_clean")
    correct_defended = check_flags(correct_defended, name="correct_defended")
    g_clean = check_fractions(g_clean, name="g_clean")
    g_defended = check_fractions(g_defended, name="g_defended")
    check_same_length(
        {
            "clean_probs": clean_probs,
            "defended_probs": defended_probs,
            "correct_clean": correct_clean,
            "correct_defended": correct_defended,
            "g_clean": g_clean,
            "g_defended": g_defended,
        }
    )
    if clean_probs.shape != defended_probs.shape:
        raise InputError("defended_probs", expected=f"shape {clean_probs.shape}", got=str(defended_probs.shape))
    distances = np.abs(np.subtract(clean_probs, defended_probs, dtype=np.float64)).sum(axis=1)
    is_useful = (np.abs(g_defended - 0.5) < np.abs(g_clean - 0.5)) & (distances > 0)

    def point(budget: float) -> BudgetPoint:
        if not 0 <= budget < np.inf:
            raise InputError("budgets", expected="finite numbers ≥ 0", got=str(budget))
        shares = is_useful.astype(np.float64)
        # Dividing only where the budget is short keeps 1/tiny from overflowing.
        np.divide(budget, distances, out=shares, where=is_useful & (distances > budget))
        accuracy = np.mean(shares * correct_defended + (1 - shares) * correct_clean)
        return BudgetPoint(float(budget), float(accuracy), float(np.mean(shares * distances)))

    return tuple(point(budget) for budget in budgets)


def _check(scores: ArrayLike, is_member: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
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
    return scores, is_member


def _count(scores: np.ndarray, is_member: np.ndarray) -> _Counts:
    distinct, group = np.unique(scores, return_inverse=True)
    members = np.bincount(group[is_member], minlength=len(distinct))
    non_members = np.bincount(group[~is_member], minlength=len(distinct))
    return _Counts(
        np.append(distinct[::-1], -np.inf),
        np.append(0, np.cumsum(members[::-1])),
        np.append(0, np.cumsum(non_members[::-1])),
    )


def _area(counts: _Counts) -> float:
    # Trapezoids, doubled to stay in integers: the slanted side of one is what counts ties half.
    heights = counts.called_members[1:] + counts.called_members[:-1]
    return int(np.diff(counts.called_non_members) @ heights) / (2 * counts.n_members * counts.n_non_members)


def _rate(counts: _Counts, fpr: float) -> RateAtFpr:
    if not 0 < fpr <= 1:
        raise InputError("fpr", expected="above 0 and at most 1", got=str(fpr))
    n = counts.n_non_members
    # k/n is compared, not k with fpr·n: 0.29·100 is below 29 in binary, 29/100 is 0.29.
    last = int(np.flatnonzero(counts.called_non_members / n <= fpr)[-1])
    caught = int(counts.called_members[last])
    low, high = clopper_pearson(caught, counts.n_members)
    note = None
    if 1 / n > fpr:
        needed = round(1 / fpr)
        needed += 1 / needed > fpr
        possible = clopper_pearson(0, n)[1]
        note = (
            f"too few non-members: {n}, at least {needed} needed; with none of them called, "
            f"the true false-positive rate may be up to {possible:.2g}"
        )
    return RateAtFpr(fpr=float(fpr), tpr=caught / counts.n_members, low=low, high=high, note=note)
