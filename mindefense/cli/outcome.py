"""Messages of a command while it works, and its outcome: for people, or as JSON with ``--json``."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from mindefense.progress import ConsoleProgress


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a command.

    Attributes:
        code: The exit code; `mindefense.arguments.EXIT_CODES` has the meaning of each.
        wrote: The files that were written, in the order in which they are listed.
        facts: Further entries of the JSON document.
    """

    code: int = 0
    wrote: tuple[str | os.PathLike[str], ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Screen:
    """Prints messages for people on stdout, or on stderr if stdout is reserved for JSON.

    Args:
        for_machines: Whether stdout is reserved for one JSON document.
    """

    def __init__(self, *, for_machines: bool = False):
        self.for_machines = for_machines

    @functools.cached_property
    def console(self) -> Console:
        """The console for tables and progress bars."""
        from rich.console import Console

        return Console(stderr=self.for_machines)

    @property
    def progress(self) -> ConsoleProgress:
        """Progress bars on a terminal, lines elsewhere."""
        from mindefense.progress import ConsoleProgress

        return ConsoleProgress(self.console)

    def say(self, line: str) -> None:
        """Prints one line unwrapped, so that paths and commands stay whole."""
        print(line, file=sys.stderr if self.for_machines else sys.stdout)

    def warn(self, line: str) -> None:
        """Prints one line on stderr."""
        print(f"mindefense: {line}", file=sys.stderr)

    def finish(self, command: str, outcome: Outcome) -> int:
        """Prints the JSON document if one was asked for; returns the exit code."""
        if self.for_machines:
            wrote = [os.fspath(path) for path in outcome.wrote]
            held = {"command": command, "exit_code": outcome.code, "wrote": wrote, **outcome.facts}
            print(json.dumps(held, indent=2, ensure_ascii=False, allow_nan=False))
        return outcome.code
