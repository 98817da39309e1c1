"""Fits a classifier to samples. Knows nothing about attacks or defenses.

Names are loaded when they are first used: worker processes import ``mindefense.training.dense`` and must not pay for
MindSpore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {
    "config": (
        "LOSSES",
        "PRIVATE_TARGET",
        "PUBLISHED_ATTACK",
        "PUBLISHED_DEFENDER",
        "PUBLISHED_TARGET",
        "PUBLISHED_VGG16",
        "SCHEDULES",
        "Epoch",
        "TrainConfig",
        "check_loss",
        "columns_of",
    ),
    "engines": ("make_optimizer", "trains_in_steps"),
    "fit": ("check_rows", "train_classifier"),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = [
    "LOSSES",
    "PRIVATE_TARGET",
    "PUBLISHED_ATTACK",
    "PUBLISHED_DEFENDER",
    "PUBLISHED_TARGET",
    "PUBLISHED_VGG16",
    "SCHEDULES",
    "Epoch",
    "TrainConfig",
    "check_loss",
    "check_rows",
    "columns_of",
    "make_optimizer",
    "train_classifier",
    "trains_in_steps",
]

if TYPE_CHECKING:
    from mindefense.training.config import (
        LOSSES,
        PRIVATE_TARGET,
        PUBLISHED_ATTACK,
        PUBLISHED_DEFENDER,
        PUBLISHED_TARGET,
        PUBLISHED_VGG16,
        SCHEDULES,
        Epoch,
        TrainConfig,
        check_loss,
        columns_of,
    )
    from mindefense.training.engines import make_optimizer, trains_in_steps
    from mindefense.training.fit import check_rows, train_classifier
