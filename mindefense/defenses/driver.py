"""Defends confidence vectors with the search that DefenMI and MemGuard share, in NumPy, on all cores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from mindefense.defenses.search import Layers, SearchConfig, search
from mindefense.subprocesses import cores

_SMALL = 256
"""Fewer rows than this are not worth the cost of starting other processes."""
_NUDGE = np.float32(1 + 1e-6)
"""Added to the predicted class if rounding to float32 made it equal to another; large enough to survive a logarithm."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reshaped:
    """Defended confidence vectors and the cost of their search.

    Attributes:
        probs: ``(N, C)`` float32, in class order.
        rounds: ``(N,)`` int32 rounds of the search that succeeded; 0 if the fallback is the answer; -1 if the
            classifier was undecided at the start, so that the reference is the answer.
        passes: ``(N,)`` int32 passes through the classifier for each row.
        steps: Gradient steps over all rows.
    """

    probs: np.ndarray
    rounds: np.ndarray
    passes: np.ndarray
    steps: int


@dataclasses.dataclass(frozen=True, eq=False)
class Reshaper:
    """Classifier, settings and references of a search, without MindSpore, so that worker processes start fast.

    Attributes:
        layers: The defender's classifier, ``(W (in, out), b (out,))`` per layer.
        config: The search.
        class_means: ``(C, C)`` float32, row k the reference for predicted class k in class order (DefenMI), or None
            for the clean vector itself (MemGuard).
        aligned: Whether the reference is compared class by class. False reproduces the published program, which
            compares a vector in class order with a sorted one and can change labels if the search fails.

    If no round succeeds, the answer is the reference, as published. With a budget that may end the first round early,
    this may happen to many rows. MemGuard's reference is the clean vector, so that it would be revealed for exactly
    the rows that are hard to move. With such a budget, MemGuard's answer for these rows is therefore one fixed vector
    (`halfway`), and DefenMI's is the reference with the predicted class on top, whatever `aligned`.
    """

    layers: Layers
    config: SearchConfig
    class_means: np.ndarray | None
    aligned: bool

    def run(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Reshaped:
        """Reshapes all rows chunk by chunk, so that working memory does not grow with their number.

        Args:
            clean_probs: ``(N, C)`` float32 undefended confidence vectors.
            start_logits: ``(N, C)`` float32 logits from which the search starts, in any order of classes.
            workers: Processes; None for one per available core, 1 to stay in this one.
            on_progress: Called with the number of rows just finished.
        """
        n, classes = clean_probs.shape
        workers = min(workers or cores(), math.ceil(n / _SMALL)) or 1
        rows = min(math.ceil(n / workers), max(1024, min(8192, 2**22 // classes))) or 1
        slices = [slice(first, first + rows) for first in range(0, n, rows)]
        result = Reshaped(np.empty((n, classes), np.float32), np.empty(n, np.int32), np.empty(n, np.int32), 0)
        steps = 0
        for part, done in zip(slices, self._blocks(clean_probs, start_logits, slices, workers), strict=True):
            result.probs[part], result.rounds[part], result.passes[part] = done.probs, done.rounds, done.passes
            steps += done.steps
            if on_progress is not None:
                on_progress(len(done.rounds))
        return dataclasses.replace(result, steps=steps)

    def _blocks(self, clean_probs, start_logits, slices, workers):
        if workers == 1:
            return (self.block(clean_probs[part], start_logits[part]) for part in slices)
        # Processes, not threads: the arrays of a step are so small that threads spend their time handing over the
        # interpreter lock.
        from joblib import Parallel, delayed

        parallel = Parallel(workers, return_as="generator", max_nbytes=None, pre_dispatch="2*n_jobs")
        return parallel(delayed(self.block)(clean_probs[part], start_logits[part]) for part in slices)

    def block(self, clean_probs: np.ndarray, start_logits: np.ndarray) -> Reshaped:
        """Reshapes these rows on one core."""
        n, classes = clean_probs.shape
        rows = np.arange(n)[:, None]
        # Ascending; of equal values the lowest class comes last, so that the last class is the one argmax returns.
        order = classes - 1 - np.argsort(clean_probs[:, ::-1], axis=1, kind="stable")
        predicted = order[:, -1]
        if self.class_means is None:
            reference = clean_probs[rows, order]
        else:
            reference = self.class_means[predicted]
            if self.aligned:
                reference = _with_last_on_top(reference[rows, order])
        start = np.sort(start_logits, axis=1)
        found = search(start, reference, self.layers, self.config, pool=512)
        kept = np.where((found.rounds > 0)[:, None], found.probs, reference)
        if self.config.cuts_first_round:
            kept[found.rounds == 0] = self._cut_short(reference[found.rounds == 0])
        probs = np.empty_like(kept)
        probs[rows, order] = kept
        if self.aligned:
            put_on_top(probs, predicted)
        return Reshaped(probs, found.rounds, found.passes, found.steps)

    def _cut_short(self, references: np.ndarray) -> np.ndarray:
        """The answers for rows whose budget ended before a vector was found: they reveal only the predicted class."""
        if self.class_means is None:
            return np.tile(halfway(references.shape[1]), (len(references), 1))
        return _with_last_on_top(references)


def halfway(classes: int) -> np.ndarray:
    """The ``(C,)`` float32 mean of the one-hot vector of the last class and the uniform vector."""
    vector = np.full(classes, 0.5 / classes, np.float32)
    vector[-1] += 0.5
    return vector


def _with_last_on_top(vectors: np.ndarray) -> np.ndarray:
    """The vectors with their largest element swapped into the last position."""
    vectors = vectors.copy()
    top = vectors.argmax(axis=1)
    here = np.arange(len(vectors))
    vectors[here, top], vectors[:, -1] = vectors[:, -1].copy(), vectors[here, top]
    return vectors


def put_on_top(probs: np.ndarray, predicted: np.ndarray) -> None:
    """Puts the predicted class on top, in place.

    If another class is larger, the two values are swapped, which keeps the sum. The predicted class is then raised if
    its lead would not survive a logarithm in float32.

    Args:
        probs: ``(N, C)`` float32.
        predicted: ``(N,)`` predicted classes.
    """
    here = np.arange(len(probs))
    top = probs.argmax(axis=1)
    behind = np.flatnonzero(probs[here, predicted] * _NUDGE < probs[here, top])
    own, top = predicted[behind], top[behind]
    probs[behind, own], probs[behind, top] = probs[behind, top], probs[behind, own]
    own = probs[here, predicted]
    probs[here, predicted] = -1
    probs[here, predicted] = np.maximum(own, probs.max(axis=1) * _NUDGE)
