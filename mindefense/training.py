"""Fits a classifier Cell to arrays. Knows nothing about attacks or defenses.

An epoch runs as one loop inside one graph: stepped from Python, networks of this size spend most of their time on
the way in and out of the graph.
"""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
from collections.abc import Callable, Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import load_checkpoint, load_into, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.target import forward

LOSSES = ("softmax", "sigmoid")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Plain stochastic gradient descent on mini-batches.

    Attributes:
        epochs: Passes over the data.
        learning_rate: Step length at the start.
        decay_every: Epochs after which the learning rate falls to a tenth, each time; None for never.
        batch_size: Rows a step; the last step of an epoch takes what is left.
        loss: ``"softmax"`` cross-entropy over classes, or ``"sigmoid"`` binary cross-entropy of one output.
        seed: Seeds the order of the rows in every epoch.
    """

    epochs: int = 200
    learning_rate: float = 0.01
    decay_every: int | None = 150
    batch_size: int = 64
    loss: str = "softmax"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 1), ("decay_every", 1), ("seed", 0)):
            value = getattr(self, name)
            if name == "decay_every" and value is None:
                continue
            if not isinstance(value, numbers.Integral) or value < least:
                raise InputError(name, expected=f"a whole number of at least {least}", got=repr(value))
        if not 0 < self.learning_rate < math.inf:
            raise InputError("learning_rate", expected="a finite number above 0", got=repr(self.learning_rate))
        if self.loss not in LOSSES:
            raise InputError("loss", expected=" or ".join(LOSSES), got=repr(self.loss))

    def rate(self, epoch: int) -> float:
        """Learning rate of the epoch, counted from 0."""
        return self.learning_rate * (0.1 ** (epoch // self.decay_every) if self.decay_every else 1)


PUBLISHED_TARGET = TrainConfig(epochs=200, learning_rate=0.01, decay_every=150)
"""How the published programs train target and shadow on Location (Jia et al. 2019, section 5.1)."""
PUBLISHED_DEFENDER = TrainConfig(epochs=400, learning_rate=0.001, decay_every=None, loss="sigmoid")
"""How they train the defender's classifier."""
PUBLISHED_ATTACK = TrainConfig(epochs=400, learning_rate=0.01, decay_every=300, loss="sigmoid")
"""How they train the attack network."""


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
    checkpoint: str | os.PathLike | None = None,
    checkpoint_every: int = 50,
    resume: bool = False,
    description: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Epoch, ...]:
    """Trains `net` in place.

    Args:
        net: Cell from ``(N, ...)`` float32 to logits, ``(N, C)`` for softmax and ``(N, 1)`` for sigmoid.
        features: ``(N, ...)`` float32 rows.
        labels: ``(N,)``: int32 classes for softmax, 0/1 for sigmoid.
        config: How to train.
        checkpoint: Where to keep the weights, a ``.ckpt`` path; None keeps them in memory alone.
        checkpoint_every: Epochs between two writes; the last epoch is always written.
        resume: Go on from `checkpoint` if it is there; the weights come out the same to the last bit as without the
            interruption.
        description: Joins the checkpoint's description: what was trained on what.
        on_epoch: Called after every epoch.

    Returns:
        The figures of all epochs, those before a resume included.

    Raises:
        InputError: If features and labels do not match, hold NaN, or the loss becomes NaN.
        CheckpointError: If `checkpoint` is of another network, configuration or data.
        OutputError: If it cannot be written.
    """
    if len(features) != len(labels) or not len(labels):
        raise InputError("labels", expected=f"one per row ({len(features)}, at least 1)", got=str(len(labels)))
    if not np.isfinite(features).all():
        raise InputError("features", expected="finite numbers", got="NaN or infinity", fix="clean the data first")
    _check_fit(net, features, labels, config.loss)
    # As JSON gives it back, so that a resume compares like with like.
    described = json.loads(json.dumps({**(description or {}), "train": dataclasses.asdict(config)}))
    history: list[Epoch] = []
    if resume and checkpoint is not None and os.path.exists(checkpoint):
        history = _resume(net, checkpoint, described)
    epoch_graph = _EpochGraph(net, features, labels, config.loss)
    for number in range(len(history), config.epochs):
        loss, accuracy = epoch_graph.run(number, config)
        if not math.isfinite(loss):
            raise InputError(
                f"the loss became {loss} in epoch {number + 1}",
                fix=f"use a learning rate below {config.rate(number):g}, or look for extreme features",
            )
        history.append(Epoch(number + 1, config.epochs, loss, accuracy))
        if checkpoint is not None and ((number + 1) % checkpoint_every == 0 or number + 1 == config.epochs):
            save_checkpoint(checkpoint, parameters_of(net), {**described, "history": _columns(history)})
        if on_epoch is not None:
            on_epoch(history[-1])
    net.set_train(False)
    return tuple(history)


