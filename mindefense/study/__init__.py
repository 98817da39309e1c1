"""Studies: a target from its training to the report, stage by stage in one folder, and comparisons of defenses on it.

Names are loaded when they are first used: the command line checks its arguments with this package's plain modules and
must not pay for MindSpore.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

_HOMES = {
    "config": ("StudyConfig",),
    "pipeline": ("Study",),
    "presets": ("Preset",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}
__all__ = ["Preset", "Study", "StudyConfig"]

if TYPE_CHECKING:
    from mindefense.study.config import StudyConfig
    from mindefense.study.pipeline import Study
    from mindefense.study.presets import Preset


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
