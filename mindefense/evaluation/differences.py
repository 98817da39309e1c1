"""Significant differences between two results, for example of two versions of a model. Needs only NumPy."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.errors import DataError
from mindefense.metrics import independent_difference, paired_auc_difference
from mindefense.types import Difference

Row = Mapping[str, Any]
FIGURES = ("balanced accuracy", "AUC", "TPR at 1% FPR")
FALSE_ALARMS = 0.05
"""Probability of at least one false report of a change, over all figures of all attackers together."""


@dataclasses.dataclass(frozen=True)
class FigureChange:
    """One figure of one attacker in both results.

    Attributes:
        attack: Name, knowledge, adversary, and ``"undefended"`` or ``"defended"``.
        figure: One of `FIGURES`; the AUC is two-sided.
        old: The older value.
        new: The newer value.
        change: New minus old, with an interval that holds for all figures of all attackers at once.
        paired: Whether the scores of the same rows were compared row by row.
    """

    attack: tuple[str, str, str, str]
    figure: str
    old: float
    new: float
    change: Difference
    paired: bool

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval of the change excludes 0."""
        return not self.change.low <= 0 <= self.change.high


@dataclasses.dataclass(frozen=True)
class ResultsDifference:
    """What changed between two results.

    Attributes:
        levels: Old and new level of the verdict, by state of the target; None for a state without a verdict.
        identified: Old and new number of identified members out of all, as text, by state; None if there are too few
            non-members.
        figures: Every figure of every attacker that took part in both.
        only_old: Attackers that took part only in the older one.
        only_new: Attackers that took part only in the newer one.
        same_members: Whether both have the same members; None if a file does not record them.
        facts: Other differences (settings, versions, digests), by name: old and new value.
        checks: Checks that failed in exactly one of the two; True if that is the newer one.
    """

    levels: Mapping[str, tuple[str | None, str | None]]
    identified: Mapping[str, tuple[str | None, str | None]]
    figures: tuple[FigureChange, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    same_members: bool | None
    facts: Mapping[str, tuple[Any, Any]]
    checks: Mapping[str, bool]

    @property
    def more(self) -> tuple[FigureChange, ...]:
        """Figures that are significantly higher in the newer result, so that it leaks more."""
        return tuple(one for one in self.figures if one.beyond_chance and one.change.value > 0)

    @property
    def less(self) -> tuple[FigureChange, ...]:
        """Figures that are significantly lower in the newer result."""
        return tuple(one for one in self.figures if one.beyond_chance and one.change.value < 0)


def differences(
    old: Row, new: Row, *, records: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]] | None = None
) -> ResultsDifference:
    """Compares two results of the current schema.

    Args:
        old: Contents of the older ``results.json``.
        new: Contents of the newer ``results.json``.
        records: Columns of both files ``records.csv`` from `read_records`; None if one is missing. With them, AUCs on
            the same rows are compared by a paired test (DeLong et al. 1988), which finds smaller changes. All other
            figures are compared as those of independent samples, from their intervals (Zou and Donner 2008). For the
            same rows this is conservative: it may miss a change, but rarely reports a false one.

    Raises:
        DataError: If no attacker took part in both.
    """
    attacks = [{_identity(attack): attack for attack in results["attacks"]} for results in (old, new)]
    common = [name for name in attacks[0] if name in attacks[1]]
    if not common:
        raise DataError("the two results", expected="an attacker that took part in both", got="none")
    confidence = 1 - FALSE_ALARMS / (len(common) * len(FIGURES))
    figures = [
        change
        for name in common
        for change in _figures(name, attacks[0][name], attacks[1][name], _rows_of(records, name), confidence)
    ]
    states = [state for state in ("undefended", "defended") if any(one["verdict"].get(state) for one in (old, new))]
    return ResultsDifference(
        levels={state: (_level(old, state), _level(new, state)) for state in states},
        identified={state: (_identified(old, state), _identified(new, state)) for state in states},
        figures=tuple(figures),
        only_old=tuple(_called(name) for name in attacks[0] if name not in attacks[1]),
        only_new=tuple(_called(name) for name in attacks[1] if name not in attacks[0]),
        same_members=_same_members(old, new),
        facts=_facts(old, new),
        checks=_checks(old, new),
    )


