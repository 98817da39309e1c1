"""Two ways to train an epoch.

Plain descent on rows in memory, with or without weight decay, runs an epoch as one loop inside one graph. If Python
ran each step, such small networks would spend most of their time entering and leaving the graph. Images, which are
prepared batch by batch, and trainings with momentum run step by step with MindSpore's own optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import Checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.ranks import ProcessGroup, part_of
from mindefense.targets.base import Identity, InputTransform
from mindefense.training.config import TrainConfig

_FEWEST_ROWS = 8
"""Smallest number of rows of a batch on each rank."""
_STATE = "optimizer."
"""Prefix of the optimizer's parameters in the checkpoint of an unfinished training."""


def trains_in_steps(config: TrainConfig, prepare: InputTransform | None) -> bool:
    """Whether a training runs step by step, which many ranks can share, instead of an epoch at a time in one graph.

    Private training, whose noise one process draws, is not shared.
    """
    return (prepare is not None or bool(config.momentum) or config.augment) and not config.noise_multiplier


class Engine(Protocol):
    """Trains a network epoch by epoch."""

    def run(self, number: int) -> tuple[float, float]:
        """Trains epoch `number`, counted from 0, and returns its mean loss and share of rows classified correctly.

        The order of the rows depends only on the seed and the number, so that a resumed training has the same order.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """The arrays that a resume needs in addition to the weights, with names that no network uses."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Restores the result of `state` from a file."""
        ...

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """Restores the result of `state`."""
        ...


