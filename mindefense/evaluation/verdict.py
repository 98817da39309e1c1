"""The verdict over all attackers on one state of a target."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mindefense.errors import InputError
from mindefense.metrics import (
    accuracy_difference,
    auc_difference,
    auc_interval,
    balanced_accuracy_interval,
    identified_members,
    level_of,
    small_fpr,
    verdict,
)
from mindefense.metrics.identified import standing
from mindefense.metrics.levels import FALSE_ALARMS
from mindefense.types import Change, Check, IdentifiedMembers, Trial, Verdict

WRONG_ROWS = ("labels-match", "duplicates")
"""Checks whose failure may hide a leak: wrong labels, and rows that occur as member and as non-member."""


def verdict_of(trials: Sequence[Trial], *, defended: bool, labelled: bool = True) -> Verdict:
    """The verdict over all attackers on the undefended or the defended target.

    Args:
        trials: All trials.
        defended: Whether the verdict is on the defended target.
        labelled: Whether true classes are known, so that the gap attack takes part.

    Raises:
        InputError: If there are no trials on this state, or true classes are known and the gap attack is missing.
    """
    here = [trial for trial in trials if trial.result.defended == defended]
    gap = [trial.result.metrics.balanced_accuracy for trial in here if trial.result.name == "gap"]
    if not here or (labelled and not gap):
        raise InputError("trials", expected="the gap attack among the attackers", got="none")
    strongest = max(here, key=lambda trial: trial.result.metrics.balanced_accuracy)
    sharpest = max(here, key=lambda trial: trial.result.metrics.two_sided_auc)
    # The best attacker is selected afterwards, so the intervals must hold for all attackers at once (Bonferroni), and
    # for three figures. Of the error of 0.05, the one-sided test of balanced accuracies takes a quarter, the two-sided
    # test of AUCs a half, and the test of identified members a quarter.
    confidence = 1 - FALSE_ALARMS / 2 / len(here)
    shown = [_shown(trial, confidence) for trial in here]
    of_accuracy = {id(trial): accuracy for trial, (accuracy, _) in zip(here, shown, strict=True)}
    of_auc = {id(trial): area for trial, (_, area) in zip(here, shown, strict=True)}
    identifies, identified, surely = _identified(here)
    by, figure, interval = max(
        (
            (trial, figure, interval)
            for trial, pair in zip(here, shown, strict=True)
            for figure, interval in zip(("balanced accuracy", "AUC"), pair, strict=True)
        ),
        key=lambda one: _beyond_chance(one[1], one[2]),
    )
    is_shown = _beyond_chance(figure, interval) > 0
    level = _level(here, surely=surely, is_shown=is_shown)
    return Verdict(
        tutorial_rule=any(verdict(trial.result.metrics) for trial in here),
        strongest=strongest.result,
        strongest_low=of_accuracy[id(strongest)][0],
        strongest_high=of_accuracy[id(strongest)][1],
        sharpest=sharpest.result,
        sharpest_low=of_auc[id(sharpest)][0],
        sharpest_high=of_auc[id(sharpest)][1],
        attackers=len(here),
        gap_accuracy=gap[0] if gap else None,
        level=level,
        identifies=None if identifies is None else identifies.result,
        identified=identified,
        identifies_beyond_chance=surely,
        shown_by=by.result if is_shown else None,
        shown_figure=figure if is_shown else None,
        shown_low=interval[0] if is_shown else None,
        shown_high=interval[1] if is_shown else None,
        untold_by="few rows" if level == "cannot be told" else None,
    )


def held_against(verdict: Verdict, checks: Sequence[Check]) -> Verdict:
    """The verdict, changed from "none found" to "cannot be told" if a failed check of `WRONG_ROWS` may hide a leak."""
    failed = [check.name for check in checks if check.name in WRONG_ROWS and not check.passed]
    if verdict.level != "none found" or not failed:
        return verdict
    return dataclasses.replace(verdict, level="cannot be told", untold_by=failed[0])


def changed(before: Sequence[Trial], after: Sequence[Trial]) -> Change:
    """The decreases of the best attackers' figures from `before` to `after`, on the same rows."""

    def best(trials: Sequence[Trial], figure: str) -> Trial:
        return max(trials, key=lambda trial: getattr(trial.result.metrics, figure))

    return Change(
        accuracy_difference(best(before, "balanced_accuracy"), best(after, "balanced_accuracy")),
        auc_difference(best(before, "two_sided_auc"), best(after, "two_sided_auc")),
    )


def _shown(trial: Trial, confidence: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """The intervals of an attacker's balanced accuracy and of its AUC."""
    return (
        balanced_accuracy_interval(
            trial.scores, trial.is_member, threshold=trial.threshold, confidence=confidence
        ),
        auc_interval(trial.scores, trial.is_member, confidence=confidence),
    )  # fmt: skip


def _beyond_chance(figure: str, interval: tuple[float, float]) -> float:
    """Distance of an interval from 0.5, negative if it contains 0.5: two-sided for the AUC, otherwise only above."""
    low, high = interval
    return max(low - 0.5, 0.5 - high) if figure == "AUC" else low - 0.5


def _identified(trials: Sequence[Trial]) -> tuple[Trial | None, IdentifiedMembers | None, bool]:
    """The attacker that identifies the most members, its figures, and whether chance does not explain them.

    For each attacker the false positive rate is the smallest one that its number of non-members can determine. If its
    scores do not depend on the rows it was fitted on, all rows count. Attackers with equal scores count as one test.
    """
    carried = []
    for trial in trials:
        scores, is_member = trial.ranked or (trial.scores, trial.is_member)
        rate = small_fpr(np.count_nonzero(~is_member))
        if rate is not None:
            carried.append((trial, scores, is_member, rate))
    if not carried:
        return None, None, False
    tail = FALSE_ALARMS / 4 / len({scores.tobytes() for _, scores, _, _ in carried})
    found = [
        (trial, identified_members(scores, is_member, fpr=rate, confidence=1 - tail))
        for trial, scores, is_member, rate in carried
    ]
    best, identified = max(found, key=lambda one: standing(one[1], tail))
    return best, identified, identified.p_value <= tail


def _level(trials: Sequence[Trial], *, surely: bool, is_shown: bool) -> str:
    figures = [trial.result.metrics for trial in trials]
    return level_of(
        surely=surely,
        shown=is_shown,
        accuracy=max(one.balanced_accuracy for one in figures),
        two_sided_auc=max(one.two_sided_auc for one in figures),
        judged=min(max(one.n_members for one in figures), max(one.n_non_members for one in figures)),
    )
