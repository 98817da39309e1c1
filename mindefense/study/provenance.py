"""The recorded origin of a study's files, by which unfinished and stale files are recognized."""

from __future__ import annotations

import os
from typing import Any

from mindefense.checkpoint import Checkpoint, load_checkpoint
from mindefense.errors import CheckpointError
from mindefense.models.architecture import vgg16_sizes
from mindefense.study.registry import IMAGES, MODELS


def check_finished(held: Checkpoint, fix: str) -> None:
    """Raises CheckpointError if a training was interrupted after this checkpoint."""
    accuracies = held.description.get("history", {}).get("accuracy", ())
    train = held.description.get("train", {})
    done, epochs = len(accuracies), train.get("epochs", 0)
    until = train.get("until_accuracy")
    if done < epochs and (until is None or not done or accuracies[-1] < until):
        raise CheckpointError(f"{held.path}: the training stopped after epoch {done} of {epochs}", fix=fix)


def settings_of(checkpoint: str | os.PathLike) -> dict[str, Any]:
    """The settings of an image study that a target's checkpoint records: members, image size, width multiplier.

    Returns:
        The recorded settings by name; empty for a model of tables.

    Raises:
        CheckpointError: If the file is missing or damaged.
    """
    held = load_checkpoint(checkpoint)
    described = held.description
    if "architecture" not in described:  # from another program: derived from the shapes
        return vgg16_sizes({name: array.shape for name, array in held.parameters.items()})
    model = MODELS.get(described["architecture"].get("name"))
    if model is None or model.samples != IMAGES:
        return {}
    found = {**described["architecture"], "members": described.get("members")}
    return {name: found[name] for name in ("members", "image_size", "width_multiplier") if found.get(name) is not None}
