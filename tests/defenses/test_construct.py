"""The same promises through the one graph of a defense's Cell, and that it agrees with the fast driver."""

import mindspore as ms
import numpy as np
import pytest
from toy_defenses import TAME, hard_logits, has_tie, l1, plain_logits, softmax, starts, toy_defense, toy_layers

# Every case is compiled once, which takes seconds; test_golden has 30 classes.
CASES = {
    "defenmi-corrected-2": ("defenmi", "corrected", 2, {"max_iterations": 100}),
    "defenmi-corrected-10": ("defenmi", "corrected", 10, {"max_iterations": 100}),
    "defenmi-published-3": ("defenmi", "published", 3, {"max_iterations": 100}),
    "defenmi-corrected-3-cut-short": ("defenmi", "corrected", 3, {"max_iterations": 2}),
    # MemGuard starts at its reference, where the sign of the distance is the sign of a rounding error: a small c3
    # keeps that from leading the two implementations apart.
    # Budgets are no multiples of the steps between two looks at whether anybody is left.
    "defenmi-corrected-10-budget": ("defenmi", "corrected", 10, {"max_iterations": 40, "max_steps": 47}),
    "defenmi-published-3-budget": ("defenmi", "published", 3, {"max_steps": 6}),
    "memguard-corrected-10-budget": ("memguard", "corrected", 10, {**TAME, "max_steps": 9}),
    "memguard-corrected-10": ("memguard", "corrected", 10, {"c3_first": 1e-4, "threshold": 1e-3}),
}


LEVEL_MEANS = np.float32([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
"""References that leave it open which class is predicted."""


def call(defense, logits, start):
    """Probabilities that the Cell answers with."""
    log_probs = defense(ms.Tensor(logits), ms.Tensor(start)).asnumpy()
    assert log_probs.dtype == np.float32
    assert np.isfinite(log_probs).all()
    return np.exp(np.float64(log_probs))


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """Defense, clean logits, start logits, and what the Cell makes of them."""
    name, alignment, classes, search = CASES[request.param]
    defense = toy_defense(name, alignment, classes, **search)
    logits = np.concatenate((hard_logits(classes), plain_logits(60, classes)))
    start = starts(name, logits)
    return defense, logits, start, call(defense, logits, start)


def tied_at_the_top(logits):
    return (logits == logits.max(axis=1, keepdims=True)).sum(axis=1) > 1


def promises_labels(defense):
    """Published DefenMI does where a budget cuts its search short: there its fallback is another."""
    return defense.config.alignment == "corrected" or defense.name == "memguard" or defense.config.cuts_first_round


def check_vectors(probs):
    assert np.isfinite(probs).all()
    assert probs.min() >= 0
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-5)


def test_rows_are_confidence_vectors(case):
    _, logits, _, probs = case
    assert probs.shape == logits.shape
    check_vectors(probs[~tied_at_the_top(logits)])


def test_predicted_class_is_kept(case):
    defense, logits, _, probs = case
    kept = (probs.argmax(axis=1) == logits.argmax(axis=1))[~tied_at_the_top(logits)]
    assert kept.all() == promises_labels(defense)


def test_ties_at_the_top(case):
    defense, logits, start, probs = case
    tied = tied_at_the_top(logits)
    assert tied.any()
    check_vectors(probs[tied])
    if promises_labels(defense):
        np.testing.assert_array_equal(probs.argmax(axis=1)[tied], logits.argmax(axis=1)[tied])
    else:
        driven = defense.reshape(np.float32(softmax(logits)), start, workers=1)
        pairs = tied & ((logits == logits.max(axis=1, keepdims=True)).sum(axis=1) == 2)
        assert pairs.any()
        assert (l1(driven, probs)[pairs] < 1e-3).mean() >= 0.9


def test_agrees_with_the_driver(case):
    defense, logits, start, probs = case
    clear = ~has_tie(logits)
    assert clear.sum() > 60
    driven = defense.reshape_in_detail(np.float32(softmax(logits)), start, workers=1)
    away = l1(driven.probs, probs)[clear]
    assert np.median(away) < 1e-4
    assert (away < 1e-3).mean() >= 0.95
    assert (driven.rounds > 0).any()
    assert (driven.rounds == 0).any() or not defense.config.cuts_first_round


def test_undecided_starts_give_the_reference():
    layers = toy_layers(3)
    layers[-1] = (layers[-1][0] * 0, np.float32([0.0]))
    logits = plain_logits(30, 3)
    defense = toy_defense("defenmi", "corrected", 3, layers=layers, means=LEVEL_MEANS, max_iterations=5)
    driven = defense.reshape_in_detail(np.float32(softmax(logits)), logits)
    assert set(driven.rounds) == {-1}
    probs = call(defense, logits, logits)
    np.testing.assert_allclose(probs, driven.probs, atol=1e-6)
    np.testing.assert_array_equal(probs.argmax(axis=1), logits.argmax(axis=1))
    np.testing.assert_array_equal(driven.probs.argmax(axis=1), logits.argmax(axis=1))


@pytest.mark.parametrize("case", ["defenmi-published-3"], indirect=True)
def test_modes_agree(case):
    defense, logits, start, probs = case
    before = ms.get_context("mode")
    other = ms.PYNATIVE_MODE if before == ms.GRAPH_MODE else ms.GRAPH_MODE
    ms.set_context(mode=other)
    try:
        answers = call(defense, logits, start)
    finally:
        ms.set_context(mode=before)
    assert (l1(answers, probs) < 1e-5).mean() >= 0.95
