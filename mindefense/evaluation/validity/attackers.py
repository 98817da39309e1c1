"""Checks of the attackers: which took part, whether their fits converged, and whether a defense misled them."""

from __future__ import annotations

import numpy as np

from mindefense.attacks.registry import kinds
from mindefense.evaluation.facts import Facts, Training, training_name
from mindefense.evaluation.validity.wording import NEAR_CHANCE, counted, in_a_list, sentence
from mindefense.evaluation.verdict import verdict_of
from mindefense.metrics import auc_interval
from mindefense.types import AttackResult, Check, Trial

ONE_WAY = 0.05
"""An attacker that calls fewer than this share members, or more than all but this share, answers one way."""
LARGEST_FALL = 0.05
"""Relative fall of the loss over a tenth of the training, above which it was not done."""
LEARNED = 0.02
"""By how much a network must be better than chance on the rows that it was fitted on."""
FITTED = 0.99
"""Accuracy on the rows it was fitted on from which a loss that still falls no longer matters."""
LARGEST_GAP_DIFFERENCE = 0.15
"""How far the generalization gaps of shadow and target may be apart."""


def static_only(facts: Facts) -> Check | None:
    """Whether attackers were fitted behind the defense."""
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


def one_way(facts: Facts) -> Check | None:
    """Whether the defense misled attackers about their thresholds."""
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
        f"{in_a_list(fooled)}; the best balanced accuracy is {reached}.",
        "The defense misled such an attacker about its threshold, which does not mean that no leak is left.",
        "Use the AUC and the adaptive attackers instead of that accuracy.",
    )


def _auc_interval(trial: Trial, facts: Facts) -> tuple[float, float]:
    """At a confidence of 95 % for all attackers together, or one in twenty would raise a doubt by chance."""
    return auc_interval(trial.scores, trial.is_member, confidence=1 - 0.05 / len(facts.trials))


def upside_down(facts: Facts) -> Check | None:
    """Whether attackers rank non-members above members."""
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
        in_a_list(inverted) + ".",
        "The ranking is inverted, and an attacker that reverses it finds as much as the two-sided AUC says.",
        "Use the two-sided AUC, make sure that members and non-members are not swapped, and fit on answers like those "
        "scored.",
    )


def convergence(facts: Facts) -> Check | None:
    """Whether trainings and fits converged."""
    if not facts.trainings:
        return None
    short = [f"{name} {said}" for name, training in facts.trainings.items() if (said := _shortcoming(training))]
    stopped = {name: training.stopped for name, training in facts.trainings.items() if training.stopped is not None}
    # A headline is a maximum over attackers: a fit that stopped early moves it only where it is that maximum, or where
    # nobody else looked at what it looks at; elsewhere lr, which stops on most real answers, would fail every run.
    weight = _weight_of_stopped(facts, set(stopped)) if stopped else {}
    bad = [*short, *(f"{name} {stopped[name]} and {why}" for name, why in weight.items())]
    aside = [f"{name} {said}" for name, said in stopped.items() if name not in weight]
    beside = f"; {in_a_list(aside)}, on which no verdict rests" if aside else ""
    if not bad:
        done = {name: training for name, training in facts.trainings.items() if name not in stopped}
        figures = (
            f"{name} is right about {training.accuracy:.3f} of its own rows" if training.accuracy is not None else name
            for name, training in done.items()
        )
        listed = f": {', '.join(figures)}" if done else ""
        return Check("convergence", True, f"{counted(len(done), 'training')} converged{listed}{beside}.")
    meaning, advice = [], []
    if short:
        meaning.append("a network that has not learned from its rows finds little, however large the leak is")
        advice.append("train longer or with another learning rate, and compare with attackers that fit no network")
    if weight:
        meaning.append("where an unfinished fit stops depends on the last digits of the answers, and so do its figures")
        advice.append("compare with attackers that converged before those figures are taken for exact")
    return Check(
        "convergence", False, in_a_list(bad) + beside + ".", sentence("; ".join(meaning)), sentence("; ".join(advice))
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


def threshold_transfer(facts: Facts) -> Check | None:
    """Whether the shadow generalizes as the target does."""
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


def left_out(facts: Facts) -> Check | None:
    """Whether kinds of attackers that could have taken part were left out."""
    if facts.not_asked is None:
        return None
    missing = {kind: names for kind, names in facts.not_asked.items() if names}
    if not missing:
        found = "All kinds of attackers that could take part did"
        if facts.without_bank:
            found += "; those that need a bank of shadow models, which often find more, had none"
        return Check("left-out", True, found + ".")
    said = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in missing.items())
    return Check(
        "left-out",
        False,
        f"Attackers that could have taken part and were not chosen: {said}.",
        "The figures do not show what such attackers would find.",
        "Evaluate with all attackers before the target is called safe.",
    )


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
