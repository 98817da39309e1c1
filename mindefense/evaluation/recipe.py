"""How the networks of a study are built, fed and trained, and on which rows: one recipe a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mindspore import nn

from mindefense.data import (
    Split,
    load_dataset,
    make_cifar_like,
    make_location_like,
    parts_split,
    published_split,
    read_row_numbers,
    split_from_config,
)
from mindefense.errors import DataError
from mindefense.evaluation.config import SYNTHETIC, StudyConfig
from mindefense.images import ImageTransform
from mindefense.models.mlp import MLP, TARGET_WIDTHS
from mindefense.models.vgg import vgg16
from mindefense.targets.base import Preparation
from mindefense.training import PUBLISHED_TARGET, PUBLISHED_VGG16, TrainConfig
from mindefense.types import LabelledData

SMOKE_EPOCHS = 8
QUERY_BATCH = 512
"""Rows of a table that an MLP is asked about at a time; in steps of 64 it would answer half as many a second."""
_SMOKE_SCALE = 0.2
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
class Recipe:
    """What is particular to a model.

    Attributes:
        build: Seed → network on its start weights.
        architecture: What the checkpoints say of it.
        prepare: Makes the network's inputs of samples; None if they are the inputs.
        train: How target and shadow are trained.
        fit_share: Share of the evaluation's rows that auditors are fitted on.
        checkpoint_every: Epochs between two checkpoints.
        has_shadow: Whether an attacker trains a shadow of it.
        query_batch: Samples that it is asked about at a time.
    """

    build: Callable[[int], nn.Cell]
    architecture: dict[str, Any]
    prepare: Preparation | None
    train: TrainConfig
    fit_share: float
    checkpoint_every: int
    has_shadow: bool
    query_batch: int


def recipe_for(config: StudyConfig, *, columns: int, classes: int) -> Recipe:
    """The recipe of the study's model.

    Args:
        config: The study.
        columns: Features of a row, for a table.
        classes: Number of classes C.

    Raises:
        InputError: If a setting is out of its range.
    """
    if config.model == "vgg16":
        sizes = {
            "num_classes": classes,
            "image_size": config.pixels,
            "batch_norm": True,
            "width_multiplier": config.width_multiplier,
        }
        return Recipe(
            build=lambda seed: vgg16(**sizes, seed=seed),
            architecture={"name": "vgg16", **sizes},
            prepare=ImageTransform(config.pixels),
            train=_train(config, dataclasses.replace(PUBLISHED_VGG16, augment=config.augment)),
            fit_share=0.8,  # the tutorial's
            checkpoint_every=1,
            has_shadow=False,
            query_batch=config.batch_size,
        )
    widths = (columns, *TARGET_WIDTHS, classes)
    return Recipe(
        build=lambda seed: MLP(widths, seed=seed),
        architecture={"name": "mlp", "widths": list(widths)},
        prepare=None,
        train=_train(config, PUBLISHED_TARGET),
        fit_share=0.5,
        checkpoint_every=50,
        has_shadow=True,
        query_batch=QUERY_BATCH,
    )


def load_data(config: StudyConfig) -> LabelledData:
    """The study's data set.

    Raises:
        DataError: If it is missing, damaged, or not of the kind that the model takes.
    """
    if config.dataset == SYNTHETIC:
        return (
            make_cifar_like(config.seed, train=600, test=300)
            if config.model == "vgg16"
            else make_location_like(config.seed)
        )
    assert config.data_path is not None
    data = load_dataset(config.dataset, config.data_path)
    if config.model == "mlp" and data.features.ndim != 2:
        raise DataError(f"{data.name} features", expected="one row of features a sample", got=str(data.features.shape))
    return data


def split_data(config: StudyConfig, data: LabelledData) -> Split:
    """Who gets which rows.

    Raises:
        InputError: If the data have too few rows.
        DataError: If the ranges cannot be read.
    """
    if config.model == "vgg16":
        members = config.members
        if isinstance(members, str):
            members = read_row_numbers(members, rows=None if data.parts is None else len(data.parts["train"]))
        split = parts_split(data, members=members, num_samples=config.num_samples)
        few = len(split.eval_members) if config.smoke else None
        return dataclasses.replace(
            split,
            defender_members=split.defender_members[:few],
            defender_non_members=split.defender_non_members[:few],
        )
    if config.split_config is not None:
        section = config.split_section or config.dataset
        split = split_from_config(config.split_config, section, data, seed=config.seed)
    else:
        split = published_split(data, seed=config.seed)
    if not config.smoke:
        return split
    roles = {name: rows for name, rows in vars(split).items() if isinstance(rows, np.ndarray)}
    few = {name: rows[: max(1, round(_SMOKE_SCALE * len(rows)))] for name, rows in roles.items()}
    return dataclasses.replace(split, name=f"{split.name} × {_SMOKE_SCALE:g}", **few)


def roles_in_words(config: StudyConfig, data: LabelledData, split: Split) -> tuple[str, ...]:
    """Which rows of images are taken for members and for non-members, a sentence each."""
    assert data.parts is not None
    all_rows, target, judged = len(data.parts["train"]), len(split.target_members), len(split.eval_members)
    train, test = "the training part", "the test part"
    if not data.synthetic:
        train, test = f"{train} (train.bin)", f"{test} (test.bin)"
    members = f"all {target:,} rows of {train}" if target == all_rows else f"the first {target:,} rows of {train}"
    if isinstance(config.members, str):
        members = f"the {target:,} rows of {train} that {Path(config.members).name} lists"
    others = f"non-members: rows of {test}; the first {judged:,} are judged"
    if rest := all_rows - target:
        others += f"; the other {rest:,} rows of {train} are not, a defense is fitted on them"
    return f"members: {members}; the first {judged:,} of them are judged", others


def _train(config: StudyConfig, published: TrainConfig) -> TrainConfig:
    chosen = {name: getattr(config, name) for name in _TRAINING if getattr(config, name) is not None}
    if config.smoke and config.epochs is None:
        chosen["epochs"] = SMOKE_EPOCHS
    return dataclasses.replace(published, **chosen)
