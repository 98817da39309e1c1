import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from mindefense.reports.results import comparison_to_json, to_json
from mindefense.types import (
    AttackResult,
    BudgetPoint,
    Check,
    Comparison,
    Contender,
    DefenseFacts,
    Evaluation,
    IdentifiedMembers,
    MembershipMetrics,
    NotRun,
    PrecisionAtPrior,
    RateAtFnr,
    RateAtFpr,
    Slice,
    Slices,
    TargetFacts,
    UtilityMetrics,
    Verdict,
)

NOTE = "too few non-members: 500, at least 1000 needed"
# name, threat model, adversary, defended, accuracy, balanced accuracy, share called member
ROWS = (
    ("gap", "none", "static", False, 0.691, 0.692, 0.7),
    ("max-confidence", "auditor", "static", False, 0.7875, 0.788, 0.55),
    ("mindarmour-lr", "auditor", "static", False, 0.9996, 1.0, 0.97),
    ("nn", "shadow", "static", False, 0.775, 0.776, 0.98),
    ("gap", "none", "static", True, 0.691, 0.692, 0.7),
    ("max-confidence", "auditor", "static", True, 0.5, 0.5, 0.0),
    ("max-confidence", "auditor", "adaptive", True, 0.52, 0.521, 0.6),
    ("mindarmour-lr", "auditor", "static", True, 0.61, 0.611, 0.949),
    ("mindarmour-lr", "auditor", "adaptive", True, 0.733, 0.734, 0.5),
    ("nn", "shadow", "static", True, 0.499, 0.498, 0.999),
    ("nn", "shadow", "adaptive", True, 0.55, 0.551, 0.951),
)


def make_attack(name, knowledge, adversary, defended, accuracy, balanced, share):
    auc = accuracy + 0.0001 if accuracy < 0.9 else 0.25
    precision = None if share == 0 else 0.625
    metrics = MembershipMetrics(
        n_members=500,
        n_non_members=501,
        accuracy=accuracy,
        balanced_accuracy=balanced,
        balanced_accuracy_low=balanced - 0.041,
        balanced_accuracy_high=balanced + 0.042,
        advantage=2 * balanced - 1,
        precision=precision,
        recall=0.8 if share else 0.0,
        share_called_member=share,
        auc=auc,
        auc_low=auc - 0.031,
        auc_high=auc + 0.032,
        two_sided_auc=max(auc, 1 - auc),
        tpr_at_fpr=(
            RateAtFpr(0.1, 0.21, 0.19, 0.23),
            RateAtFpr(0.01, 0.034, 0.02, 0.05),
            RateAtFpr(0.001, 0.008, 0.002, 0.02, NOTE),
        ),
        tnr_at_fnr=(RateAtFnr(0.1, 0.26, 0.24, 0.28), RateAtFnr(0.01, 0.037, 0.03, 0.06, NOTE)),
        epsilon_low=0.125,
        precision_at_prior=(PrecisionAtPrior(0.5, precision), PrecisionAtPrior(0.01, precision and 0.0165)),
    )
    return AttackResult(name, knowledge, adversary, defended, metrics)


ATTACKS = tuple(make_attack(*row) for row in ROWS)
BY_KEY = {(attack.name, attack.adversary, attack.defended): attack for attack in ATTACKS}
PARTS = (
    Slice("class", "class 0", 60, 55, 0.571, 0.45, 0.69),
    Slice("class", "class 3", 0, 9, None, None, None),
    Slice("correctness", "classified incorrectly", 12, 140, 0.912, 0.83, 0.96),
)


def make_verdict(strongest, sharpest, *, leaks):
    balanced, auc = strongest.metrics.balanced_accuracy, sharpest.metrics.auc
    level = "leak" if leaks else "some"
    identified = IdentifiedMembers(0.01, 17, 5, 500, 500, 0.034, 0.019, 0.021, 1e-7)
    return Verdict(
        leaks,
        strongest,
        balanced - 0.06,
        balanced + 0.061,
        sharpest,
        auc - 0.05,
        auc + 0.051,
        7,
        0.692,
        level,
        strongest,
        identified,
        leaks,
        sharpest,
        "AUC",
        auc - 0.05,
        auc + 0.051,
    )


