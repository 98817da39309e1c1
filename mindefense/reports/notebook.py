"""An evaluation in a notebook: HTML below the cell, and a pandas table."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from mindefense.errors import InputError
from mindefense.reports.answers import answer_trust
from mindefense.reports.findings import answer_evaluation, states_of
from mindefense.reports.panels import roc_plate
from mindefense.reports.report import environment, subtitle_of, title_of
from mindefense.reports.results import attack_rows, to_json
from mindefense.reports.tables import attacker_sheet
from mindefense.types import Evaluation

_VERDICTS = 3
"""The first answers are about the verdict: whether there is a leak, who is identified, how often guesses are right."""


def evaluation_html(evaluation: Evaluation) -> str:
    """The verdicts in words, the ROC curves and every attacker, as HTML that can be part of any page.

    Its styles apply only inside it. Names may come from untrusted files, so every text is escaped.
    """
    results = to_json(evaluation)
    # A notebook may show several evaluations, and an id must be unique in a page.
    mark = hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()[:12]
    states = states_of(results)
    plate = roc_plate(results, states)
    pictures = [dataclasses.replace(picture, name=f"{picture.name}-{mark}") for picture in plate.pictures]
    return (
        environment(autoescape=True)
        .get_template("notebook.html.j2")
        .render(
            title=title_of(results),
            subtitle=subtitle_of(results),
            banners=results["warnings"],
            answers=answer_evaluation(results, states)[:_VERDICTS],
            trust=answer_trust(results["checks"], results),
            plate=dataclasses.replace(plate, pictures=pictures),
            sheet=attacker_sheet(results),
        )
    )


def attacks_frame(evaluation: Evaluation) -> Any:
    """The attackers as a ``pandas.DataFrame``, the columns of ``attacks.csv``.

    Raises:
        InputError: If pandas is not installed.
    """
    try:
        import pandas  # pyright: ignore[reportMissingImports]  # optional
    except ImportError as error:
        raise InputError(
            "to_pandas needs pandas, which is not installed",
            fix="pip install 'pandas<3'; the newest pandas needs NumPy 2, with which MindSpore's data sets do not work",
        ) from error
    return pandas.DataFrame(attack_rows(evaluation))
