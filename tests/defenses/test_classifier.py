"""The defender's classifier: from weights, fitted, and fitted with the rest of DefenMI."""

import numpy as np
import pytest
from toy_defenses import membership_logits, softmax, toy_layers

from mindefense.data import Split
from mindefense.defenses import DefenderClassifier, DefenMIConfig, class_mean_probs, fit_defender, fit_defenmi
from mindefense.errors import CheckpointError, InputError
from mindefense.models import MLP
from mindefense.targets.cell import forward
from mindefense.training import TrainConfig
from mindefense.types import LabelledData

SHORT = TrainConfig(epochs=12, learning_rate=0.3, decay_every=None, loss="sigmoid", batch_size=16, seed=5)


def vectors(n=80, classes=4):
    """Confident vectors of members, flat ones of non-members."""
    rng = np.random.default_rng(0)
    is_member = np.arange(n) % 2 == 0
    return np.float32(softmax(rng.normal(size=(n, classes)) * np.where(is_member, 9, 0.3)[:, None])), is_member


def test_member_probability():
    layers = toy_layers(5)
    probs = np.float32(softmax(3 * np.random.default_rng(0).normal(size=(40, 5))))
    g = DefenderClassifier.from_weights(layers).member_probability(probs)
    assert (g.shape, g.dtype) == ((40,), np.float32)
    np.testing.assert_allclose(g, 1 / (1 + np.exp(-membership_logits(layers, np.sort(probs, axis=1)))), atol=1e-5)
    assert 0.2 < (g > 0.5).mean() < 0.8
    np.testing.assert_array_equal(DefenderClassifier.from_weights(layers).member_probability(probs[:, ::-1]), g)


def test_weights_come_back():
    layers = toy_layers(5)
    for pair, other in zip(DefenderClassifier.from_weights(layers).weights(), layers, strict=True):
        np.testing.assert_array_equal(pair[0], other[0])
        np.testing.assert_array_equal(pair[1], other[1])


@pytest.mark.parametrize(
    "layers",
    [
        [],
        toy_layers(3)[-1:],
        toy_layers(3)[:-1],
        toy_layers(3)[::-1],
        [(w[0], b) for w, b in toy_layers(3)],
        [toy_layers(3)[0], (np.zeros((9, 1)), np.zeros(1))],
        [toy_layers(3)[0], (np.zeros((32, 1)), np.zeros(2))],
    ],
)
def test_weights_that_are_no_classifier(layers):
    with pytest.raises(InputError, match=r"^weights: expected"):
        DefenderClassifier.from_weights(layers)


@pytest.fixture(scope="module")
def fitted():
    epochs = []
    return fit_defender(*vectors(), config=SHORT, on_epoch=epochs.append), epochs


def test_fit_tells_members_apart(fitted):
    classifier, epochs = fitted
    probs, is_member = vectors()
    np.testing.assert_array_equal(classifier.member_probability(probs) > 0.5, is_member)
    assert [w.shape[0] for w, _ in classifier.weights()] == [4, 256, 128, 64]  # the published widths
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert epochs[-1].accuracy > 0.9


def test_fit_sorts_first(monkeypatch):
    seen = []
    monkeypatch.setattr("mindefense.defenses.classifier.train_classifier", lambda *args, **_: seen.append(args))
    probs, is_member = vectors()
    fit_defender(probs, is_member, config=SHORT)
    [(_, features, labels, config)] = seen
    np.testing.assert_array_equal(features, np.sort(probs, axis=1))
    np.testing.assert_array_equal(labels, is_member)
    assert config == SHORT


PROBS, IS_MEMBER = vectors(6)


