"""The published pipeline in stages. Each stage writes files to one folder, and later stages read them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mindspore import nn

from mindefense.checkpoint import Checkpoint
from mindefense.defenses.base import Defense
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.defenses.registry import NONE, DefenseSpec
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.other_targets import check_targets
from mindefense.evaluation.scenario import Scenario
from mindefense.progress import Progress
from mindefense.ranks import ProcessGroup
from mindefense.study.about import StudyFacts
from mindefense.study.bank import StudyBank
from mindefense.study.config import StudyConfig
from mindefense.study.defending import StudyDefenses
from mindefense.study.evaluator import Evaluator
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.study.store import COMMANDS
from mindefense.study.trainer import Trainer
from mindefense.types import Evaluation


class Study(StudyFacts):
    """A study of target, defender, shadow model, defense and attackers, with its files in one folder.

    Args:
        config: The settings; None to continue the study in `out`.
        out: The folder.
        progress: Progress display; None for no display.
        amp: Precision at which target and shadow model are queried: ``"O0"`` for float32, ``"O2"`` for float16 except
            batch normalization, with float32 logits. They are always trained in float32.
        crew: The ranks of a job among which the heavy work is divided. This process must be rank 0; the others follow
            with `jobs_of`. None to do all of the work in this process.

    Attributes:
        evaluator: Runs attackers on the target and describes the study in the results.

    Raises:
        InputError: If `config` is None and there is no study in `out`, the data have too few rows for the split, or
            `amp` has another value.
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
        super().__init__(StudyParts.of(config, out, progress=progress, amp=amp, crew=crew))
        self._networks = StudyNetworks(self._parts)
        self._trainer = Trainer(self._parts, self._networks)
        self.bank = StudyBank(self._parts, self._networks)
        self._defenses = StudyDefenses(self._parts, self._networks, self.bank)
        self.evaluator = Evaluator(self._parts, self._networks, self._defenses)

    # ------------------------------------------------------------------ stages

    def train_target(self, *, resume: bool = False) -> None:
        """Trains the target and writes ``study.json`` and ``target.ckpt``."""
        self.forget_defenses()
        self._trainer.train_target(resume=resume)

    def adopt_target(self, checkpoint: str | os.PathLike) -> None:
        """Takes the target from a checkpoint instead of training it; writes ``study.json`` and ``target.ckpt``.

        ``target.ckpt`` is a copy with a longer description. The target must have been trained on the rows that the
        split has as its members. A checkpoint of this package records its rows, which are checked; for other
        checkpoints this cannot be checked.

        Raises:
            CheckpointError: If it has another architecture, or was trained on another data set or other rows.
        """
        self.forget_defenses()
        self._trainer.adopt_target(checkpoint)

    def train_shadow(self, *, resume: bool = False) -> None:
        """Trains the attacker's shadow model and writes ``shadow.ckpt``.

        Raises:
            InputError: If the study's model has no shadow model.
        """
        if not self.preset.has_shadow:
            raise InputError(
                "shadow", expected="model mlp", got=self.config.model, fix="evaluate it with --knowledge auditor"
            )
        self.forget_defenses()
        self._trainer.train_shadow(resume=resume)

    def train_shadows(self, kind: str, count: int, *, resume: bool = False, jobs: int | None = None) -> list[Path]:
        """Trains a bank of shadow models and writes ``shadows/KIND-NUMBER.ckpt``.

        Args:
            kind: ``"online"`` to train each model on half of the evaluated rows, ``"offline"`` on none of them.
            count: Number of models of the whole bank; existing models are not trained again.
            resume: Whether to continue an interrupted training.
            jobs: Processes of one core each that train MLPs side by side on a CPU; None for the fastest number.

        Returns:
            The files of the newly trained models.
        """
        self.forget_defenses()
        return self.bank.train(kind, count, resume=resume, jobs=jobs)

    def train_defender(self, *, resume: bool = False) -> None:
        """Trains the defender's classifier on the target's answers and writes ``defender.ckpt``."""
        self.forget_defenses()
        self._trainer.train_defender(resume=resume)

    def train_privately(self, noise_multiplier: float) -> None:
        """Trains target and shadow model by differentially private gradient descent, without checkpoints.

        Args:
            noise_multiplier: Standard deviation of the noise, as a multiple of the clipping norm.

        Raises:
            DeviceError: If the platform does not support it.
        """
        self.forget_defenses()
        self._trainer.train_privately(noise_multiplier)

    def defend(self) -> None:
        """Builds the defense and reshapes the evaluation's confidence vectors.

        Writes ``defense.ckpt`` with everything that the defense needs, and ``defended.npz`` with the confidence
        vectors before and after, labels, membership and the rows' indices.

        Raises:
            InputError: If the study has no defense.
            CheckpointError: If a stage that the defense needs is missing.
        """
        if self.config.defense == NONE:
            raise InputError(
                "defense", expected="a name, such as defenmi", got="'none'", fix="start a study with a defense"
            )
        defense = self._defenses.save()
        answers = self.evaluator.answers(self.behind(defense, str(self.config.parse_defense()), "keyed"))
        self._parts.store.write_vectors(answers, synthetic=self.data.synthetic)

    def evaluate(self, config: EvaluationConfig | None = None) -> Evaluation:
        """Attacks the target, without and with the defense.

        Args:
            config: The attackers and their knowledge; None for the default.
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
        jobs: int | None = None,
    ) -> Evaluation:
        """Runs all stages in order.

        Args:
            pre_trained: A checkpoint of the target, see `adopt_target`; None to train the target.
            resume: Whether to continue interrupted trainings.
            config: The attackers and their knowledge; None for the default.
            jobs: Processes of one core each that train MLPs side by side on a CPU; None for the fastest number.

        Returns:
            See `evaluate`.
        """
        config = config or EvaluationConfig()
        if config.targets:  # before anything is trained
            check_targets(config.targets, self.bank.planned("online") if "online" in config.banks() else 0)
        with self.timed("total"):
            if pre_trained is not None:
                self.adopt_target(pre_trained)
            else:
                self.train_target(resume=resume)
            if self.preset.has_shadow:
                self.train_shadow(resume=resume)
            for kind in config.banks():
                self.train_shadows(kind, self.bank.planned(kind), resume=resume, jobs=jobs)
            if self.config.needs_defender:
                self.train_defender(resume=resume)
            if self.config.defense != NONE:
                self._defenses.use_banks(config.banks())  # those of the evaluation: one scenario
                self.defend()
            evaluation = self.evaluate(config)
        return dataclasses.replace(evaluation, timings=dict(self.timings))

    @property
    def next_stage(self) -> str:
        """The command of the first stage whose file is missing or from another study, or else ``"evaluate"``."""
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
        return "evaluate" if self.bank.is_complete() else "train-shadows"

    # ------------------------------------------------------------------ for comparisons and exports

    def checkpoint(self, kind: str) -> Checkpoint:
        """A checkpoint of this study: ``"target"``, ``"shadow"``, ``"defender"`` or ``"defense"``.

        Raises:
            CheckpointError: If it is missing, damaged, unfinished or from another study; names the command to run.
        """
        return self._networks.checkpoint(kind)

    def defender(self) -> DefenderClassifier:
        """The defender's classifier, from its file."""
        return self._networks.classifier()

    def build(self, spec: DefenseSpec) -> Defense:
        """Builds a defense from the study's networks and rows."""
        return self._defenses.build(spec)

    def guard(self, name: str | None = None) -> tuple[nn.Cell, Defense | None, list[Path]]:
        """The target, its defense (None without one), and the files that both come from.

        Args:
            name: A defense in the format of ``--defense``, to be built; None for the study's own, from its file.
        """
        return self._defenses.guard(name)

    def behind(self, defense: Defense, name: str, noise: str) -> Scenario:
        """The scenario of target and shadow model behind a defense. Repeated calls share stored answers.

        Args:
            defense: The defense.
            name: Name under which its answers are stored until `forget_defenses`.
            noise: ``"keyed"`` or ``"fresh"``.
        """
        return self._defenses.behind(defense, name, noise)

    def forget_defenses(self) -> None:
        """Deletes the stored answers of defended models."""
        self._defenses.forget()
