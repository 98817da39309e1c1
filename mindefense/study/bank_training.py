"""The training of many models of one architecture, on this process or on all ranks of a job."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checkpoint import parameters_of
from mindefense.models.mlp import MLP
from mindefense.ranks import part_of
from mindefense.runtime import device_in_use
from mindefense.study.presets import Preset
from mindefense.subprocesses import processes
from mindefense.training import Epoch, TrainConfig, train_classifier, trains_in_steps
from mindefense.training.dense import DenseTask, Processes, fastest_processes, train_side_by_side

Trained = tuple[nn.Cell, tuple[Epoch, ...]]


def is_dense(preset: Preset) -> bool:
    """Whether the models are MLPs on a CPU, which many processes of one core each train side by side."""
    return preset.is_dense and not trains_in_steps(preset.train, preset.prepare) and device_in_use() == "CPU"


@dataclasses.dataclass(frozen=True, eq=False)
class Trainings:
    """Trainings of several models, each on some of the same rows.

    Attributes:
        features: ``(N, ...)`` rows.
        labels: ``(N,)`` classes.
        rows: ``(K, n)`` positions in `features` of each model's rows.
        configs: How each of the K models is trained.
    """

    features: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    configs: Sequence[TrainConfig]

    def part(self, part: slice) -> Trainings:
        """Some of them."""
        return dataclasses.replace(self, rows=self.rows[part], configs=self.configs[part])

    def processes(self, preset: Preset) -> Processes:
        """How many processes train the models fastest; one if they are no MLPs on a CPU. It may be measured."""
        if not is_dense(preset):
            return Processes(1)
        return fastest_processes(next(self._tasks(preset)), len(self.configs), processes())

    def run(self, preset: Preset, jobs: int) -> Iterator[Trained]:
        """Trains the models; yields each as soon as it and those before it are trained.

        Args:
            preset: How networks are built; the seed of a training is also that of the initial weights.
            jobs: Processes for MLPs on a CPU; the weights are the same for any number.
        """
        if not is_dense(preset):
            for rows, config in zip(self.rows, self.configs, strict=True):
                net = preset.build(config.seed)
                features, labels = self.features[rows], self.labels[rows]
                how = {"prepare": preset.prepare, "progress": False, "noise_seed": config.seed}
                yield net, train_classifier(net, features, labels, config, **how)
            return
        for layers, history in train_side_by_side(self._tasks(preset), min(jobs, len(self.configs)) or 1):
            net = _mlp(preset, 0)
            net.load_weights(layers)
            yield net, history

    def _tasks(self, preset: Preset) -> Iterator[DenseTask]:
        for rows, config in zip(self.rows, self.configs, strict=True):
            start = _mlp(preset, config.seed).weights()
            # The noise of the attacker's own models need not be secret, so that the bank can be repeated.
            yield DenseTask(start, self.features[rows], self.labels[rows], config, noise_seed=config.seed)

    # ---------------------------------------------------------------- between ranks

    def to_ranks(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Settings and arrays for `from_rank_0`."""
        arrays = {"features": self.features, "labels": self.labels, "rows": self.rows}
        return {"configs": [dataclasses.asdict(config) for config in self.configs]}, arrays

    @classmethod
    def from_rank_0(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Trainings:
        """The inverse of `to_ranks`."""
        return cls(**arrays, configs=[TrainConfig(**config) for config in settings["configs"]])

    def run_part(self, preset: Preset, jobs: int, *, rank: int, size: int) -> np.ndarray | None:
        """A rank's part of the trainings; ``(k, bytes)`` uint8 for `unpacked`, None if it has none."""
        part = self.part(part_of(len(self.configs), rank=rank, size=size))
        trained = zip(part.run(preset, jobs), part.configs, strict=True)
        packed = [_pack(net, history, config) for (net, history), config in trained]
        return np.stack(packed) if packed else None

    def unpacked(self, packed: np.ndarray, preset: Preset) -> Iterator[Trained]:
        """The trained models of all ranks."""
        for line, config in zip(packed, self.configs, strict=True):
            yield _unpack(line, preset.build(0), config)


def _mlp(preset: Preset, seed: int) -> MLP:
    net = preset.build(seed)
    assert isinstance(net, MLP)
    return net


def _pack(net: nn.Cell, history: Sequence[Epoch], config: TrainConfig) -> np.ndarray:
    """Parameters and figures of the epochs as bytes, equally many for every model of the architecture."""
    figures = np.full((config.epochs, 2), np.nan)
    figures[: len(history)] = [(epoch.loss, epoch.accuracy) for epoch in history]
    arrays = [*parameters_of(net).values(), figures]
    return np.concatenate([np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8) for array in arrays])


def _unpack(packed: np.ndarray, net: nn.Cell, config: TrainConfig) -> Trained:
    """The inverse of `_pack`."""
    message, at = packed.tobytes(), 0
    for parameter in net.get_parameters():
        value = parameter.asnumpy()
        held = np.frombuffer(message, value.dtype, value.size, at).reshape(value.shape)
        parameter.set_data(ms.Tensor(held.copy()))
        at += value.nbytes
    figures = np.frombuffer(message, np.float64, offset=at).reshape(-1, 2)
    rows = enumerate(figures[~np.isnan(figures[:, 0])].tolist(), 1)
    return net, tuple(Epoch(number, config.epochs, loss, accuracy) for number, (loss, accuracy) in rows)
