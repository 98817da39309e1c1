"""Trains fully connected networks by plain descent on one core each, many side by side. Needs only NumPy.

The matrix products of such small networks gain little from threads: N processes of one core each train more models a
minute than one process of N threads (benchmarks/bank.py). One core for each also gives the same bits for any number of
processes. The steps, their order and the loss are those of `mindefense.training.engines.EpochGraph`; the weights differ
from its weights only by rounding.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mindefense.training.config import Epoch, TrainConfig, check_loss

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""``W (in, out)`` and ``b (out,)`` float32 of each layer, with ReLU between the layers."""

FEW_TASKS, FEW_STEPS = 4, 5000
"""Up to so many trainings, or steps of all trainings, take no longer than a measurement can save."""
_MEASURED = 0.4
"""Seconds for which the steps of each number of processes are counted."""


@dataclasses.dataclass(frozen=True, eq=False)
class DenseTask:
    """One training.

    Attributes:
        start: Initial weights.
        features: ``(N, widths[0])`` rows.
        labels: ``(N,)`` int classes.
        config: Settings; momentum and random crops are not available, and the loss is ``"softmax"``.
    """

    start: Layers
    features: np.ndarray
    labels: np.ndarray
    config: TrainConfig

    def steps(self) -> int:
        """Largest number of steps of the training."""
        return self.config.epochs * math.ceil(len(self.labels) / self.config.batch_size)


@dataclasses.dataclass(frozen=True)
class Processes:
    """How many processes train side by side.

    Attributes:
        jobs: Number of processes, at least 1.
        rates: Measured steps per second of all processes together, by number of processes; empty if not measured.

    Example:
        >>> str(Processes(2, {1: 270.4, 2: 480.3}))
        '2 processes side by side (measured: 1 process 270 steps/s, 2 processes 480 steps/s)'
    """

    jobs: int
    rates: dict[int, float] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        measured = ", ".join(f"{_counted(jobs)} {rate:.0f} steps/s" for jobs, rate in self.rates.items())
        return f"{_counted(self.jobs)} side by side" + (f" (measured: {measured})" if measured else "")


def _counted(jobs: int) -> str:
    return f"{jobs} process" + "es" * (jobs > 1)


