"""Many defenses in front of one target, side by side: what each leaves to the attackers and what it costs the users."""

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
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.fitting import fitted_parts
from mindefense.evaluation.recorded import recorded_scenario, recorded_settings
from mindefense.evaluation.runner import ADVERSARIES, KNOWLEDGE, AttackRunner, attackers_of
from mindefense.evaluation.scenario import Scenario
from mindefense.evaluation.summary import Subject, answers_of, checks_of, evidence_for, is_noised, utility
from mindefense.evaluation.verdict import changed, held_against, verdict_of
from mindefense.progress import Progress
from mindefense.runtime import versions
from mindefense.types import Check, Comparison, Contender, LabelledData, NotRun, Outputs, Trial

_TOLERANCE = 1e-9


class Contest:
    """A comparison while it is made: the undefended target first, then one contender after the other.

    Args:
        runner: Runs the attackers; those that do not know of a defense are fitted once for all of them.
        subject: What is compared.
        answers: What the undefended target says of the evaluation's rows.

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
            name: What to call the defense.
            scenario: The target behind it.
            answers: What the target says of the evaluation's rows, without and with it.
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
        """Takes a contender that attackers have been run on elsewhere."""
        self._contenders.append(one)
        self._checks[one.name] = checks

    def comparison(self, *, not_run: Sequence[NotRun] = (), timings: Mapping[str, float] | None = None) -> Comparison:
        """What came of it.

        Args:
            not_run: Contenders that could not be run.
            timings: Seconds by stage.
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
            not_run=(*self._runner.left_out(noised=self._is_noised), *not_run),
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

    The attackers on the undefended model are run once, and so are the fits of those that do not know of a defense.

    Args:
        target: The trained model, as `evaluate` takes it.
        data: The data set.
        split: Which of its rows are members of what.
        defenses: Names as ``--defenses`` takes them, such as ``["defenmi", "rounding=1"]``; those that need a
            classifier or class means are fitted on the split's defender rows. Or defenses by the names to give them.
        attacks: See `evaluate`, also for the following arguments.
        own_attacks: Attackers of your own.
        knowledge: ``"auditor"``, ``"shadow"`` or both.
        adversary: ``"static"``, ``"adaptive"`` or both.
        shadow: A model trained by the attacker on the split's attacker rows.
        noise: ``"keyed"`` or ``"fresh"``.
        seed: Decides everything that is random.
        fit_share: Share of the evaluation's rows that auditors are fitted on.
        max_queries: Most questions about one sample, for attackers that search.
        progress: Told what happens; see `evaluate`.

    Returns:
        What each leaves to the attackers and costs the users, and which of them another one dominates.

    Raises:
        InputError: If an argument is unknown, or the rows or the model do not fit.
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
        known = undefended.sets.everyone if rows is None else rows  # without any, nothing that is fitted gets here
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
    """Compares defenses of recorded outputs; defenses are fitted on rows on which no attacker is evaluated.

    Where the outputs hold no labels, attackers that look at true classes are not run, and accuracy, calibration error
    and negative log-likelihood are None.

    Args:
        outputs: From `mindefense.data.load_outputs`, undefended.
        defenses: As of `compare`.
        attacks: See `evaluate_outputs`, also for the following arguments.
        own_attacks: Attackers of your own.
        adversary: ``"static"``, ``"adaptive"`` or both.
        seed: Divides the rows where the outputs do not, and seeds the attackers.
        fit_share: Share of the rows to fit on, where the outputs do not say.
        progress: Told what happens.

    Raises:
        InputError: If a defense is unknown, there are too few rows, or nobody that was asked for can attack them.
    """
    if outputs.defended_log_probs is not None:
        fix = "give a file of the undefended ones"
        raise InputError(outputs.name, expected="undefended answers alone", got="defended ones too", fix=fix)
    undefended = recorded_scenario(outputs, seed=seed, fit_share=fit_share)
    context = AttackContext(seed=seed)
    attackers = attackers_of(attacks, own_attacks, context=context, adversary=adversary)
    runner = AttackRunner(attackers, undefended, progress=progress)
    runner.check_somebody()
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
    """How each defense comes about, by name."""
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
    """What attackers and users get from one way to defend.

    Args:
        name: What to call it.
        config: Its settings.
        trials: The attackers on it: on its defended answers, or on the undefended ones of a target that defends itself
            by how it was trained, or that nothing defends.
        answers: The undefended and, but for the undefended target, the contender's answers.
        in_training: Whether it is a way to train.
        before: The attackers on the undefended target, by the same rows; None for that one itself.
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
    """The contenders with the names of those that dominate each.

    One dominates another if it leaks no more (the strongest attacker's balanced accuracy and two-sided AUC), costs
    no more (mean L1 distance, calibration error, negative log-likelihood, accuracy lost) and is better in at least one
    of these. Costs that take true classes count only where these are known. Figures are compared as they were measured;
    intervals are wider than many differences between them. The L1
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
    by_classes = (cost.ece, cost.nll, None if cost.accuracy is None else -cost.accuracy)
    return (
        verdict.strongest.metrics.balanced_accuracy,
        verdict.sharpest.metrics.two_sided_auc,
        *((cost.mean_l1,) if with_l1 else ()),
        *(one for one in by_classes if one is not None),
    )
