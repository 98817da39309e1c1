"""Images on their way into a network: resized, scaled, normalized, batch by batch, through mindspore.dataset.vision."""

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
"""Length of the queues between the steps of the preparation; MindSpore's 16 hold a gigabyte at 224 pixels."""


@dataclasses.dataclass(frozen=True)
class ImageTransform:
    """What MindArmour's tutorial does to an image before its VGG16 sees it.

    Attributes:
        image_size: Height and width that images are resized to, bilinearly.
        mean: Mean of each channel, of pixels in 0 … 1. The tutorial's, in the tutorial's order, which is that of blue,
            green, red, although the images are red, green, blue: its checkpoint was trained so.
        std: Standard deviation of each channel.
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
        """Ready batches, one after the other, prepared beside what the caller does with them.

        Args:
            samples: ``(N, 3, height, width)`` uint8 images.
            batch_size: Images a batch; the last one may be smaller.
            order: ``(n,)`` positions of the images to give, in this order; None for all as they stand.
            augment_seed: Seeds a random crop of the zero-padded image and a random flip; None for neither.

        Yields:
            ``(batch, 3, image_size, image_size)`` float32.

        Raises:
            InputError: If `samples` are not such an array.
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
    """Each image cropped at random from itself with 4 pixels of zeros around it, and flipped in half of all cases.

    Args:
        images: ``(N, 3, height, width)`` uint8.
        seed: Decides crops and flips.

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
    """Images one by one, channels last as the operations want them.

    Crops and flips are drawn here: MindSpore seeds all its random operations alike, so that whether an image is flipped
    would follow from where it is cropped, and it seeds the generators of Python and NumPy with them.
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
