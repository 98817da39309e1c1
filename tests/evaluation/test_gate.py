"""A limit on what may leak: which figure, of whom, on which state of the target."""

import dataclasses
import types

import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.evaluation import Gate, verdict_of
from mindefense.metrics import membership_metrics, tpr_at_fpr
from mindefense.types import AttackResult, RatesByAll, Trial

# Name, scores of members and of non-members; a sample is called a member above 0.5.
KEEN = ("keen", [0.9, 0.8, 0.7, 0.4], [0.6, 0.3, 0.2, 0.1])  # AUC 15/16, balanced accuracy 3/4
UPSIDE_DOWN = ("upside-down", [0.1, 0.2, 0.3], [0.4, 0.45, 0.48])  # AUC 0, balanced accuracy 1/2
IDLE = ("idle", [0.1, 0.9], [0.1, 0.9])


def result(name, members, non_members, *, adversary="static", knowledge="auditor", defended=False):
    is_member = [True] * len(members) + [False] * len(non_members)
    metrics = membership_metrics([*members, *non_members], is_member, threshold=0.5)
    return AttackResult(name, knowledge, adversary, defended, metrics)


def evaluation(*attacks, defense=None, undefended=None, defended=None):
    """All that a gate looks at."""
    return types.SimpleNamespace(attacks=attacks, defense=defense, undefended=undefended, defended=defended)


def identifying(found, scores, is_member):
    """The verdict that an attacker, beside the gap attack, identifies these members."""
    trials = [
        Trial(dataclasses.replace(found, name=name), given, 0.5, np.arange(len(scores)), is_member)
        for name, given in (("gap", np.zeros(len(scores))), (found.name, scores))
    ]
    return verdict_of(trials, defended=found.defended)


@pytest.mark.parametrize(
    ("text", "metric", "limit"),
    [
        ("auc=0.6", "auc", 0.6),
        ("accuracy=.55", "accuracy", 0.55),
        ("advantage=-0.1", "advantage", -0.1),
        ("advantage=-1", "advantage", -1.0),
        ("epsilon=2", "epsilon", 2.0),
        ("tpr@0.1=1e-1", "tpr@0.1", 0.1),
        ("tpr@0.01=0", "tpr@0.01", 0.0),
        ("tpr@0.001=0.05", "tpr@0.001", 0.05),
        ("named=5", "named", 5.0),
    ],
)
def test_metric_and_limit_are_read(text, metric, limit):
    assert Gate.parse(text) == Gate(metric, limit)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "METRIC=LIMIT"),
        ("auc", "METRIC=LIMIT"),
        ("auc=", "METRIC=LIMIT"),
        ("=0.5", "METRIC=LIMIT"),
        ("AUC=0.5", "METRIC=LIMIT"),
        ("auc>0.5", "METRIC=LIMIT"),
        ("recall=0.5", "METRIC=LIMIT"),
        ("tpr=0.5", "METRIC=LIMIT"),
        ("tpr@0.5=0.5", "METRIC=LIMIT"),
        ("auc=much", "a fraction"),
        ("auc=nan", "a fraction"),
        ("auc=inf", "a fraction"),
        ("auc=60", "a fraction"),
        ("auc=-2", "a fraction"),
        ("auc=0.5=0.6", "a fraction"),
        ("named=0.5", "a whole number"),
        ("named=-1", "a whole number"),
        ("named=inf", "a whole number"),
    ],
)
def test_other_texts_are_refused_in_one_line(text, says):
    with pytest.raises(InputError, match=says) as caught:
        Gate.parse(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("gate")
    assert repr(text if says == "METRIC=LIMIT" else text.partition("=")[2]) in message


@pytest.mark.parametrize(
    ("metric", "of", "value"),
    [
        ("auc", KEEN, 15 / 16),
        ("auc", UPSIDE_DOWN, 1.0),
        ("accuracy", KEEN, 3 / 4),
        ("accuracy", UPSIDE_DOWN, 1 / 2),
        ("advantage", KEEN, 1 / 2),
        ("tpr@0.01", KEEN, 3 / 4),
        ("tpr@0.01", UPSIDE_DOWN, 0.0),
    ],
)
def test_value_is_the_figure_of_that_name(metric, of, value):
    assert Gate(metric, 0.5).value(result(*of)) == value


def test_bound_on_epsilon_and_each_rate_are_told_apart():
    found = result("sure", [1.0] * 300, [0.0] * 297 + [1.0] + [2.0] * 2)
    assert Gate("epsilon", 1).value(found) == found.metrics.epsilon_low > 1
    assert [Gate(f"tpr@{fpr}", 0.5).value(found) for fpr in ("0.1", "0.01", "0.001")] == [1.0, 1.0, 0.0]


@pytest.mark.parametrize(("limit", "fails"), [(0.74, True), (0.75, False), (0.76, False)])
def test_limit_itself_passes(limit, fails):
    line = Gate("accuracy", limit).exceeded(evaluation(result(*IDLE), result(*KEEN)))
    assert (line is not None) == fails


def test_line_names_the_worst_attacker_with_what_it_knows():
    attacks = (result(*IDLE), result(*KEEN, knowledge="shadow"), result(*UPSIDE_DOWN))
    accuracy, auc = (Gate(metric, 0.6).exceeded(evaluation(*attacks)) for metric in ("accuracy", "auc"))
    assert accuracy == "accuracy 0.7500 is above 0.6 on the undefended target: keen (shadow, static)"
    assert auc == "auc 1.0000 is above 0.6 on the undefended target: upside-down (auditor, static)"


def test_with_a_defense_the_defended_target_counts_alone():
    before = result(*KEEN)
    after = [result(*IDLE, defended=True), result(*UPSIDE_DOWN, defended=True, adversary="adaptive")]
    found = evaluation(before, *after, defense=object())
    assert Gate("accuracy", 0.6).exceeded(found) is None
    assert Gate("accuracy", 0.49).exceeded(found) is not None
    line = Gate("auc", 0.6).exceeded(found)
    assert line == "auc 1.0000 is above 0.6 on the defended target: upside-down (auditor, adaptive)"


@pytest.mark.parametrize("metric", ["auc", "accuracy", "advantage", "tpr@0.1", "tpr@0.01", "tpr@0.001"])
def test_ends_of_the_interval_lie_around_the_estimate(metric):
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.8, 0.5, 1200), rng.normal(0.3, 0.5, 1200)
    low, estimate, high = (
        Gate(metric, 0.5, by).value(result("a", members, others)) for by in ("low", "estimate", "high")
    )
    assert low < estimate < high


