"""Averaging wins exactly as much as the formula says where noise is fresh, and nothing where it is not."""

import hashlib

import numpy as np
import pytest
import scipy.stats

from mindefense.attacks.averaging import AveragingAttack
from mindefense.attacks.base import Attack, ScoreAttack
from mindefense.attacks.metric import GapAttack, MaxConfidenceAttack
from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.metrics import auc
from mindefense.targets.base import Target
from mindefense.types import Samples

N, SHIFT, NOISE = 400, 0.05, 0.2


class FirstClass(ScoreAttack):
    """Log-probability of class 0."""

    name = "first-class"

    def score(self, target, samples):
        return target.query(samples.features)[:, 0].astype(np.float64)


def noise(samples, again):
    """Standard normal numbers, a function of row and time."""
    digests = b"".join(hashlib.blake2b(row.tobytes() + bytes([again]), digest_size=4).digest() for row in samples)
    return scipy.stats.norm.ppf((np.frombuffer(digests, np.uint32) + 0.5) / 2**32)


def answer(samples, again=0):
    """Two classes; the logit of class 0 is the first feature (members +SHIFT, others -SHIFT) and noise."""
    logits = samples[:, 0] + NOISE * noise(samples, again)
    return log_softmax(np.stack((logits, np.zeros(len(samples))), axis=1))


def keyed():
    return Target(answer)


def fresh():
    return Target(answer, anew=answer)


def make(shift, first, n=N):
    features = np.random.default_rng(first).normal(0, 1, (n, 3)).astype(np.float32)
    features[:, 0] = shift
    return Samples(features, np.zeros(n, np.int32), np.arange(first, first + n))


MEMBERS, OTHERS = make(SHIFT, 0), make(-SHIFT, N)


def auc_of(attack, target):
    attack.fit(target, make(SHIFT, 2 * N, 20), make(-SHIFT, 3 * N, 20))
    scores = np.concatenate((attack.score(target, MEMBERS), attack.score(target, OTHERS)))
    return auc(scores, np.arange(2 * N) < N)


def expected(independent):
    """Members and others are 2 · SHIFT apart, each with the standard deviation of a mean of so many answers."""
    return scipy.stats.norm.cdf(2 * SHIFT / (NOISE * np.sqrt(2 / independent)))


@pytest.mark.parametrize(
    ("target", "perturbation", "repeats", "independent"),
    [
        (fresh, 0.0, 1, 1),
        (fresh, 0.0, 8, 8),
        (fresh, 0.0, 32, 32),
        (keyed, 0.0, 8, 1),
        (keyed, 0.0, 32, 1),
        (keyed, 1e-3, 8, 8),
        (fresh, 1e-3, 8, 8),
        # The perturbation itself is noise on what the attacker wants to see, as large as the model's.
        (keyed, NOISE, 1, 1),
    ],
)
def test_averaging_wins_what_independent_noise_allows(target, perturbation, repeats, independent):
    attack = AveragingAttack(FirstClass, repeats=repeats, perturbation=perturbation)
    assert auc_of(attack, target()) == pytest.approx(expected(independent), abs=0.05)
    assert expected(32) - expected(8) > 0.1 < expected(8) - expected(1)  # the cases can be told apart


def test_a_keyed_answer_is_left_alone():
    target = keyed()
    averaged = AveragingAttack(FirstClass, repeats=64).averaged(target)
    np.testing.assert_array_equal(averaged.query(MEMBERS.features), target.query(MEMBERS.features))
    assert target.queries == N


@pytest.mark.parametrize("perturbation", [0.0, 0.01])
def test_confidence_vectors_are_averaged_not_their_logarithms(perturbation):
    probs = np.random.default_rng(0).dirichlet((0.3, 0.3, 0.3), 6).astype(np.float32)

    def respond(samples, again=0):
        return np.log(np.tile(probs[again], (len(samples), 1)))

    target = Target(respond, anew=respond)
    answers = AveragingAttack(FirstClass, repeats=6, perturbation=perturbation).averaged(target).query(MEMBERS.features)
    assert answers.dtype == np.float32
    np.testing.assert_allclose(np.exp(answers), np.tile(probs.mean(axis=0), (N, 1)), rtol=1e-5)


def test_probabilities_far_below_the_smallest_float_survive():
    target = Target(answer, anew=lambda samples, again: np.full((len(samples), 2), -900, np.float32))
    low = Target(lambda samples: np.full((len(samples), 2), -900, np.float32), anew=target._anew)
    answers = AveragingAttack(FirstClass, repeats=3).averaged(low).query(MEMBERS.features)
    np.testing.assert_allclose(answers, -900)