@pytest.fixture
def evaluation():
    """With a defense; every number is one that can be told from the others."""
    return Evaluation(
        dataset="location",
        synthetic=False,
        smoke=False,
        seed=7,
        settings={"dataset": "location", "data_path": "data", "seed": 7},
        versions={"python": "3.11.7", "mindspore": "2.8.0"},
        target=TargetFacts(0.9995, 0.6185, 0.58, 2000),
        shadow_accuracy=(0.998, 0.4725),
        defense=DefenseFacts(
            name="defenmi",
            config={"alignment": "corrected", "noise_scale": 0.012},
            noise="keyed",
            keeps_labels=True,
            classifier_accuracy=0.8325,
            undefended=UtilityMetrics(0.8105, 0, 0.0, 0.0, 0.0, 0.103, 1.5),
            defended=UtilityMetrics(0.8055, 3, 0.334, 0.312, 1.239, 0.227, 0.9),
            queries=2001,
        ),
        attacks=ATTACKS,
        not_run=(
            NotRun("label-noise", "auditor", "the features are all 0 or 1; use label-flips"),
            NotRun("label-noise", "shadow", "the features are all 0 or 1; use label-flips"),
            NotRun("label-shifts", "auditor", "the samples are not images, so there is nothing to shift"),
        ),
        budgets=(BudgetPoint(1.0, 0.501, 0.334), BudgetPoint(0.5, 0.558, 0.25), BudgetPoint(0.0, 0.775, 0.0)),
        undefended=make_verdict(
            BY_KEY["mindarmour-lr", "static", False], BY_KEY["max-confidence", "static", False], leaks=True
        ),
        defended=make_verdict(
            BY_KEY["mindarmour-lr", "adaptive", True], BY_KEY["mindarmour-lr", "adaptive", True], leaks=False
        ),
        slices=(
            Slices("max-confidence", "auditor", "static", False, PARTS, PARTS[2]),
            Slices("mindarmour-lr", "auditor", "adaptive", True, PARTS[:1], None),
        ),
        checks=(
            Check("overlap", True, "0 of 1001 judged rows were fitted on."),
            Check("sample-size", False, "There are 500 members.", "Figures are rough.", "Judge by more rows."),
            Check("labels-changed", True, "The defense changed 0 of 1001 predicted classes."),
        ),
        timings={"total": 12.5},
        records={
            "index": np.array([5, 17]),
            "is_member": np.array([True, False]),
            "confidence": np.array([0.75, 0.5], np.float32),
            "gap|none|static|undefended": np.array([1.0, 0.0], object),
            "nn|shadow|static|undefended": np.array([None, 0.1 + 0.2], object),
        },
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
        slices=evaluation.slices[:1],
    )


def make_contender(name, strongest, cost, *, in_training=False, dominated_by=()):
    accuracy, ece, mean_l1, nll = cost
    sharpest = strongest if name == "none" else BY_KEY["mindarmour-lr", "adaptive", True]
    return Contender(
        name=name,
        config={"name": name},
        in_training=in_training,
        utility=UtilityMetrics(accuracy, 4, mean_l1, mean_l1 / 2, mean_l1 * 1.5, ece, nll),
        verdict=make_verdict(strongest, sharpest, leaks=name == "none"),
        attacks=(BY_KEY["gap", "static", name != "none"], strongest),
        dominated_by=dominated_by,
    )


