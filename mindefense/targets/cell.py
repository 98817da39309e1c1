"""A MindSpore Cell as a target."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import parameters_of
from mindefense.checks import ROUNDED_SUM, check_logits
from mindefense.confidence import LOWEST_PROB
from mindefense.errors import InputError, MindefenseError
from mindefense.keyed_noise import KeyedNoise
from mindefense.runtime import compiled
from mindefense.targets.base import (
    BATCH_SIZE,
    FEWEST_TELLING,
    Executor,
    Identity,
    InputTransform,
    Model,
    checked_logits,
    one_each,
    refused,
)


def forward(
    net: nn.Cell,
    samples: np.ndarray,
    *,
    batch_size: int = BATCH_SIZE,
    prepare: InputTransform | None = None,
    noise: KeyedNoise | None = None,
    on_rows: Callable[[int], None] | None = None,
    as_graph: bool = False,
    spread: Executor | None = None,
) -> np.ndarray:
    """Logits of all rows, batch by batch.

    Args:
        net: Cell from ``(n, ...)`` float32 to ``(n, C)`` logits.
        samples: ``(N, ...)`` rows.
        batch_size: Rows per batch. The last batch is padded, so that all batches have the same shape and a row's
            logits do not depend on the number of rows.
        prepare: Converts the rows to the network's inputs; None if they are the inputs.
        noise: Noise that is added to the inputs; None for no noise.
        on_rows: Called after each batch with its number of rows.
        as_graph: Whether to compile the network first, whatever MindSpore's mode. The logits are the same to the last
            bit, and are computed faster if the network is large and there are many rows.
        spread: Runs the network on many ranks including this one; None to run it on this rank alone.

    Returns:
        ``(N, C)`` float32 logits.

    Raises:
        InputError: If `net` does not accept such rows, or its answers contain NaN, have another shape or another
            number of rows, or are the output of a softmax or a sigmoid.
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
        for inputs in (prepare or Identity()).batches(samples, batch_size):
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
                logits.append(one_each(answer.asnumpy(), len(inputs))[:real])
            if on_rows is not None:
                on_rows(real)
    except (MindefenseError, ValueError, TypeError, RuntimeError) as error:
        refused(samples, error)
    finally:
        net.set_train(was_training)
    return _checked(net, np.concatenate(logits))


def _check_cell(net: object) -> None:
    if not isinstance(net, nn.Cell):
        if isinstance(net, type):
            got, fix = f"the class {net.__name__}", f"make one, as in {net.__name__}()"
        else:
            got, fix = (
                type(net).__name__,
                "build the Cell and load its checkpoint; for an ms.Model pass the network in it",
            )
        raise InputError("network", expected="an nn.Cell", got=got, fix=fix)


_REMEDIES = {
    "probs": "leave the softmax out of the Cell, or wrap it: mindefense.BeforeSoftmax(net)",
    "per cent": "leave softmax and factor out of the Cell",
    "sigmoids": "leave the sigmoid out of the Cell, or answer ops.log(p / (1 - p)) of its p, clipped to 1e-7 … "
    "1 - 1e-7; if these are logits, wrap it in one that subtracts 1 from all, which changes no probability",
}
"""Advice for a Cell whose answers are not logits."""


def _checked(net: nn.Cell, logits: np.ndarray) -> np.ndarray:
    """The logits of a network as float32; raises InputError if they are not logits."""
    if not isinstance(net, BeforeSoftmax):
        return checked_logits(logits, _REMEDIES)
    check_logits(logits, name="logits of the network")
    if logits.shape[1] >= 2 and len(logits) >= FEWEST_TELLING:
        sums = np.exp(logits.astype(np.float64)).sum(axis=1)
        if not (np.abs(sums - 1) <= ROUNDED_SUM).all():
            fix = "pass the network itself"
            raise InputError("BeforeSoftmax", expected="a network that ends in a softmax", got="another", fix=fix)
    return logits.astype(np.float32, copy=False)


class BeforeSoftmax(nn.Cell):
    """Wraps a network that ends in a softmax, and returns logits: the logarithms of its answers.

    It is better to remove the softmax from the network: in float32 a probability rounds to 1 for different logits, and
    these differences are part of the leak.

    Args:
        net: Cell from ``(N, ...)`` to ``(N, C)`` probabilities.

    Inputs:
        - **x** (Tensor) - ``(N, ...)``, an input of `net`.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, x):
        """Log-probabilities, whose softmax is the network's answer."""
        return ops.log(ops.maximum(self.net(x).astype(ms.float32), LOWEST_PROB))


class Network(Model):
    """A trained Cell with the preparation of its inputs; runs the Cell only once for each sample.

    Args:
        cell: Cell from ``(n, ...)`` float32 to ``(n, C)`` logits.
        prepare: Converts samples to the Cell's inputs; None if they are the inputs.
        batch_size: Rows per batch.
        on_rows: Called with the number of rows that the Cell has just processed.
        as_graph: Whether to compile the Cell; useful for large ones.
        spread: Runs the Cell on many ranks; None to run it on this rank alone.

    Attributes:
        cell: The argument.
    """

    remedy_for_randomness = (
        "remove random parts, such as ops.dropout(…, training=True), and statistics of the batch; call "
        "set_train(False) on Cells that net.set_train does not reach, such as those in a list"
    )

    def __init__(
        self,
        cell: nn.Cell,
        *,
        prepare: InputTransform | None = None,
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
        as_graph: bool = False,
        spread: Executor | None = None,
    ):
        _check_cell(cell)
        super().__init__(prepare=prepare, batch_size=batch_size, on_rows=on_rows)
        self.cell = cell
        self.kind = type(cell).__name__
        self._as_graph, self._spread = as_graph, spread

    def ask(
        self, samples: np.ndarray, *, noise: KeyedNoise | None = None, on_rows: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """``(N, C)`` float32 logits of ``(N, ...)`` samples; see `Model.ask` and `forward`."""
        return forward(
            self.cell,
            samples,
            batch_size=self.batch_size,
            prepare=self.prepare,
            noise=noise,
            on_rows=on_rows,
            as_graph=self._as_graph,
            spread=self._spread,
        )

    def parameters(self) -> int:
        """Number of parameters of the Cell."""
        return sum(parameter.size for parameter in self.cell.get_parameters())

    def digest(self) -> str:
        """SHA-256 of the parameters, hex."""
        return parameters_sha256(self.cell)

    def reshape(
        self,
        defense: Any,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        draws: np.ndarray | None,
        on_progress: Callable[[int], None] | None,
    ) -> np.ndarray:
        """``(N, C)`` float32 vectors of the Cell's defense, on many ranks if the Cell runs there."""
        if self._spread is not None:
            return self._spread.reshape(defense, clean_probs, start_logits, draws=draws, on_progress=on_progress)
        return super().reshape(defense, clean_probs, start_logits, draws=draws, on_progress=on_progress)


def parameters_sha256(net: nn.Cell) -> str:
    """A fingerprint of all parameters of `net`, hex."""
    digest = hashlib.sha256()
    for array in parameters_of(net).values():
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
