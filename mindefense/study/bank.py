"""The banks of shadow models of a study: which rows each model is trained on, their files, and the trained models."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.checkpoint import Checkpoint, load_checkpoint, parameters_of
from mindefense.errors import CheckpointError, InputError
from mindefense.runtime import versions
from mindefense.study.bank_training import Trained, Trainings, is_dense
from mindefense.study.networks import StudyNetworks, StudyParts
from mindefense.study.store import mark_of
from mindefense.targets.bank import LEARNED_FROM, POPULATION, BankRows, ShadowBank, bank_rows, trained_on
from mindefense.targets.base import clean_target
from mindefense.training import Epoch, TrainConfig, columns_of, train_classifier
from mindefense.types import Samples

Advance = Callable[[int, str], None]
_SEED = {"online": 1_000, "offline": 500_000}
"""What the seed of a bank's first model is above the study's."""
_IN_SMOKE = 100
"""Largest number of rows to learn from, and of the population, in a smoke test."""


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
        return bank_rows(
            len(rows.data),
            judged,
            rows.split.target_members,
            offline=kind == "offline",
            seed=self._parts.config.seed,
            most=_IN_SMOKE if self._parts.config.smoke else POPULATION,
        )

    def indices(self, kind: str, number: int) -> np.ndarray:
        """Positions in the data set of the rows that a model is trained on."""
        return self.rows(kind).of_models(number + 1, seed=self._parts.config.seed)[number]

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

    def planned(self, kind: str) -> int:
        """Number of models that the study plans for a bank; 0 if it has no rows for them."""
        return self._parts.config.bank_sizes()[kind] if self.has_rows(kind) else 0

    def has_rows(self, kind: str) -> bool:
        """Whether there are enough rows for the models of a bank."""
        try:
            self.rows(kind)
        except InputError:
            return False
        return True

    def is_complete(self) -> bool:
        """Whether every planned model has a file."""
        return all(self.count(kind) >= self.planned(kind) for kind in _SEED)

    def train(self, kind: str, count: int, *, resume: bool, jobs: int | None = None) -> list[Path]:
        """Trains the models of a bank that are not there yet, each into a file of its own.

        Args:
            kind: ``"online"`` or ``"offline"``.
            count: How many models the bank is to have.
            resume: Whether a training that was stopped goes on. Finished models of this study stay in either case.
            jobs: Processes on each rank that train MLPs side by side on a CPU; None for the number that a short
                measurement finds fastest, which is shown, and on several ranks for one per core. Other networks, and
                other devices, train one model after the other on each rank. The weights are the same for any number
                of processes and ranks.

        Returns:
            The files of the models that were trained now.

        Raises:
            CheckpointError: If `resume` is asked for and a model that is there is of another study.
        """
        self._loaded.pop(kind, None)
        if not resume:
            self._remove_stale(kind, count)
        missing = [number for number in range(count) if not self._is_done(kind, number)]
        if not missing:
            return []
        (self._parts.store.out / "shadows").mkdir(parents=True, exist_ok=True)
        if resume:
            self._check_own(kind, missing)
        parts, epochs = self._parts, self.training(kind, 0).epochs
        title = f"train {len(missing)} {kind} shadows"
        with (
            parts.stages.timed("train shadows"),
            parts.stages.progress.stage(title, len(missing) * epochs) as advance,
        ):
            if is_dense(parts.preset) or parts.shared is not None:
                self._train_whole(kind, missing, jobs, advance)
            else:
                for place, number in enumerate(missing):
                    self._train_cell(kind, number, resume, _epochs_of(place, len(missing), advance))
        return [parts.store.path(self.role(kind, number)) for number in missing]

    def _remove_stale(self, kind: str, count: int) -> None:
        """Removes models above the first `count` that an earlier study left in the folder."""
        for number in range(count, self.count(kind)):
            if not self._is_done(kind, number):
                self._parts.store.path(self.role(kind, number)).unlink()

    def _check_own(self, kind: str, numbers: Sequence[int]) -> None:
        """Raises CheckpointError if a file is there that belongs to another study."""
        store = self._parts.store
        for number in numbers:
            if store.holds(self.role(kind, number)):
                held = load_checkpoint(store.path(self.role(kind, number)))
                store.check_fresh(held, "train-shadows", self._mark(kind, number), self.training(kind, number))

    def _train_whole(
        self, kind: str, missing: Sequence[int], jobs: int | None, advance: Callable[[int, str], None]
    ) -> None:
        """Trains models that are stored only when they are finished: MLPs side by side, or one on each rank."""
        parts = self._parts
        held = self.rows(kind).of_models(max(missing) + 1, seed=parts.config.seed)
        used = np.unique(np.concatenate([held[number] for number in missing]))
        samples = parts.rows.data.take(used)
        done = 0
        # On many ranks in rounds, so that finished models are stored; one process stores each at once.
        shared = parts.shared
        together = len(missing) if shared is None else shared.crew.size * (jobs or shared.workers())
        for first in range(0, len(missing), together):
            numbers = missing[first : first + together]
            chosen = np.stack([np.searchsorted(used, held[number]) for number in numbers])
            configs = [self.training(kind, number) for number in numbers]
            trainings = Trainings(samples.features, samples.labels, chosen, configs)
            run = self._run_here(kind, trainings, jobs) if shared is None else shared.run(trainings, jobs)
            for number, (net, history) in zip(numbers, run, strict=True):
                done += 1
                described = {
                    **self._description(kind, number),
                    "train": dataclasses.asdict(self.training(kind, number)),
                    "history": columns_of(history),
                }
                parts.store.save(self.role(kind, number), parameters_of(net), described)
                advance(history[-1].of, f"{done} of {len(missing)}")

    def _run_here(self, kind: str, trainings: Trainings, jobs: int | None) -> Iterator[Trained]:
        """Trains models in this process and `jobs` others; None for as many as are fastest."""
        preset, progress = self._parts.preset, self._parts.stages.progress
        if jobs is None:
            processes = trainings.processes(preset)
            jobs = processes.jobs
            if processes.rates:
                progress.say(f"train {len(trainings.configs)} {kind} shadows: {processes}")
        return trainings.run(preset, jobs)

    def _train_cell(self, kind: str, number: int, resume: bool, on_epoch: Callable[[Epoch], None]) -> None:
        """Trains any network with MindSpore."""
        parts, preset = self._parts, self._parts.preset
        samples = parts.rows.data.take(self.indices(kind, number))
        train_classifier(
            preset.build(self._seed(kind, number)),
            samples.features,
            samples.labels,
            self.training(kind, number),
            prepare=preset.prepare,
            noise_seed=self._seed(kind, number),
            checkpoint=parts.store.path(self.role(kind, number)),
            checkpoint_every=preset.checkpoint_every,
            resume=resume,
            description=self._description(kind, number),
            on_epoch=on_epoch,
        )

    def _description(self, kind: str, number: int) -> dict[str, Any]:
        return {
            "kind": f"{kind} shadow",
            "versions": versions(),
            **self._mark(kind, number),
        }

    def _mark(self, kind: str, number: int) -> dict[str, Any]:
        made_of = {"architecture": self._parts.preset.architecture, "seed": self._parts.config.seed, "number": number}
        return mark_of(self._parts.rows.data, self.indices(kind, number), **made_of)

    def _is_done(self, kind: str, number: int) -> bool:
        """Whether a model of this study is there and its training has ended."""
        try:
            self._open(kind, number)
        except (CheckpointError, InputError):  # it is of another study, which had rows for it
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
        count, data = self.count(kind), self._parts.rows.data
        if not count or not self.has_rows(kind):
            return None
        models, held = [], []
        for number in range(count):
            models.append(self._networks.as_network(self.role(kind, number), self._open(kind, number)))
            held.append(self.indices(kind, number))
        rows = self.rows(kind)
        learned_from = _IN_SMOKE if self._parts.config.smoke else LEARNED_FROM
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


def _epochs_of(place: int, models: int, advance: Advance) -> Callable[[Epoch], None]:
    """What moves the bar of a whole bank by the epochs of one of its models, counted from 0."""
    done = 0

    def on_epoch(epoch: Epoch) -> None:
        nonlocal done
        is_last = epoch.number == epoch.of
        advance(epoch.number - done, f"{place + is_last} of {models}, accuracy {epoch.accuracy:.3f}")
        done = epoch.number  # a resume starts with more than one

    return on_epoch
