"""VGG16 (Simonyan & Zisserman, ICLR 2015, table 1, configuration D) as MindArmour's tutorial builds it."""

from __future__ import annotations

import itertools
import numbers

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.errors import InputError

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of convolutions of each stage; a stage ends in a pooling that halves the image."""
_HEAD_WIDTH = 4096
_SHRINKAGE = 2 ** len(_STAGES)


class VGG16(nn.Cell):
    """Thirteen convolutions, each with batch normalization and ReLU, and three dense layers; returns logits.

    Parameters have the names and shapes of the tutorial's checkpoint: ``layers.0.weight``, ``layers.1.gamma`` …
    ``layers.41.moving_variance``, ``classifier.0.weight`` … ``classifier.6.bias``. Weights are initialized Glorot
    uniform from a separate generator, so that a seed determines the network, whatever was built before. Build it with
    `vgg16`.

    Inputs:
        - **x** (Tensor) - ``(N, 3, image_size, image_size)`` float32, normalized.

    Outputs:
        Tensor, ``(N, num_classes)`` float32 logits.

    Supported Platforms:
        ``CPU``
    """

    def __init__(
        self,
        num_classes: int,
        image_size: int,
        *,
        batch_norm: bool,
        dropout: float,
        width_multiplier: float,
        seed: int,
    ):
        super().__init__()
        self.num_classes, self.image_size, self.batch_norm = int(num_classes), int(image_size), bool(batch_norm)
        self.dropout, self.width_multiplier = float(dropout), float(width_multiplier)
        rng = np.random.default_rng(seed)
        layers: list[nn.Cell] = []
        channels = 3
        for stage_width, convolutions in _STAGES:
            width = _scaled(stage_width, width_multiplier)
            for _ in range(convolutions):
                weight = _glorot(rng, (width, channels, 3, 3))
                # The tutorial has no bias even without batch normalization.
                layers.append(nn.Conv2d(channels, width, 3, pad_mode="same", has_bias=False, weight_init=weight))
                layers += [nn.BatchNorm2d(width), nn.ReLU()] if batch_norm else [nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(kernel_size=2, stride=2))
        self.layers = nn.SequentialCell(layers)
        self.flatten = nn.Flatten()
        head = _scaled(_HEAD_WIDTH, width_multiplier)
        widths = (channels * (image_size // _SHRINKAGE) ** 2, head, head, num_classes)
        dense = [
            nn.Dense(fan_in, fan_out, weight_init=_glorot(rng, (fan_out, fan_in)), bias_init="zeros")
            for fan_in, fan_out in itertools.pairwise(widths)
        ]
        # A dropout of 0 remains in the list, since the dense layers' names depend on their positions.
        self.classifier = nn.SequentialCell(
            [dense[0], nn.ReLU(), nn.Dropout(p=dropout), dense[1], nn.ReLU(), nn.Dropout(p=dropout), dense[2]]
        )

    def construct(self, x):
        """The logits of `x`."""
        return self.classifier(self.flatten(self.layers(x)))


def vgg16(
    num_classes: int = 100,
    image_size: int = 224,
    *,
    batch_norm: bool = True,
    dropout: float = 0.0,
    width_multiplier: float = 1.0,
    seed: int = 0,
) -> VGG16:
    """The tutorial's VGG16.

    Args:
        num_classes: Number of classes C.
        image_size: Height and width of the images, a multiple of 32; the first dense layer takes
            512 · (image_size / 32)² numbers: 25,088 at 224, 512 at 32.
        batch_norm: Whether batch normalization follows each convolution.
        dropout: Share of the dense layers' activations dropped in training, in [0, 1). The tutorial's
            ``has_dropout=False`` corresponds to 0, and ``has_dropout=True`` to 0.5.
        width_multiplier: Share of the published channels and dense widths, in (0, 1]; below 1 for quick tests.
        seed: Seeds the initial weights.

    Returns:
        The network with its initial weights.

    Raises:
        InputError: If an argument is out of its range.

    Examples:
        >>> vgg16(image_size=32).classifier[0].weight.shape
        (4096, 512)
    """
    if not isinstance(num_classes, numbers.Integral) or num_classes < 2:
        raise InputError("num_classes", expected="a whole number of at least 2", got=repr(num_classes))
    if not isinstance(image_size, numbers.Integral) or image_size < _SHRINKAGE or image_size % _SHRINKAGE:
        raise InputError("image_size", expected="a multiple of 32, for five halvings", got=repr(image_size))
    if not 0 <= dropout < 1:
        raise InputError("dropout", expected="a share in [0, 1)", got=repr(dropout))
    if not 0 < width_multiplier <= 1:
        raise InputError("width_multiplier", expected="a share in (0, 1]", got=repr(width_multiplier))
    return VGG16(
        int(num_classes),
        int(image_size),
        batch_norm=batch_norm,
        dropout=dropout,
        width_multiplier=width_multiplier,
        seed=seed,
    )


def _scaled(width: int, multiplier: float) -> int:
    return max(1, round(width * multiplier))


def _glorot(rng: np.random.Generator, shape: tuple[int, ...]) -> ms.Tensor:
    """Glorot & Bengio 2010, eq. 16; a convolution's fans count its window."""
    window = int(np.prod(shape[2:]))
    bound = np.sqrt(6 / (window * (shape[0] + shape[1])))
    return ms.Tensor(rng.uniform(-bound, bound, shape).astype(np.float32))
