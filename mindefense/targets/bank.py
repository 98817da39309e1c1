"""The attacker's shadow models, and the rows that each was trained on. Needs only NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindefense.errors import InputError
from mindefense.targets.base import Model, Target


class ShadowBank:
    """K ≥ 1 models that an attacker trained, all of them undefended or all behind the same defense.

    Args:
        targets: The K models as targets.
        in_training: ``(K, N)`` bool: whether the model was trained on the row of the data set.
        models: The K undefended models, to which a defense can be added; None if they are not available.

    Raises:
        InputError: If there are no targets, or the matrix has another number of rows.

    Example:
        >>> bank = ShadowBank([Target(lambda x: np.log(x))], np.array([[True, False, True]]))
        >>> len(bank), bank.query(np.full((3, 2), 0.5, np.float32)).shape, bank.trained_on(np.array([2, 1])).tolist()
        (1, (1, 3, 2), [[True, False]])
    """

    def __init__(self, targets: Sequence[Target], in_training: np.ndarray, *, models: Sequence[Model] | None = None):
        if not targets:
            raise InputError("shadows", expected="at least one model", got="none")
        if in_training.ndim != 2 or len(in_training) != len(targets):
            expected = f"({len(targets)}, N), a row for each model"
            raise InputError("in_training", expected=expected, got=str(in_training.shape))
        self.targets = tuple(targets)
        self.in_training = in_training
        self.models = () if models is None else tuple(models)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> Target:
        """One of the models, as a target."""
        return self.targets[number]

    def query(self, samples: np.ndarray) -> np.ndarray:
        """``(K, n, C)`` float32 log-probabilities of ``(n, ...)`` samples."""
        return np.stack([target.query(samples) for target in self.targets])

    def trained_on(self, indices: np.ndarray) -> np.ndarray:
        """``(K, n)`` bool: whether each model was trained on each of these rows of the data set."""
        held = np.zeros((len(self), len(indices)), bool)
        known = indices < self.in_training.shape[1]
        held[:, known] = self.in_training[:, indices[known]]
        return held


def trained_on(rows: Sequence[np.ndarray], *, of: int = 0) -> np.ndarray:
    """``(K, N)`` bool from the training rows of K models, which are positions in a data set of at least `of` rows."""
    size = max([of, *(int(one.max()) + 1 for one in rows if len(one))])
    held = np.zeros((len(rows), size), bool)
    for line, one in zip(held, rows, strict=True):
        line[one] = True
    return held
