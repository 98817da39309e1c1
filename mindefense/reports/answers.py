"""The questions at the top of a report, answered in plain words from the figures of a results file."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from mindefense.reports.words import Row, apart, called, find, level, moves, of_hundred, percent, rounded, span, who

_OF_OTHERS = "Of every other one, another leaks no more and costs no more."
_OVERLAP = "The intervals of the two figures overlap, so that chance may explain the difference"


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question that every reader has, and what the figures say to it.

    Attributes:
        question: The question.
        short: The answer at first sight.
        tone: ``"bad"``, ``"mixed"``, ``"good"`` or ``"plain"``.
        text: The answer in full, a paragraph each.
        points: Particulars.
    """

    question: str
    short: str
    tone: str
    text: Sequence[str]
    points: Sequence[tuple[str, str]] = ()


def answer_evaluation(results: Row, states: Sequence[tuple[str, Row]]) -> list[Answer]:
    """What the first four questions of an evaluation come to."""
    before, after = states[0][1], states[-1][1] if len(states) > 1 else None
    defense = results["defense"]
    strengths = [
        _strength(results["attacks"], name, verdict, index > 0) for index, (name, verdict) in enumerate(states)
    ]
    figures = [percent(verdict["strongest_balanced_accuracy"]) for _, verdict in states]
    best = f"{figures[0]} of its guesses are right" + (
        f"; behind the defense {figures[1]}." if after is not None else "."
    )
    answers = [
        answer_leak(results, before, after),
        Answer("How strong is the best attacker found?", best, "plain", strengths),
    ]
    if defense is None or after is None:
        nothing = (
            "Record the answers of the defended model beside these, and both are attacked."
            if "outputs" in results["settings"]
            else "`mindefense run --defense defenmi` shows what a defense changes."
        )
        return [
            *answers,
            Answer("What did a defense change?", "There was no defense.", "plain", [nothing]),
            Answer("What does it cost the users of the model?", "Nothing: answers are as they were.", "plain", []),
        ]
    changed, cost = _change(results, before, after), _cost(results, defense)
    if results["smoke"]:  # nothing to be glad of, nor alarmed by
        changed, cost = (dataclasses.replace(answer, tone="plain") for answer in (changed, cost))
    return [*answers, changed, cost]


def answer_leak(results: Row, before: Row, after: Row | None, *, defense: str = "the defense") -> Answer:
    """Whether the model leaks, and with a defense whether it still does."""
    question = "Does this model leak who was in its training data?"
    if results["smoke"]:
        text = "A smoke test shows that everything runs, with few rows and epochs. Its figures say nothing of a model."
        return Answer(question, "Not measured: this was a smoke test.", "mixed", [text])
    now = level(before if after is None else after)
    short = {
        "leaks": "Yes." if after is None else f"Yes, behind {defense} too.",
        "shown": "Somewhat: attackers do better than a coin." if after is None else f"Somewhat, behind {defense} too.",
        "none": "These attackers found no leak." if after is None else f"Behind {defense}, no leak was found.",
    }[now]
    if after is not None and now != "leaks" and level(before) == "leaks":
        short = {
            "shown": f"Yes; behind {defense} less, but still some.",
            "none": f"Yes; behind {defense} none was found.",
        }[now]
    if results["synthetic"]:
        short = "On made-up data: " + short[0].lower() + short[1:]
    said = {
        "leaks": "somebody with the right attack can tell who was in the training data, more often than by "
        "chance: one attacker has accuracy, precision and recall all above 60%, which is where MindArmour's tutorial "
        "speaks of a leak.",
        "shown": "the best attackers do better than a coin by more than chance explains, though none has accuracy, "
        "precision and recall all above 60%, where MindArmour's tutorial speaks of a leak.",
        "none": "none of these attackers did better than a coin by more than chance explains. A stronger one may.",
    }
    if after is not None and level(before) == now:
        text = [f"With {defense} as without it, {said[now]}"]
    else:
        text = [f"Undefended, {said[level(before)]}"]
        text += [] if after is None else [f"Behind {defense}, {said[now]}"]
    return Answer(question, short, {"leaks": "bad", "shown": "mixed", "none": "good"}[now], text)


