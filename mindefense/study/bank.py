"""The banks of shadow models of a study: which rows each model is trained on, their files, and the trained models."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.checkpoint import Checkpoint, load_into
from mindefense.errors import CheckpointError, InputError
from mindefense.runtime import versions
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.study.store import mark_of
from mindefense.targets.bank import ShadowBank, assign_rows, trained_on
from mindefense.targets.base import clean_target
from mindefense.training import TrainConfig, train_classifier
from mindefense.types import Samples

_SEED = {"online": 1_000, "offline": 500_000}
"""What the seed of a bank's first model is above the study's."""
_LEARNED_FROM = 1000
"""Most rows of an offline bank that attackers learn from; models are trained on all."""
_POPULATION = 2000
"""Most rows that an attack compares others with."""
_IN_SMOKE = 100
"""Either number in a smoke test."""
_POPULATION_SHARE = 1 / 6
"""Share of the rows of an offline bank that no model is trained on."""


@dataclasses.dataclass(frozen=True, eq=False)
class BankRows:
    """Which rows a bank is about.

    Attributes:
        pool: ``(N,)`` positions in the data set of the rows that the models are trained on, each on some of them.
        population: ``(Z,)`` positions of rows that no model is trained on and that are not judged.
        size: Rows that each model is trained on.
    """

    pool: np.ndarray
    population: np.ndarray
    size: int


class StudyBank:
    """Trains a study's banks of shadow models and loads them.

    Args:
        parts: What the study works with.
        networks: The study's networks.
    """

    def __init__(self, parts: StudyParts, networks: StudyNetworks):
        self._parts, self._networks = parts, networks
        self._loaded: dict[str, ShadowBank | None] = {}

    @functools.cache  # noqa: B019  as long as the study
    def rows(self, kind: str) -> BankRows:
        """The rows of the ``"online"`` or the ``"offline"`` bank.

        The pool of an online bank are the judged rows: the attacker knows them, but not which are members. Those of an
        offline bank are rows that are neither judged nor the target's members.

        Raises:
            InputError: If there are too few rows for two models.
        """
        rows = self._parts.rows
        judged = rows.of("eval").indices()
        if rows.canaries is not None:
            judged = np.concatenate((judged, rows.canaries.indices()))
        taken = np.union1d(judged, rows.split.target_members)
        others = np.setdiff1d(np.arange(len(rows.data)), taken)
        others = np.random.default_rng(self._parts.config.seed).permutation(others)
        most = _IN_SMOKE if self._parts.config.smoke else _POPULATION
        if kind == "online":
            pool, population = judged, others[:most]
        else:
            count = min(most, int(len(others) * _POPULATION_SHARE))
            population, pool = others[:count], others[count:]
        size = min(len(rows.split.target_members), len(pool) // 2)
        if size < 1:
            raise InputError(
                f"rows for {kind} shadow models",
                expected="some that are neither judged nor the target's members",
                got=str(len(pool)),
                fix="judge by fewer rows, or train the other kind",
            )
        return BankRows(pool, population, size)

    def indices(self, kind: str, number: int) -> np.ndarray:
        """Positions in the data set of the rows that a model is trained on."""
        rows = self.rows(kind)
        held = assign_rows(len(rows.pool), rows.size, number + 1, seed=self._parts.config.seed)
        return rows.pool[held[number]]

    def training(self, kind: str, number: int) -> TrainConfig:
        """How a model is trained: as the target, with a seed of its own."""
        return dataclasses.replace(self._networks.trainings["target"], seed=self._seed(kind, number))

    def _seed(self, kind: str, number: int) -> int:
        return self._parts.config.seed + _SEED[kind] + number

    @staticmethod
    def role(kind: str, number: int) -> str:
        """The name of a model's file, without its ending."""
        return f"shadows/{kind}-{number:03d}"

    def count(self, kind: str) -> int:
        """How many models of a bank have a file; they are numbered from 0."""
        number = 0
        while self._parts.store.holds(self.role(kind, number)):
            number += 1
        return number

    def train(self, kind: str, count: int, *, resume: bool) -> list[Path]:
        """Trains the models of a bank that are not there yet, each into a file of its own.

        Args:
            kind: ``"online"`` or ``"offline"``.
            count: How many models the bank is to have.
            resume: Whether a training that was stopped goes on. Finished models of this study stay in either case.

        Returns:
            The files of the models that were trained now.

        Raises:
            CheckpointError: If `resume` is asked for and a model that is there is of another study.
        """
        self._loaded.pop(kind, None)
        parts = self._parts
        store, preset = parts.store, parts.preset
        (store.out / "shadows").mkdir(parents=True, exist_ok=True)
        held = assign_rows(len(self.rows(kind).pool), self.rows(kind).size, count, seed=parts.config.seed)
        trained: list[Path] = []
        for number in range(count):
            config = self.training(kind, number)
            if self._is_done(kind, number):
                continue
            samples = parts.rows.data.take(self.rows(kind).pool[held[number]])
            title = f"train {kind} shadow {number + 1} of {count}"
            with parts.stages.training(title, config.epochs) as on_epoch:
                train_classifier(
                    preset.build(self._seed(kind, number)),
                    samples.features,
                    samples.labels,
                    config,
                    prepare=preset.prepare,
                    checkpoint=store.path(self.role(kind, number)),
                    checkpoint_every=preset.checkpoint_every,
                    resume=resume,
                    description=self._description(kind, number),
                    on_epoch=on_epoch,
                )
            trained.append(store.path(self.role(kind, number)))
        return trained

    def _description(self, kind: str, number: int) -> dict[str, Any]:
        return {
            "kind": f"{kind} shadow",
            "architecture": self._parts.preset.architecture,
            "versions": versions(),
            **self._mark(kind, number),
        }

    def _mark(self, kind: str, number: int) -> dict[str, Any]:
        return mark_of(self._parts.rows.data, self.indices(kind, number), seed=self._parts.config.seed, number=number)

    def _is_done(self, kind: str, number: int) -> bool:
        """Whether a model of this study is there and its training has ended."""
        try:
            self._open(kind, number)
        except CheckpointError:
            return False
        return True

    def _open(self, kind: str, number: int) -> Checkpoint:
        role, store = self.role(kind, number), self._parts.store
        held = store.open(role, kind=f"{kind} shadow", command="train-shadows")
        store.check_fresh(held, "train-shadows", self._mark(kind, number), self.training(kind, number))
        return held

    def load(self, kind: str) -> ShadowBank | None:
        """The trained bank; None if no model of it is there.

        Raises:
            CheckpointError: If a model is damaged, unfinished or of another study.
        """
        if kind not in self._loaded:
            self._loaded[kind] = self._load(kind)
        return self._loaded[kind]

    def _load(self, kind: str) -> ShadowBank | None:
        count, preset, data = self.count(kind), self._parts.preset, self._parts.rows.data
        if not count:
            return None
        models, held = [], []
        for number in range(count):
            net = preset.build(0)
            load_into(net, self._open(kind, number))
            models.append(self._networks.as_network(net))
            held.append(self.indices(kind, number))
        rows = self.rows(kind)
        learned_from = _IN_SMOKE if self._parts.config.smoke else _LEARNED_FROM
        return ShadowBank(
            [clean_target(model) for model in models],
            trained_on(held, of=len(data)),
            models=models,
            pool=self._samples(kind, rows.pool[:learned_from] if kind == "offline" else rows.pool),
            population=data.take(rows.population) if len(rows.population) else None,
            is_offline=kind == "offline",
        )

    def _samples(self, kind: str, indices: np.ndarray) -> Samples:
        """The rows as they are judged, which the tutorial crops and flips."""
        if kind == "offline":
            return self._parts.rows.data.take(indices)
        everyone = self._parts.rows.of("eval")
        parts = [everyone.members, everyone.non_members]
        if self._parts.rows.canaries is not None:
            parts += [self._parts.rows.canaries.members, self._parts.rows.canaries.non_members]
        return Samples(
            *(np.concatenate([getattr(one, name) for one in parts]) for name in ("features", "labels", "indices"))
        )
