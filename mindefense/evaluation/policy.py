"""A release policy: limits on the leak, required attackers and smallest numbers of rows."""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindefense.errors import InputError, did_you_mean
from mindefense.evaluation.gate import BY, Gate, state_to_release
from mindefense.metrics.levels import FEWEST_TO_CLEAR
from mindefense.types import AttackResult, Check, Evaluation, LimitFound, Ruling

HIDING = ("smoke", "labels-match", "duplicates", "left-out", "static-only")
"""Checks whose failure may hide a leak, so that figures below their limits do not suffice to pass."""
_TABLES = {"limits": None, "require": ("attackers", "members", "non_members"), "judge": ("by",)}


@dataclasses.dataclass(frozen=True)
class Policy:
    """The requirements that a model must meet before it is released.

    Attributes:
        name: The name of its file, or ``"--fail_above"``.
        gates: The limits, at least one.
        attackers: Names of attackers that must take part.
        members: Smallest number of members that each attacker must be evaluated on.
        non_members: Smallest number of non-members that each attacker must be evaluated on.
    """

    name: str
    gates: tuple[Gate, ...]
    attackers: tuple[str, ...] = ()
    members: int = FEWEST_TO_CLEAR
    non_members: int = FEWEST_TO_CLEAR

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Policy:
        """Reads the policy from a TOML file.

        The table ``[limits]`` has figures and limits as in `Gate.parse`, such as ``auc = 0.6`` or
        ``"tpr@0.001" = 0.01``. ``[require]`` may have ``attackers`` (a list of names), ``members`` and ``non_members``
        (whole numbers; default 100). ``[judge]`` may have ``by = "estimate"``, ``"low"`` or ``"high"``.

        Raises:
            InputError: If the file is missing or damaged, has no limit, or has an unknown name or an invalid value.
        """
        path = Path(path)
        held = _toml(path)
        for table, values in held.items():
            if table not in _TABLES or not isinstance(values, dict):
                raise InputError(
                    f"policy {path.name}", expected=f"the tables {', '.join(_TABLES)}", got=repr(table),
                    fix=did_you_mean(table, _TABLES),
                )  # fmt: skip
            known = _TABLES[table]
            if known is not None and (unknown := [name for name in values if name not in known]):
                raise InputError(
                    f"policy {path.name} [{table}]", expected=", ".join(known), got=repr(unknown[0]),
                    fix=did_you_mean(unknown[0], known),
                )  # fmt: skip
        limits, require = held.get("limits", {}), held.get("require", {})
        if not limits:
            raise InputError(f"policy {path.name}", expected="a table [limits], such as auc = 0.6", got="no limit")
        by = held.get("judge", {}).get("by", "estimate")
        if by not in BY:
            raise InputError(f"policy {path.name} [judge] by", expected=", ".join(BY), got=repr(by))
        gates = tuple(dataclasses.replace(Gate.parse(f"{name}={limit}"), by=by) for name, limit in limits.items())
        return cls(path.name, gates, _names(path, require), **_rows(path, require))

    def rule(self, evaluation: Evaluation) -> Ruling:
        """Applies the policy to an evaluation.

        If there is a defense, only the defended target counts, because it is what would be released.

        Returns:
            ``"FAIL"`` if a limit is exceeded; otherwise ``"INCONCLUSIVE"`` if there is a reason to doubt the figures,
            and ``"PASS"`` if there is none.
        """
        here = [result for result in evaluation.attacks if result.defended == (evaluation.defense is not None)]
        limits = []
        for gate in self.gates:
            worst, value = gate.worst(evaluation)
            limits.append(LimitFound(gate.metric, gate.by, gate.limit, value, worst, value > gate.limit))
        reasons = [*self._rows_missing(here), *self._attackers_missing(here), *_hidden(evaluation.checks)]
        for gate in self.gates:
            if (reason := gate.not_carried(here)) is not None:
                reasons.append(reason)
        is_exceeded = any(limit.exceeded for limit in limits)
        if not is_exceeded:
            reasons += self._identified_unseen(evaluation)
        outcome = "FAIL" if is_exceeded else "INCONCLUSIVE" if reasons else "PASS"
        return Ruling(self.name, outcome, tuple(limits), tuple(reasons))

    def _identified_unseen(self, evaluation: Evaluation) -> list[str]:
        """A reason if attackers identify members, and no limit is on a figure that shows it."""
        verdict = state_to_release(evaluation)
        found = verdict.identified
        if found is None or not verdict.identifies_beyond_chance or any(gate.sees_few for gate in self.gates):
            return []
        return [
            f"attackers identify {found.identified:,} of {found.n_members:,} members at a false positive rate of "
            f"{100 * found.fpr:g}%, more than chance explains, and no limit covers them: set named or tpr@0.01"
        ]

    def _rows_missing(self, here: list[AttackResult]) -> list[str]:
        reasons = []
        for what, least in (("members", self.members), ("non-members", self.non_members)):
            judged = min(getattr(result.metrics, f"n_{what.replace('-', '_')}") for result in here)
            if judged < least:
                reasons.append(f"an attacker was evaluated on {judged} {what}, and at least {least} are required")
        return reasons

    def _attackers_missing(self, here: list[AttackResult]) -> list[str]:
        took_part = {result.name for result in here}
        missing = [name for name in self.attackers if name not in took_part]
        return [f"required attackers did not take part: {', '.join(missing)}"] if missing else []


def _hidden(checks: tuple[Check, ...]) -> list[str]:
    return [
        f"the check {check.name} failed: {check.found[0].lower()}{check.found[1:].rstrip('.')}"
        for check in checks
        if check.name in HIDING and not check.passed
    ]


def _toml(path: Path) -> Mapping[str, Any]:
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return toml.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text"
        raise InputError(f"policy {path}", expected="a TOML file", got=reason) from error
    except toml.TOMLDecodeError as error:
        raise InputError(f"policy {path}", expected="a TOML file", got=str(error)) from error


def _names(path: Path, require: Mapping[str, Any]) -> tuple[str, ...]:
    names = require.get("attackers", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"policy {path.name} [require] attackers", expected="a list of names", got=repr(names))
    return tuple(names)


def _rows(path: Path, require: Mapping[str, Any]) -> dict[str, int]:
    found = {}
    for name in ("members", "non_members"):
        value = require.get(name, FEWEST_TO_CLEAR)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"policy {path.name} [require] {name}", expected="a whole number from 1", got=repr(value))
        found[name] = value
    return found
