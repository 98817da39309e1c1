"""How a classifier is trained, the published ways to do so, and what an epoch leaves."""

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
        until_accuracy: End after the first epoch with this share of rows classified correctly, in (0, 1], as measured
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
        accuracy: Share of rows classified correctly.
    """

    number: int
    of: int
    loss: float
    accuracy: float
