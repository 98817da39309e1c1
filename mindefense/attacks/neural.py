"""The published attack: a network on sorted confidence vectors (Jia et al., CCS 2019, section 5.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mindefense.attacks.base import Attack, check_fitted
from mindefense.confidence import sigmoid
from mindefense.models.mlp import ATTACK_WIDTHS, MLP
from mindefense.target import Target, forward
from mindefense.training import PUBLISHED_ATTACK, Epoch, TrainConfig, train_classifier
from mindefense.types import Samples


class NeuralAttack(Attack):
    """A network that tells members by the sorted confidence vector alone; it does not see the true label.

    Args:
        config: Published: SGD 0.01, a tenth of it after epoch 300, batch 64, 400 epochs; its seed seeds the start
            weights too.
        on_epoch: Called after every epoch of `fit`.
    """

    name = "nn"
    threshold_ = 0.5

    def __init__(self, config: TrainConfig = PUBLISHED_ATTACK, *, on_epoch: Callable[[Epoch], None] | None = None):
        self.config = config
        self.on_epoch = on_epoch

    def fit(self, target: Target, members: Samples, non_members: Samples) -> NeuralAttack:
        """Trains the network on the target's answers."""
        vectors = np.concatenate((_sorted_probs(target, members), _sorted_probs(target, non_members)))
        self.net_ = MLP((vectors.shape[1], *ATTACK_WIDTHS, 1), seed=self.config.seed)
        is_member = np.arange(len(vectors)) < len(members)
        train_classifier(self.net_, vectors, is_member, self.config, on_epoch=self.on_epoch)
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The network's membership probability."""
        return self.member_probability(np.exp(target.query(samples.features)))

    def member_probability(self, probs: np.ndarray) -> np.ndarray:
        """The network's membership probability ``(N,)`` float64 of confidence vectors ``(N, C)``."""
        check_fitted(self, "net_")
        return sigmoid(forward(self.net_, np.sort(probs, axis=1))[:, 0]).astype(np.float64)


def _sorted_probs(target: Target, samples: Samples) -> np.ndarray:
    return np.sort(np.exp(target.query(samples.features)), axis=1)
