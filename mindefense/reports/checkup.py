"""Prints the findings of `mindefense doctor`. A separate module, since it must work without NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from mindefense.doctor import OK, PROBLEM, WARNING, Finding

_STYLES = {OK: "green", WARNING: "yellow", PROBLEM: "bold red"}


def print_findings(findings: Sequence[Finding], *, file: TextIO | None = None) -> None:
    """Prints each finding with its fix, and how many are wrong: a table on a terminal, elsewhere one line each."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:  # it may be what is missing
        _print_lines(findings, file)
        return
    console = Console(file=file)
    if not console.is_terminal:
        _print_lines(findings, file)
        return
    table = Table.grid(padding=(0, 2, 0, 0))
    for finding in findings:
        found = Text(finding.found)
        if finding.fix:
            found.append(f"\n→ {finding.fix}", style="cyan")
        table.add_row(Text(finding.state, style=_STYLES[finding.state]), finding.name, found)
    console.print(table)
    console.print(conclusion(findings), style="bold", highlight=False)


def _print_lines(findings: Sequence[Finding], file: TextIO | None) -> None:
    for finding in findings:
        fix = f" → {finding.fix}" if finding.fix else ""
        print(f"{finding.state:<8} {finding.name}: {finding.found}{fix}", file=file)
    print(conclusion(findings), file=file)


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line."""
    problems, warnings = (sum(f.state == state for f in findings) for state in (PROBLEM, WARNING))
    counted = [f"{n} {word}{'s' * (n != 1)}" for n, word in ((problems, "problem"), (warnings, "warning")) if n]
    fits = "something will not work" if problems else "everything needed is installed and compatible"
    return f"{fits}: {', '.join(counted)}" if counted else fits
