"""Fits a classifier Cell to samples. Knows nothing about attacks or defenses.

Two engines, chosen by what is to be trained. Plain descent on rows that fit into memory, with weight decay or without,
runs an epoch as one loop inside one graph: stepped from Python, such small networks spend most of their time on the way
in and out of the graph. Images, which are prepared batch by batch, and momentum go step by step through MindSpore's own
optimizer.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import Checkpoint, load_checkpoint, load_into, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.ranks import Crew, part_of
from mindefense.runtime import compiled
from mindefense.target import AsTheyAre, Preparation, forward

LOSSES = ("softmax", "sigmoid")
SCHEDULES = ("step", "cosine")
_FEWEST_ROWS = 8
"""Rows of a batch that a rank must have at least."""
_STATE = "optimizer."
"""Begins the names of the optimizer's parameters in the checkpoint of an unfinished training."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Stochastic gradient descent on mini-batches.

    Attributes:
        epochs: Passes over the data.
        learning_rate: Step length at the start, after warming up.
        decay_every: Epochs after which the learning rate falls to a tenth, each time; None for never. Counts for the
            schedule ``"step"`` alone.
        batch_size: Rows a step. With plain descent on rows in memory the last step of an epoch takes what is left;
            otherwise what is left sits the epoch out, so that batch normalization never sees a small batch.
        loss: ``"softmax"`` cross-entropy over classes, or ``"sigmoid"`` binary cross-entropy of one output.
        seed: Seeds the order of the rows in every epoch, and crops and flips.
        schedule: ``"step"``, or ``"cosine"`` from the learning rate to 0 over all epochs.
        warmup_epochs: Epochs over which the learning rate rises linearly at first.
        momentum: Share of the last step that the next one keeps, in [0, 1).
        weight_decay: L2 penalty λ of the weights: a step goes down ``gradient + λ · weight`` (Krogh and Hertz 1991,
            equation 5). Biases and batch normalization are spared, and the losses that are reported are without it.
        augment: Whether images are cropped and flipped at random.
        until_accuracy: End after the first epoch with this share of rows classified rightly, in (0, 1], as measured
            during that epoch; None to train all epochs.
        label_smoothing: Share ε of the truth that is spread evenly over all C classes, in [0, 1): the true class
            counts 1 − ε + ε/C and every other ε/C (Szegedy et al. 2016, section 7). For the loss ``"softmax"`` alone;
            the losses that are reported are those of the smoothed labels.
    """

    epochs: int = 200
    learning_rate: float = 0.01
    decay_every: int | None = 150
    batch_size: int = 64
    loss: str = "softmax"
    seed: int = 0
    schedule: str = "step"
    warmup_epochs: int = 0
    momentum: float = 0.0
    weight_decay: float = 0.0
    augment: bool = False
    until_accuracy: float | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("decay_every", 1), ("seed", 0), ("warmup_epochs", 0)):
            value = getattr(self, name)
            if name == "decay_every" and value is None:
                continue
            if not isinstance(value, numbers.Integral) or value < least:
                raise InputError(name, expected=f"a whole number of at least {least}", got=repr(value))
        if not 0 < self.learning_rate < math.inf:
            raise InputError("learning_rate", expected="a finite number above 0", got=repr(self.learning_rate))
        if self.loss not in LOSSES:
            raise InputError("loss", expected=" or ".join(LOSSES), got=repr(self.loss))
        if self.schedule not in SCHEDULES:
            raise InputError("schedule", expected=" or ".join(SCHEDULES), got=repr(self.schedule))
        if not 0 <= self.momentum < 1:
            raise InputError("momentum", expected="a number in [0, 1)", got=repr(self.momentum))
        if not 0 <= self.weight_decay < math.inf:
            raise InputError("weight_decay", expected="a finite number of at least 0", got=repr(self.weight_decay))
        if self.until_accuracy is not None and not 0 < self.until_accuracy <= 1:
            raise InputError("until_accuracy", expected="a share in (0, 1]", got=repr(self.until_accuracy))
        if not 0 <= self.label_smoothing < 1:
            raise InputError("label_smoothing", expected="a share in [0, 1)", got=repr(self.label_smoothing))
        if self.label_smoothing and self.loss != "softmax":
            raise InputError(
                "label_smoothing",
                expected=f"0 with loss {self.loss!r}",
                got=repr(self.label_smoothing),
                fix="smooth the labels of loss 'softmax' alone",
            )

    def is_described_by(self, train: object) -> bool:
        """Whether `train`, as a checkpoint's description holds it, is this configuration.

        Settings that are not in it did not exist when the checkpoint was written, and count as their defaults.
        """
        if not isinstance(train, Mapping):
            return False
        mine = json.loads(json.dumps(dataclasses.asdict(self)))  # as JSON gives it back
        return {**{field.name: field.default for field in dataclasses.fields(self)}, **train} == mine

    def ends(self, history: Sequence[Epoch]) -> bool:
        """Whether a training with this history is finished."""
        if not history:
            return False
        last = history[-1]
        reached = self.until_accuracy is not None and last.accuracy >= self.until_accuracy
        return last.number >= self.epochs or reached

    def rates(self, epoch: int, steps: int) -> np.ndarray:
        """Learning rate of each of the `steps` steps of the epoch, counted from 0; ``(steps,)`` float64."""
        done = epoch + np.arange(steps) / steps
        rates = np.full(steps, float(self.learning_rate))
        if self.schedule == "cosine":
            rates *= (1 + np.cos(np.pi * done / self.epochs)) / 2
        elif self.decay_every:
            rates *= 0.1 ** (epoch // self.decay_every)
        if self.warmup_epochs:
            rates *= np.minimum(1, (done + 1 / steps) / self.warmup_epochs)
        return rates


PUBLISHED_TARGET = TrainConfig(epochs=200, learning_rate=0.01, decay_every=150)
"""How the published programs train target and shadow on Location (Jia et al. 2019, section 5.1)."""
PUBLISHED_DEFENDER = TrainConfig(epochs=400, learning_rate=0.001, decay_every=None, loss="sigmoid")
"""How they train the defender's classifier."""
PUBLISHED_ATTACK = TrainConfig(epochs=400, learning_rate=0.01, decay_every=300, loss="sigmoid")
"""How they train the attack network."""
PUBLISHED_VGG16 = TrainConfig(
    epochs=100, learning_rate=0.01, decay_every=30, warmup_epochs=5, momentum=0.9, weight_decay=5e-4
)
"""How MindArmour's tutorial trains VGG16 on CIFAR-100, but for crops and flips, which are to be asked for."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch's figures, measured on the batches as they were trained on.

    Attributes:
        number: Counted from 1.
        of: Epochs in all.
        loss: Mean loss.
        accuracy: Share of rows classified rightly.
    """

    number: int
    of: int
    loss: float
    accuracy: float


