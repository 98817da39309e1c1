"""Runs attackers: each is fitted once on the undefended model, and once more behind every defense."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mindefense.attacks.base import Attack
from mindefense.attacks.boundary import BoundaryDistanceAttack
from mindefense.attacks.catalog import ATTACKS, KINDS, NEEDS_ASKING, Entry, Terms
from mindefense.attacks.neural import NetworkAttack
from mindefense.errors import InputError
from mindefense.evaluation.facts import Training, training_name
from mindefense.evaluation.progress import Progress, Quiet
from mindefense.evaluation.protocol import ADVERSARIES, KNOWLEDGE, Doors, Rows, check_disjoint, judge
from mindefense.types import NotRun, Trial


class Arena:
    """Attackers, what they know, and the rows they are judged by, for any number of defenses.

    Args:
        entries: The attackers by name; those that do not take these samples are told by `left_out`.
        terms: What the attackers are made with.
        clean: The undefended models.
        fit_rows: Known members and non-members of the target, for auditors.
        eval_rows: The rows that auditors are judged by; none of them among `fit_rows`.
        everyone: All rows of the evaluation, by which the others are judged.
        shadow_rows: Members and non-members of the shadow; None without a shadow.
        labelled: Whether the samples' labels are true classes; otherwise attackers that use them do not take part.
        canaries: Mislabeled members and non-members, to be judged by apart; None if there are none.
        knowledge: Which of `KNOWLEDGE` attackers may have.
        adversary: Which of `ADVERSARIES` there are.
        progress: Told what happens.
        timed: Measures a named stage.

    Attributes:
        knowledge: As given.
        trainings: How the trainings of attack networks, and the fits of attackers that iterate, went.
        on_canaries: What every attacker made of the canaries.

    Raises:
        InputError: If rows to fit on and to judge by overlap, or a name is unknown.
    """

    def __init__(
        self,
        entries: Mapping[str, Entry],
        terms: Terms,
        *,
        clean: Doors,
        fit_rows: Rows,
        eval_rows: Rows,
        everyone: Rows,
        shadow_rows: Rows | None = None,
        labelled: bool = True,
        canaries: Rows | None = None,
        knowledge: Sequence[str] = KNOWLEDGE,
        adversary: Sequence[str] = ADVERSARIES,
        progress: Progress | None = None,
        timed: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda stage: contextlib.nullcontext(),
    ):
        for name, given, allowed in (("knowledge", knowledge, KNOWLEDGE), ("adversary", adversary, ADVERSARIES)):
            if unknown := [value for value in given if value not in allowed]:
                raise InputError(name, expected=" or ".join(allowed), got=repr(unknown[0]))
        check_disjoint(fit_rows, eval_rows)
        if shadow_rows is not None:
            check_disjoint(shadow_rows, everyone)
        if canaries is not None:
            for rows in (everyone, fit_rows, *([] if shadow_rows is None else [shadow_rows])):
                check_disjoint(rows, canaries)
        self.clean = clean
        self.adversary = tuple(adversary)
        self._terms = terms
        self._rows = {"auditor": (fit_rows, eval_rows), "shadow": (shadow_rows, everyone), "none": (None, everyone)}
        self._everyone = everyone
        self._labelled = labelled
        self._canaries = canaries
        self._progress = progress or Quiet()
        self._timed = timed
        self._fitted: dict[tuple[str, str], Attack] = {}
        self.knowledge = tuple(knowledge)
        self.trainings: dict[str, Training] = {}
        self.on_canaries: list[Trial] = []
        self._not_run: list[NotRun] = []
        self._plan: list[tuple[str, Entry, str]] = []
        for name, entry in entries.items():
            for wanted in entry.knowledge or ("none",):
                if wanted != "none" and wanted not in knowledge:
                    if not set(entry.knowledge) & set(knowledge):
                        self._not_run.append(
                            NotRun(name, wanted, f"attackers were limited to {' and '.join(knowledge) or 'nothing'}")
                        )
                    continue
                if (reason := self._obstacle(entry, wanted)) is not None:
                    self._not_run.append(NotRun(name, wanted, reason))
                else:
                    self._plan.append((name, entry, wanted))

    def check_somebody(self) -> None:
        """Raises InputError if only the gap attack takes part, though others were asked for."""
        if self._not_run and all(name == "gap" for name, _, _ in self._plan):
            left_out = self._not_run[0]
            raise InputError(
                "attacks",
                expected="one that can take part",
                got=f"{', '.join(dict.fromkeys(left_out.name for left_out in self._not_run))}: {left_out.reason}",
                fix="name others, or none for all that can",
            )

    def undefended(self) -> list[Trial]:
        """Every attacker on the undefended target."""
        plan = [(name, entry, knowledge) for name, entry, knowledge in self._plan if not entry.needs_noise]
        trials = []
        with self._progress.stage("attack", len(plan)) as advance:
            for name, entry, knowledge in plan:
                with self._timed(f"attack {name}"):
                    attack = self._static(name, entry, knowledge)
                    trials.append(self._judge(attack, name, entry, self.clean, knowledge, "static", defended=False))
                advance(1, name)
        return trials

    def behind(self, doors: Doors, *, title: str = "attack the defended") -> list[Trial]:
        """Every attacker on the target behind a defense: as one that does not know of it, and as one that does.

        Args:
            doors: The same models as the undefended ones, all behind the defense.
            title: What to call the stage.
        """
        plan = [plan for plan in self._plan if doors.noised or not plan[1].needs_noise]
        trials = []
        with self._progress.stage(title, len(plan)) as advance:
            for name, entry, knowledge in plan:
                judged = functools.partial(
                    self._judge, name=name, entry=entry, doors=doors, knowledge=knowledge, defended=True
                )
                with self._timed(f"attack {name}"):
                    # What fits nothing has nothing to adapt.
                    if "static" in self.adversary or knowledge == "none":
                        trials.append(judged(self._static(name, entry, knowledge), adversary="static"))
                    if "adaptive" in self.adversary and knowledge != "none":
                        trials.append(
                            judged(self._fit(name, entry, doors, knowledge, "adaptive"), adversary="adaptive")
                        )
                advance(1, name)
        return trials

    def left_out(self, *, noised: bool) -> tuple[NotRun, ...]:
        """Attackers that did not take part, and why.

        Args:
            noised: Whether there was a state in which answers depend on noise.
        """
        reason = "no answers depended on noise, so asking again tells nothing new"
        idle = [NotRun(name, knowledge, reason) for name, entry, knowledge in self._plan if entry.needs_noise]
        return (*self._not_run, *(() if noised else idle))

    def not_asked(self, *, noised: bool) -> dict[str, tuple[str, ...]]:
        """Of each kind of attacker, those that could have taken part, if none of the kind did; else none.

        Args:
            noised: Whether there was a state in which answers depend on noise.
        """

        def could(name: str, knowledge: str) -> bool:
            entry = ATTACKS[name]
            if entry.needs_noise and not noised:
                return False
            if knowledge == "shadow" and self.clean.answers_variants and self._rows["shadow"][0] is not None:
                return entry.obstacle(self._everyone.members) is None  # there are rows to train a shadow on
            return self._obstacle(entry, knowledge) is None

        took_part = {(name, knowledge) for name, entry, knowledge in self._plan if noised or not entry.needs_noise}
        pairs = [(name, knowledge) for name, entry in ATTACKS.items() for knowledge in entry.knowledge]
        kinds = {kind: [pair for pair in pairs if pair[0] in names] for kind, names in KINDS.items()}
        kinds["shadow models"] = [pair for pair in pairs if pair[1] == "shadow"]
        missing = {}
        for kind, those in kinds.items():
            able = [name for name, knowledge in those if could(name, knowledge)]
            # Those that ask thousands of questions are never asked by themselves.
            usual = [name for name in dict.fromkeys(able) if name not in NEEDS_ASKING]
            missing[kind] = () if took_part & set(those) else tuple(usual)
        return missing

    def _obstacle(self, entry: Entry, knowledge: str) -> str | None:
        """Why an attacker cannot take part, or None."""
        if entry.asks == "variants" and not self.clean.answers_variants:
            return "it asks about changed samples, which recorded outputs do not answer; give it the model"
        if knowledge == "shadow" and (self.clean.shadow is None or self._rows["shadow"][0] is None):
            if not self.clean.answers_variants:
                return "recorded outputs come without a shadow model; give it the model and train one"
            return (
                "there is no shadow; `mindefense train-shadow` trains one where the model has that stage, and "
                "evaluate(shadow=Network(net)) takes one in Python"
            )
        if entry.needs_labels and not self._labelled:
            return "it looks at the true classes, which the recorded outputs lack; record them as labels"
        return entry.obstacle(self._everyone.members)

    def _static(self, name: str, entry: Entry, knowledge: str) -> Attack:
        if (name, knowledge) not in self._fitted:
            self._fitted[name, knowledge] = self._fit(name, entry, self.clean, knowledge, "static")
        return self._fitted[name, knowledge]

    def _fit(self, name: str, entry: Entry, doors: Doors, knowledge: str, adversary: str) -> Attack:
        attack = entry.make(self._terms)
        rows, _ = self._rows[knowledge]
        if rows is None:
            return attack
        target = doors.shadow if knowledge == "shadow" else doors.target
        assert target is not None
        rows = rows.first(entry.most)
        if isinstance(attack, BoundaryDistanceAttack):
            queries, seconds = attack.estimate(target, rows.members)
            times = 2 + len(rows.non_members) / len(rows.members)  # about as many to judge by
            self._progress.say(
                f"{name}: about {times * queries:.0f} questions and {times * seconds / 60:.0f} minutes "
                f"(at most {attack.max_queries} questions a sample: --max_queries)"
            )
        attack.fit(target, rows.members, rows.non_members)
        if isinstance(attack, NetworkAttack):
            losses = [epoch.loss for epoch in attack.history_]
            accuracy = judge(
                attack, target, rows, rows, name=name, knowledge=knowledge, adversary=adversary, defended=False
            ).result.metrics.balanced_accuracy  # the share that an epoch gives rewards guessing where numbers differ
            self.trainings[training_name(name, knowledge, adversary)] = Training(losses=losses, accuracy=accuracy)
        elif hasattr(attack, "stopped_"):
            self.trainings[training_name(name, knowledge, adversary)] = Training(stopped=attack.stopped_)
        return attack

    def _judge(
        self, attack: Attack, name: str, entry: Entry, doors: Doors, knowledge: str, adversary: str, *, defended: bool
    ) -> Trial:
        rows = self._rows[knowledge][1]
        assert rows is not None
        judged = functools.partial(
            judge, attack, doors.target, name=name, knowledge=knowledge, adversary=adversary, defended=defended
        )
        if self._canaries is not None:
            canaries = self._canaries.first(entry.most)
            self.on_canaries.append(judged(canaries, canaries))
        return judged(rows.first(entry.most), self._everyone)
