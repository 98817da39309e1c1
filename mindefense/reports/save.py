"""Writes all files of an evaluation into one folder."""

from __future__ import annotations

import os
from pathlib import Path

from mindefense.files import check_writable
from mindefense.reports.report import write_report
from mindefense.reports.results import to_json, write_results
from mindefense.types import Evaluation


def save_evaluation(evaluation: Evaluation, out: str | os.PathLike[str], *, figures: bool = False) -> tuple[Path, ...]:
    """Writes the files of an evaluation: for machines, for spreadsheets and for people.

    ``results.json`` holds every figure (versioned schema), ``attacks.csv`` one row per attacker, ``records.csv``
    every judged sample with every attacker's score; ``report.html`` and ``report.md`` explain the results to readers
    who did not run the evaluation. Each file is written completely or not at all; existing files of these names are
    replaced. Only the owner can read ``records.csv``, since it states for each row whether it is a member.

    Args:
        evaluation: What `evaluate` or `evaluate_outputs` found.
        out: The folder; created if necessary.
        figures: Whether to write every picture as SVG and PNG too, into a folder ``figures`` in `out`.

    Returns:
        The paths of the files, in the order above, then the pictures.

    Raises:
        OutputError: If a file cannot be written.
    """
    check_writable(out)
    return (*write_results(evaluation, out), *write_report(to_json(evaluation), out, figures=figures))
