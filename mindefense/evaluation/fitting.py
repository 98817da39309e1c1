"""What defenses are built of, fitted on rows whose membership the defender knows."""

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
    """The parts of defenses; each is fitted once, when a defense asks for it.

    Args:
        logits: Gives the ``(N, C)`` logits, or log-probabilities, of the rows to fit on.
        is_member: ``(N,)`` bool, which of them the target was trained on.
        classes: Number of classes C.
        seed: Of the evaluation; the classifier has the seed that a study's has.
        progress: Told how the training goes; see `mindefense.progress.progress_of`.
    """
    from mindefense.defenses.classifier import fit_defender
    from mindefense.defenses.defenmi import class_mean_probs
    from mindefense.training import PUBLISHED_DEFENDER

    @functools.cache
    def classifier() -> DefenderClassifier:
        config = dataclasses.replace(PUBLISHED_DEFENDER, seed=seed + 2)
        return fit_defender(softmax(logits()), is_member, config=config, progress=progress)

    return Parts(classifier, lambda: class_mean_probs(logits()), classes)
