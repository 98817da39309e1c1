"""Conversions between logits, log-probabilities and probabilities. Needs only NumPy."""

from __future__ import annotations

import numpy as np

LOWEST_PROB = 1e-30
"""Smaller probabilities are replaced by this one before a logarithm, so that the result is at least about -69."""


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """``(N, C)`` float32 log-probabilities of ``(N, C)`` logits."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """``(N, C)`` float32 probabilities of ``(N, C)`` logits or log-probabilities."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def log_probs(probs: np.ndarray) -> np.ndarray:
    """``(N, C)`` float32 log-probabilities of ``(N, C)`` probabilities, at least log `LOWEST_PROB`."""
    return np.log(np.maximum(probs, np.float32(LOWEST_PROB))).astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Float32 probabilities of membership logits of any shape, computed without overflow."""
    return (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)
