"""`ImageTransform` against NumPy and MindSpore's operations one by one; crops and flips against all there are."""

import random
import time

import mindspore.dataset as ds
import numpy as np
import pytest
from mindspore.dataset import vision

from mindefense.errors import InputError
from mindefense.images import ImageTransform, augmented

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(256, size=(23, 3, 32, 32), dtype=np.uint8)
SMALL = RNG.integers(1, 256, size=(800, 3, 8, 8), dtype=np.uint8)
MEAN, STD = (0.4465, 0.4822, 0.4914), (0.2010, 0.1994, 0.2023)


def normalized(images):
    return (images / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))


def prepared(images, size=32, batch_size=8, **settings):
    return np.concatenate(list(ImageTransform(size).batches(images, batch_size, **settings)))


def test_statistics_are_the_tutorials():
    # Those of blue, green, red, for images in red, green, blue.
    transform = ImageTransform(224)
    assert (transform.image_size, transform.mean, transform.std) == (224, MEAN, STD)


def test_images_of_the_right_size_are_scaled_and_normalized():
    batches = list(ImageTransform(32).batches(IMAGES, 8))
    assert [batch.shape for batch in batches] == [(8, 3, 32, 32), (8, 3, 32, 32), (7, 3, 32, 32)]
    assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}
    np.testing.assert_allclose(np.concatenate(batches), normalized(IMAGES), atol=1e-5)


def test_other_statistics():
    mean, std = (0.1, 0.2, 0.3), (1.0, 2.0, 4.0)
    (batch,) = ImageTransform(32, mean, std).batches(IMAGES[:2], 8)
    expected = (IMAGES[:2] / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(batch, expected, atol=1e-6)


@pytest.mark.parametrize(("images", "size"), [(IMAGES, 224), (IMAGES[:, :, :20, :28], 32), (IMAGES[:, :, :, :16], 32)])
def test_other_sizes_are_what_mindspore_makes_of_each_image(images, size):
    steps = (
        vision.Resize((size, size), vision.Inter.LINEAR),
        vision.Rescale(1 / 255, 0.0),
        vision.Normalize(MEAN, STD),
        vision.HWC2CHW(),
    )
    expected = []
    for image in images:
        made = np.ascontiguousarray(image.transpose(1, 2, 0))
        for step in steps:
            made = step(made)
        expected.append(made)
    got = prepared(images, size)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.stack(expected))


def test_resizing_is_bilinear():
    # Corners stay, and between them colours change without a jump.
    image = np.zeros((1, 3, 2, 2), np.uint8)
    image[..., 1] = 255
    row = prepared(image, 32)[0, 0, 5] * STD[0] + MEAN[0]
    assert (row[0], row[-1]) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-5))
    assert 0 < np.diff(row)[8:24].min() <= np.diff(row).max() < 0.08


@pytest.mark.parametrize("batch_size", [1, 4, 23, 100])
def test_images_come_in_the_order_asked_for(batch_size):
    order = np.array([3, 22, 0, 3, 7, 7, 1, 19, 2])
    batches = list(ImageTransform(32).batches(IMAGES, batch_size, order=order))
    assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate(batches), prepared(IMAGES)[order])


def test_images_may_be_views():
    turned = IMAGES[::-2].transpose(0, 1, 3, 2)
    np.testing.assert_array_equal(prepared(turned), prepared(np.ascontiguousarray(turned)))


def variants(images, changed):
    """Of each changed image, its crop's top and left, and whether it is flipped: the only one of all 162 that fits."""
    found = []
    for image, other in zip(images, changed, strict=True):
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
        crops = np.lib.stride_tricks.sliding_window_view(padded, image.shape)[0]
        both = np.stack((crops, crops[..., ::-1]), axis=2)
        (one,) = np.argwhere((both == other).all(axis=(3, 4, 5)))
        found.append(one)
    return np.array(found)


