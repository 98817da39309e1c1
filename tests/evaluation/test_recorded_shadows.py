"""Recorded answers of shadow models: what is read, what is refused, and what attackers find with them."""

import dataclasses
import json

import numpy as np
import pytest

from mindefense import Rounding, cli
from mindefense.confidence import log_softmax
from mindefense.data import load_outputs, load_shadow_outputs
from mindefense.defenses.registry import DefenseSpec
from mindefense.errors import DataError
from mindefense.evaluation import evaluate_outputs
from mindefense.evaluation.recorded import fit_recorded
from mindefense.targets.bank import assign_rows

N, C, K = 600, 5, 8
ATTACKS = ("confidence", "lira", "rmia", "calibrated", "bank-confidence")


def answers(rng, difficulty, labels, held):
    """Logits of a model that is a little surer of the rows that it was trained on."""
    logits = 0.3 * rng.standard_normal((N, C))
    logits[np.arange(N), labels] += difficulty + 2.0 * held + 0.5 * rng.standard_normal(N)
    return logits.astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("recorded"), np.random.default_rng(0)
    labels, difficulty = rng.integers(0, C, N), 3 * rng.standard_normal(N)
    is_member = np.arange(N) < N // 2
    held = assign_rows(N, N // 2, K, seed=0)
    np.savez(folder / "target.npz", logits=answers(rng, difficulty, labels, is_member), labels=labels,
             is_member=is_member)  # fmt: skip
    shadows = np.stack([answers(rng, difficulty, labels, line) for line in held])
    np.savez(folder / "shadows.npz", logits=shadows.astype(np.float16), in_training=held)
    return folder


def test_attackers_find_with_shadow_models_what_one_threshold_misses(files, tmp_path):
    out = tmp_path / "out"
    typed = ["evaluate", "--outputs", str(files / "target.npz"), "--shadow_outputs", str(files / "shadows.npz")]
    assert cli.main([*typed, "--attacks", ",".join(ATTACKS), "--out", str(out)]) == 0
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    areas = {one["name"]: one["auc"] for one in held["attacks"]}
    for name in ATTACKS[1:]:
        assert areas[name] > areas["confidence"] + 0.1, areas
    assert areas["lira"] > 0.9
    assert held["settings"]["shadows"] == {"online": K}


def test_behind_a_live_defense_shadow_models_are_defended_too(files):
    outputs = load_outputs(files / "target.npz")
    shadows = load_shadow_outputs(files / "shadows.npz", outputs)
    found = evaluate_outputs(outputs, shadows=shadows, attacks=("lira",), defense=Rounding(1))
    kinds = {(one.adversary, one.defended) for one in found.attacks if one.name == "lira"}
    assert kinds == {("static", False), ("static", True), ("adaptive", True)}


def test_behind_a_defense_rows_that_it_was_fitted_on_judge_nobody(files):
    outputs = load_outputs(files / "target.npz")
    shadows = load_shadow_outputs(files / "shadows.npz", outputs)
    defense = fit_recorded(outputs, DefenseSpec.parse("class-mean"))
    found = evaluate_outputs(outputs, shadows=shadows, attacks=("lira",), defense=defense)
    judged = {one.defended: one.metrics.n_members for one in found.attacks if one.name == "lira"}
    assert judged == {False: N // 2, True: N // 4}
    unknown = {one.defended: int(np.isnan(one.separation).sum()) for one in found.risks}
    assert unknown == {False: 0, True: N // 2}


def test_a_recorded_defense_has_no_adaptive_attackers_with_shadow_models(files):
    outputs = load_outputs(files / "target.npz")
    shadows = load_shadow_outputs(files / "shadows.npz", outputs)
    defended = dataclasses.replace(outputs, defended_log_probs=outputs.log_probs)
    found = evaluate_outputs(defended, shadows=shadows, attacks=("lira",))
    assert {(one.adversary, one.defended) for one in found.attacks if one.name == "lira"} == {
        ("static", False), ("static", True)}  # fmt: skip


def test_recorded_defended_answers_of_the_shadow_models_make_attackers_adapt(files, tmp_path):
    """The defense here turns every answer around, which only an attacker that adapts to it turns back."""
    with np.load(files / "target.npz") as held:
        np.savez(tmp_path / "target.npz", **held, defended_logits=-held["logits"])
    with np.load(files / "shadows.npz") as held:
        np.savez(tmp_path / "shadows.npz", **held, defended_logits=-held["logits"])
    outputs = load_outputs(tmp_path / "target.npz")
    shadows = load_shadow_outputs(tmp_path / "shadows.npz", outputs)
    found = evaluate_outputs(outputs, shadows=shadows, attacks=("calibrated",))
    areas = {(one.adversary, one.defended): one.metrics.auc for one in found.attacks if one.name == "calibrated"}
    assert areas["static", False] > 0.9
    assert areas["adaptive", True] < 0.3  # members have the lower values now, and this attacker expects higher ones
    lira = evaluate_outputs(outputs, shadows=shadows, attacks=("lira",))
    areas = {(one.adversary, one.defended): one.metrics.auc for one in lira.attacks if one.name == "lira"}
    assert areas["adaptive", True] > 0.8
    assert areas["adaptive", True] > areas["static", True]


def test_without_shadow_models_the_option_is_named(files):
    found = evaluate_outputs(load_outputs(files / "target.npz"), attacks=("confidence", "lira"))
    (left,) = (one for one in found.not_run if one.name == "lira")
    assert "--shadow_outputs" in left.reason


def population(folder, to, *, without=(), **changed):
    """The files with answers to 300 rows that no model was trained on, of which the first half is hard."""
    rng, z = np.random.default_rng(9), 300
    labels = rng.integers(0, C, z)
    easy = np.where(np.arange(z) < z // 2, -2.0, 4.0)

    def of_one(shift):
        logits = 0.3 * rng.standard_normal((z, C))
        logits[np.arange(z), labels] += easy + shift + 0.5 * rng.standard_normal(z)
        return logits.astype(np.float32)

    with np.load(folder / "shadows.npz") as held:
        arrays = {**held, "population_logits": np.stack([of_one(0) for _ in range(K)]),
                  "target_population_logits": of_one(0), "population_labels": labels, **changed}  # fmt: skip
    np.savez(to / "shadows.npz", **{name: value for name, value in arrays.items() if name not in without})
    return load_outputs(folder / "target.npz"), to / "shadows.npz"


def test_rmia_compares_with_recorded_rows_of_a_population(files, tmp_path):
    outputs, path = population(files, tmp_path)
    shadows = load_shadow_outputs(path, outputs)
    assert shadows.population.log_probs.shape == (K, 300, C)
    found = evaluate_outputs(outputs, shadows=shadows, attacks=("rmia", "lira"), defense=Rounding(1))
    plain = dataclasses.replace(shadows, population=None)
    without = evaluate_outputs(outputs, shadows=plain, attacks=("rmia", "lira"), defense=Rounding(1))
    by, before = ({(one.name, one.adversary, one.defended): one.metrics for one in these.attacks}
                  for these in (found, without))  # fmt: skip
    rmia = by["rmia", "static", False]
    # A share of the population grows with the ratio, so the ranking is the same; the threshold is not.
    assert rmia.auc == pytest.approx(before["rmia", "static", False].auc)
    assert rmia.recall != before["rmia", "static", False].recall
    assert rmia.balanced_accuracy > 0.8
    assert by["rmia", "adaptive", True].auc > 0.6
    assert by["lira", "static", False] == before["lira", "static", False]  # which has no use for a population


def test_the_shares_are_those_of_the_population(files, tmp_path):
    """A target that answers the population twice as surely as all shadow models leaves no row above it."""
    outputs, path = population(files, tmp_path)
    shadows = load_shadow_outputs(path, outputs)
    surer = dataclasses.replace(shadows.population, of_target=np.zeros((300, C), np.float32) - 1e-6)
    found = evaluate_outputs(outputs, shadows=dataclasses.replace(shadows, population=surer), attacks=("rmia",))
    (rmia,) = (one for one in found.attacks if one.name == "rmia")
    assert rmia.metrics.recall < 0.5  # the threshold of the bank is out of reach


def test_behind_recorded_defended_answers_the_population_is_not_used(files, tmp_path):
    outputs, path = population(files, tmp_path)
    with np.load(path) as held:
        np.savez(tmp_path / "both.npz", **held, defended_logits=-held["logits"])
    outputs = dataclasses.replace(outputs, defended_log_probs=log_softmax(-outputs.log_probs))
    found = evaluate_outputs(outputs, shadows=load_shadow_outputs(tmp_path / "both.npz", outputs), attacks=("rmia",))
    assert {(one.adversary, one.defended) for one in found.attacks if one.name == "rmia"} == {
        ("static", False), ("static", True), ("adaptive", True)}  # fmt: skip


POPULATIONS = {
    "no labels": ({"without": ("population_labels",)}, "population_labels: expected the true class of each"),
    "no answers of the target": (
        {"without": ("target_population_logits",)},
        "expected one of target_population_logits.*got none",
    ),
    "fewer models": ({"population_logits": np.zeros((2, 300, C))}, rf"expected \({K}, 300, {C}\), got \(2, 300, {C}\)"),
    "other rows": ({"target_population_logits": np.zeros((7, C))}, rf"expected \(300, {C}\), got \(7, {C}\)"),
    "unknown classes": ({"population_labels": np.full(300, C)}, "population_labels"),
}


@pytest.mark.parametrize("case", POPULATIONS)
def test_a_population_that_does_not_fit_is_refused(files, tmp_path, case):
    changed, message = POPULATIONS[case]
    outputs, path = population(files, tmp_path, **changed)
    with pytest.raises(DataError, match=message):
        load_shadow_outputs(path, outputs)


WRONG = {
    "other rows": ({"logits": np.zeros((4, 7, C), np.float32)}, rf"expected \(K, {N}, {C}\).*same rows"),
    "two forms": ({"probs": np.zeros((4, N, C))}, "expected one of logits, log_probs, probs, got logits, probs"),
    "no matrix": ({"in_training": None}, "in_training: expected a value for each model and row"),
    "half a matrix": ({"in_training": np.zeros((2, N), bool)}, r"in_training: expected \(8, 600\), got \(2, 600\)"),
    "nothing held": ({"in_training": np.zeros((K, N), bool)}, "some of the models were trained on.*about half"),
    "an unknown array": ({"labels": np.zeros(N)}, "unknown array 'labels'"),
    "two defended forms": (
        {"defended_logits": np.zeros((K, N, C)), "defended_probs": np.full((K, N, C), 1 / C)},
        "expected one of defended_logits, defended_log_probs, defended_probs, got defended_logits, defended_probs",
    ),
    "fewer defended models": (
        {"defended_logits": np.zeros((2, N, C))},
        f"models with defended answers: expected {K}, those without the defense, got 2",
    ),
    "not a number": ({"logits": np.full((K, N, C), np.nan, np.float32)}, "model 0: logits"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(name, files, tmp_path):
    changes, words = WRONG[name]
    with np.load(files / "shadows.npz") as held:
        arrays = {key: value for key, value in {**held, **changes}.items() if value is not None}
    np.savez(tmp_path / "shadows.npz", **arrays)
    with pytest.raises(DataError, match=words) as error:
        load_shadow_outputs(tmp_path / "shadows.npz", load_outputs(files / "target.npz"))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(files):
    with pytest.raises(DataError, match="no such file"):
        load_shadow_outputs(files / "none.npz", load_outputs(files / "target.npz"))
