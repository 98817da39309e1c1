"""Presets: how the networks of a study are built, prepared and trained, one per architecture."""

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
from mindefense.training import PRIVATE_TARGET, PUBLISHED_TARGET, PUBLISHED_VGG16, TrainConfig

SMOKE_EPOCHS = 8
QUERY_BATCH = 512
"""Batch size of queries to an MLP; with 64, the throughput would be half."""
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
    """The properties of an architecture.

    Attributes:
        build: Function from a seed to a network with its start weights.
        architecture: Description of the architecture in checkpoints.
        prepare: Converts samples to the network's inputs; None if samples are inputs.
        train: Training settings of target and shadow model.
        fit_share: Share of the evaluation's rows that auditors are fitted on, 0 … 1.
        checkpoint_every: Epochs between two checkpoints.
        has_shadow: Whether the attacker trains a shadow model.
        query_batch: Batch size of queries.
        is_dense: Whether the network is an `MLP`, which many processes can train side by side on a CPU.
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
    """The published MLP for tables; arguments as in `preset_for`."""
    widths = (columns, *TARGET_WIDTHS, classes)
    return Preset(
        build=lambda seed: MLP(widths, seed=seed),
        architecture={"name": "mlp", "widths": list(widths)},
        prepare=None,
        train=_train(config, PUBLISHED_TARGET if config.epsilon is None else PRIVATE_TARGET),
        fit_share=0.5,
        checkpoint_every=50,
        has_shadow=True,
        query_batch=QUERY_BATCH,
        is_dense=True,
    )


def vgg16_preset(config: StudyConfig, columns: int, classes: int) -> Preset:
    """The tutorial's VGG16 for images; arguments as in `preset_for`."""
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
        config: Settings of the study.
        columns: Number of features of a row, for tables.
        classes: Number of classes C.

    Raises:
        InputError: If a setting is out of its range.
    """
    return MODELS[config.model].load()(config, columns, classes)


def _train(config: StudyConfig, published: TrainConfig) -> TrainConfig:
    chosen = {name: getattr(config, name) for name in _TRAINING if getattr(config, name) is not None}
    if config.epsilon is not None and config.batch_size == StudyConfig.batch_size:
        del chosen["batch_size"]  # it is the default of plain training
    if config.smoke and config.epochs is None:
        chosen["epochs"] = SMOKE_EPOCHS
    return dataclasses.replace(published, **chosen)
