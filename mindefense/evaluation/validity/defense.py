"""Checks of the defense: whether it preserves labels as intended, and answers the same query in the same way."""

from __future__ import annotations

from mindefense.evaluation.facts import Facts
from mindefense.types import Check


def labels_changed(facts: Facts) -> Check | None:
    """Whether the defense changes predicted classes."""
    defended = facts.answers.defended_probs
    if defended is None:
        return None
    changed = int((defended.argmax(axis=1) != facts.answers.clean_probs.argmax(axis=1)).sum())
    found = f"The defense changed {changed} of {len(defended)} predicted classes ({changed / len(defended):.4f})"
    found += {True: ", although it is meant to preserve them", False: "; it is not meant to preserve them", None: ""}[
        facts.keeps_labels
    ]
    if not changed:
        return Check("labels-changed", True, found + ".")
    if facts.keeps_labels is True:
        return Check(
            "labels-changed",
            False,
            found + ".",
            "The defense does not work as intended, so its other figures may be wrong as well.",
            "Look for the error in the defense or in the recorded outputs.",
        )
    labels, before, after = facts.answers.labels, None, None
    if labels is not None:
        before, after = (
            float((probs.argmax(axis=1) == labels).mean()) for probs in (facts.answers.clean_probs, defended)
        )
        found += f"; the accuracy is {before:.4f} without and {after:.4f} with it"
    bare, behind = (
        [trial.result.metrics.two_sided_auc for trial in facts.trials if trial.result.defended is state]
        for state in (False, True)
    )
    less_leak = None
    if bare and behind:
        less_leak = max(behind) < max(bare)
        found += f", and the highest two-sided AUC {max(bare):.3f} and {max(behind):.3f}"
    return Check(
        "labels-changed",
        False,
        found + ".",
        "Users get other predicted classes, which is part of the reason why attackers that use them find less."
        if less_leak
        else "Users get other predicted classes, and so do attackers that use them.",
        _advice(before, after, less_leak),
    )


def _advice(before: float | None, after: float | None, less_leak: bool | None) -> str:
    """Advice from the accuracies before and after the defense, and whether the leak is smaller."""
    if less_leak is None or before is None or after is None:
        return "Compare accuracy and leak with and without the defense."
    if after < before:
        return (
            "Weigh the lower leak against the lost accuracy."
            if less_leak
            else "Consider leaving out the defense, because it reduced the accuracy and did not reduce the leak."
        )
    gained = "the accuracy is higher" if after > before else "the accuracy is the same"
    return (
        f"Find out why {gained} although answers changed, because a defense does not know the true classes."
        if less_leak
        else f"Find out how the defense changes the answers to members, because {gained} and the leak is not lower."
    )


def same_answer(facts: Facts) -> Check | None:
    """Whether the same query gets the same answer."""
    asked = facts.asked_again
    if asked is None:
        return None
    said = f"{asked.differing} of {asked.rows} rows got another answer to a repeated query"
    if asked.fresh_noise:
        said += ", as expected with fresh noise" if asked.differing else ", although its noise is meant to be fresh"
        if asked.averaged:
            return Check("same-answer", True, f"{said}; an attacker that averages answers took part.")
        return Check(
            "same-answer",
            False,
            said + ".",
            "The figures hold for attackers that send each query once; repeated queries can average out the noise.",
            "Add an attacker that averages answers, or let a secret key determine the noise.",
        )
    if not asked.differing:
        return Check("same-answer", True, said + ".")
    return Check(
        "same-answer",
        False,
        said + ", although a key determines the noise.",
        "An attacker that repeats queries learns more than the figures show, and the figures cannot be reproduced.",
        "Find out what the answer depends on besides key and row: the batch, the order, or a stateful generator.",
    )
