"""Ways to defend one target, side by side: what each leaves to the attackers and what it costs the users."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mindefense.evaluation.conclusion import utility
from mindefense.evaluation.protocol import conclude
from mindefense.types import Answers, Contender, Trial

_TOLERANCE = 1e-9


def contender(
    name: str,
    config: Mapping[str, object],
    trials: Sequence[Trial],
    answers: Answers,
    *,
    in_training: bool = False,
) -> Contender:
    """What attackers and users get from one way to defend.

    Args:
        name: What to call it.
        config: Its settings.
        trials: The attackers on it: on its defended answers, or on the undefended ones of a target that defends itself
            by how it was trained, or that nothing defends.
        answers: The undefended and, but for the undefended target, the contender's answers.
        in_training: Whether it is a way to train.
    """
    defended = trials[0].result.defended
    return Contender(
        name=name,
        config=dict(config),
        in_training=in_training,
        utility=utility(answers)[1],
        verdict=conclude(trials, defended=defended),
        attacks=tuple(trial.result for trial in trials),
    )


def mark_dominated(contenders: Sequence[Contender]) -> tuple[Contender, ...]:
    """The contenders with the names of those that dominate each.

    One dominates another if it gives away no more (the strongest attacker's balanced accuracy and two-sided AUC), costs
    no more (mean L1 distance, calibration error, negative log-likelihood, accuracy lost) and is better in at least one
    of these. Figures are compared as they were measured; intervals are wider than many differences between them. The L1
    distance counts between two ways to reshape alone: a target that was trained otherwise is another model, whose
    users never saw the first one's answers.
    """

    def dominates(one: Contender, other: Contender) -> bool:
        with_l1 = not (one.in_training or other.in_training)
        pairs = list(zip(_burden(one, with_l1), _burden(other, with_l1), strict=True))
        return all(a <= b + _TOLERANCE for a, b in pairs) and any(a < b - _TOLERANCE for a, b in pairs)

    return tuple(
        dataclasses.replace(
            contender, dominated_by=tuple(other.name for other in contenders if dominates(other, contender))
        )
        for contender in contenders
    )


def _burden(contender: Contender, with_l1: bool) -> tuple[float, ...]:
    """What one wants little of: leaks first, then costs."""
    verdict, cost = contender.verdict, contender.utility
    return (
        verdict.strongest.metrics.balanced_accuracy,
        verdict.sharpest.metrics.two_sided_auc,
        *((cost.mean_l1,) if with_l1 else ()),
        cost.ece,
        cost.nll,
        -cost.accuracy,
    )
