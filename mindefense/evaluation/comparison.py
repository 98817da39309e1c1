"""Comparison of defenses of one target: remaining leak and cost in utility."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.attacks.registry import AttackContext, AttackSpec
from mindefense.data import Split
from mindefense.data.outputs import RecordedOutputs
from mindefense.defenses.base import Defense
from mindefense.defenses.registry import NONE, DefenseSpec, Parts, parse_lineup
from mindefense.errors import InputError
from mindefense.evaluation.api import prepared
from mindefense.evaluation.attackers import ADVERSARIES, KNOWLEDGE, attackers_of
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.fitting import fitted_parts
from mindefense.evaluation.recorded import recorded_scenario, recorded_settings
from mindefense.evaluation.runner import AttackRunner
from mindefense.evaluation.scenario import Scenario
from mindefense.evaluation.summary import Subject, answers_of, checks_of, evidence_for, is_noised, utility
from mindefense.evaluation.verdict import changed, held_against, verdict_of
from mindefense.progress import Progress
from mindefense.runtime import versions
from mindefense.types import Check, Comparison, Contender, LabelledData, NotRun, Outputs, Trial

_TOLERANCE = 1e-9


class Contest:
    """Builds a comparison: the undefended target first, then one contender after the other.

    Args:
        runner: Runs the attackers. Static attackers are fitted once for all contenders.
        subject: Description of the evaluation.
        answers: The undefended target's answers to the evaluation's rows.

    Attributes:
        trials: The attackers on the undefended target.
        answers: As given.
    """

    def __init__(self, runner: AttackRunner, subject: Subject, answers: Outputs):
        self._runner, self._subject, self.answers = runner, subject, answers
        self.trials = runner.run()
        self._is_noised = False
        self._contenders: list[Contender] = []
        self._checks: dict[str, tuple[Check, ...]] = {}
        undefended = runner.undefended
        checks = checks_of(runner, undefended, self.trials, answers, subject)
        self.add(contender(NONE, {}, self.trials, answers, labelled=undefended.sets.labelled), checks)

    def enter(self, name: str, scenario: Scenario, answers: Outputs) -> None:
        """Runs the attackers on the target behind a defense.

        Args:
            name: Name of the defense in the results.
            scenario: The target behind the defense.
            answers: The target's answers to the evaluation's rows, without and with the defense.
        """
        assert scenario.defense is not None
        assert scenario.defense.defense is not None
        self._is_noised |= is_noised(scenario)
        found = self._runner.run(scenario, title=f"attack {name}")
        config = scenario.defense.defense.describe()["config"]
        labelled = scenario.sets.labelled
        checks = checks_of(self._runner, scenario, [*self.trials, *found], answers, self._subject)
        self.add(contender(name, config, found, answers, before=self.trials, labelled=labelled), checks)

    def add(self, one: Contender, checks: tuple[Check, ...]) -> None:
        """Adds a contender on which the attackers have already been run."""
        self._contenders.append(one)
        self._checks[one.name] = checks

    def comparison(self, *, not_run: Sequence[NotRun] = (), timings: Mapping[str, float] | None = None) -> Comparison:
        """The comparison of all contenders so far.

        Args:
            not_run: Contenders that could not be run.
            timings: Seconds per stage.
        """
        contenders = [
            dataclasses.replace(one, verdict=held_against(one.verdict, self._checks[one.name]))
            for one in self._contenders
        ]
        subject = self._subject
        return Comparison(
            dataset=subject.dataset,
            synthetic=subject.synthetic,
            smoke=subject.smoke,
            seed=subject.seed,
            settings=dict(subject.settings),
            versions=versions(),
            contenders=mark_dominated(contenders),
            not_run=(*self._runner.participants.left_out(noised=self._is_noised), *not_run),
            checks=self._checks,
            timings=dict(timings or {}),
            evidence=evidence_for(self._runner.undefended, self.answers, subject),
        )


def compare(
    target: Any,
    data: LabelledData,
    split: Split,
    defenses: Sequence[str] | Mapping[str, Defense],
    *,
    attacks: Sequence[str] | Mapping[str, AttackSpec | type[Attack]] | None = None,
    own_attacks: Mapping[str, AttackSpec | type[Attack]] | None = None,
    knowledge: Sequence[str] = KNOWLEDGE,
    adversary: Sequence[str] = ADVERSARIES,
    shadow: Any = None,
    noise: str = "keyed",
    seed: int = 0,
    fit_share: float = 0.5,
    max_queries: int = 1000,
    progress: Progress | bool | None = None,
) -> Comparison:
    """Attacks a trained model without a defense, and behind one defense after the other.

    The undefended model is attacked once, and static attackers are fitted once for all defenses.

    Args:
        target: The trained model; see `evaluate`.
        data: The data set.
        split: The rows of each role, such as the target's members and non-members.
        defenses: Names in the format of ``--defenses``, such as ``["defenmi", "rounding=1"]``, or a mapping from names
            to defenses. Named defenses that need a classifier or class means are fitted on the split's defender rows.
        attacks: Names of attackers; see `evaluate`, also for the arguments below.
        own_attacks: User-defined attackers by name.
        knowledge: ``"auditor"``, ``"shadow"`` or both.
        adversary: ``"static"``, ``"adaptive"`` or both.
        shadow: A model that the attacker trained on the split's attacker rows.
        noise: ``"keyed"`` or ``"fresh"``.
        seed: Seed of everything that is random.
        fit_share: Share of the evaluation's rows that auditors are fitted on, 0 … 1.
        max_queries: Largest number of queries per sample, for attackers that search.
        progress: Progress display.

    Returns:
        The figures of every attacker and the utility for every defense, and for each defense the names of those that
        dominate it; see `mark_dominated`.

    Raises:
        InputError: If an argument is invalid, or the rows, the labels or the model do not match.
    """
    config = EvaluationConfig(None, tuple(knowledge), tuple(adversary), noise, max_queries)
    runner, subject = prepared(
        target, data, split, config,
        attacks=attacks, own_attacks=own_attacks, shadow=shadow, seed=seed, fit_share=fit_share, progress=progress,
    )  # fmt: skip
    undefended = runner.undefended
    assert undefended.model is not None
    rows, model = undefended.sets.defender, undefended.model
    if rows is None and not isinstance(defenses, Mapping):
        needing = [name for name in defenses if DefenseSpec.parse(name).needs_fitting]
        if needing:
            fix = "give the defender some rows; in from_datasets set defender_share above 0"
            expected = f"at least one row to fit {needing[0]} on"
            raise InputError(f"split {split.name} defender_non_members", expected=expected, got="none", fix=fix)

    def parts() -> Parts:
        known = undefended.sets.everyone if rows is None else rows  # without defender rows, no defense is fitted
        return fitted_parts(
            lambda: model.logits(known.features()), known.is_member(),
            classes=data.num_classes, seed=seed, progress=progress,
        )  # fmt: skip

    return _compared(runner, subject, _built(defenses, parts), noise=noise, knows=False)


def compare_outputs(
    outputs: RecordedOutputs,
    defenses: Sequence[str] | Mapping[str, Defense],
    *,
    attacks: Sequence[str] | Mapping[str, AttackSpec | type[Attack]] | None = None,
    own_attacks: Mapping[str, AttackSpec | type[Attack]] | None = None,
    adversary: Sequence[str] = ADVERSARIES,
    seed: int = 0,
    fit_share: float = 0.5,
    progress: Progress | bool | None = None,
) -> Comparison:
    """Compares defenses of recorded outputs. Defenses are fitted on rows on which no attacker is evaluated.

    If the outputs have no labels, attackers that use true classes are not run, and accuracy, calibration error and
    negative log-likelihood are None.

    Args:
        outputs: Undefended outputs from `mindefense.data.load_outputs`.
        defenses: See `compare`.
        attacks: Names of attackers; see `evaluate_outputs`, also for the arguments below.
        own_attacks: User-defined attackers by name.
        adversary: ``"static"``, ``"adaptive"`` or both.
        seed: Seed of the attackers, and of the division of the rows if the outputs have none.
        fit_share: Share of the rows to fit on, 0 … 1, if the outputs have no division.
        progress: Progress display.

    Returns:
        See `compare`.

    Raises:
        InputError: If the outputs hold defended answers, a defense is unknown, there are too few rows, or none of the
            requested attackers can take part.
    """
    if outputs.defended_log_probs is not None:
        fix = "give a file with the undefended answers only"
        raise InputError(outputs.name, expected="only undefended answers", got="defended answers as well", fix=fix)
    undefended = recorded_scenario(outputs, seed=seed, fit_share=fit_share)
    context = AttackContext(seed=seed)
    attackers = attackers_of(attacks, own_attacks, context=context, adversary=adversary)
    runner = AttackRunner(attackers, undefended, progress=progress)
    runner.participants.check_somebody()
    settings = recorded_settings(outputs, attacks, own_attacks, adversary)
    subject = Subject(dataset=outputs.name, seed=seed, settings=settings, digests={"outputs": outputs.sha256})
    known = undefended.sets.known

    def parts() -> Parts:
        return fitted_parts(
            lambda: outputs.log_probs[known.features()], known.is_member(),
            classes=outputs.log_probs.shape[1], seed=seed, progress=progress,
        )  # fmt: skip

    numbers = outputs.indices[undefended.sets.everyone.features()]
    ready = _built(defenses, parts)
    return _compared(runner, subject, ready, noise="keyed", knows=True, indices=numbers)


def _built(
    defenses: Sequence[str] | Mapping[str, Defense], parts: Callable[[], Parts]
) -> dict[str, Callable[[], Defense]]:
    """A function that builds each defense, by name."""
    if isinstance(defenses, Mapping):
        for name, one in defenses.items():
            if not isinstance(one, Defense):
                raise InputError(f"defense {name}", expected="a Defense", got=type(one).__name__)
        return {name: functools.partial(defenses.__getitem__, name) for name in defenses}
    specs = parse_lineup((defenses,) if isinstance(defenses, str) else tuple(defenses))
    made = parts()
    return {str(spec): functools.partial(spec.build, made.classifier, made.class_means, made.classes) for spec in specs}


def _compared(
    runner: AttackRunner,
    subject: Subject,
    defenses: Mapping[str, Callable[[], Defense]],
    *,
    noise: str,
    knows: bool,
    indices: np.ndarray | None = None,
) -> Comparison:
    undefended = runner.undefended
    contest = Contest(runner, subject, answers_of(undefended, undefended, indices=indices))
    for name, build in defenses.items():
        scenario = undefended.behind(build(), seed=subject.seed, noise=noise, knows=knows)
        contest.enter(name, scenario, answers_of(undefended, scenario, indices=indices))
    return contest.comparison()


def contender(
    name: str,
    config: Mapping[str, object],
    trials: Sequence[Trial],
    answers: Outputs,
    *,
    in_training: bool = False,
    before: Sequence[Trial] | None = None,
    labelled: bool = True,
) -> Contender:
    """The leak and the utility of one contender.

    Args:
        name: Its name in the results.
        config: Its settings.
        trials: The attackers on its answers: undefended answers if the contender is the undefended target or a defense
            in training, otherwise defended ones.
        answers: The undefended answers and, except for the undefended target, the contender's answers.
        in_training: Whether it is a defense in training.
        before: The attackers on the undefended target, on the same rows; None for the undefended target itself.
        labelled: Whether true classes are known.
    """
    defended = trials[0].result.defended
    return Contender(
        name=name,
        config=dict(config),
        in_training=in_training,
        utility=utility(answers)[1],
        verdict=verdict_of(trials, defended=defended, labelled=labelled),
        attacks=tuple(trial.result for trial in trials),
        change=None if before is None else changed(before, trials),
    )


def mark_dominated(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """The contenders, each with the names of those that dominate it.

    A contender dominates another if it leaks no more (highest balanced accuracy and highest two-sided AUC of the
    attackers), costs no more (mean L1 distance, calibration error, negative log-likelihood, accuracy), and is better
    in at least one of these. Costs that need true classes count only if the classes are known. Point estimates are
    compared, without their intervals; many differences are smaller than the intervals. The L1 distance counts only
    between defenses that reshape answers: a defense in training gives another model, whose users never saw the answers
    of the undefended one.
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
    """The quantities that should be small: leaks first, then costs."""
    verdict, cost = contender.verdict, contender.utility
    by_classes = (cost.ece, cost.nll, None if cost.accuracy is None else -cost.accuracy)
    return (
        verdict.strongest.metrics.balanced_accuracy,
        verdict.sharpest.metrics.two_sided_auc,
        *((cost.mean_l1,) if with_l1 else ()),
        *(one for one in by_classes if one is not None),
    )
