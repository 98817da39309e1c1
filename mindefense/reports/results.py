"""Writes results as versioned files; computes no figures."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.files import write_json, write_text
from mindefense.types import (
    AttackResult,
    Check,
    Comparison,
    Contender,
    Evaluation,
    OtherTargets,
    OverTargets,
    RowRisks,
    Ruling,
    Slices,
    Verdict,
)

SCHEMA_VERSION = 5
"""Rises when keys are changed. Version 4 added points of the ROC curves and histograms. Version 5 added the identified
members to each verdict and what a defense changed on the same rows, and renamed `leaks` to `tutorial_rule`."""
SCHEMA = Path(__file__).with_name("results.schema.json")
"""The file of `schema`."""
NOISE = {
    "keyed": "the same query always gets the same answer; the attacker's shadow model has another key",
    "fresh": "every query gets new noise, so repeated queries reveal more",
    "none": "answers do not depend on noise",
    "unknown": "not known for recorded answers",
}
KNOWLEDGE = {
    "none": "not fitted",
    "auditor": "fitted on known members and non-members of the target itself",
    "shadow": "fitted on a shadow model of the attacker, of which all members are known",
    "online": "fitted on shadow models of the attacker, each trained on half of the judged rows",
    "offline": "fitted on shadow models of the attacker, trained on other rows than those judged",
}
ADVERSARY = {
    "static": "does not know of the defense: fitted on undefended answers",
    "adaptive": "knows of the defense: fitted on answers from behind the same defense",
}

_RISK_EDGES = np.arange(-2.0, 8.01, 0.5)
_RISK_SHARES = {"median": 0.5, "upper_tenth": 0.9, "upper_hundredth": 0.99}
_MOST_RISKS = 20
"""Rows that results name; `records.csv` has the risk of all."""
_WARNINGS = {
    "synthetic": "synthetic data: made up, not measured",
    "smoke": "smoke test: the figures mean nothing",
    "parity": "parity: only members were cropped and flipped at random, which alone makes them recognizable",
}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``results.json`` and ``comparison.json`` of the current schema version.

    It describes every field and rejects fields that it does not describe. Results of an older version fit it
    after `mindefense.reports.upgrade.upgraded`.
    """
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation as plain JSON values; undefined figures are None."""
    defense = None
    if evaluation.defense is not None:
        facts = evaluation.defense
        defense = {
            "name": facts.name,
            "config": dict(facts.config),
            "noise": facts.noise,
            "keeps_labels": facts.keeps_labels,
            "classifier_accuracy": facts.classifier_accuracy,
            "queries": facts.queries,
            **dataclasses.asdict(facts.defended),
            "undefended": dataclasses.asdict(facts.undefended),
        }
    shadow = None
    if evaluation.shadow_accuracy is not None:
        shadow = dict(zip(("member_accuracy", "non_member_accuracy"), evaluation.shadow_accuracy, strict=True))
    before, after = evaluation.undefended, evaluation.defended
    threat_models = {"knowledge": KNOWLEDGE, "adversary": ADVERSARY}
    if evaluation.defense is not None:
        threat_models["noise"] = {evaluation.defense.noise: NOISE[evaluation.defense.noise]}
    return {
        **_heading(evaluation),
        "threat_models": threat_models,
        "target": dataclasses.asdict(evaluation.target),
        "shadow": shadow,
        "defense": defense,
        "attacks": [_attack(result) for result in evaluation.attacks],
        "not_run": [dataclasses.asdict(left_out) for left_out in evaluation.not_run],
        "budgets": [dataclasses.asdict(point) for point in evaluation.budgets],
        "verdict": {"undefended": _verdict(before), "defended": None if after is None else _verdict(after)},
        "change": None if evaluation.change is None else dataclasses.asdict(evaluation.change),
        "ruling": None if evaluation.ruling is None else _ruling(evaluation.ruling),
        "slices": [_slices(slices) for slices in evaluation.slices],
        "canaries": [_attack(result) for result in evaluation.canaries],
        "confidences": [dataclasses.asdict(histogram) for histogram in evaluation.confidences],
        "risks": [_risks(one) for one in evaluation.risks],
        "other_targets": None if evaluation.other_targets is None else _other_targets(evaluation.other_targets),
        "checks": _checks(evaluation.checks),
        "timings": evaluation.timings,
    }


def comparison_to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain JSON values; undefined figures are None."""
    return {
        **_heading(comparison),
        "threat_models": {"knowledge": KNOWLEDGE, "adversary": ADVERSARY},
        "contenders": [
            {
                "name": contender.name,
                "config": dict(contender.config),
                "in_training": contender.in_training,
                "utility": dataclasses.asdict(contender.utility),
                "verdict": _verdict(contender.verdict),
                "attacks": [_attack(result) for result in contender.attacks],
                "change": None if contender.change is None else dataclasses.asdict(contender.change),
                "dominated_by": list(contender.dominated_by),
                "checks": _checks(comparison.checks[contender.name]),
            }
            for contender in comparison.contenders
        ],
        "not_run": [dataclasses.asdict(left_out) for left_out in comparison.not_run],
        "timings": comparison.timings,
    }


