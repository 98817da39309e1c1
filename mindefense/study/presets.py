"""How the networks of a study are built, fed and trained: one preset per architecture."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from mindspore import nn

from mindefense.images import ImageTransform
from mindefense.models.mlp import MLP, TARGET_WIDTHS
from mindefense.models.vgg import vgg16
from mindefense.study.config import StudyConfig
from mindefense.study.registry import MODELS
from mindefense.targets.base import Identity, InputTransform
from mindefense.training import PUBLISHED_TARGET, PUBLISHED_VGG16, TrainConfig

SMOKE_EPOCHS = 8
QUERY_BATCH = 512
"""Rows of a table that an MLP is asked about at a time; in steps of 64 it would answer half as many a second."""
_TRAINING = (
    "epochs",
    "learning_rate",
    "schedule",
    "warmup_epochs",
    "until_accuracy",
    "weight_decay",
    "label_smoothing",
    "batch_size",
)
"""Settings of a study that replace those of its model's published training."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """What is particular to an architecture.

    Attributes:
        build: Seed → network on its start weights.
        architecture: What the checkpoints say of it.
        prepare: Makes the network's inputs of samples; None if they are the inputs.
        train: How target and shadow are trained.
        fit_share: Share of the evaluation's rows that auditors are fitted on.
        checkpoint_every: Epochs between two checkpoints.
        has_shadow: Whether an attacker trains a shadow of it.
        query_batch: Samples that it is asked about at a time.
        is_dense: Whether its network is an `MLP`, which many processes can train side by side on a CPU.
    """

    build: Callable[[int], nn.Cell]
    architecture: dict[str, Any]
    prepare: InputTransform | None
    train: TrainConfig
    fit_share: float
    checkpoint_every: int
    has_shadow: bool
    query_batch: int
    is_dense: bool

    def input_shape(self, samples: np.ndarray) -> tuple[int, ...]:
        """Shape of one input, after preparation, for ``(N, ...)`` samples."""
        return next((self.prepare or Identity()).batches(samples[:1], 1)).shape[1:]


def mlp_preset(config: StudyConfig, columns: int, classes: int) -> Preset:
    """The published MLP for tables; arguments as of `preset_for`."""
    widths = (columns, *TARGET_WIDTHS, classes)
    return Preset(
        build=lambda seed: MLP(widths, seed=seed),
        architecture={"name": "mlp", "widths": list(widths)},
        prepare=None,
        train=_train(config, PUBLISHED_TARGET),
        fit_share=0.5,
        checkpoint_every=50,
        has_shadow=True,
        query_batch=QUERY_BATCH,
        is_dense=True,
    )


def vgg16_preset(config: StudyConfig, columns: int, classes: int) -> Preset:
    """The tutorial's VGG16 for images; arguments as of `preset_for`."""
    sizes = {
        "num_classes": classes,
        "image_size": config.pixels,
        "batch_norm": True,
        "width_multiplier": config.width_multiplier,
    }
    return Preset(
        build=lambda seed: vgg16(**sizes, seed=seed),
        architecture={"name": "vgg16", **sizes},
        prepare=ImageTransform(config.pixels),
        train=_train(config, dataclasses.replace(PUBLISHED_VGG16, augment=config.augment)),
        fit_share=0.8,  # the tutorial's
        checkpoint_every=1,
        has_shadow=False,
        query_batch=config.batch_size,
        is_dense=False,
    )


def preset_for(config: StudyConfig, *, columns: int, classes: int) -> Preset:
    """The preset of the study's model.

    Args:
        config: The study.
        columns: Features of a row, for a table.
        classes: Number of classes C.

    Raises:
        InputError: If a setting is out of its range.
    """
    return MODELS[config.model].load()(config, columns, classes)


def _train(config: StudyConfig, published: TrainConfig) -> TrainConfig:
    chosen = {name: getattr(config, name) for name in _TRAINING if getattr(config, name) is not None}
    if config.smoke and config.epochs is None:
        chosen["epochs"] = SMOKE_EPOCHS
    return dataclasses.replace(published, **chosen)