@pytest.mark.parametrize("defended", [False, True])
def test_people_are_counted_as_in_the_verdict(defended):
    members, others = [3.0] * 30 + [0.0] * 970, [4.0, *[1.0] * 999]
    found = result("sure", members, others, defended=defended)
    verdict = identifying(found, np.array([*members, *others]), np.arange(2000) < 1000)
    held = evaluation(found, defense="x" if defended else None, **{"defended" if defended else "undefended": verdict})
    assert Gate("named", 29).worst(held) == (verdict.identifies, 30)
    low, high = (Gate("named", 29, by).worst(held)[1] for by in ("low", "high"))
    assert 10 < low < 30 < high
    line = Gate("named", 29).exceeded(held)
    state = "defended" if defended else "undefended"
    assert line == f"named 30 is above 29 on the {state} target: sure (auditor, static)"
    assert Gate("named", 30).exceeded(held) is None


def test_people_whom_chance_explains_are_not_counted():
    members, others = [3.0] * 8 + [0.0] * 992, [2.0, *[1.0] * 999]
    found = result("lucky", [0.0] * 1000, [1.0] * 1000)
    shuffled = np.random.default_rng(0).normal(size=2000)
    held = evaluation(found, undefended=identifying(found, shuffled, np.arange(2000) < 1000))
    assert Gate("named", 0).exceeded(held) is None
    assert Gate("named", 0, "low").exceeded(held) is None
    assert Gate("named", 0, "high").exceeded(held) is not None
    found = result("few", members, others)
    few = evaluation(found, undefended=identifying(found, np.array([3.0, 0, 1, 1]), np.arange(4) < 2))
    assert Gate("named", 0).worst(few)[1] == 0.0  # with two non-members nothing can be told


def test_the_most_people_are_counted_among_all_rows_where_scores_are_fitted_to_none():
    half = result("sure", [3.0] * 3 + [0.0] * 497, [1.0] * 500)
    everyone = np.array([3.0] * 7 + [0.0] * 993 + [2.0] + [1.0] * 999)
    rates = tuple(tpr_at_fpr(everyone, np.arange(2000) < 1000, fpr=fpr) for fpr in (0.001, 0.01))
    found = dataclasses.replace(half, by_all=RatesByAll(1000, 1000, rates))
    assert 7 < Gate("named", 6, "high").value(found) != Gate("named", 6, "high").value(half)
    assert Gate("tpr@0.01", 0.5).value(found) == 3 / 500  # of the table's rows, as the other figures


def test_a_high_end_fails_where_too_few_rows_judge():
    few = result("idle", [0.6, 0.4] * 5, [0.6, 0.4] * 5)
    assert Gate("accuracy", 0.6).exceeded(evaluation(few)) is None
    line = Gate("accuracy", 0.6, "high").exceeded(evaluation(few))
    assert line is not None
    assert line.startswith("the upper end of accuracy, 0.7")
    assert Gate("named", 5, "high").exceeded(evaluation(few)) is not None
