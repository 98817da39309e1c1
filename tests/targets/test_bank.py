"""The attacker's own models, and which rows each was trained on."""

import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.targets.bank import ShadowBank, trained_on
from mindefense.targets.base import Target

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
