"""Fits a classifier Cell to samples. Knows nothing about attacks or defenses."""

from mindefense.training.config import (
    LOSSES,
    PUBLISHED_ATTACK,
    PUBLISHED_DEFENDER,
    PUBLISHED_TARGET,
    PUBLISHED_VGG16,
    SCHEDULES,
    Epoch,
    TrainConfig,
)
from mindefense.training.engines import make_optimizer, trains_in_steps
from mindefense.training.fit import check_loss, check_rows, train_classifier

__all__ = [
    "LOSSES",
    "PUBLISHED_ATTACK",
    "PUBLISHED_DEFENDER",
    "PUBLISHED_TARGET",
    "PUBLISHED_VGG16",
    "SCHEDULES",
    "Epoch",
    "TrainConfig",
    "check_loss",
    "check_rows",
    "make_optimizer",
    "train_classifier",
    "trains_in_steps",
]