def train_classifier(
    net: nn.Cell,
    features: np.ndarray,
    labels: np.ndarray,
    config: TrainConfig,
    *,
    prepare: Preparation | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    description: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    crew: Crew | None = None,
) -> tuple[Epoch, ...]:
    """Trains `net` in place.

    Args:
        net: Cell from ``(N, ...)`` float32 to logits, ``(N, C)`` for softmax and ``(N, 1)`` for sigmoid.
        features: ``(N, ...)`` rows: float32, or what `prepare` takes.
        labels: ``(N,)``: int32 classes for softmax, 0/1 for sigmoid.
        config: How to train.
        prepare: Makes the network's inputs of the rows, batch by batch; None if the rows are the inputs.
        checkpoint: Where to keep the weights, a ``.ckpt`` path; None keeps them in memory alone.
        checkpoint_every: Epochs between two writes; the last epoch is always written.
        resume: Go on from `checkpoint` if it is there; the weights come out the same to the last bit as without the
            interruption, unless the network has dropout, whose draws are not kept.
        description: Joins the checkpoint's description: what was trained on what.
        on_epoch: Called after every epoch.
        crew: The ranks of a job that train the network together, each on its part of every batch; all of them call
            this. `checkpoint` and `resume` are rank 0's. With another number of ranks, sums are rounded elsewhere and
            batch normalization sees other parts, so that the weights come out a little different. None to train here.

    Returns:
        The figures of all epochs, those before a resume included.

    Raises:
        InputError: If features and labels do not match, hold NaN, or the loss becomes NaN.
        CheckpointError: If `checkpoint` is of another network, configuration or data.
        OutputError: If it cannot be written.
    """
    check_rows(net, features, labels, config.loss, prepare=prepare)
    # As JSON gives it back, so that a resume compares like with like.
    described = json.loads(json.dumps({**(description or {}), "train": dataclasses.asdict(config)}))
    if trains_in_steps(config, prepare):
        engine: _Engine = _Steps(net, features, labels, config, prepare, crew)
    else:
        engine = _EpochGraph(net, features, labels, config)
    history: list[Epoch] = []
    if resume and checkpoint is not None and os.path.exists(checkpoint):
        history = _resume(net, checkpoint, described, config)
        if not config.ends(history):
            engine.restore(load_checkpoint(checkpoint))
    if crew is not None:
        history = _start_alike(net, engine, history, config, crew)
    while not config.ends(history):
        number = len(history)
        with compiled():
            loss, accuracy = engine.run(number)
        check_loss(loss, number, config)
        history.append(Epoch(number + 1, config.epochs, loss, accuracy))
        finished = config.ends(history)
        if checkpoint is not None and ((number + 1) % checkpoint_every == 0 or finished):
            state = {} if finished else engine.state()
            save_checkpoint(checkpoint, {**parameters_of(net), **state}, {**described, "history": _columns(history)})
        if on_epoch is not None:
            on_epoch(history[-1])
    net.set_train(False)
    return tuple(history)


