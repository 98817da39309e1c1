"""Trains fully connected networks by plain descent on one core each, many side by side. Needs only NumPy.

The matrix products of such small networks gain little from threads: N processes of one core each train more models a
minute than one process of N threads (benchmarks/bank.py). One core for each also gives the same bits for any number of
processes. The steps, their order and the loss are those of `mindefense.training.engines.EpochGraph`; the weights differ
from its weights only by rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from mindefense.training.config import Epoch, TrainConfig, check_loss

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""``W (in, out)`` and ``b (out,)`` float32 of each layer, with ReLU between the layers."""


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
