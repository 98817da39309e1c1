"""Rows of both kinds, who may be judged by which, and what the verdict makes of trials."""

import dataclasses

import numpy as np
import pytest

from mindefense.attacks import Attack, GapAttack
from mindefense.errors import InputError
from mindefense.evaluation import Rows, verdict_of
from mindefense.evaluation.judging import judge
from mindefense.evaluation.scenario import check_disjoint
from mindefense.metrics import auc_interval, balanced_accuracy_interval, membership_metrics
from mindefense.targets.base import Target
from mindefense.types import AttackResult, Samples, Trial


class FirstFigure(Attack):
    """Scores by the first answer and writes down who was scored through which door."""

    name = "first-figure"
    threshold_ = 1.5

    def __init__(self):
        self.scored = []

    def fit(self, target, members, non_members):
        raise AssertionError("who judges does not fit")

    def score(self, target, samples):
        self.scored.append((target, samples))
        return target.query(samples.features)[:, 0].astype(np.float64)


def samples(first, n=4):
    features = np.arange(first, first + n, dtype=np.float32)[:, None]
    return Samples(features, np.zeros(n, np.int32), np.arange(first, first + n))


def door(sign=1.0):
    return Target(lambda features: sign * features - 12)


FIT, EVAL = Rows(samples(0), samples(4)), Rows(samples(12, 3), samples(8))

# ---------------------------------------------------------------------------------------------------------------- judge


@pytest.mark.parametrize(("sign", "auc", "recall"), [(1, 1.0, 1 / 3), (-1, 0.0, 0.0)])
def test_metrics_are_those_of_the_scores_and_the_threshold(sign, auc, recall):
    # Members 12, 13, 14 score 0, 1, 2 and the non-members 8 … 11 score -4 … -1; the defense turns the order round.
    attack, target = FirstFigure(), door(sign)
    trial = judge(attack, target, EVAL, EVAL, name="first", knowledge="shadow", adversary="adaptive", defended=True)
    expected = np.array([0.0, 1, 2, -4, -3, -2, -1] if sign == 1 else [-24.0, -25, -26, -20, -21, -22, -23])
    assert attack.scored == [(target, EVAL.members), (target, EVAL.non_members)]
    np.testing.assert_array_equal(trial.scores, expected)
    assert trial.scores.dtype == np.float64
    np.testing.assert_array_equal(trial.is_member, np.arange(7) < 3)
    assert trial.threshold == 1.5
    metrics = membership_metrics(expected, np.arange(7) < 3, threshold=1.5)
    assert trial.result == AttackResult("first", "shadow", "adaptive", True, metrics)
    assert (trial.result.metrics.auc, trial.result.metrics.recall) == (auc, recall)


class SameFigure(FirstFigure):
    """Its scores are fitted to no rows."""

    fits_scores = False


def test_scores_that_are_fitted_to_no_rows_rank_all_of_them():
    everyone = Rows(samples(12, 6), samples(4, 8))  # scores 0 … 5 and -8 … -1
    rows = Rows(samples(14, 2), samples(4, 3))
    names = {"name": "a", "knowledge": "auditor", "adversary": "static", "defended": False}
    fitted = judge(FirstFigure(), door(), rows, everyone, **names)
    assert fitted.ranked is None
    assert fitted.result.by_all is None
    trial = judge(SameFigure(), door(), rows, everyone, **names)
    assert trial.result == fitted.result  # every figure of the table is of the rows to judge by
    scores, is_member = trial.ranked
    np.testing.assert_array_equal(scores, [*range(6), *range(-8, 0)])
    np.testing.assert_array_equal(is_member, everyone.is_member())
    assert (trial.result.by_all.n_members, trial.result.by_all.n_non_members) == (6, 8)
    assert [rate.fpr for rate in trial.result.by_all.tpr_at_fpr] == [0.001, 0.01]
    assert [rate.tpr for rate in trial.result.by_all.tpr_at_fpr] == [1.0, 1.0]
    alone = judge(SameFigure(), door(), everyone, everyone, **names)
    assert alone.ranked is None
    assert alone.result.by_all is None


