"""Two ways to train an epoch with differential privacy: an MLP on a CPU in NumPy, and any other network row by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import Checkpoint
from mindefense.errors import InputError
from mindefense.models.mlp import MLP
from mindefense.runtime import device_in_use
from mindefense.targets.base import Identity, InputTransform
from mindefense.training.config import TrainConfig
from mindefense.training.dense import DenseTask
from mindefense.training.engines import Engine, RowLoss
from mindefense.training.private import PrivateDescent, clip_factors, secret_generator


def private_engine(
    net: nn.Cell,
    features: np.ndarray,
    labels: np.ndarray,
    config: TrainConfig,
    prepare: InputTransform | None,
    *,
    noise_seed: int | None = None,
) -> Engine:
    """The engine for a network; the algorithm is that of `mindefense.training.private.PrivateDescent` in any case.

    Args:
        net: The network, trained in place.
        features: ``(N, ...)`` rows.
        labels: ``(N,)``.
        config: Settings, with a noise multiplier above 0.
        prepare: Converts the rows to the network's inputs; None if they are the inputs.
        noise_seed: Seed of noise and sampling; None for secret ones.

    Raises:
        InputError: If the settings or the network do not allow privacy.
    """
    if config.momentum or config.augment:
        expected = "0 and no crops for private training, which descends along the noised sum alone"
        raise InputError("momentum, augment", expected=expected, got=f"{config.momentum:g}, {config.augment}")
    if any(parameter.name.endswith("moving_mean") for parameter in net.get_parameters()):
        raise InputError(
            "net", expected="no batch normalization, which mixes the rows of a batch", got="one with it",
            fix="build it with another normalization, or train it in another way",
        )  # fmt: skip
    if type(net) is MLP and prepare is None and device_in_use() == "CPU":
        return PrivateDense(net, DenseTask(net.weights(), features, labels, config, noise_seed=noise_seed))
    return PrivateRows(net, features, labels, config, prepare, noise_seed=noise_seed)


class PrivateDense:
    """Trains an MLP in NumPy."""

    def __init__(self, net: MLP, task: DenseTask):
        self._net, self._descent = net, PrivateDescent(task)

    def run(self, number: int) -> tuple[float, float]:
        """See `Engine`; the rows of each step are drawn independently."""
        found = self._descent.run(number)
        self._net.load_weights(self._descent.layers)
        return found

    def state(self) -> dict[str, np.ndarray]:
        """See `Engine`; the secret generator is not stored."""
        return {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """See `Engine`. The noise of the remaining steps is new, which does not change the guarantee."""
        self.take({})

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes the weights of the network."""
        for (weight, bias), (new_weight, new_bias) in zip(self._descent.layers, self._net.weights(), strict=True):
            weight[...], bias[...] = new_weight, new_bias


class PrivateRows:
    """Trains any network by gradients that MindSpore computes for one row at a time; clips and adds noise in NumPy."""

    def __init__(
        self,
        net: nn.Cell,
        features: np.ndarray,
        labels: np.ndarray,
        config: TrainConfig,
        prepare: InputTransform | None,
        *,
        noise_seed: int | None,
    ):
        self._net, self._config = net.set_train(True), config
        self._features, self._prepare = features, prepare or Identity()
        self._labels = labels.astype(np.float32 if config.loss == "sigmoid" else np.int32)
        self._weights = ms.ParameterTuple(net.trainable_params())
        self._rng = secret_generator()
        if noise_seed is not None:
            self._rng = np.random.Generator(np.random.PCG64DXSM(noise_seed))
        self._gradient = _RowGradient(net, config, self._weights)

    def run(self, number: int) -> tuple[float, float]:
        """See `Engine`; an epoch has as many steps as plain descent, and draws each row once on average."""
        config, n = self._config, len(self._labels)
        batch = min(config.batch_size, n)
        total, right, drawn = 0.0, 0.0, 0
        for rate in config.rates(number, math.ceil(n / batch)):
            rows = np.flatnonzero(self._rng.random(n) < batch / n)
            sums = [np.zeros(weight.shape, np.float32) for weight in self._weights]
            for loss, correct, gradients in self._of_rows(rows):
                factor = clip_factors(np.array([sum(float((g**2).sum()) for g in gradients)]), config.clip_norm)[0]
                for whole, gradient in zip(sums, gradients, strict=True):
                    whole += factor * gradient
                total, right, drawn = total + loss, right + correct, drawn + 1
            self._step(sums, rate, batch)
        return total / max(drawn, 1), right / max(drawn, 1)

    def _of_rows(self, rows: np.ndarray) -> Iterator[tuple[float, float, list[np.ndarray]]]:
        """Loss, whether the class is correct, and the gradients of each row."""
        if not len(rows):
            return
        weight = ms.Tensor(np.ones(1, np.float32))
        inputs = self._prepare.batches(self._features, 1, order=np.ascontiguousarray(rows))
        for row, one in zip(rows, inputs, strict=True):
            label = ms.Tensor(self._labels[row : row + 1])
            loss, is_right, gradients = self._gradient(ms.Tensor(one), label, weight)
            yield float(loss.asnumpy()), float(is_right.asnumpy()), [gradient.asnumpy() for gradient in gradients]

    def _step(self, sums: list[np.ndarray], rate: float, batch: int) -> None:
        config = self._config
        deviation = np.float32(config.noise_multiplier * config.clip_norm)
        for parameter, whole in zip(self._weights, sums, strict=True):
            change = whole + deviation * self._rng.standard_normal(whole.shape, np.float32)
            held = parameter.asnumpy()
            decay = config.weight_decay if held.ndim > 1 else 0.0
            # Assigned, because the compiled graph does not see new data.
            ops.assign(parameter, ms.Tensor(held - np.float32(rate) * (change / np.float32(batch) + decay * held)))

    def state(self) -> dict[str, np.ndarray]:
        """See `Engine`; the secret generator is not stored."""
        return {}

    def restore(self, checkpoint: Checkpoint) -> None:
        """See `Engine`."""

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """Does nothing, since `state` is empty."""


class _RowGradient(nn.Cell):
    """Loss, correctness and gradients of one row in one graph."""

    def __init__(self, net: nn.Cell, config: TrainConfig, weights: ms.ParameterTuple):
        super().__init__(auto_prefix=False)
        self.loss = RowLoss(net, config)
        self.gradient = ms.value_and_grad(self.loss, None, weights, has_aux=True)

    @ms.jit
    def construct(self, row, label, weight):
        """The row's loss, 1.0 if it is classified correctly, and the gradient of each weight."""
        (loss, logits), gradients = self.gradient(row, label, weight)
        return loss, self.loss.is_right(logits, label).sum(), gradients
