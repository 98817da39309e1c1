"""Studies: a target from its training to the report, stage by stage in one folder, and comparisons of defenses on it.

Names are loaded when they are first used: the command line checks its arguments with this package's plain modules and
must not pay for MindSpore.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mindefense.lazy import lazy_names

_HOMES = {
    "config": ("StudyConfig",),
    "pipeline": ("Study",),
    "presets": ("Preset",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = ["Preset", "Study", "StudyConfig"]

if TYPE_CHECKING:
    from mindefense.study.config import StudyConfig
    from mindefense.study.pipeline import Study
    from mindefense.study.presets import Preset
