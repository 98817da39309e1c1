"""The boundary attack where the boundary is known: a plane at a chosen distance."""

import numpy as np
import pytest

from mindefense.attacks.boundary import BoundaryDistanceAttack
from mindefense.errors import InputError
from mindefense.metrics import auc
from mindefense.targets.base import Target
from mindefense.types import Samples

D, N = 9, 12


def refuse(samples):
    raise AssertionError("a label-only attacker asked for confidences")


def plane(samples):
    """1 above the plane through the cube's middle, across its diagonal, for floats in 0 … 1 and for uint8."""
    unit = samples / 255 if samples.dtype == np.uint8 else samples
    return (unit.reshape(len(samples), -1).mean(axis=1) > 0.5).astype(np.int64)


def door(labels=plane):
    return Target(refuse, labels=labels)


def at(distance, n=N, first=0, dtype=np.float32):
    """Samples this far above the plane, and their exact distances (after rounding, of bytes)."""
    rng = np.random.default_rng(first)
    unit = rng.uniform(0.3, 0.7, (n, D))
    unit += (0.5 + distance / np.sqrt(D) - unit.mean(axis=1))[:, None]
    assert unit.min() > 0
    assert unit.max() < 1
    features = np.rint(unit * 255).astype(np.uint8).reshape(n, 1, 3, 3) if dtype == np.uint8 else unit.astype(dtype)
    return Samples(features, np.ones(n, np.int32), np.arange(first, first + n))


def exact(samples):
    unit = samples.features / 255 if samples.features.dtype == np.uint8 else samples.features
    return (unit.reshape(len(unit), -1).mean(axis=1, dtype=np.float64) - 0.5) * np.sqrt(D)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("distance", [0.1, 0.4])
def test_distances_are_those_of_the_plane(distance, dtype):
    samples = at(distance, n=6, dtype=dtype)
    scores = BoundaryDistanceAttack(max_queries=600).score(door(), samples)
    assert scores.dtype == np.float64
    assert (scores >= exact(samples) - 1e-6).all()  # no point beyond the plane is nearer
    assert (scores < 1.2 * exact(samples) + 0.01).all()


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_the_score_is_the_distance_to_the_nearest_point_asked_about(dtype):
    asked = []

    def watched(rows):
        asked.append(rows)
        return plane(rows)

    samples = at(0.2, n=1, dtype=dtype)
    score = BoundaryDistanceAttack(max_queries=130).score(door(watched), samples)
    rows = np.concatenate(asked)
    assert rows.dtype == dtype
    assert rows.shape[1:] == samples.features.shape[1:]
    scale = 255 if dtype == np.uint8 else 1
    away = (rows[plane(rows) == 0].astype(np.float64) - samples.features) / scale
    assert score[0] == pytest.approx(np.sqrt((away.reshape(len(away), -1) ** 2).sum(axis=1)).min(), rel=1e-9)


def test_members_further_inside_are_found_and_equal_ones_are_not():
    target = door()
    attack = BoundaryDistanceAttack(max_queries=250).fit(target, at(0.3), at(0.15, first=N))
    assert (attack.name, attack.asks, attack.needs_fit) == ("boundary-distance", "variants", True)
    members, others, same = at(0.3, first=2 * N), at(0.15, first=3 * N), at(0.3, first=4 * N)
    scores = np.concatenate((attack.score(target, members), attack.score(target, others)))
    is_member = np.arange(2 * N) < N
    assert auc(scores, is_member) > 0.95
    assert ((scores > attack.threshold_) == is_member).mean() > 0.8
    scores = np.concatenate((attack.score(target, members), attack.score(target, same)))
    assert abs(auc(scores, is_member) - 0.5) < 3 * np.sqrt((2 * N + 1) / (12 * N * N))


@pytest.mark.parametrize("max_queries", [1, 2, 25, 160])
def test_nobody_asks_more_than_the_budget(max_queries):
    samples, target = at(0.2, n=4), door()
    attack = BoundaryDistanceAttack(max_queries=max_queries)
    scores = attack.score(target, samples)
    assert target.queries <= 4 * max_queries
    if max_queries == 1:
        assert (scores == np.sqrt(D)).all()
    if max_queries == 160:
        assert target.queries > 4 * 100  # it uses what it has
        assert (scores < 1).all()


def test_more_queries_come_closer():
    samples = at(0.2)
    few, more = (BoundaryDistanceAttack(max_queries=n).score(door(), samples).mean() for n in (30, 400))
    assert exact(samples).mean() <= more < 0.8 * few


def test_wrong_samples_score_nothing_and_cost_one_question():
    samples, target = at(0.2, n=5), door()
    samples.labels[:] = 0
    assert (BoundaryDistanceAttack().score(target, samples) == 0).all()
    assert target.queries == 5


def test_a_boundary_out_of_reach_is_as_far_as_can_be():
    scores = BoundaryDistanceAttack(max_queries=40).score(door(lambda x: np.ones(len(x), np.int64)), at(0.2, n=2))
    assert (scores == np.sqrt(D)).all()


def test_scores_depend_on_seed_and_sample_alone():
    samples, target = at(0.2), door()
    scores, asked = BoundaryDistanceAttack(max_queries=150).score(target, samples), target.queries
    some = np.array([7, 2])
    again = BoundaryDistanceAttack(max_queries=150).score(target, samples.take(some))
    np.testing.assert_array_equal(again, scores[some])
    assert target.queries == asked
    other = BoundaryDistanceAttack(max_queries=150, seed=1).score(target, samples)
    assert (other != scores).all()


@pytest.mark.parametrize("max_queries", [20, 150])
def test_global_random_state_is_left_as_it_was(max_queries):
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    BoundaryDistanceAttack(max_queries=max_queries).score(door(), at(0.2, n=2))
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_an_estimate_bounds_the_queries_and_is_not_lost():
    samples, target, fresh = at(0.2), door(), door()
    samples.labels[:3] = 0
    attack = BoundaryDistanceAttack(max_queries=120)
    queries, seconds = attack.estimate(target, samples)
    assert seconds > 0
    assert queries == N + (N - 3) * 119
    assert N < target.queries <= N + 2 * 119
    attack.score(target, samples)
    attack.score(fresh, samples)
    assert target.queries == fresh.queries <= queries


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (np.array([[0.5, 1.5]], np.float32), "got 1.5; .*label-noise"),
        (np.array([[-0.1, 0.5]], np.float32), "-0.1"),
        (np.array([[np.nan, 0.5]], np.float32), "nan"),
        (np.array([[3, 4]], np.int64), "int64"),
    ],
)
def test_features_out_of_range_are_refused(features, says):
    target = door()
    with pytest.raises(InputError, match=says):
        BoundaryDistanceAttack().score(target, Samples(features, np.ones(1, np.int32), np.zeros(1, np.int64)))
    assert target.queries == 0


@pytest.mark.parametrize(("arguments", "says"), [({"max_queries": 0}, "max_queries"), ({"seed": -1}, "seed")])
def test_arguments_out_of_range(arguments, says):
    with pytest.raises(InputError, match=says):
        BoundaryDistanceAttack(**arguments)
