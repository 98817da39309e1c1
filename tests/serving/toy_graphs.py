"""Queries and a key that the tests of serving share."""

import numpy as np

KEY = bytes(range(32))
# So many that 2 to 32 threads get a multiple of four logarithms each: see `GuardedModel.query`.
BATCH, CLASSES = 16, 8
X = np.float32(np.random.default_rng(0).normal(size=(37, 6)))
