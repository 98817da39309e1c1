"""Fully connected networks: the published target, the defender's classifier and the attack network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.errors import InputError

TARGET_WIDTHS = (1024, 512, 256, 128)
"""Hidden widths of the published Location target and shadow (Jia et al. 2019, section 5.1)."""
DEFENDER_WIDTHS = (256, 128, 64)
"""Hidden widths of the published defender's classifier."""
ATTACK_WIDTHS = (1024, 512, 256, 128)
"""Hidden widths of the published attack network."""


class MLP(nn.Cell):
    """Dense layers with ReLU between them; returns logits.

    Weights are initialized Glorot uniform (Glorot & Bengio, AISTATS 2010, eq. 16) from a separate generator, biases
    with 0, so that a seed determines the network, whatever was built before.

    Args:
        widths: Units of each layer from the input to the output, at least two numbers.
        seed: Seeds the initial weights.

    Inputs:
        - **x** (Tensor) - ``(N, widths[0])`` float32.

    Outputs:
        Tensor, ``(N, widths[-1])`` float32 logits.

    Raises:
        InputError: If there are fewer than two widths, or one is below 1.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np, mindspore as ms
        >>> MLP([446, 1024, 512, 256, 128, 30])(ms.Tensor(np.zeros((2, 446), np.float32))).shape
        (2, 30)
    """

    def __init__(self, widths: Sequence[int], *, seed: int = 0):
        super().__init__()
        if len(widths) < 2 or min(widths) < 1:
            raise InputError("widths", expected="two or more numbers of at least 1", got=repr(tuple(widths)))
        self.widths = tuple(int(width) for width in widths)
        rng = np.random.default_rng(seed)
        layers = []
        for fan_in, fan_out in itertools.pairwise(self.widths):
            bound = np.sqrt(6 / (fan_in + fan_out))
            weight = rng.uniform(-bound, bound, (fan_out, fan_in)).astype(np.float32)
            layers.append(nn.Dense(fan_in, fan_out, weight_init=ms.Tensor(weight), bias_init="zeros"))
        self.layers = nn.CellList(layers)

    def construct(self, x):
        """The logits of `x`."""
        # Indexed by number, since a slice of a CellList renames the parameters of its cells.
        last = len(self.layers) - 1
        for level in range(last):
            x = ms.ops.relu(self.layers[level](x))
        return self.layers[last](x)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """``(W (in, out), b (out,))`` float32 of every layer, copied."""
        return [(layer.weight.asnumpy().T.copy(), layer.bias.asnumpy().copy()) for layer in self.layers]

    def load_weights(self, weights: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Sets ``(W (in, out), b (out,))`` of every layer.

        Raises:
            InputError: If the number of layers or a shape does not fit this network.
        """
        shapes = [(w.shape, b.shape) for w, b in weights]
        wanted = [((i, o), (o,)) for i, o in itertools.pairwise(self.widths)]
        if shapes != wanted:
            raise InputError("weights", expected=f"shapes {wanted}", got=str(shapes))
        for layer, (w, b) in zip(self.layers, weights, strict=True):
            layer.weight.set_data(ms.Tensor(np.ascontiguousarray(w.T, np.float32)))
            layer.bias.set_data(ms.Tensor(np.asarray(b, np.float32)))
