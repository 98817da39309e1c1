"""Every attack in worlds where it must see who is a member and in worlds where it cannot."""

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats

from mindefense.attacks import (
    Attack,
    EntropyAttack,
    GapAttack,
    MaxConfidenceAttack,
    MindArmourAttack,
    NeuralAttack,
    neural,
)
from mindefense.attacks.base import ScoreAttack
from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.metrics import best_threshold, membership_metrics
from mindefense.models import MLP
from mindefense.target import Target
from mindefense.training import TrainConfig
from mindefense.types import Samples

CLASSES, FIT, EVAL = 5, 80, 200
SHORT = TrainConfig(epochs=15, learning_rate=0.05, decay_every=None, batch_size=32, loss="sigmoid", seed=3)
SMALL_GRIDS = {
    "lr": {"C": [1.0]},
    "knn": {"n_neighbors": [5]},
    "mlp": {"hidden_layer_sizes": [(16,)], "solver": ["adam"], "alpha": [0.001]},
    # Eight candidates, of which MindArmour's random search draws seven.
    "rf": {"n_estimators": [8], "max_features": ["sqrt"], "max_depth": [2, 3, 5, None], "min_samples_leaf": [1, 20]},
}


# Features of the toy targets are logits, so that samples carry their own answers. In every world but "none" one thing
# tells members from non-members; class and true label are drawn alike for both.


def at(classes, values, rest):
    logits = np.tile(np.asarray(rest, np.float64)[:, None], (1, CLASSES))
    logits[np.arange(len(classes)), classes] = values
    return logits


def nothing(rng, n, is_member):
    labels = rng.integers(CLASSES, size=n)
    return rng.normal(0, 2, (n, CLASSES)), labels


def correctness(rng, n, is_member):
    labels = rng.integers(CLASSES, size=n)
    said = labels if is_member else (labels + rng.integers(1, CLASSES, n)) % CLASSES
    return at(said, 3.0, np.zeros(n)) + rng.normal(0, 0.05, (n, CLASSES)), labels


def confidence(rng, n, is_member):
    labels = rng.integers(CLASSES, size=n)
    logits = at(rng.integers(CLASSES, size=n), 6.0 if is_member else 1.0, np.zeros(n))
    return logits + rng.normal(0, 0.05, (n, CLASSES)), labels


def runner_up(rng, n, is_member):
    """The top class has the same share; what is left goes to one other class or to all."""
    labels = rng.integers(CLASSES, size=n)
    top = rng.integers(CLASSES, size=n)
    second = (top + rng.integers(1, CLASSES, n)) % CLASSES
    left = rng.uniform(0.3, 0.4, n)
    probs = at(top, 1 - left, 0.01 * left if is_member else left / (CLASSES - 1))
    if is_member:
        probs[np.arange(n), second] = (1 - 0.01 * (CLASSES - 2)) * left
    return np.log(probs), labels


WORLDS = {"nothing": nothing, "correctness": correctness, "confidence": confidence, "runner-up": runner_up}


@dataclasses.dataclass(frozen=True)
class World:
    """Disjoint samples to fit and to judge on."""

    fit_members: Samples
    fit_non_members: Samples
    members: Samples
    non_members: Samples


def make_world(name):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    parts, first = [], 0
    for n, is_member in ((FIT, True), (FIT, False), (EVAL, True), (EVAL, False)):
        logits, labels = WORLDS[name](rng, n, is_member)
        parts.append(Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(first, first + n)))
        first += n
    return World(*parts)


@pytest.fixture(scope="module")
def worlds():
    return {name: make_world(name) for name in WORLDS}


@dataclasses.dataclass(frozen=True)
class Case:
    """One attack.

    Attributes:
        make: Makes it from a seed.
        sees: The worlds in which it must find out; in the others it cannot.
        learns: What `fit` sets, or None if `score` needs no `fit`.
        seeded: Whether another seed gives other scores.
    """

    name: str
    make: Callable[[int], Attack]
    sees: frozenset[str]
    learns: str | None = None
    seeded: bool = False


def mindarmour(method, seeded=False):
    def make(seed):
        return MindArmourAttack(method, grid=SMALL_GRIDS[method], seed=seed, n_jobs=1)

    return Case(f"mindarmour-{method}", make, frozenset(WORLDS) - {"nothing"}, "inference_", seeded)


