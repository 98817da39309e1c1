"""What tests of training share: rows to learn from, a long training, an interruption, and whether weights are equal."""

import numpy as np

from mindefense.training import TrainConfig

RNG = np.random.default_rng(0)
FEATURES = np.float32(RNG.normal(size=(22, 5)))
CLASSES = np.int32(RNG.integers(3, size=22))
FLAGS = CLASSES > 0


def smooth(labels, config):
    """The distribution that the network is to learn, for three classes."""
    return (1 - config.label_smoothing) * np.eye(3)[labels] + config.label_smoothing / 3


class Interrupted(Exception):
    pass


LONG = TrainConfig(epochs=5, learning_rate=0.3, decay_every=3, batch_size=8, seed=7, weight_decay=0.01)


def identical(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)
