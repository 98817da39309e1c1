"""Which attackers an evaluation has."""

from __future__ import annotations

import dataclasses

from mindefense.attacks.registry import select
from mindefense.defenses.target import NOISES
from mindefense.errors import InputError
from mindefense.evaluation.runner import ADVERSARIES, KNOWLEDGE


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which attackers there are and what they know.

    Attributes:
        attacks: Their names; None for all that ask no more than a few questions about a sample.
        knowledge: ``"auditor"``, ``"shadow"`` or both.
        adversary: ``"static"``, ``"adaptive"`` or both.
        noise: ``"keyed"``: the same query gets the same answer; ``"fresh"`` shows what goes wrong otherwise.
        max_queries: Most questions about one sample, for attackers that search.
    """

    attacks: tuple[str, ...] | None = None
    knowledge: tuple[str, ...] = KNOWLEDGE
    adversary: tuple[str, ...] = ADVERSARIES
    noise: str = "keyed"
    max_queries: int = 1000

    def __post_init__(self) -> None:
        select(self.attacks)  # an unknown name must show before anything is computed
        for name, allowed in (("knowledge", KNOWLEDGE), ("adversary", ADVERSARIES)):
            given = getattr(self, name)
            if not given or not set(given) <= set(allowed):
                raise InputError(name, expected=" or ".join(allowed), got=repr(given))
        if self.noise not in NOISES:
            raise InputError("noise", expected=" or ".join(NOISES), got=repr(self.noise))
        if not isinstance(self.max_queries, int) or self.max_queries < 1:
            raise InputError("max_queries", expected="a whole number of at least 1", got=repr(self.max_queries))
