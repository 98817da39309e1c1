"""MemGuard (Jia, Salem, Backes, Zhang & Gong, CCS 2019)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mindefense.defenses.base import DefenseConfig, SearchDefense
from mindefense.defenses.classifier import DefenderClassifier, classifier_layers


@dataclasses.dataclass(frozen=True)
class MemGuardConfig(DefenseConfig):
    """The search of MemGuard: weights up to 1e5, seven rounds."""

    threshold: float = 1e5


class MemGuard(SearchDefense):
    """Moves each confidence vector until the defender's classifier is undecided, staying near the clean vector.

    Jia et al. 2019, phase I (section 4.2, eqs. 5-8). Phase II, which returns the clean vector with some probability,
    is in `MemGuardBudget`.

    Args:
        classifier: The defender's membership classifier.
        config: The search. Since the reference is the clean vector, its alignment matters only for ties.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. Rows of probabilities are non-negative, sum to 1 and keep the
        predicted class.

    Supported Platforms:
        ``CPU``
    """

    name = "memguard"

    def __init__(self, classifier: DefenderClassifier, config: MemGuardConfig | None = None):
        super().__init__(classifier, config or MemGuardConfig(), None)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> MemGuard:
        """The defense with these `settings` and `arrays`."""
        return cls(DefenderClassifier.from_weights(classifier_layers(dict(arrays))), MemGuardConfig(**settings))
