"""`vgg16`: the tutorial's names and shapes, and the logits of a plain NumPy forward pass."""

import doctest

import mindspore as ms
import numpy as np
import pytest

from mindefense.checkpoint import parameters_of
from mindefense.errors import InputError
from mindefense.models import VGG16, vgg, vgg16

PLAN = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
CONVOLUTIONS = (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40)  # each with its batch normalization right after
BARE_CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
IMAGES = np.float32(np.random.default_rng(0).normal(size=(3, 3, 32, 32)))


def table(classes, size, *, width=1.0, batch_norm=True):
    """Name → shape of every parameter in the tutorial's checkpoint."""
    shapes, channels = {}, 3
    positions = iter(CONVOLUTIONS if batch_norm else BARE_CONVOLUTIONS)
    for step in PLAN:
        if step == "M":
            continue
        at, out = next(positions), int(step * width)
        shapes[f"layers.{at}.weight"] = (out, channels, 3, 3)
        if batch_norm:
            names = ("moving_mean", "moving_variance", "gamma", "beta")
            shapes |= {f"layers.{at + 1}.{name}": (out,) for name in names}
        channels = out
    units = (channels * (size // 32) ** 2, int(4096 * width), int(4096 * width), classes)
    for at, fan_in, fan_out in zip((0, 3, 6), units[:-1], units[1:], strict=True):
        shapes |= {f"classifier.{at}.weight": (fan_out, fan_in), f"classifier.{at}.bias": (fan_out,)}
    return shapes


def shapes_of(net):
    return {parameter.name: parameter.shape for parameter in net.get_parameters()}


def tiny(classes=5, size=32, **settings):
    return vgg16(classes, size, **{"width_multiplier": 1 / 16, **settings})


def test_names_and_shapes_at_full_width():
    # At 32 pixels: at 224 the first dense layer alone takes 400 MB.
    shapes = shapes_of(vgg16(100, 32))
    assert shapes == table(100, 32)
    assert shapes["layers.0.weight"] == (64, 3, 3, 3)
    assert shapes["classifier.0.weight"] == (4096, 512)
    assert shapes["classifier.6.weight"] == (100, 4096)
    assert len(shapes) == 13 * 5 + 3 * 2


@pytest.mark.parametrize(
    ("classes", "size", "settings"),
    [
        (100, 224, {}),
        (10, 64, {}),
        (2, 32, {"width_multiplier": 1 / 8}),
        (100, 224, {"batch_norm": False}),
        (100, 32, {"dropout": 0.5}),
    ],
)
def test_names_and_shapes_of_variants(classes, size, settings):
    wanted = table(
        classes, size, width=settings.get("width_multiplier", 1 / 16), batch_norm=settings.get("batch_norm", True)
    )
    net = tiny(classes, size, **settings)
    assert shapes_of(net) == wanted
    assert (net.num_classes, net.image_size, net.batch_norm) == (classes, size, settings.get("batch_norm", True))
    assert (net.dropout, net.width_multiplier) == (
        settings.get("dropout", 0.0),
        settings.get("width_multiplier", 1 / 16),
    )


@pytest.mark.parametrize(("size", "inputs"), [(32, 512), (64, 2048), (224, 25_088)])
def test_inputs_of_the_first_dense_layer(size, inputs):
    assert tiny(size=size).classifier[0].weight.shape[1] * 16 == inputs


def test_defaults_are_those_of_the_tutorial(monkeypatch):
    built = {}
    monkeypatch.setattr(
        vgg, "VGG16", lambda classes, size, **rest: built.update(rest, num_classes=classes, image_size=size)
    )
    vgg16()
    assert built == {
        "num_classes": 100,
        "image_size": 224,
        "batch_norm": True,
        "dropout": 0.0,
        "width_multiplier": 1.0,
        "seed": 0,
    }


def test_widths_never_fall_to_nothing():
    shapes = shapes_of(tiny(width_multiplier=1e-9))
    assert shapes["layers.0.weight"] == (1, 3, 3, 3)
    assert shapes["classifier.6.weight"] == (5, 1)


def equal(one, other):
    return all(np.array_equal(array, other[name]) for name, array in one.items())


def test_start_weights_depend_on_the_seed_alone():
    first = parameters_of(tiny(seed=1))
    ms.set_seed(99)
    np.random.seed(99)
    tiny(seed=2)
    assert equal(parameters_of(tiny(seed=1)), first)
    other = parameters_of(tiny(seed=2))
    for name in first:
        assert np.array_equal(first[name], other[name]) != name.endswith("weight")


def test_start_weights_are_glorot_uniform():
    for name, array in parameters_of(tiny(100, width_multiplier=1 / 8)).items():
        if name.endswith("weight"):
            window = array[0, 0].size if array.ndim == 4 else 1
            bound = np.sqrt(6 / (window * (array.shape[0] + array.shape[1])))
            assert 0.95 * bound < np.abs(array).max() <= bound * (1 + 1e-6)
            assert array.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)
        else:
            assert (array == (1 if name.endswith(("gamma", "moving_variance")) else 0)).all()


def by_hand(parameters, x, *, batch_norm):
    """A forward pass of a trained network in float64."""
    p = {name: np.float64(array) for name, array in parameters.items()}
    x = np.float64(x)
    positions = iter(CONVOLUTIONS if batch_norm else BARE_CONVOLUTIONS)
    for step in PLAN:
        if step == "M":
            n, c, h, w = x.shape
            x = x.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))
            continue
        at = next(positions)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        x = np.einsum("nchwij,ocij->nohw", windows, p[f"layers.{at}.weight"], optimize=True)
        if batch_norm:
            names = ("moving_mean", "moving_variance", "gamma", "beta")
            mean, variance, gamma, beta = (p[f"layers.{at + 1}.{name}"][:, None, None] for name in names)
            x = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
        x = np.maximum(x, 0)
    x = x.reshape(len(x), -1)
    for at in (0, 3, 6):
        x = x @ p[f"classifier.{at}.weight"].T + p[f"classifier.{at}.bias"]
        x = x if at == 6 else np.maximum(x, 0)
    return x


