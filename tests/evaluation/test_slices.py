"""Where an attacker succeeds, against counts by hand and planted leaks."""

import csv
import io

import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.evaluation.slices import record_columns, slices_of
from mindefense.metrics import auc, auc_interval, membership_metrics
from mindefense.types import AttackResult, Outputs, Trial


def trial_of(scores, is_member, samples=None, *, name="a", knowledge="none", adversary="static", defended=False):
    metrics = membership_metrics(scores, is_member, threshold=0.5)
    samples = np.arange(len(scores)) if samples is None else samples
    return Trial(AttackResult(name, knowledge, adversary, defended, metrics), scores, 0.5, samples, is_member)


def answers_of(labels, is_member, confidence, predicted, classes=4):
    """Answers with these top confidences for these classes."""
    n = len(labels)
    probs = np.repeat((1 - confidence)[:, None] / (classes - 1), classes, axis=1)
    probs[np.arange(n), predicted] = confidence
    return Outputs(labels, is_member, np.arange(n) + 1000, probs)


def random_case(seed, n=800, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=n)
    is_member = rng.random(n) < 0.5
    confidence = np.where(rng.random(n) < 0.3, 1.0, rng.uniform(0.5, 1.0, n))
    predicted = np.where(rng.random(n) < 0.8, labels, (labels + 1) % classes)
    return answers_of(labels, is_member, confidence, predicted), rng.normal(size=n)


def parts_by_hand(answers, samples):
    """The samples in each part, from the definitions: no name is built the way the code builds it."""
    labels, top = answers.labels[samples], answers.clean_probs[samples].max(axis=1)
    is_correct = answers.clean_probs[samples].argmax(axis=1) == labels
    inside = {f"class {label}": labels == label for label in set(labels.tolist())}
    return inside | {"classified correctly": is_correct, "classified incorrectly": ~is_correct}, top


def test_counts_and_areas_are_those_by_hand():
    answers, scores = random_case(0)
    samples = np.random.default_rng(1).permutation(800)[:500]  # the judged ones, in any order
    trial = trial_of(scores[samples], answers.is_member[samples], samples)
    found = slices_of(trial, answers)
    parts = {part.part: part for part in found.parts}
    wanted, top = parts_by_hand(answers, samples)
    deciles = [part for part in found.parts if part.by == "confidence decile"]
    k = len(found.parts)
    assert k == 4 + len(deciles) + 2
    for name, inside in wanted.items():
        part, is_member, ours = parts[name], trial.is_member[inside], trial.scores[inside]
        assert (part.n_members, part.n_non_members) == (is_member.sum(), (~is_member).sum())
        assert part.auc == auc(ours, is_member)
        assert (part.low, part.high) == auc_interval(ours, is_member, confidence=1 - 0.05 / k)
    assert [part.by for part in found.parts] == ["class"] * 4 + ["confidence decile"] * len(deciles) + [
        "correctness"
    ] * 2
    assert sum(part.n_members + part.n_non_members for part in deciles) == 500
    saturated = [part for part in deciles if part.part.endswith("(confidence 1.00)")]
    assert [part.n_members + part.n_non_members for part in saturated] == [(top == 1).sum()]
    assert (found.attack, found.knowledge, found.adversary, found.defended) == ("a", "none", "static", False)


@pytest.mark.parametrize(
    ("confidence", "wanted"),
    [
        (
            np.linspace(0.5, 0.6, 20),
            [
                "decile 1 (confidence 0.50–0.51)",
                *[f"decile {d}" for d in range(2, 10)],
                "decile 10 (confidence 0.59–0.60)",
            ],
        ),
        (np.ones(20), ["deciles 1–10 (confidence 1.00)"]),
        (
            np.repeat([0.5, 0.75, 1.0], [4, 2, 14]),
            ["deciles 1–2 (confidence 0.50)", "decile 3 (confidence 0.75)", "deciles 4–10 (confidence 1.00)"],
        ),
        (
            np.repeat([0.5, 0.99996, 1.0], [5, 1, 14]),  # the third decile would cut the 0.99996 off its like
            ["deciles 1–3 (confidence 0.50–0.99996)", "deciles 4–10 (confidence 1.00)"],
        ),
        (np.array([0.5, 0.75]), ["deciles 1–5 (confidence 0.50)", "deciles 6–10 (confidence 0.75)"]),
    ],
)
def test_equal_confidences_are_one_part(confidence, wanted):
    n = len(confidence)
    is_member = np.arange(n) % 2 == 0
    order = np.random.default_rng(2).permutation(n)
    answers = answers_of(np.zeros(n, int), is_member, confidence[order], np.zeros(n, int))
    parts = [part.part for part in slices_of(trial_of(np.arange(n) * 1.0, is_member), answers).parts]
    found = [name for name in parts if name.startswith("decile")]
    assert len(found) == len(wanted)
    for name, start in zip(found, wanted, strict=True):
        assert name.startswith(start)


