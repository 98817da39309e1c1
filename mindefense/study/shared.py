"""The heavy work of a study on all ranks of a job: asking networks, reshaping, and training on images.

Rank 0 runs the study; the others hold copies of its networks and defenses and do their part of what it asks. Rows are
cut where one process would cut them into batches, so that the answers are the same bits with any number of ranks.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn
from mindspore.amp import auto_mixed_precision

from mindefense.checkpoint import parameters_of
from mindefense.defenses.base import Defense
from mindefense.defenses.defended import DEFENSES
from mindefense.keyed_noise import KeyedNoise
from mindefense.ranks import Job, ProcessGroup, part_of
from mindefense.study.bank_training import Trained, Trainings
from mindefense.study.config import StudyConfig
from mindefense.study.presets import Preset, preset_for
from mindefense.subprocesses import cores
from mindefense.targets.cell import forward
from mindefense.training import TrainConfig, train_classifier

_OPEN = "open_study"
_MOST_BYTES = 1 << 25
"""Largest size of the samples in one transfer; larger transfers would only need more memory."""
_MOST_ROWS = 1 << 15
"""Vectors that are reshaped at a time."""
FEW = 256
"""Vectors that are reshaped by one rank: fewer are not worth the way."""


def jobs_of(crew: ProcessGroup) -> dict[str, Job]:
    """What studies on rank 0 ask of the other ranks, for `ProcessGroup.follow`; these need no data and no files."""
    jobs: dict[str, Job] = {}

    def open_study(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        config = StudyConfig(**settings["config"])
        preset = preset_for(config, columns=settings["columns"], classes=settings["classes"])
        jobs.update(SharedWork(crew, preset, settings["classes"], amp=settings["amp"]).jobs)

    jobs[_OPEN] = open_study
    return jobs


class SharedWork:
    """What every rank does of a study.

    Args:
        crew: The ranks.
        preset: How the study's networks are built and fed.
        classes: Number of classes C.
        amp: Precision that networks are asked at; see `Study`.
    """

    def __init__(self, crew: ProcessGroup, preset: Preset, classes: int, *, amp: str):
        self.crew, self._preset, self._classes, self._amp = crew, preset, classes, amp
        self.query_batch = preset.query_batch
        self._networks: dict[str, nn.Cell] = {}
        self._defense: Defense | None = None
        self._given: Defense | None = None
        self._feed: dict[str, Any] = {
            "prepare": preset.prepare,
            "batch_size": preset.query_batch,
            "as_graph": True,
        }

    # ---------------------------------------------------------------- rank 0

    def open(self, config: StudyConfig, columns: int) -> None:
        """Tells the other ranks what the study is about."""
        settings = {
            "config": dataclasses.asdict(config),
            "columns": columns,
            "classes": self._classes,
            "amp": self._amp,
        }
        self.crew.lead(_OPEN, settings, here=lambda settings, arrays: None)

    def network(self, role: str, cell: nn.Cell) -> SharedNetwork:
        """Gives every rank a copy of a network."""
        self.crew.lead("take_network", {"role": role}, parameters_of(cell), here=self.take_network)
        return SharedNetwork(self, role)

    def train(
        self, net: nn.Cell, features: np.ndarray, labels: np.ndarray, config: TrainConfig, **keeping: Any
    ) -> None:
        """Trains a network on all ranks, each on its part of every batch.

        Args:
            net: The network.
            features: ``(N, ...)`` samples.
            labels: ``(N,)`` classes.
            config: How to train.
            **keeping: What rank 0 keeps and tells of it, as of `train_classifier`.
        """
        with self.crew.in_step(
            "train", {"config": dataclasses.asdict(config)}, {"features": features, "labels": labels}
        ):
            train_classifier(net, features, labels, config, prepare=self._preset.prepare, crew=self.crew, **keeping)

    def run(self, trainings: Trainings, jobs: int | None) -> Iterator[Trained]:
        """Trains whole models, some on each rank, in `jobs` processes of one core each; None for its share of cores."""
        settings, arrays = trainings.to_ranks()
        found = self.crew.lead("run_trainings", {**settings, "jobs": jobs}, arrays, here=self.run_trainings)
        assert found is not None
        return trainings.unpacked(found, self._preset)

    def lead_forward(self, role: str, samples: np.ndarray, noise: KeyedNoise | None) -> np.ndarray:
        """Logits of samples, a part from each rank."""
        settings: dict[str, Any] = {"role": role, "noise": None}
        if noise is not None:
            settings["noise"] = {"key": noise.key.hex(), "scale": noise.scale}
        found = self.crew.lead("forward", settings, {"samples": samples}, here=self.forward)
        assert found is not None
        return found

    def lead_reshape(self, defense: Defense, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Reshaped vectors, a part from each rank."""
        if self._given is not defense:
            settings = {"name": type(defense).name, "settings": defense.settings()}
            self.crew.lead("take_defense", settings, defense.arrays(), here=self.take_defense)
            self._given = defense
        found = self.crew.lead("reshape", {}, arrays, here=self.reshape)
        assert found is not None
        return found

    # ---------------------------------------------------------------- the other ranks

    @property
    def jobs(self) -> dict[str, Job]:
        """What the others can be asked to do, by name."""
        return {
            "take_network": self.take_network,
            "forward": self.forward,
            "take_defense": self.take_defense,
            "reshape": self.reshape,
            "train": self.train_along,
            "run_trainings": self.run_trainings,
        }

    def take_network(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Builds a network of the preset with these parameters."""
        net = self._preset.build(0)
        for parameter in net.get_parameters():
            parameter.set_data(ms.Tensor(arrays[parameter.name]))
        self._networks[settings["role"]] = auto_mixed_precision(net, self._amp)

    def take_defense(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Builds a defense, in the place of the one before."""
        self._defense = DEFENSES[settings["name"]].restore(settings["settings"], arrays)

    def train_along(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Trains with rank 0, which keeps the result."""
        config = TrainConfig(**settings["config"])
        net = self._preset.build(0)
        prepare = self._preset.prepare
        train_classifier(
            net, arrays["features"], arrays["labels"], config, prepare=prepare, crew=self.crew, progress=False
        )

    # ---------------------------------------------------------------- every rank

    def run_trainings(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """This rank's part of the trainings of whole models."""
        trainings, jobs = Trainings.from_rank_0(settings, arrays), settings["jobs"] or self.workers()
        return trainings.run_part(self._preset, jobs, rank=self.crew.rank, size=self.crew.size)

    def forward(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """This rank's part of the logits: whole batches, but for the last."""
        samples = arrays["samples"]
        part = part_of(len(samples), rank=self.crew.rank, size=self.crew.size, block=self._preset.query_batch)
        if part.start == part.stop:
            return np.empty((0, self._classes), np.float32)
        noise = settings["noise"]
        if noise is not None:
            noise = KeyedNoise(bytes.fromhex(noise["key"]), noise["scale"])
        return forward(self._networks[settings["role"]], samples[part], noise=noise, **self._feed)

    def reshape(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """This rank's part of the reshaped vectors."""
        part = part_of(len(arrays["clean_probs"]), rank=self.crew.rank, size=self.crew.size, block=FEW)
        assert self._defense is not None
        return self._defense.reshape(
            arrays["clean_probs"][part],
            arrays["start_logits"][part],
            draws=arrays["draws"][part] if "draws" in arrays else None,
            workers=self.workers(),
        )

    def workers(self) -> int:
        """Processes for this rank: its share of the host's cores, unless the launcher has bound it to some already."""
        is_bound = cores() < (os.cpu_count() or 1)
        return cores() if is_bound else max(1, cores() // self.crew.on_this_host)


class SharedNetwork:
    """A network of which every rank holds a copy; a `Executor`.

    Args:
        work: The ranks' work.
        role: The network's name there.
    """

    def __init__(self, work: SharedWork, role: str):
        self._work, self._role = work, role

    def forward(
        self, samples: np.ndarray, *, noise: KeyedNoise | None, on_rows: Callable[[int], None] | None
    ) -> np.ndarray:
        """See `Executor.forward`."""
        size, batch = self._work.crew.size, self._work.query_batch
        # Whole batches, since that is where one process would cut the rows.
        rows = batch * max(size, _MOST_BYTES // max(1, samples[0].nbytes) // batch)
        found = []
        for first in range(0, len(samples), rows):
            chunk = samples[first : first + rows]
            found.append(self._work.lead_forward(self._role, chunk, noise))
            if on_rows is not None:
                on_rows(len(chunk))
        return np.concatenate(found)

    def reshape(
        self,
        defense: Defense,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        draws: np.ndarray | None,
        on_progress: Callable[[int], None] | None,
    ) -> np.ndarray:
        """See `Executor.reshape`; what is quickly done, or not known to the other ranks, is done here."""
        is_known = DEFENSES.get(type(defense).name) is type(defense)
        if not (is_known and defense.searches) or len(clean_probs) <= FEW:
            return defense.reshape(clean_probs, start_logits, draws=draws, on_progress=on_progress)
        given = {"clean_probs": clean_probs, "start_logits": start_logits}
        if draws is not None:
            given["draws"] = draws
        found = []
        for first in range(0, len(clean_probs), _MOST_ROWS):
            chunk = {name: array[first : first + _MOST_ROWS] for name, array in given.items()}
            found.append(self._work.lead_reshape(defense, chunk))
            if on_progress is not None:
                on_progress(len(found[-1]))
        return np.concatenate(found)
