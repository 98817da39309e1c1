"""Logits, log-probabilities and probabilities against float64, at the edges too."""

import numpy as np
import pytest

from mindefense.confidence import LOWEST_PROB, log_probs, log_softmax, sigmoid, softmax

LOGITS = {
    "ordinary": np.random.default_rng(0).normal(size=(50, 7)) * 3,
    "huge": np.array([[1e4, 0, -1e4], [-1e38, 1e38, 0], [200, 200, -200]]),
    "equal": np.zeros((2, 5)),
    "far from zero": np.array([[1e6, 1e6 + 1], [-1e6, -1e6 + 1]]),
    "one class": np.array([[3.0], [-3.0]]),
    "no rows": np.zeros((0, 4)),
}
each = pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS)


def exact(logits):
    shifted = np.longdouble(logits) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax(logits, dtype):
    logits = logits.astype(dtype)
    probs = softmax(logits)
    assert (probs.shape, probs.dtype) == (logits.shape, np.float32)
    np.testing.assert_allclose(probs, np.exp(exact(logits)), rtol=2e-7, atol=1e-37)
    np.testing.assert_allclose(probs.sum(axis=1), 1, atol=1e-6)


@each
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_log_softmax(logits, dtype):
    logits = logits.astype(dtype)
    result = log_softmax(logits)
    assert (result.shape, result.dtype) == (logits.shape, np.float32)
    np.testing.assert_allclose(result, np.float64(exact(logits)), rtol=2e-7, atol=1e-9)


def test_log_softmax_leaves_log_probabilities_as_they_are():
    once = log_softmax(LOGITS["ordinary"])
    np.testing.assert_allclose(log_softmax(once), once, atol=1e-6)
    np.testing.assert_allclose(softmax(once), softmax(LOGITS["ordinary"]), atol=1e-6)


def test_log_probs():
    probs = np.float32([[1.0, 0.0], [0.75, 0.25], [1.0, 1e-35]])
    result = log_probs(probs)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    np.testing.assert_allclose(
        result, [[0, np.log(LOWEST_PROB)], np.log([0.75, 0.25]), [0, np.log(LOWEST_PROB)]], rtol=1e-6
    )
    assert result.min() == pytest.approx(-69.08, abs=0.01)


def test_sigmoid():
    logits = np.float32([-1e30, -100, -20, -1, 0, 1e-7, 1, 20, 100, 1e30])
    g = sigmoid(logits)
    assert g.dtype == np.float32
    with np.errstate(over="ignore"):
        expected = 1 / (1 + np.exp(-np.float64(logits)))
    np.testing.assert_allclose(g, expected, atol=1e-7)
    assert (np.diff(g) >= 0).all()
    assert (g[0], g[4], g[-1]) == (0, 0.5, 1)
