"""Who is fitted and scored on what: seen through an attack that writes down all that it is given."""

import dataclasses

import numpy as np
import pytest

from mindefense.attacks import Attack, GapAttack
from mindefense.errors import InputError
from mindefense.evaluation import Doors, Rows, conclude, evaluate_attack
from mindefense.metrics import membership_metrics
from mindefense.target import Target
from mindefense.types import AttackResult, Samples


class Recorder(Attack):
    """Scores by the first feature and writes down who fitted and scored what through which door."""

    name = "recorder"
    threshold_ = 1.5

    def __init__(self, log, needs_fit=True):
        self.log = log
        self.needs_fit = needs_fit
        self.log.append(("make", self))

    def fit(self, target, members, non_members):
        self.log.append(("fit", self, target, members, non_members))
        return self

    def score(self, target, samples):
        self.log.append(("score", self, target, samples))
        return target.query(samples.features)[:, 0].astype(np.float64)


def samples(first, n=4):
    features = np.arange(first, first + n, dtype=np.float32)[:, None]
    return Samples(features, np.zeros(n, np.int32), np.arange(first, first + n))


def door(sign=1.0):
    return Target(lambda features: sign * features - 12)


FIT, EVAL = Rows(samples(0), samples(4)), Rows(samples(12, 3), samples(8))


def run(log, *, fit_on, target, needs_fit=True, knowledge="auditor", fit_rows=FIT, eval_rows=EVAL):
    return evaluate_attack(
        lambda: Recorder(log, needs_fit),
        knowledge=knowledge,
        fit_on=fit_on,
        fit_rows=fit_rows,
        target=target,
        eval_rows=eval_rows,
    )


def calls(log, kind, attack):
    return [entry[2:] for entry in log if entry[0] == kind and entry[1] is attack]


@pytest.mark.parametrize("own_model", [False, True])
def test_static_is_fitted_before_and_adaptive_behind_the_defense(own_model):
    log, target = [], Doors(door(), door(-1))
    fit_on = Doors(door(), door(-1)) if own_model else target
    knowledge = "shadow" if own_model else "auditor"
    results, fitted = run(log, fit_on=fit_on, target=target, knowledge=knowledge)

    assert list(fitted) == ["static", "adaptive"]
    assert fitted["static"] is not fitted["adaptive"]
    assert calls(log, "fit", fitted["static"]) == [(fit_on.clean, FIT.members, FIT.non_members)]
    assert calls(log, "fit", fitted["adaptive"]) == [(fit_on.defended, FIT.members, FIT.non_members)]
    assert calls(log, "score", fitted["static"]) == [
        (target.clean, EVAL.members),
        (target.clean, EVAL.non_members),
        (target.defended, EVAL.members),
        (target.defended, EVAL.non_members),
    ]
    assert calls(log, "score", fitted["adaptive"]) == [
        (target.defended, EVAL.members),
        (target.defended, EVAL.non_members),
    ]
    assert [(result.adversary, result.defended) for result in results] == [
        ("static", False),
        ("static", True),
        ("adaptive", True),
    ]
    assert {(result.name, result.knowledge) for result in results} == {("recorder", knowledge)}


def test_metrics_are_those_of_the_scores_and_the_threshold():
    results, _ = run([], fit_on=Doors(door()), target=Doors(door(), door(-1)))
    # Members 12, 13, 14 score 0, 1, 2 and the non-members 8 … 11 score -4 … -1; the defense turns the order round.
    is_member = np.arange(7) < 3
    expected = [
        membership_metrics(np.array([0.0, 1, 2, -4, -3, -2, -1]), is_member, threshold=1.5),
        membership_metrics(np.array([-24.0, -25, -26, -20, -21, -22, -23]), is_member, threshold=1.5),
    ]
    assert [result.metrics for result in results] == expected
    assert [result.metrics.auc for result in results] == [1.0, 0.0]
    assert results[0].metrics.recall == 1 / 3


def test_without_a_defense_there_is_the_undefended_result_alone():
    log = []
    results, fitted = run(log, fit_on=Doors(door(), door()), target=Doors(door()))
    assert [(result.adversary, result.defended) for result in results] == [("static", False)]
    assert list(fitted) == ["static"]
    assert len(calls(log, "score", fitted["static"])) == 2