CASES = [
    Case("gap", lambda seed: GapAttack(), frozenset({"correctness"})),
    Case("max-confidence", lambda seed: MaxConfidenceAttack(), frozenset({"confidence"})),
    Case("entropy", lambda seed: EntropyAttack(), frozenset({"confidence", "runner-up"})),
    mindarmour("lr"),
    mindarmour("knn"),
    mindarmour("mlp", seeded=True),
    mindarmour("rf", seeded=True),
    Case(
        "nn",
        lambda seed: NeuralAttack(dataclasses.replace(SHORT, seed=seed)),
        frozenset({"confidence", "runner-up"}),
        "net_",
        seeded=True,
    ),
]
every_attack = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@pytest.fixture(scope="module")
def fitted(worlds):
    """Attack, target and scores of the members and the non-members by case and world; each is fitted once."""
    kept, targets = {}, {name: Target(log_softmax) for name in WORLDS}

    def get(case, world_name):
        if (case.name, world_name) not in kept:
            world, target = worlds[world_name], targets[world_name]
            attack = case.make(0)
            assert attack.fit(target, world.fit_members, world.fit_non_members) is attack
            scores = attack.score(target, world.members), attack.score(target, world.non_members)
            kept[case.name, world_name] = attack, target, scores
        return kept[case.name, world_name]

    return get


@every_attack
@pytest.mark.parametrize("world_name", WORLDS)
def test_attack_sees_what_it_can_and_nothing_else(case, world_name, fitted):
    attack, _, (members, non_members) = fitted(case, world_name)
    scores = np.concatenate((members, non_members))
    metrics = membership_metrics(scores, np.arange(2 * EVAL) < EVAL, threshold=attack.threshold_)
    if world_name in case.sees:
        assert metrics.auc >= 0.99
        assert metrics.balanced_accuracy >= 0.9
    else:
        standard_error = np.sqrt((2 * EVAL + 1) / (12 * EVAL * EVAL))
        assert abs(metrics.auc - 0.5) < 4 * standard_error


@every_attack
def test_name_and_the_need_to_fit(case):
    attack = case.make(0)
    assert attack.name == case.name
    assert attack.needs_fit == (case.name != "gap")


@every_attack
def test_scores_are_one_float64_a_sample_in_their_order(case, fitted, worlds):
    attack, target, (scores, _) = fitted(case, "nothing")
    assert scores.dtype == np.float64
    assert scores.shape == (EVAL,)
    assert len(np.unique(scores)) > 1
    order = np.random.default_rng(1).permutation(EVAL)
    permuted = attack.score(target, worlds["nothing"].members.take(order))
    np.testing.assert_allclose(permuted, scores[order], rtol=1e-5, atol=1e-6)  # a sum may be taken in another order


@every_attack
def test_same_seed_same_scores_to_the_last_bit(case, fitted, worlds):
    world = worlds["nothing"]
    _, target, (scores, _) = fitted(case, "nothing")
    again = case.make(0).fit(target, world.fit_members, world.fit_non_members)
    np.testing.assert_array_equal(again.score(target, world.members), scores)
    if case.seeded:
        other = case.make(1).fit(target, world.fit_members, world.fit_non_members)
        assert (other.score(target, world.members) != scores).any()


@every_attack
def test_score_before_fit(case, worlds):
    members = worlds["confidence"].members
    attack = case.make(0)
    if case.learns is None:
        scored = attack.score(Target(log_softmax), members)
        assert scored.shape == (EVAL,)
        return
    with pytest.raises(InputError, match=f"{case.name}.*call fit first") as caught:
        attack.score(Target(log_softmax), members)
    assert "\n" not in str(caught.value)


def test_each_sample_is_queried_once_however_many_attacks_run(fitted):
    targets = {fitted(case, "confidence")[1] for case in CASES}
    assert [target.queries for target in targets] == [2 * FIT + 2 * EVAL]


# ------------------------------------------------------------------------------------------------ attacks by one number


def query(logits, labels):
    logits = np.asarray(logits, np.float32)
    return Target(log_softmax), Samples(logits, np.asarray(labels, np.int32), np.arange(len(logits)))


def test_gap_attack_equals_a_hand_count():
    target, samples = query([[0, 2, 1], [0, 2, 1], [5, 0, 0], [0, 0, 1], [1, 1, 0]], [1, 2, 0, 2, 1])
    # The last row ties; the first of equals counts as predicted.
    assert GapAttack().score(target, samples).tolist() == [1.0, 0.0, 1.0, 1.0, 0.0]
    assert GapAttack.threshold_ == 0.5


def test_gap_attack_learns_nothing():
    def refuse(features):
        raise AssertionError("asked")

    target, samples = query([[0, 1], [1, 0]], [0, 0])
    attack = GapAttack().fit(Target(refuse), samples, samples)
    assert vars(attack) == {}
    assert attack.score(target, samples).tolist() == [0.0, 1.0]


def test_max_confidence_is_the_largest_log_probability():
    target, samples = query([[0, 0, 0, 0], [np.log(6), 0, 0, 0], [-50, 0, -50, -50]], [0, 1, 2])
    np.testing.assert_allclose(MaxConfidenceAttack().score(target, samples), np.log([1 / 4, 6 / 9, 1]), atol=1e-6)


