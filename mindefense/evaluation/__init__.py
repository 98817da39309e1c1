"""Threat models, attackers against defenses, and the published pipeline."""

from mindefense.evaluation.config import StudyConfig
from mindefense.evaluation.evaluate import EvaluationConfig, evaluate
from mindefense.evaluation.gate import Gate
from mindefense.evaluation.lineup import DefenseSpec
from mindefense.evaluation.protocol import Doors, Rows, conclude
from mindefense.evaluation.recorded import evaluate_outputs
from mindefense.evaluation.study import Study

__all__ = [
    "DefenseSpec",
    "Doors",
    "EvaluationConfig",
    "Gate",
    "Rows",
    "Study",
    "StudyConfig",
    "conclude",
    "evaluate",
    "evaluate_outputs",
]
