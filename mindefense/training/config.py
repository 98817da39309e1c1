"""Settings of the training of a classifier, the published settings, and the figures of an epoch."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from mindefense.errors import InputError

LOSSES = ("softmax", "sigmoid")
SCHEDULES = ("step", "cosine")


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Stochastic gradient descent on mini-batches.

    Attributes:
        epochs: Passes over the data.
        learning_rate: Initial learning rate, after the warm-up.
        decay_every: Number of epochs after which the learning rate is divided by ten, repeatedly; None for never. Used
            only by the schedule ``"step"``.
        batch_size: Rows per step. With plain descent on rows in memory, the last step of an epoch has the remaining
            rows; otherwise the remaining rows are left out, so that batch normalization never gets a small batch.
        loss: ``"softmax"`` cross-entropy over classes, or ``"sigmoid"`` binary cross-entropy of one output.
        seed: Seeds the order of the rows in every epoch, and random crops and flips.
        schedule: ``"step"``, or ``"cosine"`` from the learning rate to 0 over all epochs.
        warmup_epochs: Number of first epochs in which the learning rate rises linearly.
        momentum: Share of the last step that is added to the next one, in [0, 1).
        weight_decay: L2 penalty λ of the weights: a step descends along ``gradient + λ · weight`` (Krogh and Hertz
            1991, equation 5). Biases and batch normalization have no penalty; reported losses do not include it.
        augment: Whether images are cropped and flipped at random.
        until_accuracy: Stop after the first epoch with this share of rows classified correctly, in (0, 1], as measured
            during that epoch; None to train all epochs.
        label_smoothing: Share ε of the label's weight that is spread evenly over all C classes, in [0, 1): the true
            class has the weight 1 − ε + ε/C and every other class ε/C (Szegedy et al. 2016, section 7). Only for the
            loss ``"softmax"``; reported losses are those of the smoothed labels.
        noise_multiplier: Standard deviation of the noise in differentially private training, as a multiple of
            `clip_norm`; 0 for plain training. Private training draws each row for each step with the probability batch
            size / number of rows.
        clip_norm: Largest L2 norm of a row's gradient in private training.
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
    noise_multiplier: float = 0.0
    clip_norm: float = 1.0

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
        if not 0 <= self.noise_multiplier < math.inf:
            got = repr(self.noise_multiplier)
            raise InputError("noise_multiplier", expected="a finite number of at least 0", got=got)
        if not 0 < self.clip_norm < math.inf:
            raise InputError("clip_norm", expected="a finite number above 0", got=repr(self.clip_norm))
        if self.noise_multiplier and self.until_accuracy is not None:
            expected = "None for private training, because the number of epochs would reveal information on the rows"
            raise InputError("until_accuracy", expected=expected, got=repr(self.until_accuracy))
        if not 0 <= self.label_smoothing < 1:
            raise InputError("label_smoothing", expected="a share in [0, 1)", got=repr(self.label_smoothing))
        if self.label_smoothing and self.loss != "softmax":
            raise InputError(
                "label_smoothing",
                expected=f"0 with loss {self.loss!r}",
                got=repr(self.label_smoothing),
                fix="smooth labels only with loss 'softmax'",
            )

    def is_described_by(self, train: object) -> bool:
        """Whether `train`, from a checkpoint's description, is this configuration.

        Settings that did not yet exist when the checkpoint was written are missing in it, and count as defaults.
        """
        if not isinstance(train, Mapping):
            return False
        mine = json.loads(json.dumps(dataclasses.asdict(self)))  # converted to JSON's types, for the comparison
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
"""Training of target and shadow on Location in the published programs (Jia et al. 2019, section 5.1)."""
PRIVATE_TARGET = TrainConfig(epochs=40, learning_rate=0.5, decay_every=None, batch_size=256)
"""Private training of target and shadow models. Of the settings tried on Location, these cost the least accuracy at
ε = 8; the published learning rate is too small for clipped gradients."""
PUBLISHED_DEFENDER = TrainConfig(epochs=400, learning_rate=0.001, decay_every=None, loss="sigmoid")
"""Training of the defender's classifier in the published programs."""
PUBLISHED_ATTACK = TrainConfig(epochs=400, learning_rate=0.01, decay_every=300, loss="sigmoid")
"""Training of the attack network in the published programs."""
PUBLISHED_VGG16 = TrainConfig(
    epochs=100, learning_rate=0.01, decay_every=30, warmup_epochs=5, momentum=0.9, weight_decay=5e-4
)
"""Training of VGG16 on CIFAR-100 in MindArmour's tutorial, without crops and flips, which are an option."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One epoch's figures, measured on the batches during training.

    Attributes:
        number: Counted from 1.
        of: Total number of epochs.
        loss: Mean loss.
        accuracy: Share of rows classified correctly.
    """

    number: int
    of: int
    loss: float
    accuracy: float


def check_loss(loss: float, epoch: int, config: TrainConfig) -> None:
    """Raises InputError if the loss of an epoch, counted from 0, is NaN or infinite."""
    if not math.isfinite(loss):
        raise InputError(
            f"the loss became {loss} in epoch {epoch + 1}",
            fix=f"use a learning rate below {config.learning_rate:g}, or look for extreme features",
        )


def columns_of(history: Sequence[Epoch]) -> dict[str, list[float]]:
    """Losses and accuracies of a history, in the form in which checkpoints store them."""
    return {"loss": [epoch.loss for epoch in history], "accuracy": [epoch.accuracy for epoch in history]}
