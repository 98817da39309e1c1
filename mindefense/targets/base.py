"""Query access to a model, with stored answers. Needs only NumPy."""

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
"""Rows per batch of a model."""
FEWEST_TELLING = 8
"""With fewer rows it may be chance that all sum to 1, or lie in 0 … 1."""
_ASKED_AGAIN = 32
"""Largest number of rows that are queried a second time."""
_SAME_ANSWER = 1e-3
"""Tolerance between two answers, as a share of the largest logit: rounding is far smaller, dropout far larger."""


class InputTransform(Protocol):
    """Converts samples to a network's inputs."""

    def batches(
        self,
        samples: np.ndarray,
        batch_size: int,
        *,
        order: np.ndarray | None = None,
        augment_seed: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields ``(n, ...)`` float32 inputs of the samples, `batch_size` at a time; the last batch may be smaller.

        `order` has the positions of the samples, None for all; `augment_seed` is the seed of random variants.
        """
        ...


class Executor(Protocol):
    """Runs a network and its defense on many ranks; the answers are the same to the last bit as on one."""

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
    """The preparation for samples that are already a network's inputs."""

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
    """Stores a function's answers by the rows' digests; `asked` counts the rows that were passed to the function."""

    def __init__(self, respond: Callable[[np.ndarray], np.ndarray]):
        self._respond = respond
        self._answers: dict[bytes, np.ndarray] = {}
        self._keeps = True
        self.asked = 0

    @contextlib.contextmanager
    def forgetting(self) -> Iterator[None]:
        """Answers are neither remembered nor taken from memory inside."""
        before, self._keeps = self._keeps, False
        try:
            yield
        finally:
            self._keeps = before

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Forgets at the end the answers that were stored inside."""
        before = dict(self._answers)
        try:
            yield
        finally:
            self._answers = before

    def new(self, samples: np.ndarray) -> int:
        """Number of different rows among these without a stored answer."""
        return len(self._new(_digests(samples)))

    def _new(self, keys: list[bytes]) -> dict[bytes, int]:
        return {key: position for position, key in enumerate(keys) if key not in self._answers}

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        if not len(samples):
            raise InputError("features", expected="at least one row", got="none")
        if not self._keeps:
            self.asked += len(samples)
            return self._respond(samples)
        keys = _digests(samples)
        if new := self._new(keys):
            answers = self._respond(samples[list(new.values())])
            self._answers.update(zip(new, answers, strict=True))
            self.asked += len(new)
        return np.stack([self._answers[key] for key in keys])


def _digests(samples: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(samples)]


class Model(abc.ABC):
    """A trained model, which maps samples to logits. It is run only once for each sample.

    A subclass implements `ask` for models of one framework, and `parameters` and `digest` for the record of the
    evaluated model.

    Args:
        prepare: Converts samples to the model's inputs; None if they are the inputs.
        batch_size: Rows per batch.
        on_rows: Called with the number of rows that the model has just processed.

    Attributes:
        prepare: The argument.
        batch_size: The argument.
        on_rows: The argument.
        kind: The model's name in results, such as the name of its class.
        remedy_for_randomness: Advice for a model that does not repeat its answers, for a message.
    """

    kind: str
    remedy_for_randomness = "remove random parts, such as dropout, and statistics of the batch"

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
        """``(N, C)`` float32 logits of ``(N, ...)`` samples; does not use stored answers.

        Args:
            samples: The samples.
            noise: Noise that is added to the model's inputs; None for no noise.
            on_rows: Called after each batch with its number of rows.
        """

    def parameters(self) -> int | None:
        """Number of parameters of the model; None if it is not known."""
        return None

    def digest(self) -> str | None:
        """SHA-256 of the parameters, hex; None if they are not accessible."""
        return None

    def batches(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """The model's inputs for samples."""
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
            InputError: If there are no rows, the model does not accept them, or its answers are not logits of at least
                two classes.
        """
        return self._logits(samples)

    def forgetting(self) -> contextlib.AbstractContextManager[None]:
        """Answers are neither remembered nor taken from memory inside, for queries that are made once."""
        return self._logits.forgetting()

    def restoring(self) -> contextlib.AbstractContextManager[None]:
        """Forgets at the end the answers that were stored inside."""
        return self._logits.restoring()

    def check_repeats(self, samples: np.ndarray) -> None:
        """Runs the model a second time on some samples, in other batches than before.

        Raises:
            InputError: If the answers differ by more than rounding, because of active dropout, noise, or batch
                normalization with the batch's statistics. All figures would then depend on one draw and be too low.
        """
        # The first answers were computed in other batches, so that an effect of batch statistics is found as well.
        before, samples = self.logits(samples[: 2 * _ASKED_AGAIN])[::2], samples[: 2 * _ASKED_AGAIN : 2]
        again = self.ask(samples)
        scale = np.maximum(np.abs(before).max(), np.abs(again).max())
        if differing := int((np.abs(again - before) > _SAME_ANSWER * scale).any(axis=1).sum()):
            raise InputError(
                "network",
                expected="the same answer to a repeated query",
                got=f"another answer for {differing} of {len(again)} samples",
                fix=self.remedy_for_randomness,
            )

    def new(self, samples: np.ndarray) -> int:
        """Number of these samples without a stored answer."""
        return self._logits.new(samples)


class Target:
    """A model that answers queries and counts them; a repeated query gets its stored answer.

    Args:
        respond: ``(N, ...)`` samples → ``(N, C)`` float32 log-probabilities.
        labels: ``(N, ...)`` samples → ``(N,)`` predicted classes, if this is cheaper than `respond` and always agrees
            with it; None to take the classes from `respond`.
        anew: Samples and a number k → the log-probabilities for the k-th repetition of the query, for models whose
            answers vary; None if they do not vary.
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
        """Whether a repeated query may get another answer."""
        return self._anew is not None

    @property
    def queries(self) -> int:
        """Number of rows that the model was queried with; stored answers are not counted."""
        others = [*self._again.values(), *([self._labels] if self._labels is not None else [])]
        return self._answers.asked + sum(other.asked for other in others)

    def query(self, samples: np.ndarray, *, again: int = 0) -> np.ndarray:
        """Log-probabilities ``(N, C)`` float32 of samples ``(N, ...)``.

        Args:
            samples: The samples.
            again: 0 for the first answer, k for the answer to the k-th repetition of the query; a model whose answers
                do not vary returns the first answer.

        Raises:
            InputError: If there are no rows, or the model does not accept them.
        """
        anew = self._anew
        if not again or anew is None:
            return self._answers(samples)
        if again not in self._again:
            self._again[again] = _Remembered(lambda rows: anew(rows, again))
        return self._again[again](samples)

    def labels(self, samples: np.ndarray) -> np.ndarray:
        """Predicted classes ``(N,)`` of samples ``(N, ...)``, the only information of a label-only attacker.

        Raises:
            InputError: If there are no rows, or the model does not accept them.
        """
        if self._labels is None:
            return self.query(samples).argmax(axis=1)
        return self._labels(samples)

    def forgetting(self) -> contextlib.AbstractContextManager[None]:
        """Answers are neither remembered nor taken from memory inside, for queries that are made once."""
        return self._in_each(_Remembered.forgetting)

    @contextlib.contextmanager
    def restoring(self) -> Iterator[None]:
        """Forgets at the end the answers that were stored inside, those to repetitions of a query included."""
        before = dict(self._again)
        try:
            with self._in_each(_Remembered.restoring):
                yield
        finally:
            self._again = before

    @contextlib.contextmanager
    def _in_each(self, how: Callable[[_Remembered], contextlib.AbstractContextManager[None]]) -> Iterator[None]:
        """Enters a context of each of the target's memories."""
        with contextlib.ExitStack() as stack:
            for memory in (self._answers, self._labels, *self._again.values()):
                if memory is not None:
                    stack.enter_context(how(memory))
            yield

    def new(self, samples: np.ndarray) -> int:
        """Number of these samples that have not been queried."""
        return self._answers.new(samples)


def clean_target(model: Model) -> Target:
    """A model without a defense as a target; the model is run only once for each sample."""
    return Target(
        lambda samples: log_softmax(model.logits(samples)),
        labels=lambda samples: model.logits(samples).argmax(axis=1),
    )


def checked_logits(logits: np.ndarray, remedies: dict[str, str]) -> np.ndarray:
    """The logits of a model as float32.

    Args:
        logits: ``(N, C)`` answers of the model.
        remedies: Advice for answers that are ``"probs"``, ``"per cent"`` or ``"sigmoids"``.

    Raises:
        InputError: If they contain NaN or infinity, are not a matrix, or are the output of a softmax or a sigmoid.
    """
    name = "logits of the network"
    check_logits(logits, name=name)
    if logits.shape[1] >= 2 and len(logits) >= FEWEST_TELLING and (found := instead_of_logits(logits)) is not None:
        got, kind = found
        expected = f"values from before {'a sigmoid or ' * (kind == 'sigmoids')}softmax"
        raise InputError(name, expected=expected, got=got, fix=remedies[kind])
    return logits.astype(np.float32, copy=False)


def one_each(answer: np.ndarray, rows: int) -> np.ndarray:
    """Returns `answer` if it has one row of logits for each of `rows` rows; otherwise raises InputError."""
    if answer.shape[:1] != (rows,):
        raise InputError(
            "answer of the network",
            expected=f"one row of logits for each of the {rows} samples of the batch",
            got=f"shape {answer.shape}",
            fix="average over several crops or words of a sample, but not over the batch",
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
    """Raises an InputError for samples that a model failed on, with the model's error message."""
    if isinstance(error, MindefenseError):
        raise error
    said = str(error).strip() or type(error).__name__
    raise InputError(
        "features",
        expected="rows that the network takes",
        got=f"shape {samples.shape} and {said.splitlines()[0]}",
        fix="use the network that belongs to this data set, or smaller batches if memory ran out",
    ) from error
