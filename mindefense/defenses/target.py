"""A model of any framework behind a defense, with the NumPy search."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mindefense.confidence import log_probs, softmax
from mindefense.defenses.driver import put_on_top
from mindefense.errors import InputError
from mindefense.keyed_noise import KeyedDraws, KeyedNoise
from mindefense.targets.base import Model, Target

if TYPE_CHECKING:
    from mindefense.defenses.base import Defense

NOISES = ("keyed", "fresh")


class DefendedAnswers:
    """Answers of a model behind a defense, whose random numbers are a function of a secret key.

    Args:
        model: The model.
        defense: The defense that reshapes its answers.
        key: Secret key of all random numbers.
        noise: ``"keyed"``: the same query gets the same answer. ``"fresh"``: it gets another answer each time.

    Raises:
        InputError: If `noise` has another value.
    """

    def __init__(self, model: Model, defense: Defense, *, key: bytes, noise: str = "keyed"):
        if noise not in NOISES:
            raise InputError("noise", expected=" or ".join(NOISES), got=repr(noise))
        self.model, self.defense = model, defense
        self.is_fresh = noise == "fresh"
        self._key = key

    def respond(
        self,
        samples: np.ndarray,
        *,
        clean_logits: np.ndarray | None = None,
        again: int = 0,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """``(N, C)`` float32 log-probabilities of ``(N, ...)`` samples; see `DefendedModel.respond`."""
        if again < 0:
            raise InputError("again", expected="0 or more", got=str(again))
        model, defense = self.model, self.defense
        if clean_logits is None:
            clean_logits = model.ask(samples, on_rows=model.on_rows)
        start_logits, draws = clean_logits, None
        if defense.noise_scale > 0:
            start_logits = model.ask(samples, noise=self.noise(again), on_rows=model.on_rows)
        if defense.draws:
            drawing = self.draws(again)
            draws = np.concatenate([drawing(inputs) for inputs in model.batches(samples)])
        clean_probs = softmax(clean_logits)
        put_on_top(clean_probs, clean_logits.argmax(axis=1))  # restores the predicted class after ties from rounding
        return log_probs(model.reshape(defense, clean_probs, start_logits, draws=draws, on_progress=on_progress))

    def noise(self, again: int) -> KeyedNoise:
        """The noise on the inputs in the `again`-th repetition of a query."""
        return KeyedNoise.of(self._key, self.defense.noise_scale, again=again if self.is_fresh else 0)

    def draws(self, again: int) -> KeyedDraws:
        """The uniform random numbers in the `again`-th repetition of a query."""
        return KeyedDraws.of(self._key, self.defense.draws, again=again if self.is_fresh else 0)


def defended_target(
    model: Model,
    defense: Defense,
    *,
    key: bytes,
    noise: str = "keyed",
    on_progress: Callable[[int], None] | None = None,
) -> Target:
    """A model behind a defense as a target; the model is queried only once for each sample.

    Args:
        model: The trained model; its stored answers are the clean logits.
        defense: The defense that reshapes its answers.
        key: Secret key of all random numbers.
        noise: ``"keyed"``, or ``"fresh"`` for a target whose answers vary; see `DefendedModel`.
        on_progress: Called with the number of rows that were just reshaped.

    Returns:
        The target. If the defense keeps the predicted class, its labels are computed without reshaping.

    Raises:
        InputError: If `noise` has another value.
    """
    answers = DefendedAnswers(model, defense, key=key, noise=noise)

    def respond(samples: np.ndarray, again: int = 0) -> np.ndarray:
        return answers.respond(samples, clean_logits=model.logits(samples), again=again, on_progress=on_progress)

    def labels(samples: np.ndarray) -> np.ndarray:
        return model.logits(samples).argmax(axis=1)

    return Target(
        respond,
        labels=labels if defense.keeps_labels else None,
        anew=respond if noise == "fresh" and defense.is_random else None,
    )