def test_without_a_defended_model_to_fit_on_nobody_adapts():
    results, fitted = run([], fit_on=Doors(door()), target=Doors(door(), door()))
    assert [(result.adversary, result.defended) for result in results] == [("static", False), ("static", True)]
    assert list(fitted) == ["static"]


def test_an_attack_that_fits_nothing_does_not_adapt_and_may_be_judged_on_all_rows():
    target = Doors(door(), door())
    results, fitted = run(
        [], fit_on=target, target=target, needs_fit=False, knowledge="none", fit_rows=EVAL, eval_rows=EVAL
    )
    assert [(result.adversary, result.defended) for result in results] == [("static", False), ("static", True)]
    assert list(fitted) == ["static"]


@pytest.mark.parametrize(
    ("fit_rows", "eval_rows", "row"),
    [
        (FIT, Rows(samples(3), samples(20)), 3),
        (FIT, Rows(samples(20), samples(7)), 7),
        (FIT, Rows(samples(5), samples(20)), 5),  # a member of one half that is a non-member of the other
        (FIT, Rows(samples(20), samples(-2)), 0),
    ],
)
def test_a_row_to_fit_on_must_not_be_judged(fit_rows, eval_rows, row):
    log = []
    with pytest.raises(InputError, match=rf"first is row {row}\b") as caught:
        run(log, fit_on=Doors(door()), target=Doors(door()), fit_rows=fit_rows, eval_rows=eval_rows)
    assert "\n" not in str(caught.value)
    assert [entry[0] for entry in log] == ["make"]


@pytest.mark.parametrize("knowledge", ["", "Auditor", "static", "adaptive"])
def test_unknown_knowledge(knowledge):
    log = []
    with pytest.raises(InputError, match="none or auditor or shadow") as caught:
        run(log, fit_on=Doors(door()), target=Doors(door()), knowledge=knowledge)
    assert repr(knowledge) in str(caught.value)
    assert log == []


# --------------------------------------------------------------------------------------------------------------- halves


