"""Who takes part in an evaluation, who is left out for which reason, and who could have taken part."""

import dataclasses

import numpy as np
import pytest
from recording_attack import CONTEXT, SETS, Log, models, runner_of, states

from mindefense.attacks.registry import select
from mindefense.errors import InputError
from mindefense.evaluation import Attackers, AttackRunner, EvaluationSets, Rows
from mindefense.types import Samples


@pytest.mark.parametrize(
    ("knowledge", "adversary", "before", "after"),
    [
        (("auditor",), ("static", "adaptive"), ["auditor"], ["auditor static", "auditor adaptive"]),
        (("shadow",), ("static", "adaptive"), ["shadow"], ["shadow static", "shadow adaptive"]),
        (("shadow", "auditor"), ("static",), ["auditor", "shadow"], ["auditor static", "shadow static"]),
        (("auditor", "shadow"), ("adaptive",), ["auditor", "shadow"], ["auditor adaptive", "shadow adaptive"]),
        ((), ("adaptive",), [], []),
    ],
)
def test_knowledge_and_adversaries_may_be_restricted(knowledge, adversary, before, after):
    log = Log()
    entries = log.entries(a={}, gap={"needs_fit": False})
    runner = runner_of(entries, knowledge=knowledge, adversary=adversary)
    assert states(runner.run()) == [*((known, "static", False) for known in before), ("none", "static", False)]
    # What fits nothing stays, whatever else is left out: it has no adaptive form.
    expected = [(*one.split(), True) for one in after]
    assert states(runner.run(models(-1))) == [*expected, ("none", "static", True)]
    left_out = {one.name for one in runner.participants.left_out(noised=True)}
    assert left_out == (set() if before else {"a"})


def test_adaptive_alone_is_not_fitted_twice_on_undefended_answers():
    log, clean, behind = Log(), models(), models(-1)
    runner = runner_of(log.entries(a={"learns_from": ("auditor",)}), clean, adversary=("adaptive",))
    runner.run(behind)
    assert [door for door, *_ in log.fits("a")] == [behind.target]


@pytest.mark.parametrize("noised", [False, True])
def test_averaging_takes_part_only_where_answers_depend_on_noise(noised):
    log, clean = Log(), models()
    entries = log.entries(average={"learns_from": ("auditor",), "needs_randomness": True}, gap={"needs_fit": False})
    runner = runner_of(entries, clean)
    assert [trial.result.name for trial in runner.run()] == ["gap"]
    assert log.fits("average") == []
    behind = models(-1, noised=noised)
    found = [(trial.result.name, trial.result.adversary) for trial in runner.run(behind)]
    assert found == [("average", "static"), ("average", "adaptive")] * noised + [("gap", "static")]
    assert [door for door, *_ in log.fits("average")] == [clean.target, behind.target] * noised
    assert runner.participants.left_out(noised=True) == ()


def left_out(runner):
    return [(one.name, one.knowledge) for one in runner.participants.left_out(noised=True)]


@pytest.mark.parametrize("lacks", ["door", "rows", "both"])
def test_without_a_shadow_shadow_attackers_are_left_out_with_a_reason(lacks):
    log = Log()
    entries = log.entries(a={}, nn={"learns_from": ("shadow",)})
    without_rows = {"shadow": None} if lacks != "door" else {}
    runner = runner_of(entries, models(shadow=lacks == "rows"), **without_rows)
    assert left_out(runner) == [("a", "shadow"), ("nn", "shadow")]
    said = "there is no shadow model; train one with `mindefense train-shadow`"
    assert all(said in one.reason for one in runner.participants.left_out(noised=True))
    assert states(runner.run()) == [("auditor", "static", False)]
    assert states(runner.run(models(-1, shadow=False))) == [("auditor", "static", True), ("auditor", "adaptive", True)]


def test_who_asks_about_changed_samples_is_left_out_where_they_are_not_answered():
    log = Log()
    entries = log.entries(flips={"asks": "variants", "learns_from": ("auditor",)}, a={"learns_from": ("auditor",)})
    runner = runner_of(entries, models(answers_variants=False))
    assert left_out(runner) == [("flips", "auditor")]
    assert "recorded outputs have no answers" in runner.participants.left_out(noised=True)[0].reason
    assert [trial.result.name for trial in runner.run()] == ["a"]
    assert log.fits("flips") == []
    assert left_out(runner_of(entries)) == []


