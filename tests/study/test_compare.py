"""Who dominates whom, by contenders made by hand; and what trials and answers make of a contender and a report."""

import dataclasses
import itertools

import numpy as np
import pytest

from mindefense.evaluation.comparison import contender, mark_dominated
from mindefense.evaluation.summary import published_budgets, sharpest_slices, target_facts, utility
from mindefense.evaluation.verdict import verdict_of
from mindefense.metrics import budget_table, membership_metrics, utility_metrics
from mindefense.types import AttackResult, Contender, Outputs, Trial, UtilityMetrics, Verdict

METRICS = membership_metrics([0.9, 0.1], [True, False], threshold=0.5)
BURDEN = {"leak": 0.7, "auc": 0.8, "l1": 0.5, "ece": 0.1, "nll": 1.0, "error": 0.2}


def made(name, **burden):
    """A contender with these burdens; others as in `BURDEN`."""
    has = BURDEN | burden
    metrics = dataclasses.replace(METRICS, balanced_accuracy=has["leak"], auc=1 - has["auc"], two_sided_auc=has["auc"])
    result = AttackResult("a", "auditor", "static", True, metrics)
    return Contender(
        name=name,
        config={},
        in_training=False,
        utility=UtilityMetrics(1 - has["error"], 0, has["l1"], 0.0, 0.0, has["ece"], has["nll"]),
        verdict=Verdict(False, result, 0.0, 1.0, result, 0.0, 1.0, 1, 0.5),
        attacks=(result,),
    )


def dominated(*contenders):
    return {one.name: one.dominated_by for one in mark_dominated(contenders)}


@pytest.mark.parametrize("figure", BURDEN)
def test_less_of_one_burden_and_no_more_of_any_dominates(figure):
    better, worse = made("better", **{figure: BURDEN[figure] - 0.05}), made("worse")
    for order in ((better, worse), (worse, better)):
        assert dominated(*order) == {"better": (), "worse": ("better",)}


@pytest.mark.parametrize(("less", "more"), list(itertools.permutations(BURDEN, 2)))
def test_less_of_one_burden_and_more_of_another_does_not(less, more):
    assert dominated(made("a", **{less: 0.05, more: 1.5}), made("b")) == {"a": (), "b": ()}


def test_equals_do_not_dominate_each_other_nor_rounding_tell_them_apart():
    assert dominated(made("a"), made("b"), made("c", ece=BURDEN["ece"] - 1e-12)) == {"a": (), "b": (), "c": ()}
    assert dominated(made("a", l1=0.4, ece=0.1 + 1e-12), made("b")) == {"a": (), "b": ("a",)}


def test_all_that_dominate_are_named_in_their_order_and_the_dominated_may_dominate():
    contenders = [made("a", leak=0.6), made("b", leak=0.55), made("c", leak=0.65), made("d", leak=0.6, auc=0.95)]
    marked = mark_dominated(contenders)
    assert [one.name for one in marked] == list("abcd")
    assert [one.dominated_by for one in marked] == [("b",), (), ("a", "b"), ("a", "b")]
    assert [dataclasses.replace(one, dominated_by=()) for one in marked] == contenders


def test_undefended_target_is_not_dominated_by_who_costs_something():
    none = made("none", leak=0.99, auc=0.99, l1=0.0, error=0.2)
    assert dominated(none, made("label-only", leak=0.6, auc=0.6, l1=0.4))["none"] == ()
    assert dominated() == {}


def test_marks_of_before_are_forgotten():
    old = dataclasses.replace(made("a"), dominated_by=("gone",))
    assert dominated(old) == {"a": ()}


# ------------------------------------------------------------------------------------------------- trials and answers

N = 40
LABELS = (np.arange(N) % 4).astype(np.int32)
IS_MEMBER = np.arange(N) < N // 2


def probs(seed):
    return np.random.default_rng(seed).dirichlet(np.ones(4), N)


def answers(*, defended):
    return Outputs(LABELS, IS_MEMBER, np.arange(N) + 1000, probs(0), probs(1) if defended else None)


