"""An attack that stacks classifiers on confidence vectors aligned by the true class (Wolpert 1992)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from mindefense.attacks.base import Attack, check_fitted, convergence_noted, how_stopped
from mindefense.attacks.metric import log_probs_and_rests
from mindefense.confidence import sigmoid
from mindefense.errors import InputError
from mindefense.metrics import best_threshold
from mindefense.targets.base import Target
from mindefense.types import Samples

_FOLDS = 3
_LEAST = 1e-13
"""Smaller probabilities are replaced by this one, since they consist of rounding errors."""
_FEWEST = 12
"""With fewer members or fewer non-members only the linear classifier is used."""
_MOST_COLUMNS = 3000
"""Largest number of columns with which the linear classifier has separate coefficients for each class."""


class _Rows(NamedTuple):
    """Answers and their true labels in several representations; each ``(N, …)`` float64.

    Attributes:
        aligned: ``(N, C)`` log-probabilities, rotated so that the true class comes first, minus the mean over the
            other classes.
        by_class: ``(N, C)`` log-probabilities in the order of the classes, minus the same mean.
        others: ``(N, C - 1)`` log-probabilities of the other classes, in decreasing order.
        summary: ``(N, 5)`` log-odds, log-probability and lead of the true class, entropy, rank.
        labels: ``(N,)`` int true classes.
    """

    aligned: np.ndarray
    by_class: np.ndarray
    others: np.ndarray
    summary: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, log_probs: np.ndarray, labels: np.ndarray) -> _Rows:
        """The representations of ``(N, C)`` log-probabilities and ``(N,)`` true classes."""
        log_p, log_rest = log_probs_and_rests(np.maximum(log_probs.astype(np.float64), np.log(_LEAST)))
        rows, classes = np.arange(len(log_p)), log_p.shape[1]
        aligned = log_p[rows[:, None], (np.arange(classes) + labels[:, None]) % classes]
        others = np.sort(aligned[:, 1:], axis=1)[:, ::-1]
        true = aligned[:, 0]
        summary = (
            true - log_rest[rows, labels],
            true,
            true - others[:, 0],
            (np.exp(log_p) * log_p).sum(axis=1),
            np.log1p((aligned > true[:, None]).sum(axis=1)),
        )
        level = aligned[:, 1:].mean(axis=1, keepdims=True)
        return cls(aligned - level, log_p - level, others, np.column_stack(summary), np.asarray(labels))

    def take(self, positions: np.ndarray) -> _Rows:
        """The rows at these positions."""
        return _Rows(*(view[positions] for view in self))


class StackedAttack(Attack):
    """Combines four classifiers that use the whole confidence vector and the true label.

    Each classifier finds leaks that the others miss. A logistic regression weights their out-of-fold scores:

    - gradient boosting on the log-probabilities rotated so that the true class comes first, the sorted ones, and the
      log-odds, lead and rank of the true class: it finds leaks that depend on thresholds, or on a class at a fixed
      distance from the true one;
    - a linear classifier on the same features, with separate coefficients for each true class: it finds leaks that
      differ between classes;
    - two ratios of normal densities with shrunken covariances, one for the rotated vector and one for the vector in
      the order of the classes: they find correlations between classes that differ between members and non-members.

    Args:
        seed: Seeds the folds and gradient boosting.

    Attributes:
        threshold_: The threshold of the highest balanced accuracy on the out-of-fold scores of the fit samples.
        weights_: ``(4,)`` weights of the classifiers, in the order above.

    Raises:
        InputError: If the seed is out of range; in `fit`, if there are fewer than two members or non-members.

    Source:
        Wolpert, "Stacked generalization", Neural Networks 1992; features after Shokri et al., S&P 2017, section V-D.
    """

    name = "stacked"

    def __init__(self, *, seed: int = 0):
        if not 0 <= seed < 2**32:
            expected = "a whole number from 0 to 2**32 - 1"
            raise InputError("seed", expected=expected, got=repr(seed))
        self.seed = seed

    def fit(self, target: Target, members: Samples, non_members: Samples) -> StackedAttack:
        """Fits the classifiers and their weights to the target's answers."""
        for name, samples in {"members": members, "non-members": non_members}.items():
            if len(samples) < 2:
                raise InputError(name, expected="at least 2 of them to fit on", got=str(len(samples)))
        log_probs = np.concatenate((target.query(members.features), target.query(non_members.features)))
        rows = _Rows.of(log_probs, np.concatenate((members.labels, non_members.labels)))
        is_member = np.arange(len(log_probs)) < len(members)
        fewest = min(len(members), len(non_members))
        kinds: Sequence[type[_Classifier]] = (_Boosting, _Linear, _Aligned, _ByClass)
        if fewest < _FEWEST:
            kinds = (_Linear,)
        folds = _folds(is_member, min(_FOLDS, fewest), self.seed)
        # Imported before the threads are limited, since the limit applies only to libraries that are loaded.
        from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: F401
        from sklearn.linear_model import LogisticRegression

        with threadpool_limits(1), convergence_noted() as said:
            held_out = np.zeros((len(rows.labels), len(kinds)))
            for fold in range(folds.max() + 1):
                fit, judged = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
                for column, kind in enumerate(kinds):
                    classifier = kind(rows.take(fit), is_member[fit], self.seed)
                    held_out[judged, column] = classifier.score(rows.take(judged))
            self.scale_ = held_out.std(axis=0) + 1e-9
            held_out /= self.scale_
            weigh = LogisticRegression(class_weight="balanced", max_iter=1000).fit(held_out, is_member)
            self.weights_ = weigh.coef_[0] if fewest >= _FEWEST else np.ones(1)
            self.classifiers_ = [kind(rows, is_member, self.seed) for kind in kinds]
        linear = [classifier._model for classifier in self.classifiers_ if isinstance(classifier, _Linear)]
        self.stopped_ = how_stopped(weigh, *linear, said=said)
        self.threshold_ = best_threshold(sigmoid(held_out @ self.weights_), is_member)
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """Membership score of the answers, 0 … 1; 0.5 favors neither side."""
        check_fitted(self, "classifiers_")
        rows = _Rows.of(target.query(samples.features), samples.labels)
        with threadpool_limits(1):
            scores = np.column_stack([classifier.score(rows) for classifier in self.classifiers_])
        return sigmoid(scores / self.scale_ @ self.weights_).astype(np.float64)