@pytest.mark.parametrize(("target", "perturbation"), [(fresh, 0.0), (keyed, 1e-2), (fresh, 1e-2)])
def test_eight_repeats_are_the_first_of_many_whatever_the_company(target, perturbation):
    def attack(repeats):
        return AveragingAttack(FirstClass, repeats=repeats, perturbation=perturbation)

    door, samples = target(), MEMBERS.take(np.arange(50))
    scores = attack(8).score(door, samples)
    assert door.queries == 8 * 50
    np.testing.assert_array_equal(attack(8).score(door, samples.take(np.array([5, 3]))), scores[[5, 3]])
    assert door.queries == 8 * 50
    attack(11).score(door, samples)
    assert door.queries == 11 * 50


def test_seeds_make_other_questions():
    door = keyed()
    one, other = (
        AveragingAttack(FirstClass, repeats=4, perturbation=0.01, seed=seed).score(door, MEMBERS) for seed in (0, 1)
    )
    assert (one != other).all()
    assert door.queries == 7 * N  # the sample itself is the first question of both


def test_perturbations_have_the_scale_asked_for():
    asked = []

    def respond(samples):
        asked.append(samples)
        return answer(samples)

    AveragingAttack(FirstClass, repeats=3, perturbation=0.1).score(Target(respond), MEMBERS)
    first, *others = asked
    np.testing.assert_array_equal(first, MEMBERS.features)
    assert len(others) == 2
    for other in others:
        assert other.dtype == np.float32
        assert (other - first).std() == pytest.approx(0.1, rel=0.1)
        assert (other - first).mean() == pytest.approx(0, abs=0.02)
    assert abs(np.corrcoef(*((other - first).ravel() for other in others))[0, 1]) < 0.15


def test_images_change_by_one_level_in_a_few_places():
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    images[:20], images[20:40] = images[:20] % 2, 254 + images[20:40] % 2
    kept, asked = images.copy(), []

    def respond(samples):
        asked.append(samples)
        return np.zeros((len(samples), 2), np.float32)

    samples = Samples(images, np.zeros(50, np.int32), np.arange(50))
    AveragingAttack(FirstClass, repeats=2, perturbation=0.1).score(Target(respond), samples)
    np.testing.assert_array_equal(images, kept)
    change = asked[1].astype(int) - images
    assert asked[1].dtype == np.uint8
    assert set(np.unique(change[40:])) == {-1, 0, 1}
    assert set(np.unique(asked[1][:20])) == {0, 1, 2}  # nothing goes out of range
    assert set(np.unique(asked[1][20:40])) == {253, 254, 255}
    assert (change[40:] != 0).mean() == pytest.approx(0.1, abs=0.03)
    with pytest.raises(InputError, match="perturbation"):
        AveragingAttack(FirstClass, perturbation=1.5).score(Target(respond), samples)


@pytest.mark.parametrize("perturbation", [0.0, 0.1])
def test_one_repeat_is_the_base(perturbation):
    base, wrapped = MaxConfidenceAttack(), AveragingAttack(MaxConfidenceAttack, repeats=1, perturbation=perturbation)
    scores = []
    for attack in (base, wrapped):
        target = fresh()
        scores.append(attack.fit(target, MEMBERS, OTHERS).score(target, OTHERS))
        assert target.queries == 2 * N
    np.testing.assert_array_equal(*scores)
    assert wrapped.threshold_ == base.threshold_


def test_the_base_learns_on_averages():
    seen = []

    class Watching(Attack):
        name = "watching"

        def fit(self, target, members, non_members):
            seen.append(target.query(members.features))
            self.threshold_ = -0.25
            return self

        def score(self, target, samples):
            return target.query(samples.features)[:, 0]

    target = fresh()
    attack = AveragingAttack(Watching, repeats=16)
    assert attack.fit(target, MEMBERS, OTHERS) is attack
    assert attack.threshold_ == -0.25
    truth = log_softmax(np.array([[SHIFT, 0.0]]))[0, 0]
    assert seen[0][:, 0].std() == pytest.approx(NOISE / 2 / 4, rel=0.15)  # half of a logit's, by 16 answers
    assert seen[0][:, 0].mean() == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize(
    ("base", "repeats", "perturbation", "name", "needs_fit", "asks"),
    [
        (FirstClass, 8, 0.0, "averaging-8", True, "variants"),
        (GapAttack, 64, 0.0, "averaging-64", False, "variants"),
        (FirstClass, 8, 0.5, "averaging-8-perturbed", True, "variants"),
        (GapAttack, 1, 0.0, "averaging-1", False, "samples"),
    ],
)
def test_contract(base, repeats, perturbation, name, needs_fit, asks):
    attack = AveragingAttack(base, repeats=repeats, perturbation=perturbation)
    assert isinstance(attack, Attack)
    assert (attack.name, attack.needs_fit, attack.asks) == (name, needs_fit, asks)


@pytest.mark.parametrize(
    "arguments", [{"repeats": 0}, {"perturbation": -0.1}, {"perturbation": np.nan}, {"seed": -1}], ids=str
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        AveragingAttack(FirstClass, **arguments)
