"""What long work tells while it lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol


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
