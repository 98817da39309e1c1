"""Fits the classifier and the class means of defenses, on rows whose membership the defender knows."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from mindefense.confidence import softmax
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.defenses.registry import Parts
from mindefense.progress import Progress


def fitted_parts(
    logits: Callable[[], np.ndarray],
    is_member: np.ndarray,
    *,
    classes: int,
    seed: int,
    progress: Progress | bool | None = None,
) -> Parts:
    """The fitted parts of defenses. Each is fitted once, when a defense first needs it.

    Args:
        logits: Returns the ``(N, C)`` logits, or log-probabilities, of the rows to fit on.
        is_member: ``(N,)`` bool, True for rows that the target was trained on.
        classes: Number of classes C.
        seed: Seed of the evaluation. The classifier's seed is derived from it as in a study.
        progress: Progress display; see `progress_of`.
    """
    from mindefense.defenses.classifier import fit_defender
    from mindefense.defenses.defenmi import class_mean_probs
    from mindefense.training import PUBLISHED_DEFENDER

    @functools.cache
    def classifier() -> DefenderClassifier:
        config = dataclasses.replace(PUBLISHED_DEFENDER, seed=seed + 2)
        return fit_defender(softmax(logits()), is_member, config=config, progress=progress)

    return Parts(classifier, lambda: class_mean_probs(logits()), classes)
