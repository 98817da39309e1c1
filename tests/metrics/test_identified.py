"""Members identified almost surely, and paired differences, against brute force and simulations."""

import itertools
import math

import numpy as np
import pytest

from mindefense.metrics import (
    accuracy_difference,
    auc_difference,
    clopper_pearson,
    identified_members,
    membership_metrics,
    small_fpr,
)
from mindefense.types import AttackResult, Trial


def trial(scores, is_member, threshold=0.0, samples=None):
    metrics = membership_metrics(scores, is_member, threshold=threshold)
    samples = np.arange(len(scores)) if samples is None else samples
    return Trial(AttackResult("a", "none", "static", False, metrics), scores, threshold, samples, is_member)


@pytest.mark.parametrize(("n_members", "n_non_members", "fpr"), [(4, 4, 0.01), (3, 5, 0.2), (4, 5, 0.4), (5, 3, 0.9)])
def test_p_value_is_the_share_of_orders_with_as_many_members_in_front(n_members, n_non_members, fpr):
    n = n_members + n_non_members
    allowed = int(fpr * n_non_members + 1e-9)
    orders = []
    for members in itertools.combinations(range(n), n_members):
        is_member = np.isin(np.arange(n), members)
        others = np.flatnonzero(~is_member)
        orders.append(int(is_member[: others[allowed]].sum()) if allowed < n_non_members else n_members)
    for members in itertools.combinations(range(n), n_members):
        is_member = np.isin(np.arange(n), members)
        found = identified_members(-np.arange(n, dtype=float), is_member, fpr=fpr)
        assert found.p_value == pytest.approx(np.mean([order >= found.identified for order in orders]), abs=1e-12)


def test_counts_and_bounds_of_a_planted_leak():
    rng = np.random.default_rng(0)
    is_member = np.arange(2000) < 1000
    scores = rng.normal(size=2000)
    scores[:30] += 20
    found = identified_members(scores, is_member, fpr=0.001)
    assert 30 <= found.identified <= 33
    assert found.mistakes <= 1
    assert found.share_low == pytest.approx(clopper_pearson(found.identified, 1000, confidence=0.9)[0])
    assert 0.018 < found.share_low < 0.03
    assert found.p_value < 1e-6
    assert found.fpr_high >= found.mistakes / 1000


def test_tied_scores_identify_nobody():
    found = identified_members(np.zeros(400), np.arange(400) < 200, fpr=0.01)
    assert (found.identified, found.mistakes, found.p_value) == (0, 0, 1.0)


def test_p_values_of_a_null_are_no_smaller_than_uniform():
    rng = np.random.default_rng(1)
    is_member = np.arange(700) < 300
    values = np.array([identified_members(rng.normal(size=700), is_member, fpr=0.01).p_value for _ in range(1000)])
    for level in (0.05, 0.01):
        assert (values <= level).mean() <= level + 3 * math.sqrt(level / 1000)
    assert (values <= 0.2).mean() > 0.1  # it has power


@pytest.mark.parametrize(("n", "fpr"), [(1, None), (99, None), (100, 0.01), (999, 0.01), (1000, 0.001)])
def test_smallest_rate_that_a_number_carries(n, fpr):
    assert small_fpr(n) == fpr


@pytest.mark.parametrize("difference", [accuracy_difference, auc_difference])
def test_paired_intervals_hold_the_difference_and_are_narrower_than_unpaired(difference):
    rng = np.random.default_rng(3)
    is_member = np.arange(600) < 300
    values, widths, apart = [], [], []
    for _ in range(300):
        noise = rng.normal(size=600)
        before = trial(noise + 1.0 * is_member - 0.5, is_member)
        after = trial(noise + 0.6 * is_member - 0.3, is_member)
        values.append(difference(before, after))
        widths.append(values[-1].high - values[-1].low)
        fresh = trial(rng.normal(size=600) + 0.6 * is_member - 0.3, is_member, samples=np.arange(600, 1200))
        unpaired = difference(before, fresh)
        apart.append(unpaired.high - unpaired.low)
    true = np.mean([one.value for one in values])
    assert true > 0.05
    assert np.mean([one.low <= true <= one.high for one in values]) >= 0.92
    assert np.mean(widths) < 0.6 * np.mean(apart)
    assert np.mean([one.low > 0 for one in values]) > 0.9


@pytest.mark.parametrize("difference", [accuracy_difference, auc_difference])
def test_figures_of_different_rows_are_compared_as_unpaired(difference):
    rng = np.random.default_rng(4)
    held = []
    for _ in range(300):
        is_member, fewer = np.arange(400) < 200, np.arange(200) < 100
        before = trial(rng.normal(size=400) + 0.7 * is_member - 0.35, is_member)
        after = trial(rng.normal(size=200) + 0.7 * fewer - 0.35, fewer, samples=np.r_[100:200, 200:300])
        found = difference(before, after)
        held.append(found.low <= 0 <= found.high)
    assert np.mean(held) >= 0.92


def test_an_attacker_does_not_differ_from_itself():
    scores, is_member = np.random.default_rng(0).normal(size=50), np.arange(50) < 20
    for difference in (accuracy_difference, auc_difference):
        found = difference(trial(scores, is_member), trial(scores, is_member))
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_a_ranking_turned_round_is_no_other_auc():
    scores, is_member = np.random.default_rng(0).normal(size=50), np.arange(50) < 20
    found = auc_difference(trial(scores, is_member), trial(-scores, is_member))
    assert found.value == pytest.approx(0, abs=1e-12)
    assert found.high - found.low == pytest.approx(0, abs=1e-12)


def test_differences_equal_those_of_the_figures():
    rng = np.random.default_rng(0)
    is_member = np.arange(80) < 30
    one, other = (trial(np.round(rng.normal(size=80) + shift * is_member, 1), is_member) for shift in (1, 0.3))
    assert accuracy_difference(one, other).value == pytest.approx(
        one.result.metrics.balanced_accuracy - other.result.metrics.balanced_accuracy, abs=1e-12
    )
    assert auc_difference(one, other).value == pytest.approx(
        one.result.metrics.two_sided_auc - other.result.metrics.two_sided_auc, abs=1e-12
    )
