"""Recorded outputs without true classes: attackers that need none take part, the others are said to be left out."""

import csv
import json

import jsonschema
import numpy as np
import pytest

from mindefense import cli
from mindefense.attacks.registry import ATTACKS, AttackContext
from mindefense.confidence import log_softmax
from mindefense.data import load_outputs
from mindefense.errors import InputError
from mindefense.evaluation import compare_outputs, evaluate_outputs
from mindefense.reports.report import write_report
from mindefense.reports.results import schema, to_json
from mindefense.targets.bank import ShadowBank, assign_rows
from mindefense.targets.base import Target
from mindefense.types import Samples

N, CLASSES = 480, 4
RNG = np.random.default_rng(11)
LABELS = RNG.integers(CLASSES, size=N)
IS_MEMBER = np.arange(N) % 2 == 0
LOGITS = RNG.normal(size=(N, CLASSES))
LOGITS[np.arange(N), LABELS] += np.where(IS_MEMBER, 3.5, 1.5)
SPLIT = np.where(np.arange(N) % 4 < 2, "fit", "eval")
HELD = {"logits": LOGITS, "is_member": IS_MEMBER, "split": SPLIT}
VECTOR_ALONE = ["max-confidence", "entropy", "salem-top3"]


def recorded(folder, **arrays):
    np.savez(folder / "outputs.npz", **{**HELD, **arrays})
    return load_outputs(folder / "outputs.npz")


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    return evaluate_outputs(recorded(tmp_path_factory.mktemp("unlabelled")))


@pytest.fixture(scope="module")
def defended(tmp_path_factory):
    return evaluate_outputs(recorded(tmp_path_factory.mktemp("defended"), defended_logits=LOGITS / 5))


def test_attackers_on_the_vector_alone_find_what_they_find_with_labels(unlabelled, tmp_path):
    labelled = evaluate_outputs(recorded(tmp_path, labels=LABELS), attacks=VECTOR_ALONE)
    assert [result.name for result in unlabelled.attacks] == VECTOR_ALONE
    assert unlabelled.attacks == tuple(result for result in labelled.attacks if result.name != "gap")
    assert labelled.target.member_accuracy is not None
    assert labelled.undefended.gap_accuracy is not None


def test_the_others_are_left_out_for_a_reason(unlabelled):
    named = {(left_out.name, left_out.knowledge): left_out.reason for left_out in unlabelled.not_run}
    for name in ("confidence", "loss", "stacked", "shokri-label", "mindarmour-lr", "entropy-per-class"):
        assert "true classes" in named[name, "auditor"]
    assert "true classes" in named["gap", "none"]
    # What labels would not help is not blamed on them.
    assert "shadow" in named["entropy", "shadow"]
    assert "shadow" in named["confidence", "shadow"]
    assert "changed samples" in named["label-noise", "auditor"]


def test_what_takes_true_classes_is_left_out(unlabelled):
    assert (unlabelled.target.member_accuracy, unlabelled.target.non_member_accuracy) == (None, None)
    assert unlabelled.undefended.gap_accuracy is None
    assert unlabelled.confidences == ()
    assert {part.by for part in unlabelled.slices[0].parts} == {"confidence decile"}
    assert {"label", "classified_rightly", "true_confidence"}.isdisjoint(unlabelled.records)
    assert {"index", "is_member", "predicted", "confidence"} < set(unlabelled.records)
    checks = {check.name: check for check in unlabelled.checks}
    assert {"members", "class-balance"}.isdisjoint(checks)
    assert not checks["labels-match"].passed
    assert "no true classes" in checks["labels-match"].found
    assert "may be larger" in checks["labels-match"].meaning


def test_behind_a_recorded_defense(defended):
    assert [(result.name, result.defended) for result in defended.attacks[:4]] == [
        *((name, False) for name in VECTOR_ALONE), (VECTOR_ALONE[0], True),
    ]  # fmt: skip
    assert defended.change is not None
    cost = defended.defense.defended
    assert (cost.accuracy, cost.ece, cost.nll, cost.label_changes) == (None, None, None, 0)
    assert cost.mean_l1 > 0.1


def test_defended_answers_of_other_rows_are_noticed(tmp_path):
    evaluation = evaluate_outputs(recorded(tmp_path, defended_logits=LOGITS[::-1] / 5), attacks=["entropy"])
    check = next(check for check in evaluation.checks if check.name == "labels-match")
    assert "no true classes" in check.found
    assert "other rows" in check.meaning


@pytest.mark.parametrize("found", ["unlabelled", "defended"])
def test_the_report_says_so_and_holds_no_figure_that_is_none(found, request, tmp_path):
    held = json.loads(json.dumps(to_json(request.getfixturevalue(found))))
    assert held["target"]["member_accuracy"] is None
    write_report(held, tmp_path)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "**Confidence in the true class**: True classes were not recorded" in page
    assert "**Which classes leak most**: True classes were not recorded" in page
    for word in ("None", "nan", "classified correctly and incorrectly", "older version"):
        assert word not in page
    assert ("calibration error and log-loss are unknown" in page) == (found == "defended")
    assert "| accuracy |" not in page.partition("## Cost to the users")[2]


def run(*arguments):
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as left:
        return left.code


