"""Attacks by one number: the formulas by definition, thresholds by hand count."""

import numpy as np
import pytest
import scipy.stats

from mindefense.attacks import (
    ConfidenceAttack,
    EntropyAttack,
    GapAttack,
    LossAttack,
    MaxConfidenceAttack,
    ModifiedEntropyAttack,
)
from mindefense.attacks.base import ScoreAttack
from mindefense.attacks.metric import log_probs_and_rests
from mindefense.attacks.registry import ATTACKS, AttackContext
from mindefense.confidence import log_probs, log_softmax
from mindefense.errors import InputError
from mindefense.metrics import best_threshold
from mindefense.targets.base import Target
from mindefense.types import Samples


def query(logits, labels):
    logits = np.asarray(logits, np.float32)
    return Target(log_softmax), Samples(logits, np.asarray(labels, np.int32), np.arange(len(logits)))


def test_gap_attack_equals_a_hand_count():
    target, samples = query([[0, 2, 1], [0, 2, 1], [5, 0, 0], [0, 0, 1], [1, 1, 0]], [1, 2, 0, 2, 1])
    # The last row ties; the first of equals counts as predicted.
    assert GapAttack().score(target, samples).tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert GapAttack.threshold_ == 0.5


@pytest.mark.parametrize("name", ["gap", "confidence", "max-confidence", "entropy", "modified-entropy", "loss"])
def test_scores_of_these_are_fitted_to_no_rows(name):
    rng = np.random.default_rng(3)
    target, samples = query(rng.normal(size=(90, 4)), rng.integers(4, size=90))
    first, second, judged = (samples.take(np.arange(30 * part, 30 * part + 30)) for part in range(3))
    attack = ATTACKS[name].make(AttackContext(seed=0))
    assert not attack.fits_scores
    scores = attack.fit(target, first, second).score(target, judged)
    np.testing.assert_array_equal(attack.fit(target, second, judged).score(target, judged), scores)


@pytest.mark.parametrize("name", ["confidence-per-class", "entropy-per-class", "shokri-label", "stacked"])
def test_scores_of_others_are(name):
    assert ATTACKS[name].make(AttackContext(seed=0)).fits_scores


def test_gap_attack_learns_nothing():
    def refuse(features):
        raise AssertionError("asked")

    target, samples = query([[0, 1], [1, 0]], [0, 0])
    attack = GapAttack().fit(Target(refuse), samples, samples)
    assert vars(attack) == {}
    assert attack.score(target, samples).tolist() == [0.0, 1.0]


def test_max_confidence_is_the_largest_log_probability():
    target, samples = query([[0, 0, 0, 0], [np.log(6), 0, 0, 0], [-50, 0, -50, -50]], [0, 1, 2])
    np.testing.assert_allclose(MaxConfidenceAttack().score(target, samples), np.log([1 / 4, 6 / 9, 1]), atol=1e-6)


def test_max_confidence_tells_apart_what_rounds_to_one():
    target, samples = query([[17.5, 0], [18.5, 0]], [0, 0])
    assert (np.exp(target.query(samples.features)).max(axis=1) == 1).all()
    low, high = MaxConfidenceAttack().score(target, samples)
    assert low < high < 0


def test_entropy_equals_scipy():
    rng = np.random.default_rng(0)
    target, samples = query(np.vstack((rng.normal(0, 3, (50, 6)), np.zeros((1, 6)), [[0, 90, 0, 0, 0, 0]])), [0] * 52)
    probs = np.exp(target.query(samples.features).astype(np.float64))
    scores = EntropyAttack().score(target, samples)
    np.testing.assert_allclose(scores, -scipy.stats.entropy(probs, axis=1), atol=1e-6)
    assert scores[50] == pytest.approx(-np.log(6), abs=1e-6)
    assert scores[51] == pytest.approx(0, abs=1e-30)


METRICS = [ConfidenceAttack, MaxConfidenceAttack, EntropyAttack, ModifiedEntropyAttack]


def halves(seed=0, n=60, classes=4):
    """A target and samples of both kinds, drawn alike."""
    rng = np.random.default_rng(seed)
    _, samples = query(rng.normal(0, 2, (2 * n, classes)), rng.integers(classes, size=2 * n))
    return Target(log_softmax), samples.take(np.arange(n)), samples.take(np.arange(n, 2 * n))


@pytest.mark.parametrize("attack_class", METRICS)
def test_threshold_is_the_best_of_the_fit_rows(attack_class):
    target, members, non_members = halves()
    attack = attack_class()
    assert not hasattr(attack, "threshold_")
    attack.fit(target, members, non_members)
    scores = np.concatenate((attack.score(target, members), attack.score(target, non_members)))
    assert attack.threshold_ == best_threshold(scores, np.arange(120) < 60)


def test_threshold_of_kinds_of_different_size():
    class First(ScoreAttack):
        name = "first"

        def score(self, target, samples):
            return samples.features[:, 0].astype(np.float64)

    def column(*values):
        return Samples(np.array(values, np.float32)[:, None], np.zeros(len(values), np.int32), np.arange(len(values)))

    # Were the rows counted wrongly, the best threshold would be another.
    assert First().fit(Target(log_softmax), column(6, 5, 4), column(1)).threshold_ == 2.5
    assert First().fit(Target(log_softmax), column(9), column(3, 2, 1)).threshold_ == 6.0


