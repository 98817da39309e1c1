"""The evaluation of a model: on an identity network, whose answers are the rows themselves: leaks are planted."""

import dataclasses
import json

import jsonschema
import numpy as np
import pytest
from mindspore import nn, ops

from mindefense.attacks import MaxConfidenceAttack
from mindefense.attacks.base import ScoreAttack
from mindefense.attacks.registry import AttackSpec
from mindefense.confidence import log_softmax
from mindefense.data.outputs import load_outputs
from mindefense.data.splits import Split
from mindefense.defenses import ClassMean, LabelOnly, LaplaceOutput
from mindefense.errors import InputError
from mindefense.evaluation import EvaluationConfig, EvaluationSets, Scenario, evaluate, evaluate_outputs
from mindefense.metrics import auc
from mindefense.reports.results import schema, to_json
from mindefense.targets.cell import Network
from mindefense.types import LabelledData

CLASSES, N = 6, 120
QUICK = ("confidence", "entropy", "confidence-per-class", "loss")


def make_data(leak=2.0, seed=0):
    """Members of target and shadow are more confident in their label; ``4 N`` rows, a quarter a role."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=4 * N)
    logits = rng.normal(0, 1, (4 * N, CLASSES))
    is_member = np.tile(np.arange(2 * N) < N, 2)
    logits[np.arange(4 * N), labels] += np.where(is_member, 1.5 + leak, 1.5)
    return LabelledData("planted", logits.astype(np.float32), labels.astype(np.int32), CLASSES)


def make_split():
    target, other, attacker, beside = (np.arange(first, first + N) for first in range(0, 4 * N, N))
    return Split(
        target_members=target,
        target_non_members=other,
        defender_members=target,
        defender_non_members=beside,
        eval_members=target,
        eval_non_members=other,
        attacker_members=attacker,
        attacker_non_members=beside,
        name="planted",
        permutation="none",
    )


class Counting(nn.Cell):
    """Answers with what it is asked, and counts the different rows."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def construct(self, x):
        self.seen.extend(row.tobytes() for row in x.asnumpy())
        return x + 0


def network():
    return Network(Counting(), batch_size=N)


def run(data=None, split=None, **more):
    return evaluate(network(), data or make_data(), split or make_split(), **{"attacks": QUICK, **more})


def by_key(evaluation):
    return {(r.name, r.knowledge, r.adversary, r.defended): r.metrics for r in evaluation.attacks}


@pytest.fixture(scope="module")
def found():
    """Behind the labels alone, with a shadow."""
    return run(defense=LabelOnly(), shadow=network())


def test_every_threat_model_is_there_and_named(found):
    expected = {("gap", "none", "static", False), ("gap", "none", "static", True)}
    for name in QUICK:
        for knowledge in ("auditor", "shadow"):
            expected |= {(name, knowledge, "static", False), (name, knowledge, "static", True),
                         (name, knowledge, "adaptive", True)}  # fmt: skip
    assert set(by_key(found)) == expected
    assert found.not_run == ()
    assert found.settings["knowledge"] == ("auditor", "shadow", "online", "offline")


def test_figures_are_those_of_the_planted_leak(found):
    data, metrics = make_data(), by_key(found)
    log_probs = log_softmax(data.features[: 2 * N])
    true = log_probs[np.arange(2 * N), data.labels[: 2 * N]]
    expected = auc(true.astype(float), np.arange(2 * N) < N)
    assert metrics["confidence", "shadow", "static", False].auc == expected
    assert metrics["confidence", "auditor", "static", False].auc == pytest.approx(expected, abs=0.1)
    assert expected > 0.8


def test_behind_labels_alone_nothing_beats_the_gap_attack(found):
    metrics = by_key(found)
    gap = metrics["gap", "none", "static", True]
    assert gap == metrics["gap", "none", "static", False]
    assert metrics["confidence", "shadow", "adaptive", True].auc == gap.auc
    assert found.undefended.strongest.metrics.balanced_accuracy > gap.balanced_accuracy
    assert found.defended.strongest.knowledge in ("none", "auditor", "shadow")
    assert found.defense.undefended.mean_l1 == 0 < found.defense.defended.mean_l1
    assert (found.defense.name, found.defense.noise, found.defense.keeps_labels) == ("label-only", "none", True)


