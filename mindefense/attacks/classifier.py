"""Attacks that fit a scikit-learn classifier to confidence vectors (Shokri et al. 2017; Salem et al. 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mindefense.attacks.base import (
    Attack,
    check_fitted,
    convergence_noted,
    how_stopped,
    one_thread,
    prior_threshold,
)
from mindefense.attacks.metric import ConfidenceAttack, EntropyAttack, ModifiedEntropyAttack, log_probs_and_rests
from mindefense.errors import InputError
from mindefense.targets.base import Target
from mindefense.types import Samples

_NAMES = {"top3": "salem-top3", "label": "shokri-label"}


class ClassifierAttack(Attack):
    """Fits a standard classifier to features of the confidence vector that do not depend on the order of the classes.

    - ``"top3"``: a network with one hidden layer of 64 units on the logarithms of the three largest confidences (Salem
      et al., "ML-Leaks", NDSS 2019, adversary 1). It does not use the true label.
    - ``"label"``: one classifier for all classes on all confidences and the true label (Shokri et al., S&P 2017,
      section V-D). Its features are the sorted log-probabilities; the true class's log-probability, log-odds, lead
      over the best other class, and rank; whether the true class is the largest; the log-odds of the largest; the
      entropy and the modified entropy. Behind a defense only a few of these features may be informative. The
      classifier is therefore the mean of a strongly penalized logistic regression and 150 extremely randomized trees.

    Both standardize their features by mean and standard deviation of the fit samples. Both are reproducible to the
    last bit for the same seed.

    Args:
        features: ``"top3"`` or ``"label"``.
        seed: Seeds the start weights or the trees.

    Attributes:
        threshold_: Share of members among the fit samples, which corrects for unequal numbers; see `prior_threshold`.

    Raises:
        InputError: If `features` is neither, or the seed is out of range.
    """

    def __init__(self, features: str, *, seed: int = 0):
        if features not in _NAMES:
            raise InputError("features", expected=" or ".join(_NAMES), got=repr(features))
        if not 0 <= seed < 2**32:
            raise InputError("seed", expected="a whole number from 0 to 2**32 - 1", got=repr(seed))
        self.name = _NAMES[features]
        self.needs_labels = features == "label"
        self.features = features
        self.seed = seed

    def fit(self, target: Target, members: Samples, non_members: Samples) -> ClassifierAttack:
        """Fits the classifier to the target's answers."""
        rows = np.concatenate((self._describe(target, members), self._describe(target, non_members)))
        is_member = np.arange(len(rows)) < len(members)
        classifier = _network(self.seed) if self.features == "top3" else _committee(self.seed)
        with one_thread(), convergence_noted() as said:
            self.classifier_ = classifier.fit(rows, is_member)
        iterates = self.classifier_ if self.features == "top3" else self.classifier_.named_estimators_["linear"]
        self.stopped_ = how_stopped(iterates[-1], said=said)
        self.threshold_ = prior_threshold(members, non_members)
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The classifier's membership probability."""
        check_fitted(self, "classifier_")
        rows = self._describe(target, samples)
        with one_thread():
            return self.classifier_.predict_proba(rows)[:, 1].astype(np.float64)

    def _describe(self, target: Target, samples: Samples) -> np.ndarray:
        log_probs = target.query(samples.features)
        if self.features == "top3":
            return np.sort(log_probs, axis=1)[:, :-4:-1].astype(np.float64)
        return _with_label(log_probs, samples.labels)


def _with_label(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Features ``(N, C + 8)`` of vectors and true labels that do not depend on the order of the classes."""
    log_p, log_rest = log_probs_and_rests(log_probs)
    rows = np.arange(len(labels))
    true = log_probs[rows, labels]
    others = log_probs.copy()
    others[rows, labels] = -np.inf
    rank = (log_probs > true[:, None]).sum(axis=1)
    columns = (
        ConfidenceAttack.metric(log_probs, labels),
        (log_p - log_rest)[rows, labels],
        true - others.max(axis=1),
        np.log1p(rank),
        rank == 0,
        (log_p - log_rest).max(axis=1),
        EntropyAttack.metric(log_probs, labels),
        ModifiedEntropyAttack.metric(log_probs, labels),
    )
    return np.column_stack((np.sort(log_probs, axis=1)[:, ::-1], *columns)).astype(np.float64)


def _network(seed: int) -> Any:
    """A network with one hidden layer of 64 units."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier((64,), alpha=0.01, max_iter=200, random_state=seed))


def _committee(seed: int) -> Any:
    """The mean of a linear model, which needs few rows, and of trees, which find nonlinear differences."""
    from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    trees = ExtraTreesClassifier(150, min_samples_leaf=10, random_state=seed)
    return VotingClassifier([("linear", linear), ("trees", trees)], voting="soft")
