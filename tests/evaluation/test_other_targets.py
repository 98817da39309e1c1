"""Models of a bank in the target's place: closed forms, nulls, targets that leak more, and what is refused."""

import dataclasses
import json
import math

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from mindefense import Rounding, ShadowBank, Target, cli, from_datasets
from mindefense.attacks.registry import AttackContext
from mindefense.data import load_outputs, load_shadow_outputs
from mindefense.errors import InputError
from mindefense.evaluation import evaluate_outputs
from mindefense.evaluation.attackers import attackers_of
from mindefense.evaluation.other_targets import attack_others
from mindefense.evaluation.runner import AttackRunner
from mindefense.evaluation.scenario import EvaluationSets, Scenario
from mindefense.metrics import pooled_rate, spread_of
from mindefense.progress import Quiet
from mindefense.reports.report import write_report
from mindefense.reports.results import schema, to_json
from mindefense.targets.bank import assign_rows

N, K = 400, 12


def recorded(folder, *, leak=2.0, of_target=None, members=None, seed=0):
    """A target and a bank whose log-odds are Gaussian: one higher by `leak` for rows that a model was trained on."""
    rng = np.random.default_rng(seed)
    labels, difficulty = rng.integers(0, 2, N), 3 * rng.standard_normal(N)
    is_member = np.arange(N) < N // 2 if members is None else members
    held = assign_rows(N, N // 2, K, seed=seed)

    def logits(line, by):
        odds = difficulty + by * line + rng.standard_normal(N)
        signed = np.where(labels == 1, odds, -odds)
        return np.column_stack((-signed / 2, signed / 2)).astype(np.float32)

    np.savez(folder / "target.npz", logits=logits(is_member, leak if of_target is None else of_target), labels=labels,
             is_member=is_member)  # fmt: skip
    np.savez(folder / "shadows.npz", logits=np.stack([logits(line, leak) for line in held]), in_training=held)
    outputs = load_outputs(folder / "target.npz")
    return outputs, load_shadow_outputs(folder / "shadows.npz", outputs)


def attacked(folder, *, attacks=("confidence", "lira"), targets=K, defense=None, **world):
    outputs, shadows = recorded(folder, **world)
    return evaluate_outputs(outputs, shadows=shadows, attacks=attacks, targets=targets, defense=defense)


def over(found, name, figure="auc", knowledge="online"):
    attacker = next(one for one in found.other_targets.attackers if (one.name, one.knowledge) == (name, knowledge))
    return attacker.spread(figure)


def test_every_model_is_attacked_as_well_as_the_closed_form_allows(tmp_path):
    """Two Gaussians 2 apart: an AUC of Φ(2 / √2) = .921 if the means are known; those of 5 models are nearly."""
    found = attacked(tmp_path)
    spread = over(found, "lira")
    known_means = 0.5 * (1 + math.erf(1))
    assert len(spread.values) == K
    assert known_means - 0.06 < spread.mean < known_means + 0.005
    assert min(spread.values) > 0.8
    assert spread.place == "within"
    assert spread.target == next(one.metrics.auc for one in found.attacks if one.name == "lira")
    assert over(found, "confidence", knowledge="auditor").mean < 0.75  # the rows differ more than membership does


def test_models_that_tell_nothing_have_a_mean_of_one_half(tmp_path):
    spread = over(attacked(tmp_path, leak=0.0), "lira")
    assert spread.low - 0.01 <= 0.5 <= spread.high + 0.01
    assert spread.deviation < 2 / math.sqrt(N)
    attackers = ("rmia", "calibrated", "bank-confidence")
    found = attacked(tmp_path, leak=0.0, attacks=attackers)
    for name in attackers:
        assert abs(over(found, name).mean - 0.5) < 0.03, name


@pytest.mark.parametrize(("of_target", "place"), [(4.0, "above"), (0.5, "below")])
def test_a_target_unlike_its_bank_is_told_from_it(tmp_path, of_target, place):
    found = attacked(tmp_path, of_target=of_target)
    assert over(found, "lira").place == place
    write_report(to_json(found), tmp_path)
    word = {"above": "leaks more than others", "below": "leaks less than others"}[place]
    assert f"this model {word}" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_behind_a_defense_the_others_are_behind_it_too(tmp_path):
    found = attacked(tmp_path, defense=Rounding(1))
    states = {(one.name, one.adversary, one.defended) for one in found.other_targets.attackers if one.name == "lira"}
    assert states == {("lira", "static", False), ("lira", "static", True), ("lira", "adaptive", True)}
    by_state = {one.defended: one.spread("auc").mean for one in found.other_targets.attackers if one.name == "lira"}
    assert by_state[True] < by_state[False] - 0.05  # one digit of the confidence is less than all


class Counted:
    """An answer to row numbers, which counts how often each model was asked."""

    def __init__(self, logits):
        self.log_probs, self.asked = logits, 0

    def __call__(self, rows):
        self.asked += len(rows)
        return self.log_probs[rows[:, 0].astype(int)]


def scenario(*, seed=0):
    rng = np.random.default_rng(seed)
    held = assign_rows(N, N // 2, K, seed=seed)
    labels = rng.integers(0, 2, N).astype(np.int32)
    features = np.arange(N, dtype=np.float32)[:, None]
    answers = [Counted(np.log(rng.dirichlet((1, 1), N)).astype(np.float32)) for _ in range(K + 1)]
    halves = ((features[part], labels[part]) for part in (slice(N // 2), slice(N // 2, N)))
    data, split = from_datasets(*halves, num_classes=2, name="rows")
    sets = EvaluationSets.of(data, split, seed=seed)
    bank = ShadowBank([Target(one) for one in answers[1:]], held, pool=data.take(np.arange(N)))
    return Scenario(Target(answers[0]), sets, banks={"online": bank}), answers


def test_a_model_is_attacked_without_itself_and_without_its_complement():
    undefended, _ = scenario()
    used = []

    class Looking(AttackRunner):
        def with_target(self, number, others):
            used.append((number, others.tolist()))
            return super().with_target(number, others)

    runner = Looking(attackers_of(("lira",), context=AttackContext()), undefended, progress=False)
    attack_others(runner, runner.run(), K)
    for number, others in used:
        assert sorted({*others, number, number ^ 1}) == list(range(K))
        assert number not in others
        assert number ^ 1 not in others


def test_no_model_is_asked_twice_about_a_row():
    undefended, answers = scenario()
    runner = AttackRunner(attackers_of(("lira", "rmia"), context=AttackContext()), undefended, progress=False)
    attack_others(runner, runner.run(), K)
    assert [one.asked for one in answers] == [N] * (K + 1)


def test_members_and_non_members_are_those_of_the_attacked_model():
    undefended, _ = scenario()
    runner = AttackRunner(attackers_of(("lira",), context=AttackContext()), undefended, progress=False)
    runner.run()
    bank = undefended.banks["online"]
    trial = next(one for one in runner.with_target(3, np.arange(4, K)) if one.result.name == "lira")
    held = bank.trained_on(undefended.sets.everyone.indices())[3]
    assert trial.result.metrics.n_members == held.sum()
    assert trial.result.metrics.n_non_members == (~held).sum()


def test_the_spread_has_the_intervals_of_students_distribution():
    found = spread_of("auc", 0.9, [0.6, 0.7, 0.8])
    assert found.mean == pytest.approx(0.7)
    assert found.deviation == pytest.approx(0.1)
    quantile = 4.302653  # of Student's distribution with two degrees of freedom, at 97.5%
    assert found.high == pytest.approx(0.7 + quantile * 0.1 / math.sqrt(3))
    assert found.usual_high == 1.0  # clipped: 0.7 + 4.30 · 0.1 · √(4/3) is above 1
    assert found.usual_low == pytest.approx(0.7 - quantile * 0.1 * math.sqrt(4 / 3))
    assert found.place == "within"


def test_the_interval_for_one_further_model_holds_it_as_often_as_it_says():
    rng = np.random.default_rng(0)
    drawn = 0.5 + 0.05 * rng.standard_normal((2000, 9))
    inside = [spread_of("auc", one[0], one[1:]).place == "within" for one in drawn]
    assert 0.935 < np.mean(inside) < 0.965


def test_the_pooled_rate_is_that_of_one_threshold_for_all():
    rng = np.random.default_rng(0)
    truth = [rng.random(3000) < 0.5 for _ in range(10)]
    scores = [rng.standard_normal(3000) + 3.0 * one + 0.2 * number for number, one in enumerate(truth)]
    found = pooled_rate(scores, truth, fpr=1e-3)
    every, member = np.concatenate(scores), np.concatenate(truth)
    others = np.sort(every[~member])[::-1]
    threshold = others[math.floor(len(others) * 1e-3)]
    assert found.tpr == np.mean(every[member] > threshold)
    assert found.n_members == member.sum()
    assert found.low < found.tpr < found.high
    assert found.high - found.low > 0.02  # the targets differ, so that another draw of targets has another threshold


def test_a_rate_that_the_rows_cannot_carry_is_none():
    truth = [np.arange(100) < 50] * 8
    assert pooled_rate([np.zeros(100)] * 8, truth, fpr=1e-4) is None


def test_equal_scores_identify_nobody():
    truth = [np.arange(4000) < 2000] * 10
    assert pooled_rate([np.zeros(4000)] * 10, truth, fpr=1e-3).tpr == 0.0


def test_the_command_writes_figures_that_fit_the_schema(tmp_path, capsys):
    recorded(tmp_path)
    out = tmp_path / "out"
    typed = ["evaluate", "--outputs", str(tmp_path / "target.npz"), "--shadow_outputs", str(tmp_path / "shadows.npz")]
    assert cli.main([*typed, "--attacks", "lira,bank-confidence", "--targets", "6", "--out", str(out)]) == 0
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema()).validate(held)
    found = held["other_targets"]
    assert (found["targets"], found["models"]) == (6, K)
    names = {one["name"] for one in found["attackers"]}
    assert names == {"gap", "lira", "bank-confidence"}
    assert "6 other models in this one's place" in " ".join(capsys.readouterr().out.split())
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Other models in this model" in page
    assert "this model leaks more or less than others" in page


@pytest.mark.parametrize(
    ("targets", "models", "message"),
    [
        (K + 1, K, f"targets: expected at most {K}.*got {K + 1}"),
        (5, 4, "targets: expected an online bank of at least 8 models, got 4"),
        (5, 0, "targets: expected an online bank of at least 8 models, got 0"),
        (1, K, "targets: expected 0, or at least 5, got 1"),
    ],
)
def test_a_bank_that_is_too_small_is_named(tmp_path, targets, models, message):
    outputs, shadows = recorded(tmp_path)
    if models < K:
        shadows = dataclasses.replace(
            shadows, log_probs=shadows.log_probs[:models], in_training=shadows.in_training[:models]
        )
    with pytest.raises(InputError, match=message):
        evaluate_outputs(outputs, shadows=shadows if models else None, attacks=("confidence",), targets=targets)


def test_models_of_all_or_none_of_the_rows_are_not_attacked(tmp_path):
    outputs, shadows = recorded(tmp_path)
    held = shadows.in_training.copy()
    held[0], held[3] = False, True
    shadows = dataclasses.replace(shadows, in_training=held)
    found = evaluate_outputs(outputs, shadows=shadows, attacks=("confidence", "lira"), targets=K - 2)
    assert found.other_targets.targets == K - 2
    with pytest.raises(InputError, match=f"targets: expected at most {K - 2}"):
        evaluate_outputs(outputs, shadows=shadows, attacks=("confidence", "lira"), targets=K)


def test_an_attacker_without_enough_models_is_named(tmp_path):
    outputs, shadows = recorded(tmp_path)
    held = shadows.in_training.copy()
    held[2:] = held[[0, 1] * ((K - 2) // 2)]
    held[2:4] = shadows.in_training[2:4]
    said = []
    progress = Quiet()
    progress.say = said.append
    shadows = dataclasses.replace(shadows, in_training=held)
    evaluate_outputs(outputs, shadows=shadows, attacks=("confidence", "lira"), targets=5, progress=progress)
    assert any("not on other targets" in line and "lira" in line for line in said)


def test_a_run_with_too_small_a_bank_ends_before_anything_is_trained(tmp_path, capsys):
    assert cli.main(["run", "--smoke", "--shadows", "4", "--targets", "5", "--out", str(tmp_path / "out")]) == 2
    assert "an online bank of at least 8 models, got 4" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out" / "target.ckpt").exists()
