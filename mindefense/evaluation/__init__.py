"""Threat models, protocols and the published pipeline."""

from mindefense.evaluation.config import StudyConfig
from mindefense.evaluation.protocol import Doors, Rows, conclude, evaluate_attack
from mindefense.evaluation.study import Study

__all__ = ["Doors", "Rows", "Study", "StudyConfig", "conclude", "evaluate_attack"]