def trains_in_steps(config: TrainConfig, prepare: Preparation | None) -> bool:
    """Whether a training goes batch by batch, which many ranks can share, or an epoch at a time in one graph."""
    return prepare is not None or bool(config.momentum) or config.augment


def _start_alike(net: nn.Cell, engine: _Engine, history: list[Epoch], config: TrainConfig, crew: Crew) -> list[Epoch]:
    """Gives every rank the weights, the optimizer's state and the history of rank 0."""
    columns = _columns(history)
    state = {**parameters_of(net), **engine.state(), **{f"history.{name}": np.array(columns[name]) for name in columns}}
    held = crew.agree(state)
    columns = {name: held.pop(f"history.{name}").tolist() for name in columns}
    if not crew.leads:
        for parameter in net.get_parameters():
            parameter.set_data(ms.Tensor(held[parameter.name]))
        engine.take(held)
    return _rows(columns, config)


def _rows(columns: Mapping[str, Sequence[float]], config: TrainConfig) -> list[Epoch]:
    """Epochs of what `_columns` made of them."""
    rows = zip(columns["loss"], columns["accuracy"], strict=True)
    return [Epoch(number, config.epochs, loss, accuracy) for number, (loss, accuracy) in enumerate(rows, 1)]


def check_rows(
    net: nn.Cell, features: np.ndarray, labels: np.ndarray, loss: str, *, prepare: Preparation | None = None
) -> None:
    """Checks that `net` can be trained on these rows.

    Args:
        net: The network.
        features: ``(N, ...)`` rows.
        labels: ``(N,)``.
        loss: ``"softmax"`` or ``"sigmoid"``.
        prepare: Makes the network's inputs of the rows; None if the rows are the inputs.

    Raises:
        InputError: If features and labels do not match or hold NaN, or `net` does not take such rows or does not have
            such classes.
    """
    if len(features) != len(labels) or not len(labels):
        raise InputError("labels", expected=f"one per row ({len(features)}, at least 1)", got=str(len(labels)))
    if features.dtype.kind == "f" and not np.isfinite(features).all():
        raise InputError("features", expected="finite numbers", got="NaN or infinity", fix="clean the data first")
    outputs = forward(net, features[:1], prepare=prepare, batch_size=1).shape[1]
    if loss == "sigmoid":
        wanted, fits = "0 or 1, and a network with one output", outputs == 1 and np.isin(labels, (0, 1)).all()
    else:
        wanted = f"classes 0…{outputs - 1}, as many as the network has outputs"
        fits = labels.min() >= 0 and labels.max() < outputs
    if not fits:
        raise InputError("labels", expected=wanted, got=f"{labels.min()}…{labels.max()} and {outputs} outputs")


