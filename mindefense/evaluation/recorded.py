"""Evaluation of recorded outputs, for models that cannot be queried, such as those of other frameworks."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.attacks.registry import AttackContext, AttackSpec
from mindefense.data.outputs import RecordedOutputs
from mindefense.data.shadow_outputs import ShadowOutputs
from mindefense.defenses.base import Defense
from mindefense.defenses.registry import DefenseSpec
from mindefense.errors import InputError
from mindefense.evaluation.attackers import ADVERSARIES, attackers_of
from mindefense.evaluation.fitting import fitted_parts
from mindefense.evaluation.other_targets import check_others
from mindefense.evaluation.runner import AttackRunner
from mindefense.evaluation.scenario import DefendedBy, EvaluationSets, Rows, Scenario
from mindefense.evaluation.summary import Subject, answers_of, summarize
from mindefense.progress import Progress
from mindefense.targets.bank import ShadowBank
from mindefense.targets.base import Target
from mindefense.targets.recorded import RecordedModel
from mindefense.types import Evaluation, Samples


def evaluate_outputs(
    outputs: RecordedOutputs,
    *,
    attacks: Sequence[str] | Mapping[str, AttackSpec | type[Attack]] | None = None,
    own_attacks: Mapping[str, AttackSpec | type[Attack]] | None = None,
    adversary: Sequence[str] = ADVERSARIES,
    seed: int = 0,
    fit_share: float = 0.5,
    defense: Defense | None = None,
    shadows: ShadowOutputs | None = None,
    targets: int = 0,
    progress: Progress | bool | None = None,
    timed: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda stage: contextlib.nullcontext(),
) -> Evaluation:
    """Runs every attacker that needs no further queries on recorded outputs; lists the others as not run.

    If the outputs have no labels, attackers that use true classes are not run either, and results that need true
    classes, such as accuracies and figures by class, are left out or None.

    Args:
        outputs: From `mindefense.data.load_outputs`.
        attacks: Names of attackers; None for all. If a mapping in the format of `own_attacks` is given, only its
            attackers and the gap attack are run.
        own_attacks: User-defined attackers by name, as in `evaluate`.
        adversary: ``"static"``, ``"adaptive"`` or both; matters only with a defense.
        seed: Seed of the attackers, and of the division of the rows if the outputs have none.
        fit_share: Share of the rows to fit on, 0 … 1, if the outputs have no division.
        defense: A defense to apply to the recorded answers, see `fit_recorded`; None if the outputs hold defended ones.
        shadows: Answers of shadow models to the same rows, from `mindefense.data.load_shadow_outputs`; None to leave
            out the attackers that need them. Adaptive ones on recorded defended answers need the defended answers of
            the shadow models too.
        targets: Number of shadow models that are attacked in the target's place; see `evaluate`.
        progress: Progress display; see `evaluate`.
        timed: Returns a context manager that measures the stage of the given name.

    Returns:
        The evaluation, without shadow model and test accuracy.

    Raises:
        InputError: If there are too few members or non-members to fit or evaluate attackers on, a defense is given for
            defended outputs, or none of the requested attackers can take part.
    """
    if defense is not None and outputs.defended_log_probs is not None:
        fix = "give only the undefended answers, or give no defense"
        raise InputError("defense", expected="none, since the outputs hold defended answers", got=defense.name, fix=fix)
    if outputs.defended_log_probs is not None and shadows is not None:
        # The defended answers to the population are not recorded, and both states are attacked in the same way.
        shadows = dataclasses.replace(shadows, population=None)
    undefended = recorded_scenario(outputs, seed=seed, fit_share=fit_share, shadows=shadows)
    everyone = undefended.sets.everyone
    context = AttackContext(seed=seed)
    attackers = attackers_of(attacks, own_attacks, context=context, adversary=adversary)
    runner = AttackRunner(attackers, undefended, progress=progress, timed=timed)
    runner.participants.check_somebody()
    check_others(runner, targets)
    trials, scenario = runner.run(), undefended
    defended_log_probs = outputs.defended_log_probs
    if defended_log_probs is not None:
        # The rows that the defense was fitted on are unknown, so it may know any of them.
        behind = DefendedBy(None, "unknown", knows=True)
        banks = {}
        if shadows is not None and shadows.defended_log_probs is not None:
            defended = [_target(one) for one in shadows.defended_log_probs]
            banks = {"online": undefended.banks["online"].behind(defended, keeps_labels=False)}
        scenario = dataclasses.replace(undefended, target=_target(defended_log_probs), banks=banks, defense=behind)
        trials += runner.run(scenario)
    elif defense is not None:
        scenario = undefended.behind(defense, seed=seed, knows=True)
        trials += runner.run(scenario, title=f"attack {defense.name}")
    answers = answers_of(undefended, scenario, indices=outputs.indices[everyone.features()])
    settings = recorded_settings(outputs, attacks, own_attacks, adversary)
    if shadows is not None:
        settings["shadows"] = {"online": len(shadows)}
    subject = Subject(dataset=outputs.name, seed=seed, settings=settings, digests={"outputs": outputs.sha256})
    return summarize(runner, scenario, trials, answers, subject, targets=targets)


def recorded_settings(
    outputs: RecordedOutputs,
    attacks: Sequence[str] | Mapping[str, Any] | None,
    own_attacks: Mapping[str, Any] | None,
    adversary: Sequence[str],
) -> dict[str, object]:
    """The settings of an evaluation of recorded outputs, as stored in its results."""
    return {
        "outputs": outputs.name,
        "given": outputs.given,
        "note": outputs.note,
        "split": "random" if outputs.split is None else "as recorded",
        "attacks": None if attacks is None else list(attacks),
        "adversary": list(adversary),
        **({"own_attacks": tuple(own_attacks)} if own_attacks else {}),
    }


def recorded_scenario(
    outputs: RecordedOutputs, *, seed: int = 0, fit_share: float = 0.5, shadows: ShadowOutputs | None = None
) -> Scenario:
    """The scenario of recorded outputs: samples are row numbers, and only recorded rows have answers.

    Args:
        outputs: From `mindefense.data.load_outputs`.
        seed: Seed of the division of the rows, if the outputs have none.
        fit_share: Share of the rows that attackers are fitted on, 0 … 1, if the outputs have no division.
        shadows: Answers of shadow models to the same rows; None if there are none.

    Raises:
        InputError: If there are fewer than three members or non-members to fit or evaluate attackers on.
    """
    everyone = _rows(outputs, np.ones(len(outputs), bool))
    if outputs.split is None:
        fit_rows, eval_rows = everyone.divide(seed, share=fit_share)
    else:
        fit_rows, eval_rows = _rows(outputs, outputs.split), _rows(outputs, ~outputs.split)
    for what, rows in (("fit", fit_rows), ("eval", eval_rows)):
        for kind in ("members", "non_members"):
            if len(getattr(rows, kind)) < 3:
                raise InputError(
                    f"{kind.replace('_', '-')} of the {what} part in {outputs.name}",
                    expected="at least 3",
                    got=str(len(getattr(rows, kind))),
                    fix="record more rows",
                )
    sets = EvaluationSets(everyone, fit_rows, eval_rows, labelled=outputs.labels is not None, treated_alike=None)
    answers = outputs.log_probs
    if shadows is not None and shadows.population is not None:
        answers = np.concatenate((answers, shadows.population.of_target))  # further row numbers
    model = RecordedModel(answers)
    banks = {} if shadows is None else {"online": _bank(shadows, everyone)}
    return Scenario(_target(answers), sets, banks=banks, model=model, answers_variants=False)


def _bank(shadows: ShadowOutputs, everyone: Rows) -> ShadowBank:
    """The bank of recorded shadow models. Rows that all or none of them were trained on are left out of its pool."""
    held = shadows.in_training
    rows = np.sort(everyone.indices())
    rows = rows[(held.any(axis=0) & ~held.all(axis=0))[rows]]
    labels = np.empty(held.shape[1], np.int32)
    labels[everyone.indices()] = everyone.labels()
    answers, population = shadows.log_probs, None
    if (more := shadows.population) is not None:
        answers = np.concatenate((answers, more.log_probs), axis=1)
        others = held.shape[1] + np.arange(len(more.labels))
        population = Samples(others, more.labels, others)
    models = [RecordedModel(one) for one in answers]
    targets = [_target(one) for one in answers]
    return ShadowBank(targets, held, models=models, pool=Samples(rows, labels[rows], rows), population=population)


def fit_recorded(
    outputs: RecordedOutputs,
    spec: DefenseSpec,
    *,
    seed: int = 0,
    fit_share: float = 0.5,
    progress: Progress | bool | None = None,
) -> Defense:
    """A defense fitted on the recorded rows that auditors are fitted on, and not on those they are evaluated on.

    Args:
        outputs: From `mindefense.data.load_outputs`.
        spec: The defense, such as ``DefenseSpec.parse("defenmi")``.
        seed: Seed of the defender's classifier, and of the division of the rows if the outputs have none.
        fit_share: Share of the rows to fit on, 0 … 1, if the outputs have no division.
        progress: Progress display; see `evaluate`.

    Raises:
        InputError: If there are fewer than three members or non-members to fit or evaluate attackers on.
    """
    known = recorded_scenario(outputs, seed=seed, fit_share=fit_share).sets.known
    answers = outputs.log_probs[known.features()]
    parts = fitted_parts(lambda: answers, known.is_member(), classes=answers.shape[1], seed=seed, progress=progress)
    return spec.build(parts.classifier, parts.class_means, parts.classes)


def _target(log_probs: np.ndarray) -> Target:
    return Target(lambda rows: log_probs[rows])


def _rows(outputs: RecordedOutputs, wanted: np.ndarray) -> Rows:
    """The chosen rows, as samples whose features are row numbers of the recording."""
    # Without labels all rows get class 0. Only the division uses it; attackers that need labels do not take part.
    labels = np.zeros(len(outputs), np.int32) if outputs.labels is None else outputs.labels

    def samples(is_wanted: np.ndarray) -> Samples:
        rows = np.flatnonzero(is_wanted)
        return Samples(rows, labels[rows], rows)

    return Rows(samples(wanted & outputs.is_member), samples(wanted & ~outputs.is_member))
