"""What long work tells while it lasts."""

from __future__ import annotations

import contextlib
import datetime
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from mindefense.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

_SILENCE = 60
"""Seconds after the last line before the next progress of a stage is printed, if the output is not a terminal."""


class Progress(Protocol):
    """Told by long work what happens."""

    def stage(self, title: str, total: int) -> contextlib.AbstractContextManager[Callable[[int, str], None]]:
        """Opens a stage of `total` units; the callable takes the units just done and a short note."""
        ...

    def say(self, text: str) -> None:
        """One line that should be read now."""
        ...


class Quiet:
    """A progress that says nothing."""

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Swallows what is done."""
        yield lambda done, note: None

    def say(self, text: str) -> None:
        """Swallows it."""


class ConsoleProgress:
    """Bars on a terminal; elsewhere one line a finished stage, and at most one a minute while it lasts.

    Args:
        console: Where to print; None for the screen's error stream.
        clock: Says how many seconds have gone by.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.perf_counter):
        if console is None:
            from rich.console import Console

            console = Console(stderr=True)
        self._console = console
        self._clock = clock

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A bar of `total` units; the callable takes the units just done and a short note."""
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        began = spoke = self._clock()
        last, so_far = "", 0
        first: tuple[float, int] | None = None
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description:<15}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(title, total=total, note="")

            def advance(done: int, note: str) -> None:
                nonlocal last, so_far, first, spoke
                last, so_far, now = note, so_far + done, self._clock()
                bars.update(task, advance=done, note=note)
                if not self._console.is_terminal and so_far < total and now - spoke >= _SILENCE:
                    spoke = now
                    news = f"{title}: {so_far}/{total}" + (f", {note}" if note else "")
                    self._console.print(news + _left(first, (now, so_far), total), highlight=False)
                first = first or (now, so_far)

            yield advance
        if not self._console.is_terminal:
            self._console.print(f"{title}: {last} ({self._clock() - began:.1f} s)", highlight=False)

    def say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        from rich.markup import escape

        self._console.print(escape(text), highlight=False)


def _left(first: tuple[float, int] | None, now: tuple[float, int], total: int) -> str:
    """The time left, from the pace since the first news, which may hold what was done in an earlier run."""
    if first is None or now[1] <= first[1]:
        return ""
    seconds = (now[0] - first[0]) / (now[1] - first[1]) * (total - now[1])
    return f"; {datetime.timedelta(seconds=round(seconds))} left"


def progress_of(given: Progress | bool | None) -> Progress:
    """What a caller wants to be told: True for bars, False for silence, None for bars where somebody looks on.

    Somebody looks on at a terminal, and at a notebook.

    Raises:
        InputError: If it is nothing that can be told.
    """
    if given is None:
        given = sys.stderr.isatty() or _in_notebook()
    if isinstance(given, bool):
        return ConsoleProgress() if given else Quiet()
    if given is None or not callable(getattr(given, "stage", None)):
        expected = "True, False, None, or an object with stage() and say()"
        raise InputError("progress", expected=expected, got=repr(given))
    return given


@contextlib.contextmanager
def epochs(
    title: str, total: int, on_epoch: Callable[[Any], None] | None, progress: Progress | bool | None
) -> Iterator[Callable[[Any], None]]:
    """Yields what to call after every epoch of a training: `on_epoch` if there is one, else a bar.

    Args:
        title: What is trained.
        total: Epochs.
        on_epoch: Called with the epoch: its ``number``, ``loss`` and ``accuracy``.
        progress: As of `progress_of`.
    """
    if on_epoch is not None:
        yield on_epoch
        return
    done = 0
    with progress_of(progress).stage(title, total) as advance:

        def tell(epoch: Any) -> None:
            nonlocal done
            advance(epoch.number - done, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")
            done = epoch.number  # a resume starts with more than one

        yield tell


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
