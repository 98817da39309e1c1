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
"""An attacker answers one way if it classifies less than this share, or more than 1 minus this share, as members."""
LARGEST_FALL = 0.05
"""Largest relative decrease of the loss over the last tenth of the epochs of a finished training."""
LEARNED = 0.02
"""Smallest margin above chance of a trained network's accuracy on its training rows."""
FITTED = 0.99
"""Accuracy on the training rows from which a decreasing loss no longer matters."""
FEWEST_ROWS = 0.5
"""Smallest number of training rows of a bank's model, as a share of the target's."""
LARGEST_UNCOMPARED = 0.05
"""Largest share of a bank's rows that all or none of its models may be trained on."""
FEW_MODELS = 16
"""Number of models of a bank below which the deviation of a row is mostly that over all rows."""
LARGEST_GAP_DIFFERENCE = 0.15
"""Largest difference between the generalization gaps of shadow model and target."""


def static_only(facts: Facts) -> Check | None:
    """Whether some attackers were fitted behind the defense."""
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
        "Attackers that do not know of a defense underestimate the remaining leak, so the defended figures should not "
        "be trusted.",
        "Add adaptive attackers.",
    )


def one_way(facts: Facts) -> Check | None:
    """Whether the defense only shifted scores past the attackers' thresholds."""
    # An attacker that is not fitted has no threshold that a defense could mislead.
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
                f"{_who(trial)} classifies {figures.share_called_member:.3f} of the samples as members, with a balanced"
                f" accuracy of {figures.balanced_accuracy:.3f} and a two-sided AUC of {figures.two_sided_auc:.3f}"
            )
    if not fooled:
        return Check(
            "one-way",
            True,
            f"Attackers that the defense misled into giving nearly all samples the same class: 0 of {len(defended)}.",
        )
    best = max(defended, key=lambda trial: trial.result.metrics.balanced_accuracy)
    reached = f"{best.result.metrics.balanced_accuracy:.3f} by {_who(best)}"
    return Check(
        "one-way",
        False,
        f"{in_a_list(fooled)}; the best balanced accuracy is {reached}.",
        "The defense shifted the scores past that attacker's threshold, which does not mean that no leak is left.",
        "Use the AUC and the adaptive attackers instead of that accuracy.",
    )


def _auc_interval(trial: Trial, facts: Facts) -> tuple[float, float]:
    """The interval of the AUC, with a confidence of 95 % for all attackers together (Bonferroni)."""
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
        "The ranking is inverted, and an attacker that reverses it reaches the two-sided AUC.",
        "Use the two-sided AUC, make sure that members and non-members are not swapped, and fit on answers of the same "
        "kind as those scored.",
    )


def convergence(facts: Facts) -> Check | None:
    """Whether trainings and fits converged."""
    if not facts.trainings:
        return None
    short = [f"{name} {said}" for name, training in facts.trainings.items() if (said := _shortcoming(training))]
    stopped = {name: training.stopped for name, training in facts.trainings.items() if training.stopped is not None}
    # A verdict is a maximum over attackers. A fit that stopped early matters only if it is that maximum, or if no other
    # attacker of its kind converged. Otherwise lr, which stops early on most real answers, would fail every evaluation.
    weight = _weight_of_stopped(facts, set(stopped)) if stopped else {}
    bad = [*short, *(f"{name} {stopped[name]} and {why}" for name, why in weight.items())]
    aside = [f"{name} {said}" for name, said in stopped.items() if name not in weight]
    beside = f"; {in_a_list(aside)}, but no verdict depends on it" if aside else ""
    if not bad:
        done = {name: training for name, training in facts.trainings.items() if name not in stopped}
        figures = (
            name
            if training.accuracy is None
            else f"{name} correctly classifies {training.accuracy:.3f} of its own rows"
            for name, training in done.items()
        )
        listed = f": {', '.join(figures)}" if done else ""
        return Check("convergence", True, f"{counted(len(done), 'training')} converged{listed}{beside}.")
    meaning, advice = [], []
    if short:
        meaning.append("an attack network that has not learned from its rows finds little, even if the leak is large")
        advice.append("train longer or with another learning rate, and compare with attackers that train no network")
    if weight:
        meaning.append("the figures of a fit that has not converged depend on the last digits of the answers")
        advice.append("compare them with the figures of attackers that converged")
    return Check(
        "convergence", False, in_a_list(bad) + beside + ".", sentence("; ".join(meaning)), sentence("; ".join(advice))
    )


