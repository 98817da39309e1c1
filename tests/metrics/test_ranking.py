"""How well scores rank members: AUC, ROC, rates and thresholds, against brute force and scikit-learn."""

import numpy as np
import pytest
from drawn_samples import random_samples, reproducible, scored_samples
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn import metrics as sk

from mindefense.errors import InputError
from mindefense.metrics import auc, best_threshold, membership_metrics, roc_curve_points, tnr_at_fnr, tpr_at_fpr
from mindefense.metrics.ranking import Counts
from mindefense.types import RateAtFnr

finite = st.floats(allow_nan=False, allow_infinity=False)
with_infinities = st.sampled_from([-np.inf, -1.7e308, -1.0, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2.0), 1.7e308, np.inf])


def balanced_accuracy(scores, is_member, threshold):
    called = scores > threshold
    return (called[is_member].mean() + (~called[~is_member]).mean()) / 2


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


@pytest.mark.parametrize(("name", "expected"), [("clean_probs", 0.834), ("defended_probs", 0.536)])
def test_auc_of_the_largest_confidence_in_the_released_vectors(released, name, expected):
    assert auc(released[name].max(axis=1), released["is_member"]) == pytest.approx(expected, abs=5e-4)


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