def test_augmented_images_are_crops_and_flips():
    changed = augmented(SMALL, seed=5)
    assert (changed.shape, changed.dtype) == (SMALL.shape, np.uint8)
    found = variants(SMALL, changed)
    assert 0.4 < found[:, 2].mean() < 0.6
    for column in (0, 1):
        assert np.bincount(found[:, column], minlength=9).min() > 0.05 * len(SMALL)
    # No draw follows from another: all pairs occur, and about equally often.
    for one, other, pairs in ((0, 1, 81), (0, 2, 18), (1, 2, 18)):
        counts = np.bincount(found[:, one] * 9 + found[:, other], minlength=81)
        assert (counts > 0).sum() == pairs
        assert counts.max() < 3 * len(SMALL) / pairs


def test_wide_images_keep_their_shape():
    images = SMALL[:20, :, :5]
    variants(images, augmented(images, seed=1))


def test_same_seed_same_variants():
    first = augmented(SMALL[:50], seed=1)
    before = ds.config.get_seed()
    try:
        ds.config.set_seed(99)
        np.testing.assert_array_equal(augmented(SMALL[:50], seed=1), first)
    finally:
        ds.config.set_seed(before)
    other = augmented(SMALL[:50], seed=2)
    assert (variants(SMALL[:50], other) != variants(SMALL[:50], first)).any(axis=1).mean() > 0.8


def test_every_place_in_the_order_gets_a_variant_of_its_own():
    found = variants(SMALL[np.full(40, 3)], augmented(SMALL[np.full(40, 3)], seed=1))
    assert len(np.unique(found, axis=0)) > 20


@pytest.mark.parametrize("size", [32, 64])
def test_batches_are_varied_before_anything_else(size):
    order = np.array([3, 3, 8, 0, 22, 3])
    got = prepared(IMAGES, size, 4, order=order, augment_seed=7)
    np.testing.assert_array_equal(got, prepared(augmented(IMAGES[order], seed=7), size))
    assert not np.array_equal(got, prepared(IMAGES, size, 4, order=order))


def test_without_a_seed_nothing_is_varied():
    np.testing.assert_array_equal(prepared(IMAGES), prepared(IMAGES))
    assert not np.array_equal(prepared(IMAGES, augment_seed=0), prepared(IMAGES))


def test_no_generator_but_its_own_is_touched():
    def states():
        name, keys, *rest = np.random.get_state()
        return ds.config.get_seed(), random.getstate(), name, keys.tobytes(), rest

    before = states()
    prepared(IMAGES, augment_seed=3)
    augmented(IMAGES, seed=3)
    prepared(IMAGES)
    assert states() == before


class Counted(np.ndarray):
    """Images that count how often one of them is read."""

    reads = 0

    def __getitem__(self, key):
        Counted.reads += 1
        return np.asarray(self)[key]


def test_batches_wait_for_their_reader():
    # What is in the pipeline is bounded, whatever the number of images.
    Counted.reads = 0
    images = np.resize(SMALL, (3000, 3, 8, 8)).view(Counted)
    batches = ImageTransform(8).batches(images, 4)
    for _ in range(5):
        next(batches)
    time.sleep(0.3)
    assert 20 <= Counted.reads < 1000
    batches.close()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.float32(IMAGES), r"float32 \(23, 3, 32, 32\)"),
        (np.int8(IMAGES), "int8"),
        (IMAGES[0], r"uint8 \(3, 32, 32\)"),
        (IMAGES.transpose(0, 2, 3, 1), r"uint8 \(23, 32, 32, 3\)"),
        (IMAGES[:, :1], r"uint8 \(23, 1, 32, 32\)"),
        (IMAGES.reshape(23, -1), r"uint8 \(23, 3072\)"),
    ],
)
def test_other_arrays_are_refused(images, words):
    for use in (lambda: prepared(images), lambda: augmented(images, seed=1)):
        with pytest.raises(InputError, match=rf"^images: expected \(N, 3, height, width\) uint8, got {words}"):
            use()
