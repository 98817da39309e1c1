"""Ways to defend one target, side by side: what each leaves to the attackers and what it costs the users."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mindefense.errors import InputError
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.lineup import LINEUP, NONE, DefenseSpec, TrainingSpec, parse_lineup, parse_ways
from mindefense.evaluation.summary import is_noised, utility
from mindefense.evaluation.verdict import changed, held_against, verdict_of
from mindefense.private import epsilon, why_not_private
from mindefense.runtime import versions
from mindefense.study.pipeline import Study
from mindefense.study.store import StudyStore
from mindefense.study.trainer import CLIP_NORM
from mindefense.types import Answers, Comparison, Contender, NotRun, Trial

DELTA = 1e-5
"""The δ that the ε of differentially private training is told for."""
_TOLERANCE = 1e-9


def compare(
    study: Study,
    defenses: Sequence[str] = LINEUP,
    *,
    training: Sequence[str] = (),
    config: EvaluationConfig | None = None,
) -> Comparison:
    """Puts up one defense after the other in front of the target, with the same attackers against each.

    Args:
        study: With its target trained, its shadow if it has one, and the defender's classifier if a defense needs it.
        defenses: Names as `DefenseSpec.parse` takes them. The study's budget of steps holds unless they say another,
            and those that cannot keep to it are left out. Their alignment is what they say and not the study's, or
            ``defenmi`` and ``defenmi-published`` would be the same.
        training: Ways to train the target that defend it, as `TrainingSpec.parse` takes them; each trains a
            target, and a shadow in the same way, in a folder of its own below ``compare``.
        config: Which attackers, and what they know; None for all.

    Raises:
        InputError: If a defense or way to train is unknown, or named twice.
        CheckpointError: If the study lacks a stage that a defense needs.
    """
    config = config or EvaluationConfig()
    (specs, not_run), ways = _within(study.config.max_steps, defenses), parse_ways(training)
    if ways and "origin" in study.checkpoint("target").description:
        raise InputError(
            "training", expected="a target that this study trained", got="one from --pre_trained, of which it is "
            "not known how it was trained", fix="compare without --training",
        )  # fmt: skip
    for way in ways:
        dataclasses.replace(study.preset.train, **way.settings)  # a value out of range must show before all else
    if any(spec.searches for spec in specs):
        study.defender()  # a missing stage must show before anything is attacked
    with study.timed("compare"):
        runner = study.runner(config)
        trials = runner.run()
        undefended = study.answers(runner.undefended)
        contenders = [contender(NONE, {}, trials, undefended)]
        checks = {NONE: study.checks(runner, runner.undefended, trials, undefended)}
        noised = False
        for spec in specs:
            defense = study.build(spec)
            behind = study.behind(defense, str(spec), config.noise)
            noised |= is_noised(behind)
            answers = study.answers(behind)
            found = runner.run(behind, title=f"attack {spec}")
            contenders.append(contender(str(spec), defense.describe()["config"], found, answers, before=trials))
            checks[str(spec)] = study.checks(runner, behind, [*trials, *found], answers)
            study.forget_defenses()  # nobody asks this contender again
        for way in ways:
            if way.is_private and (reason := why_not_private()) is not None:
                not_run.append(NotRun(str(way), "training", reason))
                continue
            other = trained_otherwise(study, way)
            others = other.runner(config)
            found, answers = others.run(), other.answers(others.undefended)
            checks[str(way)] = other.checks(others, others.undefended, found, answers)
            # What users get now against what they got from the target as it was.
            answers = dataclasses.replace(
                answers, clean_probs=undefended.clean_probs, defended_probs=answers.clean_probs
            )
            settings = way.settings
            if way.is_private:
                settings = {"noise_multiplier": way.value, "clip_norm": CLIP_NORM, "delta": DELTA,
                            "epsilon": epsilon(other.preset.train.epochs, way.value, DELTA)}  # fmt: skip
            contenders.append(contender(str(way), settings, found, answers, in_training=True, before=trials))
    contenders = [dataclasses.replace(one, verdict=held_against(one.verdict, checks[one.name])) for one in contenders]
    # Of the defense each contender tells its own settings.
    settings = {name: value for name, value in study.settings(config).items() if name not in ("defense", "alignment")}
    return Comparison(
        dataset=study.data.name,
        synthetic=study.data.synthetic,
        smoke=study.config.smoke,
        seed=study.config.seed,
        settings=settings,
        versions=versions(),
        contenders=mark_dominated(contenders),
        not_run=(*runner.left_out(noised=noised), *not_run),
        checks=checks,
        timings=dict(study.timings),
        evidence=study.evidence(runner, undefended),
    )


def _within(max_steps: int | None, defenses: Sequence[str]) -> tuple[tuple[DefenseSpec, ...], list[NotRun]]:
    """The defenses with a study's budget of steps, and those that cannot keep to it."""
    parse_lineup(defenses)  # what is wrong within any budget is refused
    fitting, not_run = [], []
    for name in defenses:
        try:
            DefenseSpec.parse(name, max_steps=max_steps)
        except InputError as error:
            not_run.append(NotRun(name, "defense", f"{error}; name it with a budget of its own, such as {name}@300"))
        else:
            fitting.append(name)
    return parse_lineup(fitting, max_steps=max_steps), not_run


