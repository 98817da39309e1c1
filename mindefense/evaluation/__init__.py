"""Threat models, attackers against defenses, and the published pipeline.

Names are loaded when they are first used: the command line checks its arguments with this package's plain modules and
must not pay for MindSpore.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "differences": ("differences",),
    "config": ("StudyConfig",),
    "audit": ("EvaluationConfig", "evaluate"),
    "gate": ("Gate",),
    "lineup": ("DefenseSpec",),
    "policy": ("Policy",),
    "protocol": ("Doors", "Rows", "conclude"),
    "recorded": ("evaluate_outputs",),
    "study": ("Study",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = [
    "DefenseSpec",
    "Doors",
    "EvaluationConfig",
    "Gate",
    "Policy",
    "Rows",
    "Study",
    "StudyConfig",
    "conclude",
    "evaluate",
    "evaluate_outputs",
]

if TYPE_CHECKING:
    from mindefense.evaluation.audit import EvaluationConfig, evaluate
    from mindefense.evaluation.config import StudyConfig
    from mindefense.evaluation.gate import Gate
    from mindefense.evaluation.lineup import DefenseSpec
    from mindefense.evaluation.policy import Policy
    from mindefense.evaluation.protocol import Doors, Rows, conclude
    from mindefense.evaluation.recorded import evaluate_outputs
    from mindefense.evaluation.study import Study


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
