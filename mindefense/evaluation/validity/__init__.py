"""When an evaluation should not be believed: each doubt looked into, from what the caller can tell. NumPy only.

What nothing is known of is not looked into and not listed: a list without doubts says what it looked at.
"""

from __future__ import annotations

from mindefense.evaluation.facts import Facts
from mindefense.evaluation.validity.attackers import (
    convergence,
    left_out,
    one_way,
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
    """Looks into every doubt that the facts allow.

    Args:
        facts: What is known.

    Returns:
        One check a doubt, passed or not, always in the same order; those of which nothing is known are left out.
        Every text is one plain sentence.

    Raises:
        InputError: If features and answers differ in length, or there are no members or no non-members.
    """
    return tuple(check for look in _LOOKS if (check := look(facts)) is not None)


_LOOKS = (
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
)