@pytest.mark.parametrize("sizes", [(10, 10), (11, 6), (2, 3)])
def test_halves_share_no_row_and_lose_none(sizes):
    rows = Rows(samples(0, sizes[0]), samples(100, sizes[1]))
    halves = rows.divide(seed=5)
    for kind, n in zip(("members", "non_members"), sizes, strict=True):
        whole = getattr(rows, kind).indices
        first, second = (getattr(half, kind) for half in halves)
        assert (len(first), len(second)) == (n // 2, n - n // 2)
        assert sorted([*first.indices, *second.indices]) == whole.tolist()
        for half in (first, second):
            np.testing.assert_array_equal(half.features[:, 0], half.indices)  # rows were moved whole


@pytest.mark.parametrize(("n", "fitted"), [(10, 8), (5, 4), (30, 24), (150, 120), (5000, 4000), (9, 7), (4, 3)])
def test_four_fifths_share_no_row_and_lose_none(n, fitted):
    rows = Rows(samples(0, n), samples(10_000, 2 * n))
    fit, judged = rows.divide(seed=5, share=0.8)
    assert (len(fit.members), len(judged.members)) == (fitted, n - fitted)
    assert len(fit.non_members) + len(judged.non_members) == 2 * n
    for kind in ("members", "non_members"):
        first, second = getattr(fit, kind), getattr(judged, kind)
        assert sorted([*first.indices, *second.indices]) == getattr(rows, kind).indices.tolist()
        np.testing.assert_array_equal(second.features[:, 0], second.indices)
    again, other = rows.divide(seed=5, share=0.8), rows.divide(seed=6, share=0.8)
    np.testing.assert_array_equal(again[1].members.indices, judged.members.indices)
    assert n < 9 or set(other[1].non_members.indices) != set(judged.non_members.indices)


def test_every_row_may_come_into_either_part():
    rows = Rows(samples(0, 10), samples(100, 10))
    for position in (0, 1):
        drawn = [rows.divide(seed, share=0.8)[position].members.indices for seed in range(40)]
        assert set(np.concatenate(drawn)) == set(range(10))


def test_halves_are_seeded():
    rows = Rows(samples(0, 40), samples(100, 40))

    def drawn(seed):
        return [half.members.indices.tolist() + half.non_members.indices.tolist() for half in rows.divide(seed)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    first = drawn(1)[0]
    assert first[:20] != list(range(20))
    assert [row - 100 for row in first[20:]] != first[:20]  # the two kinds are drawn independently


# ------------------------------------------------------------------------------------------------------------- conclude


def result(name, balanced, adversary="static", defended=True, *, triple=(0.5, 0.5, 0.5)):
    metrics = membership_metrics([1.0, 0.0], [True, False], threshold=0.5)
    accuracy, precision, recall = triple
    metrics = dataclasses.replace(
        metrics, balanced_accuracy=balanced, accuracy=accuracy, precision=precision, recall=recall
    )
    return AttackResult(name, "none" if name == "gap" else "auditor", adversary, defended, metrics)


GAP = result("gap", 0.55)


@pytest.mark.parametrize(
    ("others", "best"),
    [
        ([result("a", 0.7), result("a", 0.6, "adaptive")], ("a", "static", 0.7)),
        ([result("a", 0.6), result("a", 0.7, "adaptive")], ("a", "adaptive", 0.7)),
        ([result("a", 0.6), result("b", 0.65), result("a", 0.64, "adaptive")], ("b", "static", 0.65)),
        ([result("a", 0.4), result("b", 0.54)], ("gap", "static", 0.55)),
        ([result("a", 0.9, defended=False), result("gap", 0.8, defended=False)], ("gap", "static", 0.55)),
    ],
)
def test_strongest_is_the_maximum_over_static_and_adaptive(others, best):
    for results in ([GAP, *others], [*others, GAP]):
        verdict = conclude(results, defended=True)
        strongest = verdict.strongest
        assert (strongest.name, strongest.adversary, strongest.metrics.balanced_accuracy) == best
        assert strongest.defended
        assert verdict.gap_accuracy == 0.55
        assert not verdict.leaks


def test_each_state_has_a_verdict_of_its_own():
    before = [result("gap", 0.8, defended=False), result("a", 0.9, defended=False, triple=(0.9, 0.9, 0.9))]
    after = [result("gap", 0.7), result("a", 0.6)]
    for results in (before + after, after + before):
        assert conclude(results, defended=False).strongest is before[1]
        assert conclude(results, defended=False).gap_accuracy == 0.8
        assert conclude(results, defended=False).leaks
        assert conclude(results, defended=True).strongest is after[0]
        assert not conclude(results, defended=True).leaks


@pytest.mark.parametrize("triple", [(0.7, 0.7, 0.7), (0.61, 0.9, 0.61)])
def test_one_leaking_attacker_is_enough_even_if_it_is_not_the_strongest(triple):
    results = [GAP, result("a", 0.52, triple=triple), result("b", 0.9)]
    assert conclude(results, defended=True).leaks
    assert conclude(results, defended=True).strongest.name == "b"


@pytest.mark.parametrize("results", [[], [result("a", 0.9)], [result("gap", 0.9, defended=False)]])
def test_no_verdict_without_the_gap_attack(results):
    with pytest.raises(InputError, match="gap attack"):
        conclude(results, defended=True)


def test_gap_attack_through_the_protocol_equals_a_hand_count():
    def says(features):
        return np.where(features > 0, np.log([[0.1, 0.9]]), np.log([[0.9, 0.1]])).astype(np.float32)

    def kind(*values):
        features = np.array(values, np.float32)[:, None]
        return Samples(features, np.ones(len(values), np.int32), np.arange(len(values)))

    rows = Rows(kind(1, 2, 3, -1), kind(-1, -2, 3, -4, -5))
    results, _ = evaluate_attack(
        GapAttack,
        knowledge="none",
        fit_on=Doors(Target(says)),
        fit_rows=rows,
        target=Doors(Target(says)),
        eval_rows=rows,
    )
    metrics = results[0].metrics
    assert (metrics.recall, metrics.accuracy, metrics.precision) == (3 / 4, 7 / 9, 3 / 4)
    assert metrics.balanced_accuracy == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert conclude(results, defended=False).gap_accuracy == metrics.balanced_accuracy
