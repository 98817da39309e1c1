"""The same search as `mindefense.defenses.search`, as one MindSpore graph of static shapes, for any device."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.defenses.search import Layers, SearchConfig

_STEPS_A_CHECK = 4
"""Steps between two looks at whether any row is still active; each look waits for the device."""


class GraphSearch(nn.Cell):
    """Searches all rows of a batch side by side until the slowest is done.

    Args:
        layers: The defender's classifier, ``(W (in, out), b (out,))`` NumPy arrays a layer.
        config: Weights, step size and bounds of the search.

    Inputs:
        - **start** (Tensor) - ``(N, C)`` float32 logits, each row ascending; the last position is the predicted class.
        - **reference** (Tensor) - ``(N, C)`` float32 reference vectors in the order of `start`.

    Outputs:
        - **probs** (Tensor) - ``(N, C)`` float32, sorted as `start` is; the reference where no round succeeded.
        - **rounds** (Tensor) - ``(N, 1)`` float32 rounds that succeeded, -1 where the start was undecided already.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, layers: Layers, config: SearchConfig):
        super().__init__()
        self.hidden = nn.CellList([_Affine(w, b) for w, b in layers[:-1]])
        self.last = _Affine(*layers[-1])
        self.depth = len(layers) - 1
        self.step_size = config.step_size
        self.max_steps = float(config.max_iterations - 1)
        self.c1, self.c2, self.c3_first = config.c1, config.c2, config.c3_first
        self.last_round = float(config.rounds)
        self.undecided_logit = config.undecided_logit
        self.top = ms.Tensor(np.eye(len(layers[0][0]), dtype=np.float32)[-1:])
        self.softmax = ops.Softmax(-1)
        self.relu_grad = ops.auto_generate.ReluGrad()

    @ms.jit
    def construct(self, start, reference):
        """Confidence vectors that leave the classifier undecided, and the rounds each row passed."""
        zero = start[:, :1] * 0
        state = (start, reference, zero, zero, zero, zero + self.c3_first, zero + 1)
        while ops.ReduceSum()(state[-1]) > 0:
            for _ in range(_STEPS_A_CHECK):
                state = self._step(start, reference, *state)
        return state[1], state[4]

    def _step(self, start, reference, z, found, side, step, passed, c3, active):
        """Judges where every row stands and moves it one step on; rows that are not active stay as they are."""
        p = self.softmax(z)
        acts = ()
        x = p
        for layer in self.hidden:
            x = ops.relu(layer(x))
            acts = (*acts, x)
        logit = self.last(x)
        rival = ops.ReduceMax(True)(z[:, :-1], 1)
        own = z[:, -1:]

        fresh = self._mark(side == 0)
        side = side + fresh * ops.sign(logit)
        undecided = active * fresh * self._mark(ops.abs(logit) <= self.undecided_logit)
        changed = active * self._mark(logit * side <= 0) * self._mark(own > rival) * self._mark(step > 0)
        failed = active * (1 - changed) * self._mark(step >= self.max_steps)
        found = changed * p + (1 - changed) * found
        passed = passed + changed - undecided
        ended = changed * self._mark(passed >= self.last_round)

        grad = self._gradient(p, acts, logit, reference, c3)
        overtaken = self.c2 * self._mark(rival > own)
        at_rival = self._mark(z == rival)
        grad = grad + overtaken * (at_rival - self.top)
        norm = ops.maximum(ops.sqrt(ops.ReduceSum(True)(grad * grad, 1)), 1e-30)
        z = changed * start + (1 - changed) * (z - grad * (self.step_size / norm))
        c3 = c3 * (1 + 9 * changed)
        step = (step + 1) * (1 - changed)
        active = active * (1 - ended) * (1 - failed) * (1 - undecided)
        return z, found, side, step, passed, c3, active

    def _mark(self, condition):
        """1.0 where the condition holds, else 0.0; selecting by products keeps every shape static."""
        return ops.cast(condition, ms.float32)

    def _gradient(self, p, acts, logit, reference, c3):
        """Gradient of the first and the third term of the loss in logit space."""
        upstream = ops.tile(self.last.weight.reshape(1, -1), (p.shape[0], 1))
        for level in range(self.depth - 1, -1, -1):
            upstream = self.hidden[level].backward(self.relu_grad(upstream, acts[level]))
        upstream = self.c1 * ops.sign(logit) * upstream + c3 * ops.sign(p - reference)
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