def check_loss(loss: float, epoch: int, config: TrainConfig) -> None:
    """Raises InputError if the loss of an epoch, counted from 0, is NaN or infinite."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss became {loss} in epoch {epoch + 1}",
            fix=f"use a learning rate below {config.learning_rate:g}, or look for extreme features",
        )


def _columns(history: list[Epoch]) -> dict[str, list[float]]:
    return {"loss": [epoch.loss for epoch in history], "accuracy": [epoch.accuracy for epoch in history]}


def _resume(net: nn.Cell, path: str | os.PathLike, described: Mapping[str, Any], config: TrainConfig) -> list[Epoch]:
    """Loads the weights of an interrupted run and returns its history."""
    held = load_checkpoint(path)

    def agrees(key: str) -> bool:
        value = held.description.get(key)
        return key == "versions" or (config.is_described_by(value) if key == "train" else value == described[key])

    if differing := [key for key in described if not agrees(key)]:
        raise CheckpointError(
            f"{path} cannot be resumed: its {', '.join(differing)} differ from this run's",
            fix="give the same data and settings, or start afresh without --resume",
        )
    kept = held.description.get("history")
    if kept is None:
        raise CheckpointError(f"{path} cannot be resumed: it says nothing of its epochs", fix="start afresh")
    load_into(net, held)
    return _rows(kept, config)


class _Engine(Protocol):
    """Trains a network epoch by epoch."""

    def run(self, number: int) -> tuple[float, float]:
        """Trains epoch `number`, counted from 0, and returns its mean loss and share of rows classified rightly.

        The order of the rows depends on seed and number alone, so that a resume finds it.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What a resume needs beside the weights, under names that no network has."""
        ...

    def restore(self, checkpoint: Checkpoint) -> None:
        """Takes over what `state` gave, from a file."""
        ...

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """Takes over what `state` gave."""
        ...


class _Steps:
    """Batches prepared on the way, each one step of MindSpore's `Momentum`; on many ranks, each has a part of each."""

    def __init__(
        self,
        net: nn.Cell,
        features: np.ndarray,
        labels: np.ndarray,
        config: TrainConfig,
        prepare: Preparation | None,
        crew: Crew | None,
    ):
        self._net, self._crew = net, crew
        self._features, self._config = features, config
        self._prepare = prepare if prepare is not None else AsTheyAre()
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
            self._crew.meet()  # rank 0 may have been writing; from here on they keep pace
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

    def _average_statistics(self, crew: Crew) -> None:
        """Gives every rank the mean of what batch normalization has gathered on each of them."""
        for parameter in self._net.get_parameters():
            if not parameter.requires_grad:
                mean = crew.total(parameter.asnumpy()) / crew.size
                parameter.set_data(ms.Tensor(mean.astype(np.float32)))

    def state(self) -> dict[str, np.ndarray]:
        return {_STATE + name: parameter.asnumpy() for name, parameter in self._step.optimizer_state().items()}

    def restore(self, checkpoint: Checkpoint) -> None:
        for name, parameter in self._step.optimizer_state().items():
            held = checkpoint.state.get(_STATE + name)
            if held is None or held.size != parameter.size:
                raise CheckpointError(
                    f"{checkpoint.path} cannot be resumed: it lacks the optimizer's {name}", fix="start afresh"
                )
        self.take(checkpoint.state)

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        for name, parameter in self._step.optimizer_state().items():
            # A scalar comes back from a file as an array of one.
            parameter.set_data(ms.Tensor(state[_STATE + name].reshape(parameter.shape)))


def _decays(parameter: ms.Parameter) -> bool:
    """Whether weight decay is for this parameter."""
    return parameter.name.rpartition(".")[2] not in ("bias", "gamma", "beta")


