"""The attackers of an evaluation: which were chosen, which take part, and why others do not."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mindefense.attacks.bank import too_few_models
from mindefense.attacks.base import Attack
from mindefense.attacks.registry import ATTACKS, AttackContext, AttackSpec, kinds, resolve, select
from mindefense.errors import InputError
from mindefense.evaluation.scenario import Scenario
from mindefense.types import NotRun

BANKS = ("online", "offline")
"""Kinds of banks of shadow models: trained on some of the evaluated rows, or only on other rows."""
KNOWLEDGE = ("auditor", "shadow", *BANKS)
"""What attackers are fitted on: known members of the target itself, one shadow model, or a bank of shadow models."""
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


class Participants:
    """Which attackers take part in an evaluation, and why others do not.

    Args:
        attackers: The attackers that were chosen.
        undefended: The scenario without a defense.

    Attributes:
        plan: Name, an unfitted attack that declares its needs, and knowledge of each that takes part, in order.
        not_run: The others, with the reasons.
    """

    def __init__(self, attackers: Attackers, undefended: Scenario):
        self._attackers, self._undefended = attackers, undefended
        self.plan: list[tuple[str, Attack, str]] = []
        self.not_run: list[NotRun] = []
        for name, spec in attackers.specs.items():
            declared = spec.make(attackers.context)
            learns_from = declared.learns_from if declared.needs_fit else ("none",)
            for wanted in learns_from:
                if wanted != "none" and wanted not in attackers.knowledge:
                    if not set(learns_from) & set(attackers.knowledge):
                        limits = " and ".join(attackers.knowledge) or "nothing"
                        self.not_run.append(NotRun(name, wanted, f"attackers were limited to {limits}"))
                    continue
                others = set(undefended.banks) & set(learns_from) & set(attackers.knowledge)
                if wanted in BANKS and wanted not in undefended.banks and others:
                    continue  # there is a bank of the other kind
                if (reason := self._obstacle(declared, wanted)) is not None:
                    if wanted == BANKS[1] and not undefended.banks and BANKS[0] in attackers.knowledge:
                        continue  # the missing bank is reported once, for the first kind
                    self.not_run.append(NotRun(name, wanted, reason))
                else:
                    self.plan.append((name, declared, wanted))

    def check_somebody(self) -> None:
        """Raises InputError if only the gap attack takes part, although others were requested."""
        if self.not_run and all(name == "gap" for name, _, _ in self.plan):
            left_out = self.not_run[0]
            raise InputError(
                "attacks",
                expected="at least one that can take part",
                got=f"{', '.join(dict.fromkeys(left_out.name for left_out in self.not_run))}: {left_out.reason}",
                fix="name other attackers, or none to run all that can take part",
            )

    def left_out(self, *, noised: bool) -> tuple[NotRun, ...]:
        """The attackers that did not take part, with the reason.

        Args:
            noised: Whether answers depend on noise in some state of the target.
        """
        reason = "no answers depended on noise, so repeated queries give no new information"
        idle = [NotRun(name, knowledge, reason) for name, attack, knowledge in self.plan if attack.needs_randomness]
        return (*self.not_run, *(() if noised else idle))

    def not_asked(self, *, noised: bool) -> dict[str, tuple[str, ...]]:
        """For each kind of which no attacker took part, the names of those that could have; for other kinds none.

        Args:
            noised: Whether answers depend on noise in some state of the target.
        """
        known = {name: spec.make(self._attackers.context) for name, spec in ATTACKS.items()}

        def could(name: str, knowledge: str) -> bool:
            attack = known[name]
            if attack.needs_randomness and not noised:
                return False
            if knowledge == "shadow" and self._undefended.answers_variants and self._undefended.sets.shadow is not None:
                # A shadow model could be trained on these rows.
                return attack.unsupported(self._undefended.sets.everyone.members) is None
            if knowledge in BANKS and self._undefended.answers_variants and self._undefended.sets.labelled:
                return attack.unsupported(self._undefended.sets.everyone.members) is None  # a bank could be trained
            return self._obstacle(attack, knowledge) is None

        took_part = {(name, knowledge) for name, one, knowledge in self.plan if noised or not one.needs_randomness}
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
        undefended = self._undefended
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
