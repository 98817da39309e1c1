"""Queries and a key that the tests of serving share."""

import numpy as np

KEY = bytes(range(32))
BATCH, CLASSES = 64, 8  # the smallest batch for which bytes are promised: see `GuardedModel.query`
X = np.float32(np.random.default_rng(0).normal(size=(150, 6)))
