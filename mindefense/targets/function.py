"""Any function as a target, such as scikit-learn's ``predict_proba`` or a call of a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mindefense.checks import check_probs
from mindefense.confidence import log_probs
from mindefense.errors import InputError, MindefenseError
from mindefense.keyed_noise import KeyedNoise
from mindefense.targets.base import BATCH_SIZE, InputTransform, Model, checked_logits, one_each, refused

GIVES = ("probs", "log_probs", "logits")
_REMEDIES = {
    "probs": 'these are probabilities: say gives="probs"',
    "per cent": 'these are per cent: divide by 100 in the function, and say gives="probs"',
    "sigmoids": "return what comes before the sigmoid; if these are logits, subtract 1 from all, which changes no "
    "probability",
}


class FunctionTarget(Model):
    """A function as a target, for any framework or service.

    Args:
        respond: ``(n, ...)`` samples → ``(n, C)`` answers, an array or convertible to one. It gets the samples of the
            data set; with a defense that adds noise to the input (DefenMI), it also gets float32 inputs.
        gives: Kind of the answers: ``"probs"``, ``"log_probs"`` or ``"logits"``. Logits are best: in float32,
            probabilities round to 1 for different logits, and these differences are part of the leak.
        batch_size: Samples per call.
        prepare: Converts samples to its inputs; None if they are the inputs.
        name: Name in results; None for the function's own name.

    Raises:
        InputError: If `respond` is not callable or `gives` has another value; in a query, if the function fails or its
            answers are not of the kind `gives`.

    Example:
        >>> target = FunctionTarget(lambda x: np.full((len(x), 4), 0.25), gives="probs")
        >>> target.logits(np.zeros((2, 3))).shape
        (2, 4)
    """

    remedy_for_randomness = "make the function deterministic: without dropout or noise"

    def __init__(
        self,
        respond: Callable[[np.ndarray], Any],
        *,
        gives: str = "probs",
        batch_size: int = BATCH_SIZE,
        prepare: InputTransform | None = None,
        name: str | None = None,
    ):
        if not callable(respond):
            raise InputError("target", expected="a function of samples", got=type(respond).__name__)
        if gives not in GIVES:
            raise InputError("gives", expected=" or ".join(GIVES), got=repr(gives))
        super().__init__(prepare=prepare, batch_size=batch_size)
        self._function, self._gives = respond, gives
        self.kind = name or getattr(respond, "__name__", type(respond).__name__)

    def ask(
        self, samples: np.ndarray, *, noise: KeyedNoise | None = None, on_rows: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """``(N, C)`` float32 logits, or log-probabilities, of ``(N, ...)`` samples; see `Model.ask`."""
        if not len(samples):
            raise InputError("features", expected="at least one row", got="none")
        answers = []
        as_given = self.prepare is None and noise is None
        parts = (samples[first : first + self.batch_size] for first in range(0, len(samples), self.batch_size))
        try:
            for inputs in parts if as_given else self.batches(samples):
                given = inputs if noise is None else inputs + noise(inputs)
                answers.append(one_each(np.asarray(self._function(given)), len(inputs)))
                if on_rows is not None:
                    on_rows(len(inputs))
        except (MindefenseError, ValueError, TypeError, RuntimeError, OSError) as error:
            refused(samples, error)
        return self._logits_of(np.concatenate(answers))

    def _logits_of(self, answers: np.ndarray) -> np.ndarray:
        if self._gives == "logits":
            return checked_logits(answers, _REMEDIES)
        name = "answers of the target"
        if self._gives == "log_probs":
            with np.errstate(over="ignore"):
                check_probs(np.exp(np.asarray(answers, np.float64)), name=f"exp of the {name}")
            return checked_logits(answers, _REMEDIES)
        try:
            return log_probs(check_probs(answers, name=name))
        except InputError as error:
            raise InputError(f'{error}; where they are logits, give FunctionTarget(f, gives="logits")') from None
