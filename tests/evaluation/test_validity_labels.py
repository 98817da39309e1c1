"""Labels and answers of the wrong rows, copies, and members that are none, in made worlds."""

import numpy as np
import pytest
from validity_facts import look, trial_of

from mindefense.confidence import log_softmax
from mindefense.evaluation.facts import Facts
from mindefense.evaluation.validity import doubts
from mindefense.types import Outputs


def made(n_classes, *, n=2000, lead=4.0, gap=1.5, seed=3):
    """Labels, membership and logits of a target that is better on its members."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(n_classes, size=n), np.arange(n) < n // 2
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), labels] += lead + gap * is_member
    return labels, is_member, logits, rng


def failed_of(labels, is_member, logits, defended=None):
    probs = [None if some is None else np.exp(log_softmax(some.astype(np.float32))) for some in (logits, defended)]
    answers = Outputs(labels, is_member, np.arange(len(labels)), *probs)
    return {check.name for check in doubts(Facts(trials=[], answers=answers)) if not check.passed}


@pytest.mark.parametrize("of_members", [True, False])
def test_labels_of_one_side_in_another_order_are_found(of_members):
    labels, is_member, logits, rng = made(20)
    side = is_member == of_members
    labels[side] = rng.permutation(labels[side])
    assert "labels-match" in failed_of(labels, is_member, logits)


def test_columns_sorted_as_words_or_swapped_are_found():
    labels, is_member, logits, _ = made(25)
    for order in (sorted(range(25), key=str), [1, 0, *range(2, 25)]):
        assert "labels-match" in failed_of(labels, is_member, logits[:, order])


def test_defended_answers_of_other_rows_are_found_and_changed_labels_are_not_taken_for_them():
    labels, is_member, logits, rng = made(12)
    assert "labels-match" in failed_of(labels, is_member, logits, logits[rng.permutation(2000)])
    noised = logits + rng.normal(size=logits.shape)
    assert failed_of(labels, is_member, logits, noised) == {"labels-changed"}


def test_always_naming_the_commonest_class_is_guessing():
    rng = np.random.default_rng(1)
    labels = (rng.random(2000) < 0.1).astype(int)
    assert "labels-match" in failed_of(labels, np.arange(2000) < 1000, np.tile([3.0, 0.0], (2000, 1)))


@pytest.mark.parametrize(
    "what",
    [
        {"n_classes": 10, "lead": 0.3, "gap": 0.0},
        {"n_classes": 2, "lead": 0.3, "gap": 9.0},
        {"n_classes": 100, "n": 100, "lead": 1.0, "gap": 9.0},
    ],
    ids=["weak", "two classes", "many classes, few rows"],
)
def test_weak_targets_are_not_accused_of_wrong_labels(what):
    assert "labels-match" not in failed_of(*made(**what)[:3])


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("second", [1000, 500], ids=["on both sides", "on one side"])
def test_copies_are_found_however_sure_the_target_and_however_few_the_classes(n_classes, second):
    labels, is_member, logits, _ = made(n_classes, lead=1.5, gap=9.0 if second == 1000 and n_classes > 2 else 2.0)
    assert "duplicates" not in failed_of(labels, is_member, logits)
    logits[second : second + 500], labels[second : second + 500] = logits[:500], labels[:500]
    assert "duplicates" in failed_of(labels, is_member, logits)


def test_two_saturated_classes_in_float32_are_no_duplicates():
    labels, is_member, logits, _ = made(2, lead=12.0, gap=6.0)
    probs = np.exp(log_softmax(logits))[:, :1].astype(np.float32)
    probs = np.concatenate([probs, 1 - probs], axis=1)
    answers = Outputs(labels, is_member, np.arange(2000), probs)
    assert all(check.passed for check in doubts(Facts(trials=[], answers=answers)) if check.name == "duplicates")


def of_members(accuracy, others, area, n=2000):
    """Facts with exactly these accuracies and one attacker whose scores tell about that much."""
    is_member, labels = np.arange(n) < n // 2, np.arange(n) % 10
    rng = np.random.default_rng(0)
    right = rng.random(n) < np.where(is_member, accuracy, others)
    probs = np.full((n, 10), 0.01)
    probs[np.arange(n), np.where(right, labels, rng.integers(10, size=n))] = 0.91
    scores = rng.normal(size=n) + area * is_member
    answers = Outputs(labels, is_member, np.arange(n), probs)
    return Facts(trials=[trial_of(scores, is_member, np.arange(n))], answers=answers)


@pytest.mark.parametrize(
    ("facts", "passed"),
    [
        (of_members(0.6, 0.6, 0.0), False),
        (of_members(0.15, 0.1, 2.0), False),
        (of_members(0.95, 0.95, 0.0), True),
        (of_members(0.9, 0.6, 0.0), True),
        (of_members(0.6, 0.6, 2.0), True),
        (of_members(0.6, 0.6, 0.0, n=100), True),
    ],
    ids=["no gap", "few right", "near perfect", "gap", "an attacker finds them", "too few rows"],
)
def test_members_that_the_target_does_no_better_on_are_asked_about(facts, passed):
    assert look(facts, "members").passed == passed
