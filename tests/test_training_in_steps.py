"""`train_classifier` step by step, as momentum and images need it: against plain NumPy, and interrupted."""

import dataclasses
import shutil

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from rows_to_learn import CLASSES, FEATURES, FLAGS, RNG, Interrupted, identical, smooth

from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.images import ImageTransform
from mindefense.models import MLP, vgg16
from mindefense.targets.cell import forward
from mindefense.training import Epoch, TrainConfig, train_classifier


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
