"""The folder of a study as a smoke test leaves it, and what its files hold."""

import json
import shutil

import numpy as np

from mindefense.checkpoint import load_checkpoint
from mindefense.study import Study, StudyConfig

CHECKPOINTS = ("target", "shadow", "defender", "defense")
SMOKE = StudyConfig(smoke=True)


def held_in(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def arrays(folder):
    with np.load(folder / "defended.npz") as held:
        return dict(held)


def copy(source, target, *names):
    """Copies files of a study."""
    target.mkdir(exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy(source / name, target / name)
    return target


def answers(folder, role, indices):
    """Confidence vectors of a trained network, computed here."""
    x = Study(None, folder).data.features[indices].astype(np.float64)
    parameters = load_checkpoint(folder / f"{role}.ckpt").parameters
    for layer in range(5):
        x = x @ parameters[f"layers.{layer}.weight"].T + parameters[f"layers.{layer}.bias"]
        x = np.maximum(x, 0) if layer < 4 else x
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)
