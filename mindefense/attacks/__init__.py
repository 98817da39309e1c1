"""Attackers under one contract."""

from mindefense.attacks.base import Attack
from mindefense.attacks.metric import EntropyAttack, GapAttack, MaxConfidenceAttack
from mindefense.attacks.mindarmour import METHODS, MindArmourAttack
from mindefense.attacks.neural import NeuralAttack

__all__ = [
    "METHODS",
    "Attack",
    "EntropyAttack",
    "GapAttack",
    "MaxConfidenceAttack",
    "MindArmourAttack",
    "NeuralAttack",
]
