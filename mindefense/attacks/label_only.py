"""Attacks by the robustness of the predicted class: they query changed samples and do not use confidences."""

from __future__ import annotations

import abc

import numpy as np

from mindefense.attacks.base import ScoreAttack
from mindefense.data.seeding import generator
from mindefense.errors import InputError
from mindefense.targets.base import Target
from mindefense.types import Samples

_CHUNK_BYTES = 2**26
"""Bytes of changed samples that are in memory at a time."""


def is_image(samples: Samples) -> bool:
    """Whether the samples are uint8 images ``(N, channels, height, width)``."""
    return samples.features.dtype == np.uint8 and samples.features.ndim == 4


def is_binary(samples: Samples) -> bool:
    """Whether the samples are vectors of zeros and ones."""
    features = samples.features
    return features.ndim == 2 and features.dtype.kind == "f" and bool(((features == 0) | (features == 1)).all())


class LabelRobustnessAttack(ScoreAttack):
    """Scores a sample by the share of its changed versions that still get the true class.

    A model classifies its members correctly over a wider range of changes (Choquette-Choo, Tramèr, Carlini & Papernot,
    ICML 2021, sections 3.2 to 3.4; Li & Zhang, CCS 2021, section 3). A misclassified sample has the score 0, as in
    the first paper's section 3.2, and its changed versions are not queried. Correctly classified samples thus rank
    first, as in the gap attack, and are ordered by robustness.

    The changes are a function of the attack's seed and the sample's index alone, so that all attackers with the same
    seed send the same queries.

    Args:
        seed: Seeds the changes.
    """

    asks = "variants"

    def __init__(self, *, seed: int = 0):
        generator(seed)  # raises InputError if it is not valid
        self.seed = seed

    @property
    @abc.abstractmethod
    def variants_per_sample(self) -> int:
        """Number of changed versions that `variants` makes of a sample."""

    @abc.abstractmethod
    def variants(self, samples: Samples) -> np.ndarray:
        """Changed samples ``(N, variants_per_sample, ...)`` of the dtype of the features.

        Raises:
            InputError: If the features are not of the kind this attack changes.
        """

    @abc.abstractmethod
    def _check(self, features: np.ndarray) -> None:
        """Raises InputError if the features are not of the kind this attack changes."""

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """Share of correct answers among the sample and its variants; 0 if the sample itself is misclassified.

        Returns:
            ``(N,)`` float64 in 0 … 1.

        Raises:
            InputError: If the features are not of the kind this attack changes.
        """
        self._check(samples.features)  # so that an unsupported kind is reported before the first query
        scores = np.zeros(len(samples))
        right = np.flatnonzero(target.labels(samples.features) == samples.labels)
        scores[right] = self._shares(target, samples.take(right), np.ones(len(right), bool))
        return scores

    def correct_share(self, target: Target, samples: Samples) -> np.ndarray:
        """Share of correct answers among the sample and its variants, whether or not the sample's own is correct.

        Returns:
            ``(N,)`` float64 in 0 … 1.

        Raises:
            InputError: If the features are not of the kind this attack changes.
        """
        self._check(samples.features)
        return self._shares(target, samples, target.labels(samples.features) == samples.labels)

    def _shares(self, target: Target, samples: Samples, right: np.ndarray) -> np.ndarray:
        shares = np.zeros(len(samples))
        per_sample = self.variants_per_sample * samples.features[:1].nbytes
        step = max(1, _CHUNK_BYTES // per_sample) if len(samples) else 1
        for first in range(0, len(samples), step):
            chunk = slice(first, first + step)
            changed = self.variants(samples.take(np.arange(len(samples))[chunk]))
            said = target.labels(changed.reshape(-1, *changed.shape[2:])).reshape(changed.shape[:2])
            hits = (said == samples.labels[chunk, None]).sum(axis=1)
            shares[chunk] = (right[chunk] + hits) / (1 + self.variants_per_sample)
        return shares


class _RepeatedAttack(LabelRobustnessAttack):
    """Makes `repeats` random variants of a sample; a larger number contains the variants of a smaller one."""

    def __init__(self, *, repeats: int, seed: int):
        super().__init__(seed=seed)
        if repeats < 1:
            raise InputError("repeats", expected="at least 1", got=repr(repeats))
        self.repeats = repeats

    @property
    def variants_per_sample(self) -> int:
        """`repeats`."""
        return self.repeats

    def variants(self, samples: Samples) -> np.ndarray:
        """``(N, repeats, ...)`` float32."""
        self._check(samples.features)
        changed = np.empty((len(samples), self.repeats, *samples.features.shape[1:]), np.float32)
        for out, row, index in zip(changed, samples.features, samples.indices, strict=True):
            out[...] = self._change(row, np.random.default_rng((self.seed, int(index))))
        return changed

    @abc.abstractmethod
    def _change(self, row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``(repeats, ...)`` variants of one row."""


class NoiseRobustnessAttack(_RepeatedAttack):
    """Adds Gaussian noise to float features (Choquette-Choo et al. 2021, section 3.4).

    The paper clips to the range of its images. Here the range of the features is unknown, so nothing is clipped.

    Args:
        scale: Standard deviation of the noise. The default was the best of 0.05 … 0.5 on Location.
        repeats: Variants of a sample.
        seed: Seeds the noise.
    """

    name = "label-noise"

    def unsupported(self, samples: Samples) -> str | None:
        """Excludes images and binary features, for which there are other attacks."""
        if is_image(samples):
            return "the samples are images; use label-shifts"
        return "the features are all 0 or 1; use label-flips" if is_binary(samples) else None

    def __init__(self, scale: float = 0.2, *, repeats: int = 32, seed: int = 0):
        super().__init__(repeats=repeats, seed=seed)
        if not 0 < scale < np.inf:
            raise InputError("scale", expected="a number above 0", got=repr(scale))
        self.scale = scale

    def _check(self, features: np.ndarray) -> None:
        if features.dtype.kind != "f":
            raise InputError(
                "features", expected="float features", got=str(features.dtype), fix="images are for label-shifts"
            )

    def _change(self, row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return row + np.float32(self.scale) * rng.standard_normal((self.repeats, *row.shape), np.float32)


class BitFlipAttack(_RepeatedAttack):
    """Flips each binary feature with a small probability (Choquette-Choo et al. 2021, section 3.4).

    Args:
        rate: Probability of a flip. The default was the best of 0.002 … 0.1 on Location.
        repeats: Variants of a sample.
        seed: Seeds the flips.
    """

    name = "label-flips"

    def unsupported(self, samples: Samples) -> str | None:
        """Excludes samples that are not binary."""
        return None if is_binary(samples) else "the features are not all 0 or 1, so there are no bits to flip"

    def __init__(self, rate: float = 0.02, *, repeats: int = 32, seed: int = 0):
        super().__init__(repeats=repeats, seed=seed)
        if not 0 < rate < 1:
            raise InputError("rate", expected="above 0 and below 1", got=repr(rate))
        self.rate = rate

    def _check(self, features: np.ndarray) -> None:
        if features.dtype.kind != "f":
            raise InputError(
                "features",
                expected="binary features as floats",
                got=str(features.dtype),
                fix="images are for label-shifts",
            )
        if (other := (features != 0) & (features != 1)).any():
            raise InputError(
                "features",
                expected="0 and 1 alone",
                got=f"{features[other][0]:.6g}",
                fix="other numbers are for label-noise",
            )

    def _change(self, row: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return np.abs(row - (rng.random((self.repeats, *row.shape), np.float32) < self.rate))


class ShiftAttack(LabelRobustnessAttack):
    """Shifts images by a few pixels, and mirrors them (Choquette-Choo et al. 2021, section 3.3).

    There are ``4 * pixels`` shifts (i, j), those with ``|i| + |j| = pixels``. Pixels shifted in at an edge repeat the
    edge, as in the authors' program. The paper trains an attack model on the correctness of each variant; here the
    score is the share of correct ones. The mirror image is an addition to the paper, since networks are often trained
    with it.

    Args:
        pixels: Size of the shifts.
    """

    name = "label-shifts"
    # Five additional passes per image would take hours for thousands of images of 224 pixels.
    max_samples = 500

    def unsupported(self, samples: Samples) -> str | None:
        """Excludes samples that are not images."""
        return None if is_image(samples) else "the samples are not images, so there is nothing to shift"

    def __init__(self, pixels: int = 1):
        super().__init__()
        if pixels < 1:
            raise InputError("pixels", expected="at least 1", got=repr(pixels))
        self.pixels = pixels

    @property
    def variants_per_sample(self) -> int:
        """Four shifts for each pixel and the mirror image."""
        return 4 * self.pixels + 1

    def variants(self, samples: Samples) -> np.ndarray:
        """``(N, variants_per_sample, channels, height, width)`` uint8; the mirror image comes last."""
        self._check(samples.features)
        images, far = samples.features, self.pixels
        height, width = images.shape[2:]
        padded = np.pad(images, ((0, 0), (0, 0), (far, far), (far, far)), mode="edge")
        offsets = [(i, j) for i in range(-far, far + 1) for j in range(-far, far + 1) if abs(i) + abs(j) == far]
        shifted = [padded[:, :, far + i : far + i + height, far + j : far + j + width] for i, j in offsets]
        return np.stack((*shifted, images[..., ::-1]), axis=1)

    def _check(self, features: np.ndarray) -> None:
        if features.dtype != np.uint8 or features.ndim != 4:
            raise InputError(
                "features",
                expected="uint8 images (N, channels, height, width)",
                got=f"{features.dtype} {features.shape}",
                fix="binary features are for label-flips, other floats for label-noise",
            )
