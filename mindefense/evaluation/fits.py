"""Fits attackers, each once for a target and once more for each defense that it adapts to.

Attackers that are fitted in parts (`Attack.fit_in_parts`) are fitted side by side, in one process for each core.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from mindefense.attacks.bank import BankAttack
from mindefense.attacks.base import Attack
from mindefense.evaluation.attackers import Attackers
from mindefense.evaluation.facts import Training, training_name
from mindefense.evaluation.judging import judge
from mindefense.evaluation.scenario import Rows, Scenario
from mindefense.progress import Progress
from mindefense.subprocesses import processes, side_by_side
from mindefense.targets.base import Target

_FOR_ANY_TARGET = ("shadow", "offline")
"""Knowledge that does not depend on which model is the target."""


class Fits:
    """The fitted attackers of one target. Static ones are fitted once; adaptive ones for the last defense are kept.

    Args:
        attackers: The attackers.
        undefended: The scenario without a defense, on which static attackers are fitted.
        progress: The progress display.
        timed: Returns a context manager that measures the stage of the given name.

    Attributes:
        trainings: The trainings of attack networks and the iterative fits of attackers, by `training_name`.
        adapted_to: The scenario that adaptive attackers are fitted on; None before the first.
    """

    def __init__(
        self,
        attackers: Attackers,
        undefended: Scenario,
        progress: Progress,
        timed: Callable[[str], contextlib.AbstractContextManager[Any]],
    ):
        self._attackers, self._undefended, self._progress, self._timed = attackers, undefended, progress, timed
        self.trainings: dict[str, Training] = {}
        self.adapted_to: Scenario | None = None
        self._static: dict[tuple[str, str], Attack] = {}
        self._adaptive: dict[tuple[str, str], Attack] = {}

    def adapt_to(self, scenario: Scenario, *, like: Fits | None = None) -> None:
        """Adaptive attackers are from now on those on this scenario; those on another one are dropped.

        Args:
            scenario: The target in some state.
            like: The fits of another target, adapted to the same defense, whose attackers that are the same for any
                target are taken; None if there are none.
        """
        if scenario is not self.adapted_to:
            self._adaptive, self.adapted_to = {} if like is None else _for_any_target(like._adaptive), scenario

    def take_static(self, other: Fits) -> None:
        """Takes those static attackers of another target that are the same for any target."""
        self._static = _for_any_target(other._static)

    def of(self, name: str, knowledge: str, adversary: str) -> Attack:
        """An attacker, which is fitted if it is not yet."""
        kept = self._kept(adversary)
        if (name, knowledge) not in kept:
            kept[name, knowledge] = self._fit(name, knowledge, adversary)
        return kept[name, knowledge]

    def side_by_side(self, undone: Sequence[tuple[str, str, str]]) -> None:
        """Fits attackers in parts, side by side if there are several of them and several cores.

        Those that are not fitted here are fitted in their turn.

        Args:
            undone: Name, knowledge and adversary of each.
        """
        undone = [one for one in undone if self._known_rows(one[1]) is not None and one[:2] not in self._kept(one[2])]
        if min(len(undone), processes()) < 2:
            return
        with self._timed(f"attack {', '.join(dict.fromkeys(name for name, _, _ in undone))}"):
            begun = []
            for name, knowledge, adversary in undone:
                attack = self._attackers.specs[name].make(self._attackers.context)
                target, rows = self._known(attack, knowledge, adversary)
                parts = attack.fit_in_parts(target, rows.members, rows.non_members)
                if parts is not None:
                    begun.append((parts, attack, target, rows, (name, knowledge, adversary)))
            results = list(side_by_side((parts.work for parts, *_ in begun), min(len(begun), processes()) or 1))
            for (parts, attack, target, rows, names), result in zip(begun, results, strict=True):
                parts.finish(result)
                self._note_training(attack, target, rows, *names)
                self._kept(names[-1])[names[:2]] = attack

    def _kept(self, adversary: str) -> dict[tuple[str, str], Attack]:
        return self._static if adversary == "static" else self._adaptive

    def _scenario(self, adversary: str) -> Scenario:
        """The scenario that attackers are fitted on."""
        if adversary == "static":
            return self._undefended
        assert self.adapted_to is not None
        return self.adapted_to

    def _fit(self, name: str, knowledge: str, adversary: str) -> Attack:
        attack = self._attackers.specs[name].make(self._attackers.context)
        if isinstance(attack, BankAttack):
            return attack.fit(self._scenario(adversary).banks[knowledge])
        if self._known_rows(knowledge) is None:
            return attack
        target, rows = self._known(attack, knowledge, adversary)
        estimate = getattr(attack, "estimate", None)
        if estimate is not None:
            queries, seconds = estimate(target, rows.members)
            times = 2 + len(rows.non_members) / len(rows.members)  # it is evaluated on about as many rows again
            self._progress.say(
                f"{name}: about {times * queries:.0f} queries and {times * seconds / 60:.0f} minutes "
                f"(at most {self._attackers.context.max_queries} queries per sample: --max_queries)"
            )
        attack.fit(target, rows.members, rows.non_members)
        self._note_training(attack, target, rows, name, knowledge, adversary)
        return attack

    def _known_rows(self, knowledge: str) -> Rows | None:
        """The rows whose membership an attacker without a bank knows."""
        sets = self._undefended.sets
        return {"auditor": sets.known, "shadow": sets.shadow}.get(knowledge)

    def _known(self, attack: Attack, knowledge: str, adversary: str) -> tuple[Target, Rows]:
        """The target that an attacker is fitted on, and the rows."""
        scenario, rows = self._scenario(adversary), self._known_rows(knowledge)
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


def _for_any_target(kept: dict[tuple[str, str], Attack]) -> dict[tuple[str, str], Attack]:
    return {key: attack for key, attack in kept.items() if key[1] in _FOR_ANY_TARGET}
