"""The attack by the distance to the decision boundary, from predicted classes alone."""

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
"""Samples that an estimate of the time is made on."""


class BoundaryDistanceAttack(ScoreAttack):
    """Scores by how far a sample is from the nearest point found that gets another class.

    Training pushes the boundary away from members (Choquette-Choo et al., ICML 2021, section 3.2; Li & Zhang, CCS 2021,
    section 3.3). The point is sought by HopSkipJump in L2, which wants many queries, a few at a time: see `estimate`.

    Takes float features in 0 … 1, or uint8 images, whose levels it counts as 0 … 1 and asks about rounded. The
    distance is to a point that was asked about as it is, so the class there is known to be another.

    Args:
        max_queries: Most rows asked about a sample, itself included. When they are spent, the best point so far counts.
        seed: Seeds the search, with the sample's index: the score does not depend on a sample's company.
    """

    name = "boundary-distance"
    learns_from = ("auditor",)
    asks = "variants"
    max_samples = 100

    def __init__(self, *, max_queries: int = 500, seed: int = 0):
        if max_queries < 1:
            raise InputError("max_queries", expected="at least 1", got=repr(max_queries))
        generator(seed)  # says what is wrong with it
        self.max_queries = max_queries
        self.seed = seed

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """L2 distance of the nearest point found, 0 where the sample itself is misclassified.

        Where the queries were spent before any point was found it is √D, the diagonal of the cube of D features.

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
        """What `score` would take: the most queries, and seconds.

        Scores the first samples that are classified correctly to find out; the target remembers what it answered, so
        that this is not lost, and a second estimate on the same target says too little.

        Raises:
            InputError: If the features are neither floats in 0 … 1 nor uint8.
        """
        right = self._right(target, samples)
        times = []
        for position in right[:_PILOTS]:
            began = time.perf_counter()
            self._distance(target, samples, position)
            times.append(time.perf_counter() - began)
        # The shortest: the first may import MindArmour and compile the model.
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
                iterations=1 + self.max_queries // _EVALUATIONS,  # so many that the queries end first
                seed=int(seeds.generate_state(1)[0]),
            )
        return nearest


class _Spent(Exception):
    """All queries for a sample are asked."""


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