class _Classifier:
    """One of the classifiers; the constructor fits it."""

    def __init__(self, rows: _Rows, is_member: np.ndarray, seed: int):
        raise NotImplementedError

    def score(self, rows: _Rows) -> np.ndarray:
        """``(N,)`` float64, higher = more likely a member; a log-odds."""
        raise NotImplementedError


class _Boosting(_Classifier):
    def __init__(self, rows: _Rows, is_member: np.ndarray, seed: int):
        from sklearn.ensemble import HistGradientBoostingClassifier

        self._model: Any = HistGradientBoostingClassifier(
            learning_rate=0.06,
            max_iter=80,
            max_leaf_nodes=8,
            min_samples_leaf=min(15, max(1, len(is_member) // 10)),
            l2_regularization=5,
            early_stopping=False,
            random_state=seed,  # not class_weight: weighted bins take ten times as long
        ).fit(self._columns(rows), is_member)

    def score(self, rows: _Rows) -> np.ndarray:
        return self._model.decision_function(self._columns(rows))

    @staticmethod
    def _columns(rows: _Rows) -> np.ndarray:
        return np.hstack((rows.aligned, rows.others, rows.summary, rows.labels[:, None]))


class _Linear(_Classifier):
    def __init__(self, rows: _Rows, is_member: np.ndarray, seed: int):
        from sklearn.linear_model import LogisticRegression

        columns = self._plain(rows)
        self._mean, self._spread = columns.mean(axis=0), columns.std(axis=0) + 1e-9
        self._model: Any = LogisticRegression(C=0.02, max_iter=2000, class_weight="balanced")
        self._model.fit(self._columns(rows), is_member)

    def score(self, rows: _Rows) -> np.ndarray:
        return self._model.decision_function(self._columns(rows))

    @staticmethod
    def _plain(rows: _Rows) -> np.ndarray:
        return np.hstack((rows.aligned, rows.others, rows.summary))

    def _columns(self, rows: _Rows) -> np.ndarray:
        columns = (self._plain(rows) - self._mean) / self._spread
        classes = rows.aligned.shape[1]
        if classes**2 > _MOST_COLUMNS:
            return columns
        is_class = rows.labels[:, None] == np.arange(classes)
        by_class = is_class[:, :, None] * columns[:, None, :classes]
        return np.hstack((columns, by_class.reshape(len(columns), -1)))


class _Densities(_Classifier):
    """The logarithm of the ratio of two normal densities, one fitted to members' vectors and one to non-members'.

    Each covariance is shrunk towards that of all rows, more strongly if there are few rows for the columns.
    """

    def __init__(self, rows: _Rows, is_member: np.ndarray, seed: int):
        vectors = self._fit_vectors(rows)
        common = np.cov(vectors, rowvar=False)
        width = vectors.shape[1]
        ridge = 1e-3 * np.trace(common) / width + 1e-9
        self._normals = []
        for kind in (True, False):
            those = vectors[is_member == kind]
            drawn = width / (width + len(those))
            covariance = (1 - drawn) * np.cov(those, rowvar=False) + drawn * common + ridge * np.eye(width)
            self._normals.append((those.mean(axis=0), np.linalg.cholesky(covariance)))

    def score(self, rows: _Rows) -> np.ndarray:
        vectors = self._vectors(rows)
        of_members, of_others = (
            -(np.linalg.solve(root, (vectors - mean).T) ** 2).sum(axis=0) / 2 - np.log(np.diag(root)).sum()
            for mean, root in self._normals
        )
        return of_members - of_others

    def _fit_vectors(self, rows: _Rows) -> np.ndarray:
        return self._vectors(rows)

    def _vectors(self, rows: _Rows) -> np.ndarray:
        raise NotImplementedError


class _Aligned(_Densities):
    def _vectors(self, rows: _Rows) -> np.ndarray:
        return rows.aligned


class _ByClass(_Densities):
    """In the order of the classes, minus the mean vector of the true class."""

    _prior_rows = 5.0  # shrinks each class's mean towards 0, as if this many further rows had the mean 0

    def _fit_vectors(self, rows: _Rows) -> np.ndarray:
        classes = rows.by_class.shape[1]
        self._means = np.zeros((classes, classes))
        for label in np.unique(rows.labels):
            those = rows.by_class[rows.labels == label]
            self._means[label] = those.sum(axis=0) / (len(those) + self._prior_rows)
        return self._vectors(rows)

    def _vectors(self, rows: _Rows) -> np.ndarray:
        return rows.by_class - self._means[rows.labels]


def _folds(is_member: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """``(N,)`` the fold of each row, drawn separately for members and non-members."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros(len(is_member), np.int64)
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(is_member == kind))
        numbers[rows] = np.arange(len(rows)) % folds
    return numbers
