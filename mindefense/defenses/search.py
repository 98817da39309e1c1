"""The logit search that DefenMI and MemGuard share, for many rows at once, in NumPy.

For every row it searches for logits near the start whose softmax makes the defender's classifier undecided. Each round
gives more weight to the distance to a reference vector (Jia et al., CCS 2019, section 4; Shen & Jiang, IP&M 2025).

The rounds of a row run one after the other, but independently of other rows: a pool of slots holds rows at different
rounds and steps, and a slot that is done takes the next row of the queue. Arrays have the layout (feature, slot), so
that sums over features run along contiguous memory, and a pool fits a core's cache.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from mindefense.errors import InputError

Layers = Sequence[tuple[np.ndarray, np.ndarray]]

ALIGNMENTS = ("corrected", "published")
"""Without and with the published programs' departures from their papers; see `DefenseConfig`."""
_NONE = np.empty(0, np.int64)
_BLOCK = 16
_TINY = np.float32(1e-30)
_LOWEST = np.float32(-80)
_HUGE = np.float32(1e30)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Settings of the search; the defaults are the published ones (Jia et al. 2019; Shen & Jiang 2025).

    Attributes:
        step_size: Length of one step in logit space (beta in the published programs).
        max_iterations: One more than the largest number of steps of a round, as the published programs count.
        c1: Weight of the classifier's absolute logit.
        c2: Weight of the hinge that keeps the predicted class on top.
        c3_first: Weight of the L1 distance to the reference in the first round; each later round has ten times more.
        threshold: The largest weight tried.
        undecided: A row whose classifier output at the start is at most this far from 0.5 is not searched.
        max_steps: Largest number of passes through the classifier, forward and back, for one row over all its rounds,
            including the evaluation of each start; None for as many as the rounds allow. When they are used up, the
            last vector found is the result.
    """

    step_size: float = 0.1
    max_iterations: int = 300
    c1: float = 1.0
    c2: float = 10.0
    c3_first: float = 0.1
    threshold: float = 1e4
    undecided: float = 1e-5
    max_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("step_size", "c1", "c2", "c3_first", "threshold", "undecided"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(name, expected="a finite number above 0", got=repr(getattr(self, name)))
        if self.max_iterations < 2:
            raise InputError("max_iterations", expected="at least 2", got=repr(self.max_iterations))
        if self.threshold < self.c3_first:
            raise InputError("threshold", expected=f"at least c3_first ({self.c3_first})", got=repr(self.threshold))
        if self.undecided >= 0.5:
            raise InputError("undecided", expected="below 0.5", got=repr(self.undecided))
        if self.max_steps is not None and not (isinstance(self.max_steps, int) and self.max_steps >= 2):
            raise InputError("max_steps", expected="a whole number of at least 2", got=repr(self.max_steps))

    @property
    def rounds(self) -> int:
        """Number of weights tried: c3_first, 10·c3_first, … up to the threshold."""
        return 1 + math.floor(math.log10(self.threshold / self.c3_first) + 1e-9)

    @property
    def most_passes(self) -> int:
        """Largest number of passes through the classifier for one row, with or without `max_steps`."""
        allowed = self.rounds * self.max_iterations
        return allowed if self.max_steps is None else min(allowed, self.max_steps)

    @property
    def cuts_first_round(self) -> bool:
        """Whether `max_steps` may end a row's first round early, so that more rows get no vector."""
        return self.max_steps is not None and self.max_steps < self.max_iterations

    @property
    def undecided_logit(self) -> float:
        """The bound `undecided` as a bound on the classifier's absolute logit."""
        return math.log((0.5 + self.undecided) / (0.5 - self.undecided))


