"""What a study is about: its settings, data and networks, as read by all who work with it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from mindefense.data import Split
from mindefense.evaluation.scenario import Rows
from mindefense.progress import Progress
from mindefense.study.config import StudyConfig
from mindefense.study.networks import StudyParts
from mindefense.study.presets import Preset
from mindefense.types import LabelledData


class StudyFacts:
    """The settings and data of a study.

    Args:
        parts: The parts that all its stages share.
    """

    def __init__(self, parts: StudyParts):
        self._parts = parts

    @property
    def config(self) -> StudyConfig:
        """The settings of the study."""
        return self._parts.config

    @property
    def out(self) -> Path:
        """The folder."""
        return self._parts.store.out

    @property
    def amp(self) -> str:
        """Precision at which target and shadow model are queried."""
        return self._parts.amp

    @property
    def progress(self) -> Progress:
        """The progress display."""
        return self._parts.stages.progress

    @property
    def timings(self) -> dict[str, float]:
        """Seconds so far, by stage."""
        return self._parts.stages.timings

    def timed(self, stage: str) -> contextlib.AbstractContextManager[None]:
        """Adds the duration of the context to a stage of `timings`, even if an exception is raised."""
        return self._parts.stages.timed(stage)

    @property
    def data(self) -> LabelledData:
        """The data set."""
        return self._parts.rows.data

    @property
    def split(self) -> Split:
        """The rows of each role."""
        return self._parts.rows.split

    def rows(self, role: str) -> Rows:
        """The members and non-members of ``"target"``, ``"defender"``, ``"attacker"`` or ``"eval"``.

        Raises:
            InputError: If the split has no rows for that role.
        """
        return self._parts.rows.of(role)

    @property
    def preset(self) -> Preset:
        """How target and shadow model are built, prepared and trained."""
        return self._parts.preset

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input of the target, after preparation."""
        return self.preset.input_shape(self.data.features)
