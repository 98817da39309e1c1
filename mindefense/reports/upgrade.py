"""Converts results files of older schemas to the current schema, from the figures that they hold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mindefense.metrics.identified import identified_of, small_fpr, standing
from mindefense.metrics.levels import FALSE_ALARMS, level_of
from mindefense.types import IdentifiedMembers

VERDICTS_SINCE = 5
"""The first schema whose verdicts say how many members are identified."""


def upgraded(held: Mapping[str, Any]) -> dict[str, Any]:
    """The same results with the verdicts of the current schema; results of that schema are returned as they are.

    An older file does not hold the difference that a defense makes on the same rows; it stays None.
    """
    results = dict(held)
    if results["schema_version"] >= VERDICTS_SINCE:
        return results
    results["schema_version"] = VERDICTS_SINCE
    results["evidence"] = None
    if "contenders" in results:
        results["contenders"] = [
            {**one, "verdict": _verdict(one["verdict"], one["attacks"]), "change": None}
            for one in results["contenders"]
        ]
        return results
    results["verdict"] = {
        state: None
        if verdict is None
        else _verdict(verdict, [attack for attack in results["attacks"] if attack["defended"] == (state == "defended")])
        for state, verdict in results["verdict"].items()
    }
    results["change"] = results["ruling"] = None
    return results


def _verdict(verdict: Mapping[str, Any], attacks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    carried = [(attack, fpr) for attack in attacks if (fpr := small_fpr(attack["n_non_members"])) is not None]
    tail = FALSE_ALARMS / 4 / max(len(carried), 1)
    named = [(attack, _identified(attack, fpr, tail)) for attack, fpr in carried]
    best, found = max(named, key=lambda one: standing(one[1], tail), default=(None, None))
    surely = found is not None and found.p_value <= tail
    by_auc = not verdict["sharpest_low"] <= 0.5 <= verdict["sharpest_high"]
    shown = "strongest" if verdict["strongest_low"] > 0.5 else "sharpest" if by_auc else None
    level = level_of(
        surely=surely,
        shown=shown is not None,
        accuracy=verdict["strongest_balanced_accuracy"],
        two_sided_auc=verdict["sharpest_two_sided_auc"],
        judged=min(max(attack[kind] for attack in attacks) for kind in ("n_members", "n_non_members")),
    )
    upgraded = {name: value for name, value in verdict.items() if name != "leaks"}
    return upgraded | {
        "tutorial_rule": verdict["leaks"],
        "level": level,
        "untold_by": "few rows" if level == "cannot be told" else None,
        "identifies": None if best is None else {name: best[name] for name in ("name", "knowledge", "adversary")},
        "identified": None if found is None else dataclasses.asdict(found),
        "identifies_beyond_chance": surely,
        "shown_by": None if shown is None else verdict[shown],
        "shown_figure": None if shown is None else {"strongest": "balanced accuracy", "sharpest": "AUC"}[shown],
        "shown_low": None if shown is None else verdict[f"{shown}_low"],
        "shown_high": None if shown is None else verdict[f"{shown}_high"],
    }


def _identified(attack: Mapping[str, Any], fpr: float, tail: float) -> IdentifiedMembers:
    share = next(rate["tpr"] for rate in attack["tpr_at_fpr"] if rate["fpr"] == fpr)
    return identified_of(
        round(share * attack["n_members"]),
        int(fpr * attack["n_non_members"] + 1e-9),
        n_members=attack["n_members"],
        n_non_members=attack["n_non_members"],
        fpr=fpr,
        confidence=1 - tail,
    )