def test_advice_for_recorded_outputs_is_not_to_train_a_shadow_for_them():
    clean = models(shadow=False, answers_variants=False)
    (left,) = runner_of(Log().entries(nn={"learns_from": ("shadow",)}), clean, shadow=None).participants.left_out(
        noised=True
    )
    assert (left.name, left.knowledge) == ("nn", "shadow")
    assert "recorded outputs have no shadow model" in left.reason


def test_who_cannot_take_these_samples_is_left_out_with_his_own_words():
    seen = []

    def unsupported(given):
        seen.append(given)
        return "no bits to flip"

    log = Log()
    entries = log.entries(flips={"unsupported": unsupported}, a={"learns_from": ("auditor",)})
    runner = runner_of(entries)
    assert [dataclasses.astuple(one) for one in runner.participants.left_out(noised=True)] == [
        ("flips", "auditor", "no bits to flip"),
        ("flips", "shadow", "no bits to flip"),
    ]
    assert all(given is SETS.everyone.members for given in seen)
    assert [trial.result.name for trial in runner.run()] == ["a"]
    # What was not asked for is not left out either.
    assert left_out(runner_of(entries, knowledge=("auditor",))) == [("flips", "auditor")]


@pytest.mark.parametrize(
    ("settings", "word"), [({"knowledge": ("auditor", "none")}, "'none'"), ({"adversary": ("Static",)}, "'Static'")]
)
def test_unknown_names(settings, word):
    (name,) = settings
    with pytest.raises(InputError, match=f"{name}: expected .*{word}"):
        runner_of({}, **settings)


def rows_of(first, *, kind=np.float32):
    def samples(start):
        features = np.random.default_rng(start).normal(size=(6, 4)).astype(kind)
        return Samples(features, np.zeros(6, np.int64), np.arange(start, start + 6))

    return Rows(samples(first), samples(first + 6))


BANKS = {"a bank of shadow models", "a bank of shadow models, label-only"}
"""What is missed wherever a model is evaluated without a bank."""


@pytest.mark.parametrize(
    ("names", "given", "missing"),
    [
        (("gap",), {}, {"thresholds on the true class", "classifiers that see the true class", "label-only",
                        "shadow models"}),
        (("confidence", "stacked"), {}, {"label-only"}),
        (("confidence", "stacked"), {"knowledge": ("auditor",)}, {"label-only", "shadow models"}),
        (("confidence", "stacked", "label-noise"), {}, set()),
        (("confidence", "stacked", "boundary-distance"), {}, set()),
        (("entropy", "mindarmour-lr", "label-noise"), {}, {"thresholds on the true class"}),
        (("confidence", "salem-top3", "label-noise"), {}, {"classifiers that see the true class"}),
        (None, {}, set()),
    ],
)  # fmt: skip
def test_kinds_that_could_have_taken_part_are_named(names, given, missing):
    sets = EvaluationSets(rows_of(20), rows_of(0), rows_of(20), shadow=rows_of(40))
    runner = AttackRunner(Attackers(select(names), CONTEXT, **given), models(sets=sets))
    found = runner.participants.not_asked(noised=False)
    assert {kind for kind, those in found.items() if those} == missing | BANKS
    assert not any("boundary-distance" in those for those in found.values())  # it takes hours; nobody need run it
    assert found.get("repeated queries") == ()
    noised = runner.participants.not_asked(noised=True)
    assert bool(noised["repeated queries"]) == (names is not None)


def test_what_cannot_take_part_is_not_missed():
    sets = EvaluationSets(rows_of(20), rows_of(0), rows_of(20))
    alone = models(shadow=False, answers_variants=False, sets=sets)
    runner = AttackRunner(Attackers(select(("confidence", "stacked")), CONTEXT), alone)
    assert not any(runner.participants.not_asked(noised=False).values())  # recorded outputs: no variants, no shadow
    names = ("confidence", "stacked", "label-noise")
    runner = AttackRunner(Attackers(select(names), CONTEXT), models(shadow=False, sets=sets))
    missed = {kind for kind, those in runner.participants.not_asked(noised=False).items() if those}
    assert missed == BANKS  # no rows to train a single shadow on, but a bank can be trained on the evaluated rows


def test_a_shadow_that_was_not_trained_is_missed():
    sets = EvaluationSets(rows_of(20), rows_of(0), rows_of(20), shadow=rows_of(40))
    names = ("confidence", "stacked", "label-noise")
    runner = AttackRunner(Attackers(select(names), CONTEXT), models(shadow=False, sets=sets))
    assert {kind for kind, those in runner.participants.not_asked(noised=False).items() if those} == {
        "shadow models"
    } | BANKS