def _weight_of_stopped(facts: Facts, stopped: set[str]) -> dict[str, str]:
    """The attackers among `stopped` on which a verdict depends, with the reason."""
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
    """Whether the generalization gap of the shadow model is that of the target."""
    if facts.shadow_accuracy is None or facts.answers.labels is None:
        return None
    right = facts.answers.clean_probs.argmax(axis=1) == facts.answers.labels
    is_member = facts.answers.is_member
    target = float(right[is_member].mean() - right[~is_member].mean())
    shadow = facts.shadow_accuracy[0] - facts.shadow_accuracy[1]
    found = (
        f"Accuracy is higher on members than on non-members by {shadow:.3f} (shadow model) and {target:.3f} (target)."
    )
    if abs(shadow - target) <= LARGEST_GAP_DIFFERENCE:
        return Check("threshold-transfer", True, found)
    return Check(
        "threshold-transfer",
        False,
        found,
        "Attackers fitted on the shadow model do not transfer well to the target, so they understate the leak.",
        "Train the shadow model on as many rows as the target and to the same gap, or rely on auditors.",
    )


def shadow_models(facts: Facts) -> Check | None:
    """Whether the models of the banks resemble the target, and can be compared on every row."""
    if not facts.banks or facts.answers.labels is None:
        return None
    own, other = _accuracies(facts)
    said, wrong, advice = [], [], []
    for kind, bank in facts.banks.items():
        held, unheld = bank.accuracy
        said.append(
            f"the {bank.models} {kind} models correctly classify {held:.3f} of the rows that they were trained on and "
            f"{unheld:.3f} of the others"
        )
        if bank.models < FEW_MODELS:
            said[-1] += ", and are so few that a row's standard deviation is mostly that over all rows"
        if abs((held - unheld) - (own - other)) > LARGEST_GAP_DIFFERENCE:
            wrong.append(f"the {kind} models generalize differently from the target")
            advice.append("train them exactly as the target was trained, on as many rows")
        if bank.of_target is not None and bank.trained_on < FEWEST_ROWS * bank.of_target:
            wrong.append(
                f"the {kind} models were trained on {bank.trained_on:,} rows and the target on {bank.of_target:,}"
            )
            advice.append("give the data set more rows")
        if bank.uncompared > LARGEST_UNCOMPARED * bank.rows:
            wrong.append(f"all or none of the {kind} models were trained on {bank.uncompared:,} of {bank.rows:,} rows")
            advice.append("train more models, each on another half of the rows")
        if bank.overlapping:
            wrong.append(f"{bank.overlapping:,} population rows are evaluated or were trained on by {kind} models")
            advice.append("take the population from rows that no model was trained on and that are not evaluated")
    found = sentence(f"{'; '.join(said)}; the target, {own:.3f} of the members and {other:.3f} of the non-members")
    if not wrong:
        return Check("shadow-models", True, found)
    meaning = f"{'; '.join(wrong)}, so attackers that compare with them understate the leak"
    return Check("shadow-models", False, found, sentence(meaning), sentence("; ".join(dict.fromkeys(advice))))


def _accuracies(facts: Facts) -> tuple[float, float]:
    """Share of the members, and of the non-members, that the undefended target classifies correctly."""
    is_correct = facts.answers.clean_probs.argmax(axis=1) == facts.answers.labels
    is_member = facts.answers.is_member
    return float(is_correct[is_member].mean()), float(is_correct[~is_member].mean())


def left_out(facts: Facts) -> Check | None:
    """Whether kinds of attackers that could have taken part were left out."""
    if facts.not_asked is None:
        return None
    missing = {kind: names for kind, names in facts.not_asked.items() if names}
    if not missing:
        found = "All kinds of attackers that could take part did"
        if not facts.banks:
            found += "; attackers with a bank of shadow models, which often find more, did not, as there is no bank"
        return Check("left-out", True, found + ".")
    said = "; ".join(f"{kind} ({', '.join(names)})" for kind, names in missing.items())
    return Check(
        "left-out",
        False,
        f"Attackers that could have taken part and were not chosen: {said}.",
        "The figures do not show what such attackers would find.",
        "Evaluate with all attackers before calling the target safe.",
    )


def _shortcoming(training: Training) -> str | None:
    """What is wrong with a training, or None."""
    losses = np.asarray(training.losses, np.float64)
    if not np.isfinite(losses).all():
        return "has a loss that is not finite"
    accuracy = training.accuracy
    if accuracy is not None and accuracy < training.chance + LEARNED:
        return f"correctly classifies {accuracy:.3f} of its training rows, where guessing reaches {training.chance:.3f}"
    tenth = len(losses) // 10
    if not tenth or (accuracy is not None and accuracy >= FITTED):
        return None
    before, last = losses[-2 * tenth : -tenth].mean(), losses[-tenth:].mean()
    if last < before * (1 - LARGEST_FALL):
        fall = f"{100 * (1 - last / before):.1f}%"
        return f"had a loss that still fell by {fall} over the last tenth of {len(losses)} epochs"
    return None


def _who(trial: Trial) -> str:
    result = trial.result
    known = [result.knowledge] if result.knowledge != "none" else []
    return f"{result.name} ({', '.join([*known, result.adversary, 'defended' if result.defended else 'undefended'])})"
