"""Differentially private descent (DP-SGD) for dense networks, in NumPy on one core.

The gradient of a dense layer for one row is the product of the layer's input and of the slope of its output, and its
norm the product of their norms. So gradients are clipped without computing them row by row, and a step costs about as
much as a plain one and its noise.
"""

from __future__ import annotations

import math
import secrets

import numpy as np

from mindefense.training.dense import DenseTask, Descent

_ROUNDING = 1 - 1e-5
"""Gradients are clipped to a little less than the clipping norm, which rounding must not exceed."""


def secret_generator() -> np.random.Generator:
    """A generator whose seed comes from the operating system's source of secrets, and is not stored."""
    return np.random.Generator(np.random.PCG64DXSM(secrets.randbits(256)))


def clip_factors(squares: np.ndarray, clip_norm: float) -> np.ndarray:
    """``(n,)`` float32 factors in 0 … 1 that scale gradients down to the clipping norm.

    Args:
        squares: ``(n,)`` squared L2 norms of the rows' gradients.
        clip_norm: The clipping norm, above 0.
    """
    norms = np.sqrt(squares.astype(np.float64))
    return np.minimum(1.0, _ROUNDING * clip_norm / np.maximum(norms, np.finfo(np.float64).tiny)).astype(np.float32)


class PrivateDescent(Descent):
    """Descent along sums of clipped gradients with Gaussian noise, over rows that are drawn independently.

    Each step draws every row with the probability batch size / N (Poisson sampling), clips the gradient of each row to
    `clip_norm`, adds noise with the standard deviation ``noise_multiplier · clip_norm`` to their sum, and divides by
    the batch size. `mindefense.training.accounting` computes what this guarantees. The losses and accuracies that
    `run` returns are computed from the rows without noise, and the guarantee does not cover them.

    Args:
        task: The training, of a network without branches.

    Source:
        Abadi et al., CCS 2016, algorithm 1; Goodfellow, arXiv:1510.01799 (norms of the rows' gradients).
    """

    def __init__(self, task: DenseTask):
        super().__init__(task)
        seed = task.noise_seed
        self._rng = secret_generator() if seed is None else np.random.Generator(np.random.PCG64DXSM(seed))

    def run(self, number: int) -> tuple[float, float]:
        """See `Descent.run`; an epoch has as many steps as plain descent, and draws each row once on average."""
        config, n = self._config, len(self._labels)
        batch = min(config.batch_size, n)
        steps = math.ceil(n / batch)
        total, correct, drawn = 0.0, 0, 0
        for rate in config.rates(number, steps):
            rows = np.flatnonzero(self._rng.random(n) < batch / n)
            loss, right = self._private_step(rows, rate / batch, rate)
            total, correct, drawn = total + loss * len(rows), correct + right, drawn + len(rows)
        return total / max(drawn, 1), correct / max(drawn, 1)

    def _private_step(self, rows: np.ndarray, scale: float, rate: float) -> tuple[float, int]:
        """Takes one step; returns mean loss of the rows and number of those classified correctly."""
        config, stack = self._config, self._last
        slopes = [np.zeros((0, weight.shape[1]), np.float32) for weight, _ in stack.layers]
        loss, correct = 0.0, 0
        if len(rows):
            logits = stack.forward(self._parts[0][rows])
            mean_loss, correct, slope = self._loss(logits, self._labels[rows], config.label_smoothing)
            loss, slopes = float(mean_loss), stack.slopes(slope)
            factors = clip_factors(self._squares(slopes), config.clip_norm)
            slopes = [slope * factors[:, None] for slope in slopes]
        deviation = np.float32(config.noise_multiplier * config.clip_norm)
        decay = np.float32(config.weight_decay * rate)
        for level, (weight, bias) in enumerate(stack.layers):
            change = self._rng.standard_normal(weight.shape, np.float32)
            change *= deviation
            bias_change = deviation * self._rng.standard_normal(bias.shape, np.float32)
            if len(rows):
                change += stack.values[level].T @ slopes[level]
                bias_change += slopes[level].sum(axis=0)
            change *= np.float32(scale)
            if decay:
                change += decay * weight
            weight -= change
            bias -= np.float32(scale) * bias_change
        return loss, correct

    def _squares(self, slopes: list[np.ndarray]) -> np.ndarray:
        """``(n,)`` squared norms of the rows' gradients over all layers, biases included."""
        squares = np.zeros(len(slopes[0]))
        for values, slope in zip(self._last.values, slopes, strict=True):
            squares += (np.einsum("ij,ij->i", values, values) + 1.0) * np.einsum("ij,ij->i", slope, slope)
        return squares
