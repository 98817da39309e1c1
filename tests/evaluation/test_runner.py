"""Who is fitted and judged on what, through which door: seen by an attack that writes down all that it is given."""

import contextlib
import dataclasses

import numpy as np
import pytest

from mindefense.attacks import Attack
from mindefense.attacks.registry import AttackContext, AttackSpec, select
from mindefense.defenses import LabelOnly, LaplaceOutput
from mindefense.errors import InputError
from mindefense.evaluation import Attackers, AttackRunner, DefendedBy, EvaluationSets, Rows, Scenario
from mindefense.metrics import membership_metrics
from mindefense.targets.bank import ShadowBank
from mindefense.targets.base import Target
from mindefense.types import Samples

CONTEXT = AttackContext(seed=5)


class Recorder(Attack):
    """Scores by the first answer and writes down who was made, fitted and scored, on what, through which door."""

    threshold_ = 0.0

    def __init__(self, name, log, declared):
        self.name = name
        self.log = log
        for what, value in declared.items():
            setattr(self, what, value)

    def fit(self, target, members, non_members):
        self.log.append(("fit", self, target, members.indices.tolist(), non_members.indices.tolist()))
        return self

    def score(self, target, samples):
        self.log.append(("score", self, target, samples.indices.tolist()))
        return target.query(samples.features)[:, 0].astype(np.float64)


class Log(list):
    """All that was written down."""

    def entry(self, name, **declared):
        def make(context):
            attack = Recorder(name, self, declared)
            self.append(("make", attack, context))
            return attack

        return AttackSpec(make)

    def entries(self, **settings):
        return {name.replace("_", "-"): self.entry(name, **given) for name, given in settings.items()}

    def fits(self, name):
        """Door and rows of every fit, in order."""
        return [entry[2:] for entry in self if entry[0] == "fit" and entry[1].name == name]

    def scores(self, name):
        """Pairs of door and rows, members then non-members, in order."""
        asked = [entry[2:] for entry in self if entry[0] == "score" and entry[1].name == name]
        return [(first[0], first[1], second[1]) for first, second in zip(asked[::2], asked[1::2], strict=True)]

    def made(self, name):
        return [entry[2] for entry in self if entry[0] == "make" and entry[1].name == name]


def samples(first, n):
    features = np.arange(first, first + n, dtype=np.float32)[:, None]
    return Samples(features, np.zeros(n, np.int32), np.arange(first, first + n))


def rows(members, non_members, n=4):
    return Rows(samples(members, n), samples(non_members, n))


# Everyone is 0 … 7 and 100 … 107; of each, the first four are to fit auditors on.
SETS = EvaluationSets(rows(0, 100, 8), rows(0, 100), rows(4, 104), shadow=rows(300, 400, 5))


def models(sign=1.0, *, shadow=True, noised=False, sets=SETS, **more):
    """Target and shadow, undefended, or turned round by a defense."""
    target, other = (Target(lambda features: sign * features) for _ in range(2))
    defense = None if sign == 1 else DefendedBy(LaplaceOutput(1.0, 3) if noised else LabelOnly(), "keyed")
    bank = ShadowBank([other], np.zeros((1, 500), bool)) if shadow else None
    return Scenario(target, sets, bank, defense=defense, **more)


AUDITORS_FIT = ([0, 1, 2, 3], [100, 101, 102, 103])
AUDITORS_JUDGED = ([4, 5, 6, 7], [104, 105, 106, 107])
SHADOWS_FIT = (list(range(300, 305)), list(range(400, 405)))
EVERYONE = (list(range(8)), list(range(100, 108)))


def runner_of(entries, clean=None, *, progress=None, timed=None, knowledge=None, adversary=None, **sets):
    given = {name: value for name, value in (("knowledge", knowledge), ("adversary", adversary)) if value is not None}
    clean = clean or models()
    told = {} if timed is None else {"timed": timed}
    return AttackRunner(
        Attackers(entries, CONTEXT, **given),
        dataclasses.replace(clean, sets=dataclasses.replace(clean.sets, **sets)),
        progress=progress,
        **told,
    )


def door_of(scenario, door):
    return scenario.target if door == "target" else scenario.shadows[0]


def states(trials):
    return [(trial.result.knowledge, trial.result.adversary, trial.result.defended) for trial in trials]


# -------------------------------------------------------------------------------------------- who is fitted and judged


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


# --------------------------------------------------------------------------------------------------- who does take part


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
    left_out = {one.name for one in runner.left_out(noised=True)}
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
    assert runner.left_out(noised=True) == ()


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


