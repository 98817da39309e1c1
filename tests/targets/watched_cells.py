"""Rows for small networks, and networks and preparations that keep what they were given."""

import numpy as np
from mindspore import nn

ROWS = np.float32(np.random.default_rng(0).normal(size=(23, 5)))
BYTES = np.random.default_rng(1).integers(256, size=(23, 5), dtype=np.uint8)


class Recorder(nn.Cell):
    """A network that keeps the shapes and modes in which it was called."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.calls = []

    def __call__(self, x):
        self.calls.append((x.shape, x.dtype, self.training))
        return self.net(x)


class Reader(nn.Cell):
    """A network that keeps the rows it was given."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.rows = []

    def __call__(self, x):
        self.rows += x.asnumpy().tolist()
        return self.net(x)


class Scaled:
    """Bytes as numbers from 0 to 1; keeps the sizes of the batches that it gave."""

    def __init__(self):
        self.given = []

    def batches(self, samples, batch_size, *, order=None, augment_seed=None):
        assert samples.dtype == np.uint8
        assert (order, augment_seed) == (None, None)
        for first in range(0, len(samples), batch_size):
            inputs = np.float32(samples[first : first + batch_size]) / 255
            self.given.append(len(inputs))
            yield inputs


class Outputs(nn.Cell):
    """A network that answers with what `change` makes of what it is asked."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def construct(self, x):
        return self.change(x)


def by_hand(net, rows):
    x = np.float64(rows)
    *hidden, (w, b) = net.weights()
    for v, c in hidden:
        x = np.maximum(x @ v + c, 0)
    return x @ w + b