def test_the_headline_is_the_maximum_and_its_interval_allows_for_that(found):
    for verdict, defended in ((found.undefended, False), (found.defended, True)):
        here = [r.metrics for r in found.attacks if r.defended == defended]
        best = verdict.strongest.metrics
        assert best.balanced_accuracy == max(m.balanced_accuracy for m in here)
        assert verdict.sharpest.metrics.two_sided_auc == max(m.two_sided_auc for m in here)
        assert verdict.attackers == len(here)
        assert verdict.strongest_low < best.balanced_accuracy_low
        assert verdict.sharpest_high > verdict.sharpest.metrics.auc_high


def test_slices_records_and_checks_are_about_the_same_rows(found):
    undefended, defended = found.slices
    assert (undefended.defended, defended.defended) == (False, True)
    assert undefended.attack == found.undefended.sharpest.name
    assert found.records["index"].tolist() == [*range(2 * N)]
    judged = found.records["confidence|auditor|adaptive|defended"]
    assert sum(value is not None for value in judged) == N
    names = {check.name for check in found.checks}
    assert {"sample-size", "overlap", "duplicates", "treatment", "labels-changed", "one-way"} <= names
    assert all(check.passed for check in found.checks if check.name in ("overlap", "duplicates", "labels-changed"))


def test_results_fit_the_schema_own_attacks_included(found):
    for evaluation in (found, run(own_attacks={"mine": MaxConfidenceAttack})):
        held = json.loads(json.dumps(to_json(evaluation)))
        jsonschema.Draft202012Validator(schema()).validate(held)
    assert held["settings"]["own_attacks"] == ["mine"]


def test_the_model_is_asked_once_about_a_row_whoever_asks():
    target = network()
    found = evaluate(target, make_data(), make_split(), attacks=QUICK, defense=LabelOnly(), shadow=network())
    first, again = target.cell.seen[: 2 * N], target.cell.seen[2 * N :]
    assert len(set(first)) == 2 * N
    # Then once more, a batch of N, to see whether it repeats itself.
    assert len(again) == N
    assert set(again) < set(first)
    assert found.target.queries == found.defense.queries == 2 * N


@pytest.mark.parametrize("role", ["target", "shadow"])
def test_a_network_that_does_not_repeat_itself_is_not_evaluated(role):
    class Noisy(nn.Cell):
        def construct(self, x):
            return ops.dropout(x, 0.1, training=True)

    networks = {"target": network(), "shadow": network(), role: Network(Noisy())}
    with pytest.raises(InputError, match=r"^network: expected the same answer") as caught:
        evaluate(networks["target"], make_data(), make_split(), attacks=QUICK, shadow=networks["shadow"])
    assert "\n" not in str(caught.value)


