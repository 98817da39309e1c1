"""Trains dense networks by plain descent on one core each, many side by side. Needs only NumPy.

The matrix products of such small networks gain little from threads: N processes of one core each train more models a
minute than one process of N threads (benchmarks/bank.py). One core for each also gives the same bits for any number of
processes. The steps, their order and the loss are those of `mindefense.training.engines.EpochGraph`; the weights differ
from its weights only by rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from mindefense.confidence import sigmoid
from mindefense.subprocesses import side_by_side
from mindefense.training.config import Epoch, TrainConfig, check_loss

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""``W (in, out)`` and ``b (out,)`` float32 of each layer, with ReLU between the layers."""
Trained = tuple[Layers, tuple[Epoch, ...]]
"""The trained layers, in the order of `DenseTask.start`, and the figures of all epochs."""

FEW_TASKS, FEW_STEPS = 4, 5000
"""Up to so many trainings, or steps of all trainings, take no longer than a measurement can save."""
_MEASURED = 0.4
"""Seconds for which the steps of each number of processes are counted."""


@dataclasses.dataclass(frozen=True, eq=False)
class DenseTask:
    """One training.

    Without branches, the network is one stack of layers. With branches, each of them is a stack that gets its own
    columns of the features; ReLU of their outputs, side by side, is the input of the last stack.

    Attributes:
        start: Initial weights: the layers of all branches one after the other, then those of the last stack.
        features: ``(N, F)`` rows; the first layers of the branches take F numbers together.
        labels: ``(N,)`` int classes for the loss ``"softmax"``, 0/1 or bool for ``"sigmoid"``.
        config: Settings; momentum and random crops are not available.
        branches: Number of layers of each branch; none for one stack.
        noise_seed: Seed of noise and sampling in private training; None for secret ones.
    """

    start: Layers
    features: np.ndarray
    labels: np.ndarray
    config: TrainConfig
    branches: tuple[int, ...] = ()
    noise_seed: int | None = None

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
        descent, began = Descent(task), time.time()  # a clock that all processes share
        while (ended := time.time()) < began + seconds:
            descent.try_step()
            steps += 1
    return steps, began, ended


def _rate(counts: Sequence[tuple[int, float, float]]) -> float:
    """Steps per second, from the first begin to the last end."""
    steps, began, ended = zip(*counts, strict=True)
    return sum(steps) / (max(ended) - min(began))


def train_side_by_side(tasks: Iterable[DenseTask], jobs: int) -> Iterator[Trained]:
    """Trains networks in processes of one core each; yields the results of `train_dense` in the order of the tasks.

    Args:
        tasks: The trainings, taken as processes become free.
        jobs: Number of processes; 1 to stay in this one.
    """
    return side_by_side((functools.partial(train_dense, task) for task in tasks), jobs)


def train_dense(task: DenseTask, *, on_epoch: Callable[[Epoch], None] | None = None) -> Trained:
    """Trains a network on one core.

    Args:
        task: The training.
        on_epoch: Called after every epoch.

    Returns:
        The trained layers, and the figures of all epochs.

    Raises:
        InputError: If the loss becomes NaN or infinite.
    """
    from threadpoolctl import threadpool_limits

    history: list[Epoch] = []
    with threadpool_limits(1):
        if task.config.noise_multiplier:
            from mindefense.training.private import PrivateDescent  # which imports this module

            descent: Descent = PrivateDescent(task)
        else:
            descent = Descent(task)
        while not task.config.ends(history):
            with np.errstate(over="ignore", invalid="ignore"):  # the error below says it in one line
                loss, accuracy = descent.run(len(history))
            check_loss(loss, len(history), task.config)
            history.append(Epoch(len(history) + 1, task.config.epochs, loss, accuracy))
            if on_epoch is not None:
                on_epoch(history[-1])
    return descent.layers, tuple(history)


class Descent:
    """The steps of one training."""

    def __init__(self, task: DenseTask):
        ends = np.cumsum(task.branches, dtype=int).tolist()
        *branches, self._last = [Stack(task.start[a:b]) for a, b in zip([0, *ends], [*ends, None], strict=True)]
        self._branches = branches
        self._config, self._labels = task.config, task.labels.astype(np.int64)
        self._parts = _columns(task.features.astype(np.float32), [stack.inputs for stack in branches or [self._last]])
        self._loss = _softmax_loss if task.config.loss == "softmax" else _sigmoid_loss

    @property
    def layers(self) -> Layers:
        """The weights in the order of `DenseTask.start`."""
        return [layer for stack in (*self._branches, self._last) for layer in stack.layers]

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
        logits = self._forward([part[rows] for part in self._parts])
        loss, correct, slope = self._loss(logits, self._labels[rows], self._config.label_smoothing)
        # The gradient includes the learning rate, so that an update is a single subtraction.
        slope *= np.float32(rate / len(rows))
        self._backward(slope, np.float32(self._config.weight_decay * rate))
        return loss, correct

    def _forward(self, parts: list[np.ndarray]) -> np.ndarray:
        if not self._branches:
            return self._last.forward(parts[0])
        outputs = [stack.forward(part) for stack, part in zip(self._branches, parts, strict=True)]
        joined = np.concatenate(outputs, axis=1)
        return self._last.forward(np.maximum(joined, 0, out=joined))

    def _backward(self, slope: np.ndarray, decay: np.float32) -> None:
        if not self._branches:
            self._last.backward(slope, decay)
            return
        slope = self._last.backward(slope, decay, through_inputs=True)
        slopes = _columns(slope, [stack.outputs for stack in self._branches])
        for stack, part in zip(self._branches, slopes, strict=True):
            stack.backward(part, decay)


