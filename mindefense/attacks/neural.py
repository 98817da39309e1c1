"""Attacks by networks on confidence vectors: the published one, and the one that sees the true label too."""

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
"""How `NSHAttack` trains the published network; the papers do not say enough, so this choice is ours."""


class NetworkAttack(Attack):
    """A network trained to tell the target's answers on members from those on non-members.

    Args:
        config: How to train; its seed seeds the start weights too.
        on_epoch: Called after every epoch of `fit`.

    Attributes:
        history_: After `fit`: its epochs.
        threshold_: Share of members among the fit samples: the published cut, 0.5, if there are as many of either.
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

    It does not see the true label.

    Args:
        config: Published: SGD 0.01, a tenth of it after epoch 300, batch 64, 400 epochs; its seed seeds the start
            weights too.
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
    2018) and of IEEE S&P 2019, which DefenMI is judged by: see `NSH`.

    Args:
        config: How to train; its seed seeds the start weights too.
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