def read_records(path: Path) -> dict[str, np.ndarray]:
    """The columns of a ``records.csv``.

    Returns:
        ``(N,)`` arrays: ``index`` int64, ``is_member`` bool, and float64 scores by
        ``attack|knowledge|adversary|state``, NaN for rows that the attacker was not evaluated on.

    Raises:
        DataError: If the file cannot be read or has another format.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            head, *rows = csv.reader(stream)
        columns = dict(zip(head, zip(*rows, strict=True), strict=True))
        return {
            "index": np.array(columns["index"]).astype(np.int64),
            "is_member": np.array(columns["is_member"]) == "True",
            **{name: _scores(values) for name, values in columns.items() if name.count("|") == 3},
        }
    except (OSError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise DataError(f"cannot read {path}: {error}", fix="evaluate again, or remove the file") from error


def _scores(values: Sequence[str]) -> np.ndarray:
    return np.array([float(value) if value else np.nan for value in values])


def _identity(attack: Row) -> tuple[str, str, str, str]:
    state = "defended" if attack["defended"] else "undefended"
    return attack["name"], attack["knowledge"], attack["adversary"], state


def _called(name: Sequence[str]) -> str:
    return f"{name[0]} ({', '.join(name[1:])})"


def _rows_of(records: Any, name: Sequence[str]) -> Any:
    """``is_member`` and both scores, if both files evaluate the attacker on the same rows; otherwise None."""
    column = "|".join(name)
    if records is None or any(column not in one for one in records):
        return None
    sides = []
    for one in records:
        judged = np.flatnonzero(~np.isnan(one[column]))
        order = judged[np.argsort(one["index"][judged], kind="stable")]
        sides.append((one["index"][order], one["is_member"][order], one[column][order]))
    (index, is_member, scores), (index_new, is_member_new, scores_new) = sides
    if not (np.array_equal(index, index_new) and np.array_equal(is_member, is_member_new)):
        return None
    return is_member, scores, scores_new


def _figures(name: Any, old: Row, new: Row, rows: Any, confidence: float) -> list[FigureChange]:
    pairs = {
        "balanced accuracy": [_interval(one, "balanced_accuracy") for one in (old, new)],
        "AUC": [_two_sided(one) for one in (old, new)],
        "TPR at 1% FPR": [_tpr(one) for one in (old, new)],
    }
    changes = []
    for figure, (before, after) in pairs.items():
        if figure == "AUC" and rows is not None:
            change = paired_auc_difference(*rows, confidence=confidence)
        else:
            change = independent_difference(before, after, confidence=confidence)
        is_paired = figure == "AUC" and rows is not None
        changes.append(FigureChange(name, figure, before[0], after[0], change, is_paired))
    return changes


def _interval(attack: Row, name: str) -> tuple[float, float, float]:
    return attack[name], attack[f"{name}_low"], attack[f"{name}_high"]


def _two_sided(attack: Row) -> tuple[float, float, float]:
    auc, low, high = _interval(attack, "auc")
    return (auc, low, high) if auc >= 0.5 else (1 - auc, 1 - high, 1 - low)


def _tpr(attack: Row) -> tuple[float, float, float]:
    rate = next(rate for rate in attack["tpr_at_fpr"] if rate["fpr"] == 0.01)
    return rate["tpr"], rate["low"], rate["high"]


def _level(results: Row, state: str) -> str | None:
    verdict = results["verdict"].get(state)
    return None if verdict is None else verdict["level"]


def _identified(results: Row, state: str) -> str | None:
    verdict = results["verdict"].get(state)
    found = None if verdict is None else verdict["identified"]
    return None if found is None else f"{found['identified']} of {found['n_members']} at {100 * found['fpr']:g}% FPR"


def _same_members(old: Row, new: Row) -> bool | None:
    known = [(one.get("evidence") or {}).get("digests", {}) for one in (old, new)]
    if any("members" not in one for one in known):
        return None
    about = ("members", "data") if all("data" in one for one in known) else ("members",)
    return all(known[0][name] == known[1][name] for name in about)


def _facts(old: Row, new: Row) -> dict[str, tuple[Any, Any]]:
    found = {}
    for group in ("settings", "versions"):
        for name in sorted({*old[group], *new[group]}):
            values = old[group].get(name), new[group].get(name)
            if values[0] != values[1]:
                found[name] = values
    for name in ("dataset", "seed", "synthetic", "smoke"):
        if old[name] != new[name]:
            found[name] = (old[name], new[name])
    evidence = [one.get("evidence") or {} for one in (old, new)]
    for name in ("network", "parameters"):
        values = evidence[0].get(name), evidence[1].get(name)
        if values[0] != values[1]:
            found[name] = values
    digests = [one.get("digests", {}) for one in evidence]
    for name in sorted({*digests[0], *digests[1]}):
        values = digests[0].get(name), digests[1].get(name)
        if values[0] != values[1]:
            found[f"SHA-256 of {name}"] = values
    return found


def _checks(old: Row, new: Row) -> dict[str, bool]:
    failed = [{check["name"] for check in results["checks"] if not check["passed"]} for results in (old, new)]
    return {name: name in failed[1] for name in sorted(failed[0] ^ failed[1])}
