"""Threat models, protocols and the published pipeline."""

from mindefense.evaluation.protocol import Doors, Rows, conclude, evaluate_attack
from mindefense.evaluation.study import Study, StudyConfig

__all__ = ["Doors", "Rows", "Study", "StudyConfig", "conclude", "evaluate_attack"]
