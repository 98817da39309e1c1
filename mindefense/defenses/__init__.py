"""Defenses that reshape confidence vectors.

Names are loaded when they are first used: worker processes import ``mindefense.defenses.driver`` and must not pay
for MindSpore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {
    "base": ("Defense",),
    "baselines": ("ClassMean", "LabelOnly", "LaplaceOutput", "MemGuardBudget", "Rounding", "Temperature", "TopK"),
    "classifier": ("DefenderClassifier", "fit_defender"),
    "defended": ("DefendedModel", "load_defense"),
    "target": ("defended_target",),
    "defenmi": ("DefenMI", "DefenMIConfig", "class_mean_probs", "fit_defenmi"),
    "memguard": ("MemGuard", "MemGuardConfig"),
    "registry": ("DefenseSpec",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = [
    "ClassMean",
    "DefenMI",
    "DefenMIConfig",
    "DefendedModel",
    "DefenderClassifier",
    "Defense",
    "DefenseSpec",
    "LabelOnly",
    "LaplaceOutput",
    "MemGuard",
    "MemGuardBudget",
    "MemGuardConfig",
    "Rounding",
    "Temperature",
    "TopK",
    "class_mean_probs",
    "defended_target",
    "fit_defender",
    "fit_defenmi",
    "load_defense",
]

if TYPE_CHECKING:
    from mindefense.defenses.base import Defense
    from mindefense.defenses.baselines import (
        ClassMean,
        LabelOnly,
        LaplaceOutput,
        MemGuardBudget,
        Rounding,
        Temperature,
        TopK,
    )
    from mindefense.defenses.classifier import DefenderClassifier, fit_defender
    from mindefense.defenses.defended import DefendedModel, load_defense
    from mindefense.defenses.defenmi import DefenMI, DefenMIConfig, class_mean_probs, fit_defenmi
    from mindefense.defenses.memguard import MemGuard, MemGuardConfig
    from mindefense.defenses.registry import DefenseSpec
    from mindefense.defenses.target import defended_target
