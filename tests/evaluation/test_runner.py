"""Who is fitted and judged on what, through which door: seen by an attack that writes down all that it is given."""

import contextlib

import numpy as np
import pytest
from recording_attack import (
    AUDITORS_FIT,
    AUDITORS_JUDGED,
    CONTEXT,
    EVERYONE,
    SHADOWS_FIT,
    Log,
    models,
    rows,
    runner_of,
    samples,
    states,
)

from mindefense.errors import InputError
from mindefense.evaluation import Rows
from mindefense.metrics import membership_metrics


def door_of(scenario, door):
    return scenario.target if door == "target" else scenario.shadows[0]


@pytest.mark.parametrize(
    ("knowledge", "door", "fitted_on", "judged_by"),
    [("auditor", "target", AUDITORS_FIT, AUDITORS_JUDGED), ("shadow", "shadow", SHADOWS_FIT, EVERYONE)],
)
def test_static_is_fitted_before_and_adaptive_behind_the_defense(knowledge, door, fitted_on, judged_by):
    log, clean, behind = Log(), models(), models(-1)
    runner = runner_of(log.entries(a={"learns_from": (knowledge,)}), clean)
    before = runner.run()
    after = runner.run(behind)
    assert states(before) == [(knowledge, "static", False)]
    assert states(after) == [(knowledge, "static", True), (knowledge, "adaptive", True)]
    assert log.fits("a") == [(door_of(clean, door), *fitted_on), (door_of(behind, door), *fitted_on)]
    # Whoever was fitted on the shadow still attacks the target.
    assert log.scores("a") == [
        (clean.target, *judged_by),
        (behind.target, *judged_by),
        (behind.target, *judged_by),
    ]
    judges = [entry[1] for entry in log if entry[0] == "score"][::2]
    assert judges[0] is judges[1]
    assert judges[0] is not judges[2]


def test_attack_that_fits_nothing_is_judged_by_everyone_and_does_not_adapt():
    log, clean, behind = Log(), models(), models(-1)
    runner = runner_of(log.entries(gap={"needs_fit": False}), clean)
    assert states(runner.run()) == [("none", "static", False)]
    assert states(runner.run(behind)) == [("none", "static", True)]
    assert log.fits("gap") == []
    assert log.scores("gap") == [(clean.target, *EVERYONE), (behind.target, *EVERYONE)]


def test_attack_of_both_kinds_of_knowledge_takes_part_twice():
    log, clean = Log(), models()
    runner = runner_of(log.entries(a={}, b={"learns_from": ("auditor",)}), clean)
    assert states(runner.run()) == [
        ("auditor", "static", False),
        ("shadow", "static", False),
        ("auditor", "static", False),
    ]
    assert log.fits("a") == [(clean.target, *AUDITORS_FIT), (clean.shadows[0], *SHADOWS_FIT)]
    assert log.scores("a") == [(clean.target, *AUDITORS_JUDGED), (clean.target, *EVERYONE)]


def test_static_is_fitted_once_however_many_defenses_are_put_up():
    log, clean, defenses = Log(), models(), [models(-1), models(2), models(3)]
    runner = runner_of(log.entries(a={"learns_from": ("auditor",)}, gap={"needs_fit": False}), clean)
    runner.run()
    for behind in defenses:
        runner.run(behind)
    fitted_behind = [door for door, *_ in log.fits("a")]
    assert fitted_behind == [clean.target, *(behind.target for behind in defenses)]
    assert [door for door, *_ in log.scores("a")] == [
        clean.target,
        *(behind.target for behind in defenses for _ in ("static", "adaptive")),
    ]
    assert (len(log.made("a")), len(log.made("gap"))) == (5, 2)  # one each to read what it says of itself
    assert set(log.made("a")) == {CONTEXT}


def test_defended_alone_fits_static_on_undefended_answers_all_the_same():
    log, clean, behind = Log(), models(), models(-1)
    runner = runner_of(log.entries(a={"learns_from": ("auditor",)}), clean)
    runner.run(behind)
    assert [door for door, *_ in log.fits("a")] == [clean.target, behind.target]
    assert [door for door, *_ in log.scores("a")] == [behind.target, behind.target]


def test_figures_and_positions_are_those_of_the_rows_judged_by():
    log = Log()
    runner = runner_of(log.entries(a={"learns_from": ("auditor",)}, gap={"needs_fit": False}))
    ((auditor, gap), (turned, _, _)) = runner.run(), runner.run(models(-1))
    np.testing.assert_array_equal(auditor.samples, [4, 5, 6, 7, 12, 13, 14, 15])  # positions, not indices
    np.testing.assert_array_equal(gap.samples, np.arange(16))
    scores = np.array([4.0, 5, 6, 7, 104, 105, 106, 107])
    np.testing.assert_array_equal(auditor.scores, scores)
    np.testing.assert_array_equal(turned.scores, -scores)
    for trial, sign in ((auditor, 1), (turned, -1)):
        metrics = membership_metrics(sign * scores, np.arange(8) < 4, threshold=0.0)
        assert (trial.result.name, trial.result.metrics, trial.threshold) == ("a", metrics, 0.0)
    assert (auditor.result.metrics.auc, turned.result.metrics.auc) == (0.0, 1.0)


