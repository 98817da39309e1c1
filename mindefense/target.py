"""The only door an attacker has to a model: samples in, log-probabilities out."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checks import ROUNDED_SUM, check_logits, instead_of_logits
from mindefense.confidence import LOWEST_PROB, log_softmax
from mindefense.errors import InputError, MindefenseError
from mindefense.keyed import KeyedNoise
from mindefense.runtime import compiled

BATCH_SIZE = 64
"""Rows that a network is given at a time."""
_FEWEST_TELLING = 8
"""Rows below which it may be chance that all sum to 1, or lie in 0 … 1."""
_ASKED_AGAIN = 32
"""Most rows that are asked about a second time."""
_SAME_ANSWER = 1e-3
"""How far two answers may be apart, as a share of the largest logit: rounding is far less, dropout far more."""


class Preparation(Protocol):
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


class Spread(Protocol):
    """Asks a network, and a defense in front of it, on many ranks at once; the answers are the same bits as here."""

    def forward(
        self, samples: np.ndarray, *, noise: KeyedNoise | None, on_rows: Callable[[int], None] | None
    ) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples; see the function `forward`."""
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


class AsTheyAre:
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


def forward(
    net: nn.Cell,
    samples: np.ndarray,
    *,
    batch_size: int = BATCH_SIZE,
    prepare: Preparation | None = None,
    noise: KeyedNoise | None = None,
    on_rows: Callable[[int], None] | None = None,
    as_graph: bool = False,
    spread: Spread | None = None,
) -> np.ndarray:
    """Logits of all rows, batch by batch.

    Args:
        net: Cell from ``(n, ...)`` float32 to ``(n, C)`` logits.
        samples: ``(N, ...)`` rows.
        batch_size: Rows a batch; the last batch is filled up, so that the network sees one shape and a row's logits
            do not depend on how many rows are asked about.
        prepare: Makes the network's inputs of the rows; None if they are the inputs.
        noise: What is added to the inputs; None for nothing.
        on_rows: Called after each batch with its number of rows.
        as_graph: Compile the network first, whatever MindSpore's mode: the same bits, sooner if the network is large
            and the rows are many.
        spread: Asks it on many ranks, this one among them; None to ask it here alone.

    Returns:
        ``(N, C)`` float32 logits.

    Raises:
        InputError: If `net` does not take such rows, or answers with NaN, another shape, other rows than it was asked
            about, or what a softmax or a sigmoid has made.
    """
    n = len(samples)
    if not n:
        raise InputError("features", expected="at least one row", got="none")
    if spread is not None:
        return _checked(net, spread.forward(samples, noise=noise, on_rows=on_rows))
    _check_cell(net)
    was_training = net.training
    net.set_train(False)
    logits = []
    try:
        for inputs in (prepare or AsTheyAre()).batches(samples, batch_size):
            if noise is not None:
                inputs = inputs + noise(inputs)
            real = len(inputs)
            if real < batch_size:
                inputs = np.concatenate((inputs, np.repeat(inputs[-1:], batch_size - real, axis=0)))
            with compiled() if as_graph else contextlib.nullcontext():
                answer = net(ms.Tensor(inputs))
                if not isinstance(answer, ms.Tensor):
                    fix = "wrap the Cell in one that returns its logits alone"
                    raise InputError("answer of the network", expected="one Tensor", got=type(answer).__name__, fix=fix)
                logits.append(_one_each(answer.asnumpy(), len(inputs))[:real])
            if on_rows is not None:
                on_rows(real)
    except MindefenseError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        said = str(error).strip() or type(error).__name__
        raise InputError(
            "features",
            expected="rows that the network takes",
            got=f"shape {samples.shape} and {said.splitlines()[0]}",
            fix="give the network that belongs to this data set, or fewer rows at a time if memory ran out",
        ) from error
    finally:
        net.set_train(was_training)
    return _checked(net, np.concatenate(logits)).astype(np.float32, copy=False)


def _check_cell(net: object) -> None:
    if not isinstance(net, nn.Cell):
        if isinstance(net, type):
            got, fix = f"the class {net.__name__}", f"make one, as in {net.__name__}()"
        else:
            got, fix = (
                type(net).__name__,
                "build the Cell and load its checkpoint; of an ms.Model give the network in it",
            )
        raise InputError("network", expected="an nn.Cell", got=got, fix=fix)


def _one_each(answer: np.ndarray, rows: int) -> np.ndarray:
    """The answer to so many rows, if it has one row of logits for each."""
    if answer.shape[:1] != (rows,):
        raise InputError(
            "answer of the network",
            expected=f"one row of logits for each of the {rows} samples that it was given",
            got=f"shape {answer.shape}",
            fix="average what it says of several crops or words of a sample, and take no mean over the batch",
        )
    if answer.ndim == 1:
        raise _one_number(answer.shape)
    return answer


def _one_number(shape: tuple[int, ...]) -> InputError:
    """The error for a network with one output."""
    fix = "of the logit z of class 1 answer ops.stack((0 * z, z), axis=1), where z = net(x).reshape(-1)"
    return InputError(
        "logits of the network",
        expected="shape (N, C) with at least two classes",
        got=f"{shape}, one number a sample",
        fix=f"{fix}, without a Sigmoid at the end of net",
    )


