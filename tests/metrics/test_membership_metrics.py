"""Membership metrics against hand-computed values and scikit-learn, and the verdict on them."""

from fractions import Fraction

import numpy as np
import pytest
from drawn_samples import random_samples, reproducible, scored_samples
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mindefense.errors import InputError
from mindefense.metrics import (
    auc,
    auc_interval,
    balanced_accuracy_interval,
    best_threshold,
    epsilon_lower_bound,
    membership_metrics,
    precision_at_prior,
    roc_curve_points,
    tnr_at_fnr,
    tpr_at_fpr,
    verdict,
)
from mindefense.types import PrecisionAtPrior

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
