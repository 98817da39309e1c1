"""Membership metrics against hand-computed values, scikit-learn and brute force, and what must hold for any scores."""

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sk

from mindefense.errors import InputError
from mindefense.metrics import (
    auc,
    auc_interval,
    balanced_accuracy_interval,
    best_threshold,
    budget_table,
    epsilon_lower_bound,
    membership_metrics,
    precision_at_prior,
    roc_curve_points,
    tnr_at_fnr,
    tpr_at_fpr,
    verdict,
)
from mindefense.metrics.ranking import Counts
from mindefense.types import PrecisionAtPrior, RateAtFnr

reproducible = settings(max_examples=20, deadline=None, derandomize=True, database=None)


@st.composite
def scored_samples(draw, elements=None):
    """Scores with many ties, and at least one member and one non-member."""
    elements = st.integers(-4, 4).map(float) if elements is None else elements
    is_member = draw(st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda flags: 0 < sum(flags) < len(flags)))
    scores = draw(st.lists(elements, min_size=len(is_member), max_size=len(is_member)))
    return np.array(scores), np.array(is_member)


finite = st.floats(allow_nan=False, allow_infinity=False)
with_infinities = st.sampled_from([-np.inf, -1.7e308, -1.0, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2.0), 1.7e308, np.inf])


def random_samples(seed, n=400, ties=False):
    rng = np.random.default_rng(seed)
    is_member = rng.random(n) < 0.4
    scores = rng.normal(is_member * 0.8)
    return (scores.round(1) if ties else scores), is_member


def balanced_accuracy(scores, is_member, threshold):
    called = scores > threshold
    return (called[is_member].mean() + (~called[~is_member]).mean()) / 2


# ---------------------------------------------------------------------------------------------- membership_metrics