def _checked(net: nn.Cell, logits: np.ndarray) -> np.ndarray:
    """The logits of a network, if they are any."""
    name = "logits of the network"
    check_logits(logits, name=name)
    wrapped = isinstance(net, BeforeSoftmax)
    if logits.shape[1] < 2 or len(logits) < _FEWEST_TELLING:
        return logits
    if wrapped:
        sums = np.exp(logits.astype(np.float64)).sum(axis=1)
        if not (np.abs(sums - 1) <= ROUNDED_SUM).all():
            fix = "give the network itself"
            raise InputError("BeforeSoftmax", expected="a network that ends in a softmax", got="another", fix=fix)
    elif (found := instead_of_logits(logits)) is not None:
        got, kind = found
        fix = {
            "probs": "leave the softmax out of the Cell, or wrap it: mindefense.BeforeSoftmax(net)",
            "per cent": "leave softmax and factor out of the Cell",
            "sigmoids": "leave the sigmoid out of the Cell, or answer ops.log(p / (1 - p)) of its p, clipped to 1e-7 … "
            "1 - 1e-7; if these are logits, wrap it in one that subtracts 1 from "
            "all, which changes no probability",
        }[kind]
        expected = f"values from before {'a sigmoid or ' * (kind == 'sigmoids')}softmax"
        raise InputError(name, expected=expected, got=got, fix=fix)
    return logits


class BeforeSoftmax(nn.Cell):
    """A network that ends in a softmax, as one that gives logits: the logarithms of its answers.

    Better leave the softmax out of the network: in float32 it answers 1 where logits still differ, and those
    differences are part of what leaks.

    Args:
        net: Cell from ``(N, ...)`` to ``(N, C)`` probabilities.

    Inputs:
        - **x** (Tensor) - ``(N, ...)``, what `net` takes.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, x):
        """Log-probabilities, the softmax of which is what the network says."""
        return ops.log(ops.maximum(self.net(x).astype(ms.float32), LOWEST_PROB))


class _Remembered:
    """Answers of a function of rows, by the rows' digests; `asked` counts the rows that reached the function."""

    def __init__(self, respond: Callable[[np.ndarray], np.ndarray]):
        self._respond = respond
        self._answers: dict[bytes, np.ndarray] = {}
        self.asked = 0

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
            self._answers.update(zip(new, answers, strict=True))
            self.asked += len(new)
        return np.stack([self._answers[key] for key in keys])


def _digests(samples: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(samples)]


class Network:
    """A trained Cell with the way its inputs come about; gives each sample to the Cell once.

    Args:
        cell: Cell from ``(n, ...)`` float32 to ``(n, C)`` logits.
        prepare: Makes the Cell's inputs of samples; None if they are the inputs.
        batch_size: Rows the Cell is given at a time.
        on_rows: Called with the number of rows that just came out of the Cell.
        as_graph: Whether to compile the Cell; for large ones.
        spread: Asks the Cell on many ranks; None to ask it here alone.

    Attributes:
        cell: As given.
        feed: All else as the keyword arguments of `forward`.
    """

    def __init__(
        self,
        cell: nn.Cell,
        *,
        prepare: Preparation | None = None,
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
        as_graph: bool = False,
        spread: Spread | None = None,
    ):
        _check_cell(cell)
        self.cell = cell
        self.feed: dict[str, Any] = {
            "prepare": prepare,
            "batch_size": batch_size,
            "on_rows": on_rows,
            "as_graph": as_graph,
            "spread": spread,
        }
        self._logits = _Remembered(self._respond)

    def _respond(self, samples: np.ndarray, **feed: Any) -> np.ndarray:
        logits = forward(self.cell, samples, **{**self.feed, **feed})
        if logits.shape[1] < 2:
            raise _one_number(logits.shape)
        return logits

    def logits(self, samples: np.ndarray) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples.

        Raises:
            InputError: If there are no rows, or the Cell does not take them or answers with anything but logits of at
                least two classes.
        """
        return self._logits(samples)

    def check_repeats(self, samples: np.ndarray) -> None:
        """Asks the Cell about some samples a second time, among others than before.

        Raises:
            InputError: If the answers differ by more than rounding: dropout that stays on, noise, or batch
                normalization by the batch. All figures would be those of one draw, and lower than they should be.
        """
        # What was asked before was among other samples, so that statistics of the batch show as well.
        before, samples = self.logits(samples[: 2 * _ASKED_AGAIN])[::2], samples[: 2 * _ASKED_AGAIN : 2]
        again = self._respond(samples, on_rows=None)
        scale = np.maximum(np.abs(before).max(), np.abs(again).max())
        if differing := int((np.abs(again - before) > _SAME_ANSWER * scale).any(axis=1).sum()):
            raise InputError(
                "network",
                expected="the same answer whenever a sample is asked about",
                got=f"another one, the second time, for {differing} of {len(again)}",
                fix="take out what is random, such as ops.dropout(…, training=True), and statistics of the batch; call "
                "set_train(False) on Cells that net.set_train does not reach, such as those in a list",
            )

    def new(self, samples: np.ndarray) -> int:
        """How many of these samples the Cell has not seen."""
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

    @classmethod
    def from_cell(cls, net: nn.Cell, *, batch_size: int = BATCH_SIZE, prepare: Preparation | None = None) -> Target:
        """The target that a Cell from samples, prepared or as they are, to logits (or log-probabilities) is."""
        network = Network(net, batch_size=batch_size, prepare=prepare)
        return cls(lambda samples: log_softmax(network.logits(samples)))

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

    def new(self, samples: np.ndarray) -> int:
        """How many of these samples have not been asked about."""
        return self._answers.new(samples)
