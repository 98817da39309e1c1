"""Checks of whether an evaluation can be trusted, as far as the known facts allow. Needs NumPy and SciPy.

A check without the facts that it needs is left out. Passed checks are listed too, so the list shows what was checked.
"""

from __future__ import annotations

from mindefense.evaluation.facts import Facts
from mindefense.evaluation.validity.attackers import (
    convergence,
    left_out,
    one_way,
    shadow_models,
    static_only,
    threshold_transfer,
    upside_down,
)
from mindefense.evaluation.validity.defense import labels_changed, same_answer
from mindefense.evaluation.validity.labels import labels_match, members
from mindefense.evaluation.validity.rows import (
    class_balance,
    duplicates,
    made_up,
    overlap,
    sample_size,
    smoke,
    treatment,
)
from mindefense.types import Check

__all__ = ["doubts"]


def doubts(facts: Facts) -> tuple[Check, ...]:
    """Computes every check that the facts allow.

    Args:
        facts: The known facts.

    Returns:
        Passed and failed checks, always in the same order, without those whose facts are unknown. Every text is one
        sentence.

    Raises:
        InputError: If features and answers differ in length, or there are no members or no non-members.
    """
    return tuple(check for compute in _CHECKS if (check := compute(facts)) is not None)


_CHECKS = (
    made_up,
    smoke,
    sample_size,
    labels_match,
    members,
    overlap,
    duplicates,
    treatment,
    class_balance,
    labels_changed,
    same_answer,
    left_out,
    static_only,
    one_way,
    upside_down,
    convergence,
    threshold_transfer,
    shadow_models,
)