def write_results(evaluation: Evaluation, out: str | os.PathLike) -> tuple[Path, ...]:
    """Writes ``results.json``, ``attacks.csv`` and ``records.csv`` into `out` and returns their paths.

    Raises:
        OutputError: If they cannot be written; an older file then stays as it was.
    """
    paths = tuple(Path(out) / name for name in ("results.json", "attacks.csv", "records.csv"))
    write_json(paths[0], to_json(evaluation))
    rows = attack_rows(evaluation)
    write_text(paths[1], _csv(rows[0], (row.values() for row in rows)))
    write_text(paths[2], _csv(evaluation.records, zip(*evaluation.records.values(), strict=True)), private=True)
    return paths


def attackers_written(out: str | os.PathLike) -> frozenset[str]:
    """Names of the attackers in a folder's ``results.json``; none if there is no such file, or it cannot be read."""
    try:
        held = json.loads((Path(out) / "results.json").read_text(encoding="utf-8"))
        return frozenset(attack["name"] for attack in held["attacks"])
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def write_comparison(comparison: Comparison, out: str | os.PathLike) -> tuple[Path, ...]:
    """Writes ``comparison.json`` and ``comparison.csv`` into `out` and returns their paths.

    Raises:
        OutputError: If they cannot be written; an older file then stays as it was.
    """
    paths = tuple(Path(out) / name for name in ("comparison.json", "comparison.csv"))
    write_json(paths[0], comparison_to_json(comparison))
    rows = [_contender(contender) for contender in comparison.contenders]
    write_text(paths[1], _csv(rows[0], (row.values() for row in rows)))
    return paths


def attack_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """The rows of ``attacks.csv``: one per attacker, all with the same columns; undefined figures are None."""
    rows = []
    for result in evaluation.attacks:
        row: dict[str, Any] = {"dataset": evaluation.dataset, "synthetic": evaluation.synthetic}
        row["smoke"] = evaluation.smoke
        for name, value in _attack(result).items():
            if name in ("tpr_at_fpr", "tnr_at_fnr"):
                bound, rate = ("fpr", "tpr") if name == "tpr_at_fpr" else ("fnr", "tnr")
                for figure in value:
                    column = f"{name}_{figure[bound]:g}"
                    row |= {column: figure[rate], f"{column}_low": figure["low"], f"{column}_high": figure["high"]}
            elif name == "precision_at_prior":
                row |= {f"{name}_{figure['prior']:g}": figure["precision"] for figure in value}
            elif name != "roc":
                row[name] = value
        rows.append(row)
    return rows


def _heading(found: Evaluation | Comparison) -> dict[str, Any]:
    marks = {"synthetic": found.synthetic, "smoke": found.smoke, "parity": found.settings.get("parity")}
    return {
        "schema_version": SCHEMA_VERSION,
        "warnings": [text for name, text in _WARNINGS.items() if marks[name]],
        "dataset": found.dataset,
        "synthetic": found.synthetic,
        "smoke": found.smoke,
        "seed": found.seed,
        "settings": found.settings,
        "versions": found.versions,
        "evidence": None if found.evidence is None else dataclasses.asdict(found.evidence),
    }


def _attack(result: AttackResult) -> dict[str, Any]:
    facts = dataclasses.asdict(result)
    metrics, roc, _, _ = (facts.pop(name) for name in ("metrics", "roc", "own", "by_all"))
    return {**facts, **metrics, **({} if roc is None else {"roc": roc})}