class Steps:
    """Trains with MindSpore's `Momentum`, batch by batch; many ranks each process a part of every batch."""

    def __init__(
        self,
        net: nn.Cell,
        features: np.ndarray,
        labels: np.ndarray,
        config: TrainConfig,
        prepare: InputTransform | None,
        crew: ProcessGroup | None,
    ):
        self._net, self._crew = net, crew
        self._features, self._config = features, config
        self._prepare = prepare if prepare is not None else Identity()
        self._labels = labels.astype(np.float32 if config.loss == "sigmoid" else np.int32)
        self._batch = min(config.batch_size, len(labels))
        self._steps = len(labels) // self._batch
        rates = np.concatenate([config.rates(epoch, self._steps) for epoch in range(config.epochs)])
        rank, size = (0, 1) if crew is None else (crew.rank, crew.size)
        if size > 1 and self._batch < _FEWEST_ROWS * size:
            raise InputError(
                "batch_size",
                expected=f"at least {_FEWEST_ROWS} rows a rank, for batch normalization, so {_FEWEST_ROWS * size}",
                got=str(self._batch),
                fix="train on fewer ranks or with a larger --batch_size",
            )
        self._part = part_of(self._batch, rank=rank, size=size)
        self._step = _Step(net, config, rates, whole_batch=self._batch, is_shared=size > 1)

    def run(self, number: int) -> tuple[float, float]:
        """See `Engine`."""
        n = self._steps * self._batch
        order = np.random.default_rng((self._config.seed, number)).permutation(len(self._labels))[:n]
        order = order.reshape(self._steps, self._batch)[:, self._part]
        seed = None
        if self._config.augment:
            rank = 0 if self._crew is None else self._crew.rank
            seed = int(np.random.default_rng((self._config.seed, number, 1 + rank)).integers(2**31))
        batches = self._prepare.batches(
            self._features, order.shape[1], order=np.ascontiguousarray(order).reshape(-1), augment_seed=seed
        )
        total = right = 0.0
        if self._crew is not None:
            self._crew.meet()  # waits for rank 0, which may have been writing
        for rows, batch in zip(order, batches, strict=True):
            loss, correct = self._step(ms.Tensor(batch), ms.Tensor(self._labels[rows]))
            total += float(loss.asnumpy())
            right += float(correct.asnumpy())
            if self._crew is None and not math.isfinite(total):
                break
        if self._crew is not None:
            total, right = self._crew.total(np.array([total, right]))
            self._average_statistics(self._crew)
        return total / self._steps, right / n

    def _average_statistics(self, crew: ProcessGroup) -> None:
        """Replaces batch normalization's statistics on every rank by their mean over the ranks."""
        for parameter in self._net.get_parameters():
            if not parameter.requires_grad:
                mean = crew.total(parameter.asnumpy()) / crew.size
                parameter.set_data(ms.Tensor(mean.astype(np.float32)))

    def state(self) -> dict[str, np.ndarray]:
        """See `Engine`."""
        return {_STATE + name: parameter.asnumpy() for name, parameter in self._step.optimizer_state().items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        """See `Engine`."""
        for name, parameter in self._step.optimizer_state().items():
            held = checkpoint.state.get(_STATE + name)
            if held is None or held.size != parameter.size:
                raise CheckpointError(
                    f"{checkpoint.path} cannot be resumed: it lacks the optimizer's {name}", fix="start afresh"
                )
        self.take(checkpoint.state)

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Engine`."""
        for name, parameter in self._step.optimizer_state().items():
            # A file returns a scalar as an array of one element.
            parameter.set_data(ms.Tensor(state[_STATE + name].reshape(parameter.shape)))


def _decays(parameter: ms.Parameter) -> bool:
    """Whether weight decay applies to this parameter."""
    return parameter.name.rpartition(".")[2] not in ("bias", "gamma", "beta")


def make_optimizer(net: nn.Cell, config: TrainConfig, rates: np.ndarray) -> nn.Momentum:
    """MindSpore's ``Momentum`` for the trainable parameters of `net`, with `rates` ``(steps,)`` for steps to come."""
    weights, spared = [], []
    for parameter in net.trainable_params():
        (weights if _decays(parameter) else spared).append(parameter)
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return nn.Momentum(groups, rates.astype(np.float32).tolist(), config.momentum)


class _Step(nn.Cell):
    """One gradient step in one graph; the gradients of the ranks' parts of a batch are added."""

    def __init__(self, net: nn.Cell, config: TrainConfig, rates: np.ndarray, *, whole_batch: int, is_shared: bool):
        super().__init__(auto_prefix=False)
        self.whole_batch, self.is_shared = whole_batch, is_shared
        self.add_up: Any = ops.AllReduce() if is_shared else None
        self.net = net.set_train(True)
        self.optimizer = make_optimizer(net, config, rates)
        self.loss = RowLoss(net, config)
        self.gradient = ms.value_and_grad(self.loss, None, self.optimizer.parameters, has_aux=True)

    def optimizer_state(self) -> dict[str, ms.Parameter]:
        own = {id(parameter) for parameter in self.net.get_parameters()}
        return {p.name: p for p in self.optimizer.get_parameters() if id(p) not in own}

    @ms.jit
    def construct(self, features, labels):
        """The batch's mean loss and its number of rows classified correctly."""
        weight = ops.ones_like(labels).astype(ms.float32) / self.whole_batch
        (loss, logits), gradients = self.gradient(features, labels, weight)
        if self.is_shared:
            summed = ()
            for gradient in gradients:
                summed = (*summed, self.add_up(gradient))
            gradients = summed
        self.optimizer(gradients)
        return loss, self.loss.is_right(logits, labels).sum()


class EpochGraph(nn.Cell):
    """All steps of an epoch as one loop in one graph; the data stay on the device."""

    def __init__(self, net: nn.Cell, features: np.ndarray, labels: np.ndarray, config: TrainConfig):
        super().__init__(auto_prefix=False)
        self.config = config
        self.net = net.set_train(True)
        self.weights = ms.ParameterTuple(net.trainable_params())
        self.decays = tuple(config.weight_decay > 0 and _decays(weight) for weight in self.weights)
        labels = labels.astype(np.float32 if config.loss == "sigmoid" else np.int32)
        self.features = ms.Parameter(ms.Tensor(features.astype(np.float32)), "train.features", requires_grad=False)
        self.labels = ms.Parameter(ms.Tensor(labels), "train.labels", requires_grad=False)
        self.loss = RowLoss(net, config)
        self.gradient = ms.value_and_grad(self.loss, None, self.weights, has_aux=True)

    def state(self) -> dict[str, np.ndarray]:
        """See `Engine`."""
        return {}  # plain descent has no state

    def restore(self, checkpoint: Checkpoint) -> None:
        """See `Engine`."""
        if checkpoint.state:  # written by the other engine, whose batches differ
            raise CheckpointError(f"{checkpoint.path} cannot be resumed: it keeps an optimizer", fix="start afresh")

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """Does nothing, since `state` is empty."""

    def run(self, number: int) -> tuple[float, float]:
        """See `Engine`."""
        config = self.config
        n = len(self.labels)
        batch = min(config.batch_size, n)
        steps = math.ceil(n / batch)
        # The last batch is padded with rows of weight 0, to keep the shapes static.
        order = np.zeros(steps * batch, np.int32)
        order[:n] = np.random.default_rng((config.seed, number)).permutation(n)
        real = np.arange(steps * batch).reshape(steps, batch) < n
        share = real / real.sum(axis=1, keepdims=True)
        rates = config.rates(number, steps)
        loss, right = self(
            ms.Tensor(order.reshape(steps, batch)),
            ms.Tensor((rates[:, None] * share).astype(np.float32)),
            ms.Tensor((1 / rates).astype(np.float32)),
            ms.Tensor((config.weight_decay * rates).astype(np.float32)),
            ms.Tensor(real.astype(np.float32)),
        )
        return float(loss.asnumpy()) / steps, float(right.asnumpy()) / n

    @ms.jit
    def construct(self, order, weight, unweight, decay, real):
        """Sums of the batches' losses and of the rows classified correctly."""
        step = ms.Tensor(0, ms.int32)
        total, right = ms.Tensor(0.0), ms.Tensor(0.0)
        while step < order.shape[0]:
            rows = order[step]
            labels = self.labels[rows]
            (loss, logits), gradients = self.gradient(self.features[rows], labels, weight[step])
            # The loss's weights include the learning rate, so that an update is a single operation.
            for k in range(len(self.weights)):
                change = gradients[k]
                if self.decays[k]:
                    change = change + decay[step] * self.weights[k]
                ops.assign_sub(self.weights[k], change)
            total = total + loss * unweight[step]
            right = right + (self.loss.is_right(logits, labels) * real[step]).sum()
            step = step + 1
        return total, right


class RowLoss(nn.Cell):
    """Weighted sum of the rows' losses, and the logits it came from."""

    def __init__(self, net: nn.Cell, config: TrainConfig):
        super().__init__(auto_prefix=False)
        self.net = net
        self.binary = config.loss == "sigmoid"
        self.smoothing = float(config.label_smoothing)
        self.cross_entropy = ops.BCEWithLogitsLoss("none")

    def construct(self, features, labels, weight):
        """The weighted sum of the losses, and the logits."""
        logits = self.net(features)
        if self.binary:
            losses = self.cross_entropy(logits.reshape(-1), labels, ops.ones_like(weight), ops.ones_like(weight))
        else:
            spread = self.smoothing / logits.shape[1]
            truth = ops.one_hot(labels, logits.shape[1], ms.Tensor(1.0 - self.smoothing + spread), ms.Tensor(spread))
            losses = -(ops.log_softmax(logits, -1) * truth).sum(1)
        return (losses * weight).sum(), logits

    def is_right(self, logits, labels):
        """1.0 for every row classified correctly, otherwise 0.0."""
        if self.binary:
            called = (logits.reshape(-1) > 0).astype(ms.float32)
            return (called == labels).astype(ms.float32)
        return (logits.argmax(1) == labels).astype(ms.float32)
