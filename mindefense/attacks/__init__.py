"""Attackers under one contract. Names are loaded when they are first used: the catalogue costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {
    "averaging": ("AveragingAttack",),
    "base": ("Attack", "FitInParts", "ScoreAttack", "prior_threshold"),
    "boundary": ("BoundaryDistanceAttack",),
    "classifier": ("ClassifierAttack",),
    "label_only": ("BitFlipAttack", "NoiseRobustnessAttack", "ShiftAttack"),
    "metric": (
        *("ConfidenceAttack", "EntropyAttack", "GapAttack", "LossAttack", "MaxConfidenceAttack"),
        "ModifiedEntropyAttack",
    ),
    "mindarmour": ("METHODS", "MindArmourAttack"),
    "neural": ("NSHAttack", "NeuralAttack"),
    "registry": ("ATTACKS", "AttackContext", "AttackSpec"),
    "stacked": ("StackedAttack",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = [
    "ATTACKS",
    "METHODS",
    "Attack",
    "AttackContext",
    "AttackSpec",
    "AveragingAttack",
    "BitFlipAttack",
    "BoundaryDistanceAttack",
    "ClassifierAttack",
    "ConfidenceAttack",
    "EntropyAttack",
    "FitInParts",
    "GapAttack",
    "LossAttack",
    "MaxConfidenceAttack",
    "MindArmourAttack",
    "ModifiedEntropyAttack",
    "NSHAttack",
    "NeuralAttack",
    "NoiseRobustnessAttack",
    "ScoreAttack",
    "ShiftAttack",
    "StackedAttack",
    "prior_threshold",
]

if TYPE_CHECKING:
    from mindefense.attacks.averaging import AveragingAttack
    from mindefense.attacks.base import Attack, FitInParts, ScoreAttack, prior_threshold
    from mindefense.attacks.boundary import BoundaryDistanceAttack
    from mindefense.attacks.classifier import ClassifierAttack
    from mindefense.attacks.label_only import BitFlipAttack, NoiseRobustnessAttack, ShiftAttack
    from mindefense.attacks.metric import (
        ConfidenceAttack,
        EntropyAttack,
        GapAttack,
        LossAttack,
        MaxConfidenceAttack,
        ModifiedEntropyAttack,
    )
    from mindefense.attacks.mindarmour import METHODS, MindArmourAttack
    from mindefense.attacks.neural import NeuralAttack, NSHAttack
    from mindefense.attacks.registry import ATTACKS, AttackContext, AttackSpec
    from mindefense.attacks.stacked import StackedAttack
