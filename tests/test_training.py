"""`train_classifier` against plain NumPy, and interrupted. Few fits: each compiles a graph."""

import contextlib
import dataclasses
import json
import shutil

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError, OutputError
from mindefense.images import ImageTransform
from mindefense.models import MLP, vgg16
from mindefense.targets.cell import forward
from mindefense.training import (
    PUBLISHED_ATTACK,
    PUBLISHED_DEFENDER,
    PUBLISHED_TARGET,
    PUBLISHED_VGG16,
    Epoch,
    TrainConfig,
    train_classifier,
)

RNG = np.random.default_rng(0)
FEATURES = np.float32(RNG.normal(size=(22, 5)))
CLASSES = np.int32(RNG.integers(3, size=22))
FLAGS = CLASSES > 0


def smooth(labels, config):
    """The distribution that the network is to learn, for three classes."""
    return (1 - config.label_smoothing) * np.eye(3)[labels] + config.label_smoothing / 3


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


class Interrupted(Exception):
    pass


LONG = TrainConfig(epochs=5, learning_rate=0.3, decay_every=3, batch_size=8, seed=7, weight_decay=0.01)


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


def identical(one, other):
    return all(np.array_equal(one[name], other[name]) for name in one)


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


@pytest.mark.parametrize(
    ("config", "train", "agrees"),
    [
        (LONG, dataclasses.asdict(LONG), True),
        (
            LONG,
            {"epochs": 5, "learning_rate": 0.3, "decay_every": 3, "batch_size": 8, "seed": 7, "weight_decay": 0.01},
            True,
        ),
        (LONG, dataclasses.asdict(LONG) | {"seed": 8}, False),
        (LONG, dataclasses.asdict(LONG) | {"later": 1}, False),
        (dataclasses.replace(LONG, label_smoothing=0.1), dataclasses.asdict(LONG), False),
        (TrainConfig(), None, False),
        (TrainConfig(), "as usual", False),
    ],
)
def test_described(config, train, agrees):
    assert config.is_described_by(train) == agrees


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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("batch_size", 0),
        ("decay_every", 0),
        ("decay_every", -3),
        *(("learning_rate", bad) for bad in (0.0, -0.1, float("nan"), float("inf"))),
        ("loss", "hinge"),
        ("loss", ""),
        ("seed", -1),
        ("epochs", 1.5),
        ("batch_size", 0.5 + 1),
        ("schedule", "linear"),
        ("schedule", ""),
        ("warmup_epochs", -1),
        ("warmup_epochs", 0.5),
        *(("momentum", bad) for bad in (1.0, 1, -0.1, float("nan"))),
        *(("weight_decay", bad) for bad in (-1e-9, float("inf"), float("nan"))),
        *(("until_accuracy", bad) for bad in (0, 0.0, -0.5, 1.01, float("nan"))),
        *(("label_smoothing", bad) for bad in (1.0, 1, -0.1, float("nan"))),
    ],
)
def test_bad_config(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected .*, got {value!r}"):
        TrainConfig(**{name: value})


def test_only_classes_are_smoothed():
    with pytest.raises(InputError, match=r"^label_smoothing: expected 0 with loss 'sigmoid', got 0\.1; smooth"):
        TrainConfig(loss="sigmoid", label_smoothing=0.1)


@pytest.mark.parametrize(
    ("decay_every", "epoch", "rate"),
    [
        (150, 0, 0.01),
        (150, 149, 0.01),
        (150, 150, 1e-3),
        (150, 299, 1e-3),
        (150, 300, 1e-4),
        (None, 999, 0.01),
        (1, 2, 1e-4),
    ],
)
def test_rate(decay_every, epoch, rate):
    assert TrainConfig(learning_rate=0.01, decay_every=decay_every).rates(epoch, 3) == pytest.approx([rate] * 3)


@pytest.mark.parametrize(
    ("settings", "epoch", "rates"),
    [
        # 0.4 · (1 + cos t) / 2 at t = 0, π/4, π/2, 3π/4.
        ({"schedule": "cosine", "epochs": 2}, 0, [0.4, 0.34142136]),
        ({"schedule": "cosine", "epochs": 2}, 1, [0.2, 0.05857864]),
        ({"schedule": "cosine", "epochs": 2, "decay_every": 1}, 1, [0.2, 0.05857864]),
        ({"warmup_epochs": 2}, 0, [0.1, 0.2]),
        ({"warmup_epochs": 2}, 1, [0.3, 0.4]),
        ({"warmup_epochs": 2}, 2, [0.4, 0.4]),
        ({"warmup_epochs": 2, "decay_every": 1}, 1, [0.03, 0.04]),
        ({"warmup_epochs": 2, "decay_every": 1}, 3, [0.0004, 0.0004]),
        ({"warmup_epochs": 1, "schedule": "cosine", "epochs": 2}, 0, [0.2, 0.34142136]),
        ({"warmup_epochs": 1, "schedule": "cosine", "epochs": 2}, 1, [0.2, 0.05857864]),
    ],
)
def test_schedules(settings, epoch, rates):
    got = TrainConfig(learning_rate=0.4, **settings).rates(epoch, 2)
    assert (got.shape, got.dtype) == ((2,), np.float64)
    np.testing.assert_allclose(got, rates, rtol=1e-6)


def test_a_cosine_ends_near_nothing():
    config = TrainConfig(epochs=10, learning_rate=0.4, schedule="cosine")
    rates = np.concatenate([config.rates(epoch, 50) for epoch in range(10)])
    assert (np.diff(rates) < 0).all()
    assert (rates[0], 0 < rates[-1] < 1e-5) == (0.4, True)


@pytest.mark.parametrize(
    ("accuracies", "until", "ends"),
    [
        ([], None, False),
        ([1.0], None, False),
        ([0.1, 0.1, 0.1], None, True),
        ([], 0.5, False),
        ([0.49], 0.5, False),
        ([0.5], 0.5, True),
        ([0.6, 0.4], 0.5, False),
        ([0.1, 0.1, 0.1], 0.5, True),
    ],
)
def test_when_a_training_ends(accuracies, until, ends):
    history = [Epoch(number, 3, 1.0, accuracy) for number, accuracy in enumerate(accuracies, 1)]
    assert TrainConfig(epochs=3, until_accuracy=until).ends(history) == ends


def test_published_settings():
    assert dataclasses.astuple(PUBLISHED_TARGET)[:5] == (200, 0.01, 150, 64, "softmax")
    assert dataclasses.astuple(PUBLISHED_DEFENDER)[:5] == (400, 0.001, None, 64, "sigmoid")
    assert dataclasses.astuple(PUBLISHED_ATTACK)[:5] == (400, 0.01, 300, 64, "sigmoid")
    assert dataclasses.asdict(PUBLISHED_VGG16) == {
        "epochs": 100,
        "learning_rate": 0.01,
        "decay_every": 30,
        "batch_size": 64,
        "loss": "softmax",
        "seed": 0,
        "schedule": "step",
        "warmup_epochs": 5,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "augment": False,
        "until_accuracy": None,
        "label_smoothing": 0.0,
        "noise_multiplier": 0.0,
        "clip_norm": 1.0,
    }


class Scaled:
    """Bytes as numbers from 0 to 1; keeps what it was asked for."""

    def __init__(self):
        self.asked = []

    def batches(self, samples, batch_size, *, order=None, augment_seed=None):
        order = np.arange(len(samples)) if order is None else order
        self.asked.append((order.tolist(), batch_size, augment_seed))
        for first in range(0, len(order), batch_size):
            yield np.float32(samples[order[first : first + batch_size]]) / 255


MOMENTUM = TrainConfig(
    epochs=2,
    learning_rate=0.5,
    batch_size=8,
    seed=3,
    schedule="cosine",
    warmup_epochs=1,
    momentum=0.9,
    weight_decay=0.05,
    label_smoothing=0.3,
)
# Of 22 rows and batches of 8: 0.5 · (1 + cos t) / 2 at t = 0, π/4, π/2, 3π/4, the first one on its way up.
MOMENTUM_RATES = [[0.25, 0.4267767], [0.25, 0.0732233]]


def heavy_ball(w, b, features, labels, config):
    """What gradient descent with momentum makes of a linear network's weights, and each epoch's loss and accuracy."""
    w, b, features = np.float64(w), np.float64(b), np.float64(features)
    v, u = np.zeros_like(w), np.zeros_like(b)
    figures = []
    for epoch, rates in enumerate(MOMENTUM_RATES):
        order = np.random.default_rng((config.seed, epoch)).permutation(len(labels))
        losses, right = [], 0
        for step, rate in enumerate(rates):
            rows = order[8 * step : 8 * step + 8]
            z = features[rows] @ w + b
            if config.loss == "softmax":
                p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
                truth = smooth(labels[rows], config)
                right += (z.argmax(axis=1) == labels[rows]).sum()
                losses.append(-(np.log(p) * truth).sum(axis=1).mean())
            else:
                p, truth = 1 / (1 + np.exp(-z)), labels[rows][:, None].astype(float)
                right += ((z > 0) == truth).sum()
                losses.append(-np.log(np.where(truth == 1, p, 1 - p)).mean())
            slope = (p - truth) / 8
            v = config.momentum * v + features[rows].T @ slope + config.weight_decay * w
            u = config.momentum * u + slope.sum(axis=0)
            w, b = w - rate * v, b - rate * u
        figures.append((np.mean(losses), right / 16))
    return w, b, figures


def agree(history, figures):
    assert len(history) == len(figures)
    for epoch, (loss, accuracy) in zip(history, figures, strict=True):
        assert epoch.loss == pytest.approx(loss, abs=1e-5)
        assert epoch.accuracy == pytest.approx(accuracy, abs=1e-6)


def test_momentum_agrees_with_numpy():
    # A layer on its own, whose parameters are called no more than weight and bias; the last six rows sit out.
    net = nn.Dense(5, 3, bias_init="ones")
    start = parameters_of(net)["weight"].T.copy()
    w, b, figures = heavy_ball(start, np.ones(3), FEATURES, CLASSES, MOMENTUM)
    agree(train_classifier(net, FEATURES, CLASSES, MOMENTUM), figures)
    np.testing.assert_allclose(net.weight.asnumpy().T, w, atol=1e-5)
    np.testing.assert_allclose(net.bias.asnumpy(), b, atol=1e-5)
    assert not net.training


def test_prepared_rows_agree_with_numpy():
    config = dataclasses.replace(MOMENTUM, loss="sigmoid", label_smoothing=0, augment=True)
    rows = RNG.integers(256, size=(22, 5), dtype=np.uint8)
    net, prepare = MLP((5, 1), seed=1), Scaled()
    (start,) = net.weights()
    w, b, figures = heavy_ball(*start, rows / 255, FLAGS, config)
    agree(train_classifier(net, rows, FLAGS, config, prepare=prepare), figures)
    np.testing.assert_allclose(net.weights()[0][0], w, atol=1e-5)
    np.testing.assert_allclose(net.weights()[0][1], b, atol=1e-5)
    (_, *_, unvaried), *epochs = prepare.asked  # the first is a look at one row
    assert unvaried is None
    orders = [np.random.default_rng((3, epoch)).permutation(22)[:16].tolist() for epoch in (0, 1)]
    assert [(order, size) for order, size, _ in epochs] == [(order, 8) for order in orders]
    assert len({seed for *_, seed in epochs} - {None}) == 2


@pytest.mark.parametrize(("outside", "momentum"), [(ms.PYNATIVE_MODE, 0.0), (ms.GRAPH_MODE, 0.9)])
def test_decay_spares_biases_and_normalization(outside, momentum):
    # A last layer of zeros gives the others no slope, so that what moves them is decay alone.
    before = ms.get_context("mode")
    weight = np.float32(np.random.default_rng(1).normal(size=(4, 5)))
    first = nn.Dense(5, 4, weight_init=ms.Tensor(weight), bias_init="ones")
    last = nn.Dense(4, 3, weight_init="zeros", has_bias=False)
    norm = nn.BatchNorm1d(4, beta_init="ones")
    config = TrainConfig(epochs=1, learning_rate=0.1, momentum=momentum, weight_decay=0.5)
    modes = []
    try:
        ms.set_context(mode=outside)
        train_classifier(
            nn.SequentialCell(first, norm, last),
            FEATURES,
            CLASSES,
            config,
            on_epoch=lambda _: modes.append(ms.get_context("mode")),
        )
        assert modes == [ms.get_context("mode")] == [outside]
    finally:
        ms.set_context(mode=before)
    np.testing.assert_allclose(first.weight.asnumpy(), weight * np.float32(0.95), rtol=1e-6)
    for spared in (first.bias, norm.gamma, norm.beta):
        np.testing.assert_array_equal(spared.asnumpy(), 1)
    assert (norm.moving_mean.asnumpy() != 0).all()
    assert (last.weight.asnumpy() != 0).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_only_images_are_varied(momentum):
    config = TrainConfig(epochs=1, augment=True, momentum=momentum)
    with pytest.raises(InputError, match=r"^augment: expected images, to crop and flip, got samples of another kind"):
        train_classifier(MLP((5, 3)), FEATURES, CLASSES, config)


def test_a_loss_that_explodes_on_momentum(tmp_path):
    config = TrainConfig(epochs=9, learning_rate=1e30, decay_every=None, batch_size=8, momentum=0.9)
    mode = ms.get_context("mode")
    with pytest.raises(InputError, match=r"^the loss became (nan|inf) in epoch \d.*; use a learning rate below 1e\+30"):
        train_classifier(MLP((5, 4, 3)), FEATURES, CLASSES, config, checkpoint=tmp_path / "net.ckpt")
    assert ms.get_context("mode") == mode
    assert not list(tmp_path.iterdir())


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


STATE = {
    "optimizer.global_step",
    "optimizer.learning_rate",
    "optimizer.momentum",
    "optimizer.moments.layers.0.weight",
    "optimizer.moments.layers.0.bias",
}


def test_momentum_is_not_resumed_without_what_it_remembers(tmp_path):
    path = tmp_path / "net.ckpt"

    def stop(_):
        raise Interrupted

    with pytest.raises(Interrupted):
        train_classifier(MLP((5, 3)), FEATURES, CLASSES, MOMENTUM, checkpoint=path, checkpoint_every=1, on_epoch=stop)
    held = load_checkpoint(path)
    assert held.state.keys() == STATE
    for name in STATE:
        for state in (
            {k: v for k, v in held.state.items() if k != name},
            held.state | {name: np.zeros(7, np.float32)},
        ):
            save_checkpoint(path, held.parameters | state, held.description)
            short = name.removeprefix("optimizer.")
            with pytest.raises(
                CheckpointError, match=f"^{path} cannot be resumed: it lacks the optimizer's {short}; start afresh$"
            ):
                train_classifier(MLP((5, 3)), FEATURES, CLASSES, MOMENTUM, checkpoint=path, resume=True)


PHOTOS = dataclasses.replace(
    MOMENTUM, epochs=6, learning_rate=0.02, batch_size=16, weight_decay=5e-4, label_smoothing=0.0, augment=True
)
KINDS = np.arange(52) % 4
IMAGES = np.clip(RNG.normal(128, 40, size=(52, 3, 32, 32)), 0, 255).astype(np.uint8)
IMAGES[KINDS < 2, 0] //= 4
IMAGES[KINDS % 2 == 0, 2] //= 4


@dataclasses.dataclass
class Photographed:
    """A training on images: its network, history, checkpoint, and the file that it left in the middle."""

    net: nn.Cell
    history: tuple[Epoch, ...]
    path: object
    halfway: object


@pytest.fixture(scope="module")
def photographed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographed")
    path, halfway = folder / "net.ckpt", folder / "halfway.ckpt"

    def keep(epoch):
        if epoch.number == 3:  # what a run that is killed now would leave
            shutil.copy(path, halfway)

    net = vgg16(4, 32, width_multiplier=0.125, seed=1)
    history = train_classifier(
        net, IMAGES, KINDS, PHOTOS, prepare=ImageTransform(32), checkpoint=path, checkpoint_every=3, on_epoch=keep
    )
    return Photographed(net, history, path, halfway)


def test_vgg16_learns_images(photographed):
    assert len(photographed.history) == 6
    logits = forward(photographed.net, IMAGES, prepare=ImageTransform(32), batch_size=52)
    assert (logits.argmax(axis=1) == KINDS).mean() > 0.6  # of four classes
    assert photographed.history[-1].accuracy > 0.8
    assert not photographed.net.training


def test_only_an_unfinished_training_keeps_the_optimizer(photographed):
    halfway, whole = load_checkpoint(photographed.halfway), load_checkpoint(photographed.path)
    moments = {f"optimizer.moments.{p.name}" for p in photographed.net.trainable_params()}
    assert halfway.state.keys() == moments | {"optimizer.global_step", "optimizer.learning_rate", "optimizer.momentum"}
    assert whole.state == {}
    wanted = parameters_of(photographed.net)
    assert halfway.parameters.keys() == whole.parameters.keys() == wanted.keys()
    assert identical(whole.parameters, wanted)


def test_an_interruption_leaves_no_trace_on_momentum(photographed):
    net, seen = vgg16(4, 32, width_multiplier=0.125, seed=2), []
    again = train_classifier(
        net,
        IMAGES,
        KINDS,
        PHOTOS,
        prepare=ImageTransform(32),
        checkpoint=photographed.halfway,
        resume=True,
        on_epoch=seen.append,
    )
    assert [epoch.number for epoch in seen] == [4, 5, 6]
    assert again == photographed.history
    assert identical(parameters_of(net), parameters_of(photographed.net))
