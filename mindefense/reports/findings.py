"""The questions at the top of a report on an evaluation or a comparison, and their answers."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from mindefense.reports.answers import (
    Answer,
    answer_identified,
    answer_leak,
    answer_next,
    answer_ruling,
    answer_trust,
    strength_of,
)
from mindefense.reports.wording import (
    Row,
    apart,
    behind,
    called,
    keeps_labels,
    moves,
    percent,
    rate_of,
    rounded,
    span,
    who,
)

_OF_OTHERS = "For each of the others, another one leaks no more and costs no more."
_PAIRED = "The interval of the difference on the same rows contains 0, so chance may explain the difference"
_OVERLAP = "The intervals of the two figures overlap, so chance may explain the difference"


def states_of(results: Row) -> list[tuple[str, Row]]:
    """The name and the verdict of each state of the target: undefended, and behind the defense if there is one."""
    verdicts, defense = results["verdict"], results["defense"]
    states = [("undefended", verdicts["undefended"])]
    return states if defense is None else [*states, (behind(defense), verdicts["defended"])]


def answer_evaluation(results: Row, states: Sequence[tuple[str, Row]]) -> list[Answer]:
    """The answers of an evaluation, the decisive ones first."""
    before, after = states[0][1], states[-1][1] if len(states) > 1 else None
    defense = results["defense"]
    strengths = [
        strength_of(results["attacks"], name, verdict, index > 0) for index, (name, verdict) in enumerate(states)
    ]
    figures = [percent(verdict["strongest_balanced_accuracy"]) for _, verdict in states]
    best = f"{figures[0]} of its guesses are right" + (
        f"; behind the defense {figures[1]}." if after is not None else "."
    )
    attacks = [[one for one in results["attacks"] if one["defended"] == defended] for defended in (False, True)]
    identified = answer_identified(states, attacks)
    answers = [
        answer_leak(results, results["checks"], before, after),
        dataclasses.replace(identified, tone="plain") if results["smoke"] else identified,
        Answer("How often is the best attacker right?", best, "plain", strengths),
    ]
    if results.get("ruling") is not None:
        answers.append(answer_ruling(results["ruling"]))
    if defense is None or after is None:
        changed = Answer("What did a defense change?", "There was no defense.", "plain", [])
        cost = None
    else:
        changed, cost = _change(results, before, after), _cost(results, defense)
        if results["smoke"]:  # its figures are neither good nor bad
            changed, cost = (dataclasses.replace(answer, tone="plain") for answer in (changed, cost))
    checks = results["checks"]
    answers += [changed, answer_trust(checks, results), answer_next(results, checks, before, after)]
    return answers if cost is None else [*answers, cost]


def _change(results: Row, before: Row, after: Row) -> Answer:
    best = [verdict["strongest_balanced_accuracy"] for verdict in (before, after)]
    shown = [percent(number) for number in best]
    change, gains = f"{shown[0]} to {shown[1]}", best[1] > best[0]
    tone, text = "bad" if after["level"] == "leak" else "mixed", []
    if shown[0] == shown[1]:
        short = f"Nothing against the best attacker: {shown[0]} with it and without it."
    elif not apart(before, after, results["change"]):
        short = f"Little or nothing against the best attacker: {change}."
        counts = before["attackers"], after["attackers"]
        picked = (
            f"; the figure is of the best of {counts[1]} attackers behind the defense and of {counts[0]} undefended"
        )
        reason = _OVERLAP if results["change"] is None else _PAIRED
        text.append(f"{reason}{picked if gains and counts[1] > counts[0] else ''}.")
    elif gains:
        short, tone = f"The best attacker gains: {change}.", "bad"
    else:
        short = f"The best attacker falls from {change}."
        tone = "good" if after["level"] == "none found" else "mixed"
    if results["change"] is not None and shown[0] != shown[1]:
        text.append(_of_same_rows(results["change"]))
    text.append(_identified_in(before, after))
    medians = {
        key: [a["balanced_accuracy"] for a in results["attacks"] if (a["adversary"], a["defended"]) == key]
        for key in (("static", False), ("static", True), ("adaptive", True))
    }
    middle = {key: percent(statistics.median(values)) for key, values in medians.items() if values}
    said = f"Half of the attackers are right in at least {middle['static', False]} of their guesses undefended"
    if ("static", True) in middle:
        said += f", {middle['static', True]} behind a defense that they do not know of"
    if ("adaptive", True) in middle:
        said += f", and {middle['adaptive', True]} once they adapt to it"
    text.append(said + ".")
    if after["gap_accuracy"] is None:
        text.append("Without true classes, it is not known how often the gap attack is right.")
    elif keeps_labels(results["defense"]):
        text.append(
            f"The gap attack is right in {percent(after['gap_accuracy'])} of its guesses. No defense that keeps the "
            "predicted classes lowers that."
        )
    else:
        text.append(
            f"The gap attack is right in {percent(after['gap_accuracy'])} of its guesses behind the defense, and in "
            f"{percent(before['gap_accuracy'])} undefended."
        )
    return Answer("What did the defense change?", short, tone, text)


def _identified_in(before: Row, after: Row) -> str:
    """How many members are identified in both states."""
    one, other = before["identified"], after["identified"]
    if one is None or other is None:
        return "With so few non-members, it cannot be told how many members can be identified almost surely."
    rate = rate_of(other["fpr"])
    apart_by_rate = "" if one["fpr"] == other["fpr"] else " At different rates, the two numbers cannot be compared."
    return (
        f"Of {one['n_members']:,} members, {one['identified']:,} are identified at a false positive "
        f"rate of {rate_of(one['fpr'])} undefended, and {other['identified']:,} of {other['n_members']:,} at {rate} "
        f"behind the defense.{apart_by_rate}"
    )


def _of_same_rows(change: Row) -> str:
    """The difference that a defense makes, with its interval."""

    def said(difference: Row) -> str:
        return f"{rounded(difference['value'])} ({rounded(difference['low'])} to {rounded(difference['high'])})"

    return (
        f"On the same rows, the highest balanced accuracy is lower by {said(change['accuracy'])} and the highest AUC "
        f"by {said(change['auc'])}, with 95% intervals; a figure below 0 is a rise."
    )


def _cost(results: Row, defense: Row) -> Answer:
    clean, rows = defense["undefended"], max(a["n_members"] + a["n_non_members"] for a in results["attacks"])
    changed = defense["label_changes"]
    moved = f"answers move by {rounded(defense['mean_l1'], '.2f')} on average (L1 distance, at most 2)"
    labels = "No predicted class changes" if not changed else f"{changed:,} of {rows:,} predicted classes change"
    distance = (
        f"distance between defended and undefended answers is {rounded(defense['mean_l1'])} on average and "
        f"{rounded(defense['max_l1'])} at most (0 is no change, 2 the largest possible)."
    )
    if defense["accuracy"] is None:
        lost = 0.0
        text = (
            f"On {rows:,} samples, the L1 {distance} True classes were not recorded, so accuracy, calibration "
            "error and log-loss are unknown."
        )
    else:
        lost = clean["accuracy"] - defense["accuracy"]
        text = (
            f"On {rows:,} samples, accuracy {moves(clean, defense, 'accuracy', '.1%')}. The L1 {distance} The "
            f"calibration error, the mean distance between confidence and accuracy, "
            f"{moves(clean, defense, 'ece')}; the log-loss, lower for better predictions, "
            f"{moves(clean, defense, 'nll')}."
        )
    tone = "bad" if lost > 0.02 else "mixed" if changed or defense["mean_l1"] > 0.1 else "good"
    return Answer("What does it cost the users of the model?", f"{labels}; {moved}.", tone, [text])


def answer_comparison(results: Row, checks: Sequence[Row], clean: Row, best: Row) -> list[Answer]:
    """The answers of a comparison, the decisive ones first."""
    contenders = results["contenders"]
    strengths = [strength_of(clean["attacks"], "undefended", clean["verdict"], False)]
    reshaped = [one for one in contenders[1:] if not one["in_training"]]
    question = "What do the defenses change?"
    if len(contenders) == 1:
        change = Answer(question, "There was no defense.", "plain", [])
    else:
        shown = [percent(one["verdict"]["strongest_balanced_accuracy"]) for one in (clean, best)]
        falls = apart(clean["verdict"], best["verdict"], best.get("change"))
        if best is clean:
            short, tone = f"No defense lowers the figure of the best attacker: {shown[0]}.", "bad"
        elif falls:
            short, tone = f"At best {shown[0]} falls to {shown[1]}, by {best['name']}.", "mixed"
        else:
            short, tone = f"Little or nothing: at best from {shown[0]} to {shown[1]}, by {best['name']}.", "bad"
        text = []
        if best is not clean:
            text.append(f"With {best['name']}, the strongest attacker is {who(best['verdict']['strongest'])}.")
            alike = [
                one["name"]
                for one in contenders[1:]
                if one is not best and percent(one["verdict"]["strongest_balanced_accuracy"]) == shown[1]
            ]
            more = f" and {len(alike) - 5} more" if len(alike) > 5 else ""
            text[0] += f" The same figure is reached by {', '.join(alike[:5])}{more}." if alike else ""
            text += [] if falls else [f"{_OVERLAP if best.get('change') is None else _PAIRED}."]
        if reshaped and best["in_training"]:
            least = min(reshaped, key=lambda one: one["verdict"]["strongest_balanced_accuracy"])
            text.append(
                f"Of the defenses that change only the answers, {least['name']} has the lowest figure: "
                f"{percent(least['verdict']['strongest_balanced_accuracy'])} ({span(least['verdict'], 'strongest')})."
            )
        change = Answer(question, short, tone, text)
    kept = [called(one["name"]) for one in contenders if not one["dominated_by"]]
    cost, was = best["utility"], clean["utility"]
    changed = f"{cost['label_changes']:,}" if cost["label_changes"] else "no"
    dearest, text = "Nothing: the answers do not change.", []
    if best is not clean and cost["accuracy"] is None:
        dearest = f"With {best['name']}, the answers move by {rounded(cost['mean_l1'])} on average (L1 distance)."
        text.append(
            f"With it, {changed} predicted classes change. True classes were not recorded, so accuracy, "
            "calibration error and log-loss are unknown."
        )
    elif best is not clean:
        dearest = f"With {best['name']}, the model's accuracy {moves(was, cost, 'accuracy', '.1%')}."
        text.append(
            f"With it, the calibration error, the mean distance between confidence and accuracy, "
            f"{moves(was, cost, 'ece')}; the log-loss, lower for better predictions, {moves(was, cost, 'nll')}; and "
            f"{changed} predicted classes change."
        )
    elif len(contenders) > 1:
        dearest = "They cost something and do not lower the figure of the best attacker."
    if len(contenders) > 1:
        text.append(
            f"{len(kept)} of {len(contenders)} are not dominated, by all costs in the table: {', '.join(kept)}. "
            f"{_OF_OTHERS if len(kept) < len(contenders) else ''}".strip()
        )
    return [
        answer_leak(
            results,
            checks,
            clean["verdict"],
            None if best is clean else best["verdict"],
            defense="the best of the defenses",
        ),
        answer_identified(
            [("undefended", clean["verdict"]), *([] if best is clean else [(best["name"], best["verdict"])])],
            [clean["attacks"], best["attacks"]],
        ),
        Answer(
            "How often is the best attacker right?",
            f"{percent(clean['verdict']['strongest_balanced_accuracy'])} of its guesses are right, undefended.",
            "plain",
            strengths,
        ),
        change,
        answer_trust(checks, results),
        answer_next(results, checks, clean["verdict"], None if best is clean else best["verdict"]),
        Answer("What do they cost the users of the model?", dearest, "plain", text),
    ]