def make_optimizer(net: nn.Cell, config: TrainConfig, rates: np.ndarray) -> nn.Momentum:
    """MindSpore's `Momentum` for the trainable parameters of `net`, with `rates` ``(steps,)`` for steps to come."""
    weights, spared = [], []
    for parameter in net.trainable_params():
        (weights if _decays(parameter) else spared).append(parameter)
    groups = [{"params": weights, "weight_decay": config.weight_decay}, {"params": spared, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return nn.Momentum(groups, rates.astype(np.float32).tolist(), config.momentum)


class _Step(nn.Cell):
    """One step down the gradient, in one graph; gradients of parts of a batch are added up over the ranks."""

    def __init__(self, net: nn.Cell, config: TrainConfig, rates: np.ndarray, *, whole_batch: int, is_shared: bool):
        super().__init__(auto_prefix=False)
        self.whole_batch, self.is_shared = whole_batch, is_shared
        self.add_up: Any = ops.AllReduce() if is_shared else None
        self.net = net.set_train(True)
        self.optimizer = make_optimizer(net, config, rates)
        self.loss = _Loss(net, config)
        self.gradient = ms.value_and_grad(self.loss, None, self.optimizer.parameters, has_aux=True)

    def optimizer_state(self) -> dict[str, ms.Parameter]:
        own = {id(parameter) for parameter in self.net.get_parameters()}
        return {p.name: p for p in self.optimizer.get_parameters() if id(p) not in own}

    @ms.jit
    def construct(self, features, labels):
        """The batch's mean loss and its number of rows classified rightly."""
        weight = ops.ones_like(labels).astype(ms.float32) / self.whole_batch
        (loss, logits), gradients = self.gradient(features, labels, weight)
        if self.is_shared:
            summed = ()
            for gradient in gradients:
                summed = (*summed, self.add_up(gradient))
            gradients = summed
        self.optimizer(gradients)
        return loss, self.loss.is_right(logits, labels).sum()


class _EpochGraph(nn.Cell):
    """All steps of an epoch as one loop in one graph; the data are on the device from the start."""

    def __init__(self, net: nn.Cell, features: np.ndarray, labels: np.ndarray, config: TrainConfig):
        super().__init__(auto_prefix=False)
        self.config = config
        self.net = net.set_train(True)
        self.weights = ms.ParameterTuple(net.trainable_params())
        self.decays = tuple(config.weight_decay > 0 and _decays(weight) for weight in self.weights)
        labels = labels.astype(np.float32 if config.loss == "sigmoid" else np.int32)
        self.features = ms.Parameter(ms.Tensor(features.astype(np.float32)), "train.features", requires_grad=False)
        self.labels = ms.Parameter(ms.Tensor(labels), "train.labels", requires_grad=False)
        self.loss = _Loss(net, config)
        self.gradient = ms.value_and_grad(self.loss, None, self.weights, has_aux=True)

    def state(self) -> dict[str, np.ndarray]:
        return {}  # plain descent remembers nothing

    def restore(self, checkpoint: Checkpoint) -> None:
        if checkpoint.state:  # left by the other engine, whose epochs are made of other batches
            raise CheckpointError(f"{checkpoint.path} cannot be resumed: it keeps an optimizer", fix="start afresh")

    def take(self, state: Mapping[str, np.ndarray]) -> None:
        """Nothing: `state` gives nothing."""

    def run(self, number: int) -> tuple[float, float]:
        config = self.config
        n = len(self.labels)
        batch = min(config.batch_size, n)
        steps = math.ceil(n / batch)
        # The last batch is filled up with rows of weight 0, to keep the shapes static.
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
        """Sums of the batches' losses and of the rows classified rightly."""
        step = ms.Tensor(0, ms.int32)
        total, right = ms.Tensor(0.0), ms.Tensor(0.0)
        while step < order.shape[0]:
            rows = order[step]
            labels = self.labels[rows]
            (loss, logits), gradients = self.gradient(self.features[rows], labels, weight[step])
            # The learning rate is in the loss's weights already, so that an update is a single pass.
            for k in range(len(self.weights)):
                change = gradients[k]
                if self.decays[k]:
                    change = change + decay[step] * self.weights[k]
                ops.assign_sub(self.weights[k], change)
            total = total + loss * unweight[step]
            right = right + (self.loss.is_right(logits, labels) * real[step]).sum()
            step = step + 1
        return total, right


class _Loss(nn.Cell):
    """Weighted sum of the rows' losses, and the logits it came from."""

    def __init__(self, net: nn.Cell, config: TrainConfig):
        super().__init__(auto_prefix=False)
        self.net = net
        self.binary = config.loss == "sigmoid"
        self.smoothing = float(config.label_smoothing)
        self.cross_entropy = ops.BCEWithLogitsLoss("none")

    def construct(self, features, labels, weight):
        logits = self.net(features)
        if self.binary:
            losses = self.cross_entropy(logits.reshape(-1), labels, ops.ones_like(weight), ops.ones_like(weight))
        else:
            spread = self.smoothing / logits.shape[1]
            truth = ops.one_hot(labels, logits.shape[1], ms.Tensor(1.0 - self.smoothing + spread), ms.Tensor(spread))
            losses = -(ops.log_softmax(logits, -1) * truth).sum(1)
        return (losses * weight).sum(), logits

    def is_right(self, logits, labels):
        """1.0 for every row classified rightly, else 0.0."""
        if self.binary:
            called = (logits.reshape(-1) > 0).astype(ms.float32)
            return (called == labels).astype(ms.float32)
        return (logits.argmax(1) == labels).astype(ms.float32)
