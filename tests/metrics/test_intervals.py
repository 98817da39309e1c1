"""Intervals against published tables, formulas written out the slow way, and how often they hold when sampled anew."""

import doctest
import importlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import binom, norm

from mindefense.errors import InputError
from mindefense.metrics import (
    auc,
    auc_interval,
    balanced_accuracy_interval,
    clopper_pearson,
    epsilon_lower_bound,
)

reproducible = settings(max_examples=20, deadline=None, derandomize=True, database=None)


@st.composite
def scored_samples(draw):
    """Scores with many ties and infinities, and at least one member and one non-member."""
    is_member = draw(st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda flags: 0 < sum(flags) < len(flags)))
    elements = st.sampled_from([-np.inf, -1.0, 0.0, 1.0, 2.0, 3.0, np.inf])
    scores = draw(st.lists(elements, min_size=len(is_member), max_size=len(is_member)))
    return np.array(scores), np.array(is_member)


def separated(n_members, n_non_members):
    is_member = np.arange(n_members + n_non_members) < n_members
    return is_member.astype(float), is_member


@pytest.mark.parametrize("module", ["intervals", "ranking"])
def test_examples_in_docstrings_hold(module):
    results = doctest.testmod(importlib.import_module(f"mindefense.metrics.{module}"))
    assert results.attempted > 0
    assert results.failed == 0


# ------------------------------------------------------------------------------------------------- Clopper-Pearson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # Newcombe 1998, Table I, method 5
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0, 0.1684),
        (1, 29, 0.0009, 0.1776),
        # closed forms: 1 - 0.025 ** (1/n) and its mirror image
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (0, 1, 0.0, 0.975),
        (1, 1, 0.025, 1.0),
        (5, 10, 0.1871, 0.8129),
    ],
)
def test_clopper_pearson_equals_published_tables(successes, trials, low, high):
    assert clopper_pearson(successes, trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("trials", [1, 7, 1000])
def test_clopper_pearson_ends_are_exact(trials):
    assert clopper_pearson(0, trials)[0] == 0
    assert clopper_pearson(trials, trials)[1] == 1


@reproducible
@given(trials=st.integers(1, 500), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_clopper_pearson_inverts_the_binomial_tails(trials, share, confidence):
    from scipy.stats import binom

    successes = round(share * trials)
    low, high = clopper_pearson(successes, trials, confidence=confidence)
    tail = (1 - confidence) / 2
    if successes:
        assert binom.sf(successes - 1, trials, low) == pytest.approx(tail, rel=1e-6)
    if successes < trials:
        assert binom.cdf(successes, trials, high) == pytest.approx(tail, rel=1e-6)
    mirrored = clopper_pearson(trials - successes, trials, confidence=confidence)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "trials", "confidence", "words"),
    [
        (0, 0, 0.95, "successes"),
        (-1, 5, 0.95, "got -1 of 5"),
        (6, 5, 0.95, "got 6 of 5"),
        (2.5, 5, 0.95, "whole numbers"),
        (2, 5, 0.0, "confidence"),
        (2, 5, 1.0, "confidence"),
        (2, 5, 95, "confidence"),
    ],
)
def test_clopper_pearson_refuses_nonsense(successes, trials, confidence, words):
    with pytest.raises(InputError, match=words):
        clopper_pearson(successes, trials, confidence=confidence)


# ------------------------------------------------------------------------------------- balanced accuracy interval


