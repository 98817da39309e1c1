"""When an evaluation should not be believed: each doubt looked into, from what the caller can tell. NumPy only.

What nothing is known of is not looked into and not listed: a list without doubts says what it looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from mindefense.attacks.registry import kinds
from mindefense.evaluation.facts import Facts, Training, training_name
from mindefense.evaluation.validity_measures import (
    BETTER_THAN_CHANCE,
    balance_p_value,
    close_twins_in_two_classes,
    digests,
    guessing,
    lone_twins,
    more_than_half,
    moved_columns,
    sides_at_chance,
    telling,
    upper_limit,
)
from mindefense.evaluation.verdict import verdict_of
from mindefense.metrics import auc, auc_interval, clopper_pearson
from mindefense.types import AttackResult, Check, Outputs, Trial

FEWEST_SAMPLES = 100
"""Members, and non-members, below which every figure is rough: balanced accuracy is known to ±0.07 at best."""
SMALL_FPR = 0.01
"""The false positive rate that the number of non-members has to determine."""
FEWEST_MISTAKES = 5
"""Non-members called members at `SMALL_FPR`, below which the true rate may be more than 2.3 times as large."""
MOST_DUPLICATES = 0.01
"""Share of the judged rows that may have a twin; their weight in any rate is no more than that."""
SURE = 0.8
"""Mean largest confidence of a target that is sure of its answers."""
HARDLY_EVER = 0.2
"""Share of its answers below which such a target is hardly ever right."""
FEW_RIGHT = 1 / 3
"""Share of its members below which a target classifies few of them correctly."""
SMALL_GAP = 0.05
"""How much higher the accuracy on members may be, for a target that hardly does better on them than on others."""
GAP_RULED_OUT = 0.1
"""The gap that must be above its interval of 95 %, or the rows are too few to call the gap small."""
NEAR_PERFECT = 0.9
"""Accuracy on others from which on there is no room for a gap."""
LARGEST_SHIFT = 0.05
"""How far from 0.5 the AUC of a plain statistic of the rows may be."""
RAREST_CHANCE = 0.001
"""Chance of so large a difference between members and non-members drawn alike, below which they were not."""
ONE_WAY = 0.05
"""An attacker that calls fewer than this share members, or more than all but this share, answers one way."""
NEAR_CHANCE = 0.05
"""How far from 0.5 the balanced accuracy of an attacker that does no better than chance may be."""
LARGEST_FALL = 0.05
"""Relative fall of the loss over a tenth of the training, above which it was not done."""
LEARNED = 0.02
"""By how much a network must be better than chance on the rows that it was fitted on."""
FITTED = 0.99
"""Accuracy on the rows it was fitted on from which a loss that still falls no longer matters."""
LARGEST_GAP_DIFFERENCE = 0.15
"""How far the generalization gaps of shadow and target may be apart."""

EQUAL_ANSWERS = "Equal answers suggest equal rows, which attackers have seen before or which cannot be told apart."

_ROWS_AT_A_TIME = 1024


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


# ---------------------------------------------------------------------- the rows


def _made_up(facts: Facts) -> Check | None:
    if not facts.synthetic:
        return Check("synthetic", True, "The rows are not said to be made up.")
    return Check(
        "synthetic",
        False,
        "The rows were made up.",
        "The figures describe the generator of the rows and no real data.",
        "Use them to try the tool out, and evaluate on real data.",
    )


def _smoke(facts: Facts) -> Check | None:
    if not facts.smoke:
        return Check("smoke", True, "This is not a smoke test.")
    return Check(
        "smoke",
        False,
        "This is a smoke test with shortened trainings.",
        "The figures mean nothing.",
        "Run without --smoke.",
    )


def _labels_match(facts: Facts) -> Check | None:
    """Whether answers fit labels, and defended answers the undefended ones: rows or columns out of step spoil all."""
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
            "Make sure that the labels belong to these rows, in this order, and number the classes as the columns do.",
        )
    sure = float(answers.clean_probs.max(axis=1).mean())
    limits = [upper_limit(int(right[kind].sum()), int(kind.sum()), BETTER_THAN_CHANCE) for kind in _kinds(is_member)]
    if sure >= SURE and max(limits) < HARDLY_EVER:
        return _mismatch(
            f"{found}; its mean largest confidence is {sure:.3f}",
            "The target gives high confidences and is hardly ever right, so its answers do not belong to these labels.",
            "Make sure that the labels belong to these rows, in this order, and number the classes as the columns do.",
        )
    if answers.defended_probs is None:
        return Check("labels-match", True, found + ".")
    same, wrong = _defended_match(answers, answered)
    if not wrong:
        return Check("labels-match", True, f"{found}; {same}.")
    return _mismatch(f"{found}; {same}; {wrong}", _OTHER_ROWS, _SEE_ROWS)


_OTHER_ROWS = (
    "Either the defended answers belong to other rows, or their rows or columns are in another order, or the "
    "defense leaves nothing of the answers."
)
_SEE_ROWS = (
    "Make sure that each row of the defended answers belongs to the same sample as that row of the undefended ones."
)


def _defended_match(answers: Outputs, answered: np.ndarray) -> tuple[str, str]:
    """How often defended and undefended answers name the same class, and what is wrong about that."""
    assert answers.defended_probs is not None
    defended, is_member = answers.defended_probs.argmax(axis=1), answers.is_member
    same = f"defended and undefended answers name the same class of {_by_side(defended == answered, is_member)}"
    return same, _out_of_step(defended, answered, is_member, answers.clean_probs.shape[1])


def _unlabelled(answers: Outputs, answered: np.ndarray) -> Check:
    found = "The recorded outputs hold no true classes"
    if answers.defended_probs is not None:
        same, wrong = _defended_match(answers, answered)
        if wrong:
            return _mismatch(f"{found}; {same}; {wrong}", _OTHER_ROWS, _SEE_ROWS)
    return _mismatch(
        found,
        "Attackers that use the true class often find most and did not take part, so the leak may be larger than the "
        "figures show.",
        "Record the true class of each row as labels.",
    )


def _mismatch(found: str, meaning: str, advice: str) -> Check:
    return Check("labels-match", False, found + ".", meaning, advice)


def _kinds(is_member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return is_member, ~is_member


def _by_side(right: np.ndarray, is_member: np.ndarray) -> str:
    return f"{right[is_member].mean():.3f} of the members and {right[~is_member].mean():.3f} of the non-members"


def _out_of_step(answered: np.ndarray, truth: np.ndarray, is_member: np.ndarray, n_classes: int) -> str:
    nothing, sides = sides_at_chance(answered, truth, is_member)
    moved = moved_columns(answered, truth, n_classes)
    if moved:
        some = ", ".join(str(label) for label in moved[:5]) + (" and more" if len(moved) > 5 else "")
        return f"{_number(len(moved), 'column')} (of {some}) stand for other classes"
    if nothing:
        return "that is no better than chance"
    return f"on the {sides[0]} that is no better than chance" if sides else ""


def _members(facts: Facts) -> Check | None:
    """Whether the members may be other rows than the target was trained on."""
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
            else "The target hardly does better on its members"
        )
        + ", so either it generalizes almost perfectly, or these are not the rows that it was "
        "trained on.",
        "Make sure that the members are the rows that this target was trained on, all of them and no others.",
    )


def _sample_size(facts: Facts) -> Check | None:
    members = min([int(trial.is_member.sum()) for trial in facts.trials] or [int(facts.answers.is_member.sum())])
    non_members = min(
        [int((~trial.is_member).sum()) for trial in facts.trials] or [int((~facts.answers.is_member).sum())]
    )
    mistakes = int(SMALL_FPR * non_members + 1e-9)
    width = 1.96 / 4 * (1 / members + 1 / non_members) ** 0.5
    _, fpr = clopper_pearson(mistakes, non_members)
    carries = (
        f"At least {members} members and {non_members} non-members judge each attacker, so a balanced accuracy is "
        f"known to ±{width:.3f} and a false positive rate of {SMALL_FPR} rests on {_number(mistakes, 'mistake')}"
    )
    if min(members, non_members) >= FEWEST_SAMPLES and mistakes >= FEWEST_MISTAKES:
        return Check("sample-size", True, carries + ".")
    meaning = f"The true false positive rate behind an observed {SMALL_FPR} may be up to {fpr:.3f}"
    if min(members, non_members) < FEWEST_SAMPLES:
        meaning += f", and differences in balanced accuracy below {2 * width:.2f} may be chance"
    return Check(
        "sample-size",
        False,
        carries + ".",
        meaning + ".",
        f"Judge by at least {FEWEST_SAMPLES} members and {round(FEWEST_MISTAKES / SMALL_FPR)} non-members.",
    )


def _overlap(facts: Facts) -> Check | None:
    found = {}
    for knowledge, rows in facts.fitted_on.items():
        if rows.indices is not None:
            judged = facts.answers.indices[_judged(facts, knowledge)]
            found[knowledge] = int(np.isin(judged, rows.indices).sum()), len(judged), len(rows.indices)
    if not found:
        return None
    said = ", ".join(
        f"{shared} of {judged} rows that judge attackers of knowledge {knowledge} are among the {fitted} they were "
        "fitted on"
        for knowledge, (shared, judged, fitted) in found.items()
    )
    if not any(shared for shared, _, _ in found.values()):
        return Check("overlap", True, said + ".")
    return Check(
        "overlap",
        False,
        said + ".",
        "Those attackers were fitted on rows that judge them, so their figures are too high.",
        "Split the rows by index before anything is fitted.",
    )


def _duplicates(facts: Facts) -> Check | None:
    answers, by_row = facts.answers, facts.features is not None
    rows = facts.features if facts.features is not None else answers.clean_probs
    keys, tells = digests(rows), np.ones(len(rows), bool) if by_row else telling(rows)
    if not tells.any():
        return _coarse_duplicates(facts, keys)
    both = np.intersect1d(keys[tells & answers.is_member], keys[tells & ~answers.is_member])
    repeated = sum(
        len(kind) - len(np.unique(kind)) for kind in (keys[tells & side] for side in _kinds(answers.is_member))
    )
    counts = {
        "have a twin of the other membership": (int(np.isin(keys[tells], both).sum()), int(tells.sum())),
        "repeat another of the same membership": (repeated, int(tells.sum())),
    }
    for knowledge, fit in facts.fitted_on.items():
        fit_rows = fit.features if by_row else fit.probs
        if fit_rows is None:
            continue
        wanted = np.zeros(len(keys), bool)
        wanted[_judged(facts, knowledge)] = True
        if fit.indices is not None:  # the very same row is an overlap, which has a check of its own
            wanted &= ~np.isin(answers.indices, fit.indices)
        wanted &= tells
        known = digests(fit_rows.astype(rows.dtype, copy=False))
        what = f"judge attackers of knowledge {knowledge} and equal one they were fitted on"
        counts[what] = int(np.isin(keys[wanted], known).sum()), int(wanted.sum())
    thing = "rows" if by_row else "confidence vectors that are not rounded"
    said = f"Of the {thing}, " + ", ".join(f"{count} of {of} {what}" for what, (count, of) in counts.items())
    if all(count <= MOST_DUPLICATES * of for count, of in counts.values()):
        return Check("duplicates", True, said + ".")
    return Check(
        "duplicates",
        False,
        said + ".",
        "Twins of the other membership hide a leak, twins among the rows fitted on make attackers look better, and "
        "repeated rows make intervals too narrow."
        if by_row
        else EQUAL_ANSWERS,
        "Remove duplicate rows before splitting the data."
        if by_row
        else "Look for duplicates among the rows recorded.",
    )


def _coarse_duplicates(facts: Facts, keys: np.ndarray) -> Check | None:
    """Where equal vectors may be chance: held against what chance gives. Not listed unless it finds something."""
    probs, is_member = facts.answers.clean_probs, facts.answers.is_member
    across, within = lone_twins(keys, is_member)
    found = []
    if more_than_half(across, across + within) and 2 * (across - within) > MOST_DUPLICATES * len(keys):
        found.append(
            f"Of the confidence vectors that exactly two rows share, {across} belong to a member and a non-member and "
            f"{within} to two rows of the same membership"
        )
    if probs.shape[1] == 2 and len(np.unique(keys)) > len(keys) / 10:
        repeated = sum(close_twins_in_two_classes(probs, kind) for kind in _kinds(is_member))
        if repeated > MOST_DUPLICATES * len(keys):
            found.append(f"{repeated} of {len(keys)} rows repeat the answer to another of the same membership")
    if not found:
        return None
    return Check(
        "duplicates", False, "; ".join(found) + ".", EQUAL_ANSWERS, "Look for duplicates among the rows recorded."
    )


def _treatment(facts: Facts) -> Check | None:
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
        said.append(f"AUCs of plain statistics of the rows are: {figures or 'none, for all rows are alike in them'}")
    found = _sentence("; ".join(said))
    if facts.treated_alike is not False and not apart:
        return Check("treatment", True, found)
    return Check(
        "treatment",
        False,
        found,
        f"Members and non-members differ before any model sees them ({', '.join(apart)}), so an attacker may tell them "
        "apart by that and not by the answers of the model."
        if apart
        else "Attackers may detect the transforms and not the membership.",
        "Draw both from the same rows at random and treat both alike.",
    )


def _class_balance(facts: Facts) -> Check | None:
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
        f"If all {counts.sum()} rows were drawn alike, classes would differ so much with probability {p_value:.2g}; "
        f"class {classes[worst]} differs most ({shares[0, worst]:.3f} of the members, {shares[1, worst]:.3f} of the "
        "non-members)."
    )
    if p_value >= RAREST_CHANCE:
        return Check("class-balance", True, found)
    return Check(
        "class-balance",
        False,
        found,
        "An attacker may call members by their class, which says nothing about the model.",
        "Draw as many members as non-members of each class, or read the figures by class.",
    )


# ---------------------------------------------------------------------- the target and its defense


def _labels_changed(facts: Facts) -> Check | None:
    defended = facts.answers.defended_probs
    if defended is None:
        return None
    changed = int((defended.argmax(axis=1) != facts.answers.clean_probs.argmax(axis=1)).sum())
    found = f"The defense changed {changed} of {len(defended)} predicted classes ({changed / len(defended):.4f})"
    found += {True: ", although it is meant to keep them", False: ", which it is not meant to keep", None: ""}[
        facts.keeps_labels
    ]
    if not changed:
        return Check("labels-changed", True, found + ".")
    if facts.keeps_labels is True:
        return Check(
            "labels-changed",
            False,
            found + ".",
            "The defense does not do what it is meant to do, so its other figures are in doubt as well.",
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
        "Users get other answers, and part of the smaller leak to attackers that see labels is due to that."
        if less_leak
        else "Users get other answers, and so do attackers that see labels.",
        _weighed(before, after, less_leak),
    )


def _weighed(before: float | None, after: float | None, less_leak: bool | None) -> str:
    if less_leak is None or before is None or after is None:
        return "Compare accuracy and leak with and without the defense."
    if after < before:
        return (
            "Weigh the lower leak against the accuracy lost."
            if less_leak
            else "Ask what the defense is for, because accuracy was lost and the leak is not lower."
        )
    gained = "the accuracy is higher" if after > before else "the accuracy is the same"
    return (
        f"Find out why {gained} though answers were changed, because a defense does not know the true classes."
        if less_leak
        else f"Find out what the defense does to members, because {gained} and the leak is not lower."
    )


def _same_answer(facts: Facts) -> Check | None:
    asked = facts.asked_again
    if asked is None:
        return None
    said = f"{asked.differing} of {asked.rows} rows got another answer when asked again"
    if asked.fresh_noise:
        said += ", as fresh noise is meant to do" if asked.differing else ", though its noise is meant to be fresh"
        if asked.averaged:
            return Check("same-answer", True, f"{said}; an attacker that averages answers took part.")
        return Check(
            "same-answer",
            False,
            said + ".",
            "The figures hold for attackers that ask once; repeated queries can average out the noise.",
            "Add an attacker that averages answers, or let a secret key determine the noise.",
        )
    if not asked.differing:
        return Check("same-answer", True, said + ".")
    return Check(
        "same-answer",
        False,
        said + ", though a key determines its noise.",
        "An attacker that asks twice learns more than the figures show, and the figures cannot be reproduced.",
        "Find what else the answer depends on besides key and row: the batch, the order, or a stateful generator.",
    )


# ---------------------------------------------------------------------- the attackers


def _static_only(facts: Facts) -> Check | None:
    defended = [trial for trial in facts.trials if trial.result.defended]
    if not defended:
        return None
    adaptive = sum(trial.result.adversary == "adaptive" for trial in defended)
    said = f"{adaptive} of {len(defended)} attackers on the defended target were fitted behind the defense."
    if adaptive:
        return Check("static-only", True, said)
    return Check(
        "static-only",
        False,
        said,
        "Attackers that do not know of a defense underestimate what remains, so the defended figures should not be "
        "believed.",
        "Add adaptive attackers.",
    )


def _one_way(facts: Facts) -> Check | None:
    # What fits nothing draws no line that a defense could mislead.
    defended = [trial for trial in facts.trials if trial.result.defended and trial.result.knowledge != "none"]
    if not defended:
        return None
    fooled = []
    for trial in defended:
        figures = trial.result.metrics
        one_way = not ONE_WAY <= figures.share_called_member <= 1 - ONE_WAY
        if not one_way or abs(figures.balanced_accuracy - 0.5) > NEAR_CHANCE:
            continue
        low, high = _auc_interval(trial, facts)
        if not low <= 0.5 <= high and abs(figures.two_sided_auc - 0.5) > NEAR_CHANCE:
            fooled.append(
                f"{_who(trial)} calls {figures.share_called_member:.3f} of the samples members, at a balanced accuracy "
                f"of {figures.balanced_accuracy:.3f} and a two-sided AUC of {figures.two_sided_auc:.3f}"
            )
    if not fooled:
        return Check(
            "one-way",
            True,
            f"Attackers that the defense misled into calling nearly all samples alike: 0 of {len(defended)}.",
        )
    best = max(defended, key=lambda trial: trial.result.metrics.balanced_accuracy)
    reached = f"{best.result.metrics.balanced_accuracy:.3f} by {_who(best)}"
    return Check(
        "one-way",
        False,
        f"{_listed(fooled)}; the best balanced accuracy is {reached}.",
        "The defense misled such an attacker about its threshold, which does not mean that no leak is left.",
        "Use the AUC and the adaptive attackers instead of that accuracy.",
    )


def _auc_interval(trial: Trial, facts: Facts) -> tuple[float, float]:
    """At a confidence of 95 % for all attackers together, or one in twenty would raise a doubt by chance."""
    return auc_interval(trial.scores, trial.is_member, confidence=1 - 0.05 / len(facts.trials))


def _upside_down(facts: Facts) -> Check | None:
    if not facts.trials:
        return None
    inverted = []
    for trial in facts.trials:
        low, high = _auc_interval(trial, facts)
        if high < 0.5:
            inverted.append(f"{_who(trial)} has an AUC of {trial.result.metrics.auc:.3f} ({low:.3f}–{high:.3f})")
    if not inverted:
        return Check("upside-down", True, f"Attackers that rank non-members above members: 0 of {len(facts.trials)}.")
    return Check(
        "upside-down",
        False,
        _listed(inverted) + ".",
        "The ranking is inverted, and an attacker that reverses it finds as much as the two-sided AUC says.",
        "Use the two-sided AUC, make sure that members and non-members are not swapped, and fit on answers like those "
        "scored.",
    )


def _convergence(facts: Facts) -> Check | None:
    if not facts.trainings:
        return None
    short = [f"{name} {said}" for name, training in facts.trainings.items() if (said := _shortcoming(training))]
    stopped = {name: training.stopped for name, training in facts.trainings.items() if training.stopped is not None}
    # A headline is a maximum over attackers: a fit that stopped early moves it only where it is that maximum, or where
    # nobody else looked at what it looks at; elsewhere lr, which stops on most real answers, would fail every run.
    weight = _weight_of_stopped(facts, set(stopped)) if stopped else {}
    bad = [*short, *(f"{name} {stopped[name]} and {why}" for name, why in weight.items())]
    aside = [f"{name} {said}" for name, said in stopped.items() if name not in weight]
    beside = f"; {_listed(aside)}, on which no verdict rests" if aside else ""
    if not bad:
        done = {name: training for name, training in facts.trainings.items() if name not in stopped}
        figures = (
            f"{name} is right about {training.accuracy:.3f} of its own rows" if training.accuracy is not None else name
            for name, training in done.items()
        )
        listed = f": {', '.join(figures)}" if done else ""
        return Check("convergence", True, f"{_number(len(done), 'training')} converged{listed}{beside}.")
    meaning, advice = [], []
    if short:
        meaning.append("a network that has not learned from its rows finds little, however large the leak is")
        advice.append("train longer or with another learning rate, and compare with attackers that fit no network")
    if weight:
        meaning.append("where an unfinished fit stops depends on the last digits of the answers, and so do its figures")
        advice.append("compare with attackers that converged before those figures are taken for exact")
    return Check(
        "convergence", False, _listed(bad) + beside + ".", _sentence("; ".join(meaning)), _sentence("; ".join(advice))
    )


def _weight_of_stopped(facts: Facts, stopped: set[str]) -> dict[str, str]:
    """Of attackers that stopped before they converged, those on which a verdict rests, and why."""
    weight: dict[str, str] = {}
    for defended in sorted({trial.result.defended for trial in facts.trials}):
        here = [trial.result for trial in facts.trials if trial.result.defended == defended]
        found = verdict_of(facts.trials, defended=defended, labelled=False)
        named = [
            (found.strongest, "has the highest balanced accuracy"),
            (found.sharpest, "has the highest two-sided AUC"),
        ]
        if found.identifies is not None and found.identifies_beyond_chance:
            named.append((found.identifies, "identifies the most members"))
        if found.shown_by is not None:
            named.append((found.shown_by, "is furthest beyond chance"))
        state = "behind the defense" if defended else "without a defense"
        for result, why in named:
            if (name := _training_of(result)) in stopped:
                weight.setdefault(name, f"{why} {state}")
        for result in here:
            for kind, names in kinds().items():
                if result.name in names and (name := _training_of(result)) in stopped:
                    same = [one for one in here if one.name in names and one.adversary == result.adversary]
                    if all(_training_of(one) in stopped for one in same):
                        weight.setdefault(name, f"no other of the {kind} converged")
    return weight


def _training_of(result: AttackResult) -> str:
    return training_name(result.name, result.knowledge, result.adversary)


def _threshold_transfer(facts: Facts) -> Check | None:
    if facts.shadow_accuracy is None or facts.answers.labels is None:
        return None
    right = facts.answers.clean_probs.argmax(axis=1) == facts.answers.labels
    is_member = facts.answers.is_member
    target = float(right[is_member].mean() - right[~is_member].mean())
    shadow = facts.shadow_accuracy[0] - facts.shadow_accuracy[1]
    found = f"The accuracy on members is higher than on non-members by {shadow:.3f} (shadow) and {target:.3f} (target)."
    if abs(shadow - target) <= LARGEST_GAP_DIFFERENCE:
        return Check("threshold-transfer", True, found)
    return Check(
        "threshold-transfer",
        False,
        found,
        "What attackers learn on the shadow does not fit the target, so shadow attackers understate the leak.",
        "Train the shadow on as many rows and to the same gap as the target, or rely on auditors.",
    )


def _left_out(facts: Facts) -> Check | None:
    if facts.not_asked is None:
        return None
    missing = {kind: names for kind, names in facts.not_asked.items() if names}
    if not missing:
        return Check("left-out", True, "All kinds of attackers that could take part did.")
    said = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in missing.items())
    return Check(
        "left-out",
        False,
        f"Attackers that could have taken part and were not chosen: {said}.",
        "The figures do not show what such attackers would find.",
        "Evaluate with all attackers before the target is called safe.",
    )


_LOOKS = (
    _made_up,
    _smoke,
    _sample_size,
    _labels_match,
    _members,
    _overlap,
    _duplicates,
    _treatment,
    _class_balance,
    _labels_changed,
    _same_answer,
    _left_out,
    _static_only,
    _one_way,
    _upside_down,
    _convergence,
    _threshold_transfer,
)


# ---------------------------------------------------------------------- measures and words


def _judged(facts: Facts, knowledge: str) -> np.ndarray:
    """Positions of all rows that judge attackers of this knowledge."""
    samples = [trial.samples for trial in facts.trials if trial.result.knowledge == knowledge]
    return np.unique(np.concatenate(samples)) if samples else np.zeros(0, np.int64)


def _statistics(features: np.ndarray) -> dict[str, np.ndarray]:
    """Numbers ``(N,)`` that need no model, by name."""
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


def _shortcoming(training: Training) -> str | None:
    """What speaks against a training, or None."""
    losses = np.asarray(training.losses, np.float64)
    if not np.isfinite(losses).all():
        return "has a loss that is not finite"
    accuracy = training.accuracy
    if accuracy is not None and accuracy < training.chance + LEARNED:
        return (
            f"is right about {accuracy:.3f} of the rows it was fitted on, where guessing reaches {training.chance:.3f}"
        )
    tenth = len(losses) // 10
    if not tenth or (accuracy is not None and accuracy >= FITTED):
        return None
    before, last = losses[-2 * tenth : -tenth].mean(), losses[-tenth:].mean()
    if last < before * (1 - LARGEST_FALL):
        return (
            f"had a loss that still fell by {1 - last / before:.3f} of itself over a tenth of its {len(losses)} epochs"
        )
    return None


def _who(trial: Trial) -> str:
    result = trial.result
    known = [result.knowledge] if result.knowledge != "none" else []
    return f"{result.name} ({', '.join([*known, result.adversary, 'defended' if result.defended else 'undefended'])})"


def _listed(said: Sequence[str], most: int = 3) -> str:
    more = [f"{len(said) - most} more do alike"] if len(said) > most else []
    return "; ".join([*said[:most], *more])


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."