@pytest.mark.parametrize(("size", "batch_norm"), [(32, True), (64, False)])
def test_logits(size, batch_norm):
    rng = np.random.default_rng(4)
    net = tiny(size=size, batch_norm=batch_norm, dropout=0.5)
    for parameter in net.get_parameters():
        if parameter.name.endswith("weight"):  # so large that an image is not lost on its way through
            parameter.set_data(parameter.value() * 2)
        else:  # as after a training: no statistic, scale or bias at 0 or 1
            low, high = (0.5, 1.5) if parameter.name.endswith(("gamma", "variance")) else (-0.2, 0.2)
            parameter.set_data(ms.Tensor(np.float32(rng.uniform(low, high, parameter.shape))))
    images = np.float32(rng.normal(size=(3, 3, size, size)))
    net.set_train(False)
    logits = net(ms.Tensor(images)).asnumpy()
    expected = by_hand(parameters_of(net), images, batch_norm=batch_norm)
    assert (logits.shape, logits.dtype) == ((3, 5), np.float32)
    assert expected.std(axis=0).min() > 0.01  # the images make a difference
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dropout_is_for_training(dropout):
    net = tiny(dropout=dropout)
    x = ms.Tensor(IMAGES)

    def twice(training):
        net.set_train(training)
        return net(x).asnumpy(), net(x).asnumpy()

    # In training, batch normalization goes by the batch alone, so that two calls differ by dropout only.
    one, other = twice(True)
    assert np.array_equal(one, other) == (dropout == 0)
    one, other = twice(False)
    assert np.array_equal(one, other)


def test_dropout_is_the_share_left_out():
    net = tiny(dropout=0.75)
    net.set_train(True)
    for at in (2, 5):
        through = net.classifier[at](ms.Tensor(np.ones((100, 100), np.float32))).asnumpy()
        assert (through == 0).mean() == pytest.approx(0.75, abs=0.03)
        assert through.max() == pytest.approx(4)


def test_the_last_dropout_stands_before_the_last_layer():
    # A logit is what the last dense layer says, never one that was dropped.
    net = tiny(dropout=0.9)
    net.classifier[6].bias.set_data(ms.Tensor(np.full(5, 7, np.float32)))
    net.set_train(True)
    assert (net(ms.Tensor(IMAGES)).asnumpy() != 0).all()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *(("num_classes", bad, "a whole number of at least 2") for bad in (1, 0, -3, 2.5, "ten", None)),
        *(("image_size", bad, "a multiple of 32, for five halvings") for bad in (0, -32, 16, 33, 48, 225, 32.0, "32")),
        *(("dropout", bad, r"a share in \[0, 1\)") for bad in (1.0, -0.1, 1, float("nan"))),
        *(("width_multiplier", bad, r"a share in \(0, 1\]") for bad in (0, -0.5, 1.01, float("nan"))),
    ],
)
def test_bad_arguments(name, value, words):
    with pytest.raises(InputError, match=f"^{name}: expected {words}, got {value!r}$"):
        vgg16(**{name: value})


def test_whole_numbers_of_numpy_are_whole_numbers():
    net = tiny(np.int64(7), np.int32(32))
    assert net(ms.Tensor(IMAGES)).shape == (3, 7)
    assert type(net) is VGG16


def test_examples_in_docstrings_hold():
    results = doctest.testmod(vgg, optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    assert results.attempted > 0
    assert results.failed == 0
