"""Recognizes the network of a checkpoint from the names and shapes of its parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")

_VGG_BY_CONVOLUTIONS = {8: "VGG11", 10: "VGG13", 13: "VGG16", 16: "VGG19"}


def architecture_of(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Description of the network with parameters of these names and shapes; None if it is not known."""
    shapes = without_prefix(shapes)
    return _vgg(shapes) or _mlp(shapes)


def without_prefix(named: Mapping[str, T]) -> dict[str, T]:
    """The same values without the names' common prefix, which a Cell around the network adds."""
    parts = [name.split(".") for name in named]
    common = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False)))
    return {".".join(part[common:]): value for part, value in zip(parts, named.values(), strict=True)}


def vgg16_sizes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """``image_size`` and ``width_multiplier`` of the VGG16 with parameters of these shapes; empty if it is not one."""
    shapes = without_prefix(shapes)
    if not (_vgg(shapes) or "").startswith("VGG16"):
        return {}
    convolutions, dense = _parts(shapes)
    return {
        "image_size": 32 * math.isqrt(dense[0][1] // convolutions[-1][0]),
        "width_multiplier": convolutions[0][0] / 64,
    }


def _parts(shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Shapes of the convolutions and of the dense layers of a VGG."""
    convolutions = [s for name, s in shapes.items() if name.startswith("layers.") and len(s) == 4]
    return convolutions, [s for name, s in shapes.items() if name.startswith("classifier.") and len(s) == 2]


def _vgg(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    convolutions, dense = _parts(shapes)
    name = _VGG_BY_CONVOLUTIONS.get(len(convolutions))
    if name is None or len(dense) != 3:
        return None
    norm = "with" if any(parameter.endswith(".gamma") for parameter in shapes) else "without"
    size = 32 * math.isqrt(dense[0][1] // convolutions[-1][0])
    width = convolutions[0][0] / 64
    narrow = "" if width == 1 else f", width_multiplier {width:g}"
    return f"{name} {norm} batch normalization, image_size {size}, {dense[-1][0]} classes{narrow}"


def _mlp(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    weights = [s for name, s in shapes.items() if name.endswith("weight")]
    if not weights or any(len(s) != 2 for s in weights):
        return None
    if any(one[0] != following[1] for one, following in itertools.pairwise(weights)):
        return None
    return "MLP " + "-".join(str(width) for width in (weights[0][1], *(s[0] for s in weights)))
