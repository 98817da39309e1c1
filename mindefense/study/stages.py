"""Progress display and timings of a study's stages."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from mindefense.progress import Progress, Quiet
from mindefense.training import Epoch


class Stages:
    """Progress bars and timings of a study's stages.

    Args:
        progress: Progress display; None for no display.

    Attributes:
        progress: Progress display.
        timings: Seconds so far, by stage, including failed stages.
    """

    def __init__(self, progress: Progress | None = None):
        self.progress = progress or Quiet()
        self.timings: dict[str, float] = {}
        self._advance: Callable[[int, str], None] | None = None

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the duration of the context to a stage of `timings`, even if an exception is raised."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] = round(self.timings.get(stage, 0.0) + time.perf_counter() - began, 3)

    @contextlib.contextmanager
    def training(self, title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
        """A timed progress bar of epochs; yields a function to call after each epoch."""
        with self.timed(title), self.progress.stage(title, epochs) as advance:
            done = 0

            def on_epoch(epoch: Epoch) -> None:
                nonlocal done
                advance(epoch.number - done, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")
                done = epoch.number  # a resumed training starts with a later epoch

            yield on_epoch

    @contextlib.contextmanager
    def counting(self, stage: str, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A timed progress bar that `count` advances within the context.

        Args:
            stage: Name of the stage in `timings`.
            title: Title of the bar.
            total: Number of rows to count.
        """
        with self.timed(stage), self.progress.stage(title, total) as advance:
            before, self._advance = self._advance, advance
            try:
                yield advance
            finally:
                self._advance = before

    def count(self, rows: int) -> None:
        """Advances the bar of `counting`; does nothing without one."""
        if self._advance is not None:
            self._advance(rows, "")
