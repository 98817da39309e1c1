"""`make_location_like` and `make_cifar_like`: of the real shape and kind, reproducible, and about as hard."""

import numpy as np
import pytest
from cifar100_files import TEST, TRAIN

from mindefense.data import make_cifar_like, make_location_like
from mindefense.errors import InputError

SEEDS = range(3)
REAL_DENSITY = 0.1204  # share of ones in Location


@pytest.fixture(scope="module", params=SEEDS)
def data(request):
    return make_location_like(request.param)


def test_shape_and_kind(data):
    assert (data.name, data.synthetic, data.num_classes) == ("location-like", True, 30)
    assert (data.features.shape, data.features.dtype) == ((5010, 446), np.float32)
    assert (data.labels.shape, data.labels.dtype) == ((5010,), np.int32)
    assert set(np.unique(data.features)) == {0.0, 1.0}
    assert data.order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(data.order), np.arange(5010))
    assert not np.array_equal(data.order, np.arange(5010))


def test_statistics_are_near_the_real_ones(data):
    assert data.features.mean() == pytest.approx(REAL_DENSITY, abs=0.012)
    columns = np.sort(data.features.mean(0))
    assert np.median(columns) == pytest.approx(0.061, abs=0.02)
    assert columns[-1] > 0.9
    assert 12 < data.features.sum(1).std() < 25  # the real one: 19.6
    sizes = np.bincount(data.labels, minlength=30)
    assert sizes.min() > 50
    assert sizes.max() < 400
    assert len(np.unique(data.features, axis=0)) > 5000


def test_classes_are_learnable_and_confusable(data):
    # Naive Bayes on the target's members stands in for the target model, which takes a minute to train.
    fitted, rest = data.order[:1000], data.order[1000:3000]
    shares = np.array(
        [(data.features[fitted[data.labels[fitted] == c]].sum(0) + 0.3) / (sum(data.labels[fitted] == c) + 2.5)
         for c in range(30)]
    )  # fmt: skip
    scores = data.features[rest] @ np.log(shares).T + (1 - data.features[rest]) @ np.log1p(-shares).T
    assert 0.5 < (scores.argmax(1) == data.labels[rest]).mean() < 0.8


def test_same_seed_same_data():
    one, two = make_location_like(5), make_location_like(5)
    assert one.fingerprint == two.fingerprint
    np.testing.assert_array_equal(one.order, two.order)


def test_seeds_differ():
    made = [make_location_like(seed) for seed in SEEDS]
    assert len({data.fingerprint for data in made}) == len(made)
    assert not np.array_equal(made[0].order, made[1].order)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None])
def test_bad_seed(seed):
    with pytest.raises(InputError, match="seed"):
        make_location_like(seed)


# Made-up images


def test_made_up_images_are_of_the_kind(made):
    assert (made.name, made.synthetic, made.num_classes, made.order) == ("cifar100-like", True, 100, None)
    assert (made.features.shape, made.features.dtype) == ((TRAIN + TEST, 3, 32, 32), np.uint8)
    assert made.labels.dtype == np.int32
    assert made.parts == {"train": range(TRAIN), "test": range(TRAIN, TRAIN + TEST)}
    assert 120 < made.features.mean() < 136
    assert 35 < made.features.std() < 55
    assert 0.001 < np.isin(made.features, (0, 255)).mean() < 0.02  # cut off at the ends, not wrapped around


def test_made_up_classes_are_balanced():
    made = make_cifar_like(train=25, test=10, classes=10)
    assert set(np.bincount(made.labels[:25], minlength=10)) == {2, 3}
    assert set(np.bincount(made.labels[25:], minlength=10)) == {1}


@pytest.mark.parametrize("seed", [0, 1])
def test_made_up_classes_can_be_learned_and_images_by_heart(seed):
    made = make_cifar_like(seed)
    images = made.features.reshape(len(made), -1).astype(np.float32)
    train, test = (np.arange(len(made))[rows.start : rows.stop] for rows in made.parts.values())
    means = np.stack([images[train][made.labels[train] == label].mean(0) for label in range(100)])
    nearest = (0.5 * (means**2).sum(1) - images @ means.T).argmin(1)
    hits = nearest == made.labels
    assert hits[train].all()
    assert 0.5 < hits[test].mean() < 0.8
    # Slow waves: neighbours are alike, as far as the noise on each pixel lets them.
    assert np.corrcoef(made.features[..., 1:].ravel(), made.features[..., :-1].ravel())[0, 1] > 0.6


def test_made_up_images_are_a_function_of_the_seed():
    prints = [make_cifar_like(seed, train=5, test=5).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("bad", [{"train": 0}, {"test": -1}, {"classes": 0}, {"train": 1.5}, {"seed": -1}])
def test_made_up_images_of_impossible_numbers(bad):
    with pytest.raises(InputError, match=f"{next(iter(bad))}: expected a whole number"):
        make_cifar_like(**bad)