def with_counts(true_positives, n_members, false_positives, n_non_members):
    """Samples of which so many are called at the threshold 0.5."""
    members, non_members = np.zeros(n_members), np.zeros(n_non_members)
    members[:true_positives] = 1
    non_members[:false_positives] = 1
    return np.concatenate([members, non_members]), np.arange(n_members + n_non_members) < n_members


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Clopper-Pearson: 10/10 from 0.6915, 0/10 to 0.3085, 5/10 0.1871 … 0.8129
        ((10, 10, 0, 10), 1 - math.hypot(0.3085, 0.3085) / 2, 1.0),
        ((0, 10, 10, 10), 0.0, math.hypot(0.3085, 0.3085) / 2),
        ((5, 10, 0, 10), 0.75 - math.hypot(0.5 - 0.1871, 0.3085) / 2, 0.75 + (0.8129 - 0.5) / 2),
        ((5, 10, 5, 10), 0.5 - math.hypot(0.3129, 0.3129) / 2, 0.5 + math.hypot(0.3129, 0.3129) / 2),
        # Newcombe's Table I for the rates themselves: 81/263 0.2527 … 0.3676, 15/148 0.0578 … 0.1617
        (
            (81, 263, 15, 148),
            0.5 + (81 / 263 - 15 / 148 - math.hypot(81 / 263 - 0.2527, 0.1617 - 15 / 148)) / 2,
            0.5 + (81 / 263 - 15 / 148 + math.hypot(0.3676 - 81 / 263, 15 / 148 - 0.0578)) / 2,
        ),
    ],
)
def test_balanced_accuracy_interval_equals_hand_computed_ones(counts, low, high):
    found = balanced_accuracy_interval(*with_counts(*counts), threshold=0.5)
    assert found == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("confidence", "least", "mean"), [(0.95, 0.95, 0.98), (0.9975, 0.96, 0.996)])
def test_balanced_accuracy_interval_holds_whatever_the_rates(confidence, least, mean):
    n, m = 20, 12
    intervals = np.array(
        [
            [balanced_accuracy_interval(*with_counts(i, n, j, m), threshold=0.5, confidence=confidence)
             for j in range(m + 1)]
            for i in range(n + 1)
        ]
    )  # fmt: skip
    covered = []
    for tpr in (0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99):
        for fpr in (0.005, 0.02, 0.05, 0.1, 0.3, 0.5, 0.8, 0.95, 0.99):
            chance = np.outer(binom.pmf(np.arange(n + 1), n, tpr), binom.pmf(np.arange(m + 1), m, fpr))
            truth = (1 + tpr - fpr) / 2
            covered.append(chance[(intervals[..., 0] <= truth) & (truth <= intervals[..., 1])].sum())
    assert min(covered) > least
    assert mean < np.mean(covered) < mean + 0.01


# ----------------------------------------------------------------------------------------------------- AUC interval


def slow_auc_interval(scores, is_member, confidence):
    """All pairs, as DeLong, DeLong and Clarke-Pearson write it, and the share that may go unseen."""
    members, non_members = scores[is_member], scores[~is_member]
    wins = (members[:, None] > non_members) + 0.5 * (members[:, None] == non_members)
    area = wins.mean()
    k = min(wins.shape)
    unseen = 1 - ((1 - confidence) / 2) ** (1 / k)
    low, high = area * (1 - unseen), 1 - (1 - area) * (1 - unseen)
    if 0 < area < 1:
        if k == 1:
            variance = area * (1 - area)
        else:
            variance = sum(wins.mean(axis=axis).var(ddof=1) / wins.shape[1 - axis] for axis in (0, 1))
        reach = norm.ppf((1 + confidence) / 2) * variance**0.5 / (area * (1 - area))
        low, high = min(low, expit(logit(area) - reach)), max(high, expit(logit(area) + reach))
    return low, high


@reproducible
@given(samples=scored_samples(), confidence=st.sampled_from([0.5, 0.95, 0.999]))
def test_auc_interval_equals_the_slow_one(samples, confidence):
    found = auc_interval(*samples, confidence=confidence)
    assert found == pytest.approx(slow_auc_interval(*samples, confidence=confidence), abs=1e-9)


def test_auc_interval_equals_the_slow_one_on_many_samples():
    rng = np.random.default_rng(0)
    is_member = rng.random(700) < 0.3
    scores = rng.normal(is_member).round(1)
    assert auc_interval(scores, is_member) == pytest.approx(slow_auc_interval(scores, is_member, 0.95), abs=1e-12)