def test_a_part_of_one_kind_has_no_area_and_does_not_widen_the_others():
    is_member = np.array([True, True, False, True, False, True, False])
    labels = np.array([0, 0, 1, 1, 1, 1, 1])
    answers = answers_of(labels, is_member, np.full(7, 0.75), labels)
    scores = np.arange(7.0)
    found = slices_of(trial_of(scores, is_member), answers)
    first, second, every, correct = found.parts
    assert (first.part, first.n_members, first.n_non_members) == ("class 0", 2, 0)
    assert first.auc is first.low is first.high is None
    assert (second.n_members, second.n_non_members) == (2, 3)
    assert second.auc == pytest.approx(3 / 6)
    assert (every.part, correct.part) == ("deciles 1–10 (confidence 0.75)", "classified correctly")  # none incorrectly
    assert (correct.low, correct.high) == auc_interval(scores, is_member, confidence=1 - 0.05 / 3)
    assert found.worst is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_leak_in_one_class_is_the_worst_part(sign):
    answers, scores = random_case(3)
    scores = np.where(answers.labels == 2, scores + sign * 2.5 * answers.is_member, scores)
    worst = slices_of(trial_of(scores, answers.is_member), answers).worst
    assert worst is not None
    assert (worst.part, worst.by) == ("class 2", "class")
    assert (worst.low > 0.8) if sign > 0 else (worst.high < 0.2)


def test_the_worst_part_is_judged_by_the_near_end_of_its_interval():
    """Four samples told apart without a mistake are less than two hundred told apart with some."""
    labels = np.repeat([0, 1], [8, 200])
    is_member = np.arange(208) % 2 == 0
    rng = np.random.default_rng(4)
    scores = np.where(labels == 0, is_member, rng.normal(size=208) + 1.5 * is_member)
    found = slices_of(trial_of(scores.astype(float), is_member), answers_of(labels, is_member, np.ones(208), labels))
    assert found.parts[0].auc == 1.0
    assert found.worst is not None
    assert found.worst.part != "class 0"


def test_scores_that_say_nothing_have_no_worst_part():
    worst = [
        slices_of(trial_of(scores, answers.is_member), answers).worst for answers, scores in map(random_case, range(30))
    ]
    assert sum(part is not None for part in worst) <= 4  # 5 % of 30 are expected at most


def test_records_hold_a_row_a_sample_and_nothing_for_those_not_judged():
    is_member = np.array([True, True, False, False])
    answers = answers_of(np.array([0, 1, 2, 3]), is_member, np.array([0.5, 0.75, 0.625, 1.0]), np.array([0, 1, 2, 0]))
    defended = np.full((4, 4), 0.25)
    trials = [
        trial_of(np.array([0.1, 0.9]), np.array([False, True]), np.array([3, 0]), name="lr", knowledge="auditor"),
        trial_of(np.array([-np.inf, 1.0, 0.0, 0.5]), is_member, name="gap", defended=True),
    ]
    answers = Outputs(answers.labels, is_member, answers.indices, answers.clean_probs, defended)
    columns = record_columns(trials, answers)
    assert {name: column.tolist() for name, column in columns.items()} == {
        "index": [1000, 1001, 1002, 1003],
        "label": [0, 1, 2, 3],
        "is_member": [True, True, False, False],
        "predicted": [0, 1, 2, 0],
        "classified_rightly": [True, True, True, False],
        "confidence": [0.5, 0.75, 0.625, 1.0],
        "true_confidence": [0.5, 0.75, 0.625, 0.0],
        "defended_confidence": [0.25] * 4,
        "defended_true_confidence": [0.25] * 4,
        "lr|auditor|static|undefended": [0.9, None, None, 0.1],
        "gap|none|static|defended": [-np.inf, 1.0, 0.0, 0.5],
    }
    text = io.StringIO()
    csv.writer(text).writerow([column[1] for column in columns.values()])
    assert text.getvalue().strip() == "1001,1,True,1,True,0.75,0.75,0.25,0.25,,1.0"
    undefended = Outputs(answers.labels, is_member, answers.indices, answers.clean_probs)
    assert not any("defended_" in name for name in record_columns([], undefended))


def test_trials_of_other_rows_are_refused():
    answers, scores = random_case(5)
    trial = trial_of(scores, answers.is_member)
    with pytest.raises(InputError, match=r"two of a\|none\|static\|undefended"):
        record_columns([trial, trial], answers)
    for samples, message in ((np.arange(800) + 1, "positions 0 … 799"), (np.arange(800)[::-1], "not in the data set")):
        wrong = trial_of(scores, answers.is_member, samples)
        for ask in (lambda wrong: slices_of(wrong, answers), lambda wrong: record_columns([wrong], answers)):
            with pytest.raises(InputError, match=message):
                ask(wrong)
