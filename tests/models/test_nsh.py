"""`NSH`: the logits of a plain NumPy forward pass through both branches, and start weights of the seed alone."""

import mindspore as ms
import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.models import NSH, architecture_of
from mindefense.models.nsh import nsh_inputs

CLASSES = 5
PROBS = np.random.default_rng(0).dirichlet(np.ones(CLASSES), 7)
LABELS = np.array([0, 4, 2, 2, 1, 3, 0])


def parameters(net):
    return {parameter.name: parameter.asnumpy() for parameter in net.get_parameters()}


def dense(x, weights, branch, layers):
    for level in range(layers):
        x = x @ weights[f"{branch}.layers.{level}.weight"].T + weights[f"{branch}.layers.{level}.bias"]
        x = np.maximum(x, 0) if (branch, level) != ("joint", 2) else x
    return x


def test_logits():
    net = NSH(CLASSES, seed=4)
    rng = np.random.default_rng(1)
    for parameter in net.get_parameters():  # biases too, which start at 0
        if parameter.name.endswith("bias"):
            parameter.set_data(ms.Tensor(rng.normal(0, 0.1, parameter.shape).astype(np.float32)))
    weights = parameters(net)
    one_hot = np.eye(CLASSES)[LABELS]
    branches = dense(PROBS, weights, "confidence", 3), dense(one_hot, weights, "label", 2)
    wanted = dense(np.concatenate(branches, axis=1), weights, "joint", 3)
    logits = net(ms.Tensor(np.concatenate((PROBS, one_hot), axis=1).astype(np.float32))).asnumpy()
    assert (logits.shape, logits.dtype) == ((7, 1), np.float32)
    np.testing.assert_allclose(logits, wanted, atol=1e-5)


def test_published_widths():
    shapes = {name: value.shape for name, value in parameters(NSH(30)).items() if name.endswith("weight")}
    assert list(shapes.values()) == [
        *((1024, 30), (512, 1024), (64, 512)),
        *((512, 30), (64, 512)),
        *((256, 128), (64, 256), (1, 64)),
    ]
    assert architecture_of(shapes) is None  # no chain of layers


def test_start_weights_are_glorot_uniform_and_of_the_seed_alone():
    first = parameters(NSH(CLASSES, seed=1))
    ms.set_seed(99)
    NSH(3, seed=2)
    again, other = parameters(NSH(CLASSES, seed=1)), parameters(NSH(CLASSES, seed=2))
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)
        if name.endswith("bias"):
            assert not value.any()
        else:
            assert (other[name] != value).any()
            bound = np.sqrt(6 / sum(value.shape))
            assert 0.9 * bound < np.abs(value).max() <= bound * (1 + 1e-6)
    parts = [first[f"{branch}.layers.0.weight"].ravel()[:9] for branch in ("confidence", "label", "joint")]
    assert not np.allclose(parts[0] / parts[0][0], parts[1] / parts[1][0])  # not one stream three times
    assert not np.allclose(parts[1] / parts[1][0], parts[2] / parts[2][0])


def test_inputs():
    inputs = nsh_inputs(PROBS, LABELS)
    assert (inputs.shape, inputs.dtype) == ((7, 2 * CLASSES), np.float32)
    np.testing.assert_allclose(inputs[:, :CLASSES], PROBS * np.sqrt(CLASSES), rtol=1e-6)
    np.testing.assert_allclose(inputs[:, CLASSES:], np.eye(CLASSES)[LABELS] * np.sqrt(CLASSES), rtol=1e-6)
    np.testing.assert_allclose((inputs[:, CLASSES:] ** 2).mean(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("classes", [0, -1])
def test_no_class(classes):
    with pytest.raises(InputError, match=r"^classes: expected at least 1, got"):
        NSH(classes)
