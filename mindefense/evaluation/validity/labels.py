"""Checks of whether answers, labels and membership belong to the same rows."""

from __future__ import annotations

import numpy as np

from mindefense.evaluation.facts import Facts
from mindefense.evaluation.validity.measures import (
    BETTER_THAN_CHANCE,
    guessing,
    moved_columns,
    sides_at_chance,
    upper_limit,
)
from mindefense.evaluation.validity.wording import NEAR_CHANCE, counted, sides_of
from mindefense.types import Check, Outputs

SURE = 0.8
"""Smallest mean of the largest confidence at which a target counts as confident."""
HARDLY_EVER = 0.2
"""Accuracy below which the answers of a confident target cannot belong to the labels."""
FEW_RIGHT = 1 / 3
"""Accuracy on members below which a target classifies few of them correctly."""
SMALL_GAP = 0.05
"""Largest difference between the accuracies on members and non-members that counts as small."""
GAP_RULED_OUT = 0.1
"""Largest upper end of the gap's 95 % interval; with a higher one, the rows are too few to call the gap small."""
NEAR_PERFECT = 0.9
"""Accuracy on non-members from which on a small gap is no reason for doubt."""


def labels_match(facts: Facts) -> Check | None:
    """Whether answers match the labels, and defended answers match the undefended ones, by row and by column."""
    answers = facts.answers
    is_member, n_classes = answers.is_member, answers.clean_probs.shape[1]
    answered = answers.clean_probs.argmax(axis=1)
    if answers.labels is None:
        return _unlabelled(answers, answered)
    right = answered == answers.labels
    found = f"The target correctly classifies {_by_side(right, is_member)}, where guessing reaches "
    found += f"{guessing(answers.labels):.3f}"
    wrong = _out_of_step(answered, answers.labels, is_member, n_classes)
    if wrong:
        return _mismatch(
            f"{found}; {wrong}",
            "Either the target has learned nothing about these rows, or the labels do not belong to the rows or to the "
            "columns.",
            "Make sure that the labels belong to these rows, in this order, and that class k is the k-th column.",
        )
    sure = float(answers.clean_probs.max(axis=1).mean())
    limits = [upper_limit(int(right[kind].sum()), int(kind.sum()), BETTER_THAN_CHANCE) for kind in sides_of(is_member)]
    if sure >= SURE and max(limits) < HARDLY_EVER:
        return _mismatch(
            f"{found}; its mean largest confidence is {sure:.3f}",
            "The target has high confidences and a low accuracy, so its answers do not belong to these labels.",
            "Make sure that the labels belong to these rows, in this order, and that class k is the k-th column.",
        )
    if answers.defended_probs is None:
        return Check("labels-match", True, found + ".")
    same, wrong = _defended_match(answers, answered)
    if not wrong:
        return Check("labels-match", True, f"{found}; {same}.")
    return _mismatch(f"{found}; {same}; {wrong}", _OTHER_ROWS, _SEE_ROWS)


_OTHER_ROWS = (
    "Either the defended answers belong to other rows, or their rows or columns are in another order, or the "
    "defense makes the answers useless."
)
_SEE_ROWS = (
    "Make sure that row i of the defended and of the undefended answers belongs to the same sample, for every i."
)


def _defended_match(answers: Outputs, answered: np.ndarray) -> tuple[str, str]:
    """A sentence on how often defended and undefended answers predict the same class, and one on what is wrong."""
    assert answers.defended_probs is not None
    defended, is_member = answers.defended_probs.argmax(axis=1), answers.is_member
    same = f"defended and undefended answers predict the same class for {_by_side(defended == answered, is_member)}"
    return same, _out_of_step(defended, answered, is_member, answers.clean_probs.shape[1])


def _unlabelled(answers: Outputs, answered: np.ndarray) -> Check:
    found = "The recorded outputs hold no true classes"
    if answers.defended_probs is not None:
        same, wrong = _defended_match(answers, answered)
        if wrong:
            return _mismatch(f"{found}; {same}; {wrong}", _OTHER_ROWS, _SEE_ROWS)
    return _mismatch(
        found,
        "Attackers that use the true class are often the strongest and did not take part, so the leak may be larger "
        "than the figures show.",
        "Record the true class of each row as labels.",
    )


def _mismatch(found: str, meaning: str, advice: str) -> Check:
    return Check("labels-match", False, found + ".", meaning, advice)


def _by_side(right: np.ndarray, is_member: np.ndarray) -> str:
    return f"{right[is_member].mean():.3f} of the members and {right[~is_member].mean():.3f} of the non-members"


def _out_of_step(answered: np.ndarray, truth: np.ndarray, is_member: np.ndarray, n_classes: int) -> str:
    """What is wrong with the agreement of predicted and true classes; empty if nothing is."""
    nothing, sides = sides_at_chance(answered, truth, is_member)
    moved = moved_columns(answered, truth, n_classes)
    if moved:
        some = ", ".join(str(label) for label in moved[:5]) + (" and more" if len(moved) > 5 else "")
        return f"{counted(len(moved), 'column')} (of {some}) belong to other classes"
    if nothing:
        return "this is no better than chance"
    return f"on the {sides[0]} this is no better than chance" if sides else ""


def members(facts: Facts) -> Check | None:
    """Whether the given members may not be the rows that the target was trained on."""
    if facts.answers.labels is None:
        return None
    is_member = facts.answers.is_member
    right = facts.answers.clean_probs.argmax(axis=1) == facts.answers.labels
    n, others = int(is_member.sum()), int((~is_member).sum())
    accuracy, reached = float(right[is_member].mean()), float(right[~is_member].mean())
    found = f"The target correctly classifies {_by_side(right, is_member)}"
    few = upper_limit(int(right[is_member].sum()), n, BETTER_THAN_CHANCE) < FEW_RIGHT
    gap = accuracy - reached
    width = 1.96 * (accuracy * (1 - accuracy) / n + reached * (1 - reached) / others) ** 0.5
    small = gap <= SMALL_GAP and gap + width <= GAP_RULED_OUT and reached < NEAR_PERFECT
    figures = [trial.result.metrics for trial in facts.trials if not trial.result.defended]
    areas = [one.two_sided_auc for one in figures]
    nobody = bool(figures) and not any(
        max(one.two_sided_auc, one.balanced_accuracy) > 0.5 + NEAR_CHANCE
        or any(rate.low > rate.fpr for rate in one.tpr_at_fpr)
        for one in figures
    )
    if areas:
        found += f"; the highest two-sided AUC without a defense is {max(areas):.3f}"
    if not few and not (small and nobody):
        return Check("members", True, found + ".")
    return Check(
        "members",
        False,
        found + ".",
        (
            "The target correctly classifies few of its members"
            if few
            else "The target is hardly more accurate on its members"
        )
        + ", so either it has hardly memorized them, or these are not the rows that it was trained on.",
        "Make sure that the members are exactly the rows that this target was trained on.",
    )
