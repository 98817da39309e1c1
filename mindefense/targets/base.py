"""Query access to a model, and the memory of what it answered. NumPy alone."""

from __future__ import annotations

import abc
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, Protocol

import numpy as np

from mindefense.checks import check_logits, instead_of_logits
from mindefense.confidence import log_softmax
from mindefense.errors import InputError, MindefenseError
from mindefense.keyed_noise import KeyedNoise

BATCH_SIZE = 64
"""Rows that a model is given at a time."""
FEWEST_TELLING = 8
"""Rows below which it may be chance that all sum to 1, or lie in 0 … 1."""
_ASKED_AGAIN = 32
"""Most rows that are asked about a second time."""
_SAME_ANSWER = 1e-3
"""How far two answers may be apart, as a share of the largest logit: rounding is far less, dropout far more."""


class InputTransform(Protocol):
    """Makes a network's inputs of samples."""

    def batches(
        self,
        samples: np.ndarray,
        batch_size: int,
        *,
        order: np.ndarray | None = None,
        augment_seed: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields ``(n, ...)`` float32 inputs of the samples, `batch_size` at a time; the last batch may be smaller.

        `order` holds the positions of the samples wanted, None all; `augment_seed` asks for random variants.
        """
        ...


class Executor(Protocol):
    """Asks a network, and a defense in front of it, on many ranks at once; the answers are the same bits as here."""

    def forward(
        self, samples: np.ndarray, *, noise: KeyedNoise | None, on_rows: Callable[[int], None] | None
    ) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples; see `Model.ask`."""
        ...

    def reshape(
        self,
        defense: Any,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        draws: np.ndarray | None,
        on_progress: Callable[[int], None] | None,
    ) -> np.ndarray:
        """``(N, C)`` float32 reshaped vectors; see `Defense.reshape`."""
        ...


class Identity:
    """The preparation of samples that are a network's inputs already."""

    def batches(
        self,
        samples: np.ndarray,
        batch_size: int,
        *,
        order: np.ndarray | None = None,
        augment_seed: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The samples as float32."""
        if augment_seed is not None:
            raise InputError("augment", expected="images, to crop and flip", got="samples of another kind")
        for first in range(0, len(samples) if order is None else len(order), batch_size):
            rows = slice(first, first + batch_size) if order is None else order[first : first + batch_size]
            yield samples[rows].astype(np.float32, copy=False)


class _Remembered:
    """Answers of a function of rows, by the rows' digests; `asked` counts the rows that reached the function."""

    def __init__(self, respond: Callable[[np.ndarray], np.ndarray]):
        self._respond = respond
        self._answers: dict[bytes, np.ndarray] = {}
        self._keeps = True
        self.asked = 0

    @contextlib.contextmanager
    def forgetting(self) -> Iterator[None]:
        """New answers are not remembered inside."""
        before, self._keeps = self._keeps, False
        try:
            yield
        finally:
            self._keeps = before

    def new(self, samples: np.ndarray) -> int:
        """How many different rows among these were not asked before."""
        return len(self._new(_digests(samples)))

    def _new(self, keys: list[bytes]) -> dict[bytes, int]:
        return {key: position for position, key in enumerate(keys) if key not in self._answers}

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        if not len(samples):
            raise InputError("features", expected="at least one row", got="none")
        keys = _digests(samples)
        if new := self._new(keys):
            answers = self._respond(samples[list(new.values())])
            self.asked += len(new)
            given = dict(zip(new, answers, strict=True))
            if not self._keeps:
                return np.stack([given[key] if key in given else self._answers[key] for key in keys])
            self._answers.update(given)
        return np.stack([self._answers[key] for key in keys])


def _digests(samples: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(samples)]


class Model(abc.ABC):
    """A trained model: samples in, logits out. Each sample is given to it once.

    Subclasses say how a model of one framework is asked: `ask`, and `parameters` and `digest` for the record of what
    was evaluated.

    Args:
        prepare: Makes the model's inputs of samples; None if they are the inputs.
        batch_size: Rows that it is given at a time.
        on_rows: Called with the number of rows that just came out of it.

    Attributes:
        prepare: As given.
        batch_size: As given.
        on_rows: As given.
        kind: What to call the model in results, such as the name of its class.
        remedy_for_randomness: What to do about a model that does not repeat its answers, for a message.
    """

    kind: str
    remedy_for_randomness = "take out what is random, such as dropout, and statistics of the batch"

    def __init__(
        self,
        *,
        prepare: InputTransform | None = None,
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
    ):
        self.prepare, self.batch_size, self.on_rows = prepare, batch_size, on_rows
        self._logits = _Remembered(self._respond)

    @abc.abstractmethod
    def ask(
        self, samples: np.ndarray, *, noise: KeyedNoise | None = None, on_rows: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples, asked whether or not they were asked before.

        Args:
            samples: What to ask about.
            noise: What is added to the model's inputs; None for nothing.
            on_rows: Called after each batch with its number of rows.
        """

    def parameters(self) -> int | None:
        """How many parameters the model has; None if nobody knows."""
        return None

    def digest(self) -> str | None:
        """SHA-256 of the parameters, hex; None if they cannot be seen."""
        return None

    def batches(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """The model's inputs of samples."""
        return (self.prepare or Identity()).batches(samples, self.batch_size)

    def reshape(
        self,
        defense: Any,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        draws: np.ndarray | None,
        on_progress: Callable[[int], None] | None,
    ) -> np.ndarray:
        """``(N, C)`` float32 vectors of a defense in front of the model; see `Defense.reshape`."""
        return defense.reshape(clean_probs, start_logits, draws=draws, on_progress=on_progress)

    def _respond(self, samples: np.ndarray) -> np.ndarray:
        logits = self.ask(samples, on_rows=self.on_rows)
        if logits.shape[1] < 2:
            raise one_number(logits.shape)
        return logits

    def logits(self, samples: np.ndarray) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples.

        Raises:
            InputError: If there are no rows, or the model does not take them or answers with anything but logits of at
                least two classes.
        """
        return self._logits(samples)

    def forgetting(self) -> contextlib.AbstractContextManager[None]:
        """New answers are not remembered inside, for questions that are put once."""
        return self._logits.forgetting()

    def check_repeats(self, samples: np.ndarray) -> None:
        """Asks the model about some samples a second time, among others than before.

        Raises:
            InputError: If the answers differ by more than rounding: dropout that stays on, noise, or batch
                normalization by the batch. All figures would be those of one draw, and lower than they should be.
        """
        # What was asked before was among other samples, so that statistics of the batch show as well.
        before, samples = self.logits(samples[: 2 * _ASKED_AGAIN])[::2], samples[: 2 * _ASKED_AGAIN : 2]
        again = self.ask(samples)
        scale = np.maximum(np.abs(before).max(), np.abs(again).max())
        if differing := int((np.abs(again - before) > _SAME_ANSWER * scale).any(axis=1).sum()):
            raise InputError(
                "network",
                expected="the same answer whenever a sample is asked about",
                got=f"another one, the second time, for {differing} of {len(again)}",
                fix=self.remedy_for_randomness,
            )

    def new(self, samples: np.ndarray) -> int:
        """How many of these samples the model has not seen."""
        return self._logits.new(samples)


class Target:
    """A model that answers queries and counts them; the same question is put to the model once.

    Args:
        respond: ``(N, ...)`` samples → ``(N, C)`` float32 log-probabilities.
        labels: ``(N, ...)`` samples → ``(N,)`` predicted classes, where that is cheaper than `respond` and sure to
            agree with it; None to look at what `respond` says.
        anew: Samples and a number k → the log-probabilities that the model gives when the same is asked for the k-th
            time more, for models whose answers vary; None if they do not.
    """

    def __init__(
        self,
        respond: Callable[[np.ndarray], np.ndarray],
        *,
        labels: Callable[[np.ndarray], np.ndarray] | None = None,
        anew: Callable[[np.ndarray, int], np.ndarray] | None = None,
    ):
        self._answers = _Remembered(respond)
        self._labels = _Remembered(labels) if labels is not None else None
        self._anew = anew
        self._again: dict[int, _Remembered] = {}

    @property
    def varies(self) -> bool:
        """Whether the same question may get another answer the next time."""
        return self._anew is not None

    @property
    def queries(self) -> int:
        """Rows that were put to the model; what was asked before is answered from memory and not counted."""
        others = [*self._again.values(), *([self._labels] if self._labels is not None else [])]
        return self._answers.asked + sum(other.asked for other in others)

    def query(self, samples: np.ndarray, *, again: int = 0) -> np.ndarray:
        """Log-probabilities ``(N, C)`` float32 of samples ``(N, ...)``.

        Args:
            samples: What to ask about.
            again: 0 for the first answer, k for the answer when the same is asked for the k-th time more; a model
                whose answers do not vary gives the first again.

        Raises:
            InputError: If there are no rows, or the model does not take them.
        """
        anew = self._anew
        if not again or anew is None:
            return self._answers(samples)
        if again not in self._again:
            self._again[again] = _Remembered(lambda rows: anew(rows, again))
        return self._again[again](samples)

    def labels(self, samples: np.ndarray) -> np.ndarray:
        """Predicted classes ``(N,)`` of samples ``(N, ...)``: all that a label-only attacker asks for.

        Raises:
            InputError: If there are no rows, or the model does not take them.
        """
        if self._labels is None:
            return self.query(samples).argmax(axis=1)
        return self._labels(samples)

    @contextlib.contextmanager
    def forgetting(self) -> Iterator[None]:
        """New answers are not remembered inside, for questions that are put once."""
        with contextlib.ExitStack() as stack:
            for memory in (self._answers, *([self._labels] if self._labels is not None else [])):
                stack.enter_context(memory.forgetting())
            yield

    def new(self, samples: np.ndarray) -> int:
        """How many of these samples have not been asked about."""
        return self._answers.new(samples)


def clean_target(model: Model) -> Target:
    """The target that a model without a defense is; what the model has answered already it is not asked again."""
    return Target(
        lambda samples: log_softmax(model.logits(samples)),
        labels=lambda samples: model.logits(samples).argmax(axis=1),
    )


def checked_logits(logits: np.ndarray, remedies: dict[str, str]) -> np.ndarray:
    """The logits of a model as float32, if they are any.

    Args:
        logits: ``(N, C)`` what the model answered.
        remedies: What to do where the answers are ``"probs"``, ``"per cent"`` or ``"sigmoids"``.

    Raises:
        InputError: If they hold NaN or infinity, are no matrix, or were made by a softmax or a sigmoid.
    """
    name = "logits of the network"
    check_logits(logits, name=name)
    if logits.shape[1] >= 2 and len(logits) >= FEWEST_TELLING and (found := instead_of_logits(logits)) is not None:
        got, kind = found
        expected = f"values from before {'a sigmoid or ' * (kind == 'sigmoids')}softmax"
        raise InputError(name, expected=expected, got=got, fix=remedies[kind])
    return logits.astype(np.float32, copy=False)


def one_each(answer: np.ndarray, rows: int) -> np.ndarray:
    """The answer to so many rows, if it has one row of logits for each."""
    if answer.shape[:1] != (rows,):
        raise InputError(
            "answer of the network",
            expected=f"one row of logits for each of the {rows} samples that it was given",
            got=f"shape {answer.shape}",
            fix="average what it says of several crops or words of a sample, and take no mean over the batch",
        )
    if answer.ndim == 1:
        raise one_number(answer.shape)
    return answer


def one_number(shape: tuple[int, ...]) -> InputError:
    """The error for a model with one output."""
    fix = "of the logit z of class 1 answer ops.stack((0 * z, z), axis=1), where z = net(x).reshape(-1)"
    return InputError(
        "logits of the network",
        expected="shape (N, C) with at least two classes",
        got=f"{shape}, one number a sample",
        fix=f"{fix}, without a Sigmoid at the end of net",
    )


def refused(samples: np.ndarray, error: Exception) -> NoReturn:
    """Raises an InputError for samples that a model failed on, with what it said."""
    if isinstance(error, MindefenseError):
        raise error
    said = str(error).strip() or type(error).__name__
    raise InputError(
        "features",
        expected="rows that the network takes",
        got=f"shape {samples.shape} and {said.splitlines()[0]}",
        fix="give the network that belongs to this data set, or fewer rows at a time if memory ran out",
    ) from error
