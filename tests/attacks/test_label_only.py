"""Label-only attackers: robustness that can be computed is found, by questions that are the same whoever asks."""

import numpy as np
import pytest
import scipy.stats

from mindefense.attacks import label_only
from mindefense.attacks.label_only import BitFlipAttack, NoiseRobustnessAttack, ShiftAttack
from mindefense.errors import InputError
from mindefense.metrics import auc
from mindefense.targets.base import Target
from mindefense.types import Samples

N, D = 100, 60


def refuse(samples):
    raise AssertionError("a label-only attacker asked for confidences")


def door(labels):
    """A target that gives predicted classes and nothing else."""
    return Target(refuse, labels=lambda samples: labels(samples).astype(np.int64))


def make(features, *, first=0, label=1):
    features = np.asarray(features)
    return Samples(features, np.full(len(features), label, np.int32), np.arange(first, first + len(features)))


# Worlds: a classifier and samples at a chosen distance from its boundary; of each, what share of the variants is right.


def floats(distance, n=N, first=0):
    rng = np.random.default_rng(first)
    features = rng.normal(0, 1, (n, 5)).astype(np.float32)
    features[:, 0] = distance
    return make(features, first=first)


def bits(distance, n=N, first=0):
    rng = np.random.default_rng(first)
    features = np.zeros((n, D), np.float32)
    for row in features:
        row[rng.permutation(D)[: D // 2 + distance]] = 1
    return make(features, first=first)


def images(distance, n=N, first=0):
    """A bright square of 2 · distance + 1 pixels in the middle."""
    rng = np.random.default_rng(first)
    features = rng.integers(0, 100, (n, 3, 9, 9), dtype=np.uint8)
    features[:, :, 4 - distance : 5 + distance, 4 - distance : 5 + distance] = 200
    return make(features, first=first)


def flip_share(distance, rate):
    """Chance that 0/1 rows of D // 2 + distance ones keep more than D // 2 - 0.5 when each bit flips at this rate."""
    ones = D // 2 + distance
    lost = scipy.stats.binom.pmf(np.arange(ones + 1), ones, rate)
    won = scipy.stats.binom(D - ones, rate)
    return sum(chance * won.sf(k - distance - 1) for k, chance in enumerate(lost))


WORLDS = {
    "label-noise": (
        lambda seed=0, repeats=32: NoiseRobustnessAttack(0.5, repeats=repeats, seed=seed),
        lambda x: x[:, 0] > 0,
        floats,
        {0.2: scipy.stats.norm.cdf(0.4), 0.8: scipy.stats.norm.cdf(1.6)},
    ),
    "label-flips": (
        lambda seed=0, repeats=32: BitFlipAttack(0.1, repeats=repeats, seed=seed),
        lambda x: x.sum(axis=1) > D // 2 - 0.5,
        bits,
        {1: flip_share(1, 0.1), 6: flip_share(6, 0.1)},
    ),
    "label-shifts": (
        lambda: ShiftAttack(),
        lambda x: x[:, :, 4, 4].mean(axis=1) > 150,
        images,
        {0: 1 / 5, 1: 1.0},
    ),
}
every_attack = pytest.mark.parametrize("name", WORLDS)
by_chance = pytest.mark.parametrize("name", ["label-noise", "label-flips"])


@every_attack
def test_share_of_right_variants_is_what_can_be_computed(name):
    attack_of, classify, samples_at, shares = WORLDS[name]
    attack = attack_of()
    assert (attack.name, attack.asks, attack.needs_fit) == (name, "variants", True)
    for distance, share in shares.items():
        scores = attack.score(door(classify), samples_at(distance))
        expected = (1 + share * attack.variants_per_sample) / (1 + attack.variants_per_sample)
        error = 4 * np.sqrt(share * (1 - share) / (N * attack.variants_per_sample))
        assert scores.mean() == pytest.approx(expected, abs=error + 1e-9)
        assert scores.dtype == np.float64
        assert scores.shape == (N,)


@every_attack
def test_more_robust_members_are_found_and_equal_ones_are_not(name):
    attack_of, classify, samples_at, (far, near) = (*WORLDS[name][:3], sorted(WORLDS[name][3], reverse=True))
    target = door(classify)
    attack = attack_of().fit(target, samples_at(far), samples_at(near, first=N))
    members, others = samples_at(far, first=2 * N), samples_at(near, first=3 * N)
    scores = np.concatenate((attack.score(target, members), attack.score(target, others)))
    is_member = np.arange(2 * N) < N
    assert auc(scores, is_member) > 0.9
    assert ((scores > attack.threshold_) == is_member).mean() > 0.8
    same = np.concatenate((attack.score(target, members), attack.score(target, samples_at(far, first=4 * N))))
    assert abs(auc(same, is_member) - 0.5) < 4 * np.sqrt((2 * N + 1) / (12 * N * N))


@every_attack
def test_wrong_samples_score_nothing_and_are_not_asked_about_further(name):
    attack_of, classify, samples_at, shares = WORLDS[name]
    samples = samples_at(max(shares))
    samples.labels[:50] = 0
    target, attack = door(classify), attack_of()
    scores = attack.score(target, samples)
    assert (scores[:50] == 0).all()
    assert (scores[50:] > 0).all()
    assert target.queries <= N + (N - 50) * attack.variants_per_sample
    if name != "label-shifts":  # two shifts of one image may be the same
        assert target.queries >= 0.9 * (N + (N - 50) * attack.variants_per_sample)


@every_attack
def test_questions_depend_on_seed_and_sample_alone(name, monkeypatch):
    attack_of, classify, samples_at, shares = WORLDS[name]
    samples, target = samples_at(min(shares)), door(classify)
    scores, asked = attack_of().score(target, samples), target.queries
    order = np.random.default_rng(0).permutation(N)[:40]
    np.testing.assert_array_equal(attack_of().score(target, samples.take(order)), scores[order])
    assert target.queries == asked  # nothing new was asked

    rows = []

    def watched(x):
        rows.append(len(x))
        return classify(x)

    attack = attack_of()
    monkeypatch.setattr(label_only, "_CHUNK_BYTES", 3 * attack.variants_per_sample * samples.features[0].nbytes)
    np.testing.assert_array_equal(attack.score(door(watched), samples), scores)
    assert max(rows[1:]) <= 3 * attack.variants_per_sample


@by_chance
def test_few_repeats_are_the_first_of_many_and_seeds_differ(name):
    attack_of, _, samples_at, shares = WORLDS[name]
    samples = samples_at(min(shares))
    few, many, other = (
        attack.variants(samples) for attack in (attack_of(repeats=4), attack_of(repeats=9), attack_of(1, repeats=9))
    )
    np.testing.assert_array_equal(few, many[:, :4])
    assert few.dtype == np.float32
    assert few.shape == (N, 4, *samples.features.shape[1:])
    assert (many != other).any(axis=tuple(range(1, many.ndim))).all()
    unlike = np.stack([np.abs(many[:, k] - samples.features).sum(axis=1) for k in range(9)])
    assert len(np.unique(np.round(unlike, 4))) > 5  # the repeats differ from each other


def test_flips_keep_rows_binary_at_the_rate_asked_for():
    samples = bits(3)
    changed = BitFlipAttack(0.07).variants(samples)
    assert set(np.unique(changed)) == {0.0, 1.0}
    assert (changed != samples.features[:, None]).mean() == pytest.approx(0.07, abs=0.002)


def test_noise_has_the_scale_asked_for():
    samples = floats(1.0)
    noise = NoiseRobustnessAttack(0.3).variants(samples) - samples.features[:, None]
    assert noise.mean() == pytest.approx(0, abs=0.01)
    assert noise.std() == pytest.approx(0.3, rel=0.02)


@pytest.mark.parametrize("pixels", [1, 2])
def test_shifts_repeat_the_edge(pixels):
    image = np.arange(2 * 4 * 5, dtype=np.uint8).reshape(1, 2, 4, 5)
    attack = ShiftAttack(pixels)
    variants = attack.variants(make(image))
    assert variants.shape == (1, 4 * pixels + 1, 2, 4, 5)
    assert variants.dtype == np.uint8
    found = {variant.tobytes() for variant in variants[0, :-1]}
    rows, columns = np.arange(4), np.arange(5)
    wanted = {
        image[0][:, np.clip(rows + i, 0, 3)][:, :, np.clip(columns + j, 0, 4)].tobytes()
        for i in range(-pixels, pixels + 1)
        for j in range(-pixels, pixels + 1)
        if abs(i) + abs(j) == pixels
    }
    assert found == wanted
    assert len(wanted) == 4 * pixels
    np.testing.assert_array_equal(variants[0, -1], image[0, :, :, ::-1])


@pytest.mark.parametrize(
    ("attack", "features", "says"),
    [
        (NoiseRobustnessAttack(), np.zeros((2, 3, 4, 4), np.uint8), "label-shifts"),
        (BitFlipAttack(), np.zeros((2, 3, 4, 4), np.uint8), "label-shifts"),
        (BitFlipAttack(), np.array([[0, 1], [0.25, 1]], np.float32), "0.25; .*label-noise"),
        (ShiftAttack(), np.zeros((2, 7), np.float32), "label-flips, .*label-noise"),
        (ShiftAttack(), np.zeros((2, 7), np.uint8), r"\(2, 7\)"),
    ],
)
def test_features_of_the_wrong_kind_name_the_attack_for_them(attack, features, says):
    target = door(lambda x: np.zeros(len(x)))
    with pytest.raises(InputError, match=says):
        attack.score(target, make(features))
    assert target.queries == 0


@pytest.mark.parametrize(
    ("construct", "says"),
    [
        (lambda: NoiseRobustnessAttack(0), "scale"),
        (lambda: NoiseRobustnessAttack(np.inf), "scale"),
        (lambda: NoiseRobustnessAttack(repeats=0), "repeats"),
        (lambda: NoiseRobustnessAttack(seed=-1), "seed"),
        (lambda: BitFlipAttack(1.0), "rate"),
        (lambda: BitFlipAttack(seed=0.5), "seed"),  # pyright: ignore[reportArgumentType]
        (lambda: ShiftAttack(0), "pixels"),
    ],
)
def test_arguments_out_of_range(construct, says):
    with pytest.raises(InputError, match=says):
        construct()