NOBODY = np.empty(0, np.int64)


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("eval_members", "split planted eval_members: expected at least one index"),
        ("eval_non_members", "split planted eval_non_members: expected at least one index"),
        ("target_non_members", "split planted target_non_members: expected at least one index"),
        ("attacker_non_members", "split planted attacker_non_members: expected at least one index"),
        ("defender_members", "split planted defender_members: expected at least one index"),
    ],
)
def test_a_role_without_members_or_non_members_is_one_line(role, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        run(split=dataclasses.replace(make_split(), **{role: NOBODY}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["members", "non_members"])
def test_too_few_rows_to_divide_are_one_line(kind):
    split = make_split()
    few = {f"{role}_{kind}": getattr(split, f"{role}_{kind}")[:1] for role in ("target", "defender", "eval")}
    with pytest.raises(
        InputError, match=f"^{kind} to (fit|evaluate) attackers on: expected at least one, got none of 1"
    ):
        run(split=dataclasses.replace(split, **few))


def test_who_asks_for_labels_gets_those_of_the_answers():
    rows = make_data().features[:20]
    data = make_data()
    undefended = Scenario.undefended(network(), EvaluationSets.of(data, make_split(), seed=0), shadow=network())
    for target in (undefended.target, undefended.shadows[0]):
        np.testing.assert_array_equal(target.labels(rows), rows.argmax(axis=1))
    behind = undefended.behind(ClassMean(means()), seed=0)
    for target in (behind.target, behind.shadows[0]):
        np.testing.assert_array_equal(target.labels(rows), target.query(rows).argmax(axis=1))


def test_without_a_leak_no_interval_excludes_one_half():
    """At a confidence that makes a false alarm of any of the eight unlikely, and with a seed that is fixed."""
    found = run(make_data(leak=0.0, seed=3), shadow=network())
    for metrics in by_key(found).values():
        assert metrics.auc_low - 0.03 < 0.5 < metrics.auc_high + 0.03


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"knowledge": ("auditor",)}, {("none", "static"), ("auditor", "static"), ("auditor", "adaptive")}),
        ({"adversary": ("static",)}, {("none", "static"), ("auditor", "static"), ("shadow", "static")}),
        (
            {"adversary": ("adaptive",), "knowledge": ("shadow",)},
            {("none", "static"), ("shadow", "adaptive"), ("shadow", "static")},
        ),
    ],
)
def test_threat_models_are_arguments(arguments, expected):
    found = run(defense=LabelOnly(), shadow=network(), **arguments)
    assert {(r.knowledge, r.adversary) for r in found.attacks} == expected
    if "static" not in arguments.get("adversary", ("static",)):
        assert {r.adversary for r in found.attacks if r.defended and r.knowledge != "none"} == {"adaptive"}


def test_without_a_shadow_its_attackers_are_listed_as_not_run():
    found = run(attacks=("confidence", "nn"))
    assert {(r.name, r.knowledge) for r in found.attacks} == {("gap", "none"), ("confidence", "auditor")}
    assert {(left_out.name, left_out.knowledge) for left_out in found.not_run} == {
        ("confidence", "shadow"),
        ("nn", "shadow"),
    }
    assert found.shadow_accuracy is None


def test_an_attacker_of_ones_own_takes_part():
    class Sum(ScoreAttack):
        name = "sum"
        learns_from = ("auditor",)

        def score(self, target, samples):
            return target.query(samples.features).sum(axis=1).astype(np.float64)

    found = run(attacks={"mine": AttackSpec(lambda context: Sum())}, defense=ClassMean(means()))
    assert [(r.name, r.adversary, r.defended) for r in found.attacks] == [
        ("gap", "static", False), ("mine", "static", False),
        ("gap", "static", True), ("mine", "static", True), ("mine", "adaptive", True),
    ]  # fmt: skip


def means():
    return np.full((CLASSES, CLASSES), 0.1, np.float32) + 0.4 * np.eye(CLASSES, dtype=np.float32)


@pytest.mark.parametrize("noise", ["keyed", "fresh"])
def test_asking_again_is_tried(noise):
    found = run(defense=LaplaceOutput(0.1, CLASSES), noise=noise, attacks=("confidence",))
    check = next(check for check in found.checks if check.name == "same-answer")
    assert check.passed == (noise == "keyed")
    assert ("0 of 128" in check.found) == (noise == "keyed"), check.found
    assert found.defense.noise == noise
    changed = next(check for check in found.checks if check.name == "labels-changed")
    assert changed.passed == (found.defense.defended.label_changes == 0)


def test_the_same_seed_gives_the_same_figures():
    one, other, third = (run(defense=LaplaceOutput(0.1, CLASSES), seed=seed) for seed in (1, 1, 2))
    assert by_key(one) == by_key(other)
    assert by_key(one) != by_key(third)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"attacks": ("gab",)}, "attacks: expected gap, .*got 'gab'"),
        ({"knowledge": ("insider",)}, "knowledge: expected auditor or shadow"),
        ({"knowledge": ()}, "knowledge: expected auditor or shadow"),
        ({"adversary": ("clever",)}, "adversary: expected static or adaptive"),
        ({"noise": "loud"}, "noise: expected keyed or fresh"),
    ],
)
def test_arguments_are_checked(wrong, word):
    with pytest.raises(InputError, match=word) as caught:
        run(**wrong)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="max_queries"):
        EvaluationConfig(max_queries=0)


