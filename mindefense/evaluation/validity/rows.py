"""Checks of the rows: real data, sample size, overlap, duplicates, and the same distribution for both kinds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mindefense.evaluation.facts import Facts
from mindefense.evaluation.validity.measures import (
    balance_p_value,
    close_twins_in_two_classes,
    digests,
    lone_twins,
    more_than_half,
    telling,
)
from mindefense.evaluation.validity.wording import counted, sentence, sides_of
from mindefense.metrics import auc, auc_interval, clopper_pearson
from mindefense.types import Check

FEWEST_SAMPLES = 100
"""Smallest number of members, and of non-members; with fewer, balanced accuracy is known to ±0.07 at best."""
SMALL_FPR = 0.01
"""The false positive rate that the number of non-members has to determine."""
FEWEST_MISTAKES = 5
"""Smallest number of false positives at `SMALL_FPR`; with fewer, the true rate may be more than 2.3 times as large."""
MOST_DUPLICATES = 0.01
"""Largest share of the evaluated rows that may be duplicates; they change any rate by no more than that."""
LARGEST_SHIFT = 0.05
"""Largest distance from 0.5 of the AUC of a simple statistic of the rows."""
RAREST_CHANCE = 0.001
"""Significance level of tests for differences between members and non-members."""

EQUAL_ANSWERS = "Equal answers suggest duplicate rows, which attackers were fitted on or which cannot be distinguished."

_ROWS_AT_A_TIME = 1024


def made_up(facts: Facts) -> Check | None:
    """Whether the rows are synthetic."""
    if not facts.synthetic:
        return Check("synthetic", True, "The rows are not marked as synthetic.")
    return Check(
        "synthetic",
        False,
        "The rows are synthetic.",
        "The figures describe the generator of the rows and no real data.",
        "Use synthetic rows only to try out the tool, and evaluate on real data.",
    )


def smoke(facts: Facts) -> Check | None:
    """Whether this was a smoke test."""
    if not facts.smoke:
        return Check("smoke", True, "This is not a smoke test.")
    return Check(
        "smoke",
        False,
        "This is a smoke test with shortened trainings.",
        "The figures have no meaning.",
        "Run without --smoke.",
    )


def sample_size(facts: Facts) -> Check | None:
    """Whether there are enough members and non-members."""
    members = min([int(trial.is_member.sum()) for trial in facts.trials] or [int(facts.answers.is_member.sum())])
    non_members = min(
        [int((~trial.is_member).sum()) for trial in facts.trials] or [int((~facts.answers.is_member).sum())]
    )
    mistakes = int(SMALL_FPR * non_members + 1e-9)
    width = 1.96 / 4 * (1 / members + 1 / non_members) ** 0.5
    _, fpr = clopper_pearson(mistakes, non_members)
    carries = (
        f"Each attacker is evaluated on at least {members} members and {non_members} non-members, so a balanced "
        f"accuracy is known to ±{width:.3f} and a false positive rate of {SMALL_FPR} "
        f"corresponds to {counted(mistakes, 'false positive')}"
    )
    if min(members, non_members) >= FEWEST_SAMPLES and mistakes >= FEWEST_MISTAKES:
        return Check("sample-size", True, carries + ".")
    meaning = f"The true false positive rate behind an observed {SMALL_FPR} may be up to {fpr:.3f}"
    if min(members, non_members) < FEWEST_SAMPLES:
        meaning += f", and differences in balanced accuracy below {2 * width:.2f} may be due to chance"
    return Check(
        "sample-size",
        False,
        carries + ".",
        meaning + ".",
        f"Evaluate on at least {FEWEST_SAMPLES} members and {round(FEWEST_MISTAKES / SMALL_FPR)} non-members.",
    )


def overlap(facts: Facts) -> Check | None:
    """Whether attackers were fitted on rows that they are evaluated on."""
    found = {}
    for knowledge, rows in facts.fitted_on.items():
        if rows.indices is not None:
            judged = facts.answers.indices[_judged(facts, knowledge)]
            found[knowledge] = int(np.isin(judged, rows.indices).sum()), len(judged), len(rows.indices)
    if not found:
        return None
    said = ", ".join(
        f"{shared} of {judged} rows on which attackers of knowledge {knowledge} are evaluated are among the {fitted} "
        "they were fitted on"
        for knowledge, (shared, judged, fitted) in found.items()
    )
    if not any(shared for shared, _, _ in found.values()):
        return Check("overlap", True, said + ".")
    return Check(
        "overlap",
        False,
        said + ".",
        "These attackers were fitted on rows that they are evaluated on, so their figures are too high.",
        "Split the rows by index before anything is fitted.",
    )


def duplicates(facts: Facts) -> Check | None:
    """Whether there are duplicate rows, or duplicate answers if the rows are unknown."""
    answers, by_row = facts.answers, facts.features is not None
    rows = facts.features if facts.features is not None else answers.clean_probs
    keys, tells = digests(rows), np.ones(len(rows), bool) if by_row else telling(rows)
    if not tells.any():
        return _coarse_duplicates(facts, keys)
    both = np.intersect1d(keys[tells & answers.is_member], keys[tells & ~answers.is_member])
    repeated = sum(
        len(kind) - len(np.unique(kind)) for kind in (keys[tells & side] for side in sides_of(answers.is_member))
    )
    counts = {
        "equal one of the other membership": (int(np.isin(keys[tells], both).sum()), int(tells.sum())),
        "repeat one of the same membership": (repeated, int(tells.sum())),
    }
    for knowledge, fit in facts.fitted_on.items():
        fit_rows = fit.features if by_row else fit.probs
        if fit_rows is None:
            continue
        wanted = np.zeros(len(keys), bool)
        wanted[_judged(facts, knowledge)] = True
        if fit.indices is not None:  # the same row in both is an overlap, which is another check
            wanted &= ~np.isin(answers.indices, fit.indices)
        wanted &= tells
        known = digests(fit_rows.astype(rows.dtype, copy=False))
        what = f"on which attackers of knowledge {knowledge} are evaluated equal one they were fitted on"
        counts[what] = int(np.isin(keys[wanted], known).sum()), int(wanted.sum())
    thing = "rows" if by_row else "confidence vectors that are not rounded"
    said = f"Of the {thing}, " + ", ".join(f"{count} of {of} {what}" for what, (count, of) in counts.items())
    if all(count <= MOST_DUPLICATES * of for count, of in counts.values()):
        return Check("duplicates", True, said + ".")
    return Check(
        "duplicates",
        False,
        said + ".",
        "Duplicates of the other membership hide a leak, duplicates of rows fitted on make attackers look better, and "
        "repeated rows make intervals too narrow."
        if by_row
        else EQUAL_ANSWERS,
        "Remove duplicate rows before splitting the data."
        if by_row
        else "Look for duplicates among the recorded rows.",
    )


def _coarse_duplicates(facts: Facts, keys: np.ndarray) -> Check | None:
    """The check if equal vectors may be due to chance: compares their number with the expected one. None if passed."""
    probs, is_member = facts.answers.clean_probs, facts.answers.is_member
    across, within = lone_twins(keys, is_member)
    found = []
    if more_than_half(across, across + within) and 2 * (across - within) > MOST_DUPLICATES * len(keys):
        found.append(
            f"Of the confidence vectors that exactly two rows share, {across} belong to a member and a non-member and "
            f"{within} to two rows of the same membership"
        )
    if probs.shape[1] == 2 and len(np.unique(keys)) > len(keys) / 10:
        repeated = sum(close_twins_in_two_classes(probs, kind) for kind in sides_of(is_member))
        if repeated > MOST_DUPLICATES * len(keys):
            found.append(f"{repeated} of {len(keys)} rows have the same answer as another of the same membership")
    if not found:
        return None
    return Check(
        "duplicates", False, "; ".join(found) + ".", EQUAL_ANSWERS, "Look for duplicates among the recorded rows."
    )


def treatment(facts: Facts) -> Check | None:
    """Whether members and non-members differ in how they were transformed, or in simple statistics of the rows."""
    if facts.treated_alike is None and facts.features is None:
        return None
    said, apart = [], []
    if facts.treated_alike is not None:
        same = "the same transforms" if facts.treated_alike else "different transforms"
        said.append(f"members and non-members went through {same}")
    if facts.features is not None:
        is_member = facts.answers.is_member
        statistics = {
            name: values for name, values in _statistics(facts.features).items() if values.min() < values.max()
        }
        confidence = 1 - RAREST_CHANCE / max(len(statistics), 1)
        areas = {name: auc(values, is_member) for name, values in statistics.items()}
        for name, area in areas.items():
            low, high = auc_interval(statistics[name], is_member, confidence=confidence)
            if not low <= 0.5 <= high and abs(area - 0.5) > LARGEST_SHIFT:
                apart.append(name)
        figures = ", ".join(f"{name} {area:.3f}" for name, area in areas.items())
        said.append(f"AUCs of simple statistics of the rows are: {figures or 'none, because these are equal for all'}")
    found = sentence("; ".join(said))
    if facts.treated_alike is not False and not apart:
        return Check("treatment", True, found)
    return Check(
        "treatment",
        False,
        found,
        f"The rows of members and non-members differ in themselves ({', '.join(apart)}), so an attacker may detect "
        "this difference and not the membership."
        if apart
        else "Attackers may detect the transforms and not the membership.",
        "Draw both at random from the same rows and transform both in the same way.",
    )


def class_balance(facts: Facts) -> Check | None:
    """Whether members and non-members have the same distribution of classes."""
    answers = facts.answers
    if answers.labels is None:
        return None
    classes, column = np.unique(answers.labels, return_inverse=True)
    if len(classes) < 2:
        return Check("class-balance", True, f"All {len(answers.labels)} rows are of class {classes[0]}.")
    counts = np.stack(
        [np.bincount(column[kind], minlength=len(classes)) for kind in (answers.is_member, ~answers.is_member)]
    )
    p_value = balance_p_value(counts)
    shares = counts / counts.sum(axis=1, keepdims=True)
    worst = int(np.abs(shares[0] - shares[1]).argmax())
    found = (
        f"If membership and class of the {counts.sum()} rows were independent, so large a difference would have "
        f"probability {p_value:.2g}; class {classes[worst]} differs most ({shares[0, worst]:.3f} of the members, "
        f"{shares[1, worst]:.3f} of the non-members)."
    )
    if p_value >= RAREST_CHANCE:
        return Check("class-balance", True, found)
    return Check(
        "class-balance",
        False,
        found,
        "An attacker may guess the membership from the class, which says nothing about the model.",
        "Draw equal numbers of members and non-members of each class, or read the figures by class.",
    )


def _judged(facts: Facts, knowledge: str) -> np.ndarray:
    """Positions of all rows on which attackers of this knowledge are evaluated."""
    samples = [trial.samples for trial in facts.trials if trial.result.knowledge == knowledge]
    return np.unique(np.concatenate(samples)) if samples else np.zeros(0, np.int64)


def _statistics(features: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics ``(N,)`` of the rows that need no model, by name."""
    parts = [
        dict(_statistics_of(features[first : first + _ROWS_AT_A_TIME]))
        for first in range(0, len(features), _ROWS_AT_A_TIME)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _statistics_of(rows: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    yield "mean", flat.mean(axis=1)
    yield "standard deviation", flat.std(axis=1)
    yield "share of zeros", (flat == 0).mean(axis=1)
    if rows.ndim == 4:
        is_border = np.ones(rows.shape[2:], bool)
        is_border[1:-1, 1:-1] = False
        yield "share of zeros at the border", (rows[:, :, is_border] == 0).mean(axis=(1, 2))