def trial(name, seed, *, knowledge="auditor", adversary="static", defended=False, order=None):
    order = np.arange(N) if order is None else order
    scores = np.random.default_rng(seed).random(N)[order]
    metrics = membership_metrics(scores, IS_MEMBER[order], threshold=0.5)
    result = AttackResult(name, knowledge, adversary, defended, metrics)
    return Trial(result, scores, 0.5, order, IS_MEMBER[order])


@pytest.mark.parametrize("defended", [False, True])
@pytest.mark.parametrize("in_training", [False, True])
def test_contender_has_the_verdict_and_the_cost_of_its_state(defended, in_training):
    trials = [trial("gap", 0, defended=defended), trial("a", 1, defended=defended), trial("b", 2, defended=defended)]
    one = contender("x=1", {"x": 1}, trials, answers(defended=defended), in_training=in_training)
    assert (one.name, one.config, one.in_training, one.dominated_by) == ("x=1", {"x": 1}, in_training, ())
    assert one.attacks == tuple(trial.result for trial in trials)
    assert one.verdict == verdict_of(trials, defended=defended)
    assert one.utility == utility_metrics(probs(1 if defended else 0), LABELS, clean_probs=probs(0))
    assert (one.utility.mean_l1 > 0) == defended


def test_contender_trained_otherwise_costs_what_its_answers_are_away_from_the_first_ones():
    one = contender("dp=1", {}, [trial("gap", 0)], answers(defended=True), in_training=True)
    assert one.utility.mean_l1 == pytest.approx(np.abs(probs(1) - probs(0)).sum(axis=1).mean())
    assert not one.verdict.strongest.defended


def test_utility_of_both_states():
    undefended, defended = utility(answers(defended=True))
    assert undefended == utility_metrics(probs(0), LABELS, clean_probs=probs(0))
    assert defended == utility_metrics(probs(1), LABELS, clean_probs=probs(0))
    assert utility(answers(defended=False)) == (undefended, undefended)


def test_target_facts_are_those_of_the_undefended_answers():
    labels = np.where(np.arange(N) < 10, probs(0).argmax(axis=1), LABELS)  # members are known better
    right = probs(0).argmax(axis=1) == labels
    both = dataclasses.replace(answers(defended=True), labels=labels)
    facts = target_facts(both, test_accuracy=None, queries=5)
    assert (facts.member_accuracy, facts.non_member_accuracy) == (right[:20].mean(), right[20:].mean())
    assert facts.member_accuracy != facts.non_member_accuracy
    assert (facts.test_accuracy, facts.queries) == (None, 5)


def test_parts_are_seen_by_the_sharpest_attacker_of_the_state():
    trials = [trial(f"{defended}{seed}", seed, defended=defended) for defended in (False, True) for seed in range(5)]
    for defended in (False, True):
        here = [one.result for one in trials if one.result.defended == defended]
        found = sharpest_slices(trials, answers(defended=True), defended=defended)
        assert found.attack == max(here, key=lambda result: abs(result.metrics.auc - 0.5)).name
        assert found.defended == defended


def nn(seed, **more):
    return trial("nn", seed, knowledge="shadow", **more)


def test_budget_table_is_that_of_the_unaware_shadow_network_in_the_order_of_the_answers():
    rng = np.random.default_rng(9)
    g_clean, g_defended, order = rng.random(N), rng.random(N), rng.permutation(N)
    trials = [nn(0, order=order), nn(1, defended=True), nn(2, defended=True, adversary="adaptive"),
              trial("nn", 3), trial("nn", 4, defended=True), trial("gap", 5)]  # fmt: skip
    both = answers(defended=True)
    called = [(np.random.default_rng(seed).random(N) > 0.5) == IS_MEMBER for seed in (0, 1)]
    assert published_budgets(trials, both, g_clean=g_clean, g_defended=g_defended) == budget_table(
        probs(0), probs(1), correct_clean=called[0], correct_defended=called[1], g_clean=g_clean, g_defended=g_defended
    )
    for lacking in (trials[:1], trials[1:], []):
        assert published_budgets(lacking, both, g_clean=g_clean, g_defended=g_defended) == ()
    assert published_budgets(trials, answers(defended=False), g_clean=g_clean, g_defended=g_defended) == ()