def trained_otherwise(study: Study, way: TrainingSpec) -> Study:
    """A study of the same data with target and shadow trained in a way that defends them, trained if need be."""
    config = dataclasses.replace(study.config, defense=NONE, **way.settings)
    out = study.out / "compare" / str(way)
    store = StudyStore(out)
    begun = store.holds_study and store.read_config() == config
    other = Study(config, out, progress=study.progress, amp=study.amp)
    with study.timed(f"train {way}"):
        if way.is_private:
            other.train_privately(way.value)
        else:
            other.train_target(resume=begun)
            if other.preset.has_shadow:
                other.train_shadow(resume=begun)
    return other


def contender(
    name: str,
    config: Mapping[str, object],
    trials: Sequence[Trial],
    answers: Answers,
    *,
    in_training: bool = False,
    before: Sequence[Trial] | None = None,
) -> Contender:
    """What attackers and users get from one way to defend.

    Args:
        name: What to call it.
        config: Its settings.
        trials: The attackers on it: on its defended answers, or on the undefended ones of a target that defends itself
            by how it was trained, or that nothing defends.
        answers: The undefended and, but for the undefended target, the contender's answers.
        in_training: Whether it is a way to train.
        before: The attackers on the undefended target, by the same rows; None for that one itself.
    """
    defended = trials[0].result.defended
    return Contender(
        name=name,
        config=dict(config),
        in_training=in_training,
        utility=utility(answers)[1],
        verdict=verdict_of(trials, defended=defended),
        attacks=tuple(trial.result for trial in trials),
        change=None if before is None else changed(before, trials),
    )


def mark_dominated(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """The contenders with the names of those that dominate each.

    One dominates another if it leaks no more (the strongest attacker's balanced accuracy and two-sided AUC), costs
    no more (mean L1 distance, calibration error, negative log-likelihood, accuracy lost) and is better in at least one
    of these. Figures are compared as they were measured; intervals are wider than many differences between them. The L1
    distance counts between two ways to reshape alone: a target that was trained otherwise is another model, whose
    users never saw the first one's answers.
    """

    def dominates(one: Contender, other: Contender) -> bool:
        with_l1 = not (one.in_training or other.in_training)
        pairs = list(zip(_burden(one, with_l1), _burden(other, with_l1), strict=True))
        return all(a <= b + _TOLERANCE for a, b in pairs) and any(a < b - _TOLERANCE for a, b in pairs)

    return tuple(
        dataclasses.replace(
            contender, dominated_by=tuple(other.name for other in contenders if dominates(other, contender))
        )
        for contender in contenders
    )


def _burden(contender: Contender, with_l1: bool) -> tuple[float, ...]:
    """What one wants little of: leaks first, then costs."""
    verdict, cost = contender.verdict, contender.utility
    assert cost.ece is not None
    assert cost.nll is not None
    assert cost.accuracy is not None
    return (
        verdict.strongest.metrics.balanced_accuracy,
        verdict.sharpest.metrics.two_sided_auc,
        *((cost.mean_l1,) if with_l1 else ()),
        cost.ece,
        cost.nll,
        -cost.accuracy,
    )
