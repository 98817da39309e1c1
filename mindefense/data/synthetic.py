"""Synthetic data that a target model overfits to the same degree as real data, for tests and demonstrations."""

from __future__ import annotations

import numpy as np

from mindefense.data.cifar100 import IMAGE
from mindefense.data.location import CLASSES, FEATURES, ROWS
from mindefense.data.seeding import generator
from mindefense.errors import InputError
from mindefense.types import LabelledData

# Quantiles of the density of Location's columns.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
DENSITIES = (0.030, 0.033, 0.038, 0.042, 0.050, 0.061, 0.079, 0.111, 0.160, 0.290, 0.454, 0.676, 0.999)
CLASS_SPREAD = 0.25  # sigma of the log-normal class sizes; Location's are 97 … 308
ACTIVITY_SPREAD = 0.7  # sigma of the log-normal factor of a row's odds, so that rows differ in their number of ones
# Tuned with the published target model: about 0.6 of the non-members and all members are classified correctly.
COPIED = 0.45  # share of a row's bits that are copied from prototypes
OWN = (0.35, 0.9)  # range of the uniform share of those from its own class's prototype; the rest are from another's

WAVES = 5  # number of the lowest frequencies of a pattern in each direction
CONTRAST, OWN_CONTRAST, GRAIN = 20.0, 36.0, 20.0  # sigma of the class's pattern, the image's pattern, and the noise


def make_location_like(seed: int = 0) -> LabelledData:
    """Generates a data set with the shape and properties of Location.

    Every class has a prototype, a row of random bits with the density of Location's columns. A sample is noise of the
    same density, with some bits copied from the prototype of its class and some from that of another class, so that
    classes are as hard to distinguish as the real ones. With the published training, the published target model
    correctly classifies all members and 0.59 … 0.61 of the non-members (seeds 0 … 4); on Location, all and 0.60.

    Args:
        seed: A whole number ≥ 0; the same seed gives the same data.

    Returns:
        Features ``(5010, 446)`` float32, each 0 or 1; labels ``(5010,)`` int32 in 0…29; `order` is a seeded
        permutation; `synthetic` is True.

    Raises:
        InputError: If `seed` is not a whole number ≥ 0.
    """
    rng = generator(seed)
    columns = np.arange(FEATURES) / (FEATURES - 1)
    density = np.exp(np.interp(rng.permutation(columns), SHARES, np.log(DENSITIES)))
    prototypes = rng.random((CLASSES, FEATURES)) < density
    sizes = rng.lognormal(0, CLASS_SPREAD, CLASSES)
    labels = rng.choice(CLASSES, ROWS, p=sizes / sizes.sum())
    others = (labels + rng.integers(1, CLASSES, ROWS)) % CLASSES

    odds = density / (1 - density) * rng.lognormal(-0.5 * ACTIVITY_SPREAD**2, ACTIVITY_SPREAD, (ROWS, 1))
    noise = rng.random((ROWS, FEATURES), np.float32) < odds / (1 + odds)
    own = COPIED * rng.uniform(*OWN, (ROWS, 1))
    choice = rng.random((ROWS, FEATURES), np.float32)
    bits = np.where(choice < own, prototypes[labels], np.where(choice < COPIED, prototypes[others], noise))
    return LabelledData(
        name="location-like",
        features=bits.astype(np.float32),
        labels=labels.astype(np.int32),
        num_classes=CLASSES,
        synthetic=True,
        order=rng.permutation(ROWS),
    )


def make_cifar_like(seed: int = 0, *, train: int = 400, test: int = 200, classes: int = 100) -> LabelledData:
    """Generates a data set with the shape of CIFAR-100.

    Every class has a pattern of low frequencies in each color. An image is the sum of its class's pattern, a stronger
    individual pattern and noise on each pixel, around a medium gray. A network can therefore learn classes and
    memorize images. A classifier by the nearest class mean of the training rows is correct on all training rows, and on
    0.64 … 0.67 of the test rows (seeds 0, 1).

    Args:
        seed: A whole number ≥ 0; the same seed and sizes give the same data.
        train: Number of rows of the part ``train``, at least 1.
        test: Number of rows of the part ``test``, at least 1.
        classes: Number of classes, at least 1. Within a part, their sizes differ by at most 1.

    Returns:
        Features ``(train + test, 3, 32, 32)`` uint8; labels ``(train + test,)`` int32; `parts` ``train`` and
        ``test`` in this order; `synthetic` is True.

    Raises:
        InputError: If an argument is not a whole number in its range.
    """
    for name, number in (("train", train), ("test", test), ("classes", classes)):
        if not isinstance(number, (int, np.integer)) or number < 1:
            raise InputError(name, expected="a whole number ≥ 1", got=repr(number))
    rng = generator(seed)
    labels = np.concatenate([rng.permutation(np.arange(rows) % classes) for rows in (train, test)])
    images = CONTRAST * _patterns(rng, classes)[labels]
    images += OWN_CONTRAST * _patterns(rng, len(labels))
    images += GRAIN * rng.standard_normal(images.shape, np.float32)
    return LabelledData(
        name="cifar100-like",
        features=np.clip(np.rint(images + 128), 0, 255).astype(np.uint8),
        labels=labels.astype(np.int32),
        num_classes=classes,
        synthetic=True,
        parts={"train": range(train), "test": range(train, train + test)},
    )


def _patterns(rng: np.random.Generator, count: int) -> np.ndarray:
    """Smooth images ``(count, 3, 32, 32)`` float32, each of mean about 0 and standard deviation 1."""
    colors, height, width = IMAGE
    down, across = (
        np.cos(np.pi * np.arange(WAVES)[:, None] * (np.arange(side) + 0.5) / side).astype(np.float32)
        for side in (height, width)
    )
    strengths = rng.standard_normal((count, colors, WAVES, WAVES), np.float32)
    strengths[..., 0, 0] = 0  # no constant component: patterns do not change the mean brightness
    images = down.T @ strengths @ across
    return images / images.std((1, 2, 3), keepdims=True)
