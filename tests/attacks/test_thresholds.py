"""How many members and non-members a classifier is fitted on moves its cut, and not its balanced accuracy."""

import numpy as np
import pytest

from mindefense.attacks import (
    ClassifierAttack,
    MindArmourAttack,
    NeuralAttack,
    StackedAttack,
)
from mindefense.confidence import log_softmax
from mindefense.evaluation.judging import judge
from mindefense.evaluation.scenario import Rows
from mindefense.metrics import membership_metrics
from mindefense.targets.base import Target
from mindefense.training import TrainConfig
from mindefense.types import Samples

CLASSES, JUDGED = 5, 2000
RATIOS = ((400, 400), (2000, 400), (400, 4000))
SHORT = TrainConfig(epochs=6, learning_rate=0.05, decay_every=None, batch_size=64, loss="sigmoid", seed=3)
GRIDS = {
    "lr": {"C": [0.1, 1.0]},
    "knn": {"n_neighbors": [5, 7]},
    "mlp": {"hidden_layer_sizes": [(16,)], "solver": ["adam"], "alpha": [0.01]},
    "rf": {"n_estimators": [30], "max_depth": [5, None], "min_samples_leaf": [2, 4, 8, 16]},
}
MAKE = {
    **{
        f"mindarmour-{method}": (lambda method=method: MindArmourAttack(method, grid=GRIDS[method], n_jobs=1))
        for method in GRIDS
    },
    "salem-top3": lambda: ClassifierAttack("top3"),
    "shokri-label": lambda: ClassifierAttack("label"),
    "stacked": StackedAttack,
    "nn": lambda: NeuralAttack(SHORT),  # nsh learns and cuts by the same code, and takes twice as long
}
FIXED = tuple(name for name in MAKE if name != "stacked")
"""Those whose scores are probabilities that hold the prior of the fit rows."""
WITHIN = {"mindarmour-knn": 0.06}
"""Of 7 neighbours hardly one is a member at one in ten, so that its ranking, and not its cut alone, gets coarser."""
NULL_ERROR = (1 / JUDGED / 2) ** 0.5 / 2
"""Largest standard error of a balanced accuracy without a leak."""


def drawn(seed, count, lead):
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count)
    logits = rng.normal(0, 1, (count, CLASSES))
    logits[np.arange(count), labels] += lead + rng.normal(0, 1, count)
    return Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(count) + 10_000 * seed)


def accuracies(make, ratio, leak):
    """Balanced accuracy at 0.5, at the attack's own threshold, and the attack."""
    target = Target(log_softmax)
    attack = make().fit(target, drawn(3, ratio[0], 2 + leak), drawn(4, ratio[1], 2))
    scores = np.concatenate(
        [attack.score(target, samples) for samples in (drawn(1, JUDGED, 2 + leak), drawn(2, JUDGED, 2))]
    )
    is_member = np.arange(2 * JUDGED) < JUDGED
    at_half, at_its = (
        membership_metrics(scores, is_member, threshold=cut).balanced_accuracy for cut in (0.5, attack.threshold_)
    )
    return at_half, at_its, attack


@pytest.mark.parametrize("name", MAKE)
def test_balanced_accuracy_does_not_depend_on_the_numbers_fitted_on(name):
    found = {ratio: accuracies(MAKE[name], ratio, 1.5) for ratio in RATIOS}
    at_half, even, attack = found[RATIOS[0]]
    assert even > 0.6
    if name in FIXED:
        assert attack.threshold_ == 0.5
        assert even == at_half
    for ratio in RATIOS[1:]:
        at_half, uneven, attack = found[ratio]
        assert uneven == pytest.approx(even, abs=WITHIN.get(name, 0.035))
        if name in FIXED:
            assert attack.threshold_ == ratio[0] / sum(ratio)
            assert at_half < even - 0.05  # what it would be without another cut


@pytest.mark.parametrize("name", MAKE)
def test_without_a_leak_five_to_one_stays_at_chance(name):
    _, accuracy, _ = accuracies(MAKE[name], RATIOS[1], 0)
    assert abs(accuracy - 0.5) < 4 * NULL_ERROR


def test_figures_at_mindarmours_own_cut_are_kept_where_they_differ():
    judged = Rows(drawn(1, JUDGED, 3.5), drawn(2, JUDGED, 2))
    names = {"name": "mindarmour-lr", "knowledge": "auditor", "adversary": "static", "defended": False}
    for ratio, differs in ((RATIOS[0], False), (RATIOS[1], True)):
        target = Target(log_softmax)
        attack = MAKE["mindarmour-lr"]().fit(target, drawn(3, ratio[0], 3.5), drawn(4, ratio[1], 2))
        trial = judge(attack, target, judged, judged, **names)
        assert trial.threshold == attack.threshold_
        assert (trial.result.own is not None) == differs
        if differs:
            assert trial.result.own == membership_metrics(trial.scores, trial.is_member, threshold=0.5)
            assert trial.result.own.balanced_accuracy < trial.result.metrics.balanced_accuracy - 0.05
            assert trial.result.own.auc == trial.result.metrics.auc