def left_out(runner):
    return [(one.name, one.knowledge) for one in runner.left_out(noised=True)]


def test_results_bear_the_name_of_the_entry():
    log = Log()
    entries = {"my-own": log.entry("another"), "gap": log.entry("gap", needs_fit=False)}
    runner = runner_of(entries)
    trials = runner.run() + runner.run(models(-1))
    assert [trial.result.name for trial in trials] == ["my-own"] * 2 + ["gap"] + ["my-own"] * 4 + ["gap"]


@pytest.mark.parametrize("lacks", ["door", "rows", "both"])
def test_without_a_shadow_shadow_attackers_are_left_out_with_a_reason(lacks):
    log = Log()
    entries = log.entries(a={}, nn={"learns_from": ("shadow",)})
    without_rows = {"shadow": None} if lacks != "door" else {}
    runner = runner_of(entries, models(shadow=lacks == "rows"), **without_rows)
    assert left_out(runner) == [("a", "shadow"), ("nn", "shadow")]
    assert all("there is no shadow; `mindefense train-shadow`" in one.reason for one in runner.left_out(noised=True))
    assert states(runner.run()) == [("auditor", "static", False)]
    assert states(runner.run(models(-1, shadow=False))) == [("auditor", "static", True), ("auditor", "adaptive", True)]


def test_who_asks_about_changed_samples_is_left_out_where_they_are_not_answered():
    log = Log()
    entries = log.entries(flips={"asks": "variants", "learns_from": ("auditor",)}, a={"learns_from": ("auditor",)})
    runner = runner_of(entries, models(answers_variants=False))
    assert left_out(runner) == [("flips", "auditor")]
    assert "recorded outputs do not answer" in runner.left_out(noised=True)[0].reason
    assert [trial.result.name for trial in runner.run()] == ["a"]
    assert log.fits("flips") == []
    assert left_out(runner_of(entries)) == []


def test_advice_for_recorded_outputs_is_not_to_train_a_shadow_for_them():
    clean = models(shadow=False, answers_variants=False)
    (left,) = runner_of(Log().entries(nn={"learns_from": ("shadow",)}), clean, shadow=None).left_out(noised=True)
    assert (left.name, left.knowledge) == ("nn", "shadow")
    assert "recorded outputs come without a shadow" in left.reason


def test_who_cannot_take_these_samples_is_left_out_with_his_own_words():
    seen = []

    def unsupported(given):
        seen.append(given)
        return "no bits to flip"

    log = Log()
    entries = log.entries(flips={"unsupported": unsupported}, a={"learns_from": ("auditor",)})
    runner = runner_of(entries)
    assert [dataclasses.astuple(one) for one in runner.left_out(noised=True)] == [
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


def rows_of(first, *, kind=np.float32):
    def samples(start):
        features = np.random.default_rng(start).normal(size=(6, 4)).astype(kind)
        return Samples(features, np.zeros(6, np.int64), np.arange(start, start + 6))

    return Rows(samples(first), samples(first + 6))


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
    found = runner.not_asked(noised=False)
    assert {kind for kind, those in found.items() if those} == missing
    assert not any("boundary-distance" in those for those in found.values())  # it takes hours; nobody need run it
    assert found.get("repeated queries") == ()
    noised = runner.not_asked(noised=True)
    assert bool(noised["repeated queries"]) == (names is not None)


def test_what_cannot_take_part_is_not_missed():
    sets = EvaluationSets(rows_of(20), rows_of(0), rows_of(20))
    alone = models(shadow=False, answers_variants=False, sets=sets)
    runner = AttackRunner(Attackers(select(("confidence", "stacked")), CONTEXT), alone)
    assert not any(runner.not_asked(noised=False).values())  # recorded outputs: no variants, no shadow
    names = ("confidence", "stacked", "label-noise")
    runner = AttackRunner(Attackers(select(names), CONTEXT), models(shadow=False, sets=sets))
    assert not any(runner.not_asked(noised=False).values())  # no rows to train a shadow on


def test_a_shadow_that_was_not_trained_is_missed():
    sets = EvaluationSets(rows_of(20), rows_of(0), rows_of(20), shadow=rows_of(40))
    names = ("confidence", "stacked", "label-noise")
    runner = AttackRunner(Attackers(select(names), CONTEXT), models(shadow=False, sets=sets))
    assert {kind for kind, those in runner.not_asked(noised=False).items() if those} == {"shadow models"}
