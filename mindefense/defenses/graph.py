"""The search of `mindefense.defenses.search` as one MindSpore graph with static shapes, for any device."""

from __future__ import annotations

import math

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.defenses.search import Layers, SearchConfig

_STEPS_A_CHECK = 4
"""Steps between two checks whether any row is still active; each check waits for the device."""
_LOG_10 = math.log(10)


class GraphSearch(nn.Cell):
    """Searches all rows of a batch in parallel until the slowest is done or its passes are used up.

    Args:
        layers: The defender's classifier, ``(W (in, out), b (out,))`` NumPy arrays a layer.
        config: Weights, step size and bounds of the search.

    Inputs:
        - **start** (Tensor) - ``(N, C)`` float32 logits, each row ascending; the last position is the predicted class.
        - **reference** (Tensor) - ``(N, C)`` float32 reference vectors in the order of `start`.

    Outputs:
        - **probs** (Tensor) - ``(N, C)`` float32, in the order of `start`; the reference if no round succeeded.
        - **rounds** (Tensor) - ``(N, 1)`` float32 successful rounds, -1 if the classifier was undecided at the start.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, layers: Layers, config: SearchConfig):
        super().__init__()
        self.hidden = nn.CellList([_Affine(w, b) for w, b in layers[:-1]])
        self.last = _Affine(*layers[-1])
        self.depth = len(layers) - 1
        self.step_size = config.step_size
        self.max_iterations = float(config.max_iterations)
        self.c3_first = config.c3_first
        self.c3_beyond = config.c3_first * 10 ** (config.rounds - 0.5)
        self.undecided_logit = config.undecided_logit
        # All rows start together, so that one count of passes suffices.
        checks, self.rest = divmod(config.most_passes, _STEPS_A_CHECK)
        self.checks = float(checks)
        classes = len(layers[0][0])
        self.slope = ms.Tensor(np.float32(config.c1) * np.float32(layers[-1][0]).reshape(1, -1))
        self.push = ms.Tensor(np.full((1, classes), config.c2, np.float32))
        self.pull = ms.Tensor(np.float32(-config.c2) * np.eye(classes, dtype=np.float32)[-1:])
        self.none = ms.Tensor(0.0, ms.float32)
        self.softmax = ops.Softmax(-1)
        self.relu_grad = ops.auto_generate.ReluGrad()

    @ms.jit
    def construct(self, start, reference):
        """Confidence vectors that make the classifier undecided, and the number of successful rounds of each row."""
        logit, _ = self._classify(self.softmax(start))
        is_undecided = ops.cast(ops.abs(logit) <= self.undecided_logit, ms.float32)
        side = ops.sign(logit)
        # State of each row: its logits, the vector found, the steps of its round, the round's weight.
        state = (start, reference, is_undecided * self.max_iterations, is_undecided * 0 + self.c3_first)
        checks = self.none
        while ops.logical_and(self._count_active(*state) > 0, checks < self.checks):
            for _ in range(_STEPS_A_CHECK):
                state = self._step(start, reference, side, *state)
            checks = checks + 1
        for _ in range(self.rest):
            state = self._step(start, reference, side, *state)
        rounds = ops.round(ops.log(state[3] / self.c3_first) / _LOG_10)
        return state[1], rounds - is_undecided

    def _step(self, start, reference, side, z, found, step, c3):
        """Checks every row for success and moves it by one step; rows that are not active can no longer succeed.

        With 64 rows or fewer the number of operators determines the time, so there are as few as possible. The start
        of a round needs no check of its own: there the classifier has its original sign, which is no success.
        """
        p = self.softmax(z)
        logit, acts = self._classify(p)
        rival = ops.ReduceMax(True)(z[:, :-1], 1)
        own = z[:, -1:]
        changed = ops.logical_and(logit * side <= 0, own > rival)
        changed = ops.logical_and(changed, self._is_active(step, c3))

        grad = self._gradient(p, acts, logit, reference, c3)
        grad = ops.select(rival > own, grad + ops.select(z == rival, self.push, self.pull), grad)
        norm = ops.maximum(ops.sqrt(ops.ReduceSum(True)(grad * grad, 1)), 1e-30)
        z = ops.select(changed, start, z - grad * (self.step_size / norm))
        found = ops.select(changed, p, found)
        step = ops.select(changed, 0.0, step + 1)
        c3 = ops.select(changed, c3 * 10, c3)
        return z, found, step, c3

    def _is_active(self, step, c3):
        """Rows whose current round exists and has steps left."""
        return ops.logical_and(step < self.max_iterations, c3 < self.c3_beyond)

    def _count_active(self, z, found, step, c3):
        return ops.ReduceSum()(ops.cast(self._is_active(step, c3), ms.float32))

    def _classify(self, p):
        """The membership logit, and the activations that the gradient needs."""
        acts = ()
        x = p
        for layer in self.hidden:
            x = ops.relu(layer(x))
            acts = (*acts, x)
        return self.last(x), acts

    def _gradient(self, p, acts, logit, reference, c3):
        """Gradient of the first and the third term of the loss in logit space."""
        upstream = ops.sign(logit) * self.slope
        for level in range(self.depth - 1, -1, -1):
            upstream = self.hidden[level].backward(self.relu_grad(upstream, acts[level]))
        upstream = upstream + c3 * ops.sign(p - reference)
        return p * (upstream - ops.ReduceSum(True)(p * upstream, 1))


class _Affine(nn.Cell):
    """A dense layer and its product with the transposed weights."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray):
        super().__init__()
        self.weight = ms.Parameter(ms.Tensor(np.ascontiguousarray(weight, np.float32)), "weight", requires_grad=False)
        self.bias = ms.Parameter(ms.Tensor(np.asarray(bias, np.float32)), "bias", requires_grad=False)
        self.forward_product = ops.MatMul()
        self.backward_product = ops.MatMul(transpose_b=True)

    def construct(self, x):
        """``x W + b``."""
        return self.forward_product(x, self.weight) + self.bias

    def backward(self, gradient):
        """``gradient Wᵀ``."""
        return self.backward_product(gradient, self.weight)
