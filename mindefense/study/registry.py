"""Which models a study trains, by name; a new one is one entry here and its preset in `mindefense.study.presets`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindefense.study.config import StudyConfig
    from mindefense.study.presets import Preset

TABLES, IMAGES = "tables", "images"


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """One model of the catalogue.

    Attributes:
        samples: What it takes: `TABLES` or `IMAGES`.
        preset: The function of `mindefense.study.presets` that makes its preset.
    """

    samples: str
    preset: str

    def load(self) -> Callable[[StudyConfig, int, int], Preset]:
        """That function: study, features of a row and number of classes → preset. Imports MindSpore."""
        from mindefense.study import presets

        return getattr(presets, self.preset)


MODELS = {
    "mlp": ModelSpec(TABLES, "mlp_preset"),
    "vgg16": ModelSpec(IMAGES, "vgg16_preset"),
}
"""Every model by name."""
