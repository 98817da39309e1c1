"""Attacks by one number of the confidence vector (Yeom et al., CSF 2018; Song & Mittal, USENIX Security 2021)."""

from __future__ import annotations

import numpy as np

from mindefense.attacks.base import ScoreAttack
from mindefense.target import Target
from mindefense.types import Samples


class GapAttack(ScoreAttack):
    """Calls a sample a member if it is classified rightly.

    Needs nothing but predicted classes, so no defense that keeps them can push the best attacker below it
    (Yeom et al. 2018, section 3.2; Choquette-Choo et al. 2021, section 3).
    """

    name = "gap"
    needs_fit = False
    threshold_ = 0.5

    def fit(self, target: Target, members: Samples, non_members: Samples) -> GapAttack:
        """Learns nothing."""
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """1.0 where the most likely class is the true one, else 0.0."""
        return (target.query(samples.features).argmax(axis=1) == samples.labels).astype(np.float64)


class MaxConfidenceAttack(ScoreAttack):
    """Scores by the largest log-probability (Salem et al., NDSS 2019, section 5)."""

    name = "max-confidence"

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """Largest log-probability; logarithms keep apart what rounds to 1."""
        return target.query(samples.features).max(axis=1).astype(np.float64)


class EntropyAttack(ScoreAttack):
    """Scores by the negative entropy of the confidence vector (Song & Mittal 2021, section 3.1)."""

    name = "entropy"

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """Negative entropy in nats, -log C … 0."""
        log_probs = target.query(samples.features).astype(np.float64)
        return (np.exp(log_probs) * log_probs).sum(axis=1)
