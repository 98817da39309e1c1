"""Mislabeled samples among the members, which a model can only memorize."""

from __future__ import annotations

import dataclasses

import numpy as np

from mindefense.data import Split
from mindefense.errors import InputError
from mindefense.evaluation.scenario import Rows
from mindefense.types import LabelledData


def plant(data: LabelledData, split: Split, count: int, *, seed: int) -> tuple[LabelledData, Split, Rows]:
    """Makes canaries: gives some of the evaluation's rows a wrong label and removes them from the evaluation's rows.

    A model can only assign a member its wrong label if it has memorized the sample, so canaries are a stricter test
    than average samples (Carlini et al., USENIX Security 2019; Aerni, Zhang & Tramèr, CCS 2024). Equally many
    non-members get wrong labels, so that both sides are comparable.

    Args:
        data: The data set.
        split: The rows of each role.
        count: Number of canaries among the members, and among the non-members.
        seed: Seed of the choice of rows and labels.

    Returns:
        The data with the new labels; the split without the canaries in the evaluation's rows (those that are members
        stay among the target's training rows); and the canaries.

    Raises:
        InputError: If `count` is not from 1 to half of the evaluation's members or non-members, or there is only one
            class.
    """
    most = min(len(split.eval_members), len(split.eval_non_members)) // 2
    if most < 1:
        raise InputError("canaries", expected="two or more members and non-members to evaluate on", got="fewer")
    if not isinstance(count, int) or not 1 <= count <= most:
        raise InputError(
            "canaries", expected=f"a whole number from 1 to {most}, half of the rows to evaluate on", got=repr(count)
        )
    if data.num_classes < 2:
        raise InputError("canaries", expected="data of two or more classes", got=str(data.num_classes))
    rng = np.random.default_rng((seed, count))
    labels = data.labels.copy()
    left, drawn = {}, []
    for role in ("eval_members", "eval_non_members"):
        rows = getattr(split, role)
        here = np.sort(rng.choice(len(rows), count, replace=False))
        drawn.append(rows[here])
        left[role] = np.delete(rows, here)
        shift = rng.integers(1, data.num_classes, count)
        labels[rows[here]] = (labels[rows[here]] + shift) % data.num_classes
    left["target_non_members"] = np.setdiff1d(split.target_non_members, drawn[1])
    # A new object, because the old one has stored its fingerprint.
    planted = dataclasses.replace(data, labels=labels)
    return planted, dataclasses.replace(split, **left), Rows(planted.take(drawn[0]), planted.take(drawn[1]))
