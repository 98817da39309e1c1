"""Comparison of defenses of a study's target, including defenses in training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mindefense.defenses.registry import LINEUP, NONE, DefenseSpec, TrainingSpec, parse_lineup, parse_ways
from mindefense.errors import InputError
from mindefense.evaluation.comparison import Contest, contender
from mindefense.evaluation.config import EvaluationConfig
from mindefense.private import epsilon, why_not_private
from mindefense.study.config import StudyConfig
from mindefense.study.pipeline import Study
from mindefense.study.store import StudyStore
from mindefense.study.trainer import CLIP_NORM
from mindefense.training import TrainConfig
from mindefense.types import Comparison, NotRun

_OF_PLAIN_TRAINING = ("epochs", "learning_rate", "schedule", "warmup_epochs")
DELTA = 1e-5
"""The δ for which the ε of differentially private training is reported."""


def compare(
    study: Study,
    defenses: Sequence[str] = LINEUP,
    *,
    training: Sequence[str] = (),
    config: EvaluationConfig | None = None,
) -> Comparison:
    """Runs the same attackers on the target behind each defense.

    Args:
        study: A study with a trained target, a trained shadow model if the study has one, and the defender's
            classifier if a defense needs it.
        defenses: Names in the format of `DefenseSpec.parse`. The study's budget of steps applies unless a name has
            another; defenses that cannot observe it are left out. The alignment is that of the name and not the
            study's; otherwise ``defenmi`` and ``defenmi-published`` would be the same.
        training: Defenses in training, in the format of `TrainingSpec.parse`. Each trains a target, and a shadow model
            in the same way, in its own folder below ``compare``.
        config: The attackers and their knowledge; None for the default.

    Returns:
        The figures of every attacker, and the utility, for every defense.

    Raises:
        InputError: If a defense or defense in training is unknown or named twice, or the target of a study with
            `training` comes from a given checkpoint.
        CheckpointError: If the study lacks a stage that a defense needs.
    """
    config = config or EvaluationConfig()
    (specs, not_run), ways = _within(study.config.max_steps, defenses), parse_ways(training)
    if ways and "origin" in study.checkpoint("target").description:
        raise InputError(
            "training", expected="a target that this study trained",
            got="one from --pre_trained, whose training is unknown", fix="compare without --training",
        )  # fmt: skip
    for way in ways:
        config_of(study, way)  # raises for a value out of range
    if any(spec.searches for spec in specs):
        study.defender()  # raises for a missing stage before anything is attacked
    with study.timed("compare"):
        runner = study.evaluator.runner(config)
        # Each contender has its own settings of the defense.
        subject = study.evaluator.subject(config)
        settings = {name: value for name, value in subject.settings.items() if name not in ("defense", "alignment")}
        subject = dataclasses.replace(subject, settings=settings)
        contest = Contest(runner, subject, study.evaluator.answers(runner.undefended))
        for spec in specs:
            scenario = study.behind(study.build(spec), str(spec), config.noise)
            contest.enter(str(spec), scenario, study.evaluator.answers(scenario))
            study.forget_defenses()  # saves memory: this defense is not queried again
        for way in ways:
            if way.is_private and (reason := why_not_private()) is not None:
                not_run.append(NotRun(str(way), "training", reason))
                continue
            other = trained_otherwise(study, way)
            for kind in () if way.is_private else config.banks():  # as many as attack the study's own target
                other.train_shadows(kind, study.bank.count(kind))
            others = other.evaluator.runner(config)
            found, answers = others.run(), other.evaluator.answers(others.undefended)
            checks = other.evaluator.checks(others, others.undefended, found, answers)
            # The utility compares the new target's answers with those of the undefended target.
            answers = dataclasses.replace(
                answers, clean_probs=contest.answers.clean_probs, defended_probs=answers.clean_probs
            )
            settings: dict[str, object] = {**way.settings, **(other.evaluator.privacy() or {})}
            if way.is_private:
                settings = {"noise_multiplier": way.value, "clip_norm": CLIP_NORM, "delta": DELTA,
                            "epsilon": epsilon(other.preset.train.epochs, way.value, DELTA)}  # fmt: skip
            one = contender(str(way), settings, found, answers, in_training=True, before=contest.trials)
            contest.add(one, checks)
    return contest.comparison(not_run=not_run, timings=study.timings)


def _within(max_steps: int | None, defenses: Sequence[str]) -> tuple[tuple[DefenseSpec, ...], list[NotRun]]:
    """The defenses with a study's budget of steps, and those that cannot observe it."""
    parse_lineup(defenses)  # raises for names that are wrong with any limit
    fitting, not_run = [], []
    for name in defenses:
        try:
            DefenseSpec.parse(name, max_steps=max_steps)
        except InputError as error:
            not_run.append(NotRun(name, "defense", f"{error}; give it its own budget of steps, such as {name}@300"))
        else:
            fitting.append(name)
    return parse_lineup(fitting, max_steps=max_steps), not_run


def config_of(study: Study, way: TrainingSpec) -> StudyConfig:
    """The settings of a study whose target is trained in another way.

    Raises:
        InputError: If a value is out of range.
    """
    fields = {field.name for field in dataclasses.fields(TrainConfig)}
    dataclasses.replace(study.preset.train, **{name: value for name, value in way.settings.items() if name in fields})
    # Private training has rates and batches of its own.
    usual = dict.fromkeys(_OF_PLAIN_TRAINING) if "epsilon" in way.settings else {}
    return dataclasses.replace(study.config, defense=NONE, **{**usual, **way.settings})


def trained_otherwise(study: Study, way: TrainingSpec) -> Study:
    """A study of the same data whose target and shadow model have a defense in training; trains what is missing."""
    config = config_of(study, way)
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
