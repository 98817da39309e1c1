"""Choice of the attackers of an evaluation."""

from __future__ import annotations

import dataclasses

from mindefense.attacks.registry import AttackContext, select
from mindefense.defenses.target import NOISES
from mindefense.errors import InputError
from mindefense.evaluation.attackers import ADVERSARIES, BANKS, KNOWLEDGE


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """The attackers, their knowledge, and the noise of the defense.

    Attributes:
        attacks: Names of attackers; None for all except those that need thousands of queries per sample.
        knowledge: Some of `KNOWLEDGE`.
        adversary: ``"static"``, ``"adaptive"`` or both.
        noise: ``"keyed"`` if the same query always gets the same answer; ``"fresh"`` if every query gets new noise,
            which attackers can average out.
        max_queries: Largest number of queries per sample, for attackers that search; at least 1.
        targets: Number of models of the online bank that are attacked in the target's place, at least 5; 0 for none.

    Raises:
        InputError: If a value is not one of these.
    """

    attacks: tuple[str, ...] | None = None
    knowledge: tuple[str, ...] = KNOWLEDGE
    adversary: tuple[str, ...] = ADVERSARIES
    noise: str = "keyed"
    max_queries: int = 1000
    targets: int = 0

    def __post_init__(self) -> None:
        select(self.attacks)  # raises for an unknown name before anything is computed
        for name, allowed in (("knowledge", KNOWLEDGE), ("adversary", ADVERSARIES)):
            given = getattr(self, name)
            if not given or not set(given) <= set(allowed):
                raise InputError(name, expected=" or ".join(allowed), got=repr(given))
        if self.noise not in NOISES:
            raise InputError("noise", expected=" or ".join(NOISES), got=repr(self.noise))
        if not isinstance(self.max_queries, int) or self.max_queries < 1:
            raise InputError("max_queries", expected="a whole number of at least 1", got=repr(self.max_queries))
        if not isinstance(self.targets, int) or self.targets < 0:
            raise InputError("targets", expected="0, or a whole number of at least 5", got=repr(self.targets))

    def banks(self) -> tuple[str, ...]:
        """The banks of shadow models that these attackers learn from: ``"online"``, ``"offline"``."""
        context = AttackContext()
        learned_from = {kind for spec in select(self.attacks).values() for kind in spec.make(context).learns_from}
        return tuple(kind for kind in BANKS if kind in learned_from and kind in self.knowledge)