def _check_fit(net: nn.Cell, features: np.ndarray, labels: np.ndarray, loss: str) -> None:
    """Raises InputError if `net` does not take such rows or does not have such classes."""
    outputs = forward(net, features[:1]).shape[1]
    if loss == "sigmoid":
        wanted, fits = "0 or 1, and a network with one output", outputs == 1 and np.isin(labels, (0, 1)).all()
    else:
        wanted = f"classes 0…{outputs - 1}, as many as the network has outputs"
        fits = labels.min() >= 0 and labels.max() < outputs
    if not fits:
        raise InputError("labels", expected=wanted, got=f"{labels.min()}…{labels.max()} and {outputs} outputs")


def _columns(history: list[Epoch]) -> dict[str, list[float]]:
    return {"loss": [epoch.loss for epoch in history], "accuracy": [epoch.accuracy for epoch in history]}


def _resume(net: nn.Cell, path: str | os.PathLike, described: Mapping[str, Any]) -> list[Epoch]:
    """Loads the weights of an interrupted run and returns its history."""
    held = load_checkpoint(path)
    differing = [key for key in described if key != "versions" and held.description.get(key) != described[key]]
    if differing:
        raise CheckpointError(
            f"{path} cannot be resumed: its {', '.join(differing)} differ from this run's",
            fix="give the same data and settings, or start afresh without --resume",
        )
    kept = held.description.get("history")
    if kept is None:
        raise CheckpointError(f"{path} cannot be resumed: it says nothing of its epochs", fix="start afresh")
    load_into(net, held)
    of = described["train"]["epochs"]
    rows = zip(kept["loss"], kept["accuracy"], strict=True)
    return [Epoch(number, of, loss, accuracy) for number, (loss, accuracy) in enumerate(rows, 1)]


class _EpochGraph(nn.Cell):
    """All steps of an epoch as one loop in one graph; the data are on the device from the start."""

    def __init__(self, net: nn.Cell, features: np.ndarray, labels: np.ndarray, loss: str):
        super().__init__(auto_prefix=False)
        self.net = net.set_train(True)
        self.weights = ms.ParameterTuple(net.trainable_params())
        self.binary = loss == "sigmoid"
        labels = labels.astype(np.float32 if self.binary else np.int32)
        self.features = ms.Parameter(ms.Tensor(features.astype(np.float32)), "train.features", requires_grad=False)
        self.labels = ms.Parameter(ms.Tensor(labels), "train.labels", requires_grad=False)
        self.cross_entropy = ops.BCEWithLogitsLoss("none")
        self.gradient = ms.value_and_grad(self._loss, None, self.weights, has_aux=True)

    def run(self, number: int, config: TrainConfig) -> tuple[float, float]:
        """Trains epoch `number`; its order of rows depends on seed and number alone, so that a resume finds it."""
        n = len(self.labels)
        batch = min(config.batch_size, n)
        steps = math.ceil(n / batch)
        # The last batch is filled up with rows of weight 0, to keep the shapes static.
        order = np.zeros(steps * batch, np.int32)
        order[:n] = np.random.default_rng((config.seed, number)).permutation(n)
        real = np.arange(steps * batch).reshape(steps, batch) < n
        share = real / real.sum(axis=1, keepdims=True)
        rate = config.rate(number)
        loss, right = self(
            ms.Tensor(order.reshape(steps, batch)),
            ms.Tensor((rate * share).astype(np.float32)),
            ms.Tensor(real.astype(np.float32)),
        )
        return float(loss.asnumpy()) / rate / steps, float(right.asnumpy()) / n

    @ms.jit
    def construct(self, order, weight, real):
        """Sums of the batches' losses, times the learning rate, and of the rows classified rightly."""
        step = ms.Tensor(0, ms.int32)
        total, right = ms.Tensor(0.0), ms.Tensor(0.0)
        while step < order.shape[0]:
            rows = order[step]
            labels = self.labels[rows]
            (loss, logits), gradients = self.gradient(self.features[rows], labels, weight[step])
            # The learning rate is in the loss's weights already, so that an update is a single pass.
            for k in range(len(self.weights)):
                ops.assign_sub(self.weights[k], gradients[k])
            total = total + loss
            right = right + (self._is_right(logits, labels) * real[step]).sum()
            step = step + 1
        return total, right

    def _loss(self, features, labels, weight):
        logits = self.net(features)
        if self.binary:
            losses = self.cross_entropy(logits.reshape(-1), labels, ops.ones_like(weight), ops.ones_like(weight))
        else:
            truth = ops.one_hot(labels, logits.shape[1], ms.Tensor(1.0), ms.Tensor(0.0))
            losses = -(ops.log_softmax(logits, -1) * truth).sum(1)
        return (losses * weight).sum(), logits

    def _is_right(self, logits, labels):
        if self.binary:
            called = (logits.reshape(-1) > 0).astype(ms.float32)
            return (called == labels).astype(ms.float32)
        return (logits.argmax(1) == labels).astype(ms.float32)