def test_samples_of_a_trial_are_positions_among_everyone():
    everyone = Rows(samples(20, 5).take(np.array([4, 0, 3, 1, 2])), samples(3, 4))  # indices 24 20 23 21 22 | 3 4 5 6
    rows = Rows(samples(20, 2), samples(5, 2))
    trial = judge(FirstFigure(), door(), rows, everyone, name="a", knowledge="none", adversary="static", defended=False)
    np.testing.assert_array_equal(trial.samples, [1, 3, 7, 8])
    np.testing.assert_array_equal(everyone.indices()[trial.samples], rows.indices())
    np.testing.assert_array_equal(everyone.is_member()[trial.samples], trial.is_member)


def test_gap_attack_through_the_protocol_equals_a_hand_count():
    def says(features):
        return np.where(features > 0, np.log([[0.1, 0.9]]), np.log([[0.9, 0.1]])).astype(np.float32)

    def kind(first, *values):
        features = np.array(values, np.float32)[:, None]
        return Samples(features, np.ones(len(values), np.int32), first + np.arange(len(values)))

    rows = Rows(kind(0, 1, 2, 3, -1), kind(9, -1, -2, 3, -4, -5))
    trial = judge(
        GapAttack(), Target(says), rows, rows, name="gap", knowledge="none", adversary="static", defended=False
    )
    metrics = trial.result.metrics
    assert (metrics.recall, metrics.accuracy, metrics.precision) == (3 / 4, 7 / 9, 3 / 4)
    assert metrics.balanced_accuracy == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert verdict_of([trial], defended=False).gap_accuracy == metrics.balanced_accuracy


# ------------------------------------------------------------------------------------------------------- check_disjoint


@pytest.mark.parametrize(
    ("fit_rows", "eval_rows", "row", "count"),
    [
        (FIT, Rows(samples(3), samples(20)), 3, 4),
        (FIT, Rows(samples(20), samples(7)), 7, 1),
        (FIT, Rows(samples(5), samples(20)), 5, 3),  # a member of one half that is a non-member of the other
        (FIT, Rows(samples(20), samples(-2)), 0, 2),
    ],
)
def test_a_row_to_fit_on_must_not_be_judged(fit_rows, eval_rows, row, count):
    with pytest.raises(InputError, match=rf"{count} of 8 .* first is row {row}\b") as caught:
        check_disjoint(fit_rows, eval_rows)
    assert "\n" not in str(caught.value)


def test_rows_apart_are_no_matter():
    check_disjoint(FIT, EVAL)
    check_disjoint(FIT, Rows(samples(8), samples(-4)))


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


def test_first_rows_of_either_kind():
    rows = Rows(samples(0, 5), samples(100, 2))
    for count, sizes in ((3, (3, 2)), (1, (1, 1)), (9, (5, 2)), (None, (5, 2))):
        first = rows.first(count)
        assert (len(first.members), len(first.non_members)) == sizes
        np.testing.assert_array_equal(first.members.indices, np.arange(sizes[0]))
        np.testing.assert_array_equal(first.non_members.features[:, 0], 100 + np.arange(sizes[1]))


def test_columns_of_rows_are_members_first():
    rows = Rows(samples(7, 2), dataclasses.replace(samples(1, 3), labels=np.array([4, 5, 6], np.int32)))
    np.testing.assert_array_equal(rows.features()[:, 0], [7, 8, 1, 2, 3])
    np.testing.assert_array_equal(rows.labels(), [0, 0, 4, 5, 6])
    np.testing.assert_array_equal(rows.indices(), [7, 8, 1, 2, 3])
    np.testing.assert_array_equal(rows.is_member(), [True, True, False, False, False])


# --------------------------------------------------------------------------------------------------------- the verdict