def test_auc_interval_equals_a_hand_computed_one():
    # Placements 1, 0.5 of the members and 0.5, 1 of the others: variance 0.125/2 + 0.125/2, the AUC 3/4.
    reach = 1.959964 * math.sqrt(0.125) / (0.75 * 0.25)
    expected = 1 / (1 + math.exp(reach) / 3), 1 / (1 + math.exp(-reach) / 3)
    assert auc_interval([3.0, 1.0, 2.0, 0.0], [True, True, False, False]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("n_members", "n_non_members"), [(1, 1), (1, 50), (7, 50), (300, 40)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_separated_scores_leave_what_so_few_pairs_leave(n_members, n_non_members, confidence):
    scores, is_member = separated(n_members, n_non_members)
    k = min(n_members, n_non_members)
    low, high = auc_interval(scores, is_member, confidence=confidence)
    assert (low, high) == pytest.approx(clopper_pearson(k, k, confidence=confidence), abs=1e-12)
    assert high == 1
    assert auc_interval(-scores, is_member, confidence=confidence) == pytest.approx((0, 1 - low), abs=1e-12)


def test_equal_scores_prove_no_point():
    low, high = auc_interval(np.zeros(200), np.arange(200) < 100)
    assert (low, high) == pytest.approx((0.5 * 0.025**0.01, 1 - 0.5 * 0.025**0.01))


def test_one_pair_out_of_order_narrows_no_interval():
    scores, is_member = separated(100, 100)
    before = auc_interval(scores, is_member)[0]
    scores += np.linspace(0, 0.5, 200)
    scores[0] = 0.498  # below the last non-member alone
    assert auc(scores, is_member) == 0.9999
    assert auc_interval(scores, is_member)[0] <= before * 0.9999


@reproducible
@given(samples=scored_samples())
def test_auc_interval_has_width_symmetry_and_order(samples):
    scores, is_member = samples
    area = auc(scores, is_member)
    low, high = auc_interval(scores, is_member)
    assert 0 <= low <= area <= high <= 1
    assert low < high
    wider = auc_interval(scores, is_member, confidence=0.999)
    assert wider[0] <= low < high <= wider[1]
    assert auc_interval(-scores, is_member) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert auc_interval(scores, ~is_member) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert auc_interval(np.arctan(scores), is_member) == (low, high)


def outliers(rng, is_member):
    return np.where(is_member & (rng.random(len(is_member)) < 0.01), -1.0, is_member)


def shifted(rng, is_member):
    return rng.normal(is_member * math.sqrt(2) * norm.ppf(0.8))


@pytest.mark.parametrize(
    ("draw", "truth", "n_members", "n_non_members"),
    [(shifted, 0.8, 60, 60), (shifted, 0.8, 20, 150), (outliers, 0.99, 40, 60)],
)
def test_auc_interval_holds_as_often_as_it_says(draw, truth, n_members, n_non_members):
    rng = np.random.default_rng(20)
    is_member = np.arange(n_members + n_non_members) < n_members
    intervals = np.array([auc_interval(draw(rng, is_member), is_member) for _ in range(400)])
    covered = np.mean((intervals[:, 0] <= truth) & (truth <= intervals[:, 1]))
    assert 0.93 < covered < 0.99


@pytest.mark.parametrize("share", [0.01, 0.1, 0.2, 0.4, 0.6, 0.9, 0.97])
def test_auc_interval_holds_where_a_share_of_the_members_stands_out(share):
    n = 60
    is_member = np.arange(2 * n) < n
    intervals = np.array([auc_interval((np.arange(2 * n) < i).astype(float), is_member) for i in range(n + 1)])
    truth = (1 + share) / 2
    covers = (intervals[:, 0] <= truth) & (truth <= intervals[:, 1])
    assert binom.pmf(np.arange(n + 1), n, share)[covers].sum() > 0.92


# ------------------------------------------------------------------------------------------------------- ε at least


def randomized_response(rng, n, epsilon, *, jitter):
    """One bit a sample, told truly with the odds exp(ε) : 1; what is done to it afterwards adds nothing."""
    is_member = np.arange(2 * n) < n
    truly = rng.random(2 * n) < expit(epsilon)
    return (truly == is_member) + jitter * rng.random(2 * n), is_member


@pytest.mark.parametrize(
    ("jitter", "threshold", "power"),
    [(0.5, None, 0.7), (0.0, 0.5, 0.7), (0.0, None, 0.25)],
    ids=["ranks", "cut", "ties"],
)
@pytest.mark.parametrize("epsilon", [0.0, 1.0, 2.0])
def test_epsilon_of_randomized_response_is_not_exceeded(epsilon, jitter, threshold, power):
    rng = np.random.default_rng(21)
    bounds = [
        epsilon_lower_bound(*randomized_response(rng, 1000, epsilon, jitter=jitter), threshold=threshold)
        for _ in range(60)
    ]
    assert np.mean(np.array(bounds) > epsilon) <= 0.05
    assert np.mean(bounds) >= power * epsilon


@pytest.mark.parametrize("side", [1, -1])
def test_epsilon_is_found_on_either_side(side):
    """A few members, or a few non-members, that give themselves away; the rest say nothing."""
    scores, is_member = np.zeros(4000), np.arange(4000) < 2000
    scores += np.random.default_rng(22).random(4000)
    (scores if side == 1 else scores[::-1])[:100] = 2 * side
    assert 1.5 < epsilon_lower_bound(scores, is_member) < math.log(100)


def test_epsilon_equals_a_hand_computed_one():
    # Ranks 0, 5, 50, 125, 250 either way, both kinds exchanged or not: 20 candidates, 40 bounds. 500 of 500 against 0.
    low = 0.00125 ** (1 / 500)
    assert epsilon_lower_bound(*separated(500, 500)) == pytest.approx(math.log(low / (1 - low)), abs=1e-9)
    low = 0.05 / 48  # one candidate more, either way
    low **= 1 / 500
    assert epsilon_lower_bound(*separated(500, 500), threshold=0.5) == pytest.approx(
        math.log(low / (1 - low)), abs=1e-9
    )


def test_ties_are_taken_as_mistakes():
    # 10 of 100 non-members are on a level with the members: at ranks 0 and 1 nobody is above, at 10 all members are.
    scores = np.concatenate([np.ones(100), np.ones(10), np.zeros(90)])
    is_member = np.arange(200) < 100
    # Ranks 0, 1, 10, 25, 50 either way, both kinds exchanged or not. Below every member: the other 90.
    tail = 0.025 / 20
    clears = clopper_pearson(90, 100, confidence=1 - 2 * tail)[0] / clopper_pearson(0, 100, confidence=1 - 2 * tail)[1]
    assert epsilon_lower_bound(scores, is_member) == pytest.approx(math.log(clears), abs=1e-9)
    # With 60 members at 0 as well, ranks 0 … 50 of the members clear nobody, and rank 10 finds the other 40.
    scores[:60] = 0
    calls = clopper_pearson(40, 100, confidence=1 - 2 * tail)[0] / clopper_pearson(10, 100, confidence=1 - 2 * tail)[1]
    assert epsilon_lower_bound(scores, is_member) == pytest.approx(math.log(calls), abs=1e-9)


@reproducible
@given(samples=scored_samples())
def test_epsilon_is_finite_and_symmetric_and_falls_with_confidence(samples):
    scores, is_member = samples
    bound = epsilon_lower_bound(scores, is_member)
    assert 0 <= bound < math.inf
    assert epsilon_lower_bound(-scores, ~is_member) == bound
    assert epsilon_lower_bound(-scores, is_member) == pytest.approx(bound, abs=1e-12)
    assert epsilon_lower_bound(scores, is_member, confidence=0.99) <= bound
    assert epsilon_lower_bound(np.arctan(scores), is_member) == bound


def test_scores_without_a_message_prove_no_epsilon():
    assert epsilon_lower_bound(np.zeros(400), np.arange(400) < 200, threshold=0.0) == 0
    assert epsilon_lower_bound([1.0, 0.0], [True, False]) == 0


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.1, np.nan])
@pytest.mark.parametrize(
    "function",
    [
        lambda confidence: auc_interval([1.0, 0.0], [True, False], confidence=confidence),
        lambda confidence: balanced_accuracy_interval([1.0, 0.0], [True, False], threshold=0, confidence=confidence),
        lambda confidence: epsilon_lower_bound([1.0, 0.0], [True, False], confidence=confidence),
    ],
    ids=["auc", "balanced accuracy", "epsilon"],
)
def test_impossible_confidence_is_refused(function, confidence):
    with pytest.raises(InputError, match="confidence: expected between 0 and 1"):
        function(confidence)


@pytest.mark.parametrize("function", [balanced_accuracy_interval, epsilon_lower_bound])
def test_nan_threshold_is_refused(function):
    with pytest.raises(InputError, match="threshold: expected a number, got NaN"):
        function([1.0, 0.0], [True, False], threshold=np.nan)