@pytest.mark.parametrize(("most", "size"), [(None, 4), (3, 3), (1, 1), (9, 4)])
def test_costly_attackers_see_the_first_rows_only(most, size):
    log = Log()
    runner = runner_of(log.entries(slow={"learns_from": ("auditor",), "max_samples": most}, gap={"needs_fit": False}))
    slow, gap = runner.run()
    assert log.fits("slow")[0][1:] == tuple(part[:size] for part in AUDITORS_FIT)
    assert log.scores("slow")[0][1:] == tuple(part[:size] for part in AUDITORS_JUDGED)
    np.testing.assert_array_equal(slow.samples, [*range(4, 4 + size), *range(12, 12 + size)])
    assert slow.result.metrics.n_members == slow.result.metrics.n_non_members == size
    assert gap.result.metrics.n_members == 8


def test_results_bear_the_name_of_the_entry():
    log = Log()
    entries = {"my-own": log.entry("another"), "gap": log.entry("gap", needs_fit=False)}
    runner = runner_of(entries)
    trials = runner.run() + runner.run(models(-1))
    assert [trial.result.name for trial in trials] == ["my-own"] * 2 + ["gap"] + ["my-own"] * 4 + ["gap"]


@pytest.mark.parametrize(
    ("settings", "row"),
    [
        ({"known": rows(0, 105)}, 105),
        ({"judged": rows(3, 104)}, 3),
        ({"judged": rows(4, 3)}, 3),
        ({"shadow": rows(300, 7)}, 7),
    ],
)
def test_rows_to_fit_on_must_not_be_judged(settings, row):
    log = Log()
    with pytest.raises(InputError, match=rf"first is row {row}\b"):
        runner_of(log.entries(a={}), **settings)
    assert log == []


# ------------------------------------------------------------------------------------------------ canaries and progress


def test_canaries_are_judged_apart_by_whoever_was_fitted_on_others():
    log, clean, behind = Log(), models(), models(-1)
    canaries = Rows(samples(50, 3), samples(150, 2))
    slow = {"needs_fit": False, "max_samples": 2}
    entries = log.entries(a={"learns_from": ("auditor",)}, gap={"needs_fit": False}, slow=slow)
    runner = runner_of(entries, clean, canaries=canaries)
    trials = runner.run() + runner.run(behind)
    told = [(one.result.name, one.result.adversary, one.result.defended) for one in trials]
    assert [(one.result.name, one.result.adversary, one.result.defended) for one in runner.on_canaries] == told
    assert len(told) == 7
    asked = {tuple(map(tuple, one[1:])) for one in log.scores("a")}
    assert asked == {((50, 51, 52), (150, 151)), tuple(map(tuple, AUDITORS_JUDGED))}
    assert [one.result.metrics.n_members for one in runner.on_canaries] == [3, 3, 2, 3, 3, 3, 2]
    np.testing.assert_array_equal(runner.on_canaries[0].scores, [50, 51, 52, 150, 151])
    np.testing.assert_array_equal(runner.on_canaries[0].samples, np.arange(5))
    for trial in trials:
        assert trial.result.metrics.n_members in (8, 4, 2)
    for _, *fitted_on in log.fits("a"):
        assert tuple(fitted_on) == AUDITORS_FIT


def test_without_canaries_nobody_is_judged_by_any():
    runner = runner_of(Log().entries(a={}))
    runner.run()
    assert runner.on_canaries == []


class Told:
    """A progress and a clock that write down what they hear."""

    def __init__(self):
        self.stages = []
        self.timed = []

    @contextlib.contextmanager
    def stage(self, title, total):
        notes = []
        self.stages.append((title, total, notes))
        yield lambda done, note: notes.append((done, note))

    @contextlib.contextmanager
    def clock(self, stage):
        self.timed.append(stage)
        yield


def test_stages_tell_as_many_attackers_as_they_promise():
    log, told = Log(), Told()
    average = {"learns_from": ("auditor",), "needs_randomness": True}
    entries = log.entries(a={}, average=average, gap={"needs_fit": False})
    runner = runner_of(entries, progress=told, timed=told.clock)
    runner.run()
    runner.run(models(-1, noised=True), title="attack top-k=3")
    before, after = ["a", "a", "gap"], ["a", "a", "average", "gap"]
    assert told.stages == [
        ("attack", 3, [(1, name) for name in before]),
        ("attack top-k=3", 4, [(1, name) for name in after]),
    ]
    assert told.timed == [f"attack {name}" for name in before + after]
