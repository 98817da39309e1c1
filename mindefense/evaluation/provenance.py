"""What a study's files say of where they come from, so that an unfinished or stale one is not taken for another."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from mindefense.checkpoint import Checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation.config import StudyConfig


def check_finished(held: Checkpoint, fix: str) -> None:
    """Raises CheckpointError if a training was interrupted after this checkpoint."""
    done = len(held.description.get("history", {}).get("loss", ()))
    epochs = held.description.get("train", {}).get("epochs", done)
    if done < epochs:
        raise CheckpointError(f"{held.path}: the training stopped after epoch {done} of {epochs}", fix=fix)


def sha256_of(weights: list[tuple[np.ndarray, np.ndarray]]) -> str:
    """A fingerprint of all weights and biases, hex."""
    digest = hashlib.sha256()
    for pair in weights:
        for array in pair:
            digest.update(array.tobytes())
    return digest.hexdigest()


def read_config(out: Path) -> StudyConfig:
    """The configuration of the study that a folder holds."""
    noted = out / "study.json"
    if not noted.is_file():
        raise InputError(f"no study in {out}", fix=f"run `mindefense train --out {out}` first")
    try:
        return StudyConfig(**json.loads(noted.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{noted} is damaged", expected="what `mindefense train` writes", got=str(error), fix="train again"
        ) from error