def check_first_round(config: SearchConfig) -> None:
    """Refuses a budget that may end a row's first round early.

    It is called for MemGuard with an L1 budget, which returns the clean vector if the search finds none. With such a
    small budget, the clean vectors would be revealed for exactly the rows that are hard to move.

    Raises:
        InputError: If `max_steps` is too small.
    """
    if config.cuts_first_round:
        raise InputError(
            "max_steps with an L1 budget of memguard",
            expected=f"at least max_iterations ({config.max_iterations}), so that every first round can finish",
            got=str(config.max_steps),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class SearchResult:
    """The result of a search, row by row.

    Attributes:
        probs: ``(N, C)`` float32, sorted like the start; rows with ``rounds < 1`` have no result.
        rounds: ``(N,)`` int32 rounds that succeeded; ``-1`` if the classifier was undecided at the start.
        passes: ``(N,)`` int32 passes through the classifier for each row.
        steps: Gradient steps taken over all rows.
    """

    probs: np.ndarray
    rounds: np.ndarray
    passes: np.ndarray
    steps: int


def search(
    start: np.ndarray, reference: np.ndarray, layers: Layers, config: SearchConfig, *, pool: int = 256
) -> SearchResult:
    """Searches for logits near each row of `start` that make the classifier undecided; runs on one core.

    Args:
        start: ``(N, C)`` float32 start logits, each row ascending; the last position is the predicted class.
        reference: ``(N, C)`` float32 reference vectors, in the order of `start`.
        layers: The defender's classifier, ``(W (in, out), b (out,))`` per dense layer, ReLU between; the last has one
            output, the membership logit.
        config: Weights, step size and bounds.
        pool: Slots, rounded up to a multiple of 16. Results do not depend on it.

    Returns:
        Confidence vectors in the order of `start`, the successful rounds and the steps.
    """
    slots = max(_BLOCK, -(-min(pool, len(start)) // _BLOCK) * _BLOCK)
    # The matrix products are too small for several BLAS threads; the work is divided among processes instead.
    with threadpool_limits(1, user_api="blas"):
        return _Pool(start, reference, layers, config, slots).run()


class _Pool:
    """Slots with one row each; every step moves all of them."""

    def __init__(self, start: np.ndarray, reference: np.ndarray, layers: Layers, config: SearchConfig, size: int):
        f32 = np.float32
        self._start, self._reference, self._config = start, reference, config
        self._found = np.zeros(start.shape, f32)
        self._passed = np.zeros(len(start), np.int32)
        self._took = np.zeros(len(start), np.int32)
        self._passes = 0  # of the whole pool; a slot's passes are counted from the admission of its row
        self._queued, self._live, self._size = 0, 0, size
        self._forward, self._backward = _with_bias_inputs(layers)
        self._last = np.ascontiguousarray(layers[-1][0], f32).reshape(-1, 1)
        self._last_bias = f32(layers[-1][1].item())
        classes = start.shape[1]
        # State of each slot …
        self._row = np.zeros(size, np.int64)
        self._round = np.zeros(size, np.int32)
        self._step = np.zeros(size, np.int32)
        self._before = np.zeros(size, np.int32)
        self._side = np.zeros(size, f32)
        self._c3 = np.zeros(size, f32)
        self._z = np.zeros((classes, size), f32)
        self._z0 = np.zeros((classes, size), f32)
        self._ref = np.zeros((classes, size), f32)
        # … and working arrays: each layer's input has a last row of ones that its biases multiply.
        self._rival = np.zeros(size, f32)
        self._input = [np.ones((weight.shape[1], size), f32) for weight in self._forward]
        self._input.append(np.ones((len(self._last) + 1, size), f32))
        self._on = [np.zeros((weight.shape[0], size), np.int32) for weight in self._forward]
        self._grad = np.zeros((classes, size), f32)
        self._tmp = np.zeros((classes, size), f32)
        self._has_fresh = False
        self._view(size)

    def run(self) -> SearchResult:
        """Works until the queue is empty and every slot is done."""
        steps = 0
        while True:
            self._admit()
            if not self._live:
                return SearchResult(self._found, self._passed, self._took, steps)
            logit = self._classify()
            self._passes += 1
            succeeded, given_up, undecided = self._judge(logit)
            # Slots that are done move too, since excluding them would cost more; _next_round resets them.
            self._move(logit)
            steps += int(self._step[succeeded].sum() + self._step[given_up].sum())
            self._step[: self._live] += 1
            ended = self._next_round(succeeded)
            if ended.size or given_up.size or undecided.size:
                done = np.concatenate((ended, given_up, undecided))
                self._passed[self._row[done]] = self._round[done]
                self._passed[self._row[undecided]] = -1
                self._took[self._row[done]] = self._passes - self._before[done]
                self._drop(done)

    def _admit(self) -> None:
        """Fills free slots from the queue."""
        first, last = self._queued, min(self._queued + self._size - self._live, len(self._start))
        if first == last:
            return
        new = slice(self._live, self._live + last - first)
        self._row[new] = np.arange(first, last)
        self._z0[:, new] = self._start[first:last].T
        self._z[:, new] = self._z0[:, new]
        self._ref[:, new] = self._reference[first:last].T
        self._round[new] = 0
        self._step[new] = 0
        self._side[new] = 0
        self._before[new] = self._passes
        self._c3[new] = self._config.c3_first
        self._queued, self._live = last, new.stop
        self._has_fresh = True

    def _view(self, live: int) -> None:
        """Makes views of the first `live` slots of all arrays; slicing in every step would cost a tenth of its time."""
        self._z_live, self._ref_live, self._c3_live = self._z[:, :live], self._ref[:, :live], self._c3[:live]
        self._rival_live = self._rival[:live]
        self._grad_live, self._tmp_live = self._grad[:, :live], self._tmp[:, :live]
        self._p_live, self._top_live = self._input[0][:-1, :live], self._input[-1][:-1, :live]
        self._levels = []
        for level, on in enumerate(self._on):
            above = self._input[level + 1][:-1, :live]
            below = self._grad_live if level == 0 else self._input[level][:-1, :live]
            self._levels.append(
                _Level(
                    forward=self._forward[level],
                    backward=self._backward[level],
                    source=self._input[level][:, :live],
                    out=above,
                    out_bits=above.view(np.int32),
                    on=on[:, :live],
                    gated=on[:, :live].view(np.float32),
                    below=below,
                    below_bits=below.view(np.int32),
                )
            )

    def _classify(self) -> np.ndarray:
        """Computes the softmax of every live slot and returns the classifier's logit of it; stores the activations."""
        # Whole blocks, since the rounding of a product depends on the block of a column; free slots fill the last one.
        blocks = -(-self._live // _BLOCK) * _BLOCK
        if self._p_live.shape[1] != blocks:
            self._view(blocks)
        z, p = self._z_live, self._p_live
        rival = np.maximum.reduce(z[:-1], axis=0, out=self._rival_live)
        np.subtract(z, np.maximum(rival, z[-1]), out=p)
        # At least e^-80: denormal numbers make a matrix product up to a hundred times slower.
        np.maximum(p, _LOWEST, out=p)
        np.exp(p, out=p)
        p /= np.add.reduce(p, axis=0)
        for level in self._levels:
            np.matmul(level.forward, level.source, out=level.out)
            # ReLU by bits: the sign bit, inverted and spread, is a mask that the gradient needs too.
            np.invert(level.out_bits, out=level.on)
            np.right_shift(level.on, 31, out=level.on)
            np.bitwise_and(level.out_bits, level.on, out=level.out_bits)
        return (self._last.T @ self._top_live)[0] + self._last_bias

    def _judge(self, logit: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The slots whose round succeeded, those whose search ends without success, and those that need no search."""
        live = self._live
        side, step, logit = self._side[:live], self._step[:live], logit[:live]
        undecided = _NONE
        if self._has_fresh:
            fresh = side == 0
            side[fresh] = np.sign(logit[fresh])
            undecided = np.flatnonzero(fresh & (np.abs(logit) <= self._config.undecided_logit))
            self._has_fresh = False
        changed = logit * side <= 0
        changed &= self._z_live[-1, :live] > self._rival_live[:live]
        changed &= step > 0
        succeeded = changed.nonzero()[0]
        is_last = step == self._config.max_iterations - 1
        if self._config.max_steps is not None:
            is_last |= self._before[:live] == self._passes - self._config.max_steps
        last = is_last.nonzero()[0]
        return succeeded, last[~changed[last]] if last.size else _NONE, undecided

    def _move(self, logit: np.ndarray) -> None:
        """Moves every live slot by one normalized gradient step."""
        config = self._config
        z, p, grad, tmp, c3 = self._z_live, self._p_live, self._grad_live, self._tmp_live, self._c3_live
        # Backward through the classifier; a layer's mask, once used, is overwritten with the gradient at its units.
        upstream_bits = self._last.view(np.int32)
        for level in reversed(self._levels):
            np.bitwise_and(upstream_bits, level.on, out=level.on)
            np.matmul(level.backward, level.gated, out=level.below)
            upstream_bits = level.below_bits
        grad *= np.copysign(np.float32(config.c1), logit)
        # c3 times the sign of the difference: scaled and clipped, which is faster than a sign and keeps zeros.
        np.subtract(p, self._ref_live, out=tmp)
        tmp *= _HUGE
        np.minimum(tmp, c3, out=tmp)
        np.maximum(tmp, -c3, out=tmp)
        grad += tmp
        # Through the softmax.
        np.multiply(grad, p, out=tmp)
        grad -= np.add.reduce(tmp, axis=0)
        grad *= p
        overtaken = (self._rival_live > z[-1]).nonzero()[0]
        if overtaken.size:
            grad[z[:-1, overtaken].argmax(0), overtaken] += config.c2
            grad[-1, overtaken] -= config.c2
        np.multiply(grad, grad, out=tmp)
        norm = np.sqrt(np.add.reduce(tmp, axis=0))
        grad *= np.float32(config.step_size) / np.maximum(norm, _TINY)
        z -= grad

    def _next_round(self, succeeded: np.ndarray) -> np.ndarray:
        """Stores the vectors found and starts the next round; returns the slots that have no rounds or passes left."""
        if not succeeded.size:
            return _NONE
        self._found[self._row[succeeded]] = self._input[0][:-1, succeeded].T
        self._round[succeeded] += 1
        self._c3[succeeded] *= 10
        self._step[succeeded] = 0
        self._z[:, succeeded] = self._z0[:, succeeded]
        ended = self._round[succeeded] == self._config.rounds
        if self._config.max_steps is not None:
            ended |= self._before[succeeded] == self._passes - self._config.max_steps
        return succeeded[ended]

    def _drop(self, slots: np.ndarray) -> None:
        """Frees these slots and fills the gaps with the last live ones."""
        keep = np.ones(self._live, bool)
        keep[slots] = False
        self._live -= len(slots)
        holes = np.flatnonzero(~keep[: self._live])
        movers = self._live + np.flatnonzero(keep[self._live :])
        by_slot = (self._row, self._round, self._step, self._before, self._side, self._c3)
        for array in (*by_slot, self._z, self._z0, self._ref):
            array[..., holes] = array[..., movers]


class _Level(NamedTuple):
    """A hidden layer's weights and the live slots of its arrays."""

    forward: np.ndarray
    backward: np.ndarray
    source: np.ndarray
    out: np.ndarray
    out_bits: np.ndarray
    on: np.ndarray
    gated: np.ndarray
    below: np.ndarray
    below_bits: np.ndarray


def _with_bias_inputs(layers: Layers) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Weights of the hidden layers for the forward pass, biases as a last column, and for the backward pass."""
    forward = [np.concatenate((w, b.reshape(1, -1))).T.astype(np.float32, order="C") for w, b in layers[:-1]]
    backward = [np.ascontiguousarray(w, np.float32) for w, _ in layers[:-1]]
    return forward, backward
