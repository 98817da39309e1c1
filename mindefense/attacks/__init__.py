"""Attackers under one contract."""

from mindefense.attacks.averaging import AveragingAttack
from mindefense.attacks.base import Attack, ScoreAttack, prior_threshold
from mindefense.attacks.boundary import BoundaryDistanceAttack
from mindefense.attacks.catalog import Entry
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
from mindefense.attacks.stacked import StackedAttack

__all__ = [
    "METHODS",
    "Attack",
    "AveragingAttack",
    "BitFlipAttack",
    "BoundaryDistanceAttack",
    "ClassifierAttack",
    "ConfidenceAttack",
    "EntropyAttack",
    "Entry",
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