def _strength(attacks: Sequence[Row], state: str, verdict: Row, defended: bool) -> str:
    """One paragraph on the strongest attacker of one state."""
    best = find(attacks, verdict["strongest"], defended=defended)
    named, falsely = best["recall"], best["recall"] - best["advantage"]
    return (
        f"{state[0].upper() + state[1:]}, the strongest of {verdict['attackers']} attackers is {who(best)}. It is "
        f"right in {percent(best['balanced_accuracy'])} of its guesses (95% interval {span(verdict, 'strongest')}, "
        "which allows for having picked the best), a coin in 50%. It names "
        f"{of_hundred(named, 'members')} and, falsely, {of_hundred(falsely, 'others')}."
    )


def _change(results: Row, before: Row, after: Row) -> Answer:
    best = [verdict["strongest_balanced_accuracy"] for verdict in (before, after)]
    shown = [percent(number) for number in best]
    change, gains = f"{shown[0]} to {shown[1]}", best[1] > best[0]
    tone, text = "bad" if after["leaks"] else "mixed", []
    if shown[0] == shown[1]:
        short = f"Nothing against the best attacker: {shown[0]} with it as without it."
    elif not apart(before, after):
        short = f"Little or nothing against the best attacker: {change}."
        counts = before["attackers"], after["attackers"]
        picked = f"; behind the defense it is the best of {counts[1]} attackers, else of {counts[0]}"
        text.append(f"{_OVERLAP}{picked if gains and counts[1] > counts[0] else ''}.")
    elif gains:
        short, tone = f"The best attacker gains: {change}.", "bad"
    else:
        short, tone = f"The best attacker falls from {change}.", "mixed" if level(after) != "none" else "good"
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
    gap = (
        "Who only looks whether the model classifies a sample rightly (the gap attack) is right in "
        f"{percent(after['gap_accuracy'])}"
    )
    keeps = results["defense"]["keeps_labels"] is not False
    text.append(f"{gap}, which no defense that keeps the predicted classes can lower." if keeps else f"{gap}.")
    return Answer("What did the defense change?", short, tone, text)


def _cost(results: Row, defense: Row) -> Answer:
    clean, rows = defense["undefended"], max(a["n_members"] + a["n_non_members"] for a in results["attacks"])
    changed = defense["label_changes"]
    moved = f"confidences move by {rounded(defense['mean_l1'], '.2f')} of at most 2, on average"
    labels = "No predicted class changes" if not changed else f"{changed:,} of {rows:,} predicted classes change"
    lost = clean["accuracy"] - defense["accuracy"]
    text = (
        f"On {rows:,} samples, accuracy {moves(clean, defense, 'accuracy', '.1%')}. The L1 "
        f"distance of the answers to those without a defense is {rounded(defense['mean_l1'])} in the mean and "
        f"{rounded(defense['max_l1'])} at most (0 is no change, 2 the largest there is). The calibration error, by "
        f"which confidences miss how often the model is right, {moves(clean, defense, 'ece')}; the log-loss, lower for "
        f"better predictions, {moves(clean, defense, 'nll')}."
    )
    tone = "bad" if lost > 0.02 else "mixed" if changed or defense["mean_l1"] > 0.1 else "good"
    return Answer("What does it cost the users of the model?", f"{labels}; {moved}.", tone, [text])


