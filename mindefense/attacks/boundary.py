"""The attack by distance to the decision boundary, which uses predicted classes alone."""

from __future__ import annotations

import contextlib
import time

import numpy as np

from mindefense.attacks.base import ScoreAttack
from mindefense.attacks.mindarmour import hop_skip_jump
from mindefense.data.seeding import generator
from mindefense.errors import InputError
from mindefense.targets.base import Target
from mindefense.types import Samples

_EVALUATIONS = 100
"""Rows for the first estimate of the boundary's direction (Chen et al. 2020, section V)."""
_PILOTS = 2
"""Number of samples that the time is estimated from."""


class BoundaryDistanceAttack(ScoreAttack):
    """Scores a sample by its distance to the nearest point found that has another predicted class.

    Training pushes the boundary away from members (Choquette-Choo et al., ICML 2021, section 3.2; Li & Zhang, CCS 2021,
    section 3.3). HopSkipJump searches for the point in L2. It needs many queries in small batches: see `estimate`.

    The features are floats in 0 … 1, or uint8 images. The levels of an image are scaled to 0 … 1, and queries are
    rounded to levels. The distance is always to a point that was itself queried and got another class.

    Args:
        max_queries: Largest number of queries for a sample, the sample itself included. When they are used up, the
            nearest point found so far counts.
        seed: Seeds the search, together with the sample's index; the score does not depend on the other samples.
    """

    name = "boundary-distance"
    learns_from = ("auditor",)
    asks = "variants"
    max_samples = 100

    def __init__(self, *, max_queries: int = 500, seed: int = 0):
        if max_queries < 1:
            raise InputError("max_queries", expected="at least 1", got=repr(max_queries))
        generator(seed)  # raises InputError if it is not valid
        self.max_queries = max_queries
        self.seed = seed

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """L2 distance to the nearest point found; 0 if the sample itself is misclassified.

        If no point was found with these queries, the score is √D, the diagonal of the unit cube of D features.

        Returns:
            ``(N,)`` float64.

        Raises:
            InputError: If the features are neither floats in 0 … 1 nor uint8.
        """
        scores = np.zeros(len(samples))
        for position in self._right(target, samples):
            scores[position] = self._distance(target, samples, position)
        return scores

    def estimate(self, target: Target, samples: Samples) -> tuple[int, float]:
        """Estimates the cost of `score`: the largest number of queries, and the seconds.

        Scores the first correctly classified samples to measure the time. The target stores its answers, so that this
        work is used again; for the same reason a second estimate on the same target is too low.

        Raises:
            InputError: If the features are neither floats in 0 … 1 nor uint8.
        """
        right = self._right(target, samples)
        times = []
        for position in right[:_PILOTS]:
            began = time.perf_counter()
            self._distance(target, samples, position)
            times.append(time.perf_counter() - began)
        # The minimum, since the first may include importing MindArmour and compiling the model.
        return len(samples) + len(right) * (self.max_queries - 1), min(times, default=0.0) * len(right)

    def _right(self, target: Target, samples: Samples) -> np.ndarray:
        """Positions of the samples that are classified correctly."""
        _check(samples.features)
        return np.flatnonzero(target.labels(samples.features) == samples.labels)

    def _distance(self, target: Target, samples: Samples, position: int) -> float:
        sample, label = samples.features[position], samples.labels[position]
        start = _unit(sample).ravel()
        nearest, left = float(np.sqrt(start.size)), self.max_queries

        def crosses(rows: np.ndarray) -> np.ndarray:
            nonlocal nearest, left
            asked = _like(sample, rows[:left])
            left -= len(asked)
            other = target.labels(asked) != label
            if other.any():
                points = _unit(asked[other]).reshape(-1, start.size)
                nearest = min(nearest, float(np.linalg.norm(points - start, axis=1).min()))
            if not left:
                raise _Spent
            return other

        seeds = np.random.SeedSequence((self.seed, int(samples.indices[position])))
        with contextlib.suppress(_Spent):
            hop_skip_jump(
                crosses,
                start,
                evaluations=_EVALUATIONS,
                iterations=1 + self.max_queries // _EVALUATIONS,  # enough that the queries are used up first
                seed=int(seeds.generate_state(1)[0]),
            )
        return nearest


class _Spent(Exception):
    """All queries for a sample are used up."""


def _check(features: np.ndarray) -> None:
    if features.dtype == np.uint8:
        return
    got = str(features.dtype)
    if features.dtype.kind == "f":
        outside = features[~((features >= 0) & (features <= 1))]
        if not outside.size:
            return
        got = f"{outside[0]:.6g}"
    raise InputError(
        "features", expected="floats in 0 … 1, or uint8 images", got=got, fix="scale them, or use label-noise"
    )


def _unit(features: np.ndarray) -> np.ndarray:
    """Features as float64 in 0 … 1."""
    return features / 255.0 if features.dtype == np.uint8 else features.astype(np.float64)


def _like(sample: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows ``(n, D)`` in 0 … 1 as samples of this one's shape and dtype."""
    rows = rows.reshape(-1, *sample.shape)
    return np.rint(rows * 255).astype(np.uint8) if sample.dtype == np.uint8 else rows.astype(sample.dtype)
