"""Runs attackers on a target. Each is fitted once without a defense, and once more for every defense."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mindefense.attacks.bank import BankAttack
from mindefense.attacks.base import Attack
from mindefense.evaluation.attackers import ADVERSARIES, BANKS, Attackers, Participants
from mindefense.evaluation.facts import Training
from mindefense.evaluation.fits import Fits
from mindefense.evaluation.judging import judge
from mindefense.evaluation.scenario import Scenario
from mindefense.progress import Progress, progress_of
from mindefense.types import NotRun, RowRisks, Trial


class AttackRunner:
    """Runs attackers on one target, for any number of defenses. Static attackers are fitted only once.

    Args:
        attackers: The attackers; `participants` reports those that do not support these samples.
        undefended: The scenario without a defense.
        progress: Progress display; see `evaluate`.
        timed: Returns a context manager that measures the stage of the given name.

    Attributes:
        attackers: As given.
        undefended: As given.
        progress: The progress display.
        participants: Who takes part, and why others do not.
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
        self.participants = Participants(attackers, undefended)
        self.on_canaries: list[Trial] = []
        self.risks: list[RowRisks] = []
        self.progress, self._timed = progress_of(progress), timed
        self._fits = Fits(attackers, undefended, self.progress, timed)

    @property
    def trainings(self) -> dict[str, Training]:
        """The trainings of attack networks and the iterative fits of attackers, by `training_name`."""
        return self._fits.trainings

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
        self._fits.adapt_to(scenario)
        noised = defense is not None and defense.is_random
        plan = [one for one in self.participants.plan if noised or not one[1].needs_randomness]
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
                    self.participants.not_run.append(NotRun(name, knowledge, reason))
                if declared.fits_in_parts:
                    self._fits.side_by_side(self._in_parts(plan[position:], scenario))
                with self._timed(f"attack {name}"):
                    if static:
                        trials.append(judged(self._fits.of(name, knowledge, "static"), adversary="static"))
                    if adaptive:
                        trials.append(judged(self._fits.of(name, knowledge, "adaptive"), adversary="adaptive"))
                advance(1, name)
        return trials

    def _in_parts(self, plan: Sequence[tuple[str, Attack, str]], scenario: Scenario) -> list[tuple[str, str, str]]:
        """Name, knowledge and adversary of those of a plan that can be fitted in parts."""
        return [
            (name, knowledge, adversary)
            for name, declared, knowledge in plan
            if declared.fits_in_parts
            for adversary, takes_part in zip(ADVERSARIES, self._adversaries(knowledge, scenario), strict=True)
            if takes_part
        ]

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
        undefended, defended = self.undefended, self._fits.adapted_to
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
            runner._fits.take_static(self._fits)
            trials = runner.run()
            if defended is not None:
                stack.enter_context(defended.banks["online"][number].restoring())
                scenario = defended.with_target(number, others, sets)
                runner._fits.adapt_to(scenario, like=self._fits)
                trials += runner.run(scenario)
        return trials

    def _judge(self, attack: Attack, name: str, scenario: Scenario, knowledge: str, adversary: str) -> Trial:
        names = {"name": name, "knowledge": knowledge, "adversary": adversary}
        judged = functools.partial(judge, attack, scenario.target, **names, defended=scenario.defense is not None)
        sets = self.undefended.sets
        if sets.canaries is not None:
            canaries = sets.canaries.first(attack.max_samples)
            self.on_canaries.append(judged(canaries, canaries))
        if isinstance(attack, BankAttack) and (adversary == "adaptive" or scenario.defense is None):
            self._note_risks(attack, name, scenario)
        knows = scenario.defense is not None and scenario.defense.knows
        # Auditors are not evaluated on rows that they, or a defense that treats these differently, were fitted on.
        rows = sets.judged if knowledge == "auditor" or (knows and knowledge in BANKS) else sets.everyone
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
