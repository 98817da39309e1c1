"""The folder of a study: its settings, checkpoints, and the origin recorded in each file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.files import check_writable, replacing, sha256_of_file, write_json
from mindefense.study.config import StudyConfig
from mindefense.study.provenance import check_finished
from mindefense.training import TrainConfig
from mindefense.types import LabelledData, Outputs

COMMANDS = {"target": "train", "defender": "train-defender", "shadow": "train-shadow", "defense": "defend"}
"""The command that writes each checkpoint, in the recommended order."""
FINDINGS = (
    *("results.json", "attacks.csv", "records.csv", "report.html", "report.md", "defended.npz"),
    *("comparison.json", "comparison.csv", "comparison.html", "comparison.md"),
)
"""The files of an evaluation, which a new study in the same folder deletes."""


class StudyStore:
    """The files of a study.

    Args:
        out: Their folder, which need not exist yet.
    """

    def __init__(self, out: str | os.PathLike):
        self.out = Path(out)

    # ------------------------------------------------------------------ study.json

    @property
    def holds_study(self) -> bool:
        """Whether there is a study in the folder."""
        return (self.out / "study.json").is_file()

    def read_config(self) -> StudyConfig:
        """The settings of the study in the folder.

        Raises:
            InputError: If there is none, or its file is damaged.
        """
        noted = self.out / "study.json"
        if not self.holds_study:
            raise InputError(f"no study in {self.out}", fix=f"run `mindefense train --out {self.out}` first")
        try:
            return StudyConfig(**json.loads(noted.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{noted} is damaged",
                expected="one from `mindefense train`",
                got=str(error),
                fix="train again",
            ) from error

    def begin(self, config: StudyConfig, *, resume: bool) -> None:
        """Writes ``study.json``, and deletes the results of an earlier study in the folder.

        Args:
            config: Settings of the study.
            resume: Whether to continue the study in the folder and leave its results.

        Raises:
            InputError: If `resume` is set and the study in the folder has other settings.
            OutputError: If the folder cannot be written.
        """
        check_writable(self.out)
        before = self.read_config() if self.holds_study else None
        if resume and before not in (None, config):
            differing = [
                field.name
                for field in dataclasses.fields(StudyConfig)
                if before and getattr(before, field.name) != getattr(config, field.name)
            ]
            raise InputError(
                f"{self.out} cannot be resumed: its study has another {', '.join(differing)}",
                fix="give the same settings, or start anew without --resume",
            )
        if not resume:
            for name in FINDINGS:
                (self.out / name).unlink(missing_ok=True)
        write_json(self.out / "study.json", dataclasses.asdict(config))

    # ------------------------------------------------------------------ checkpoints

    def path(self, kind: str) -> Path:
        """The path of a checkpoint: ``"target"``, ``"shadow"``, ``"defender"``, ``"defense"``, or a model of a bank."""
        return self.out / f"{kind}.ckpt"

    def holds(self, kind: str) -> bool:
        """Whether that checkpoint exists, even if it is from another study."""
        return self.path(kind).is_file()

    def save(self, kind: str, parameters: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> None:
        """Writes a checkpoint atomically.

        Raises:
            OutputError: If it cannot be written.
        """
        save_checkpoint(self.path(kind), parameters, description)

    def open(self, name: str, *, kind: str | None = None, command: str | None = None) -> Checkpoint:
        """Loads a checkpoint of a finished training; `check_fresh` checks whether it is from this study.

        Args:
            name: Its name in `path`.
            kind: The kind that its description must have; None for `name`.
            command: The command that writes it; None for that of `COMMANDS`.

        Raises:
            CheckpointError: If it is missing, damaged, unfinished or of another kind; names the command to run.
        """
        path, command, kind = self.path(name), command or COMMANDS[name], kind or name
        if not self.holds(name):
            raise CheckpointError(f"no {path.name} in {self.out}", fix=f"run `mindefense {command} --out {self.out}`")
        held = load_checkpoint(path)
        held.expect(kind)
        check_finished(held, f"run `mindefense {command} --out {self.out} --resume`")
        return held

    def check_fresh(self, held: Checkpoint, name: str, mark: Mapping[str, Any], train: TrainConfig | None) -> None:
        """Checks that a checkpoint is from this study and not from an earlier one in the same folder.

        Args:
            held: The checkpoint from `open`.
            name: Its name in `path`, or the command that writes it.
            mark: The origin that it must record; see `mark_of`.
            train: Its training settings in this study; None if it is not trained.

        Raises:
            CheckpointError: If it is from another study; names what differs and the command to run.
        """
        stale = [name for name, value in mark.items() if held.description.get(name) != value]
        if train is not None and "origin" not in held.description:  # otherwise it was trained elsewhere
            stale += [] if train.is_described_by(held.description.get("train")) else ["train"]
        if stale:
            raise CheckpointError(
                f"{held.path} belongs to another study: its {', '.join(stale)} differ",
                fix=f"run `mindefense {COMMANDS.get(name, name)} --out {self.out}` again",
            )

    def history(self, kind: str) -> Mapping[str, Any] | None:
        """The loss and accuracy of a training by epoch; None if there is no checkpoint, or it does not record them."""
        return (load_checkpoint(self.path(kind)).description.get("history") if self.holds(kind) else None) or None

    def digest(self, kind: str) -> str:
        """Hexadecimal SHA-256 of a checkpoint's file."""
        return sha256_of_file(self.path(kind))

    # ------------------------------------------------------------------ defended.npz

    def write_vectors(self, answers: Outputs, *, synthetic: bool) -> None:
        """Writes ``defended.npz``: confidence vectors before and after, labels, membership and the rows' indices.

        Raises:
            OutputError: If it cannot be written.
        """
        assert answers.defended_probs is not None
        assert answers.labels is not None
        with replacing(self.out / "defended.npz", private=True) as beside:
            np.savez(
                beside,
                clean_probs=answers.clean_probs,
                defended_probs=answers.defended_probs,
                labels=answers.labels,
                indices=answers.indices,
                is_member=answers.is_member,
                synthetic=synthetic,
            )


def mark_of(data: LabelledData, indices: np.ndarray, **made_from: Any) -> dict[str, Any]:
    """The mark of a study's file, which records its origin so that a stale file is recognized.

    Args:
        data: The data set.
        indices: ``(N,)`` positions of the rows that it was made from.
        made_from: Further origins by name, such as the digest of a network.
    """
    return {
        "data": {"name": data.name, "synthetic": data.synthetic, "sha256": data.fingerprint},
        "rows": hashlib.sha256(indices.tobytes()).hexdigest(),
        **made_from,
    }
