"""`train_classifier` against plain NumPy, and interrupted. Few fits: each compiles a graph."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
from rows_to_learn import CLASSES, FEATURES, FLAGS, LONG, Interrupted, identical, smooth

from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError, OutputError
from mindefense.models import MLP
from mindefense.training import Epoch, TrainConfig, train_classifier


def sgd(weights, features, labels, config):
    """What plain stochastic gradient descent makes of the weights, and each epoch's loss and accuracy."""
    weights = [[np.float64(w), np.float64(b)] for w, b in weights]
    figures = []
    for epoch in range(config.epochs):
        rate = config.learning_rate * (0.1 ** (epoch // config.decay_every) if config.decay_every else 1)
        order = np.random.default_rng((config.seed, epoch)).permutation(len(labels))
        losses, right = [], 0
        for first in range(0, len(order), config.batch_size):
            rows = order[first : first + config.batch_size]
            inputs = [np.float64(features[rows])]
            for w, b in weights[:-1]:
                inputs.append(np.maximum(inputs[-1] @ w + b, 0))
            z = inputs[-1] @ weights[-1][0] + weights[-1][1]
            if config.loss == "softmax":
                p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
                truth = smooth(labels[rows], config)
                right += (z.argmax(axis=1) == labels[rows]).sum()
                losses.append(-(np.log(p) * truth).sum(axis=1).mean())
            else:
                p, truth = 1 / (1 + np.exp(-z)), labels[rows][:, None].astype(float)
                right += ((z > 0) == truth).sum()
                losses.append(-np.log(np.where(truth == 1, p, 1 - p)).mean())
            slope = (p - truth) / len(rows)
            for k in range(len(weights) - 1, -1, -1):
                w, b = weights[k]
                by_w, by_b = inputs[k].T @ slope, slope.sum(axis=0)
                slope = (slope @ w.T) * (inputs[k] > 0)
                weights[k] = [w - rate * (by_w + config.weight_decay * w), b - rate * by_b]
        figures.append((np.mean(losses), right / len(labels)))
    return weights, figures


@pytest.mark.parametrize(
    ("loss", "labels", "outputs", "settings"),
    [("softmax", CLASSES, 3, {"label_smoothing": 0.3, "weight_decay": 0.1}), ("sigmoid", FLAGS, 1, {})],
)
def test_agrees_with_numpy(loss, labels, outputs, settings):
    # 22 rows: two whole batches and one of six; the third epoch is after the decay.
    config = TrainConfig(epochs=3, learning_rate=0.7, decay_every=2, batch_size=8, loss=loss, seed=3, **settings)
    net = MLP((5, 8, outputs), seed=1)
    weights, figures = sgd(net.weights(), FEATURES, labels, config)
    seen, modes = [], []
    history = train_classifier(
        net, FEATURES, labels, config, on_epoch=lambda epoch: (seen.append(epoch), modes.append(net.training))
    )
    assert list(history) == seen
    assert (modes, net.training) == ([True] * 3, False)
    assert [(epoch.number, epoch.of) for epoch in history] == [(1, 3), (2, 3), (3, 3)]
    for epoch, (expected_loss, expected_accuracy) in zip(history, figures, strict=True):
        assert epoch.loss == pytest.approx(expected_loss, abs=1e-4)
        assert epoch.accuracy == pytest.approx(expected_accuracy, abs=1e-6)
    for (w, b), (expected_w, expected_b) in zip(net.weights(), weights, strict=True):
        np.testing.assert_allclose(w, expected_w, atol=1e-4)
        np.testing.assert_allclose(b, expected_b, atol=1e-4)


def test_a_margin_of_zero():
    # Rows of zeros and a network without biases, or hidden units that are all off.
    net = MLP((2, 1))
    train_classifier(net, np.zeros((1, 2), np.float32), np.array([0]), TrainConfig(1, learning_rate=1, loss="sigmoid"))
    np.testing.assert_allclose(net.weights()[0][1], [-0.5])


@pytest.mark.parametrize(("loss", "outputs"), [("softmax", 2), ("sigmoid", 1)])
def test_learns_what_can_be_learned(loss, outputs):
    # One batch larger than the data, and labels and features of other types than the loss works with.
    config = TrainConfig(epochs=60, learning_rate=1.0, decay_every=None, batch_size=64, loss=loss)
    labels = FEATURES[:, 0] > 0
    history = train_classifier(
        MLP((5, 8, outputs)), np.float64(FEATURES + np.sign(FEATURES)), labels.astype(np.int64), config
    )
    assert history[-1].accuracy == 1
    assert history[-1].loss < 0.1 < history[0].loss


@dataclasses.dataclass
class Run:
    """One training: its network, history, the epochs it was told of, and its checkpoint."""

    net: MLP
    history: tuple[Epoch, ...]
    seen: list[Epoch]
    path: object


def run(path, config=LONG, *, stop_after=None, resume=False):
    seen = []

    def on_epoch(epoch):
        seen.append(epoch)
        if epoch.number == stop_after:
            raise Interrupted

    net = MLP((5, 4, 3), seed=1)
    history = ()
    with contextlib.suppress(Interrupted):
        history = train_classifier(
            net,
            FEATURES,
            CLASSES,
            config,
            checkpoint=path,
            checkpoint_every=2,
            resume=resume,
            description={"kind": "toy", "data": "sha-256 of it"},
            on_epoch=on_epoch,
        )
    return Run(net, history, seen, path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole") / "net.ckpt")


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Stopped in its third epoch, one after its last checkpoint, and resumed."""
    path = tmp_path_factory.mktemp("interrupted") / "net.ckpt"
    first = run(path, stop_after=3)
    assert len(json.loads(path.with_suffix(".json").read_text())["history"]["loss"]) == 2
    return first, run(path, resume=True)


def test_an_interruption_leaves_no_trace(whole, interrupted):
    first, second = interrupted
    assert [epoch.number for epoch in first.seen] == [1, 2, 3]
    assert [epoch.number for epoch in second.seen] == [3, 4, 5]
    assert second.history == whole.history
    assert len(whole.history) == 5
    assert identical(parameters_of(second.net), parameters_of(whole.net))


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_small_batches_are_for_one_process_to_choose(batch_size):
    config = TrainConfig(epochs=1, batch_size=batch_size, momentum=0.9)
    assert len(train_classifier(MLP((5, 4, 3)), FEATURES[:5], CLASSES[:5], config)) == 1


def test_same_seed_same_weights(whole, interrupted):
    assert interrupted[0].seen == list(whole.history[:3])


def test_another_seed_gives_other_weights(whole, tmp_path):
    other = run(tmp_path / "net.ckpt", dataclasses.replace(LONG, seed=8, epochs=1))
    assert other.history[0].loss != whole.history[0].loss


def test_a_checkpoint_says_what_it_holds(whole):
    held = load_checkpoint(whole.path)
    assert identical(held.parameters, parameters_of(whole.net))
    assert held.description == {
        "kind": "toy",
        "data": "sha-256 of it",
        "train": dataclasses.asdict(LONG),
        "history": {
            "loss": [epoch.loss for epoch in whole.history],
            "accuracy": [epoch.accuracy for epoch in whole.history],
        },
    }


def test_a_finished_run_resumes_to_its_end(whole):
    again = run(whole.path, resume=True)
    assert again.history == whole.history
    assert again.seen == []
    assert identical(parameters_of(again.net), parameters_of(whole.net))


def test_other_versions_may_resume(whole):
    described = {"kind": "toy", "data": "sha-256 of it", "versions": {"mindspore": "9.9"}}
    net = MLP((5, 4, 3), seed=1)
    history = train_classifier(net, FEATURES, CLASSES, LONG, checkpoint=whole.path, resume=True, description=described)
    assert history == whole.history


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (dataclasses.replace(LONG, learning_rate=0.2), {}, r"its train differ from"),
        (dataclasses.replace(LONG, epochs=6), {}, r"its train differ from"),
        (LONG, {"data": "another"}, r"its data differ from"),
        (LONG, {"data": "another", "kind": "other"}, r"its kind, data differ from|its data, kind differ from"),
        (LONG, {"more": 1}, r"its more differ from"),
    ],
)
def test_another_run_cannot_be_resumed(whole, config, changes, words):
    net = MLP((5, 4, 3), seed=2)
    described = {"kind": "toy", "data": "sha-256 of it", **changes}
    with pytest.raises(CheckpointError, match=f"net.ckpt cannot be resumed: ({words}) this run's") as caught:
        train_classifier(net, FEATURES, CLASSES, config, checkpoint=whole.path, resume=True, description=described)
    assert "\n" not in str(caught.value)
    assert identical(parameters_of(net), parameters_of(MLP((5, 4, 3), seed=2)))


def test_another_network_cannot_be_resumed(whole):
    with pytest.raises(
        CheckpointError, match=r"does not fit this network .*mis-shaped: layers.0.weight \(4, 5\) instead"
    ):
        train_classifier(MLP((5, 6, 3)), FEATURES, CLASSES, LONG, checkpoint=whole.path, resume=True)


def test_a_checkpoint_without_settings_that_came_later_is_resumed(whole, tmp_path):
    held = load_checkpoint(whole.path)
    older = {name: value for name, value in held.description["train"].items() if name != "label_smoothing"}
    path = tmp_path / "net.ckpt"
    save_checkpoint(path, held.parameters, {**held.description, "train": older})
    assert run(path, resume=True).history == whole.history
    with pytest.raises(CheckpointError, match="its train differ from"):
        run(path, dataclasses.replace(LONG, label_smoothing=0.1), resume=True)


def test_an_optimizer_is_not_left_behind(whole, tmp_path):
    # What a training with decay kept while it still went step by step.
    held = load_checkpoint(whole.path)
    history = {name: column[:2] for name, column in held.description["history"].items()}
    state = {"optimizer.global_step": np.zeros(1, np.int32)}
    path = tmp_path / "net.ckpt"
    save_checkpoint(path, held.parameters | state, {**held.description, "history": history})
    with pytest.raises(CheckpointError, match=r"cannot be resumed: it keeps an optimizer; start afresh$"):
        run(path, resume=True)


def test_a_foreign_checkpoint_cannot_be_resumed(tmp_path):
    save_checkpoint(tmp_path / "net.ckpt", parameters_of(MLP((5, 4, 3))), {})
    with pytest.raises(CheckpointError, match="its kind, data, train differ"):
        run(tmp_path / "net.ckpt", resume=True)


def test_a_checkpoint_without_history_cannot_be_resumed(tmp_path):
    described = {"kind": "toy", "data": "sha-256 of it", "train": dataclasses.asdict(LONG)}
    save_checkpoint(tmp_path / "net.ckpt", parameters_of(MLP((5, 4, 3))), described)
    with pytest.raises(CheckpointError, match="cannot be resumed"):
        run(tmp_path / "net.ckpt", resume=True)


def test_descriptions_may_hold_tuples(tmp_path):
    described = {"widths": (5, 4, 3)}
    held = {**described, "train": dataclasses.asdict(LONG), "history": {"loss": [0.5] * 5, "accuracy": [0.5] * 5}}
    save_checkpoint(tmp_path / "net.ckpt", parameters_of(MLP((5, 4, 3))), held)
    train_classifier(
        MLP((5, 4, 3)),
        FEATURES,
        CLASSES,
        LONG,
        checkpoint=tmp_path / "net.ckpt",
        resume=True,
        description=described,
    )


@pytest.mark.parametrize(
    ("features", "labels", "words"),
    [
        (FEATURES, CLASSES[:-1], r"labels: expected one per row \(22, at least 1\), got 21"),
        (FEATURES[:0], CLASSES[:0], r"labels: expected one per row \(0, at least 1\), got 0"),
        (
            np.where(np.eye(22, 5) > 0, np.nan, FEATURES),
            CLASSES,
            "features: expected finite numbers, got NaN or infinity",
        ),
        (
            np.where(np.eye(22, 5) > 0, np.inf, FEATURES),
            CLASSES,
            "features: expected finite numbers, got NaN or infinity",
        ),
    ],
)
def test_bad_data(features, labels, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        train_classifier(MLP((5, 4, 3)), features, labels, LONG)
    assert "\n" not in str(caught.value)


def test_labels_are_classes_of_the_network():
    with pytest.raises(InputError, match=r"^labels"):
        train_classifier(MLP((5, 3)), FEATURES, CLASSES + 1, TrainConfig(epochs=1))


def test_features_fit_the_network(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # MindSpore drops rank_0/om/analyze_fail.ir where it stands
    with pytest.raises(InputError, match=r"^features"):
        train_classifier(MLP((6, 3)), FEATURES, CLASSES, TrainConfig(epochs=1))


def test_a_loss_that_explodes(tmp_path):
    config = TrainConfig(epochs=9, learning_rate=1e30, decay_every=None, batch_size=8)
    seen = []
    with pytest.raises(InputError, match=r"^the loss became (nan|inf) in epoch \d.*; use a learning rate below 1e\+30"):
        train_classifier(
            MLP((5, 4, 3)), FEATURES, CLASSES, config, checkpoint=tmp_path / "net.ckpt", on_epoch=seen.append
        )
    assert not list(tmp_path.iterdir())
    assert len(seen) < 9


def test_a_checkpoint_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*net.ckpt"):
        train_classifier(
            MLP((5, 3)), FEATURES, CLASSES, TrainConfig(epochs=1), checkpoint=tmp_path / "file" / "net.ckpt"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_until_accuracy(tmp_path):
    path = tmp_path / "net.ckpt"
    config = TrainConfig(epochs=60, learning_rate=1.0, decay_every=None, batch_size=8, until_accuracy=0.9)
    features, labels = FEATURES + np.sign(FEATURES), FEATURES[:, 0] > 0
    history = train_classifier(MLP((5, 8, 2)), features, labels, config, checkpoint=path)
    assert 1 < len(history) < 60
    assert history[-1].accuracy >= 0.9 > max(epoch.accuracy for epoch in history[:-1])
    assert {epoch.of for epoch in history} == {60}
    net, seen = MLP((5, 8, 2), seed=9), []
    again = train_classifier(net, features, labels, config, checkpoint=path, resume=True, on_epoch=seen.append)
    assert (again, seen, net.training) == (history, [], False)
    assert identical(parameters_of(net), load_checkpoint(path).parameters)