def test_metrics_equal_hand_computed_ones():
    #          members: 4 3 1 | non-members: 2 1 0 0 0;  score > 1 calls 4, 3 (right) and 2 (wrong)
    scores = np.array([4.0, 2.0, 3.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    is_member = np.array([1, 0, 1, 0, 1, 0, 0, 0], bool)
    metrics = membership_metrics(scores, is_member, threshold=1.0, fprs=(0.2, 0.5), fnrs=(0.3, 0.4))
    assert (metrics.n_members, metrics.n_non_members) == (3, 5)
    assert metrics.accuracy == 6 / 8
    assert metrics.balanced_accuracy == 11 / 15  # (2/3 + 4/5)/2
    assert metrics.advantage == 7 / 15  # 2/3 - 1/5
    assert metrics.precision == 2 / 3
    assert metrics.recall == 2 / 3
    assert metrics.share_called_member == 3 / 8
    # 4 and 3 beat all 5; 1 beats three, ties with one, loses to one.
    assert metrics.auc == metrics.two_sided_auc == 13.5 / 15
    # One false positive in 5 allowed: 2 is called, the tied pair at 1 would bring a second. Two allowed: the pair too.
    assert [rate.tpr for rate in metrics.tpr_at_fpr] == [2 / 3, 1.0]
    assert [rate.fpr for rate in metrics.tpr_at_fpr] == [0.2, 0.5]
    # Below every member: the three at 0. With the member at 1 missed, a rate of 1/3, all that are below 3 are cleared.
    assert [rate.tnr for rate in metrics.tnr_at_fnr] == [3 / 5, 1.0]
    assert [rate.fnr for rate in metrics.tnr_at_fnr] == [0.3, 0.4]
    # Bayes with TPR 2/3 and FPR 1/5: 10/(10 + 3), 10/(10 + 27), 10/(10 + 297)
    worth = [(at.prior, at.precision) for at in metrics.precision_at_prior]
    assert worth == [(0.5, pytest.approx(10 / 13)), (0.1, pytest.approx(10 / 37)), (0.01, pytest.approx(10 / 307))]


def test_metrics_report_the_intervals_that_their_functions_give():
    scores, is_member = random_samples(3, ties=True)
    metrics = membership_metrics(scores, is_member, threshold=0.4)
    found = (metrics.balanced_accuracy_low, metrics.balanced_accuracy_high)
    assert found == balanced_accuracy_interval(scores, is_member, threshold=0.4)
    assert (metrics.auc_low, metrics.auc_high) == auc_interval(scores, is_member)
    assert metrics.epsilon_low == epsilon_lower_bound(scores, is_member, threshold=0.4) > 0
    assert [rate.fpr for rate in metrics.tpr_at_fpr] == [rate.fnr for rate in metrics.tnr_at_fnr] == [0.1, 0.01, 0.001]
    assert metrics.tpr_at_fpr[1] == tpr_at_fpr(scores, is_member, fpr=0.01)
    assert metrics.tnr_at_fnr[1] == tnr_at_fnr(scores, is_member, fnr=0.01)


@reproducible
@given(samples=scored_samples(), threshold=st.integers(-5, 5))
def test_shares_are_the_floats_nearest_to_the_fractions(samples, threshold):
    scores, is_member = samples
    called = scores > threshold
    tpr = Fraction(int(called[is_member].sum()), int(is_member.sum()))
    fpr = Fraction(int(called[~is_member].sum()), int((~is_member).sum()))
    metrics = membership_metrics(scores, is_member, threshold=threshold)
    assert metrics.recall == float(tpr)
    assert metrics.advantage == float(tpr - fpr)
    assert metrics.balanced_accuracy == float((1 + tpr - fpr) / 2)
    assert metrics.two_sided_auc == max(metrics.auc, 1 - metrics.auc)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn(seed, ties):
    scores, is_member = random_samples(seed, ties=ties)
    metrics = membership_metrics(scores, is_member, threshold=0.3)
    called = scores > 0.3
    assert metrics.accuracy == pytest.approx(sk.accuracy_score(is_member, called), abs=1e-12)
    assert metrics.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(is_member, called), abs=1e-12)
    assert metrics.precision == pytest.approx(sk.precision_score(is_member, called), abs=1e-12)
    assert metrics.recall == pytest.approx(sk.recall_score(is_member, called), abs=1e-12)
    assert metrics.auc == pytest.approx(sk.roc_auc_score(is_member, scores), abs=1e-12)
    fpr, tpr, _ = sk.roc_curve(is_member, scores, drop_intermediate=False)
    for rate in metrics.tpr_at_fpr:
        assert rate.tpr == pytest.approx(tpr[fpr <= rate.fpr].max(), abs=1e-12)


@pytest.mark.parametrize(
    ("threshold", "precision", "recall", "share", "accuracy"),
    [
        (2.0, None, 0.0, 0.0, 0.5),
        (np.inf, None, 0.0, 0.0, 0.5),
        (1.0, 1.0, 1.0, 0.5, 1.0),
        (-np.inf, 0.5, 1.0, 1.0, 0.5),
    ],
)
def test_threshold_itself_is_not_called(threshold, precision, recall, share, accuracy):
    metrics = membership_metrics([2.0, 2.0, 1.0, 1.0], [True, True, False, False], threshold=threshold)
    assert metrics.precision == precision
    assert metrics.recall == recall
    assert metrics.share_called_member == share
    assert metrics.accuracy == accuracy
    assert metrics.balanced_accuracy == accuracy


def test_equal_scores_say_nothing():
    is_member = np.arange(400) < 200
    metrics = membership_metrics(np.full(400, 0.7), is_member, threshold=0.7)
    assert metrics.auc == 0.5
    assert metrics.tpr_at_fpr[0].tpr == 0
    assert metrics.precision is None
    assert metrics.balanced_accuracy == 0.5
    assert best_threshold(np.full(400, 0.7), is_member) == 0.7


def test_separated_scores_say_everything():
    is_member = np.arange(20000) < 10000
    scores = np.where(is_member, 1.0, 0.0) + np.linspace(0, 0.5, 20000)
    metrics = membership_metrics(scores, is_member, threshold=best_threshold(scores, is_member))
    assert (metrics.accuracy, metrics.precision, metrics.recall, metrics.auc) == (1, 1, 1, 1)
    assert [(rate.tpr, rate.high, rate.note) for rate in metrics.tpr_at_fpr] == [(1, 1, None)] * 3
    assert [(rate.tnr, rate.high, rate.note) for rate in metrics.tnr_at_fnr] == [(1, 1, None)] * 3
    assert membership_metrics(-scores, is_member, threshold=0.0).two_sided_auc == 1
    assert auc(-scores, is_member) == 0


def test_float32_and_integer_scores_are_welcome():
    scores, is_member = random_samples(5)
    half = scores.astype(np.float32)
    assert auc(half, is_member) == auc(half.astype(np.float64), is_member)
    assert auc(np.array([3, 1, 2]), np.array([True, False, False])) == 1


@pytest.mark.parametrize(
    ("scores", "is_member", "words"),
    [
        ([1.0], [True], "got 1 members, 0 non-members"),
        ([1.0], [False], "got 0 members, 1 non-members"),
        ([1.0, 2.0], [True, True], "got 2 members, 0 non-members"),
        ([], np.zeros(0, bool), "at least one row"),
        ([1.0, np.nan], [True, False], "scores row 1: expected a number, got NaN"),
        ([1.0, 2.0, 3.0], [True, False], "is_member: expected one row for each of the 3 of scores, got 2"),
        ([[1.0], [2.0]], [True, False], r"scores: expected shape \(N,\), got \(2, 1\); apply .ravel\(\)"),
        ([1.0, 2.0], [1, 0], "is_member: expected bool, got int64"),
        (["a", "b"], [True, False], "scores: expected real numbers"),
    ],
)
@pytest.mark.parametrize(
    "function",
    [
        auc,
        best_threshold,
        roc_curve_points,
        lambda scores, is_member: tpr_at_fpr(scores, is_member, fpr=0.1),
        lambda scores, is_member: tnr_at_fnr(scores, is_member, fnr=0.1),
        auc_interval,
        epsilon_lower_bound,
        lambda scores, is_member: membership_metrics(scores, is_member, threshold=0.0),
    ],
    ids=[
        "auc",
        "best_threshold",
        "roc_curve_points",
        "tpr_at_fpr",
        "tnr_at_fnr",
        "auc_interval",
        "epsilon_lower_bound",
        "membership_metrics",
    ],
)
def test_bad_samples_are_refused(function, scores, is_member, words):
    with pytest.raises(InputError, match=words):
        function(scores, is_member)


def test_nan_threshold_is_refused():
    with pytest.raises(InputError, match="threshold: expected a number, got NaN"):
        membership_metrics([1.0, 0.0], [True, False], threshold=np.nan)


# ------------------------------------------------------------------------------------------------------ AUC and ROC


@reproducible
@given(scored_samples(elements=with_infinities))
def test_auc_equals_the_share_of_pairs(samples):
    scores, is_member = samples
    wins = np.mean([(m > n) + 0.5 * (m == n) for m in scores[is_member] for n in scores[~is_member]])
    assert auc(scores, is_member) == pytest.approx(wins, abs=1e-12)


@reproducible
@given(scored_samples(elements=finite | with_infinities))
def test_auc_of_negated_scores_is_the_complement(samples):
    scores, is_member = samples
    assert auc(-scores, is_member) == pytest.approx(1 - auc(scores, is_member), abs=1e-15)
    assert auc(scores, ~is_member) == pytest.approx(1 - auc(scores, is_member), abs=1e-15)


@pytest.mark.parametrize("rising", [np.exp, np.cbrt, lambda s: 3 * s - 7], ids=["exp", "cbrt", "affine"])
@reproducible
@given(samples=scored_samples())
def test_rising_maps_change_no_ranking_figure(rising, samples):
    scores, is_member = samples
    before = membership_metrics(scores, is_member, threshold=1.0, fprs=(0.01, 0.1, 0.5))
    after = membership_metrics(rising(scores), is_member, threshold=float(rising(1.0)), fprs=(0.01, 0.1, 0.5))
    assert after == before


@reproducible
@given(samples=scored_samples(elements=finite), seed=st.integers(0, 99))
def test_order_of_the_samples_does_not_matter(samples, seed):
    scores, is_member = samples
    order = np.random.default_rng(seed).permutation(len(scores))
    threshold = best_threshold(scores, is_member)
    assert best_threshold(scores[order], is_member[order]) == threshold
    assert membership_metrics(scores[order], is_member[order], threshold=threshold) == membership_metrics(
        scores, is_member, threshold=threshold
    )


@reproducible
@given(scored_samples(elements=with_infinities))
def test_roc_points_are_what_their_thresholds_give(samples):
    scores, is_member = samples
    fpr, tpr, thresholds = roc_curve_points(scores, is_member)
    assert len(fpr) == len(tpr) == len(thresholds) == len(np.unique(scores)) + 1
    for i, threshold in enumerate(thresholds[:-1]):
        assert fpr[i] == np.mean(scores[~is_member] > threshold)
        assert tpr[i] == np.mean(scores[is_member] > threshold)
    assert (fpr[-1], tpr[-1], thresholds[-1]) == (1, 1, -np.inf)
    assert auc(scores, is_member) == pytest.approx(np.trapz(tpr, fpr), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_roc_equals_scikit_learn(ties):
    scores, is_member = random_samples(11, ties=ties)
    fpr, tpr, thresholds = roc_curve_points(scores, is_member)
    sk_fpr, sk_tpr, sk_thresholds = sk.roc_curve(is_member, scores, drop_intermediate=False)
    np.testing.assert_array_equal(fpr, sk_fpr)
    np.testing.assert_array_equal(tpr, sk_tpr)
    # scikit-learn calls score >= threshold: the same points, each named by the next score down.
    np.testing.assert_array_equal(thresholds[:-1], sk_thresholds[1:])


# ------------------------------------------------------------------------------------------------------ TPR at FPR


@pytest.mark.parametrize(("fpr", "tpr"), [(0.28, 0.0), (0.2899, 0.0), (0.29, 0.5), (0.49, 0.5), (0.5, 1.0), (1.0, 1.0)])
def test_tpr_at_fpr_keeps_to_the_bound_and_reaches_it(fpr, tpr):
    # 29 of the 100 non-members beat half of the members, 50 the other half. 0.29 * 100 < 29 in binary, 29/100 == 0.29.
    scores = np.concatenate([np.full(50, 71.5), np.full(50, 50.5), np.arange(100.0) + 1])
    is_member = np.arange(200) < 100
    rate = tpr_at_fpr(scores, is_member, fpr=fpr)
    assert rate.tpr == tpr
    assert rate.low <= tpr <= rate.high


@reproducible
@given(samples=scored_samples(elements=with_infinities), fpr=st.sampled_from([0.01, 0.1, 0.2, 0.25, 1 / 3, 0.5, 1.0]))
def test_tpr_at_fpr_equals_brute_force(samples, fpr):
    scores, is_member = samples
    rules = [scores > threshold for threshold in scores] + [np.ones(len(scores), bool)]
    best = max(called[is_member].mean() for called in rules if called[~is_member].mean() <= fpr)
    rate = tpr_at_fpr(scores, is_member, fpr=fpr)
    assert rate.tpr == best
    assert rate.low <= rate.tpr <= rate.high
    assert (rate.note is None) == (int(fpr * (~is_member).sum() + 1e-9) >= 5)


@pytest.mark.parametrize(
    ("n_non_members", "fpr", "needed"),
    [
        (99, 0.01, 100),
        (500, 0.01, None),
        (999, 0.001, 1000),
        (5000, 0.001, None),
        (333, 0.003, 334),
    ],
)
def test_too_few_non_members_are_named(n_non_members, fpr, needed):
    scores = np.concatenate([np.ones(10), np.zeros(n_non_members)])
    note = tpr_at_fpr(scores, scores == 1, fpr=fpr).note
    if needed is None:
        assert note is None
    else:
        assert note is not None
        assert note.startswith(f"too few non-members: {n_non_members}, at least {needed} needed")


@pytest.mark.parametrize(
    ("n", "fpr", "mistakes"), [(100, 0.01, "1 mistake "), (499, 0.01, "4 mistakes "), (1000, 0.001, "1 mistake ")]
)
def test_a_rate_that_rests_on_few_mistakes_is_noted(n, fpr, mistakes):
    note = tpr_at_fpr(np.arange(2.0 * n), np.arange(2 * n) >= n, fpr=fpr).note
    assert note is not None
    assert f"allow {mistakes}at {fpr:g}" in note
    assert "too high on average" in note


@pytest.mark.parametrize(
    ("shift", "fpr", "n"), [(1.0, 0.01, 250), (2.0, 0.01, 1000), (2.0, 0.001, 1000), (0.0, 0.1, 250)]
)
def test_intervals_of_rates_hold_the_rate_at_the_true_threshold(shift, fpr, n):
    true = float(norm.sf(norm.isf(fpr) - shift))
    rng = np.random.default_rng(7)
    is_member = np.arange(2 * n) < n
    held = [tpr_at_fpr(rng.normal(size=2 * n) + shift * is_member, is_member, fpr=fpr) for _ in range(200)]
    assert np.mean([rate.low <= true <= rate.high for rate in held]) >= 0.95
    assert np.mean([rate.high - rate.low for rate in held]) < 0.7  # that of (0, 1) would hold it too


def test_note_tells_what_no_mistake_in_so_few_can_mean():
    note = tpr_at_fpr([1.0] + [0.0] * 10, [True] + [False] * 10, fpr=0.01).note
    assert note is not None
    assert note.endswith("up to 0.31")  # Clopper-Pearson 0/10: 0.3085


@pytest.mark.parametrize("fpr", [0.0, -0.1, 1.01, np.nan])
def test_impossible_fpr_is_refused(fpr):
    with pytest.raises(InputError, match="fpr: expected above 0 and at most 1"):
        tpr_at_fpr([1.0, 0.0], [True, False], fpr=fpr)


@reproducible
@given(samples=scored_samples(elements=with_infinities), bound=st.sampled_from([0.01, 0.1, 0.25, 1 / 3, 0.5, 1.0]))
def test_tnr_at_fnr_equals_brute_force(samples, bound):
    scores, is_member = samples
    rules = [scores > threshold for threshold in scores] + [np.ones(len(scores), bool)]
    best = max((~called[~is_member]).mean() for called in rules if (~called[is_member]).mean() <= bound)
    rate = tnr_at_fnr(scores, is_member, fnr=bound)
    assert rate.tnr == pytest.approx(best, abs=1e-15)
    assert rate.low <= rate.tnr <= rate.high
    assert (rate.note is None) == (int(bound * is_member.sum() + 1e-9) >= 5)
    mirrored = tpr_at_fpr(-scores, ~is_member, fpr=bound)
    assert (rate.tnr, rate.low, rate.high) == (mirrored.tpr, mirrored.low, mirrored.high)


def test_too_few_members_are_named():
    rate = tnr_at_fnr([1.0] * 10 + [0.0], [True] * 10 + [False], fnr=0.01)
    note = (
        "too few members: 10, at least 100 needed; with none of them missed, "
        "the true false-negative rate may be up to 0.31"
    )
    assert rate == RateAtFnr(0.01, 1.0, 0.0, 1.0, note)


@pytest.mark.parametrize("fnr", [0.0, 1.01, np.nan])
def test_impossible_fnr_is_refused(fnr):
    with pytest.raises(InputError, match="fnr: expected above 0 and at most 1"):
        tnr_at_fnr([1.0, 0.0], [True, False], fnr=fnr)


# ---------------------------------------------------------------------------------------------- precision at a prior


@pytest.mark.parametrize(
    ("tpr", "fpr", "prior", "precision"),
    [
        (0.75, 0.25, 0.5, 0.75),
        (0.75, 0.25, 0.1, 0.25),
        (0.5, 0.0, 0.01, 1.0),
        (0.0, 0.5, 0.5, 0.0),
        (1.0, 1.0, 0.25, 0.25),  # calling everybody
        (0.0, 0.0, 0.5, None),
        (0.5, 0.5, 0.0, 0.0),
        (0.0, 1.0, 1.0, None),
        (1.0, 0.0, 0.0, None),
    ],
)
def test_precision_at_prior_is_bayes_rule(tpr, fpr, prior, precision):
    assert precision_at_prior(tpr, fpr, prior=prior) == PrecisionAtPrior(prior, precision)


@pytest.mark.parametrize(
    ("tpr", "fpr", "prior", "word"),
    [(1.1, 0, 0.5, "tpr"), (1, -0.1, 0.5, "fpr"), (1, 0, 50, "prior"), (np.nan, 0, 0.5, "tpr")],
)
def test_precision_at_prior_refuses_what_is_no_fraction(tpr, fpr, prior, word):
    with pytest.raises(InputError, match=f"{word}: expected 0 … 1"):
        precision_at_prior(tpr, fpr, prior=prior)


# ----------------------------------------------------------------------------------------------------------- counts


@reproducible
@given(scored_samples(elements=with_infinities))
def test_mirrored_counts_are_those_of_mirrored_samples(samples):
    scores, is_member = samples
    for found, expected in zip(Counts.of(scores, is_member).mirrored(), Counts.of(-scores, ~is_member), strict=True):
        np.testing.assert_array_equal(found, expected)


@reproducible
@given(samples=scored_samples(elements=with_infinities), threshold=with_infinities)
def test_counts_above_a_threshold_are_those_of_the_samples(samples, threshold):
    scores, is_member = samples
    called = scores > threshold
    assert Counts.of(scores, is_member).at(threshold) == (called[is_member].sum(), called[~is_member].sum())


@reproducible
@given(samples=scored_samples(elements=with_infinities))
def test_negated_scores_of_swapped_samples_say_the_same(samples):
    scores, is_member = samples
    metrics = membership_metrics(scores, is_member, threshold=0.5)
    mirrored = membership_metrics(-scores, ~is_member, threshold=-0.5)  # no score is 0.5
    assert mirrored.auc == metrics.auc
    assert (mirrored.auc_low, mirrored.auc_high) == pytest.approx((metrics.auc_low, metrics.auc_high), abs=1e-12)
    assert mirrored.epsilon_low == pytest.approx(metrics.epsilon_low, abs=1e-12)
    assert mirrored.balanced_accuracy == metrics.balanced_accuracy
    assert mirrored.advantage == metrics.advantage
    assert mirrored.balanced_accuracy_low == pytest.approx(metrics.balanced_accuracy_low, abs=1e-12)
    assert mirrored.balanced_accuracy_high == pytest.approx(metrics.balanced_accuracy_high, abs=1e-12)
    assert [rate.tpr for rate in mirrored.tpr_at_fpr] == [rate.tnr for rate in metrics.tnr_at_fnr]
    assert [rate.tnr for rate in mirrored.tnr_at_fnr] == [rate.tpr for rate in metrics.tpr_at_fpr]


# --------------------------------------------------------------------------------------------------- best_threshold


@pytest.mark.parametrize(
    ("scores", "is_member", "threshold"),
    [
        ([0.0, 1.0, 2.0, 4.0], [0, 0, 1, 1], 1.5),
        ([0.0, 1.0, 2.0, 4.0], [0, 1, 0, 1], 3.0),  # 0.5 is as good: the larger accuses fewer
        ([0.0, 1.0, 2.0, 4.0], [1, 1, 0, 0], 4.0),  # the wrong way round: nobody is accused
        ([0.0, 1.0], [1, 0], 1.0),
        ([0.0, 0.0, 1.0], [0, 1, 1], 0.5),
        ([1.0, np.inf], [0, 1], 1.0),
        ([-np.inf, np.inf], [0, 1], -np.inf),
        ([-np.inf, 1.0], [0, 1], -np.inf),
        ([1e308, 1.7e308], [0, 1], 1.35e308),  # their sum is infinite
        ([0.0, 5e-324], [0, 1], 0.0),  # nothing in between
        ([1 + 2**-52, 1 + 2**-51], [0, 1], 1 + 2**-52),  # nothing either, and the mean rounds up
    ],
)
def test_best_threshold_lies_where_expected(scores, is_member, threshold):
    assert best_threshold(scores, np.array(is_member, bool)) == threshold


@reproducible
@given(scored_samples(elements=finite | with_infinities))
def test_no_threshold_is_better_than_the_best(samples):
    scores, is_member = samples
    found = balanced_accuracy(scores, is_member, best_threshold(scores, is_member))
    # Every rule there is: one for each score, and calling everybody, which is worth one half.
    best = max([0.5] + [balanced_accuracy(scores, is_member, threshold) for threshold in scores])
    assert found == pytest.approx(best, abs=1e-12)


# ---------------------------------------------------------------------------------------------------------- verdict


@pytest.mark.parametrize("others", [1, 3, 10])
@pytest.mark.parametrize(
    ("found", "false_alarms", "leaks"),
    [
        (88, 45, True),  # precision 0.66, as the tutorial's lr has it
        (71, 55, False),  # precision 0.56, as its knn
        (95, 76, False),  # accuracy 0.595
        (60, 10, False),  # recall 0.60
        (61, 10, True),
        (0, 0, False),
        (100, 0, True),
    ],
)
def test_verdict_needs_all_three_and_does_not_depend_on_how_many_others_there_are(found, false_alarms, leaks, others):
    scores = np.concatenate((np.arange(100) < found, np.tile(np.arange(100) < false_alarms, others))).astype(float)
    metrics = membership_metrics(scores, np.arange(len(scores)) < 100, threshold=0.5)
    assert verdict(metrics) is leaks


# ----------------------------------------------------------------------------------------------------- budget_table

BY_HAND = {
    # ‖f − f′‖₁ = 1.0, 0.4, 0.6; the third moves g away from 0.5 and is never answered with f′
    "clean_probs": np.array([[1.0, 0.0], [0.7, 0.3], [0.9, 0.1]]),
    "defended_probs": np.array([[0.5, 0.5], [0.5, 0.5], [0.6, 0.4]]),
    "correct_clean": np.array([True, True, False]),
    "correct_defended": np.array([False, False, True]),
    "g_clean": np.array([0.9, 0.3, 0.6]),
    "g_defended": np.array([0.5, 0.6, 0.3]),
}


def test_budget_table_equals_a_hand_computed_one():
    points = budget_table(**BY_HAND, budgets=(1.0, 0.5, 0.1, 0.0))
    assert [point.budget for point in points] == [1.0, 0.5, 0.1, 0.0]
    # p = (1, 1, 0), (0.5, 1, 0), (0.1, 0.25, 0), (0, 0, 0); the attacker is right with 1 − p, 1 − p, 0
    assert [3 * point.accuracy for point in points] == pytest.approx([0, 0.5, 0.9 + 0.75, 2], abs=1e-12)
    assert [3 * point.mean_l1 for point in points] == pytest.approx([1.4, 0.9, 0.2, 0], abs=1e-12)


def test_budgets_default_to_the_published_ones():
    assert [point.budget for point in budget_table(**BY_HAND)] == [1.0, 0.7, 0.5, 0.3, 0.1, 0.0]


def test_g_equally_far_from_one_half_counts_as_no_gain():
    mirrored = {"g_clean": np.array([0.75, 0.25, 0.625]), "g_defended": np.array([0.25, 0.75, 0.375])}
    (point,) = budget_table(**BY_HAND | mirrored, budgets=[2.0])
    assert point.mean_l1 == 0


@pytest.mark.parametrize("budget", [0.0, 0.5])
def test_equal_vectors_are_answered_clean(budget):
    same = BY_HAND | {"defended_probs": BY_HAND["clean_probs"], "g_defended": np.full(3, 0.5)}
    (point,) = budget_table(**same, budgets=[budget])
    assert (point.accuracy, point.mean_l1) == (2 / 3, 0)


def test_tiny_distances_do_not_overflow():
    near = BY_HAND | {"defended_probs": BY_HAND["clean_probs"] + [[0, 5e-324]] * 3}
    (point,) = budget_table(**near, budgets=[1.0])
    assert point.accuracy == 1 / 3  # only in the first row is there room for so small a step: the attacker now fails


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"clean_probs": np.array([[1.0, 0.0], [7.0, 3.0], [0.9, 0.1]])},
            "clean_probs row 1: .*2 of 3 rows are right: find out what went wrong",
        ),
        ({"defended_probs": np.full((3, 4), 0.25)}, r"defended_probs: expected shape \(3, 2\), got \(3, 4\)"),
        ({"correct_clean": np.array([True])}, "correct_clean: expected one row for each of the 3 of clean_probs"),
        ({"correct_defended": np.array([1.0, 0.0, 1.0])}, "correct_defended: expected bool, got float64"),
        ({"g_clean": np.array([0.5, 2.0, 0.5])}, "g_clean row 1: expected 0 … 1, got 2; apply sigmoid first"),
        ({"g_defended": np.array([0.5, 0.5, -0.1])}, "g_defended row 2: expected 0 … 1"),
        ({"budgets": [0.1, -0.1]}, "budgets: expected finite numbers ≥ 0, got -0.1"),
        ({"budgets": [np.nan]}, "budgets"),
        ({"budgets": [np.inf]}, "budgets"),
    ],
)
def test_budget_table_refuses_what_it_cannot_use(change, words):
    with pytest.raises(InputError, match=words):
        budget_table(**BY_HAND | change)


