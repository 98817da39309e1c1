"""Attacks that fit one of scikit-learn's classifiers to confidence vectors (Shokri et al. 2017; Salem et al. 2019)."""

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
    """Tells members by a classifier of standard make on numbers that do not depend on the order of the classes.

    - ``"top3"``: the three largest confidences, as logarithms, and a network with one hidden layer of 64 (Salem et
      al., "ML-Leaks", NDSS 2019, adversary 1). It does not see the true label.
    - ``"label"``: all confidences and the true label (Shokri et al., S&P 2017, section V-D), in one classifier for all
      classes: the sorted log-probabilities; of the true class log-probability, log-odds, lead over the best other
      class and rank; whether it comes first; log-odds of the largest; entropy and modified entropy. Behind a defense
      most of these mislead and the few that do not must still be found, so it is the mean of a strongly penalized
      logistic regression and 150 extremely randomized trees.

    Both stand their numbers on the mean and the spread of the fit samples, and both are the same to the last bit for
    the same seed.

    Args:
        features: ``"top3"`` or ``"label"``.
        seed: Seeds the start weights or the trees.

    Attributes:
        threshold_: Share of members among the fit samples, which makes up for a different number of either kind.

    Raises:
        InputError: If there are no such features, or the seed is out of range.
    """

    def __init__(self, features: str, *, seed: int = 0):
        if features not in _NAMES:
            raise InputError("features", expected=" or ".join(_NAMES), got=repr(features))
        if not 0 <= seed < 2**32:
            raise InputError(
                "seed", expected="a whole number from 0 to 2**32 - 1, as scikit-learn wants it", got=repr(seed)
            )
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
    """Numbers ``(N, C + 8)`` of a vector and its true label that no renaming of the classes changes."""
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
    """One hidden layer of 64."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier((64,), alpha=0.01, max_iter=200, random_state=seed))


def _committee(seed: int) -> Any:
    """The mean of a linear model, which few rows suffice for, and of trees, which find what is not linear."""
    from sklearn.ensemble import ExtraTreesClassifier, VotingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    trees = ExtraTreesClassifier(150, min_samples_leaf=10, random_state=seed)
    return VotingClassifier([("linear", linear), ("trees", trees)], voting="soft")
