"""Display of the progress of long computations."""

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
_MEASURED = 5
"""Shortest time in seconds over which the speed of a stage is measured before its remaining time is printed."""


class Progress(Protocol):
    """A display that long computations report their progress to."""

    def stage(self, title: str, total: int) -> contextlib.AbstractContextManager[Callable[[int, str], None]]:
        """Opens a stage of `total` units; the yielded callable takes the number of units just done and a short note."""
        ...

    def say(self, text: str) -> None:
        """Shows a line of text."""
        ...


class Quiet:
    """A progress display that shows nothing."""

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Ignores the progress."""
        yield lambda done, note: None

    def say(self, text: str) -> None:
        """Ignores the text."""


class Brief(Quiet):
    """A progress display that prints at most one line per stage: the remaining time, once it is known to be over a
    minute.

    Args:
        clock: Returns the time in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Prints at most one line, to stderr."""
        pace, is_told = _Pace(total), False

        def advance(done: int, note: str) -> None:
            nonlocal is_told
            pace.advance(done, self._clock())
            if not is_told and pace.is_long:
                is_told = True
                print(pace.news(title, note), file=sys.stderr, flush=True)

        yield advance


class ConsoleProgress:
    """A progress display with bars on a terminal, and lines of text elsewhere.

    Elsewhere, it prints one line for every finished stage and at most one line per minute during a stage, and also one
    as soon as the remaining time is known to be over a minute.

    Args:
        console: The console to print to; None for stderr.
        clock: Returns the time in seconds.
    """

    def __init__(self, console: Console | None = None, *, clock: Callable[[], float] = time.perf_counter):
        if console is None:
            from rich.console import Console

            console = Console(stderr=True)
        self._console = console
        self._clock = clock

    @contextlib.contextmanager
    def stage(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """A bar of `total` units; the yielded callable takes the number of units just done and a short note."""
        from rich.progress import (
            BarColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        began = spoke = self._clock()
        last, pace, is_told = "", _Pace(total), False
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
                nonlocal last, spoke, is_told
                last, now = note, self._clock()
                pace.advance(done, now)
                bars.update(task, advance=done, note=note)
                is_due = now - spoke >= _SILENCE or (pace.is_long and not is_told)
                if not self._console.is_terminal and pace.done < total and is_due:
                    spoke, is_told = now, is_told or pace.left is not None
                    self._console.print(pace.news(title, note), highlight=False)

            yield advance
        if not self._console.is_terminal:
            self._console.print(f"{title}: {last} ({self._clock() - began:.1f} s)", highlight=False)

    def say(self, text: str) -> None:
        """Prints a line of text, above the bar if there is one."""
        from rich.markup import escape

        self._console.print(escape(text), highlight=False)


class _Pace:
    """The units done of a stage of `total` units, and the remaining time estimated from its speed."""

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.left: float | None = None
        self._first: tuple[float, int] | None = None
        self._measured = 0.0

    def advance(self, done: int, now: float) -> None:
        """Adds units. The speed is measured after the first call, which may include compilation or a resumed part."""
        self.done += done
        if self._first is None:
            self._first = now, self.done
            return
        began, before = self._first
        self._measured = now - began
        if self.done > before:
            self.left = self._measured / (self.done - before) * (self.total - self.done)

    @property
    def is_long(self) -> bool:
        """Whether the remaining time is known to be over a minute."""
        return self.left is not None and self.left > _SILENCE and self._measured >= _MEASURED

    def news(self, title: str, note: str) -> str:
        """A line with the units done and, if known, the remaining time."""
        left = "" if self.left is None else f"; {datetime.timedelta(seconds=round(self.left))} left"
        return f"{title}: {self.done}/{self.total}" + (f", {note}" if note else "") + left


def progress_of(given: Progress | bool | None) -> Progress:
    """The progress display for an argument of a public function.

    Args:
        given: True for `ConsoleProgress`, False for no display, None for `ConsoleProgress` on a terminal or in a
            notebook and otherwise one line for each long stage (`Brief`); or a display.

    Raises:
        InputError: If `given` is none of these.
    """
    if given is None:
        if not (sys.stderr.isatty() or _in_notebook()):
            return Brief()
        given = True
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
    """Yields a function to call after every epoch of a training: `on_epoch`, or one that advances a bar.

    Args:
        title: Title of the bar.
        total: Number of epochs.
        on_epoch: A function of the epoch (with ``number``, ``loss`` and ``accuracy``); None for a bar.
        progress: See `progress_of`.
    """
    if on_epoch is not None:
        yield on_epoch
        return
    done = 0
    with progress_of(progress).stage(title, total) as advance:

        def tell(epoch: Any) -> None:
            nonlocal done
            advance(epoch.number - done, f"loss {epoch.loss:.4f}, accuracy {epoch.accuracy:.3f}")
            done = epoch.number  # a resumed training starts with a later epoch

        yield tell


def _in_notebook() -> bool:
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
