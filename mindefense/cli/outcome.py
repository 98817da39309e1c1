"""What a command says while it works, and what it has done: for people, or for machines with ``--json``."""

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
    """What a command did.

    Attributes:
        code: What the process ends with; `mindefense.arguments.EXIT_CODES` says what each means.
        wrote: Files, in the order in which they are told.
        facts: What else machines are told.
    """

    code: int = 0
    wrote: tuple[str | os.PathLike[str], ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Screen:
    """Where people are told things: stdout, or stderr if stdout is kept for a machine.

    Args:
        for_machines: Whether stdout is kept for one JSON document.
    """

    def __init__(self, *, for_machines: bool = False):
        self.for_machines = for_machines

    @functools.cached_property
    def console(self) -> Console:
        """For tables and bars."""
        from rich.console import Console

        return Console(stderr=self.for_machines)

    @property
    def progress(self) -> ConsoleProgress:
        """Bars on a terminal, lines elsewhere."""
        from mindefense.progress import ConsoleProgress

        return ConsoleProgress(self.console)

    def say(self, line: str) -> None:
        """One line as it stands: paths and commands stay whole."""
        print(line, file=sys.stderr if self.for_machines else sys.stdout)

    def warn(self, line: str) -> None:
        """One line on stderr, whoever reads stdout."""
        print(f"mindefense: {line}", file=sys.stderr)

    def finish(self, command: str, outcome: Outcome) -> int:
        """Tells machines what was done, if they listen; returns the exit code."""
        if self.for_machines:
            wrote = [os.fspath(path) for path in outcome.wrote]
            held = {"command": command, "exit_code": outcome.code, "wrote": wrote, **outcome.facts}
            print(json.dumps(held, indent=2, ensure_ascii=False, allow_nan=False))
        return outcome.code
