"""The doors of an evaluation: target and shadow as attackers see them, as they are and behind a defense."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

from mindefense.defenses.base import Defense
from mindefense.defenses.target import defended_target
from mindefense.evaluation.protocol import Doors, Rows
from mindefense.targets.base import Model, Target, clean_target

_ASKED_AGAIN = 64
"""Rows of either kind that a defended model is asked about once more, to see whether its answers stay."""


def clean_doors(target: Model, shadow: Model | None) -> Doors:
    """The undefended models."""

    return Doors(clean_target(target), None if shadow is None else clean_target(shadow))


def defended_doors(
    target: Model,
    shadow: Model | None,
    defense: Defense,
    *,
    seed: int,
    noise: str = "keyed",
    on_progress: Callable[[int], None] | None = None,
) -> Doors:
    """The same models behind a defense, each with a key of its own.

    The keys come from the seed, so that an evaluation can be repeated; a served model draws its key at random.
    """

    def door(network: Model, role: str) -> Target:
        key = hashlib.sha256(f"{role} {seed}".encode()).digest()
        return defended_target(network, defense, key=key, noise=noise, on_progress=on_progress)

    return Doors(door(target, "target"), None if shadow is None else door(shadow, "shadow"), noised=defense.is_random)


@dataclasses.dataclass(frozen=True)
class Behind:
    """A defense that is evaluated.

    Attributes:
        defense: The defense.
        doors: The models behind it.
        noise: ``"keyed"`` or ``"fresh"``.
    """

    defense: Defense
    doors: Doors
    noise: str

    def answers_differing(self, target: Model, everyone: Rows, *, seed: int) -> tuple[int, int]:
        """Of how many rows the answer differed when the model was asked again, and of how many it was."""
        rows = everyone.first(_ASKED_AGAIN).features()
        if self.doors.target.varies:
            before, again = self.doors.target.query(rows), self.doors.target.query(rows, again=1)
        else:
            # The door remembers; a second one to the same model, with the same key, does not.
            doors = defended_doors(target, None, self.defense, seed=seed, noise=self.noise)
            before, again = self.doors.target.query(rows), doors.target.query(rows)
        return int((before != again).any(axis=1).sum()), len(rows)
