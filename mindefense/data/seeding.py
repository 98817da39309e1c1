"""Random number generators from seeds."""

from __future__ import annotations

import operator

import numpy as np

from mindefense.errors import InputError


def generator(seed: int) -> np.random.Generator:
    """NumPy's default generator for this seed.

    Raises:
        InputError: If `seed` is not a whole number ≥ 0.
    """
    try:
        return np.random.default_rng(operator.index(seed))
    except (TypeError, ValueError):
        raise InputError("seed", expected="a whole number ≥ 0", got=repr(seed)) from None