def fastest_processes(task: DenseTask, count: int, cores: int) -> Processes:
    """Finds by a short measurement how many processes train fastest: one, half as many as there are cores, or all.

    More processes are not always faster, for example where two cores are one core with hyper-threading. The trained
    weights do not depend on the number. Few or short trainings get a process per core without a measurement.

    Args:
        task: One of the trainings, which is not changed.
        count: Number of trainings, at least 1.
        cores: Number of cores, at least 1.
    """
    most = min(cores, count)
    if most == 1 or count <= FEW_TASKS or count * task.steps() <= FEW_STEPS:
        return Processes(most)
    candidates = sorted({1, max(1, min(cores // 2, count)), most})
    _counts(task, most, most, 0.0)  # starts the processes, which the trainings use afterwards
    rates = {jobs: _rate(_counts(task, jobs, most, _MEASURED)) for jobs in candidates}
    return Processes(max(candidates, key=lambda jobs: rates[jobs]), rates)


def _counts(task: DenseTask, jobs: int, most: int, seconds: float) -> list[tuple[int, float, float]]:
    """What `_count` finds in `jobs` of `most` processes at the same time."""
    from joblib import Parallel, delayed, parallel_config

    if jobs == 1:
        return [_count(task, seconds)]
    with parallel_config("loky", inner_max_num_threads=1):
        return Parallel(most, max_nbytes=None, batch_size=1)(delayed(_count)(task, seconds) for _ in range(jobs))


def _count(task: DenseTask, seconds: float) -> tuple[int, float, float]:
    """Number of steps within so many seconds, and the times of begin and end."""
    from threadpoolctl import threadpool_limits

    steps = 0
    with threadpool_limits(1):
        descent, began = _Descent(task), time.time()  # a clock that all processes share
        while (ended := time.time()) < began + seconds:
            descent.try_step()
            steps += 1
    return steps, began, ended


def _rate(counts: Sequence[tuple[int, float, float]]) -> float:
    """Steps per second, from the first begin to the last end."""
    steps, began, ended = zip(*counts, strict=True)
    return sum(steps) / (max(ended) - min(began))


def train_side_by_side(tasks: Iterable[DenseTask], jobs: int) -> Iterator[tuple[Layers, tuple[Epoch, ...]]]:
    """Trains networks in processes of one core each; yields the results of `train_dense` in the order of the tasks.

    Args:
        tasks: The trainings, taken as processes become free.
        jobs: Number of processes; 1 to stay in this one.
    """
    if jobs == 1:
        yield from map(train_dense, tasks)
        return
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("loky", inner_max_num_threads=1):
        yield from Parallel(jobs, return_as="generator", max_nbytes=None, pre_dispatch="1.5*n_jobs")(
            delayed(train_dense)(task) for task in tasks
        )


def train_dense(task: DenseTask) -> tuple[Layers, tuple[Epoch, ...]]:
    """Trains a network on one core.

    Returns:
        The trained layers, and the figures of all epochs.

    Raises:
        InputError: If the loss becomes NaN or infinite.
    """
    from threadpoolctl import threadpool_limits

    history: list[Epoch] = []
    with threadpool_limits(1):
        descent = _Descent(task)
        while not task.config.ends(history):
            loss, accuracy = descent.run(len(history))
            check_loss(loss, len(history), task.config)
            history.append(Epoch(len(history) + 1, task.config.epochs, loss, accuracy))
    return descent.layers, tuple(history)


class _Descent:
    """The steps of one training."""

    def __init__(self, task: DenseTask):
        self.layers = [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in task.start]
        self._config, self._labels = task.config, task.labels.astype(np.int64)
        self._features = task.features.astype(np.float32)
        self._changes = [np.empty_like(weight) for weight, _ in self.layers]

    def run(self, number: int) -> tuple[float, float]:
        """Trains epoch `number`, counted from 0, and returns its mean loss and share of rows classified correctly."""
        config, n = self._config, len(self._labels)
        batch = min(config.batch_size, n)
        steps = math.ceil(n / batch)
        order = np.random.default_rng((config.seed, number)).permutation(n)
        total, correct = np.float32(0), 0
        for step, rate in enumerate(config.rates(number, steps)):
            loss, right = self._step(order[step * batch : (step + 1) * batch], rate)
            total, correct = total + loss, correct + right
        return float(total) / steps, correct / n

    def try_step(self) -> None:
        """Computes a step of learning rate 0, which takes as long as any other and leaves the weights."""
        self._step(np.arange(min(self._config.batch_size, len(self._labels))), 0.0)

    def _step(self, rows: np.ndarray, rate: float) -> tuple[np.float32, int]:
        config, last = self._config, len(self.layers) - 1
        values = [self._features[rows]]
        for level, (weight, bias) in enumerate(self.layers):
            z = values[-1] @ weight
            z += bias
            values.append(z if level == last else np.maximum(z, 0, out=z))
        logits, labels = values.pop(), self._labels[rows]
        correct = int((logits.argmax(axis=1) == labels).sum())
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        spread = config.label_smoothing / log_p.shape[1]
        truth = np.full_like(log_p, spread)
        truth[np.arange(len(rows)), labels] += np.float32(1 - config.label_smoothing)
        loss = -(truth * log_p).sum(axis=1).mean()
        # The gradient includes the learning rate, so that an update is a single subtraction.
        slope = (np.exp(log_p) - truth) * np.float32(rate / len(rows))
        decay = np.float32(config.weight_decay * rate)
        for level in range(last, -1, -1):
            (weight, bias), change = self.layers[level], self._changes[level]
            np.matmul(values[level].T, slope, out=change)
            if decay:
                change += decay * weight
            bias -= slope.sum(axis=0)
            if level:
                slope = slope @ weight.T
                slope *= values[level] > 0
            weight -= change
        return loss, correct
