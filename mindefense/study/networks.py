"""The networks of a study: their start weights, training settings, checkpoints and answers."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import numpy as np
from mindspore import nn
from mindspore.amp import auto_mixed_precision

from mindefense.checkpoint import Checkpoint, load_checkpoint, load_into
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.errors import InputError
from mindefense.progress import Progress
from mindefense.ranks import ProcessGroup
from mindefense.study.config import AMP_LEVELS, StudyConfig
from mindefense.study.presets import SMOKE_EPOCHS, Preset, preset_for
from mindefense.study.roles import StudyRows, load_data, means_role
from mindefense.study.shared import SharedWork
from mindefense.study.stages import Stages
from mindefense.study.store import StudyStore, mark_of
from mindefense.targets.base import Executor
from mindefense.targets.cell import Network, parameters_sha256
from mindefense.training import PUBLISHED_DEFENDER, TrainConfig
from mindefense.training.accounting import spent_by, with_noise

_SEEDS = {"target": 0, "shadow": 1, "defender": 2}
"""Offset of each network's seed from the study's seed. Attack networks have offset 3."""


@dataclasses.dataclass(eq=False)
class StudyParts:
    """Settings, data and files that all stages of a study use.

    Attributes:
        config: The settings.
        rows: The data and the rows of each role.
        preset: How target and shadow model are built, prepared and trained.
        store: The files.
        stages: Progress display and timings.
        amp: Precision at which target and shadow model are queried.
        shared: Distribution of the work over the ranks of a job; None if this is the only process.
    """

    config: StudyConfig
    rows: StudyRows
    preset: Preset
    store: StudyStore
    stages: Stages
    amp: str
    shared: SharedWork | None = None

    @classmethod
    def of(
        cls,
        config: StudyConfig | None,
        out: str | os.PathLike,
        *,
        progress: Progress | None,
        amp: str,
        crew: ProcessGroup | None,
    ) -> StudyParts:
        """Loads the data and creates the parts; arguments and errors as in `mindefense.study.Study`."""
        if amp not in AMP_LEVELS:
            raise InputError("amp", expected=" or ".join(AMP_LEVELS), got=repr(amp))
        store, stages = StudyStore(out), Stages(progress)
        config = config if config is not None else store.read_config()
        with stages.timed("load data"):
            data = load_data(config)
        rows = StudyRows(config, data)
        columns, classes = rows.data.features.shape[1], rows.data.num_classes
        preset = preset_for(config, columns=columns, classes=classes)
        shared = None
        if crew is not None and crew.size > 1:
            shared = SharedWork(crew, preset, classes, amp=amp)
            shared.open(config, columns=columns)
        return cls(config, rows, preset, store, stages, amp, shared)


class StudyNetworks:
    """Loads target, shadow model and defender's classifier of a study from their files.

    Args:
        parts: Settings, data and files of the study.
    """

    def __init__(self, parts: StudyParts):
        self._parts = parts
        self._networks: dict[str, Network] = {}

    @functools.cached_property
    def trainings(self) -> dict[str, TrainConfig]:
        """The training settings of each network, each with its own seed."""
        config, target, defender = self._parts.config, self._parts.preset.train, PUBLISHED_DEFENDER
        if config.epsilon is not None:
            # Models of the attacker, who knows the settings, have the same noise.
            target = self._with_noise(target, config.epsilon)
        if config.smoke:
            defender = dataclasses.replace(defender, epochs=SMOKE_EPOCHS)
        published = {"target": target, "shadow": target, "defender": defender}
        return {role: dataclasses.replace(train, seed=self.seed(role)) for role, train in published.items()}

    def _with_noise(self, train: TrainConfig, epsilon: float) -> TrainConfig:
        """The private training: with the noise that the target was trained with, if it spends ε, or with a new one."""
        rows, store = len(self._parts.rows.split.target_members), self._parts.store
        if store.holds("target"):
            held = load_checkpoint(store.path("target")).description.get("train", {})
            if noise := held.get("noise_multiplier"):
                same = dataclasses.replace(train, noise_multiplier=noise)
                if 0.95 * epsilon < spent_by(same, rows)["epsilon"] <= epsilon * (1 + 1e-6):
                    return same
        return with_noise(train, epsilon, rows)

    def seed(self, role: str) -> int:
        """The seed of ``"target"``, ``"shadow"`` or ``"defender"``."""
        return self._parts.config.seed + _SEEDS[role]

    def start(self, role: str) -> nn.Cell:
        """The untrained target or shadow model, with its start weights."""
        return self._parts.preset.build(self.seed(role))

    def network(self, role: str) -> Network:
        """The trained target or shadow model.

        Raises:
            CheckpointError: See `checkpoint`.
        """
        if role not in self._networks:
            self._networks[role] = self.as_network(role, self.checkpoint(role))
        return self._networks[role]

    def as_network(self, role: str, checkpoint: Checkpoint) -> Network:
        """A trained network of the study's architecture as a model in the study's precision, queried on all ranks.

        Args:
            role: Its name among the ranks: ``"target"``, ``"shadow"``, or the name of a model's file in a bank.
            checkpoint: Its parameters.
        """
        preset, shared = self._parts.preset, self._parts.shared
        net = preset.build(0)
        load_into(net, checkpoint)
        spread: Executor | None = None if shared is None else shared.network(role, net)
        return Network(
            auto_mixed_precision(net, self._parts.amp),
            prepare=preset.prepare,
            batch_size=preset.query_batch,
            on_rows=self._parts.stages.count,
            as_graph=True,
            spread=spread,
        )

    def forget(self, role: str) -> None:
        """Drops the loaded target or shadow model and its stored answers, because it will be trained again."""
        self._networks.pop(role, None)

    def ask(self, role: str, samples: np.ndarray) -> np.ndarray:
        """``(N, C)`` float32 logits of target or shadow model; repeated queries get stored answers."""
        network = self.network(role)
        if not (new := network.new(samples)):
            return network.logits(samples)
        with self._parts.stages.counting("query", f"ask {role}", new) as advance:
            logits = network.logits(samples)
            advance(0, f"{new} samples")
        return logits

    def classifier(self) -> DefenderClassifier:
        """The defender's classifier.

        Raises:
            CheckpointError: See `checkpoint`.
        """
        classifier = DefenderClassifier(self._parts.rows.data.num_classes)
        load_into(classifier, self.checkpoint("defender"))
        return classifier

    def checkpoint(self, kind: str) -> Checkpoint:
        """A checkpoint of this study.

        Raises:
            CheckpointError: If it is missing, damaged, unfinished or from another study; names the command to run.
        """
        held = self._parts.store.open(kind)
        self._parts.store.check_fresh(held, kind, self.mark(kind), self.trainings.get(kind))
        return held

    def mark(self, kind: str) -> dict[str, Any]:
        """The recorded origin of a file of this kind; see `mark_of`."""
        config, rows = self._parts.config, self._parts.rows
        if kind == "target":
            return mark_of(rows.data, rows.split.target_members)
        if kind == "shadow":
            return mark_of(rows.data, rows.split.attacker_members, seed=config.seed)
        made_from = {"target": self.network("target").digest()}
        if kind == "defender":
            return mark_of(rows.data, rows.indices("defender"), **made_from)
        spec = config.parse_defense()
        if spec.searches:
            made_from["classifier"] = parameters_sha256(self.classifier())
        return mark_of(rows.data, rows.indices(means_role(spec)), **made_from)
