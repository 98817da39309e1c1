"""`MLP`: the logits of a plain NumPy forward pass, and start weights that depend on the seed alone."""

import mindspore as ms
import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.models import MLP
from mindefense.models.mlp import ATTACK_WIDTHS, DEFENDER_WIDTHS, TARGET_WIDTHS

X = np.float32(np.random.default_rng(0).normal(size=(9, 6)))


@pytest.mark.parametrize("widths", [(6, 3), (6, 8, 3), [6, 20, 10, 5, 1]])
def test_logits(widths):
    net = MLP(widths, seed=4)
    x = np.float64(X)
    for k, (w, b) in enumerate(net.weights()):
        assert (w.shape, b.shape) == ((widths[k], widths[k + 1]), (widths[k + 1],))
        x = x @ w + b if k == len(widths) - 2 else np.maximum(x @ w + b, 0)
    logits = net(ms.Tensor(X)).asnumpy()
    assert (logits.shape, logits.dtype) == ((9, widths[-1]), np.float32)
    np.testing.assert_allclose(logits, x, atol=1e-5)


def test_published_widths():
    assert TARGET_WIDTHS == ATTACK_WIDTHS == (1024, 512, 256, 128)
    assert DEFENDER_WIDTHS == (256, 128, 64)


def test_start_weights_are_glorot_uniform():
    for (w, b), (fan_in, fan_out) in zip(MLP((300, 200, 100)).weights(), ((300, 200), (200, 100)), strict=True):
        bound = np.sqrt(6 / (fan_in + fan_out))
        assert np.abs(w).max() <= bound * (1 + 1e-6)
        assert np.abs(w).max() > 0.99 * bound
        assert w.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)
        assert abs(w.mean()) < 0.02 * bound
        assert not b.any()


def equal(one, other):
    return all(np.array_equal(x, y) for pair in zip(one, other, strict=True) for x, y in zip(*pair, strict=True))


def test_start_weights_depend_on_the_seed_alone():
    first = MLP((6, 5, 2), seed=1).weights()
    ms.set_seed(99)
    np.random.seed(99)
    MLP((6, 9), seed=2)
    assert equal(MLP((6, 5, 2), seed=1).weights(), first)
    assert not equal(MLP((6, 5, 2), seed=2).weights(), first)


def test_weights_are_copies():
    net = MLP((6, 5, 2))
    net.weights()[0][0][:] = 0
    net.weights()[0][1][:] = 7
    assert equal(net.weights(), MLP((6, 5, 2)).weights())


def test_load_weights():
    one, other = MLP((6, 5, 2), seed=1), MLP((6, 5, 2), seed=2)
    other.load_weights([(np.float64(w), b + 1) for w, b in one.weights()])
    assert equal(other.weights(), [(w, b + 1) for w, b in one.weights()])
    assert not np.array_equal(one(ms.Tensor(X)).asnumpy(), other(ms.Tensor(X)).asnumpy())


@pytest.mark.parametrize(
    "weights",
    [
        [],
        MLP((6, 5)).weights(),
        MLP((6, 5, 5, 2)).weights(),
        MLP((6, 4, 2)).weights(),
        [(w.T, b) for w, b in MLP((6, 5, 2)).weights()],
        [(w, b[:, None]) for w, b in MLP((6, 5, 2)).weights()],
    ],
)
def test_load_weights_of_another_network(weights):
    net = MLP((6, 5, 2), seed=1)
    with pytest.raises(
        InputError, match=r"^weights: expected shapes \[\(\(6, 5\), \(5,\)\), \(\(5, 2\), \(2,\)\)\], got"
    ):
        net.load_weights(weights)
    assert equal(net.weights(), MLP((6, 5, 2), seed=1).weights())


@pytest.mark.parametrize("widths", [(), (6,), (6, 0), (0, 2), (6, -1, 2)])
def test_bad_widths(widths):
    with pytest.raises(InputError, match=r"^widths: expected two or more numbers of at least 1, got"):
        MLP(widths)


def test_names_stay_when_the_network_is_used():
    # Slicing a CellList renames the parameters of the slice, and checkpoints go by names.
    net = MLP((6, 5, 4, 2))
    before = [parameter.name for parameter in net.get_parameters()]
    net(ms.Tensor(X))
    assert [parameter.name for parameter in net.get_parameters()] == before
    assert before[:2] == ["layers.0.weight", "layers.0.bias"]
