"""Runs attackers. Each is fitted once on the undefended scenario, and once more for every defense.

Attackers that are fitted in parts (`Attack.fit_in_parts`) are fitted side by side, in one process for each core.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mindefense.attacks.bank import BankAttack, too_few_models
from mindefense.attacks.base import Attack, scores_of
from mindefense.attacks.registry import ATTACKS, AttackContext, AttackSpec, kinds, resolve, select
from mindefense.errors import InputError
from mindefense.evaluation.facts import Training, training_name
from mindefense.evaluation.scenario import Rows, Scenario
from mindefense.metrics import membership_metrics, tpr_at_fpr
from mindefense.metrics.identified import SMALL_FPRS
from mindefense.progress import Progress, progress_of
from mindefense.subprocesses import processes, side_by_side
from mindefense.targets.base import Target
from mindefense.types import AttackResult, NotRun, RatesByAll, RowRisks, Trial

BANKS = ("online", "offline")
"""Kinds of banks of shadow models: trained on some of the evaluated rows, or only on other rows."""
KNOWLEDGE = ("auditor", "shadow", *BANKS)
"""What attackers are fitted on: known members of the target itself, one shadow model, or a bank of shadow models."""
_FOR_ANY_TARGET = ("shadow", "offline")
"""Knowledge that does not depend on which model is the target."""
ADVERSARIES = ("static", "adaptive")
"""Whether an attacker knows of the defense."""


@dataclasses.dataclass(frozen=True)
class Attackers:
    """The attackers of an evaluation, and their knowledge.

    Attributes:
        specs: The attackers by name.
        context: The settings that they are made with.
        knowledge: Some of `KNOWLEDGE`.
        adversary: Some of `ADVERSARIES`.

    Raises:
        InputError: If `knowledge` or `adversary` has an unknown value.
    """

    specs: Mapping[str, AttackSpec] = dataclasses.field(default_factory=lambda: select(None))
    context: AttackContext = dataclasses.field(default_factory=AttackContext)
    knowledge: tuple[str, ...] = KNOWLEDGE
    adversary: tuple[str, ...] = ADVERSARIES

    def __post_init__(self) -> None:
        for name, allowed in (("knowledge", KNOWLEDGE), ("adversary", ADVERSARIES)):
            if unknown := [value for value in getattr(self, name) if value not in allowed]:
                raise InputError(name, expected=" or ".join(allowed), got=repr(unknown[0]))


def attackers_of(
    attacks: Sequence[str] | Mapping[str, AttackSpec | type[Attack]] | None,
    own_attacks: Mapping[str, AttackSpec | type[Attack]] | None = None,
    *,
    context: AttackContext,
    knowledge: Sequence[str] = KNOWLEDGE,
    adversary: Sequence[str] = ADVERSARIES,
) -> Attackers:
    """The attackers that a caller requests; see `evaluate`.

    Raises:
        InputError: If a name is unknown or already taken, or a value is not an attack.
    """
    own = resolve(own_attacks or {})
    if taken := [name for name in own if name in ATTACKS]:
        raise InputError("own_attacks", expected="a name that no built-in attacker has", got=repr(taken[0]))
    if isinstance(attacks, Mapping):
        own = {**resolve(attacks), **own}
        attacks = ("gap",)
    return Attackers({**select(names_of(attacks)), **own}, context, tuple(knowledge), tuple(adversary))


def names_of(attacks: Sequence[str] | Mapping[str, Any] | None) -> tuple[str, ...] | None:
    """The names of the built-in attackers that a caller requests; None for all."""
    if attacks is None:
        return None
    return ("gap",) if isinstance(attacks, Mapping) else (attacks,) if isinstance(attacks, str) else tuple(attacks)


class AttackRunner:
    """Runs attackers on one target, for any number of defenses. Static attackers are fitted only once.

    Args:
        attackers: The attackers; `left_out` reports those that do not support these samples.
        undefended: The scenario without a defense.
        progress: Progress display; see `evaluate`.
        timed: Returns a context manager that measures the stage of the given name.

    Attributes:
        attackers: As given.
        undefended: As given.
        progress: The progress display.
        trainings: The trainings of attack networks and the iterative fits of attackers, by `training_name`.
        risks: For each attacker that compares one statistic with an online bank, and each state: the risk of each row.
        on_canaries: The trials of all attackers on the canaries.

    Raises:
        InputError: If the rows to fit on and to evaluate on overlap, or either are missing.
    """

    def __init__(
        self,
        attackers: Attackers,
        undefended: Scenario,
        *,
        progress: Progress | bool | None = None,
        timed: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda stage: contextlib.nullcontext(),
    ):
        undefended.sets.check()
        everyone = undefended.sets.everyone
        for bank in undefended.banks.values():
            bank.check_without(everyone.indices(), everyone.is_member())
        self.attackers, self.undefended = attackers, undefended
        self.trainings: dict[str, Training] = {}
        self.on_canaries: list[Trial] = []
        self.risks: list[RowRisks] = []
        self.progress, self._timed = progress_of(progress), timed
        self._fitted: dict[tuple[str, str], Attack] = {}
        self._adaptive: dict[tuple[str, str], Attack] = {}
        self._adapted_to: Scenario | None = None
        self._not_run: list[NotRun] = []
        self._plan: list[tuple[str, Attack, str]] = []
        for name, spec in attackers.specs.items():
            declared = spec.make(attackers.context)
            learns_from = declared.learns_from if declared.needs_fit else ("none",)
            for wanted in learns_from:
                if wanted != "none" and wanted not in attackers.knowledge:
                    if not set(learns_from) & set(attackers.knowledge):
                        limits = " and ".join(attackers.knowledge) or "nothing"
                        self._not_run.append(NotRun(name, wanted, f"attackers were limited to {limits}"))
                    continue
                others = set(undefended.banks) & set(learns_from) & set(attackers.knowledge)
                if wanted in BANKS and wanted not in undefended.banks and others:
                    continue  # there is a bank of the other kind
                if (reason := self._obstacle(declared, wanted)) is not None:
                    if wanted == BANKS[1] and not undefended.banks and BANKS[0] in attackers.knowledge:
                        continue  # the missing bank is reported once, for the first kind
                    self._not_run.append(NotRun(name, wanted, reason))
                else:
                    self._plan.append((name, declared, wanted))

    def check_somebody(self) -> None:
        """Raises InputError if only the gap attack takes part, although others were requested."""
        if self._not_run and all(name == "gap" for name, _, _ in self._plan):
            left_out = self._not_run[0]
            raise InputError(
                "attacks",
                expected="at least one that can take part",
                got=f"{', '.join(dict.fromkeys(left_out.name for left_out in self._not_run))}: {left_out.reason}",
                fix="name other attackers, or none to run all that can take part",
            )

    def run(self, scenario: Scenario | None = None, *, title: str | None = None) -> list[Trial]:
        """Runs every attacker on one state of the target.

        Behind a defense, each attacker that is fitted is run twice: as a static and as an adaptive attacker.

        Args:
            scenario: The same models behind a defense; None for the undefended scenario.
            title: Name of the stage in the progress display.

        Returns:
            One trial per attacker, knowledge and adversary.
        """
        scenario = scenario or self.undefended
        defense = scenario.defense
        if scenario is not self._adapted_to:
            self._adaptive, self._adapted_to = {}, scenario
        noised = defense is not None and defense.is_random
        plan = [one for one in self._plan if noised or not one[1].needs_randomness]
        trials = []
        title = title or ("attack" if defense is None else "attack the defended")
        with self.progress.stage(title, len(plan)) as advance:
            for position, (name, declared, knowledge) in enumerate(plan):
                judged = functools.partial(self._judge, name=name, scenario=scenario, knowledge=knowledge)
                static, adaptive = self._adversaries(knowledge, scenario)
                if adaptive and knowledge in BANKS and knowledge not in scenario.banks:
                    adaptive = False
                    reason = (
                        "the defended answers of the shadow models, which adaptive attackers need, are not recorded"
                    )
                    self._not_run.append(NotRun(name, knowledge, reason))
                if declared.fits_in_parts:
                    self._fit_side_by_side(plan[position:], scenario)
                with self._timed(f"attack {name}"):
                    if static:
                        trials.append(judged(self._static(name, knowledge), adversary="static"))
                    if adaptive:
                        trials.append(judged(self._adapted(name, knowledge), adversary="adaptive"))
                advance(1, name)
        return trials

    def _adversaries(self, knowledge: str, scenario: Scenario) -> tuple[bool, bool]:
        """Whether attackers of a knowledge take part in a scenario as static and as adaptive ones."""
        if knowledge == "none" or scenario.defense is None:  # only a fit can adapt, and only to a defense
            return True, False
        return "static" in self.attackers.adversary, "adaptive" in self.attackers.adversary

    def with_target(self, number: int, others: np.ndarray) -> list[Trial]:
        """Runs every attacker on a model of the online bank, in the states that the target was last attacked in.

        Attackers that learned from the shadow model or from the offline bank are the same for any target and are not
        fitted again.

        Args:
            number: The model's number in the bank.
            others: ``(k,)`` numbers of the models that remain in the bank.

        Returns:
            One trial per attacker, knowledge, adversary and state.
        """
        undefended, defended = self.undefended, self._adapted_to
        if defended is not None and (defended.defense is None or "online" not in defended.banks):
            defended = None
        knows = defended is not None and defended.defense is not None and defended.defense.knows
        sets, bank = undefended.sets, undefended.banks["online"]
        held = bank.trained_on(sets.everyone.indices())[number]
        sets = sets.by_membership(held, seed=self.attackers.context.seed, keep_division=knows)
        with contextlib.ExitStack() as stack:
            # Attackers that change samples ask for many answers, which no other target needs.
            for memory in (*bank.models[number : number + 1], bank[number]):
                stack.enter_context(memory.restoring())
            runner = AttackRunner(self.attackers, undefended.with_target(number, others, sets), progress=False)
            runner._fitted = {key: one for key, one in self._fitted.items() if key[1] in _FOR_ANY_TARGET}
            trials = runner.run()
            if defended is not None:
                stack.enter_context(defended.banks["online"][number].restoring())
                runner._adapted_to = defended.with_target(number, others, sets)
                runner._adaptive = {key: one for key, one in self._adaptive.items() if key[1] in _FOR_ANY_TARGET}
                trials += runner.run(runner._adapted_to)
        return trials

    def left_out(self, *, noised: bool) -> tuple[NotRun, ...]:
        """The attackers that did not take part, with the reason.

        Args:
            noised: Whether answers depend on noise in some state of the target.
        """
        reason = "no answers depended on noise, so repeated queries give no new information"
        idle = [NotRun(name, knowledge, reason) for name, attack, knowledge in self._plan if attack.needs_randomness]
        return (*self._not_run, *(() if noised else idle))

    def not_asked(self, *, noised: bool) -> dict[str, tuple[str, ...]]:
        """For each kind of which no attacker took part, the names of those that could have; for other kinds none.

        Args:
            noised: Whether answers depend on noise in some state of the target.
        """
        known = {name: spec.make(self.attackers.context) for name, spec in ATTACKS.items()}

        def could(name: str, knowledge: str) -> bool:
            attack = known[name]
            if attack.needs_randomness and not noised:
                return False
            if knowledge == "shadow" and self.undefended.answers_variants and self.undefended.sets.shadow is not None:
                # A shadow model could be trained on these rows.
                return attack.unsupported(self.undefended.sets.everyone.members) is None
            if knowledge in BANKS and self.undefended.answers_variants and self.undefended.sets.labelled:
                return attack.unsupported(self.undefended.sets.everyone.members) is None  # a bank could be trained
            return self._obstacle(attack, knowledge) is None

        took_part = {(name, knowledge) for name, one, knowledge in self._plan if noised or not one.needs_randomness}
        pairs = [(name, one) for name, attack in known.items() if attack.needs_fit for one in attack.learns_from]
        groups = {kind: [pair for pair in pairs if pair[0] in names] for kind, names in kinds().items()}
        groups["shadow models"] = [pair for pair in pairs if pair[1] == "shadow"]
        missing = {}
        for kind, those in groups.items():
            able = [name for name, knowledge in those if could(name, knowledge)]
            # Attackers that need thousands of queries only run when they are named.
            usual = [name for name in dict.fromkeys(able) if not ATTACKS[name].on_request]
            missing[kind] = () if took_part & set(those) else tuple(usual)
        return missing

    def _obstacle(self, attack: Attack, knowledge: str) -> str | None:
        """The reason why an attacker cannot take part; None if it can."""
        undefended = self.undefended
        if attack.asks == "variants" and not undefended.answers_variants:
            return "it queries changed samples, for which recorded outputs have no answers; evaluate the model itself"
        if knowledge == "shadow" and (undefended.shadows is None or undefended.sets.shadow is None):
            if not undefended.answers_variants:
                return "recorded outputs have no shadow model; evaluate the model itself and train one"
            return (
                "there is no shadow model; train one with `mindefense train-shadow` if the study has that stage, or "
                "give one in Python: evaluate(shadow=Network(net))"
            )
        if knowledge in BANKS and knowledge not in undefended.banks:
            if not undefended.answers_variants:
                return "there are no shadow models; give their answers with --shadow_outputs"
            return "there is no bank of shadow models; train one with `mindefense train-shadows`"
        if knowledge in BANKS and (reason := too_few_models(undefended.banks[knowledge])) is not None:
            return f"the bank of shadow models is too small: {reason}"
        if attack.needs_labels and not undefended.sets.labelled:
            return "it uses the true classes, which the recorded outputs lack; record them as labels"
        return attack.unsupported(undefended.sets.everyone.members)

    def _rows(self, knowledge: str) -> tuple[Rows | None, Rows]:
        """The rows that attackers of a knowledge are fitted on, and those they are evaluated on."""
        sets = self.undefended.sets
        if knowledge == "auditor":
            return sets.known, sets.judged
        return (sets.shadow if knowledge == "shadow" else None), sets.everyone

    def _static(self, name: str, knowledge: str) -> Attack:
        if (name, knowledge) not in self._fitted:
            self._fitted[name, knowledge] = self._fit(name, self.undefended, knowledge, "static")
        return self._fitted[name, knowledge]

    def _adapted(self, name: str, knowledge: str) -> Attack:
        assert self._adapted_to is not None
        if (name, knowledge) not in self._adaptive:
            self._adaptive[name, knowledge] = self._fit(name, self._adapted_to, knowledge, "adaptive")
        return self._adaptive[name, knowledge]

    def _fit(self, name: str, scenario: Scenario, knowledge: str, adversary: str) -> Attack:
        attack = self.attackers.specs[name].make(self.attackers.context)
        if isinstance(attack, BankAttack):
            return attack.fit(scenario.banks[knowledge])
        if self._rows(knowledge)[0] is None:
            return attack
        target, rows = self._known(attack, scenario, knowledge)
        estimate = getattr(attack, "estimate", None)
        if estimate is not None:
            queries, seconds = estimate(target, rows.members)
            times = 2 + len(rows.non_members) / len(rows.members)  # it is evaluated on about as many rows again
            self.progress.say(
                f"{name}: about {times * queries:.0f} queries and {times * seconds / 60:.0f} minutes "
                f"(at most {self.attackers.context.max_queries} queries per sample: --max_queries)"
            )
        attack.fit(target, rows.members, rows.non_members)
        self._note_training(attack, target, rows, name, knowledge, adversary)
        return attack

    def _fit_side_by_side(self, plan: Sequence[tuple[str, Attack, str]], scenario: Scenario) -> None:
        """Fits those of a plan that are fitted in parts, side by side if there are several of them and several cores.

        Those that are not fitted here are fitted in their turn.
        """
        undone = [
            (name, knowledge, adversary)
            for name, declared, knowledge in plan
            if declared.fits_in_parts and self._rows(knowledge)[0] is not None
            for adversary, takes_part in zip(ADVERSARIES, self._adversaries(knowledge, scenario), strict=True)
            if takes_part and (name, knowledge) not in self._kept(adversary)
        ]
        if min(len(undone), processes()) < 2:
            return
        with self._timed(f"attack {', '.join(dict.fromkeys(name for name, _, _ in undone))}"):
            begun = []
            for name, knowledge, adversary in undone:
                attack = self.attackers.specs[name].make(self.attackers.context)
                target, rows = self._known(attack, self.undefended if adversary == "static" else scenario, knowledge)
                parts = attack.fit_in_parts(target, rows.members, rows.non_members)
                if parts is not None:
                    begun.append((parts, attack, target, rows, (name, knowledge, adversary)))
            results = list(side_by_side((parts.work for parts, *_ in begun), min(len(begun), processes()) or 1))
            for (parts, attack, target, rows, names), result in zip(begun, results, strict=True):
                parts.finish(result)
                self._note_training(attack, target, rows, *names)
                self._kept(names[-1])[names[:2]] = attack

    def _kept(self, adversary: str) -> dict[tuple[str, str], Attack]:
        """The fitted attackers by name and knowledge."""
        return self._fitted if adversary == "static" else self._adaptive

    def _known(self, attack: Attack, scenario: Scenario, knowledge: str) -> tuple[Target, Rows]:
        """The target that an attacker is fitted on, and the rows whose membership it knows."""
        rows, _ = self._rows(knowledge)
        assert rows is not None
        target = scenario.target
        if knowledge == "shadow":
            assert scenario.shadows is not None
            target = scenario.shadows[0]
        return target, rows.first(attack.max_samples)

    def _note_training(
        self, attack: Attack, target: Target, rows: Rows, name: str, knowledge: str, adversary: str
    ) -> None:
        """Records how an attacker was fitted, for the checks."""
        training = training_name(name, knowledge, adversary)
        history = getattr(attack, "history_", None)
        if history is not None:
            # Balanced, because the accuracy in the history rewards guessing if there are more rows of one kind.
            names = {"name": name, "knowledge": knowledge, "adversary": adversary, "defended": False}
            accuracy = judge(attack, target, rows, rows, **names).result.metrics.balanced_accuracy
            self.trainings[training] = Training(losses=[epoch.loss for epoch in history], accuracy=accuracy)
        elif hasattr(attack, "stopped_"):
            self.trainings[training] = Training(stopped=attack.stopped_)

    def _judge(self, attack: Attack, name: str, scenario: Scenario, knowledge: str, adversary: str) -> Trial:
        names = {"name": name, "knowledge": knowledge, "adversary": adversary}
        judged = functools.partial(judge, attack, scenario.target, **names, defended=scenario.defense is not None)
        sets = self.undefended.sets
        if sets.canaries is not None:
            canaries = sets.canaries.first(attack.max_samples)
            self.on_canaries.append(judged(canaries, canaries))
        rows = self._rows(knowledge)[1]
        if isinstance(attack, BankAttack) and (adversary == "adaptive" or scenario.defense is None):
            self._note_risks(attack, name, scenario)
        knows = scenario.defense is not None and scenario.defense.knows
        if knows and knowledge in BANKS:
            rows = sets.judged
        rows = rows.first(attack.max_samples)
        return judged(rows, sets.everyone, ranks_all=not knows)

    def _note_risks(self, attack: BankAttack, name: str, scenario: Scenario) -> None:
        everyone = self.undefended.sets.everyone
        parts = [attack.separations(samples) for samples in (everyone.members, everyone.non_members)]
        columns = [np.concatenate(column) for column in zip(*(part for part in parts if part is not None), strict=True)]
        if columns and scenario.defense is not None and scenario.defense.knows:
            # Rows that the defense was fitted on are treated differently from others.
            is_fit = np.isin(everyone.indices(), self.undefended.sets.known.indices())
            columns = [np.where(is_fit, np.nan, column) for column in columns]
        if columns and len(columns[0]) == len(everyone):
            defended, models = scenario.defense is not None, len(attack.bank_)
            self.risks.append(
                RowRisks(defended, name, models, *columns, labels=everyone.labels(), indices=everyone.indices())
            )


def run_attacks(scenario: Scenario, attackers: Attackers, *, undefended: Scenario | None = None) -> list[Trial]:
    """Runs every attacker on one state of a target, for callers that need only the trials.

    Args:
        scenario: The state of the target.
        attackers: The attackers.
        undefended: The same target without a defense, on which static attackers are fitted; None if `scenario` has no
            defense.

    Returns:
        One trial per attacker, knowledge and adversary.

    Raises:
        InputError: If the rows to fit on and to evaluate on overlap, or either are missing.
    """
    return AttackRunner(attackers, undefended or scenario).run(scenario)


def judge(
    attack: Attack,
    target: Target,
    rows: Rows,
    everyone: Rows,
    *,
    name: str,
    knowledge: str,
    adversary: str,
    defended: bool,
    ranks_all: bool = True,
) -> Trial:
    """Evaluates a fitted attack on rows.

    An attack whose scores do not depend on the rows it was fitted on also ranks all rows of the evaluation. With more
    rows, the test for identified members has more power.

    Args:
        attack: The attack.
        target: The target that it queries.
        rows: The samples that it is evaluated on, all of them in `everyone`.
        everyone: The evaluation's rows.
        name: Name of the attack in the result.
        knowledge: Its knowledge; copied to the result.
        adversary: ``"static"`` or ``"adaptive"``; copied to the result.
        defended: Whether `target` has a defense; copied to the result.
        ranks_all: Whether it may rank all rows; False if the defense treats some of them differently.

    Raises:
        InputError: If the attack does not return one number per sample, or has no threshold.
    """
    scores = np.concatenate([scores_of(attack, target, samples, name) for samples in (rows.members, rows.non_members)])
    if not hasattr(attack, "threshold_"):
        if attack.needs_fit:
            expected, fix = (
                "threshold_ after fit",
                "set it in fit, or derive the attack from ScoreAttack, whose fit sets it",
            )
        else:  # it is never fitted
            expected = "threshold_, since its needs_fit is False"
            fix = "set it on the class or in __init__, or declare needs_fit = True and set it in fit"
        raise InputError(f"attack {name}", expected=expected, got="none", fix=fix)
    is_member = rows.is_member()
    ranked = by_all = None
    if ranks_all and not attack.fits_scores and len(everyone) > len(rows):
        both = [scores_of(attack, target, samples, name) for samples in (everyone.members, everyone.non_members)]
        ranked = (np.concatenate(both), everyone.is_member())
        rates = tuple(tpr_at_fpr(*ranked, fpr=fpr) for fpr in SMALL_FPRS)
        by_all = RatesByAll(len(everyone.members), len(everyone.non_members), rates)
    metrics = membership_metrics(scores, is_member, threshold=attack.threshold_)
    own = None
    if attack.own_threshold not in (None, attack.threshold_):
        own = membership_metrics(scores, is_member, threshold=attack.own_threshold)
    result = AttackResult(name, knowledge, adversary, defended, metrics, own=own, by_all=by_all)
    known = everyone.indices()
    order = np.argsort(known)
    samples = order[np.searchsorted(known, rows.indices(), sorter=order)]
    return Trial(result, scores, float(attack.threshold_), samples, is_member, ranked)
