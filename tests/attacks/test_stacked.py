"""The stacked attack: leaks that other attackers do not see, planted; a null; few rows and few classes."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from mindefense.attacks import StackedAttack
from mindefense.attacks.stacked import _FEWEST
from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.metrics import auc
from mindefense.targets.base import Target
from mindefense.types import Samples

CLASSES = 8


def next_class(logits, labels, is_member, rng):
    """Members' logit of the class three after the true one is higher: an AUC of .714 at the best."""
    rows = np.flatnonzero(is_member)
    logits[rows, (labels[rows] + 3) % CLASSES] += 1.2


def together(logits, labels, is_member, rng):
    """Two classes in fixed places relative to the true one rise and fall together for members alone."""
    rows = np.flatnonzero(is_member)
    one, other = (labels[rows] + 2) % CLASSES, (labels[rows] + 5) % CLASSES
    logits[rows, other] = 0.3 * logits[rows, other] + 0.95 * logits[rows, one]


def by_class(logits, labels, is_member, rng):
    """Members of even classes are surer of the next class, those of odd ones less sure."""
    rows = np.flatnonzero(is_member)
    logits[rows, (labels[rows] + 1) % CLASSES] += np.where(labels[rows] % 2, -1.2, 1.2)


def of_two_classes(logits, labels, is_member, rng):
    """Classes 1 and 6 go together for members, whatever the true class."""
    rows = np.flatnonzero(is_member)
    logits[rows, 6] = 0.3 * logits[rows, 6] + 0.95 * logits[rows, 1]


def world(plant=None, *, rows=2000, classes=CLASSES, seed=0):
    """Logits, labels and membership, half of each."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(0, classes, rows), np.arange(rows) % 2 == 0
    logits = rng.normal(0, 1.5, (rows, classes))
    logits[np.arange(rows), labels] += 3
    if plant:
        plant(logits, labels, is_member, rng)
    return logits.astype(np.float32), labels, is_member


def judged(logits, labels, is_member, attack=None):
    """AUC and accuracy on the half that was not fitted on."""
    target, half = Target(log_softmax), len(labels) // 2

    def part(rows):
        return Samples(logits[rows], labels[rows], rows)

    first = np.arange(len(labels)) < half
    attack = attack or StackedAttack(seed=0)
    attack.fit(target, part(np.flatnonzero(first & is_member)), part(np.flatnonzero(first & ~is_member)))
    scores = attack.score(target, part(np.flatnonzero(~first)))
    assert scores.dtype == np.float64
    assert scores.min() >= 0
    assert scores.max() <= 1
    right = (scores >= attack.threshold_) == is_member[half:]
    return auc(scores, is_member[half:]), right.mean()


@pytest.mark.parametrize(
    ("plant", "least"), [(next_class, 0.68), (together, 0.75), (by_class, 0.62), (of_two_classes, 0.70)]
)
def test_finds_planted_leaks(plant, least):
    area, accuracy = judged(*world(plant))
    assert area > least
    assert accuracy > 0.5 + (least - 0.5) / 2


def test_finds_nothing_where_nothing_is():
    areas = [judged(*world(rows=800, seed=seed))[0] for seed in range(6)]
    assert abs(np.mean(areas) - 0.5) < 0.035  # six AUCs of 200 and 200 rows: a standard error of 0.012


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_any_number_of_classes(classes):
    logits, labels, is_member = world(rows=600, classes=classes)
    logits[is_member, :] *= 1.5  # members' answers are sharper
    assert judged(logits, labels, is_member)[0] > 0.58


@pytest.mark.parametrize("fewest", [2, 3, _FEWEST - 1, _FEWEST])
def test_few_rows(fewest):
    logits, labels, is_member = world(rows=8 * fewest)
    logits[is_member, labels[is_member]] += 6
    assert judged(logits, labels, is_member)[0] > 0.8


def test_wants_two_members_and_two_others():
    logits, labels, _ = world(rows=4)
    one, three = (Samples(logits[rows], labels[rows], rows) for rows in (np.arange(1), np.arange(1, 4)))
    for sides in ((one, three), (three, one)):
        with pytest.raises(InputError, match=r"at least 2 .* got 1"):
            StackedAttack().fit(Target(log_softmax), *sides)


def test_is_the_same_again_and_warns_of_nothing(recwarn):
    logits, labels, is_member = world(next_class, rows=400)
    assert judged(logits, labels, is_member) == judged(logits, labels, is_member)
    assert not [warning for warning in recwarn if issubclass(warning.category, ConvergenceWarning)]


def test_probabilities_of_zero_are_rounding():
    logits, labels, is_member = world(next_class)
    with np.errstate(under="ignore"):
        exact = log_softmax(logits * 8)
    rounded = np.where(exact < -60, -np.inf, exact).astype(np.float32)  # as float32 probabilities come back
    first = judged(exact, labels, is_member)
    again = judged(rounded, labels, is_member)
    np.testing.assert_allclose(first, again, atol=0.02)