def test_confidence_and_loss_are_the_true_classes():
    target, samples = query([[np.log(6), 0, 0, 0], [np.log(6), 0, 0, 0], [0, 90, 0, 0]], [0, 1, 0])
    wanted = [np.log(6 / 9), np.log(1 / 9), -90]
    for attack in (ConfidenceAttack(), LossAttack()):
        np.testing.assert_allclose(attack.score(target, samples), wanted, atol=1e-6)


def test_loss_attack_takes_the_mean_loss_of_the_members():
    target, members = query(np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]]), [0, 1, 0])
    _, others = query(np.log([[0.01, 0.99]]), [0])
    attack = LossAttack().fit(target, members, others)
    assert attack.threshold_ == pytest.approx(np.log([0.5, 0.8, 0.9]).mean(), abs=1e-6)
    assert (attack.score(target, members) > attack.threshold_).tolist() == [False, True, True]


def modified_entropy(probs, label):
    """By the definition."""
    others = sum(p * np.log(1 - p) for i, p in enumerate(probs) if i != label)
    return -(1 - probs[label]) * np.log(probs[label]) - others


def test_modified_entropy_equals_its_definition():
    probs = np.random.default_rng(0).dirichlet(np.full(5, 0.5), 40)
    labels = np.arange(40) % 5
    scores = ModifiedEntropyAttack().score(*query(np.log(probs), labels))
    wanted = [-modified_entropy(row, label) for row, label in zip(probs, labels, strict=True)]
    np.testing.assert_allclose(scores, wanted, rtol=1e-5, atol=1e-6)
    half = ModifiedEntropyAttack().score(*query([[0, 0]], [1]))
    assert half == pytest.approx(-np.log(2), abs=1e-6)


def test_modified_entropy_is_finite_and_rises_to_the_very_ends():
    gaps = [0.0, 5.0, 17.0, 30.0, 60.0, 100.0]
    right = ModifiedEntropyAttack().score(*query([[gap, 0, 0] for gap in gaps], [0] * 6))
    wrong = ModifiedEntropyAttack().score(*query([[gap, 0, 0] for gap in gaps], [1] * 6))
    assert (np.diff(right) > 0).all()
    assert right[-1] < 0
    assert (np.diff(wrong) < 0).all()
    assert np.isfinite(wrong).all()
    one_hot = log_probs(np.eye(3, dtype=np.float32))
    scores = ModifiedEntropyAttack.metric(one_hot, np.array([0, 0, 0]))
    assert np.isfinite(scores).all()
    assert scores[0] == pytest.approx(0, abs=1e-20)
    np.testing.assert_allclose(scores[1:], 2 * np.log(1e-30), rtol=0.02)


def test_log_probs_and_rests():
    given = log_softmax(np.array([[40.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 3.0, 2.0]]))
    log_p, log_rest = log_probs_and_rests(given)
    np.testing.assert_allclose(log_p, given, atol=1e-6)
    np.testing.assert_allclose(log_rest[1:], np.log1p(-np.exp(given[1:].astype(np.float64))), atol=1e-6)
    assert log_rest[0, 0] == pytest.approx(np.log1p(np.e) - 40, abs=1e-5)
    assert log_p[0, 0] == pytest.approx(-np.exp(log_rest[0, 0]), rel=1e-9)


def test_thresholds_per_class_equal_a_hand_count():
    # The true class's confidence; class 2 has no members, class 3 nobody, class 0 is surer than class 1.
    def rows(confidences, labels):
        logits = np.zeros((len(labels), 4))
        logits[np.arange(len(labels)), labels] = np.log(3 * np.array(confidences) / (1 - np.array(confidences)))
        return query(logits, labels)

    target, members = rows([0.9, 0.8, 0.4, 0.3], [0, 0, 1, 1])
    _, others = rows([0.6, 0.5, 0.2, 0.1, 0.25], [0, 0, 1, 1, 2])
    attack = ConfidenceAttack(per_class=True).fit(target, members, others)

    def between(low, high):
        return pytest.approx((np.log(low) + np.log(high)) / 2, abs=1e-6)

    overall = between(0.25, 0.3)  # no member below, two of five non-members above; above 0.6 half the members are
    assert attack.thresholds_.tolist() == [between(0.6, 0.8), between(0.2, 0.3), overall, overall]
    assert attack.threshold_ == 0
    scores = attack.score(target, members)
    np.testing.assert_allclose(scores, np.log([0.9, 0.8, 0.4, 0.3]) - attack.thresholds_[[0, 0, 1, 1]], atol=1e-6)
    assert (scores > 0).all()
    assert (attack.score(target, others) <= 0).all()
    together = ConfidenceAttack().fit(target, members, others)
    assert together.threshold_ == overall
    assert (together.score(target, others) > together.threshold_).tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("attack_class", METRICS)
def test_thresholds_per_class_are_the_best_of_each_class(attack_class):
    target, members, non_members = halves()
    attack, plain = attack_class(per_class=True), attack_class()
    assert attack.name == f"{plain.name}-per-class"
    with pytest.raises(InputError, match=f"{attack.name}.*call fit first"):
        attack.score(target, members)
    attack.fit(target, members, non_members)
    for label in range(4):
        inside, outside = (part.take(np.flatnonzero(part.labels == label)) for part in (members, non_members))
        assert attack.thresholds_[label] == plain.fit(target, inside, outside).threshold_
    np.testing.assert_array_equal(
        attack.score(target, members), plain.score(target, members) - attack.thresholds_[members.labels]
    )
