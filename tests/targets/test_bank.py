"""The attacker's own models, and which rows each was trained on."""

import contextlib
import dataclasses

import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.targets.bank import ShadowBank, Statistic, trained_on
from mindefense.targets.base import Target
from mindefense.types import Samples

BANK = ShadowBank(
    [Target(lambda rows, k=k: np.full((len(rows), 3), -float(k + 1), np.float32)) for k in range(2)],
    np.array([[True, False, True, False], [False, True, False, True]]),
)


def test_every_model_is_asked():
    answers = BANK.query(np.zeros((5, 2), np.float32))
    assert (answers.shape, answers.dtype) == ((2, 5, 3), np.float32)
    assert [one.mean() for one in answers] == [-1, -2]
    assert BANK[1].query(np.zeros((1, 2), np.float32))[0, 0] == -2
    assert len(BANK) == 2


def test_who_was_trained_on_what():
    np.testing.assert_array_equal(BANK.trained_on(np.array([3, 0, 9])), [[False, True, False], [True, False, False]])
    held = trained_on([np.array([1, 4]), np.array([0])], of=3)
    np.testing.assert_array_equal(held, [[False, True, False, False, True], [True, False, False, False, False]])
    assert trained_on([np.empty(0, np.int64)], of=2).shape == (1, 2)


@pytest.mark.parametrize(
    ("targets", "held", "words"),
    [([], np.zeros((0, 3), bool), "at least one model"), ([BANK[0]], np.zeros((2, 3), bool), "a row for each model"),
     ([BANK[0]], np.zeros(3, bool), "a row for each model")],
)  # fmt: skip
def test_what_is_no_bank_is_refused(targets, held, words):
    with pytest.raises(InputError, match=words):
        ShadowBank(targets, held)


def test_answers_to_variants_are_not_remembered():
    """There are many, and each is asked about once."""
    seen = []

    def respond(rows):
        seen.append(len(rows))
        return np.log(np.full((len(rows), 2), 0.5, np.float32))

    bank = ShadowBank([Target(respond)], np.zeros((1, 4), bool))
    rows = Samples(np.zeros((4, 3), np.float32), np.zeros(4, np.int32), np.arange(4))

    def share(target, samples):
        return (target.labels(samples.features) == samples.labels).astype(np.float64)

    measured = Statistic("share", share, asks="labels of variants")
    bank.measure(measured, rows)
    assert bank.targets[0].new(rows.features) == 1  # which rows that are equal count as
    assert bank.targets[0].queries == 4
    bank.measure(measured, rows)
    assert seen == [4]  # the measure is remembered


def test_a_measure_is_not_remembered_for_other_features_or_another_statistic():
    def sums(more):
        return Statistic(f"sum and {more}", lambda target, samples: samples.features.sum(axis=1) + more)

    bank = ShadowBank([Target(lambda x: np.log(x))], np.array([[True, False, True]]))
    samples = Samples(np.arange(6.0).reshape(3, 2), np.zeros(3, int), np.array([2, 0, 1]))
    assert bank.measure(sums(0), samples).tolist() == [[1, 5, 9]]
    assert bank.measure(sums(0), samples.take(np.array([2, 1]))).tolist() == [[9, 5]]
    other = dataclasses.replace(samples, features=samples.features + 1)
    assert bank.measure(sums(0), other).tolist() == [[3, 7, 11]]
    assert bank.measure(sums(10), samples).tolist() == [[11, 15, 19]]


def test_only_a_measure_of_labels_is_taken_from_the_undefended_models():
    """A defense that keeps predicted classes changes the confidences about changed samples, too."""
    asked = {"plain": 0, "defended": 0}

    def answering(name):
        def respond(rows):
            asked[name] += len(rows)
            return np.log(np.full((len(rows), 2), 0.5, np.float32))

        return Target(respond)

    bank = ShadowBank([answering("plain")], np.zeros((1, 4), bool))
    behind = bank.behind([answering("defended")], keeps_labels=True)
    rows = Samples(np.arange(12, dtype=np.float32).reshape(4, 3), np.zeros(4, np.int32), np.arange(4))
    for asks, name in (("variants", "defended"), ("labels of variants", "plain"), ("samples", "defended")):
        before = dict(asked)
        behind.measure(Statistic(asks, lambda target, samples: target.query(samples.features)[:, 0], asks), rows)
        assert {key: asked[key] - before[key] for key in asked} == {**dict.fromkeys(asked, 0), name: 4}, asks


def test_answers_stored_inside_a_context_are_forgotten_at_its_end():
    asked = []

    def respond(rows):
        asked.append(len(rows))
        return np.log(np.full((len(rows), 2), 0.5, np.float32))

    target = Target(respond, labels=lambda rows: respond(rows).argmax(axis=1), anew=lambda rows, again: respond(rows))
    one, other = np.zeros((1, 3), np.float32), np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    target.query(one)
    with contextlib.suppress(KeyError), target.restoring():
        target.query(other)
        target.labels(other)
        target.query(one, again=1)
        raise KeyError
    assert asked == [1, 2, 2, 1]
    target.query(one)  # stored before
    assert asked == [1, 2, 2, 1]
    target.query(other)
    target.labels(other)
    target.query(one, again=1)
    assert asked == [1, 2, 2, 1, 2, 2, 1]