class Stack:
    """Dense layers with ReLU between them.

    Args:
        start: Initial weights, which are copied.

    Attributes:
        layers: The weights.
        values: After `forward`: the inputs of each layer.
    """

    def __init__(self, start: Layers):
        self.layers = [(weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in start]
        self.inputs, self.outputs = len(start[0][0]), len(start[-1][1])
        self._changes = [np.empty_like(weight) for weight, _ in self.layers]
        self.values: list[np.ndarray] = []

    def forward(self, inputs: np.ndarray) -> np.ndarray:
        """``(n, outputs)`` float32 of ``(n, inputs)``; keeps the inputs of all layers for `backward`."""
        self.values = [inputs]
        last = len(self.layers) - 1
        for level, (weight, bias) in enumerate(self.layers):
            z = self.values[-1] @ weight
            z += bias
            self.values.append(z if level == last else np.maximum(z, 0, out=z))
        return self.values.pop()

    def backward(self, slope: np.ndarray, decay: np.float32, *, through_inputs: bool = False) -> np.ndarray:
        """Updates the weights.

        Args:
            slope: ``(n, outputs)`` learning rate × gradient of the loss with respect to the outputs of `forward`.
            decay: Learning rate × weight decay.
            through_inputs: Whether the inputs of `forward` are values of ReLU whose gradient is needed too.

        Returns:
            Learning rate × gradient with respect to what that ReLU was applied to, ``(n, inputs)``; without
            `through_inputs` with respect to the outputs of the first layer.
        """
        for level in range(len(self.layers) - 1, -1, -1):
            (weight, bias), change = self.layers[level], self._changes[level]
            np.matmul(self.values[level].T, slope, out=change)
            if decay:
                change += decay * weight
            bias -= slope.sum(axis=0)
            if level or through_inputs:
                slope = slope @ weight.T
                slope *= self.values[level] > 0
            weight -= change
        return slope

    def slopes(self, slope: np.ndarray) -> list[np.ndarray]:
        """Gradients with respect to the outputs of each layer before ReLU, ``(n, width)`` each; changes no weight.

        Args:
            slope: ``(n, outputs)`` gradient of the loss of each row with respect to the outputs of `forward`.
        """
        found = [slope]
        for level in range(len(self.layers) - 1, 0, -1):
            slope = slope @ self.layers[level][0].T
            slope *= self.values[level] > 0
            found.append(slope)
        return found[::-1]


def _columns(values: np.ndarray, widths: Sequence[int]) -> list[np.ndarray]:
    """Copies of groups of adjacent columns, in memory row by row as the matrix products need them."""
    return [np.ascontiguousarray(part) for part in np.split(values, np.cumsum(widths)[:-1], axis=1)]


def _softmax_loss(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> tuple[np.float32, int, np.ndarray]:
    """Mean loss of a batch, number of rows classified correctly, and n × gradient with respect to the logits.

    Args:
        logits: ``(n, C)`` float32; overwritten.
        labels: ``(n,)`` int classes.
        smoothing: `TrainConfig.label_smoothing`.
    """
    correct = int((logits.argmax(axis=1) == labels).sum())
    logits -= logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    truth = np.full_like(log_p, smoothing / log_p.shape[1])
    truth[np.arange(len(labels)), labels] += np.float32(1 - smoothing)
    return -(truth * log_p).sum(axis=1).mean(), correct, np.exp(log_p) - truth


def _sigmoid_loss(logits: np.ndarray, labels: np.ndarray, smoothing: float) -> tuple[np.float32, int, np.ndarray]:
    """The same for ``(n, 1)`` float32 logits and ``(n,)`` int labels 0 and 1; without smoothing."""
    truth = labels[:, None].astype(np.float32)
    correct = int(((logits > 0) == truth).sum())
    # -log σ(z) for members and -log σ(-z) for non-members, in a form that does not overflow.
    losses = np.maximum(logits, 0) - logits * truth + np.log1p(np.exp(-np.abs(logits)))
    return losses.mean(), correct, sigmoid(logits) - truth
