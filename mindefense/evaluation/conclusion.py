"""From trials and answers to the report: verdicts, utility, slices, budget table. NumPy only; nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindefense.evaluation.protocol import conclude
from mindefense.evaluation.slices import record_columns, slices_of
from mindefense.metrics import budget_table, utility_metrics
from mindefense.types import (
    Answers,
    BudgetPoint,
    Check,
    DefenseFacts,
    Evaluation,
    NotRun,
    Slices,
    TargetFacts,
    Trial,
    UtilityMetrics,
)


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
) -> Evaluation:
    """All that the trials and answers say, beside what the caller knows of where they come from; see `Evaluation`."""
    states = (False,) if defense is None else (False, True)
    verdicts = [conclude(trials, defended=defended) for defended in states]
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
        attacks=tuple(trial.result for trial in trials),
        not_run=tuple(not_run),
        budgets=tuple(budgets),
        undefended=verdicts[0],
        defended=verdicts[1] if defense is not None else None,
        slices=tuple(sharpest_slices(trials, answers, defended=defended) for defended in states),
        checks=tuple(checks),
        timings={},
        records=record_columns(trials, answers),
        canaries=tuple(trial.result for trial in canaries),
    )


def sharpest_slices(trials: Sequence[Trial], answers: Answers, *, defended: bool) -> Slices:
    """The parts of one state of the target through the eyes of its sharpest attacker."""
    here = [trial for trial in trials if trial.result.defended == defended]
    return slices_of(max(here, key=lambda trial: trial.result.metrics.two_sided_auc), answers)


def target_facts(answers: Answers, *, test_accuracy: float | None, queries: int) -> TargetFacts:
    """How well the target classifies the evaluation's rows."""
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