def test_max_confidence_tells_apart_what_rounds_to_one():
    target, samples = query([[17.5, 0], [18.5, 0]], [0, 0])
    assert (np.exp(target.query(samples.features)).max(axis=1) == 1).all()
    low, high = MaxConfidenceAttack().score(target, samples)
    assert low < high < 0


def test_entropy_equals_scipy():
    rng = np.random.default_rng(0)
    target, samples = query(np.vstack((rng.normal(0, 3, (50, 6)), np.zeros((1, 6)), [[0, 90, 0, 0, 0, 0]])), [0] * 52)
    probs = np.exp(target.query(samples.features).astype(np.float64))
    scores = EntropyAttack().score(target, samples)
    np.testing.assert_allclose(scores, -scipy.stats.entropy(probs, axis=1), atol=1e-6)
    assert scores[50] == pytest.approx(-np.log(6), abs=1e-6)
    assert scores[51] == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize("attack_class", [MaxConfidenceAttack, EntropyAttack])
def test_threshold_is_the_best_of_the_fit_rows(attack_class, worlds):
    world, target = worlds["nothing"], Target(log_softmax)
    attack = attack_class()
    assert not hasattr(attack, "threshold_")
    attack.fit(target, world.fit_members, world.fit_non_members)
    scores = np.concatenate((attack.score(target, world.fit_members), attack.score(target, world.fit_non_members)))
    assert attack.threshold_ == best_threshold(scores, np.arange(2 * FIT) < FIT)


def test_threshold_of_kinds_of_different_size():
    class First(ScoreAttack):
        name = "first"

        def score(self, target, samples):
            return samples.features[:, 0].astype(np.float64)

    def column(*values):
        return Samples(np.array(values, np.float32)[:, None], np.zeros(len(values), np.int32), np.arange(len(values)))

    # Were the rows counted wrongly, the best threshold would be another.
    assert First().fit(Target(log_softmax), column(6, 5, 4), column(1)).threshold_ == 2.5
    assert First().fit(Target(log_softmax), column(9), column(3, 2, 1)).threshold_ == 6.0


# --------------------------------------------------------------------------------------------------- the neural network


def test_neural_attack_sees_the_sorted_vector_alone(fitted, worlds):
    attack, target, (scores, _) = fitted(next(case for case in CASES if case.name == "nn"), "confidence")
    members = worlds["confidence"].members
    turned = Samples(np.roll(members.features, 1, axis=1), (members.labels + 2) % CLASSES, members.indices)
    np.testing.assert_allclose(attack.score(target, turned), scores, rtol=1e-5, atol=1e-6)
    assert ((scores >= 0) & (scores <= 1)).all()


def test_neural_attack_takes_vectors_in_any_order_of_classes(fitted, worlds):
    attack, target, (scores, _) = fitted(next(case for case in CASES if case.name == "nn"), "confidence")
    probs = np.exp(target.query(worlds["confidence"].members.features))
    np.testing.assert_array_equal(attack.member_probability(probs), scores)
    np.testing.assert_allclose(attack.member_probability(probs[:, ::-1]), scores, rtol=1e-5, atol=1e-6)
    with pytest.raises(InputError, match="call fit first"):
        NeuralAttack(SHORT).member_probability(probs)


def test_neural_attack_tells_its_epochs(worlds):
    world, told = worlds["confidence"], []
    config = dataclasses.replace(SHORT, epochs=2)
    attack = NeuralAttack(config, on_epoch=told.append).fit(
        Target(log_softmax), world.fit_members, world.fit_non_members
    )
    assert [(epoch.number, epoch.of) for epoch in told] == [(1, 2), (2, 2)]
    assert attack.net_.widths == (CLASSES, 1024, 512, 256, 128, 1)


def test_neural_attack_trains_a_network_of_its_seed_on_sorted_vectors(worlds, monkeypatch):
    told = []
    monkeypatch.setattr(neural, "train_classifier", lambda *arguments, **_: told.extend(arguments))
    world, target = worlds["confidence"], Target(log_softmax)
    config = dataclasses.replace(SHORT, seed=4)
    attack = NeuralAttack(config).fit(target, world.fit_members, world.fit_non_members)
    net, vectors, is_member, given = told
    assert net is attack.net_
    assert given == config
    logits = np.concatenate((world.fit_members.features, world.fit_non_members.features)).astype(np.float64)
    powers = np.sort(np.exp(logits), axis=1)
    np.testing.assert_allclose(vectors, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
    assert is_member.tolist() == [True] * FIT + [False] * FIT
    for (weight, _), (other, _) in zip(net.weights(), MLP(net.widths, seed=4).weights(), strict=True):
        np.testing.assert_array_equal(weight, other)


def test_neural_attack_is_the_published_one_by_default():
    config = NeuralAttack().config
    assert (config.epochs, config.learning_rate, config.decay_every, config.batch_size) == (400, 0.01, 300, 64)
    assert config.loss == "sigmoid"
