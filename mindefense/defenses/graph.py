"""The same search as `mindefense.defenses.search`, as one MindSpore graph of static shapes, for any device."""

from __future__ import annotations

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.defenses.search import Layers, SearchConfig


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
        self.softmax = ops.Softmax(-1)
        self.relu_grad = ops.auto_generate.ReluGrad()

    def construct(self, start, reference):
        """Confidence vectors that leave the classifier undecided, and the rounds each row passed."""
        first = ops.slice(start, (0, 0), (start.shape[0], 1))
        zero = first * 0
        z, found = start, reference
        side, step, passed = zero, zero, zero
        c3 = zero + self.c3_first
        active = zero + 1
        classes = start.shape[1]
        top = ops.one_hot(zero.astype(ms.int32).reshape(-1) + (classes - 1), classes, ms.Tensor(1.0), ms.Tensor(0.0))
        while ops.ReduceSum()(active) > 0:
            p = self.softmax(z)
            acts = ()
            x = p
            for layer in self.hidden:
                x = ops.relu(layer(x))
                acts = acts + (x,)
            logit = self.last(x)
            rival, rival_at = self._rival(z, top)
            own = ops.ReduceSum(True)(z * top, 1)

            fresh = (side == 0).astype(ms.float32)
            side = side + fresh * ops.sign(logit)
            undecided = active * fresh * (ops.abs(logit) <= self.undecided_logit).astype(ms.float32)
            changed = (logit * side <= 0).astype(ms.float32) * (own > rival).astype(ms.float32)
            changed = active * changed * (step > 0).astype(ms.float32)
            failed = active * (1 - changed) * (step >= self.max_steps).astype(ms.float32)

            found = ops.select(ops.tile(changed, (1, classes)) > 0, p, found)
            passed = passed + changed - undecided
            ended = changed * (passed >= self.last_round).astype(ms.float32)
            grad = self._gradient(p, acts, logit, reference, c3)
            grad = grad + self.c2 * (rival > own).astype(ms.float32) * (rival_at - top)
            norm = ops.sqrt(ops.ReduceSum(True)(grad * grad, 1))
            z = z - grad * (self.step_size / ops.maximum(norm, ms.Tensor(1e-30)))
            z = ops.select(ops.tile(changed, (1, classes)) > 0, start, z)
            c3 = c3 * (1 + 9 * changed)
            step = (step + 1) * (1 - changed)
            active = active * (1 - ended) * (1 - failed) * (1 - undecided)
        return found, passed

    def _rival(self, z, top):
        """Largest logit but the predicted class's ``(N, 1)``, and where it is, as one-hot rows."""
        others = z - top * 1e30
        rival = ops.ReduceMax(True)(others, 1)
        at = ops.one_hot(ops.Argmax(1)(others), z.shape[1], ms.Tensor(1.0), ms.Tensor(0.0))
        return rival, at

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
