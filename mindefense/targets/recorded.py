"""Recorded answers as a model, whose samples are row numbers of the recording. Needs only NumPy."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from mindefense.confidence import softmax
from mindefense.keyed_noise import KeyedNoise
from mindefense.targets.base import Model


class RecordedModel(Model):
    """A model whose answers to some samples were recorded.

    A defense can be applied to it. The answers to noised inputs are not available, so that a search starts from the
    clean answer. The random numbers of a defense are a function of the answer instead of the sample.

    Args:
        log_probs: ``(N, C)`` log-probabilities or logits; a sample is a row number.
        sha256: Digest of the recording, hex; None if there is no file.
    """

    kind = "recorded outputs"

    def __init__(self, log_probs: np.ndarray, *, sha256: str | None = None):
        super().__init__()
        self._log_probs, self._sha256 = log_probs, sha256

    def ask(
        self, samples: np.ndarray, *, noise: KeyedNoise | None = None, on_rows: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """``(n, C)`` answers to these rows; noise has no effect."""
        if on_rows is not None:
            on_rows(len(samples))
        return self._log_probs[samples]

    def batches(self, samples: np.ndarray) -> Iterator[np.ndarray]:
        """The confidence vectors, since the inputs are not known."""
        yield softmax(self._log_probs[samples])
