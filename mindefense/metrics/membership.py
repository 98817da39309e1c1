"""Measures of how well an attacker's scores separate members from non-members.

In all functions, `scores` is ``(N,)``, higher = more likely a member; ties and infinities are allowed, NaN is refused.
`is_member` is ``(N,)`` bool with at least one sample of each kind. A sample is classified as a member if and only if
``score > threshold``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from mindefense.checks import check_flags, check_fractions, check_probs, check_same_length
from mindefense.errors import InputError
from mindefense.metrics.intervals import (
    auc_interval,
    balanced_accuracy_interval,
    clopper_pearson,
    epsilon_lower_bound,
    tpr_interval_of,
)
from mindefense.metrics.ranking import Counts
from mindefense.types import BudgetPoint, MembershipMetrics, PrecisionAtPrior, RateAtFnr, RateAtFpr

PUBLISHED_BUDGETS = (1.0, 0.7, 0.5, 0.3, 0.1, 0.0)
"""Bounds on the expected L1 distortion in the tables of MemGuard (Jia et al. 2019) and DefenMI."""

FEWEST_MISTAKES = 5
"""If a small error rate allows fewer mistakes than this in the sample, a note says that the figure is rough."""

VERDICT_THRESHOLD = 0.6
"""MindArmour's tutorial reports a risk if accuracy, precision and recall all exceed this value."""


def membership_metrics(
    scores: ArrayLike,
    is_member: ArrayLike,
    *,
    threshold: float,
    fprs: Sequence[float] = (0.1, 0.01, 0.001),
    fnrs: Sequence[float] = (0.1, 0.01, 0.001),
    priors: Sequence[float] = (0.5, 0.1, 0.01),
) -> MembershipMetrics:
    """All measures of one attacker on one set of samples.

    Accuracy, balanced accuracy, advantage, precision, recall and the share called member depend on `threshold`. They
    are valid only if it was chosen on *other* samples (`best_threshold` on the fit half). AUC and the rates at small
    false positive or false negative rates depend only on the ranking; the bound on ε depends on both.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        threshold: Samples with ``score > threshold`` are called members; may be infinite.
        fprs: Bounds for `tpr_at_fpr`, each in 0 (excluded) … 1.
        fnrs: Bounds for `tnr_at_fnr`, each in 0 (excluded) … 1.
        priors: Shares of members for `precision_at_prior`, each in 0 … 1.

    Returns:
        Fractions in 0 … 1, `advantage` in −1 … 1, `epsilon_low` ≥ 0; `precision` is None if no sample was called a
        member. Intervals are those of `balanced_accuracy_interval`, `auc_interval` and `tpr_interval`.

    Raises:
        InputError: If lengths differ, a score or the threshold is NaN, there are no members or no non-members, or a
            bound or a prior is out of range.

    Example:
        >>> metrics = membership_metrics([3.0, 1.0, 2.0, 0.0], [True, True, False, False], threshold=1.5)
        >>> metrics.accuracy, metrics.precision, metrics.recall, metrics.auc, metrics.advantage
        (0.5, 0.5, 0.5, 0.75, 0.0)
    """
    counts = Counts.of(scores, is_member)
    mirrored = counts.mirrored()
    n_members, n_non_members = counts.n_members, counts.n_non_members
    n = n_members + n_non_members
    true_positives, false_positives = counts.at(threshold)
    n_called = true_positives + false_positives
    # Both rates have a common denominator: with a single division, every figure is the float nearest to the fraction.
    pairs_gained = true_positives * n_non_members - false_positives * n_members
    pairs = n_members * n_non_members
    area = counts.area()
    balanced_accuracy_low, balanced_accuracy_high = balanced_accuracy_interval(scores, is_member, threshold=threshold)
    auc_low, auc_high = auc_interval(scores, is_member)
    tpr, fpr = true_positives / n_members, false_positives / n_non_members
    return MembershipMetrics(
        n_members=n_members,
        n_non_members=n_non_members,
        accuracy=(true_positives + n_non_members - false_positives) / n,
        balanced_accuracy=(pairs + pairs_gained) / (2 * pairs),
        balanced_accuracy_low=balanced_accuracy_low,
        balanced_accuracy_high=balanced_accuracy_high,
        advantage=pairs_gained / pairs,
        precision=true_positives / n_called if n_called else None,
        recall=tpr,
        share_called_member=n_called / n,
        auc=area,
        auc_low=auc_low,
        auc_high=auc_high,
        two_sided_auc=max(area, 1 - area),
        tpr_at_fpr=tuple(_tpr(counts, bound) for bound in fprs),
        tnr_at_fnr=tuple(_tnr(mirrored, bound) for bound in fnrs),
        epsilon_low=epsilon_lower_bound(scores, is_member, threshold=threshold),
        precision_at_prior=tuple(precision_at_prior(tpr, fpr, prior=prior) for prior in priors),
    )


