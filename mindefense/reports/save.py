"""Everything that an evaluation leaves behind, in one folder."""

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
    every judged sample with every attacker's score; ``report.html`` and ``report.md`` say all of it to people who did
    not run it. Each file is written whole or not at all; older ones of these names are replaced. ``records.csv``, which
    says of each row whether it is a member, can be read by its owner alone.

    Args:
        evaluation: What `evaluate` or `evaluate_outputs` found.
        out: The folder; made if need be.
        figures: Whether to write every picture as SVG and PNG too, into a folder ``figures`` in `out`.

    Returns:
        The paths of the files, in the order above, then of the pictures.

    Raises:
        OutputError: If a file cannot be written.
    """
    check_writable(out)
    return (*write_results(evaluation, out), *write_report(to_json(evaluation), out, figures=figures))
