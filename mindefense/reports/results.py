"""Results as files: ``results.json`` (versioned schema) and ``attacks.csv``. Renders, never computes."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from pathlib import Path
from typing import Any

from mindefense.files import write_json, write_text
from mindefense.types import AttackResult, Evaluation, Verdict

SCHEMA_VERSION = 2
"""Goes up when a key changes its meaning or goes away; new keys alone leave it."""

_WARNINGS = {
    "synthetic": "synthetic data: made up, not measured",
    "smoke": "smoke test: the figures mean nothing",
    "parity": "parity: members alone were cropped and flipped at random, by which they can be told",
}


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain JSON values; undefined figures are None."""
    defense = None
    if evaluation.defense is not None:
        facts = evaluation.defense
        defense = {
            "name": facts.name,
            "alignment": facts.alignment,
            "classifier_accuracy": facts.classifier_accuracy,
            "queries": facts.queries,
            **dataclasses.asdict(facts.defended),
            "undefended": dataclasses.asdict(facts.undefended),
        }
    shadow = None
    if evaluation.shadow_accuracy is not None:
        shadow = dict(zip(("member_accuracy", "non_member_accuracy"), evaluation.shadow_accuracy, strict=True))
    before, after = evaluation.undefended, evaluation.defended
    marks = {"synthetic": evaluation.synthetic, "smoke": evaluation.smoke, "parity": evaluation.settings.get("parity")}
    return {
        "schema_version": SCHEMA_VERSION,
        "warnings": [text for name, text in _WARNINGS.items() if marks[name]],
        "dataset": evaluation.dataset,
        "synthetic": evaluation.synthetic,
        "smoke": evaluation.smoke,
        "seed": evaluation.seed,
        "settings": evaluation.settings,
        "versions": evaluation.versions,
        "target": dataclasses.asdict(evaluation.target),
        "shadow": shadow,
        "defense": defense,
        "attacks": [_attack(result) for result in evaluation.attacks],
        "budgets": [dataclasses.asdict(point) for point in evaluation.budgets],
        "verdict": {"undefended": _verdict(before), "defended": None if after is None else _verdict(after)},
        "timings": evaluation.timings,
    }


def write_results(evaluation: Evaluation, out: str | os.PathLike) -> tuple[Path, Path]:
    """Writes ``results.json`` and ``attacks.csv`` into `out` and returns their paths.

    Raises:
        OutputError: If they cannot be written; an older file then stays as it was.
    """
    paths = Path(out) / "results.json", Path(out) / "attacks.csv"
    write_json(paths[0], to_json(evaluation))
    write_text(paths[1], _csv(evaluation))
    return paths


def _attack(result: AttackResult) -> dict[str, Any]:
    facts = dataclasses.asdict(result)
    return {**{name: facts[name] for name in facts if name != "metrics"}, **facts["metrics"]}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    strongest = verdict.strongest
    return {
        "leaks": verdict.leaks,
        "strongest": {name: getattr(strongest, name) for name in ("name", "knowledge", "adversary")},
        "strongest_balanced_accuracy": strongest.metrics.balanced_accuracy,
        "gap_accuracy": verdict.gap_accuracy,
    }


def _csv(evaluation: Evaluation) -> str:
    text = io.StringIO()
    rates = [f"{bound:g}" for bound in (rate.fpr for rate in evaluation.attacks[0].metrics.tpr_at_fpr)]
    plain = [name for name in _attack(evaluation.attacks[0]) if name != "tpr_at_fpr"]
    columns = ["dataset", "synthetic", "smoke", *plain]
    for rate in rates:
        columns += [f"tpr_at_fpr_{rate}", f"tpr_at_fpr_{rate}_low", f"tpr_at_fpr_{rate}_high"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for result in evaluation.attacks:
        row = _attack(result)
        values = [evaluation.dataset, evaluation.synthetic, evaluation.smoke, *(row[name] for name in plain)]
        for rate in result.metrics.tpr_at_fpr:
            values += [rate.tpr, rate.low, rate.high]
        writer.writerow(values)
    return text.getvalue()
