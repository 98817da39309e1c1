"""The models that a study can train, by name. A new model needs an entry here and a preset in `presets`."""

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
    """One model of a study.

    Attributes:
        samples: Kind of its inputs: `TABLES` or `IMAGES`.
        preset: Name of the function of `mindefense.study.presets` that makes its preset.
    """

    samples: str
    preset: str

    def load(self) -> Callable[[StudyConfig, int, int], Preset]:
        """Imports that function of settings, number of features and number of classes. Imports MindSpore."""
        from mindefense.study import presets

        return getattr(presets, self.preset)


MODELS = {
    "mlp": ModelSpec(TABLES, "mlp_preset"),
    "vgg16": ModelSpec(IMAGES, "vgg16_preset"),
}
"""Every model by name."""
