"""Confidence intervals and bounds of figures, for the random choice of the evaluation's samples.

In all functions, `scores` is ``(N,)``, higher = more likely a member; ties and infinities are allowed, NaN is refused.
`is_member` is ``(N,)`` bool with at least one sample of each kind. A sample is classified as a member if and only if
``score > threshold``. Samples are assumed to be independent; the intervals do not include variation that all samples
share, such as that of the model.
"""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import ArrayLike

from mindefense.errors import InputError
from mindefense.metrics.ranking import Counts

RANK_DIVISORS = (1000, 100, 10, 4, 2)
"""`epsilon_lower_bound` uses the thresholds that 0, n // 1000, n // 100, … of n samples of the other kind exceed."""


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
    try:
        successes, trials = operator.index(successes), operator.index(trials)
    except TypeError as error:
        raise InputError("successes and trials", expected="whole numbers", got=f"{successes}, {trials}") from error
    if trials < 1 or not 0 <= successes <= trials:
        raise InputError("successes", expected="0 … trials, and trials ≥ 1", got=f"{successes} of {trials}")
    tail = tail_of(confidence)
    return _binomial_low(successes, trials, tail), _binomial_high(successes, trials, tail)


def balanced_accuracy_interval(
    scores: ArrayLike, is_member: ArrayLike, *, threshold: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the balanced accuracy at a threshold that was chosen on other samples.

    Balanced accuracy is (1 + TPR − FPR)/2, so its interval is that of a difference of two independent proportions:
    Newcombe 1998 (Interval estimation for the difference between independent proportions), method 10. It combines the
    distances from each rate to the ends of its own interval by the root of the sum of their squares. The intervals of
    the rates are Clopper-Pearson's instead of Newcombe's choice of Wilson's, whose coverage is too low for rates near
    0 and 1, especially at the confidence levels of a Bonferroni correction. Enumerated over rates from 0.001 to 0.999
    and 10 to 300 samples of a kind, the coverage of a 95 % interval is at least 0.927 and on average 0.97, against
    0.88 and 0.96 with Wilson's intervals; the interval is wider by about one sample. Coverage is lowest if both rates
    are within a few samples of 0 or 1.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        threshold: Samples with ``score > threshold`` are called members; may be infinite.
        confidence: Between 0 and 1, both excluded. ``1 - 0.05 / k`` for the best of k attackers (Bonferroni).

    Returns:
        Lower and upper end, within 0 … 1, the balanced accuracy between them. For the advantage: twice each, minus 1.

    Raises:
        InputError: If lengths differ, a score or the threshold is NaN, there are no members or no non-members, or
            `confidence` is out of range.

    Example:
        >>> scores, is_member = [3.0, 1.0, 2.0, 0.0], [True, True, False, False]
        >>> low, high = balanced_accuracy_interval(scores, is_member, threshold=1.5)
        >>> round(low, 3), round(high, 3)
        (0.155, 0.845)
    """
    counts = Counts.of(scores, is_member)
    true_positives, false_positives = counts.at(threshold)
    tpr, fpr = true_positives / counts.n_members, false_positives / counts.n_non_members
    tpr_low, tpr_high = clopper_pearson(true_positives, counts.n_members, confidence=confidence)
    fpr_low, fpr_high = clopper_pearson(false_positives, counts.n_non_members, confidence=confidence)
    middle = (1 + tpr - fpr) / 2
    low = middle - math.hypot(tpr - tpr_low, fpr_high - fpr) / 2
    high = middle + math.hypot(tpr_high - tpr, fpr - fpr_low) / 2
    return max(low, 0.0), min(high, 1.0)


def auc_interval(scores: ArrayLike, is_member: ArrayLike, *, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the area under the ROC curve.

    The variance is that of DeLong, DeLong and Clarke-Pearson 1988, from the placements of the members among the
    non-members and the reverse, in O(N log N) (Sun and Xu 2014); the interval is symmetric on the logit scale, which
    keeps it within 0 … 1.

    That variance is 0 for an AUC of 0 or 1 and close to 0 near them, because it ignores kinds of samples that were not
    drawn. The interval therefore also allows for them. With k = min(members, non-members), a share
    ``r = 1 - ((1 - confidence) / 2) ** (1 / k)`` of the members (or non-members), about 3.7/k at 95 %, remains unseen
    with the probability of one tail. These samples can change the AUC at most to ``auc * (1 - r)`` or
    ``1 - (1 - auc) * (1 - r)``. These values replace the ends that are closer to the AUC. At an AUC of 1 the lower end
    equals Clopper and Pearson's for k of k and is exact: k pairs without a common sample are all in order with the
    probability of the true AUC to the power k. For k = 1 the smaller kind's variance cannot be estimated; its largest
    possible value is used instead, ``auc * (1 - auc) / k`` (Birnbaum and Klose 1957).

    In simulations with normal scores and at least 30 samples of each kind, the coverage of a 95 % interval was at
    least 94 %. Enumerated for scores of two values, it was 95 to 96 % on average over all true AUCs, and at least 88 %
    for each.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        confidence: Between 0 and 1, both excluded.

    Returns:
        Lower and upper end, within 0 … 1, the AUC between them and never equal to both. Any strictly rising map of the
        scores preserves them.

    Raises:
        InputError: If lengths differ, a score is NaN, there are no members or no non-members, or `confidence` is out
            of range.

    Example:
        >>> low, high = auc_interval([3.0, 4.0, 1.0, 2.0], [True, True, False, False])
        >>> round(low, 3), high
        (0.158, 1.0)
    """
    from scipy.special import expit, logit, ndtri  # imported here, see _binomial_low

    counts = Counts.of(scores, is_member)
    tail = tail_of(confidence)
    area = counts.area()
    fewer = min(counts.n_members, counts.n_non_members)
    unseen = 1 - tail ** (1 / fewer)
    low, high = area * (1 - unseen), 1 - (1 - area) * (1 - unseen)
    if 0 < area < 1:
        error = math.sqrt(_delong_variance(counts) if fewer > 1 else area * (1 - area))
        reach = -float(ndtri(tail)) * error / (area * (1 - area))
        low, high = min(low, float(expit(logit(area) - reach))), max(high, float(expit(logit(area) + reach)))
    return low, high


def tpr_interval(
    scores: ArrayLike, is_member: ArrayLike, *, fpr: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the true positive rate at a false positive rate; it includes the uncertainty of the threshold.

    The threshold at which the population has the false positive rate `fpr` is not known. If the threshold is the score
    of the non-member that a of the n non-members outscore, its false positive rate has a Beta(a + 1, n − a)
    distribution, or is smaller if scores are tied. The lower end uses the largest a for which that rate is at most
    `fpr`, and the upper end the smallest a for which it is at least `fpr`, each with an error probability of half a
    tail. The other half accounts for the random choice of the members (Clopper and Pearson). The threshold does not
    depend on the members, so that coverage is at least `confidence` for all distributions.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        fpr: The false positive rate, 0 (excluded) … 1.
        confidence: Between 0 and 1, both excluded.

    Returns:
        Lower and upper end, within 0 … 1. An end is 0 or 1 if there are too few non-members for its threshold.

    Raises:
        InputError: If lengths differ, a score is NaN, there are no members or no non-members, or `fpr` or `confidence`
            is out of range.

    Example:
        >>> scores, is_member = [3.0, 1.0, 2.0, 0.0], [True, True, False, False]
        >>> tpr_interval(scores, is_member, fpr=0.01)
        (0.0, 1.0)
    """
    if not 0 < fpr <= 1:
        raise InputError("fpr", expected="above 0 and at most 1", got=str(fpr))
    return tpr_interval_of(Counts.of(scores, is_member), fpr, confidence)


def tpr_interval_of(counts: Counts, fpr: float, confidence: float = 0.95) -> tuple[float, float]:
    """`tpr_interval` from counts."""
    from scipy.special import betainc  # imported here, see _binomial_low

    tail = tail_of(confidence) / 2
    n, n_members = counts.n_non_members, counts.n_members
    mistakes = np.arange(n + 1)
    # The probability that the threshold that a non-members exceed has a false positive rate of at most fpr.
    within = np.where(mistakes < n, betainc(mistakes + 1, np.maximum(n - mistakes, 1), fpr), float(fpr >= 1))
    low, high = 0.0, 1.0
    if within[0] >= 1 - tail:
        most = int(np.flatnonzero(within >= 1 - tail)[-1])
        last = int(np.searchsorted(counts.called_non_members, most, side="right")) - 1
        low = _binomial_low(int(counts.called_members[last]), n_members, tail)
    fewest = int(np.flatnonzero(within <= tail)[0]) if (within <= tail).any() else n
    if fewest < n:
        first = int(np.searchsorted(counts.called_non_members, fewest + 1, side="left"))
        high = _binomial_high(int(counts.called_members[first]), n_members, tail)
    return low, high


def epsilon_lower_bound(
    scores: ArrayLike, is_member: ArrayLike, *, threshold: float | None = None, confidence: float = 0.95
) -> float:
    """A lower confidence bound on the ε of an ε-differentially private mechanism (δ = 0) that led to these scores.

    For every function of the output of such a mechanism, TPR ≤ exp(ε) FPR and TNR ≤ exp(ε) FNR (Wasserman and Zhou
    2010; Kairouz, Oh and Viswanath 2015). So ε is at least log(TPR_low/FPR_high) and log(TNR_low/FNR_high), with
    confidence bounds of the rates, at any threshold that was not chosen by its result on these samples (Jagielski,
    Ullman and Oprea 2020).

    The thresholds have fixed ranks: each is the score of the non-member that x of the n non-members outscore, for
    x = 0, n // 1000, n // 100, n // 10, n // 4 and n // 2. The true FPR there has a Beta(x + 1, n − x) distribution,
    or is smaller if scores are tied, so that its upper bound is Clopper and Pearson's for x of n. The choice does not
    depend on the members, so that the number of members above the threshold is binomial. TNR and FNR are bounded in
    the same way, with members and non-members exchanged. `threshold`, if given, is a further candidate in both
    directions. Differential privacy bounds members and non-members alike, so an inverted ranking counts as well. All
    bounds hold at once with probability `confidence` (Bonferroni over all candidates and the two one-sided bounds of
    each), so that the best one can be used.

    Two assumptions limit the bound. Members must have been chosen from the samples at random; otherwise a difference
    between the two kinds from before training counts as a leak. The samples are assumed to be independent, although
    they share one training run; Steinke, Nasr and Jagielski 2023 bound ε from one run without this assumption. The
    bound is therefore an indication for an audit and no proof against a promised ε.

    Args:
        scores: ``(N,)`` real, higher = more likely a member; infinities allowed.
        is_member: ``(N,)`` bool, at least one sample of each kind.
        threshold: A threshold chosen on *other* samples (``score > threshold`` is a member), or None. It matters if
            most scores are tied, since the ranks are then not informative.
        confidence: Between 0 and 1, both excluded.

    Returns:
        ε ≥ 0, natural logarithm; 0 if there is no positive bound. It is finite, and limited by the number of samples.

    Raises:
        InputError: If lengths differ, a score or the threshold is NaN, there are no members or no non-members, or
            `confidence` is out of range.

    Example:
        >>> is_member = [True] * 500 + [False] * 500
        >>> round(epsilon_lower_bound([1.0] * 500 + [0.0] * 500, is_member), 2)
        4.31
        >>> round(epsilon_lower_bound([0.0] * 500 + [1.0] * 500, is_member), 2)
        4.31
    """
    counts = Counts.of(scores, is_member)
    candidates = []
    for side in (counts, counts.swapped()):
        candidates += [*_at_fixed_ranks(side), *_at_fixed_ranks(side.mirrored())]
        if threshold is not None:
            n_members, n_non_members = side.n_members, side.n_non_members
            true_positives, false_positives = side.at(threshold)
            candidates += [
                (true_positives, n_members, false_positives, n_non_members),
                (n_non_members - false_positives, n_non_members, n_members - true_positives, n_members),
            ]
    tail = tail_of(confidence) / len(candidates)  # two bounds each, all of one side
    ratios = [
        _binomial_low(right, right_of, tail) / _binomial_high(wrong, wrong_of, tail)
        for right, right_of, wrong, wrong_of in candidates
    ]
    return math.log(max(1.0, *ratios))


def _at_fixed_ranks(counts: Counts) -> list[tuple[int, int, int, int]]:
    """For each rank x: the members above the threshold that x non-members exceed, all members, x, all non-members."""
    n = counts.n_non_members
    ranks = sorted({0, *(n // divisor for divisor in RANK_DIVISORS)})
    # The last threshold with at most x non-members above it is the score of the next one.
    found = np.searchsorted(counts.called_non_members, ranks, side="right") - 1
    return [(int(counts.called_members[i]), counts.n_members, x, n) for i, x in zip(found, ranks, strict=True)]


def _delong_variance(counts: Counts) -> float:
    def part(called: np.ndarray, called_others: np.ndarray) -> float:
        # Samples with the same score have the same placement: the share of the other kind above it, with ties as 1/2.
        how_many = np.diff(called)
        placements = (called_others[1:] + called_others[:-1]) / (2 * int(called_others[-1]))
        n = int(called[-1])
        middle = how_many @ placements / n
        return float(how_many @ (placements - middle) ** 2) / (n - 1) / n

    return part(counts.called_members, counts.called_non_members) + part(
        counts.called_non_members, counts.called_members
    )


def tail_of(confidence: float) -> float:
    """The probability beyond each end of a two-sided interval."""
    if not 0 < confidence < 1:
        raise InputError("confidence", expected="between 0 and 1", got=str(confidence))
    return (1 - confidence) / 2


def _binomial_low(successes: int, trials: int, tail: float) -> float:
    """The proportion for which at least this many successes have the probability `tail`; 0 for no success."""
    from scipy.special import betaincinv  # imported here, since importing it takes longer than the rest of the package

    return float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0


def _binomial_high(successes: int, trials: int, tail: float) -> float:
    """The proportion for which at most this many successes have the probability `tail`; 1 for successes only."""
    from scipy.special import betaincinv

    return float(betaincinv(successes + 1, trials - successes, 1 - tail)) if successes < trials else 1.0