def trial(name, balanced, adversary="static", defended=True, *, triple=(0.5, 0.5, 0.5), auc=0.5, seed=0):
    rng = np.random.default_rng(seed)
    scores, is_member = rng.random(40), np.arange(40) < 20
    accuracy, precision, recall = triple
    metrics = dataclasses.replace(
        membership_metrics(scores, is_member, threshold=0.5),
        balanced_accuracy=balanced,
        accuracy=accuracy,
        precision=precision,
        recall=recall,
        auc=auc,
        two_sided_auc=max(auc, 1 - auc),
    )
    result = AttackResult(name, "none" if name == "gap" else "auditor", adversary, defended, metrics)
    return Trial(result, scores, 0.5, np.arange(40), is_member)


GAP = trial("gap", 0.55)


@pytest.mark.parametrize(
    ("others", "best"),
    [
        ([trial("a", 0.7), trial("a", 0.6, "adaptive")], ("a", "static", 0.7)),
        ([trial("a", 0.6), trial("a", 0.7, "adaptive")], ("a", "adaptive", 0.7)),
        ([trial("a", 0.6), trial("b", 0.65), trial("a", 0.64, "adaptive")], ("b", "static", 0.65)),
        ([trial("a", 0.4), trial("b", 0.54)], ("gap", "static", 0.55)),
        ([trial("a", 0.9, defended=False), trial("gap", 0.8, defended=False)], ("gap", "static", 0.55)),
    ],
)
def test_strongest_is_the_maximum_over_static_and_adaptive(others, best):
    for trials in ([GAP, *others], [*others, GAP]):
        verdict = verdict_of(trials, defended=True)
        strongest = verdict.strongest
        assert (strongest.name, strongest.adversary, strongest.metrics.balanced_accuracy) == best
        assert strongest.defended
        assert verdict.gap_accuracy == 0.55
        assert verdict.attackers == sum(one.result.defended for one in trials)
        assert not verdict.tutorial_rule


@pytest.mark.parametrize(
    ("areas", "best"), [((0.6, 0.7), "b"), ((0.6, 0.35), "b"), ((0.6, 0.45), "a"), ((0.52, 0.51), "gap")]
)
def test_sharpest_is_the_maximum_of_the_two_sided_area(areas, best):
    a, b = (trial(name, 0.5, auc=area) for name, area in zip("ab", areas, strict=True))
    gap = trial("gap", 0.9, auc=0.47)
    verdict = verdict_of([gap, a, b, trial("c", 0.5, auc=0.99, defended=False)], defended=True)
    assert verdict.sharpest.name == best
    assert verdict.strongest.name == "gap"


@pytest.mark.parametrize("others", [0, 1, 9])
def test_intervals_hold_for_all_attackers_together(others):
    crowd = [trial(f"a{k}", 0.5, auc=0.5) for k in range(others)]
    strong, sharp = trial("gap", 0.9, seed=1), trial("sharp", 0.5, auc=0.1, seed=2)
    verdict = verdict_of([strong, *crowd, sharp, trial("gap", 0.99, defended=False)], defended=True)
    confidence = 1 - 0.025 / (others + 2)
    wanted = balanced_accuracy_interval(strong.scores, strong.is_member, threshold=0.5, confidence=confidence)
    assert (verdict.strongest_low, verdict.strongest_high) == wanted
    assert (verdict.sharpest_low, verdict.sharpest_high) == auc_interval(
        sharp.scores, sharp.is_member, confidence=confidence
    )


def test_members_are_identified_among_all_rows_where_scores_are_fitted_to_none():
    rng = np.random.default_rng(0)
    is_member = np.arange(2000) < 1000
    scores = rng.normal(size=2000)
    scores[:20] += 20
    half = np.arange(2000) % 2 == 0
    metrics = membership_metrics(scores[half], is_member[half], threshold=0.0)
    one = Trial(
        AttackResult("a", "auditor", "static", False, metrics), scores[half], 0.0, np.flatnonzero(half), is_member[half]
    )
    gap = dataclasses.replace(one, result=dataclasses.replace(one.result, name="gap"))
    by_half = verdict_of([gap, one], defended=False).identified
    assert (by_half.n_members, by_half.n_non_members) == (500, 500)
    by_all = verdict_of([gap, dataclasses.replace(one, ranked=(scores, is_member))], defended=False)
    assert by_all.identifies.name == "a"
    assert by_all.identified.n_members == 1000
    assert by_all.identified.identified >= 20
    assert by_all.identified.p_value < by_half.p_value


