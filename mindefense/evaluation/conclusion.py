"""From trials and answers to the report: verdicts, utility, slices, budget table. NumPy only; nothing is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mindefense.evaluation.protocol import changed, conclude, held_against
from mindefense.evaluation.slices import record_columns, slices_of
from mindefense.metrics import budget_table, utility_metrics
from mindefense.metrics.ranking import Counts
from mindefense.types import (
    Answers,
    BudgetPoint,
    Check,
    ConfidenceHistogram,
    DefenseFacts,
    Evaluation,
    Evidence,
    NotRun,
    RocPoints,
    Slices,
    TargetFacts,
    Trial,
    UtilityMetrics,
)

_EVERY = 30
"""False alarms up to which a kept ROC curve has every point: what is seen on a logarithmic axis."""
_FURTHER = 60
"""Points beyond, at most."""
_BINS = 20


def assemble(
    trials: Sequence[Trial],
    answers: Answers,
    *,
    dataset: str,
    synthetic: bool,
    smoke: bool,
    seed: int,
    settings: dict[str, object],
    versions: dict[str, str],
    target: TargetFacts,
    shadow_accuracy: tuple[float, float] | None,
    defense: DefenseFacts | None,
    not_run: Sequence[NotRun],
    budgets: Sequence[BudgetPoint],
    checks: Sequence[Check],
    canaries: Sequence[Trial] = (),
    evidence: Evidence | None = None,
) -> Evaluation:
    """All that the trials and answers say, beside what the caller knows of where they come from; see `Evaluation`."""
    states = (False,) if defense is None else (False, True)
    labelled = answers.labels is not None
    verdicts = [conclude(trials, defended=defended, labelled=labelled) for defended in states]
    verdicts = [held_against(verdict, checks) for verdict in verdicts]
    return Evaluation(
        dataset=dataset,
        synthetic=synthetic,
        smoke=smoke,
        seed=seed,
        settings=settings,
        versions=versions,
        target=target,
        shadow_accuracy=shadow_accuracy,
        defense=defense,
        attacks=tuple(
            dataclasses.replace(trial.result, roc=roc_points(trial.scores, trial.is_member)) for trial in trials
        ),
        not_run=tuple(not_run),
        budgets=tuple(budgets),
        undefended=verdicts[0],
        defended=verdicts[1] if defense is not None else None,
        slices=tuple(sharpest_slices(trials, answers, defended=defended) for defended in states),
        checks=tuple(checks),
        timings={},
        records=record_columns(trials, answers),
        canaries=tuple(trial.result for trial in canaries),
        confidences=tuple(confidence_histogram(answers, defended=defended) for defended in states if labelled),
        change=None if defense is None else changed(*_by_state(trials)),
        evidence=evidence,
    )


def _by_state(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """The trials on the undefended target, and those on the defended one."""
    before = [trial for trial in trials if not trial.result.defended]
    return before, [trial for trial in trials if trial.result.defended]


def roc_points(scores: np.ndarray, is_member: np.ndarray) -> RocPoints:
    """At most 92 points of the ROC curve of these scores: all with few false positives, fewer and fewer of the others.

    Args:
        scores: ``(N,)`` float64, higher = more likely a member.
        is_member: ``(N,)`` bool.

    Example:
        >>> roc_points(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))
        RocPoints(false_alarms=(0, 1, 2), found=(1, 2, 2))
    """
    counts = Counts.of(scores, is_member)
    false_alarms = counts.called_non_members
    corners = np.append(np.flatnonzero(np.diff(false_alarms)), len(false_alarms) - 1)  # the most found, at each number
    numbers = false_alarms[corners]
    wanted = np.geomspace(_EVERY, max(counts.n_non_members, _EVERY), _FURTHER)
    kept = np.union1d(np.flatnonzero(numbers <= _EVERY), np.searchsorted(numbers, wanted, side="right") - 1)
    kept = corners[np.union1d(kept, len(corners) - 1)]
    return RocPoints(tuple(false_alarms[kept].tolist()), tuple(counts.called_members[kept].tolist()))


def confidence_histogram(answers: Answers, *, defended: bool) -> ConfidenceHistogram:
    """How often the undefended or the defended target is how sure of the true class."""
    probs = answers.defended_probs if defended else answers.clean_probs
    assert probs is not None
    assert answers.labels is not None
    of_true = np.clip(probs[np.arange(len(probs)), answers.labels], 0, 1)  # float32 may round to just above 1

    def counted(kind: np.ndarray) -> tuple[int, ...]:
        return tuple(np.histogram(of_true[kind], bins=_BINS, range=(0, 1))[0].tolist())

    return ConfidenceHistogram(defended, counted(answers.is_member), counted(~answers.is_member))


def sharpest_slices(trials: Sequence[Trial], answers: Answers, *, defended: bool) -> Slices:
    """The parts of one state of the target through the eyes of its sharpest attacker."""
    here = [trial for trial in trials if trial.result.defended == defended]
    return slices_of(max(here, key=lambda trial: trial.result.metrics.two_sided_auc), answers)


def target_facts(answers: Answers, *, test_accuracy: float | None, queries: int) -> TargetFacts:
    """How well the target classifies the evaluation's rows."""
    if answers.labels is None:
        return TargetFacts(None, None, test_accuracy, queries)
    right = answers.clean_probs.argmax(axis=1) == answers.labels
    return TargetFacts(
        member_accuracy=float(right[answers.is_member].mean()),
        non_member_accuracy=float(right[~answers.is_member].mean()),
        test_accuracy=test_accuracy,
        queries=queries,
    )


def utility(answers: Answers) -> tuple[UtilityMetrics, UtilityMetrics]:
    """What the undefended and the defended answers are worth; the same twice without a defense."""
    clean, defended = answers.clean_probs, answers.defended_probs
    undefended = utility_metrics(clean, answers.labels, clean_probs=clean)
    if defended is None:
        return undefended, undefended
    return undefended, utility_metrics(defended, answers.labels, clean_probs=clean)


def published_budgets(
    trials: Sequence[Trial], answers: Answers, *, g_clean: np.ndarray, g_defended: np.ndarray
) -> tuple[BudgetPoint, ...]:
    """The published budget table: the nn attacker, unaware of the defense; empty if it did not take part.

    Args:
        trials: All trials.
        answers: What the attackers saw.
        g_clean: ``(N,)`` the defender's membership probability of the undefended answers.
        g_defended: ``(N,)`` of the defended ones.
    """
    right = {}
    for trial in trials:
        if (trial.result.name, trial.result.knowledge, trial.result.adversary) == ("nn", "shadow", "static"):
            called = (trial.scores > trial.threshold) == trial.is_member
            right[trial.result.defended] = called[np.argsort(trial.samples)]
    if len(right) < 2 or answers.defended_probs is None:
        return ()
    return budget_table(
        answers.clean_probs,
        answers.defended_probs,
        correct_clean=right[False],
        correct_defended=right[True],
        g_clean=g_clean,
        g_defended=g_defended,
    )