def answer_trust(checks: Sequence[Row], results: Row) -> Answer:
    """How far the figures can be believed."""
    failed = [check for check in checks if not check["passed"]]
    question = "How far can this be trusted?"
    tone = "bad" if results["smoke"] or results["synthetic"] else "mixed" if failed else "good"
    limit = "The leak is as large as the strongest of these attackers shows, or larger: a stronger one may exist."
    if results["smoke"] or results["synthetic"]:
        what = "a smoke test" if results["smoke"] else "made-up data"
        limit = f"These are figures of {what}: quote none of them. " + limit
    if not checks:
        return Answer(question, "Nothing was checked.", "mixed", [limit])
    short = f"All {len(checks)} checks passed." if not failed else f"{len(failed)} of {len(checks)} checks failed."
    if results["smoke"] or results["synthetic"]:
        short = "Not at all: " + short[0].lower() + short[1:]
    points = [(check["name"], f"{check['meaning']} {check['advice']}".strip()) for check in failed]
    return Answer(question, short, tone, [limit], points)


def answer_comparison(results: Row, clean: Row, best: Row) -> list[Answer]:
    """What the first four questions of a comparison come to."""
    contenders = results["contenders"]
    strengths = [_strength(clean["attacks"], "undefended", clean["verdict"], False)]
    reshaped = [one for one in contenders[1:] if not one["in_training"]]
    question = "What do the defenses change?"
    if len(contenders) == 1:
        change = Answer(question, "There was none.", "plain", [])
    else:
        shown = [percent(one["verdict"]["strongest_balanced_accuracy"]) for one in (clean, best)]
        falls = apart(clean["verdict"], best["verdict"])
        if best is clean:
            short, tone = f"No defense lowers the best attacker: {shown[0]}.", "bad"
        elif falls:
            short, tone = f"At best {shown[0]} falls to {shown[1]}, by {best['name']}.", "mixed"
        else:
            short, tone = f"Little or nothing: {shown[0]} is at best {shown[1]}, by {best['name']}.", "bad"
        text = []
        if best is not clean:
            text.append(f"With {best['name']}, the strongest attacker is {who(best['verdict']['strongest'])}.")
            alike = [
                one["name"]
                for one in contenders[1:]
                if one is not best and percent(one["verdict"]["strongest_balanced_accuracy"]) == shown[1]
            ]
            more = f" and {len(alike) - 5} more" if len(alike) > 5 else ""
            text[0] += f" As little is left by {', '.join(alike[:5])}{more}." if alike else ""
            text += [] if falls else [f"{_OVERLAP}."]
        if reshaped and best["in_training"]:
            least = min(reshaped, key=lambda one: one["verdict"]["strongest_balanced_accuracy"])
            text.append(
                f"Of the defenses that reshape answers and leave the model alone, {least['name']} leaves least: "
                f"{percent(least['verdict']['strongest_balanced_accuracy'])} ({span(least['verdict'], 'strongest')})."
            )
        change = Answer(question, short, tone, text)
    kept = [called(one["name"]) for one in contenders if not one["dominated_by"]]
    cost, was = best["utility"], clean["utility"]
    changed = f"{cost['label_changes']:,}" if cost["label_changes"] else "no"
    dearest, text = "Nothing: answers are as they were.", []
    if best is not clean:
        dearest = f"With {best['name']}, the model's accuracy {moves(was, cost, 'accuracy', '.1%')}."
        text.append(
            f"With it the calibration error, by which confidences miss how often the model is right, "
            f"{moves(was, cost, 'ece')}; the log-loss, lower for better predictions, {moves(was, cost, 'nll')}; and "
            f"{changed} predicted classes change."
        )
    elif len(contenders) > 1:
        dearest = "What they cost buys nothing against the best attacker."
    if len(contenders) > 1:
        text.append(
            f"{len(kept)} of {len(contenders)} are worth a choice, by all costs in the table: {', '.join(kept)}. "
            f"{_OF_OTHERS if len(kept) < len(contenders) else ''}".strip()
        )
    return [
        answer_leak(
            results,
            clean["verdict"],
            None if best is clean else best["verdict"],
            defense="the best of the defenses",
        ),
        Answer(
            "How strong is the best attacker found?",
            f"{percent(clean['verdict']['strongest_balanced_accuracy'])} of its guesses are right, undefended.",
            "plain",
            strengths,
        ),
        change,
        Answer("What do they cost the users of the model?", dearest, "plain", text),
    ]
