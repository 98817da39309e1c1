"""Attacks by neural networks on confidence vectors, without and with the true label."""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable

import numpy as np
from mindspore import nn

from mindefense.attacks.base import Attack, FitInParts, check_fitted, prior_threshold
from mindefense.confidence import sigmoid
from mindefense.models.mlp import ATTACK_WIDTHS, MLP
from mindefense.models.nsh import NSH, nsh_inputs
from mindefense.runtime import device_in_use
from mindefense.targets.base import Target
from mindefense.targets.cell import forward
from mindefense.training import (
    PUBLISHED_ATTACK,
    Epoch,
    TrainConfig,
    check_rows,
    train_classifier,
    trains_in_steps,
)
from mindefense.training.dense import DenseTask, Trained, train_dense
from mindefense.types import Samples

NSH_TRAINING = TrainConfig(epochs=150, learning_rate=0.1, decay_every=100, batch_size=64, loss="sigmoid")
"""Training of `NSHAttack`'s network. The papers do not give all settings; those here are this package's choice."""


class NetworkAttack(Attack):
    """A network trained to distinguish the target's answers to members from those to non-members.

    On a CPU, an `MLP` or `NSH` is trained in NumPy on one core, where two of them side by side take less time than one
    after the other on all cores. The weights differ from those of MindSpore, which trains all other networks and on
    all other devices, only by rounding.

    Args:
        config: Settings of the training; its seed also seeds the initial weights.
        on_epoch: Called after every epoch of `fit`.

    Attributes:
        net_: After `fit`: the trained network.
        history_: After `fit`: the epochs of the training.
        threshold_: Share of members among the fit samples; see `prior_threshold`. With equal numbers it is the
            published threshold, 0.5.
    """

    def __init__(self, config: TrainConfig, *, on_epoch: Callable[[Epoch], None] | None = None):
        self.config = config
        self.on_epoch = on_epoch
        # Another process cannot call `on_epoch`, and a subclass may have its own `fit`.
        self.fits_in_parts = on_epoch is None and type(self).fit is NetworkAttack.fit

    @abc.abstractmethod
    def _new_network(self, classes: int) -> nn.Cell:
        """An untrained network for this many classes."""

    @abc.abstractmethod
    def _inputs(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The network's inputs ``(N, ...)`` float32 of confidence vectors ``(N, C)`` and true labels ``(N,)``."""

    def fit(self, target: Target, members: Samples, non_members: Samples) -> NetworkAttack:
        """Trains the network on the target's answers."""
        net, inputs, is_member = self._training(target, members, non_members)
        task = _dense_task(net, inputs, is_member, self.config)
        if task is None:
            history = train_classifier(net, inputs, is_member, self.config, on_epoch=self.on_epoch, progress=False)
        else:
            layers, history = train_dense(task, on_epoch=self.on_epoch)
            net.load_weights(layers)
        self.net_, self.history_, self.threshold_ = net, history, prior_threshold(members, non_members)
        return self

    def fit_in_parts(self, target: Target, members: Samples, non_members: Samples) -> FitInParts | None:
        """The training as work for another process; None if MindSpore has to train the network."""
        net, inputs, is_member = self._training(target, members, non_members)
        task = _dense_task(net, inputs, is_member, self.config)
        if task is None:
            return None

        def finish(trained: Trained) -> None:
            layers, self.history_ = trained
            net.load_weights(layers)
            self.net_, self.threshold_ = net, prior_threshold(members, non_members)

        return FitInParts(functools.partial(train_dense, task), finish)

    def _training(
        self, target: Target, members: Samples, non_members: Samples
    ) -> tuple[nn.Cell, np.ndarray, np.ndarray]:
        """The untrained network, its inputs for members and then non-members, and ``(N,)`` bool who is a member."""
        probs = np.exp(np.concatenate((target.query(members.features), target.query(non_members.features))))
        labels = np.concatenate((members.labels, non_members.labels))
        is_member = np.arange(len(probs)) < len(members)
        return self._new_network(probs.shape[1]), self._inputs(probs, labels), is_member

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The network's membership probability."""
        return self._member_probability(self._inputs(np.exp(target.query(samples.features)), samples.labels))

    def _member_probability(self, inputs: np.ndarray) -> np.ndarray:
        check_fitted(self, "net_")
        return sigmoid(forward(self.net_, inputs)[:, 0]).astype(np.float64)


class NeuralAttack(NetworkAttack):
    """The published attack: a network on the sorted confidence vector alone (Jia et al., CCS 2019, section 5.1).

    It does not use the true label.

    Args:
        config: Settings of the training; its seed also seeds the initial weights. Published: SGD with learning rate
            0.01, a tenth of it after epoch 300, batches of 64, 400 epochs.
        on_epoch: Called after every epoch of `fit`.
    """

    name = "nn"
    learns_from = ("shadow",)
    needs_labels = False

    def __init__(self, config: TrainConfig = PUBLISHED_ATTACK, *, on_epoch: Callable[[Epoch], None] | None = None):
        super().__init__(config, on_epoch=on_epoch)

    def member_probability(self, probs: np.ndarray) -> np.ndarray:
        """The network's membership probability ``(N,)`` float64 of confidence vectors ``(N, C)``."""
        return self._member_probability(np.sort(probs, axis=1))

    def _new_network(self, classes: int) -> MLP:
        return MLP((classes, *ATTACK_WIDTHS, 1), seed=self.config.seed)

    def _inputs(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return np.sort(probs, axis=1)


class NSHAttack(NetworkAttack):
    """A network on the confidences in the order of the classes and the true label (Nasr, Shokri & Houmansadr).

    The black-box inference model of "Machine Learning with Membership Privacy using Adversarial Regularization" (CCS
    2018) and of IEEE S&P 2019, which the DefenMI paper evaluates with: see `NSH`.

    Args:
        config: Settings of the training; its seed also seeds the initial weights.
        on_epoch: Called after every epoch of `fit`.
    """

    name = "nsh"
    learns_from = ("shadow",)

    def __init__(self, config: TrainConfig = NSH_TRAINING, *, on_epoch: Callable[[Epoch], None] | None = None):
        super().__init__(config, on_epoch=on_epoch)

    def _new_network(self, classes: int) -> NSH:
        return NSH(classes, seed=self.config.seed)

    def _inputs(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return nsh_inputs(probs, labels)


def _dense_task(net: nn.Cell, inputs: np.ndarray, is_member: np.ndarray, config: TrainConfig) -> DenseTask | None:
    """The training of a network as `train_dense` takes it; None if `train_classifier` has to train the network.

    Raises:
        InputError: If `train_classifier` would not accept the rows.
    """
    # The exact types, because a subclass may compute something else in `construct`.
    if type(net) not in (MLP, NSH) or trains_in_steps(config, None) or device_in_use() != "CPU":
        return None
    check_rows(net, inputs, is_member, config.loss)
    branches = net.branches if isinstance(net, NSH) else ()
    return DenseTask(net.weights(), inputs, is_member, config, branches)