# ------------------------------------------------------------------------------------------ recorded outputs


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The same answers as a file, with and without those of a defense."""
    folder, data = tmp_path_factory.mktemp("recorded"), make_data()
    logits, labels = data.features[: 2 * N], data.labels[: 2 * N]
    held = {"logits": logits, "labels": labels, "is_member": np.arange(2 * N) < N}
    np.savez(folder / "clean.npz", **held)
    defended = np.full(logits.shape, 1e-6, np.float32)
    defended[np.arange(2 * N), logits.argmax(axis=1)] = 1
    np.savez(folder / "both.npz", **held, defended_probs=defended / defended.sum(axis=1, keepdims=True))
    is_fit = np.arange(2 * N) % 3 == 0
    np.savez(folder / "split.npz", **held, split=np.where(is_fit, "fit", "eval"))
    return folder


def test_recorded_outputs_give_what_the_model_gives(recorded):
    """An auditor that sees the file sees what an auditor of the model sees."""
    outside = evaluate_outputs(load_outputs(recorded / "both.npz"), attacks=QUICK)
    inside = run(defense=LabelOnly(), knowledge=("auditor",))
    assert by_key(outside).keys() == by_key(inside).keys()
    for key, metrics in by_key(inside).items():
        assert by_key(outside)[key].auc == pytest.approx(metrics.auc, abs=1e-9), key
        assert by_key(outside)[key].balanced_accuracy == pytest.approx(metrics.balanced_accuracy, abs=1e-9), key
    assert outside.target.member_accuracy == inside.target.member_accuracy
    assert outside.defense.defended.label_changes == 0
    assert outside.target.test_accuracy is None
    assert outside.dataset == "both.npz"


def test_what_needs_queries_is_listed_with_the_reason(recorded):
    found = evaluate_outputs(load_outputs(recorded / "clean.npz"), attacks=(*QUICK, "label-flips", "averaging-8", "nn"))
    reasons = {(left_out.name, left_out.knowledge): left_out.reason for left_out in found.not_run}
    assert "changed samples" in reasons["label-flips", "auditor"]
    assert "changed samples" in reasons["averaging-8", "auditor"]
    assert ("nn", "shadow") in reasons
    assert found.defense is None
    assert found.defended is None


def test_an_evaluation_by_nobody_but_the_gap_attack_is_refused(recorded):
    """It would look like an all-clear by those who were asked for."""
    outputs = load_outputs(recorded / "clean.npz")
    with pytest.raises(InputError, match=r"one that can take part, got label-flips, averaging-8: .*changed samples"):
        evaluate_outputs(outputs, attacks=("label-flips", "averaging-8"))
    with pytest.raises(InputError, match="got nn: there is no shadow"):
        run(attacks=("nn",))
    assert [r.name for r in evaluate_outputs(outputs, attacks=("gap",)).attacks] == ["gap"]


def test_a_recorded_split_is_kept(recorded):
    found = evaluate_outputs(load_outputs(recorded / "split.npz"), attacks=("confidence",))
    metrics = by_key(found)["confidence", "auditor", "static", False]
    assert (metrics.n_members, metrics.n_non_members) == (80, 80)
    judged = [value is not None for value in found.records["confidence|auditor|static|undefended"]]
    assert judged == (np.arange(2 * N) % 3 != 0).tolist()
    assert found.settings["split"] == "as recorded"


def test_records_carry_the_indices_of_the_file(tmp_path, recorded):
    with np.load(recorded / "clean.npz") as held:
        np.savez(tmp_path / "indexed.npz", **held, index=np.arange(2 * N)[::-1] + 1000)
    found = evaluate_outputs(load_outputs(tmp_path / "indexed.npz"), attacks=("confidence",))
    assert found.records["index"].tolist() == (np.arange(2 * N)[::-1] + 1000).tolist()


def test_evaluation_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        EvaluationConfig().noise = "fresh"  # pyright: ignore[reportAttributeAccessIssue]
