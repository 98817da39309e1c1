"""Asking about a sample many times, so that a defense's noise goes away."""

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
    """Any attack, on confidence vectors averaged over repeated answers.

    Noise that is fresh for every answer averages out as one over the square root of their number; noise that is a
    function of the query does not, unless slightly other queries draw other noise: hence `perturbation`.

    The first answer averaged is always that to the sample itself, so that one repeat is the base attack alone. The
    k-th query is a function of seed, row and k: 8 repeats are the first 8 of 64.

    Args:
        make_base: Makes the attack that is to look at the averages.
        repeats: Answers averaged for a sample.
        perturbation: 0 to ask the very same again. For float features the standard deviation of the Gaussian noise
            on a repeated query; for uint8 images the share of values, above 0 up to 1, that go one level up or down
            (and not out of range).
        seed: Seeds the perturbations.

    Attributes:
        base: The attack that looks at the averages.
    """

    learns_from = ("auditor",)
    needs_randomness = True
    max_samples = 500

    def __init__(self, make_base: Callable[[], Attack], *, repeats: int = 8, perturbation: float = 0.0, seed: int = 0):
        if repeats < 1:
            raise InputError("repeats", expected="at least 1", got=repr(repeats))
        if not 0 <= perturbation < np.inf:
            raise InputError("perturbation", expected="a number ≥ 0", got=repr(perturbation))
        generator(seed)  # says what is wrong with it
        self.base = make_base()
        self.repeats = repeats
        self.perturbation = perturbation
        self.seed = seed
        self.name = f"averaging-{repeats}" + ("-perturbed" if perturbation else "")
        self.needs_fit = self.base.needs_fit
        self.needs_labels = self.base.needs_labels
        self.asks = "variants" if repeats > 1 else self.base.asks

    def fit(self, target: Target, members: Samples, non_members: Samples) -> AveragingAttack:
        """Lets the base attack learn on averaged answers."""
        self.base.fit(self.averaged(target), members, non_members)
        self.threshold_ = self.base.threshold_
        if hasattr(self.base, "stopped_"):
            self.stopped_ = self.base.stopped_
        return self

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """The base attack's score of averaged answers."""
        return self.base.score(self.averaged(target), samples)

    def averaged(self, target: Target) -> Target:
        """The target that answers with the logarithm of the mean of `repeats` confidence vectors."""

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
    """The k-th change of each sample, of the same dtype: a function of seed, row and k."""
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