def tpr_at_fpr(scores: ArrayLike, is_member: ArrayLike, *, fpr: float) -> RateAtFpr:
    """Largest true-positive rate within a bound on the false-positive rate (Carlini et al. 2022, Section III).

    The figure has these limits:

    - The threshold is chosen on the evaluated samples. The bound therefore holds for the false positive rate *in this
      sample*; the rate in the population is above the bound about as often as below.
    - With fewer than 1/`fpr` non-members a single mistake exceeds the bound, so that the figure is the true positive
      rate at zero observed mistakes, whatever `fpr` is. `note` then gives the number of non-members and an upper bound
      on the true false positive rate (0 of n: about 3.7/n; the two-sided 95 % "rule of three", Hanley and
      Lippman-Hand 1983).
    - 1/`fpr` non-members are the minimum, and do not give a precise figure: one mistake in exactly 1/`fpr` is
      compatible with a rate of 5.6 times the bound, and ten in 10/`fpr` with 1.8 times. The figure is then too high on
      average, and `note` says so if fewer than `FEWEST_MISTAKES` mistakes are allowed.
    - `low` and `high` are the interval of `tpr_interval`. It is for the true positive rate at the threshold where the
      population has the false positive rate `fpr`.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        fpr: Bound on the share of non-members called members, 0 (excluded) … 1.

    Returns:
        The rate, its 95 % interval (`tpr_interval`) and a note if the non-members are too few.

    Raises:
        InputError: If lengths differ, a score is NaN, there are no members or no non-members, or `fpr` is out of range.

    Example:
        >>> rate = tpr_at_fpr([3.0, 1.0, 2.0, 0.0], [True, True, False, False], fpr=0.5)
        >>> rate.tpr, rate.low, rate.high
        (1.0, 0.0, 1.0)
    """
    return _tpr(Counts.of(scores, is_member), fpr)


def tnr_at_fnr(scores: ArrayLike, is_member: ArrayLike, *, fnr: float) -> RateAtFnr:
    """Largest true-negative rate within a bound on the false-negative rate: non-members identified almost surely.

    It is `tpr_at_fpr` with members and non-members exchanged and scores negated. The limits described there apply with
    false negative rates and members. If no member may be missed, the identified non-members score below every member.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        fnr: Bound on the share of members not called members, 0 (excluded) … 1.

    Returns:
        The rate, its 95 % interval (`tpr_interval`) and a note if the members are too few.

    Raises:
        InputError: If lengths differ, a score is NaN, there are no members or no non-members, or `fnr` is out of range.

    Example:
        >>> tnr_at_fnr([3.0, 1.0, 2.0, 0.0], [True, True, False, False], fnr=0.1).tnr
        0.5
    """
    return _tnr(Counts.of(scores, is_member).mirrored(), fnr)


def precision_at_prior(tpr: float, fpr: float, *, prior: float) -> PrecisionAtPrior:
    """The precision of an attacker that meets another share of members than the evaluation has, by Bayes' rule.

    It is ``prior·TPR / (prior·TPR + (1 − prior)·FPR)``. An evaluation on as many members as non-members has the prior
    0.5 (cf. Jayaraman et al. 2021).

    Args:
        tpr: Share of the members called members, 0 … 1.
        fpr: Share of the non-members called members, 0 … 1.
        prior: Share of members among the samples that the attacker meets, 0 … 1.

    Returns:
        The precision; None if no sample is called a member.

    Raises:
        InputError: If an argument is out of range.

    Example:
        >>> precision_at_prior(0.75, 0.25, prior=0.1).precision
        0.25
    """
    for name, value in (("tpr", tpr), ("fpr", fpr), ("prior", prior)):
        if not 0 <= value <= 1:
            raise InputError(name, expected="0 … 1", got=str(value))
    right, wrong = prior * tpr, (1 - prior) * fpr
    return PrecisionAtPrior(float(prior), right / (right + wrong) if right + wrong else None)


