"""What a study tells while it works, and how long its stages take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from mindefense.progress import Progress, Quiet
from mindefense.training import Epoch


class Stages:
    """Bars and seconds of a study's stages.

    Args:
        progress: Display of the progress; None for no display.

    Attributes:
        progress: Display of the progress.
        timings: Stage → seconds so far, of those that failed too.
    """

    def __init__(self, progress: Progress | None = None):
        self.progress = progress or Quiet()
        self.timings: dict[str, float] = {}
        self._advance: Callable[[int, str], None] | None = None

    @contextlib.contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the seconds of what happens inside to a stage of `timings`, whether it is done or fails."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[stage] = round(self.timings.get(stage, 0.0) + time.perf_counter() - began, 3)

    @contextlib.contextmanager
    def training(self, title: str, epochs: int) -> Iterator[Callable[[Epoch], None]]:
        """A timed bar of epochs; what it yields is called after each."""
        with self.timed(title), self.progress.stage(title, epochs) as advance:
            done = 0

            def on_epoch(epoch: Epoch) -> None:
                nonlocal done
                advance(epoch.number - done, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")
                done = epoch.number  # a resume starts with more than one

            yield on_epoch

    @contextlib.contextmanager
    def counting(self, stage: str, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A timed bar that `count` moves while it is there.

        Args:
            stage: Of `timings`.
            title: Of the bar.
            total: Rows to be counted.
        """
        with self.timed(stage), self.progress.stage(title, total) as advance:
            before, self._advance = self._advance, advance
            try:
                yield advance
            finally:
                self._advance = before

    def count(self, rows: int) -> None:
        """Moves the bar of `counting`; does nothing without one."""
        if self._advance is not None:
            self._advance(rows, "")
