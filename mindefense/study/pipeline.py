"""The published pipeline, stage by stage: each leaves files in one folder that the next picks up."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path

from mindspore import nn

from mindefense.checkpoint import Checkpoint
from mindefense.data import Split
from mindefense.defenses.base import Defense
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.defenses.registry import NONE, DefenseSpec
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.scenario import Rows, Scenario
from mindefense.progress import Progress
from mindefense.ranks import ProcessGroup
from mindefense.study.bank import StudyBank
from mindefense.study.config import StudyConfig
from mindefense.study.defending import StudyDefenses
from mindefense.study.evaluator import Evaluator
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.study.presets import Preset
from mindefense.study.store import COMMANDS
from mindefense.study.trainer import Trainer
from mindefense.types import Evaluation, LabelledData


class Study:
    """Target, defender, shadow, defense and attackers in one folder.

    Args:
        config: What to do; None to go on with the study that `out` holds.
        out: The folder.
        progress: Told what happens.
        amp: Precision that target and shadow are asked at: ``"O0"`` float32, ``"O2"`` float16 but for batch
            normalization, with float32 logits. They are trained in float32 either way.
        crew: The ranks of a job that share the heavy work: this is rank 0, and the others follow with `jobs_of`. None
            to do all of it in this process.

    Attributes:
        evaluator: Runs attackers on the target, and says what the results are of.

    Raises:
        InputError: If `config` is None and `out` holds no study, the data have too few rows for the split, or `amp` is
            neither.
        DataError: If the data set is missing or damaged.
    """

    def __init__(
        self,
        config: StudyConfig | None,
        out: str | os.PathLike,
        *,
        progress: Progress | None = None,
        amp: str = "O0",
        crew: ProcessGroup | None = None,
    ):
        self._parts = StudyParts.of(config, out, progress=progress, amp=amp, crew=crew)
        self._networks = StudyNetworks(self._parts)
        self._trainer = Trainer(self._parts, self._networks)
        self.bank = StudyBank(self._parts, self._networks)
        self._defenses = StudyDefenses(self._parts, self._networks, self.bank)
        self.evaluator = Evaluator(self._parts, self._networks, self._defenses)

    # ------------------------------------------------------------------ what it is about

    @property
    def config(self) -> StudyConfig:
        """What the study is about."""
        return self._parts.config

    @property
    def out(self) -> Path:
        """The folder."""
        return self._parts.store.out

    @property
    def amp(self) -> str:
        """Precision that target and shadow are asked at."""
        return self._parts.amp

    @property
    def progress(self) -> Progress:
        """Told what happens."""
        return self._parts.stages.progress

    @property
    def timings(self) -> dict[str, float]:
        """Stage → seconds so far."""
        return self._parts.stages.timings

    def timed(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Adds the seconds of what happens inside to a stage of `timings`, whether it is done or fails."""
        return self._parts.stages.timed(stage)

    @property
    def data(self) -> LabelledData:
        """The data set."""
        return self._parts.rows.data

    @property
    def split(self) -> Split:
        """Who gets which rows."""
        return self._parts.rows.split

    def rows(self, role: str) -> Rows:
        """The members and non-members of ``"target"``, ``"defender"``, ``"attacker"`` or ``"eval"``.

        Raises:
            InputError: If the split leaves no rows for that role.
        """
        return self._parts.rows.of(role)

    @property
    def preset(self) -> Preset:
        """How target and shadow are built, fed and trained."""
        return self._parts.preset

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input of the target, after preparation."""
        return self.preset.input_shape(self.data.features)

    # ------------------------------------------------------------------ stages

    def train_target(self, *, resume: bool = False) -> None:
        """Trains the target and writes ``study.json`` and ``target.ckpt``."""
        self.forget_defenses()
        self._trainer.train_target(resume=resume)

    def adopt_target(self, checkpoint: str | os.PathLike) -> None:
        """Takes a trained target from a checkpoint instead; writes ``study.json`` and ``target.ckpt``.

        ``target.ckpt`` is a copy, since its description, which is inside the file, says more than the given one's.
        Its rows must be those that the split calls the target's members; a checkpoint of this package says which they
        were, and others are taken at the user's word.

        Raises:
            CheckpointError: If it is of another architecture, data set or rows.
        """
        self.forget_defenses()
        self._trainer.adopt_target(checkpoint)

    def train_shadow(self, *, resume: bool = False) -> None:
        """Trains the attacker's shadow of the target and writes ``shadow.ckpt``."""
        if not self.preset.has_shadow:
            raise InputError(
                "shadow", expected="model mlp", got=self.config.model, fix="only auditors attack it so far"
            )
        self.forget_defenses()
        self._trainer.train_shadow(resume=resume)

    def train_shadows(self, kind: str, count: int, *, resume: bool = False, jobs: int | None = None) -> list[Path]:
        """Trains a bank of shadow models and writes ``shadows/KIND-NUMBER.ckpt``.

        Args:
            kind: ``"online"``: each model is trained on half of the judged rows. ``"offline"``: on none of them.
            count: How many models the bank is to have; those that are there are not trained again.
            resume: Whether a training that was stopped goes on.
            jobs: As of `StudyBank.train`.

        Returns:
            The files of the models that were trained now.
        """
        self.forget_defenses()
        return self.bank.train(kind, count, resume=resume, jobs=jobs)

    def train_defender(self, *, resume: bool = False) -> None:
        """Trains the defender's classifier on the target's answers and writes ``defender.ckpt``."""
        self.forget_defenses()
        self._trainer.train_defender(resume=resume)

    def train_privately(self, noise_multiplier: float) -> None:
        """Trains target and shadow by differentially private descent, from the start.

        Raises:
            DeviceError: If the platform does not run it.
        """
        self.forget_defenses()
        self._trainer.train_privately(noise_multiplier)

    def defend(self) -> None:
        """Builds the defense from target and defender and reshapes the evaluation's vectors.

        Writes ``defense.ckpt``, all that the defense needs, and ``defended.npz``, the vectors before and after with
        labels, membership and the rows' indices.
        """
        if self.config.defense == NONE:
            raise InputError("defense", expected="one, such as defenmi", got="'none'", fix="start a study with one")
        defense = self._defenses.save()
        answers = self.evaluator.answers(self.behind(defense, str(self.config.parse_defense()), "keyed"))
        self._parts.store.write_vectors(answers, synthetic=self.data.synthetic)

    def evaluate(self, config: EvaluationConfig | None = None) -> Evaluation:
        """Attacks the target, without the defense and behind it.

        Args:
            config: Which attackers, and what they know; None for all.
        """
        with self.timed("evaluate"):
            evaluation = self.evaluator.evaluate(config or EvaluationConfig())
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    def run(
        self,
        *,
        pre_trained: str | os.PathLike | None = None,
        resume: bool = False,
        config: EvaluationConfig | None = None,
    ) -> Evaluation:
        """All stages, one after the other; see `evaluate` for what comes out."""
        with self.timed("total"):
            if pre_trained is not None:
                self.adopt_target(pre_trained)
            else:
                self.train_target(resume=resume)
            if self.preset.has_shadow:
                self.train_shadow(resume=resume)
            if self.config.needs_defender:
                self.train_defender(resume=resume)
            if self.config.defense != NONE:
                self.defend()
            evaluation = self.evaluate(config)
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    @property
    def next_stage(self) -> str:
        """The command of the first stage whose file is missing or of another study; ``"evaluate"`` if all are there."""
        needed = {
            "target": True,
            "defender": self.config.needs_defender,
            "shadow": self.preset.has_shadow,
            "defense": self.config.defense != NONE,
        }
        for kind, command in COMMANDS.items():
            if needed[kind]:
                try:
                    self.checkpoint(kind) if kind != "defense" else self._defenses.check_saved()
                except CheckpointError:
                    return command
        return "evaluate"

    # ------------------------------------------------------------------ what comparisons and exports take from it

    def checkpoint(self, kind: str) -> Checkpoint:
        """A file of this study: ``"target"``, ``"shadow"``, ``"defender"`` or ``"defense"``.

        Raises:
            CheckpointError: If it is missing, damaged, unfinished or of another study; names the command to run.
        """
        return self._networks.checkpoint(kind)

    def defender(self) -> DefenderClassifier:
        """The defender's classifier, from its file."""
        return self._networks.classifier()

    def build(self, spec: DefenseSpec) -> Defense:
        """A defense from what the study has trained."""
        return self._defenses.build(spec)

    def guard(self, name: str | None = None) -> tuple[nn.Cell, Defense | None, list[Path]]:
        """The target, what to put in front of it, and the files that they come from.

        Args:
            name: A defense as ``--defense`` names it, built from what the study has trained; None for the study's own,
                from its file.
        """
        return self._defenses.guard(name)

    def behind(self, defense: Defense, name: str, noise: str) -> Scenario:
        """Target and shadow behind a defense; what was asked before comes from memory.

        Args:
            defense: What stands in front of them.
            name: What it is remembered by, until `forget_defenses`.
            noise: ``"keyed"`` or ``"fresh"``.
        """
        return self._defenses.behind(defense, name, noise)

    def forget_defenses(self) -> None:
        """Drops what is remembered of defended answers."""
        self._defenses.forget()
