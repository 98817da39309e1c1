"""Studies: the stages from training a target to its evaluation in one folder, and comparisons of defenses.

Names are imported on first use, because the command line checks its arguments with this package's modules that do not
need MindSpore, and must not import it for that.
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
