"""Logits, log-probabilities and probabilities: three words for three things, and the ways between them (NumPy)."""

from __future__ import annotations

import numpy as np

LOWEST_PROB = 1e-30
"""Probabilities are raised to this before a logarithm, so that log-probabilities stay finite (about -69)."""


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """``(N, C)`` logits → ``(N, C)`` float32 log-probabilities."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """``(N, C)`` logits or log-probabilities → ``(N, C)`` float32 probabilities."""
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def log_probs(probs: np.ndarray) -> np.ndarray:
    """``(N, C)`` probabilities → ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`."""
    return np.log(np.maximum(probs, np.float32(LOWEST_PROB))).astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Membership logits → probabilities in float32, without overflow."""
    return (0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))).astype(np.float32)
