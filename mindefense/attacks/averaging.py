"""The attack that averages the answers to repeated queries, to remove a defense's noise."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.data.seeding import generator
from mindefense.errors import InputError
from mindefense.targets.base import Target
from mindefense.types import Samples


class AveragingAttack(Attack):
    """Applies any attack to confidence vectors that are averaged over repeated queries.

    If the noise is fresh for each of n answers, averaging divides its standard deviation by √n. If the noise is a
    function of the query, repeating the same query does not change it. Slightly changed queries may draw other noise;
    `perturbation` is the size of that change.

    The first answer is always the one to the sample itself, so that one repeat equals the base attack. The k-th query
    is a function of seed, row and k: the queries of 8 repeats are the first 8 of 64.

    Args:
        make_base: Makes the attack that is applied to the averages.
        repeats: Number of answers that are averaged for a sample.
        perturbation: 0 repeats the same query. For float features, the standard deviation of the Gaussian noise on a
            repeated query. For uint8 images, the share of values, above 0 and up to 1, that change by one level up
            or down within the range.
        seed: Seeds the perturbations.

    Attributes:
        base: The attack that is applied to the averages.
    """

    learns_from = ("auditor",)
    needs_randomness = True
    max_samples = 500

    def __init__(self, make_base: Callable[[], Attack], *, repeats: int = 8, perturbation: float = 0.0, seed: int = 0):
        if repeats < 1:
            raise InputError("repeats", expected="at least 1", got=repr(repeats))
        if not 0 <= perturbation < np.inf:
            raise InputError("perturbation", expected="a number ≥ 0", got=repr(perturbation))
        generator(seed)  # raises InputError if it is not valid
        self.base = make_base()
        self.repeats = repeats
        self.perturbation = perturbation
        self.seed = seed
        self.name = f"averaging-{repeats}" + ("-perturbed" if perturbation else "")
        self.needs_fit = self.base.needs_fit
        self.needs_labels = self.base.needs_labels
        self.asks = "variants" if repeats > 1 else self.base.asks

    def fit(self, target: Target, members: Samples, non_members: Samples) -> AveragingAttack:
        """Fits the base attack to averaged answers."""
        self.base.fit(self.averaged(target), members, non_members)
        self.threshold_ = self.base.threshold_
        if hasattr(self.base, "stopped_"):
            self.stopped_ = self.base.stopped_
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The base attack's score for averaged answers."""
        return self.base.score(self.averaged(target), samples)

    def averaged(self, target: Target) -> Target:
        """A target whose answer is the logarithm of the mean of `repeats` confidence vectors."""

        def respond(samples: np.ndarray) -> np.ndarray:
            first = target.query(samples)
            if self.repeats == 1 or not (self.perturbation or target.varies):
                return first
            total = first.astype(np.float64)
            for k in range(1, self.repeats):
                asked = _perturbed(samples, self.perturbation, self.seed, k) if self.perturbation else samples
                np.logaddexp(total, target.query(asked, again=k), out=total)
            return (total - np.log(self.repeats)).astype(np.float32)

        return Target(respond)


def _perturbed(samples: np.ndarray, size: float, seed: int, k: int) -> np.ndarray:
    """The k-th perturbation of each sample, in the same dtype; a function of seed, row and k."""
    changed = np.ascontiguousarray(samples).copy()
    for row in changed:
        digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        rng = np.random.default_rng((seed, k, int.from_bytes(digest, "little")))
        if changed.dtype == np.uint8:
            if size > 1:
                raise InputError("perturbation", expected="a share of an image's values, at most 1", got=repr(size))
            up = rng.integers(0, 2, row.shape) == 1
            chosen = rng.random(row.shape) < size
            row += (chosen & up & (row < 255)).astype(np.uint8)
            row -= (chosen & ~up & (row > 0)).astype(np.uint8)
        else:
            row += (size * rng.standard_normal(row.shape)).astype(row.dtype)
    return changed