@pytest.fixture(scope="module")
def released():
    folder = os.environ.get("MINDEFENSE_DATA")
    if folder is None:
        pytest.skip("MINDEFENSE_DATA is not set: the outputs that DefenMI's authors released are not here")
    with np.load(Path(folder) / "golden" / "defenmi_location_released.npz") as file:
        return {name: file[name] for name in ("clean_probs", "defended_probs", "g_clean", "g_defended", "is_member")}


def test_budget_table_of_the_released_vectors(released):
    is_member = released["is_member"]
    arrays = {name: released[name] for name in ("clean_probs", "defended_probs", "g_clean", "g_defended")}
    right = {
        "correct_clean": (released["g_clean"] > 0.5) == is_member,
        "correct_defended": (released["g_defended"] > 0.5) == is_member,
    }
    points = budget_table(**arrays, **right)

    # The same, one sample and one coin at a time.
    for point in points:
        spent = hits = 0.0
        for i in range(len(is_member)):
            distance = np.abs(arrays["clean_probs"][i] - arrays["defended_probs"][i]).sum()
            share = min(point.budget / distance, 1)
            if abs(arrays["g_defended"][i] - 0.5) >= abs(arrays["g_clean"][i] - 0.5):
                share = 0.0
            spent += share * distance
            hits += share * right["correct_defended"][i] + (1 - share) * right["correct_clean"][i]
        assert point.mean_l1 == pytest.approx(spent / 2000, abs=1e-9)
        assert point.accuracy == pytest.approx(hits / 2000, abs=1e-9)

    assert [point.mean_l1 for point in points] == pytest.approx([0.3290, 0.3096, 0.2802, 0.2355, 0.0977, 0], abs=5e-5)
    # The defender's own classifier as the attacker: from its undefended accuracy down to worse than a coin.
    assert [point.accuracy for point in points] == pytest.approx(
        [0.4653, 0.4796, 0.5033, 0.5464, 0.7015, 0.812], abs=5e-5
    )
    assert all(point.mean_l1 <= point.budget for point in points)


def test_a_generous_budget_spends_all_but_the_useless_rows(released):
    arrays = {name: released[name] for name in ("clean_probs", "defended_probs", "g_clean", "g_defended")}
    wrong = np.zeros(2000, bool)
    (point,) = budget_table(**arrays, correct_clean=wrong, correct_defended=wrong, budgets=[2.0])
    assert point.accuracy == 0
    assert point.mean_l1 == pytest.approx(0.33176, abs=5e-6)  # of 0.33261: 21 rows in 2,000 move away from one half


@pytest.mark.parametrize(("name", "expected"), [("clean_probs", 0.834), ("defended_probs", 0.536)])
def test_auc_of_the_largest_confidence_in_the_released_vectors(released, name, expected):
    assert auc(released[name].max(axis=1), released["is_member"]) == pytest.approx(expected, abs=5e-4)
