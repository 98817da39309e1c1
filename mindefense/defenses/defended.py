"""A model behind a defense, and defenses from files."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checkpoint import load_checkpoint
from mindefense.confidence import log_probs, softmax
from mindefense.defenses.base import Defense
from mindefense.defenses.baselines import (
    ClassMean,
    LabelOnly,
    LaplaceOutput,
    MemGuardBudget,
    Rounding,
    Temperature,
    TopK,
)
from mindefense.defenses.defenmi import DefenMI
from mindefense.defenses.memguard import MemGuard
from mindefense.defenses.reshaping import put_on_top
from mindefense.errors import CheckpointError, InputError
from mindefense.keyed import KeyedDraws, KeyedNoise
from mindefense.target import BATCH_SIZE, AsTheyAre, Network, Preparation, Spread, Target, forward

DEFENSES: dict[str, type[Defense]] = {
    kind.name: kind
    for kind in (ClassMean, DefenMI, LabelOnly, LaplaceOutput, MemGuard, MemGuardBudget, Rounding, Temperature, TopK)
}
"""All defenses by the names that files give them."""
NOISES = ("keyed", "fresh")


def load_defense(path: str | os.PathLike, *, own: Sequence[type[Defense]] = ()) -> Defense:
    """The defense that `Defense.save` wrote.

    Args:
        path: The file.
        own: Classes of defenses from outside that it may hold, beside those of this package.

    Raises:
        CheckpointError: If the file is missing, damaged or holds something else.
    """
    checkpoint = load_checkpoint(path)
    described = checkpoint.description
    known = {**DEFENSES, **{kind.name: kind for kind in own}}
    kind = known.get(described.get("defense", ""))
    if described.get("kind") != "defense" or kind is None:
        held = described.get("defense") or described.get("kind", "another program's parameters")
        raise CheckpointError(str(path), expected=f"a defense ({', '.join(known)})", got=held)
    try:
        return kind.restore(described["config"], checkpoint.parameters)
    except (KeyError, TypeError, InputError) as error:
        raise CheckpointError(f"{path} does not hold a whole defense ({error})", fix="fit and save it again") from error


class DefendedModel(nn.Cell):
    """A model behind a defense: samples in, log-probabilities out.

    It draws the noise of a query, and whatever else the defense needs, itself and keyed, so that the same query gets
    the same answer. A query that differs in one bit is another one: keys do not stop who averages over neighbors.

    Args:
        net: Cell from ``(N, ...)`` float32 to ``(N, C)`` logits.
        defense: What reshapes its answers.
        key: Secret that all that is drawn depends on; None draws a new one, so that answers differ from those of
            another `DefendedModel` of the same parts.
        noise: ``"keyed"`` answers the same query the same way always. ``"fresh"`` draws anew each time: it is here to
            show that an attacker who asks again and takes the mean undoes the defense.
        prepare: Makes the network's inputs of the samples that `respond` is asked about; None if they are the inputs.
        batch_size: Rows that `respond` gives the network at a time.
        on_rows: Called with the number of rows that just came out of the network.
        as_graph: Whether `respond` compiles the network; for large ones.
        spread: Has `respond` work on many ranks; None to work here alone.

    Inputs:
        - **x** (Tensor) - ``(N, ...)`` float32. Called from Python, the Cell draws what the defense needs and hands it
          to `construct` as a second input: noise of the shape of `x` for a defense with a `noise_scale`; ``(N,
          draws)`` uniform numbers for one that draws; ``(N, 1)`` zeros else. Inside another Cell both must be given.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. The same query gets the same answer always, unless `noise` is
        ``"fresh"``; the same bytes from `respond`, in whatever company, and from the Cell in batches of one size that
        is a multiple of 64: a CPU takes several logarithms at a time and the rest one by one, which shows in the last
        digits.

    Raises:
        InputError: If `noise` is neither.

    Supported Platforms:
        ``CPU``
    """

    def __init__(
        self,
        net: nn.Cell,
        defense: Defense,
        *,
        key: bytes | None = None,
        noise: str = "keyed",
        prepare: Preparation | None = None,
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
        as_graph: bool = False,
        spread: Spread | None = None,
    ):
        super().__init__()
        if noise not in NOISES:
            raise InputError("noise", expected=" or ".join(NOISES), got=repr(noise))
        self.net = net
        self.defense = defense
        self.is_noised = defense.noise_scale > 0
        self._key = key if key is not None else secrets.token_bytes(32)
        self._is_fresh = noise == "fresh"
        self._calls = itertools.count()
        self._feed: dict[str, Any] = {
            "prepare": prepare,
            "batch_size": batch_size,
            "on_rows": on_rows,
            "as_graph": as_graph,
            "spread": spread,
        }

    def __call__(self, x):
        """Draws for `x`, which no graph can do with a secret key, and runs the graph on both."""
        again = next(self._calls)
        if self.is_noised:
            second = self._noise(again)(x.asnumpy())
        elif self.defense.draws:
            second = self._draws(again)(x.asnumpy())
        else:
            second = np.zeros((len(x), 1), np.float32)
        return super().__call__(x, ms.Tensor(second))

    def construct(self, x, second):
        """Log-probabilities of the defended model."""
        if self.is_noised:
            second = self.net(x + second)
        return self.defense(self.net(x), second)

    def respond(
        self,
        samples: np.ndarray,
        *,
        clean_logits: np.ndarray | None = None,
        again: int = 0,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """The same for many rows at once, through the fast driver.

        Args:
            samples: ``(N, ...)`` rows.
            clean_logits: ``(N, C)`` logits of the undefended network for them, if they are known already.
            again: 0 for the first answer, k for the answer when the same is asked for the k-th time more. Answers
                differ with ``noise="fresh"`` only.
            on_progress: Called with the number of rows just finished.

        Returns:
            ``(N, C)`` float32 log-probabilities.

        Raises:
            InputError: If there are no rows, the network does not take them, or `again` is negative.
        """
        if again < 0:
            raise InputError("again", expected="0 or more", got=str(again))
        if clean_logits is None:
            clean_logits = forward(self.net, samples, **self._feed)
        start_logits, draws = clean_logits, None
        if self.is_noised:
            start_logits = forward(self.net, samples, noise=self._noise(again), **self._feed)
        if self.defense.draws:
            batches = (self._feed["prepare"] or AsTheyAre()).batches(samples, self._feed["batch_size"])
            drawing = self._draws(again)
            draws = np.concatenate([drawing(inputs) for inputs in batches])
        clean_probs = softmax(clean_logits)
        put_on_top(clean_probs, clean_logits.argmax(axis=1))  # what rounding has made equal
        if (spread := self._feed["spread"]) is not None:
            return log_probs(
                spread.reshape(self.defense, clean_probs, start_logits, draws=draws, on_progress=on_progress)
            )
        return log_probs(self.defense.reshape(clean_probs, start_logits, draws=draws, on_progress=on_progress))

    def _noise(self, again: int) -> KeyedNoise:
        return KeyedNoise.of(self._key, self.defense.noise_scale, again=again if self._is_fresh else 0)

    def _draws(self, again: int) -> KeyedDraws:
        return KeyedDraws.of(self._key, self.defense.draws, again=again if self._is_fresh else 0)


def defended_target(
    network: Network,
    defense: Defense,
    *,
    key: bytes,
    noise: str = "keyed",
    on_progress: Callable[[int], None] | None = None,
) -> Target:
    """The target that a network behind a defense is; what the network has answered already it is not asked again.

    Args:
        network: The trained model; its memory gives the clean logits.
        defense: What reshapes its answers.
        key: Secret of all that is drawn.
        noise: ``"keyed"``, or ``"fresh"`` for a target whose answers vary; see `DefendedModel`.
        on_progress: Called with the number of rows that were just reshaped.

    Returns:
        The target. Where the defense promises to keep the predicted class, asking for labels costs no reshaping.

    Raises:
        InputError: If `noise` is neither.
    """
    model = DefendedModel(network.cell, defense, key=key, noise=noise, **network.feed)

    def respond(samples: np.ndarray, again: int = 0) -> np.ndarray:
        return model.respond(samples, clean_logits=network.logits(samples), again=again, on_progress=on_progress)

    def labels(samples: np.ndarray) -> np.ndarray:
        return network.logits(samples).argmax(axis=1)

    return Target(
        respond,
        labels=labels if defense.keeps_labels else None,
        anew=respond if noise == "fresh" and defense.is_random else None,
    )
