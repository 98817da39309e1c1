"""Distributes the heavy work of a study over all ranks of a job: queries, reshaping, and training.

Rank 0 runs the study. The other ranks have copies of its networks and defenses and compute their part of each job.
Rows are divided at the batch boundaries of one process, so that the answers are the same to the last bit for any number
of ranks.
"""

from __future__ import annotations

import dataclasses
import functools
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
"""Largest number of vectors in one job of reshaping."""
FEW = 256
"""Up to this number of vectors, one rank reshapes them all, because the transfer would take longer."""


def jobs_of(crew: ProcessGroup) -> dict[str, Job]:
    """The jobs that a study on rank 0 sends to the other ranks, for `ProcessGroup.follow`; they need no local files."""
    jobs: dict[str, Job] = {}

    def open_study(settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        config = StudyConfig(**settings["config"])
        preset = preset_for(config, columns=settings["columns"], classes=settings["classes"])
        jobs.update(SharedWork(crew, preset, settings["classes"], amp=settings["amp"]).jobs)

    jobs[_OPEN] = open_study
    return jobs


class SharedWork:
    """The part of every rank in the work of a study.

    Args:
        crew: The ranks.
        preset: How the study's networks are built and prepared.
        classes: Number of classes C.
        amp: Precision at which networks are queried; see `Study`.
    """

    def __init__(self, crew: ProcessGroup, preset: Preset, classes: int, *, amp: str):
        self.crew, self._preset, self._classes, self._amp = crew, preset, classes, amp
        self.query_batch = preset.query_batch
        self._weights: dict[str, Mapping[str, np.ndarray]] = {}
        self._in_use: str | None = None
        self._defense: Defense | None = None
        self._given: Defense | None = None
        self._feed: dict[str, Any] = {
            "prepare": preset.prepare,
            "batch_size": preset.query_batch,
            "as_graph": True,
        }

    # ---------------------------------------------------------------- rank 0

    def open(self, config: StudyConfig, columns: int) -> None:
        """Sends the study's settings to the other ranks."""
        settings = {
            "config": dataclasses.asdict(config),
            "columns": columns,
            "classes": self._classes,
            "amp": self._amp,
        }
        self.crew.lead(_OPEN, settings, here=lambda settings, arrays: None)

    def network(self, role: str, cell: nn.Cell) -> SharedNetwork:
        """Gives every rank a copy of a network: the target, the shadow model, or a model of a bank.

        Args:
            role: The network's name; a later network of the same name replaces it.
            cell: The trained network.
        """
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
            config: Training settings.
            **keeping: Arguments of `train_classifier` about checkpoints and progress, for rank 0.
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
        """``(N, C)`` float32 logits of ``(N, ...)`` samples, a part computed by each rank."""
        settings: dict[str, Any] = {"role": role, "noise": None}
        if noise is not None:
            settings["noise"] = {"key": noise.key.hex(), "scale": noise.scale}
        found = self.crew.lead("forward", settings, {"samples": samples}, here=self.forward)
        assert found is not None
        return found

    def lead_reshape(self, defense: Defense, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """``(N, C)`` float32 reshaped vectors, a part computed by each rank."""
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
        """The jobs of the other ranks, by name."""
        return {
            "take_network": self.take_network,
            "forward": self.forward,
            "take_defense": self.take_defense,
            "reshape": self.reshape,
            "train": self.train_along,
            "run_trainings": self.run_trainings,
        }

    def take_network(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Keeps the parameters of a network of the preset."""
        self._weights[settings["role"]] = arrays
        self._in_use = None  # the Cell may hold earlier parameters of this role

    def take_defense(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Builds a defense, which replaces the previous one."""
        self._defense = DEFENSES[settings["name"]].restore(settings["settings"], arrays)

    def train_along(self, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Takes part in a training whose result rank 0 stores."""
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
        """This rank's part of the logits, in whole batches except the last."""
        samples = arrays["samples"]
        part = part_of(len(samples), rank=self.crew.rank, size=self.crew.size, block=self._preset.query_batch)
        if part.start == part.stop:
            return np.empty((0, self._classes), np.float32)
        noise = settings["noise"]
        if noise is not None:
            noise = KeyedNoise(bytes.fromhex(noise["key"]), noise["scale"])
        return forward(self._network(settings["role"]), samples[part], noise=noise, **self._feed)

    def _network(self, role: str) -> nn.Cell:
        """The network of a role, valid until the next call.

        All roles share one Cell, because compiling it takes longer than replacing its parameters and answering a
        thousand rows, and a bank may have 64 models.
        """
        net, cell = self._cell
        if self._in_use != role:
            for parameter in net.get_parameters():
                parameter.set_data(ms.Tensor(self._weights[role][parameter.name]))
            self._in_use = role
        return cell

    @functools.cached_property
    def _cell(self) -> tuple[nn.Cell, nn.Cell]:
        """A network of the preset, and the same network in the precision of the queries."""
        net = self._preset.build(0)
        return net, auto_mixed_precision(net, self._amp)

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
        """Number of processes of this rank: its share of the host's cores, or all cores that it is bound to."""
        is_bound = cores() < (os.cpu_count() or 1)
        return cores() if is_bound else max(1, cores() // self.crew.on_this_host)


class SharedNetwork:
    """An `Executor` for a network of which every rank has a copy.

    Args:
        work: The work of the ranks.
        role: The network's name in it.
    """

    def __init__(self, work: SharedWork, role: str):
        self._work, self._role = work, role

    def forward(
        self, samples: np.ndarray, *, noise: KeyedNoise | None, on_rows: Callable[[int], None] | None
    ) -> np.ndarray:
        """See `Executor.forward`."""
        size, batch = self._work.crew.size, self._work.query_batch
        # Whole batches, so that the batch boundaries are those of one process.
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
        """See `Executor.reshape`. Fast or user-defined defenses, and few vectors, are reshaped in this process."""
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