@pytest.fixture
def comparison(evaluation):
    """The undefended target, two defenses of which one is dominated, and a way to train."""
    doubt = evaluation.checks[1]
    smoke = Check("smoke", False, "This was a smoke test.", "It means nothing.", "Run it in full.")
    contenders = (
        make_contender("none", BY_KEY["mindarmour-lr", "static", False], (0.8105, 0.103, 0.0, 1.5)),
        make_contender("defenmi-published", BY_KEY["mindarmour-lr", "adaptive", True], (0.8055, 0.227, 0.334, 0.9)),
        make_contender(
            "top-k=3", BY_KEY["max-confidence", "adaptive", True], (0.71, 0.312, 1.239, 12.345),
            dominated_by=("defenmi-published", "label-smoothing=0.3"),
        ),
        make_contender(
            "label-smoothing=0.3", BY_KEY["nn", "adaptive", True], (0.79, 0.15, 0.456, 0.8), in_training=True
        ),
    )  # fmt: skip
    return Comparison(
        dataset="location",
        synthetic=False,
        smoke=False,
        seed=7,
        settings={"dataset": "location"},
        versions={"python": "3.11.7"},
        contenders=contenders,
        not_run=(NotRun("dp=1", "training", "VGG16 has batch normalization, which mixes samples"),),
        checks={
            "none": (doubt,),
            "defenmi-published": (evaluation.checks[0], doubt),
            "top-k=3": (doubt, smoke),
            "label-smoothing=0.3": (doubt, smoke),
        },
        timings={"total": 34.5},
    )


STORED = Path(__file__).parent / "version_3"
"""Real results as files of schema 3 hold them: one evaluation and one comparison of Location."""


def as_stored(held):
    """What comes back from a file."""
    return json.loads(json.dumps(held))


@pytest.fixture(scope="session")
def smoke_run(example_run):
    """The folder of a smoke test with all attackers before and behind DefenMI."""
    return example_run / "out"


@pytest.fixture(scope="session")
def examine(tmp_path_factory):
    """Evaluates made-up answers of a model that is surer of its members; `harm` moves the defended ones."""
    from mindefense.data import load_outputs
    from mindefense.evaluation.recorded import evaluate_outputs

    def evaluate(name, *, rows=300, harm=None, sure=3.0, attacks=("confidence", "shokri-label")):
        rng = np.random.default_rng(5)
        is_member = np.arange(2 * rows) < rows
        labels = rng.integers(0, 4, 2 * rows)
        logits = rng.normal(size=(2 * rows, 4)).astype(np.float32)
        logits[np.arange(2 * rows), labels] += np.where(is_member, sure, 1.0)
        held = {"logits": logits, "labels": labels, "is_member": is_member}
        if harm is not None:
            held["defended_logits"] = (logits * (1 - harm)).astype(np.float32)
        path = tmp_path_factory.mktemp("recorded") / f"{name}.npz"
        np.savez(path, **held)
        return evaluate_outputs(load_outputs(path), attacks=attacks)

    return evaluate


@pytest.fixture(scope="session")
def record(examine):
    """What a file holds of such an evaluation."""
    return lambda *given, **options: as_stored(to_json(examine(*given, **options)))


@pytest.fixture(scope="session")
def found(examine):
    """Recorded outputs with a defense, as Python has the evaluation."""
    return examine("answers", harm=0.7)


@pytest.fixture(scope="session")
def found_alone(examine):
    """Recorded outputs without a defense, likewise."""
    return examine("bare")


@pytest.fixture(scope="session")
def recorded(record):
    """Recorded outputs with a defense, which flattens them."""
    return record("answers", harm=0.7)


@pytest.fixture(scope="session")
def recorded_alone(record):
    """Recorded outputs without a defense."""
    return record("bare")


@pytest.fixture(scope="session")
def one_attack(record):
    """One attacker, and the gap attack that is always there, on a model that hardly leaks."""
    return record("calm", sure=1.0, attacks=("max-confidence",))


@pytest.fixture(scope="session")
def stored_comparison():
    """A real comparison of many defenses, of schema 3."""
    return json.loads((STORED / "comparison.json").read_text(encoding="utf-8"))


@pytest.fixture
def kinds(evaluation, comparison, recorded, recorded_alone, one_attack, smoke_run, stored_comparison):
    """What a results or comparison file may hold, by kind."""
    no_roc = dataclasses.replace(evaluation, canaries=evaluation.attacks[3:4])
    return {
        "smoke run": json.loads((smoke_run / "results.json").read_text(encoding="utf-8")),
        "recorded": recorded,
        "recorded alone": recorded_alone,
        "one attack": one_attack,
        "failed checks and canaries": as_stored(to_json(no_roc)),
        "old": json.loads((STORED / "results.json").read_text(encoding="utf-8")),
        "comparison": as_stored(comparison_to_json(comparison)),
        "old comparison": stored_comparison,
    }
