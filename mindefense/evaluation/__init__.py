"""Evaluation of membership inference attacks on undefended and defended models.

Names are imported on first use, because the command line checks its arguments with this package's NumPy-only modules
and must not import MindSpore for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {
    "differences": ("differences",),
    "api": ("evaluate",),
    "comparison": ("compare", "compare_outputs"),
    "config": ("EvaluationConfig",),
    "gate": ("Gate",),
    "policy": ("Policy",),
    "recorded": ("evaluate_outputs",),
    "attackers": ("Attackers",),
    "runner": ("AttackRunner", "run_attacks"),
    "scenario": ("DefendedBy", "EvaluationSets", "Rows", "Scenario"),
    "shadows": ("train_shadows",),
    "summary": ("Subject", "answers_of", "summarize"),
    "verdict": ("verdict_of",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = [
    "AttackRunner",
    "Attackers",
    "DefendedBy",
    "EvaluationConfig",
    "EvaluationSets",
    "Gate",
    "Policy",
    "Rows",
    "Scenario",
    "Subject",
    "answers_of",
    "compare",
    "compare_outputs",
    "evaluate",
    "evaluate_outputs",
    "run_attacks",
    "summarize",
    "train_shadows",
    "verdict_of",
]

if TYPE_CHECKING:
    from mindefense.evaluation.api import evaluate
    from mindefense.evaluation.attackers import Attackers
    from mindefense.evaluation.comparison import compare, compare_outputs
    from mindefense.evaluation.config import EvaluationConfig
    from mindefense.evaluation.gate import Gate
    from mindefense.evaluation.policy import Policy
    from mindefense.evaluation.recorded import evaluate_outputs
    from mindefense.evaluation.runner import AttackRunner, run_attacks
    from mindefense.evaluation.scenario import DefendedBy, EvaluationSets, Rows, Scenario
    from mindefense.evaluation.shadows import train_shadows
    from mindefense.evaluation.summary import Subject, answers_of, summarize
    from mindefense.evaluation.verdict import verdict_of