def test_the_command(tmp_path, capsys):
    recorded(tmp_path, defended_logits=LOGITS / 5)
    command = ["evaluate", "--outputs", tmp_path / "outputs.npz", "--out", tmp_path / "out"]
    assert run(*command, "--strict") == 3
    said = capsys.readouterr()
    text = " ".join(said.out.split())
    assert "target: true classes not recorded, so attackers that need them did not run" in text
    assert "the gap attack has" not in text
    assert "accuracy –" not in text
    assert "labels-match" in said.err
    with (tmp_path / "out/records.csv").open(newline="", encoding="utf-8") as stream:
        assert "label" not in next(csv.reader(stream))
    assert run(*command, "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["verdict"]["undefended"]["gap_accuracy"] is None
    assert "labels-match" in shown["checks_failed"]


def test_defenses_are_compared(tmp_path):
    attacks, defenses = [*VECTOR_ALONE, "confidence"], ["label-only", "temperature=4"]
    found = compare_outputs(recorded(tmp_path), defenses, attacks=attacks)
    labelled = compare_outputs(recorded(tmp_path, labels=LABELS), defenses, attacks=attacks)
    assert [one.name for one in found.contenders] == ["none", *defenses]
    for one, other in zip(found.contenders, labelled.contenders, strict=True):
        known = [result for result in other.attacks if result.name in VECTOR_ALONE]
        assert list(one.attacks) == known
        assert (one.utility.accuracy, one.utility.ece, one.utility.nll) == (None, None, None)
        assert one.utility.mean_l1 == other.utility.mean_l1
        assert one.verdict.gap_accuracy is None
    left_out = {(one.name, one.knowledge): one.reason for one in found.not_run}
    assert "true classes" in left_out["gap", "none"]
    assert "true classes" in left_out["confidence", "auditor"]


def test_one_of_two_defenses_that_leak_alike_is_dominated_by_distance_alone(tmp_path):
    defenses = ["rounding=6", "rounding=5"]  # both as good as nothing, and the second is further off
    found = {one.name: one for one in compare_outputs(recorded(tmp_path), defenses, attacks=["entropy"]).contenders}
    assert found["rounding=5"].utility.mean_l1 > found["rounding=6"].utility.mean_l1
    assert found["none"].dominated_by == ()
    assert "none" in found["rounding=5"].dominated_by


def test_the_command_compares_and_its_page_holds_no_figure_that_is_none(tmp_path, capsys):
    recorded(tmp_path)
    command = ["compare", "--outputs", tmp_path / "outputs.npz", "--out", tmp_path / "out", "--defenses", "label-only"]
    assert run(*command) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert (
        "true classes not recorded, so attackers that need them did not run; accuracy, ECE and NLL are unknown" in text
    )
    assert "None" not in text
    held = json.loads((tmp_path / "out/comparison.json").read_text(encoding="utf-8"))
    jsonschema.validate(held, schema())
    assert [one["utility"]["accuracy"] for one in held["contenders"]] == [None, None]
    for name in ("comparison.md", "comparison.html"):
        page = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "True classes were not recorded, so accuracy, calibration error and log-loss are unknown" in page
        assert "None" not in page
        assert "accuracy stays at –" not in page


def test_nobody_is_left(tmp_path, capsys):
    recorded(tmp_path)
    command = ["evaluate", "--outputs", tmp_path / "outputs.npz", "--out", tmp_path / "out"]
    assert run(*command, "--attacks", "gap,confidence") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "true classes, which the recorded outputs lack; record them as labels" in said
    with pytest.raises(InputError, match="true classes"):
        evaluate_outputs(load_outputs(tmp_path / "outputs.npz"), attacks=["gap"])


MADE = {name: spec.make(AttackContext()) for name, spec in ATTACKS.items()}


@pytest.mark.parametrize(
    "name", [name for name, attack in MADE.items() if attack.asks == "samples" and attack.learns_from != ("shadow",)]
)
def test_who_needs_labels_looks_at_them(name):
    """Other labels change the scores of those that are said to need them, and of no others."""
    log_probs = log_softmax(LOGITS)
    target = Target(lambda rows: log_probs[rows])

    rng = np.random.default_rng(0)
    others_say = [log_softmax(LOGITS + rng.standard_normal(LOGITS.shape)) for _ in range(4)]
    bank = [Target(lambda rows, answers=answers: answers[rows]) for answers in others_say]
    in_training = assign_rows(N, N // 2, 4, seed=0)

    def scores(labels):
        kinds = [np.flatnonzero((kind == IS_MEMBER) & (SPLIT == "fit")) for kind in (True, False)]
        members, non_members = (Samples(rows, labels[rows], rows) for rows in kinds)
        judged = np.flatnonzero(SPLIT == "eval")
        attack = ATTACKS[name].make(AttackContext(smoke=True))
        if "online" in attack.learns_from:
            attack.fit(ShadowBank(bank, in_training, pool=Samples(np.arange(N), labels, np.arange(N))))
        else:
            attack.fit(target, members, non_members)
        return attack.score(target, Samples(judged, labels[judged], judged))

    others = np.int32((LABELS + np.arange(N) // 7) % CLASSES)
    same = np.array_equal(scores(np.int32(LABELS)), scores(others))
    assert same == (not MADE[name].needs_labels)
