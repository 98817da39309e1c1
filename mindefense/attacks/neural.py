"""Attacks by neural networks on confidence vectors, without and with the true label."""

from __future__ import annotations

import abc
from collections.abc import Callable

import numpy as np
from mindspore import nn

from mindefense.attacks.base import Attack, check_fitted, prior_threshold
from mindefense.confidence import sigmoid
from mindefense.models.mlp import ATTACK_WIDTHS, MLP
from mindefense.models.nsh import NSH, nsh_inputs
from mindefense.targets.base import Target
from mindefense.targets.cell import forward
from mindefense.training import PUBLISHED_ATTACK, Epoch, TrainConfig, train_classifier
from mindefense.types import Samples

NSH_TRAINING = TrainConfig(epochs=150, learning_rate=0.1, decay_every=100, batch_size=64, loss="sigmoid")
"""Training of `NSHAttack`'s network. The papers do not give all settings; those here are this package's choice."""


class NetworkAttack(Attack):
    """A network trained to distinguish the target's answers to members from those to non-members.

    Args:
        config: Settings of the training; its seed also seeds the initial weights.
        on_epoch: Called after every epoch of `fit`.

    Attributes:
        history_: After `fit`: the epochs of the training.
        threshold_: Share of members among the fit samples; see `prior_threshold`. With equal numbers it is the
            published threshold, 0.5.
    """

    def __init__(self, config: TrainConfig, *, on_epoch: Callable[[Epoch], None] | None = None):
        self.config = config
        self.on_epoch = on_epoch

    @abc.abstractmethod
    def _new_network(self, classes: int) -> nn.Cell:
        """An untrained network for this many classes."""

    @abc.abstractmethod
    def _inputs(self, probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The network's inputs ``(N, ...)`` float32 of confidence vectors ``(N, C)`` and true labels ``(N,)``."""

    def fit(self, target: Target, members: Samples, non_members: Samples) -> NetworkAttack:
        """Trains the network on the target's answers."""
        probs = np.exp(np.concatenate((target.query(members.features), target.query(non_members.features))))
        labels = np.concatenate((members.labels, non_members.labels))
        self.net_ = self._new_network(probs.shape[1])
        is_member = np.arange(len(probs)) < len(members)
        self.history_ = train_classifier(
            self.net_, self._inputs(probs, labels), is_member, self.config, on_epoch=self.on_epoch, progress=False
        )
        self.threshold_ = prior_threshold(members, non_members)
        return self

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