def verdict(metrics: MembershipMetrics) -> bool:
    """MindArmour's rule: the model leaks if accuracy, precision and recall all exceed `VERDICT_THRESHOLD`.

    Accuracy and precision are those for as many members as non-members, as in the tutorial. Otherwise an evaluation
    with more non-members would lower the precision until no model leaked.

    This is a rule of thumb from the MindArmour tutorial on membership inference, kept for comparison. It misses an
    attacker that identifies a few members almost surely, which `tpr_at_fpr` measures.

    Args:
        metrics: From `membership_metrics`.

    Returns:
        True if it leaks; False if no sample was called a member.
    """
    accuracy, recall = metrics.balanced_accuracy, metrics.recall
    false_alarms = max(0.0, 1 + recall - 2 * accuracy)
    if recall + false_alarms == 0:
        return False
    return min(accuracy, recall / (recall + false_alarms), recall) > VERDICT_THRESHOLD


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
    """The attacker's accuracy if the defense answers at random within a distortion budget.

    Phase II of MemGuard (Jia et al. 2019, Section 4); the DefenMI paper has the same table. A sample gets its defended
    vector f′ with probability p and its clean vector f otherwise, with ``p = min(ε / ‖f − f′‖₁, 1)``. If f′ does not
    bring the defender's g nearer to 0.5, ``|g(f′) − 0.5| ≥ |g(f) − 0.5|``, p is 0. If f′ = f, p is 0 as well, so that
    budget 0 is the undefended model. Expectations are computed exactly, without random numbers.

    The table is for an attacker that queries each sample once. Repeated queries would eventually reveal f.

    Args:
        clean_probs: ``(N, C)`` floating, f.
        defended_probs: ``(N, C)`` floating, f′.
        correct_clean: ``(N,)`` bool, whether the attacker classifies the sample correctly from f.
        correct_defended: ``(N,)`` bool, whether it does so from f′.
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
        # Dividing only where the distance exceeds the budget avoids an overflow for tiny distances.
        np.divide(budget, distances, out=shares, where=is_useful & (distances > budget))
        accuracy = np.mean(shares * correct_defended + (1 - shares) * correct_clean)
        return BudgetPoint(float(budget), float(accuracy), float(np.mean(shares * distances)))

    return tuple(point(budget) for budget in budgets)


def _tpr(counts: Counts, fpr: float) -> RateAtFpr:
    rate, low, high = _rate_within(counts, fpr, name="fpr")
    note = _too_few(counts.n_non_members, fpr, "non-members", "none of them called", "false-positive")
    return RateAtFpr(float(fpr), rate, low, high, note)


def _tnr(mirrored: Counts, fnr: float) -> RateAtFnr:
    rate, low, high = _rate_within(mirrored, fnr, name="fnr")
    note = _too_few(mirrored.n_non_members, fnr, "members", "none of them missed", "false-negative")
    return RateAtFnr(float(fnr), rate, low, high, note)


def _rate_within(counts: Counts, bound: float, *, name: str) -> tuple[float, float, float]:
    if not 0 < bound <= 1:
        raise InputError(name, expected="above 0 and at most 1", got=str(bound))
    # k/n is compared, not k with bound·n: 0.29·100 is below 29 in binary, 29/100 is 0.29.
    last = int(np.flatnonzero(counts.called_non_members / counts.n_non_members <= bound)[-1])
    caught = int(counts.called_members[last])
    low, high = tpr_interval_of(counts, bound)
    return caught / counts.n_members, low, high


def _too_few(n: int, bound: float, kind: str, without_mistakes: str, rate: str) -> str | None:
    mistakes = int(bound * n + 1e-9)
    if mistakes >= FEWEST_MISTAKES:
        return None
    possible = clopper_pearson(mistakes, n)[1]
    if mistakes:
        return (
            f"few {kind}: {n} allow {mistakes} mistake{'s' if mistakes > 1 else ''} at {bound:g}, so the figure is too "
            f"high on average; the true {rate} rate may be up to {possible:.2g}"
        )
    needed = round(1 / bound)
    needed += 1 / needed > bound
    return (
        f"too few {kind}: {n}, at least {needed} needed; with {without_mistakes}, "
        f"the true {rate} rate may be up to {possible:.2g}"
    )
