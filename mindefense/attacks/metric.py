"""Attacks by one number per confidence vector (Yeom et al., CSF 2018; Song & Mittal, USENIX Security 2021)."""

from __future__ import annotations

import abc
from typing import ClassVar

import numpy as np

from mindefense.attacks.base import ScoreAttack, check_fitted
from mindefense.metrics import best_threshold
from mindefense.targets.base import Target
from mindefense.types import Samples


class GapAttack(ScoreAttack):
    """Classifies a sample as a member if the target classifies it correctly.

    It needs only predicted classes. A defense that keeps them therefore cannot push the best attacker below this one
    (Yeom et al. 2018, section 3.2; Choquette-Choo et al. 2021, section 3).
    """

    name = "gap"
    needs_fit = False
    fits_scores = False
    threshold_ = 0.5

    def fit(self, target: Target, members: Samples, non_members: Samples) -> GapAttack:
        """Learns nothing."""
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """1.0 if the most likely class is the true one, otherwise 0.0."""
        return (target.query(samples.features).argmax(axis=1) == samples.labels).astype(np.float64)


class MetricAttack(ScoreAttack):
    """Compares one number per vector with one threshold, or with the threshold of the true class.

    Song & Mittal 2021, section 3.1, introduced thresholds per class, because a model is more confident in some classes
    than in others. Each is the threshold of the best balanced accuracy among the fit samples of that true class. A
    class without members or without non-members among them gets the threshold of all samples.

    Args:
        per_class: Whether each true class has its own threshold; the name then ends in ``-per-class``.

    Attributes:
        thresholds_: After `fit` with `per_class`: ``(C,)`` float64. The score is then the number minus the threshold
            of the true class, and `threshold_` is 0.
    """

    name: ClassVar[str] | str

    def __init__(self, *, per_class: bool = False):
        self.per_class = self.fits_scores = per_class
        if per_class:
            self.needs_labels = True
            self.name = f"{self.name}-per-class"

    @staticmethod
    @abc.abstractmethod
    def metric(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """``(N,)`` float64, higher = more likely a member, of ``(N, C)`` log-probabilities and ``(N,)`` true labels."""

    def fit(self, target: Target, members: Samples, non_members: Samples) -> MetricAttack:
        """Finds the threshold, or one for each class."""
        if not self.per_class:
            super().fit(target, members, non_members)
            return self
        log_probs = np.concatenate((target.query(members.features), target.query(non_members.features)))
        labels = np.concatenate((members.labels, non_members.labels))
        values = self.metric(log_probs, labels)
        is_member = np.arange(len(labels)) < len(members)
        self.thresholds_ = np.full(log_probs.shape[1], best_threshold(values, is_member))
        for label in np.intersect1d(members.labels, non_members.labels):
            rows = labels == label
            self.thresholds_[label] = best_threshold(values[rows], is_member[rows])
        self.threshold_ = 0.0
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The number; with thresholds per class, minus the threshold of the true class."""
        if self.per_class:
            check_fitted(self, "thresholds_")
        values = self.metric(target.query(samples.features), samples.labels)
        return values - self.thresholds_[samples.labels] if self.per_class else values


class ConfidenceAttack(MetricAttack):
    """Scores by the log-probability of the true class (Yeom et al. 2018; Song & Mittal 2021, section 3.1)."""

    name = "confidence"

    @staticmethod
    def metric(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Log-probability of the true class; if it rounds to 0, it is computed from the other classes."""
        return log_probs_and_rests(log_probs)[0][np.arange(len(labels)), labels]


class MaxConfidenceAttack(MetricAttack):
    """Scores by the largest log-probability (Salem et al., NDSS 2019, section 5)."""

    name = "max-confidence"
    needs_labels = False

    @staticmethod
    def metric(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Largest log-probability; if it rounds to 0, it is computed from the other classes."""
        return log_probs_and_rests(log_probs)[0].max(axis=1)


class EntropyAttack(MetricAttack):
    """Scores by the negative entropy of the confidence vector (Song & Mittal 2021, section 3.1)."""

    name = "entropy"
    needs_labels = False

    @staticmethod
    def metric(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Negative entropy in nats, -log C … 0."""
        log_probs = log_probs.astype(np.float64)
        return (np.exp(log_probs) * log_probs).sum(axis=1)


class ModifiedEntropyAttack(MetricAttack):
    """Scores by the negative modified entropy, which is 0 if the true class has probability 1 (Song & Mittal 2021).

    Equation 8, with p the vector and y the true class: Mentr(p, y) = −(1 − p_y) log p_y − Σ_{i≠y} p_i log(1 − p_i).
    """

    name = "modified-entropy"

    @staticmethod
    def metric(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Negative modified entropy in nats, at most 0; finite even if a probability is close to 0 or 1."""
        log_p, log_rest = log_probs_and_rests(log_probs)
        true = np.arange(log_p.shape[1]) == labels[:, None]
        return np.where(true, np.exp(log_rest) * log_p, np.exp(log_p) * log_rest).sum(axis=1)


class LossAttack(ScoreAttack):
    """Classifies a sample as a member if its loss is at most the members' mean loss.

    This is the threshold adversary of Yeom et al. 2018. The attacker knows that mean; here it is the mean of the known
    members. Non-members are not used.
    """

    name = "loss"
    fits_scores = False

    def fit(self, target: Target, members: Samples, non_members: Samples) -> LossAttack:
        """Sets the threshold to the mean loss of the members."""
        mean = self.score(target, members).mean()
        # Just below, so that members with equal losses are classified as members.
        self.threshold_ = float(np.nextafter(mean, -np.inf) - 1e-12 * abs(mean))
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """Negative cross-entropy loss, which is the log-probability of the true class."""
        return ConfidenceAttack.metric(target.query(samples.features), samples.labels)


def log_probs_and_rests(log_probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """log p and log(1 − p) of every entry, ``(N, C)`` float64 each, from ``(N, C)`` log-probabilities, C at least 2.

    The largest entry may be so close to 1 that its logarithm rounds to 0. Both its logarithms are therefore computed
    from the other entries. The results are finite if `log_probs` are.
    """
    log_p = log_probs.astype(np.float64)
    rows, top = np.arange(len(log_p)), log_p.argmax(axis=1)
    others = log_p.copy()
    others[rows, top] = -np.inf
    second = others.max(axis=1)
    rest = second + np.log(np.exp(others - second[:, None]).sum(axis=1))
    log_rest = np.log1p(-np.exp(others))
    log_rest[rows, top] = rest
    log_p[rows, top] = np.log1p(-np.exp(rest))
    return log_p, log_rest
