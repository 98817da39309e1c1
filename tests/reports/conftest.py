import dataclasses

import pytest

from mindefense.types import (
    AttackResult,
    BudgetPoint,
    DefenseFacts,
    Evaluation,
    MembershipMetrics,
    RateAtFpr,
    TargetFacts,
    UtilityMetrics,
    Verdict,
)

NOTE = "too few non-members: 500, at least 1000 needed"
# name, threat model, adversary, defended, accuracy, balanced accuracy, share called member
ROWS = (
    ("gap", "none", "static", False, 0.691, 0.692, 0.7),
    ("gap", "none", "static", True, 0.691, 0.692, 0.7),
    ("max-confidence", "auditor", "static", False, 0.7875, 0.788, 0.55),
    ("max-confidence", "auditor", "static", True, 0.5, 0.5, 0.0),
    ("max-confidence", "auditor", "adaptive", True, 0.52, 0.521, 0.6),
    ("mindarmour-lr", "auditor", "static", False, 0.9996, 1.0, 0.97),
    ("mindarmour-lr", "auditor", "static", True, 0.61, 0.611, 0.949),
    ("mindarmour-lr", "auditor", "adaptive", True, 0.733, 0.734, 0.5),
    ("nn", "shadow", "static", False, 0.775, 0.776, 0.98),
    ("nn", "shadow", "static", True, 0.499, 0.498, 0.999),
    ("nn", "shadow", "adaptive", True, 0.55, 0.551, 0.951),
)


def make_attack(name, knowledge, adversary, defended, accuracy, balanced, share):
    metrics = MembershipMetrics(
        n_members=500,
        n_non_members=500,
        accuracy=accuracy,
        balanced_accuracy=balanced,
        precision=None if share == 0 else 0.625,
        recall=0.8 if share else 0.0,
        share_called_member=share,
        auc=accuracy + 0.0001 if accuracy < 0.9 else 0.25,
        tpr_at_fpr=(RateAtFpr(0.01, 0.034, 0.02, 0.05), RateAtFpr(0.001, 0.008, 0.002, 0.02, NOTE)),
    )
    return AttackResult(name, knowledge, adversary, defended, metrics)


ATTACKS = tuple(make_attack(*row) for row in ROWS)


@pytest.fixture
def evaluation():
    """With a defense; every number is one that can be told from the others."""
    by_key = {(attack.name, attack.adversary, attack.defended): attack for attack in ATTACKS}
    return Evaluation(
        dataset="location",
        synthetic=False,
        smoke=False,
        seed=7,
        settings={"dataset": "location", "data_path": "/data", "seed": 7},
        versions={"python": "3.11.7", "mindspore": "2.8.0"},
        target=TargetFacts(0.9995, 0.6185, 0.58, 2000),
        shadow_accuracy=(0.998, 0.4725),
        defense=DefenseFacts(
            name="defenmi",
            alignment="corrected",
            classifier_accuracy=0.8325,
            undefended=UtilityMetrics(0.8105, 0, 0.0, 0.0, 0.0, 0.103, 1.5),
            defended=UtilityMetrics(0.8055, 3, 0.334, 0.312, 1.239, 0.227, 0.9),
            queries=2001,
        ),
        attacks=ATTACKS,
        budgets=(BudgetPoint(1.0, 0.501, 0.334), BudgetPoint(0.5, 0.558, 0.25), BudgetPoint(0.0, 0.775, 0.0)),
        undefended=Verdict(True, by_key["mindarmour-lr", "static", False], 0.692),
        defended=Verdict(False, by_key["mindarmour-lr", "adaptive", True], 0.692),
        timings={"total": 12.5},
    )


@pytest.fixture
def undefended(evaluation):
    """The same without a defense."""
    return dataclasses.replace(
        evaluation,
        defense=None,
        attacks=tuple(attack for attack in ATTACKS if not attack.defended),
        budgets=(),
        defended=None,
    )