def _named(result: AttackResult | OverTargets) -> dict[str, str]:
    return {name: getattr(result, name) for name in ("name", "knowledge", "adversary")}


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "level": verdict.level,
        "identifies": None if verdict.identifies is None else _named(verdict.identifies),
        "identified": None if verdict.identified is None else dataclasses.asdict(verdict.identified),
        "identifies_beyond_chance": verdict.identifies_beyond_chance,
        "shown_by": None if verdict.shown_by is None else _named(verdict.shown_by),
        "shown_figure": verdict.shown_figure,
        "shown_low": verdict.shown_low,
        "shown_high": verdict.shown_high,
        "untold_by": verdict.untold_by,
        "tutorial_rule": verdict.tutorial_rule,
        "attackers": verdict.attackers,
        "strongest": _named(verdict.strongest),
        "strongest_balanced_accuracy": verdict.strongest.metrics.balanced_accuracy,
        "strongest_low": verdict.strongest_low,
        "strongest_high": verdict.strongest_high,
        "sharpest": _named(verdict.sharpest),
        "sharpest_auc": verdict.sharpest.metrics.auc,
        "sharpest_two_sided_auc": verdict.sharpest.metrics.two_sided_auc,
        "sharpest_low": verdict.sharpest_low,
        "sharpest_high": verdict.sharpest_high,
        "gap_accuracy": verdict.gap_accuracy,
    }


def _ruling(ruling: Ruling) -> dict[str, Any]:
    limits = [
        {**{name: getattr(limit, name) for name in ("metric", "by", "limit", "value", "exceeded")},
         "attack": _named(limit.attack)}
        for limit in ruling.limits
    ]  # fmt: skip
    return {"policy": ruling.policy, "outcome": ruling.outcome, "limits": limits, "reasons": list(ruling.reasons)}


def _slices(slices: Slices) -> dict[str, Any]:
    return dataclasses.asdict(slices)


def _risks(risks: RowRisks) -> dict[str, Any]:
    is_known = ~np.isnan(risks.separation)
    known, low = risks.separation[is_known], risks.low[is_known]
    counts, _ = np.histogram(np.clip(known, _RISK_EDGES[0], _RISK_EDGES[-1]), _RISK_EDGES)
    return {
        "defended": risks.defended,
        "attack": risks.attack,
        "models": risks.models,
        "rows": len(known),
        "mean": float(known.mean()),
        "above_0": float((low > 0).mean()),
        **{name: float(np.quantile(known, share)) for name, share in _RISK_SHARES.items()},
        "edges": _RISK_EDGES.tolist(),
        "counts": counts.tolist(),
        "most": [
            {
                "rank": rank,
                "index": int(risks.indices[at]),
                "label": int(risks.labels[at]),
                "separation": float(risks.separation[at]),
                "low": float(risks.low[at]),
                "high": float(risks.high[at]),
            }
            for rank, at in enumerate(risks.most(_MOST_RISKS), 1)
        ],
    }


def _other_targets(found: OtherTargets) -> dict[str, Any]:
    attackers = [
        {
            **_named(one),
            "defended": one.defended,
            "figures": [{**dataclasses.asdict(spread), "place": spread.place} for spread in one.spreads],
            "pooled": None if one.pooled is None else dataclasses.asdict(one.pooled),
        }
        for one in found.attackers
    ]
    return {"targets": found.targets, "models": found.models, "attackers": attackers}


def _checks(checks: Sequence[Check]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(check) for check in checks]


def _contender(contender: Contender) -> dict[str, Any]:
    verdict = contender.verdict
    return {
        "name": contender.name,
        "in_training": contender.in_training,
        "strongest": verdict.strongest.name,
        "balanced_accuracy": verdict.strongest.metrics.balanced_accuracy,
        "balanced_accuracy_low": verdict.strongest_low,
        "balanced_accuracy_high": verdict.strongest_high,
        "sharpest": verdict.sharpest.name,
        "two_sided_auc": verdict.sharpest.metrics.two_sided_auc,
        **dataclasses.asdict(contender.utility),
        "dominated_by": " ".join(contender.dominated_by),
    }


def _csv(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