@pytest.mark.parametrize(
    ("probs", "is_member", "words"),
    [
        (PROBS, np.ones(6, bool), "is_member: expected members and non-members, got only one kind"),
        (PROBS, np.zeros(6, bool), "is_member: expected members and non-members, got only one kind"),
        (PROBS, IS_MEMBER[:5], "is_member: expected one row for each of the 6 of probs, got 5"),
        (PROBS, IS_MEMBER.astype(int), "is_member: expected bool"),
        (PROBS[:0], IS_MEMBER[:0], "probs: expected at least one row"),
        (np.where(np.eye(6, 4) > 0, np.nan, PROBS), IS_MEMBER, "probs row 0: expected finite values"),
        (PROBS / 2, IS_MEMBER, "probs row 0: expected a sum of 1"),
        (np.log(PROBS), IS_MEMBER, "probs row 0: expected values ≥ 0, .* apply exp first"),
    ],
)
def test_fit_needs_confidence_vectors_of_both_kinds(probs, is_member, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        fit_defender(probs, is_member, config=SHORT)
    assert "\n" not in str(caught.value)


def test_fit_goes_on_from_a_checkpoint(tmp_path):
    class Stop(Exception):
        pass

    def stop(epoch):
        raise Stop

    few = TrainConfig(epochs=1, learning_rate=0.3, decay_every=None, loss="sigmoid", seed=5)
    path = tmp_path / "defender.ckpt"
    with pytest.raises(Stop):
        fit_defender(*vectors(), config=few, checkpoint=path, on_epoch=stop)
    seen = []
    again = fit_defender(*vectors(), config=few, checkpoint=path, resume=True, on_epoch=seen.append)
    assert seen == []  # it was done but for the last word
    assert again.member_probability(vectors()[0]).shape == (80,)
    with pytest.raises(CheckpointError, match=r"cannot be resumed: its .*train.* differ"):
        fit_defender(*vectors(), config=SHORT, checkpoint=path, resume=True)


@pytest.fixture(scope="module")
def owned():
    """A model that is sure of its members and of nothing else; its data and split."""
    rng = np.random.default_rng(2)
    n, classes = 120, 4
    labels = np.int32(rng.integers(classes, size=n))
    is_member = np.arange(n) < 60
    features = np.float32(
        np.eye(classes)[labels] * np.where(is_member, 9, 0.2)[:, None] + rng.normal(size=(n, classes)) / 9
    )
    net = MLP((classes, classes))
    net.load_weights([(np.eye(classes, dtype=np.float32), np.zeros(classes, np.float32))])
    rows = np.random.default_rng(0).permutation(n)
    members, others = rows[rows < 60], rows[rows >= 60]
    split = Split(
        target_members=members,
        target_non_members=others,
        defender_members=members[:40],
        defender_non_members=others[:30],
        eval_members=members[40:],
        eval_non_members=others[30:],
        attacker_members=others[:10],
        attacker_non_members=others[10:20],
        name="toy",
        permutation="seed 0",
    )
    return net, LabelledData("toy", features, labels, classes), split


def test_fit_defenmi(owned, tmp_path):
    net, data, split = owned
    config = DefenMIConfig(epsilon=1.0, max_iterations=50)
    epochs = []
    checkpoint = tmp_path / "defender.ckpt"
    defense = fit_defenmi(net, data, split, config=config, train=SHORT, checkpoint=checkpoint, on_epoch=epochs.append)
    assert defense.config == config
    assert len(epochs) == SHORT.epochs
    assert checkpoint.is_file()
    known = np.concatenate((split.defender_members, split.defender_non_members))
    logits = forward(net, data.features[known])
    np.testing.assert_allclose(defense.class_mean_probs, class_mean_probs(logits), atol=1e-6)
    # Nobody else's rows were looked at, and members were called members.
    assert (np.abs(defense.class_mean_probs - class_mean_probs(forward(net, data.features))) > 1e-4).any()
    for rows, is_member in ((split.eval_members, True), (split.eval_non_members, False)):
        g = defense.classifier().member_probability(np.float32(softmax(forward(net, data.features[rows]))))
        assert ((g > 0.5) == is_member).mean() > 0.9


def test_fit_defenmi_refuses_other_data(owned):
    _, data, split = owned
    with pytest.raises(InputError, match=r"^features: expected rows that the network takes") as caught:
        fit_defenmi(MLP((7, 4)), data, split, train=SHORT)
    assert "\n" not in str(caught.value)
