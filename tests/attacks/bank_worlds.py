"""Worlds whose truth is known: log-odds of the true class that are Gaussian, and a bank that shows them."""

import numpy as np

from mindefense.confidence import log_softmax
from mindefense.targets.bank import ShadowBank, assign_rows
from mindefense.targets.base import Target
from mindefense.types import Samples


def samples(rows):
    """Row i has the feature i and the true class 0."""
    rows = np.asarray(rows)
    return Samples(rows[:, None].astype(np.float32), np.zeros(len(rows), np.int32), rows.astype(np.int64))


def target_of(values):
    """A target whose log-odds of class 0 of row i are ``values[i]``."""

    def respond(features):
        odds = values[features[:, 0].astype(int)].astype(np.float32)
        return log_softmax(np.stack((odds, np.zeros_like(odds)), axis=1))

    return Target(respond)


class World:
    """N rows of different difficulty; being trained on one raises its log-odds by `leak[i]`, with noise of `spread`."""

    def __init__(self, n=1000, *, leak=1.0, spread=1.0, difficulty=3.0, seed=0):
        self.rng = np.random.default_rng(seed)
        self.n, self.spread = n, spread
        self.leak = np.broadcast_to(np.asarray(leak, float), (n,))
        self.difficulty = difficulty * self.rng.standard_normal(n)

    def values(self, held):
        """Log-odds of a model that was trained on the rows `held`."""
        return self.difficulty + self.leak * held + self.spread * self.rng.standard_normal(self.n)

    def bank(self, count, *, seed=0):
        """An online bank of `count` models, each trained on half of the rows."""
        held = assign_rows(self.n, self.n // 2, count, seed=seed)
        targets = [target_of(self.values(line)) for line in held]
        return ShadowBank(targets, held, pool=samples(np.arange(self.n)))

    def judge(self, attack, held=None):
        """Scores of all rows under a fresh target, and who is a member."""
        if held is None:
            held = self.rng.permutation(self.n) < self.n // 2
        return attack.score(target_of(self.values(held)), samples(np.arange(self.n))), held
