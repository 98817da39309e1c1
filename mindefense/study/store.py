"""The folder of a study: its files by kind, what each says it belongs to, and what a new study takes away."""

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
"""The command that writes each checkpoint, in the order in which they are best run."""
FINDINGS = (
    *("results.json", "attacks.csv", "records.csv", "report.html", "report.md", "defended.npz"),
    *("comparison.json", "comparison.csv", "comparison.html", "comparison.md"),
)
"""What an evaluation leaves; a new study in the same folder takes it away."""


class StudyStore:
    """The files of a study.

    Args:
        out: Their folder, which need not be there yet.
    """

    def __init__(self, out: str | os.PathLike):
        self.out = Path(out)

    # ------------------------------------------------------------------ study.json

    @property
    def holds_study(self) -> bool:
        """Whether a study was begun in the folder."""
        return (self.out / "study.json").is_file()

    def read_config(self) -> StudyConfig:
        """The configuration of the study that the folder holds.

        Raises:
            InputError: If there is none, or it is damaged.
        """
        noted = self.out / "study.json"
        if not self.holds_study:
            raise InputError(f"no study in {self.out}", fix=f"run `mindefense train --out {self.out}` first")
        try:
            return StudyConfig(**json.loads(noted.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{noted} is damaged", expected="what `mindefense train` writes", got=str(error), fix="train again"
            ) from error

    def begin(self, config: StudyConfig, *, resume: bool) -> None:
        """Notes what the study is about, and takes away what an earlier study in this folder had found.

        Args:
            config: The study.
            resume: Whether the study in the folder goes on, and what was found stays.

        Raises:
            InputError: If the study in the folder is another than the one to go on with.
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
                fix="give the same settings, or start afresh without --resume",
            )
        if not resume:
            for name in FINDINGS:
                (self.out / name).unlink(missing_ok=True)
        write_json(self.out / "study.json", dataclasses.asdict(config))

    # ------------------------------------------------------------------ checkpoints

    def path(self, kind: str) -> Path:
        """Where a checkpoint is: of ``"target"``, ``"shadow"``, ``"defender"``, ``"defense"``, or of a bank's model."""
        return self.out / f"{kind}.ckpt"

    def holds(self, kind: str) -> bool:
        """Whether that checkpoint is there, of whatever study."""
        return self.path(kind).is_file()

    def save(self, kind: str, parameters: Mapping[str, np.ndarray], description: Mapping[str, Any]) -> None:
        """Writes a checkpoint, whole or not at all.

        Raises:
            OutputError: If it cannot be written.
        """
        save_checkpoint(self.path(kind), parameters, description)

    def open(self, name: str, *, kind: str | None = None, command: str | None = None) -> Checkpoint:
        """A checkpoint whose training is done; `check_fresh` says whether it is of this study.

        Args:
            name: As `path` takes it.
            kind: What it says that it is; None for its name.
            command: The command that writes it; None for that of its name.

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
        """Refuses what an earlier study has left.

        Args:
            held: As `open` returns it.
            name: As `path` takes it, or the command that writes it.
            mark: What a checkpoint of this study says; see `mark_of`.
            train: How the study trains it; None if it is not trained.

        Raises:
            CheckpointError: If it belongs to another study; names what differs, and the command to run.
        """
        stale = [name for name, value in mark.items() if held.description.get(name) != value]
        if train is not None and "origin" not in held.description:  # else it was trained elsewhere, or not at all
            stale += [] if train.is_described_by(held.description.get("train")) else ["train"]
        if stale:
            raise CheckpointError(
                f"{held.path} belongs to another study: its {', '.join(stale)} differ",
                fix=f"run `mindefense {COMMANDS.get(name, name)} --out {self.out}` again",
            )

    def history(self, kind: str) -> Mapping[str, Any] | None:
        """The figures of a training by epoch; None if there is no checkpoint, or it does not say."""
        return (load_checkpoint(self.path(kind)).description.get("history") if self.holds(kind) else None) or None

    def digest(self, kind: str) -> str:
        """SHA-256, hex, of a checkpoint's file."""
        return sha256_of_file(self.path(kind))

    # ------------------------------------------------------------------ defended.npz

    def write_vectors(self, answers: Outputs, *, synthetic: bool) -> None:
        """Writes ``defended.npz``: vectors before and after with labels, membership and the rows' indices.

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
        made_from: What else it was made from.
    """
    return {
        "data": {"name": data.name, "synthetic": data.synthetic, "sha256": data.fingerprint},
        "rows": hashlib.sha256(indices.tobytes()).hexdigest(),
        **made_from,
    }
