"""Preparation of images for a network with mindspore.dataset.vision: resizing, scaling, normalization, batches."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import mindspore.dataset as ds
import numpy as np
from mindspore.dataset import vision

from mindefense.errors import InputError

_CROP_MARGIN = 4
_AHEAD = 2
"""Length of the queues between the steps of the preparation; MindSpore's 16 take a gigabyte at 224 pixels."""


@dataclasses.dataclass(frozen=True)
class ImageTransform:
    """The preparation of images in MindArmour's VGG16 tutorial.

    Attributes:
        image_size: Height and width in pixels to which images are resized by bilinear interpolation.
        mean: Mean of each channel, for pixels in 0 … 1. The default is that of the tutorial, in the order blue, green,
            red although the images are RGB, because its checkpoint was trained in this way.
        std: Standard deviation of each channel, for pixels in 0 … 1.
    """

    image_size: int
    mean: tuple[float, float, float] = (0.4465, 0.4822, 0.4914)
    std: tuple[float, float, float] = (0.2010, 0.1994, 0.2023)

    def batches(
        self,
        samples: np.ndarray,
        batch_size: int,
        *,
        order: np.ndarray | None = None,
        augment_seed: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Yields prepared batches, which are computed in parallel with the caller.

        Args:
            samples: ``(N, 3, height, width)`` uint8 images.
            batch_size: Number of images per batch; the last batch may be smaller.
            order: ``(n,)`` positions of the images, in the order to yield them; None for all in their order.
            augment_seed: Seed of a random crop of the zero-padded image and a random flip; None for neither.

        Yields:
            ``(batch, 3, image_size, image_size)`` float32.

        Raises:
            InputError: If `samples` is not such an array.
        """
        operations = [
            vision.Rescale(1 / 255, 0.0),
            vision.Normalize(self.mean, self.std),
            vision.HWC2CHW(),
        ]
        if samples.shape[2:] != (self.image_size, self.image_size):
            operations.insert(0, vision.Resize((self.image_size, self.image_size)))
        return _run(samples, operations, batch_size, order=order, augment_seed=augment_seed)


def augmented(images: np.ndarray, *, seed: int) -> np.ndarray:
    """Crops each image at random after padding it with 4 pixels of zeros, and flips it with probability one half.

    Args:
        images: ``(N, 3, height, width)`` uint8.
        seed: Seed of crops and flips.

    Returns:
        ``(N, 3, height, width)`` uint8.
    """
    return np.concatenate(list(_run(images, [vision.HWC2CHW()], 256, augment_seed=seed)))


def _run(
    images: np.ndarray, operations: list, batch_size: int, *, order: np.ndarray | None = None, augment_seed: int | None
) -> Iterator[np.ndarray]:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise InputError("images", expected="(N, 3, height, width) uint8", got=f"{images.dtype} {images.shape}")
    rows = ds.GeneratorDataset(_Rows(images, order, augment_seed), ["image"], shuffle=False, num_parallel_workers=1)
    prepared = rows.map(operations, "image", num_parallel_workers=min(4, os.cpu_count() or 1)).batch(
        batch_size, num_parallel_workers=1
    )
    before = ds.config.get_prefetch_size()
    ds.config.set_prefetch_size(_AHEAD)
    try:
        iterator = prepared.create_tuple_iterator(num_epochs=1, output_numpy=True, do_copy=False)
    finally:
        ds.config.set_prefetch_size(before)
    for (batch,) in iterator:
        yield batch


class _Rows:
    """The images one by one with channels last, as the operations require.

    Crops and flips are drawn here and not by MindSpore, which gives all its random operations the same seed, so that
    flips would depend on crops, and which also seeds the generators of Python and NumPy.
    """

    def __init__(self, images: np.ndarray, order: np.ndarray | None, augment_seed: int | None):
        self._images, self._order = images, order
        self._variants = None
        if augment_seed is not None:
            sides = 2 * _CROP_MARGIN + 1
            self._variants = np.random.default_rng(augment_seed).integers((sides, sides, 2), size=(len(self), 3))

    def __len__(self) -> int:
        return len(self._images) if self._order is None else len(self._order)

    def __getitem__(self, position: int) -> tuple[np.ndarray]:
        image = self._images[position if self._order is None else self._order[position]].transpose(1, 2, 0)
        if self._variants is not None:
            top, left, flipped = self._variants[position]
            height, width = image.shape[:2]
            image = np.pad(image, ((_CROP_MARGIN,) * 2, (_CROP_MARGIN,) * 2, (0, 0)))
            image = image[top : top + height, left : left + width]
            image = image[:, ::-1] if flipped else image
        return (np.ascontiguousarray(image),)