def test_attackers_with_the_same_scores_are_one_where_members_are_identified():
    rng = np.random.default_rng(1)
    is_member = np.arange(400) < 200
    scores = rng.normal(size=400)
    metrics = membership_metrics(scores, is_member, threshold=0.0)

    def named(name, scores):
        return Trial(AttackResult(name, "none", "static", False, metrics), scores, 0.0, np.arange(400), is_member)

    alone = verdict_of([named("gap", scores)], defended=False).identified
    same = verdict_of([named(name, scores) for name in ("gap", "a", "b")], defended=False).identified
    other = verdict_of(
        [named("gap", scores), named("a", scores - 1), named("b", 2 * scores)], defended=False
    ).identified
    assert same == alone
    assert other.identified == alone.identified
    assert other.share_low <= alone.share_low


def test_each_state_has_a_verdict_of_its_own():
    before = [trial("gap", 0.8, defended=False), trial("a", 0.9, defended=False, triple=(0.9, 0.9, 0.9))]
    after = [trial("gap", 0.7), trial("a", 0.6)]
    for trials in (before + after, after + before):
        assert verdict_of(trials, defended=False).strongest is before[1].result
        assert verdict_of(trials, defended=False).gap_accuracy == 0.8
        assert verdict_of(trials, defended=False).tutorial_rule
        assert verdict_of(trials, defended=True).strongest is after[0].result
        assert not verdict_of(trials, defended=True).tutorial_rule


@pytest.mark.parametrize("triple", [(0.7, 0.7, 0.7), (0.61, 0.9, 0.61)])
def test_one_leaking_attacker_is_enough_even_if_it_is_not_the_strongest(triple):
    trials = [GAP, trial("a", 0.65, triple=triple), trial("b", 0.9)]
    assert verdict_of(trials, defended=True).tutorial_rule
    assert verdict_of(trials, defended=True).strongest.name == "b"


@pytest.mark.parametrize("trials", [[], [trial("a", 0.9)], [trial("gap", 0.9, defended=False)]])
def test_no_verdict_without_the_gap_attack(trials):
    with pytest.raises(InputError, match="gap attack"):
        verdict_of(trials, defended=True)


@pytest.mark.parametrize("share", [0.5, 0.8, 0.3])
@pytest.mark.parametrize(("classes", "each"), [(30, 10), (100, 5), (7, 3), (20, 1)])
def test_a_class_with_as_many_members_as_others_keeps_as_many_in_both_parts(classes, each, share):
    labels = np.repeat(np.arange(classes), each)
    rng = np.random.default_rng(3)
    members, others = (Samples(np.arange(len(labels)) + first, rng.permutation(labels), np.arange(len(labels)) + first)
                       for first in (0, len(labels)))  # fmt: skip
    for seed in range(5):
        fit, judged = Rows(members, others).divide(seed, share=share)
        assert len(fit.members) == len(fit.non_members) == int(len(labels) * share + 1e-9)
        for part in (fit, judged):
            counts = [np.bincount(kind.labels, minlength=classes) for kind in (part.members, part.non_members)]
            np.testing.assert_array_equal(*counts)
            assert np.ptp(counts[0]) <= 1
        together = np.sort(np.concatenate((fit.indices(), judged.indices())))
        np.testing.assert_array_equal(together, np.arange(2 * len(labels)))


def test_classes_that_are_rare_among_members_are_divided_by_their_own_share():
    members = Samples(np.arange(40), np.r_[np.zeros(36, int), np.ones(4, int)], np.arange(40))
    others = Samples(np.arange(40, 80), np.r_[np.zeros(4, int), np.ones(36, int)], np.arange(40, 80))
    fit, judged = Rows(members, others).divide(0)
    for part in (fit, judged):
        assert np.bincount(part.members.labels).tolist() == [18, 2]
        assert np.bincount(part.non_members.labels).tolist() == [2, 18]
