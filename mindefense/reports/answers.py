"""Answers to the questions of every report, in plain words, made from the figures of a results file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mindefense.metrics.identified import fewest_beyond_chance
from mindefense.metrics.levels import FALSE_ALARMS, FEWEST_TO_CLEAR, OFTEN_RIGHT
from mindefense.reports.wording import (
    Row,
    find,
    identity,
    number,
    of_hundred,
    percent,
    rate_of,
    rounded,
    span,
    who,
)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A question of the report and its answer.

    Attributes:
        question: The question.
        short: The answer in one line.
        tone: ``"bad"``, ``"mixed"``, ``"good"`` or ``"plain"``.
        text: The paragraphs of the full answer.
        points: Details, each with its name.
    """

    question: str
    short: str
    tone: str
    text: Sequence[str]
    points: Sequence[tuple[str, str]] = ()


_IN_FRONT = ("labels-match", "left-out")
"""Checks that must pass before any verdict is meaningful."""
_LEVELS = {
    "leak": ("Yes", "bad"),
    "some": ("Somewhat", "mixed"),
    "none found": ("These attackers found no leak", "good"),
    "cannot be told": ("This cannot be told from these rows", "mixed"),
}


def answer_leak(
    results: Row, checks: Sequence[Row], before: Row, after: Row | None, *, defense: str = "the defense"
) -> Answer:
    """Whether the model leaks, and with a defense whether it still does."""
    question = "Does this model leak who was in its training data?"
    if results["smoke"]:
        text = "A smoke test uses few rows and epochs to show that everything runs. Its figures mean nothing."
        return Answer(question, "Not measured: this was a smoke test.", "mixed", [text])
    was, now = before["level"], (before if after is None else after)["level"]
    word, tone = _LEVELS[now]
    if after is None:
        short = f"{word}."
    elif was == now:
        short = {
            "leak": f"Yes, behind {defense} too.",
            "some": f"Somewhat, behind {defense} too.",
            "none found": f"These attackers found no leak, behind {defense} or without it.",
            "cannot be told": "This cannot be told from these rows.",
        }[now]
    else:
        less = {"leak": "yes", "some": "somewhat", "none found": "no leak was found",
                "cannot be told": "this cannot be told"}[now]  # fmt: skip
        short = f"{_LEVELS[was][0]}; behind {defense}, {less}."
    if results["synthetic"]:
        short = "On made-up data: " + short[0].lower() + short[1:]
    text = [_reason("Undefended", before)]
    if after is not None:
        text.append(_reason(f"Behind {defense}", after))
    text += [
        f"The check {check['name']} failed. {check['found']} {check['meaning']}".strip()
        for check in checks
        if check["name"] in _IN_FRONT and not check["passed"]
    ]
    return Answer(question, short, tone, text, [("Rule of MindArmour's tutorial", _rule(before, after))])


def _reason(state: str, verdict: Row) -> str:
    """The reason for a verdict: which of its two figures are beyond chance."""
    if verdict["untold_by"] not in (None, "few rows"):
        return (
            f"{state}, no attacker is right more often than chance explains, but the check {verdict['untold_by']} "
            "failed. With such rows, a leak may be missed."
        )
    if verdict["level"] == "cannot be told":
        return (
            f"{state}, no attacker is right more often than chance explains, but the attackers were "
            f"evaluated on fewer than {FEWEST_TO_CLEAR} members or non-members. With so few rows, a leak may be missed."
        )
    said = []
    if verdict["identifies_beyond_chance"]:
        found = verdict["identified"]
        said.append(
            f"{verdict['identifies']['name']} identifies {found['identified']:,} of {found['n_members']:,} members at "
            f"a false positive rate of {rate_of(found['fpr'])}, which is more than chance explains"
        )
    if verdict["shown_by"] is not None:
        figure = verdict["shown_figure"]
        ends = verdict["shown_low"], verdict["shown_high"]
        digits = ".4f" if "0.500" in map(rounded, ends) else ".3f"
        interval = "–".join(rounded(end, digits) for end in ends)
        name = verdict["shown_by"]["name"]
        said.append(f"the {figure} of {name} is beyond chance (0.5): its 95% interval is {interval}")
    if not said:
        return (
            f"{state}, none of {verdict['attackers']} attackers is right more often than chance explains, and none "
            "identifies more members than chance explains. A stronger attacker may do so."
        )
    return f"{state}, {'; and '.join(said)}."


def _rule(before: Row, after: Row | None) -> str:
    """The rule of MindArmour's tutorial, which does not account for chance."""
    verdicts = [("undefended", before), *([] if after is None else [("defended", after)])]
    said = [f"{'met' if verdict['tutorial_rule'] else 'not met'} {state}" for state, verdict in verdicts]
    missed = [state for state, verdict in verdicts if verdict["level"] == "leak" and not verdict["tutorial_rule"]]
    return (
        f"It reports a risk if one attacker has accuracy, precision and recall all above 60%: {', '.join(said)}. "
        + ("It misses this leak." if missed else "It does not account for chance.")
    )


_OUTCOMES = {
    "PASS": ("PASS: no limit is exceeded.", "good"),
    "FAIL": ("FAIL", "bad"),
    "INCONCLUSIVE": ("INCONCLUSIVE: no limit is exceeded, but a leak may have been missed.", "mixed"),
}


def answer_ruling(ruling: Row) -> Answer:
    """The result of a policy: each limit, and why a figure below its limit may not be enough."""
    short, tone = _OUTCOMES[ruling["outcome"]]
    limits = ruling["limits"]
    exceeded = [limit for limit in limits if limit["exceeded"]]
    if exceeded:
        short += (
            f": {len(exceeded)} of {number(len(limits), 'limit')} {'is' if len(exceeded) == 1 else 'are'} exceeded."
        )
    points = [(limit["metric"], limit_found(limit)) for limit in limits]
    return Answer(
        f"Does the model comply with the policy ({ruling['policy']})?",
        short,
        tone,
        [f"{reason[0].upper()}{reason[1:].rstrip('.')}." for reason in ruling["reasons"]],
        points,
    )


def limit_found(limit: Row) -> str:
    """One limit and what was found, in words."""
    what = {"low": "lower end of its 95% interval: ", "high": "upper end of its 95% interval: "}.get(limit["by"], "")
    value = f"{limit['value']:,.0f}" if limit["metric"] == "named" else rounded(limit["value"])
    state = "above" if limit["exceeded"] else "not above"
    return f"{what}{value} by {limit['attack']['name']}, {state} the limit of {limit['limit']:g}"


def answer_next(results: Row, checks: Sequence[Row], before: Row, after: Row | None) -> Answer:
    """What to do, from the verdict and the checks."""
    now, recorded = (before if after is None else after)["level"], "outputs" in results["settings"]
    steps = []
    if results["smoke"]:
        steps.append("Run it without --smoke, on real data.")
    elif results["synthetic"]:
        steps.append("Run it on real data.")
    steps += [check["advice"] for check in checks if not check["passed"] and check["name"] not in _MARKS]
    if now in ("leak", "some"):
        if now == "leak" and not (results["smoke"] or results["synthetic"]):
            steps.insert(
                0, "Do not release the model as it is." if after is None else "Do not rely on this defense alone."
            )
        if after is None:
            steps.append(
                "Put a defense in front of the model, record its answers as defended_probs in the same file, and "
                "evaluate both; or train the model so that it overfits less."
                if recorded
                else "Compare defenses: `mindefense compare --out DIR`, or try one: `mindefense run --defense defenmi`."
            )
        else:
            floor = before["gap_accuracy"]  # a defense that changes classes has another
            why = (
                ""
                if floor is None
                else f". The gap attack alone is right in {percent(floor)} of its guesses, and no defense that keeps "
                "the predicted classes lowers that"
            )
            how = "" if recorded else f": `{_TRAINED_OTHERWISE}`"
            steps.append(f"Train the model so that it overfits less{how}{why}.")
    elif now == "cannot be told" and (before if after is None else after)["untold_by"] == "few rows":
        steps.append(
            f"Evaluate with more rows: at least {FEWEST_TO_CLEAR} members and as many non-members; a false positive "
            "rate of 0.1% needs 1,000 non-members."
        )
    elif now == "cannot be told":
        steps.append("After this correction, evaluate again.")
    elif recorded:
        steps.append(
            "Before a release, evaluate the model itself: label-only attackers and shadow attackers cannot attack "
            "recorded answers."
        )
    else:
        steps.append("Before a release, evaluate with all available rows, and keep results.json as evidence.")
    return Answer("What to do next?", steps[0], "plain", steps[1:])


_TRAINED_OTHERWISE = "mindefense compare --out DIR --training early-stopping=0.9,weight-decay=0.005"
_MARKS = ("smoke", "synthetic")
"""Checks whose advice `answer_next` gives in its own words."""


def answer_identified(states: Sequence[tuple[str, Row]], attacks: Sequence[Sequence[Row]]) -> Answer:
    """How many members can be identified almost surely in each state."""
    question = "How many members can be identified almost surely?"
    found = [(name, verdict["identified"], verdict) for name, verdict in states]
    if any(one is None for _, one, _ in found):
        text = "A false positive rate of 1% needs at least 100 non-members."
        return Answer(question, "That cannot be told: there are too few non-members.", "mixed", [text])
    text = []
    for (name, one, verdict), here in zip(found, attacks, strict=False):
        share = f"{percent(one['share'])} of the members" if one["identified"] else "none"
        bound = (
            f"That is more than chance explains. With 95% confidence, it identifies at least "
            f"{percent(one['share_low'])} of all members, {rounded(1000 * one['share_low'], '.0f')} of every 1,000; "
            f"some of the {one['identified']:,} may be found by chance. If half of the people it is asked about are "
            f"members, about {_members_of_hundred(one, 0.5)} of 100 people that it identifies are members (at least "
            f"{_members_of_hundred(one, 0.5, lowest=True)} by the ends of the intervals); if one in 100 is a member, "
            f"about {_members_of_hundred(one)} (at least {_members_of_hundred(one, lowest=True)})."
            if verdict["identifies_beyond_chance"] and one["share_low"] > 0
            else _by_chance(one, verdict["attackers"])
        )
        who_does = f"{verdict['identifies']['name']} identifies" if one["identified"] else "no attacker identifies any:"
        text.append(
            f"{name[0].upper() + name[1:]}, {who_does} {one['identified']:,} of the {one['n_members']:,} members "
            f"it was evaluated on ({share}), with {number(one['mistakes'], 'mistake')} among "
            f"{one['n_non_members']:,} non-members (false positive rate {rate_of(one['fpr'])}; guessing identifies "
            f"{rate_of(one['fpr'])} of the members). {bound}"
        )
        by = next((attack for attack in here if identity(attack) == identity(verdict["identifies"])), None)
        if by is not None and one["n_members"] > by["n_members"]:
            text[-1] += (
                " It was evaluated on all rows, since its scores are not fitted; its row in the table is for the "
                f"{by['n_members']:,} members that its threshold was not fitted on."
            )
    rough = [one for one in found if one[2]["identifies_beyond_chance"] and one[1]["fpr"] * one[1]["n_non_members"] < 5]
    if rough:
        text.append(
            "With so few mistakes, the false positive rate itself is uncertain: "
            + "; ".join(f"{name}, it may be up to {percent(one['fpr_high'])}" for name, one, _ in rough)
            + "."
        )
    surely = [verdict["identifies_beyond_chance"] and one["share_low"] > 0 for _, one, verdict in found]
    if len(found) == 1:
        rate = rate_of(found[0][1]["fpr"])
        short = f"{_at_least(found[0][1], surely[0])}, at a false positive rate of {rate}."
    else:
        at = ["", ""]
        if all(surely) and found[0][1]["fpr"] != found[1][1]["fpr"]:  # two shares that cannot be compared
            at = [f" (at a false positive rate of {rate_of(one['fpr'])})" for _, one, _ in found]
        first, second = (
            _at_least(one, is_sure) + rate for (_, one, _), is_sure, rate in zip(found, surely, at, strict=True)
        )
        short = f"{first} undefended; {second[0].lower()}{second[1:]} behind the defense."
    return Answer(question, short, "bad" if surely[-1] else "plain", text)


def _at_least(identified: Row, surely: bool) -> str:
    return f"At least {percent(identified['share_low'])}" if surely else "No more than chance explains"


def _hidden_in_average(verdict: Row) -> str:
    if not verdict["identifies_beyond_chance"] or verdict["strongest_balanced_accuracy"] >= OFTEN_RIGHT:
        return ""
    return "An average near 50% hides the members who are identified almost surely. "


def _by_chance(identified: Row, attackers: int) -> str:
    """That chance explains the number, and from which number on it would not."""
    n = identified["n_members"]
    fewest = fewest_beyond_chance(
        n, identified["n_non_members"], fpr=identified["fpr"], tail=FALSE_ALARMS / 4 / attackers
    )
    seen = "" if fewest is None else f" It would not explain {fewest:,} or more ({percent(fewest / n)})."
    return f"Chance explains this number, since this attacker is the best of {attackers}.{seen}"


def _members_of_hundred(identified: Row, prior: float = 0.01, *, lowest: bool = False) -> str:
    """Members among 100 samples above the threshold, where this share of all samples are members (Bayes)."""
    share, fpr = ("share_low", "fpr_high") if lowest else ("share", "fpr")
    found, mistaken = identified[share] * prior, identified[fpr] * (1 - prior)
    return rounded(100 * found / (found + mistaken), ".0f")


def strength_of(attacks: Sequence[Row], state: str, verdict: Row, defended: bool) -> str:
    """One paragraph on the strongest attacker of one state."""
    best = find(attacks, verdict["strongest"], defended=defended)
    recall, fpr = best["recall"], best["recall"] - best["advantage"]
    is_below = find(attacks, verdict["sharpest"], defended=defended)["auc"] < 0.5
    same = identity(verdict["sharpest"]) == identity(verdict["strongest"])
    sharpest = "the same attacker" if same else who(verdict["sharpest"])
    reversed_ = " Its ranking is inverted; this is the AUC of the reversed ranking." if is_below else ""
    return (
        f"{state[0].upper() + state[1:]}, on average the strongest of {verdict['attackers']} attackers is {who(best)}. "
        f"It is right in {percent(best['balanced_accuracy'])} of its guesses (95% interval "
        f"{span(verdict, 'strongest')}, adjusted for the choice of the best); guessing is right in 50%. "
        f"{_hidden_in_average(verdict)}It finds "
        f"{of_hundred(recall, 'members')} and calls {of_hundred(fpr, 'non-members')} members by mistake. The "
        f"highest AUC is {rounded(verdict['sharpest_two_sided_auc'])}, by {sharpest}: the "
        f"probability that it ranks a member above a non-member (by chance: 0.5).{reversed_}"
        + (
            ""
            if verdict["gap_accuracy"] is None
            else " The gap attack, which uses only whether the model classifies a sample correctly, is right in "
            f"{percent(verdict['gap_accuracy'])} of its guesses."
        )
    )


def answer_trust(checks: Sequence[Row], results: Row) -> Answer:
    """How far the figures can be trusted."""
    failed = [check for check in checks if not check["passed"]]
    question = "How far can this be trusted?"
    tone = "bad" if results["smoke"] or results["synthetic"] else "mixed" if failed else "good"
    limit = "The leak is at least as large as the strongest of these attackers shows: a stronger attacker may exist."
    if results["smoke"] or results["synthetic"]:
        what = "a smoke test" if results["smoke"] else "made-up data"
        limit = f"These are figures of {what}: do not quote them. " + limit
    lines = [limit, *_privacy(results)]
    if not checks:
        return Answer(question, "Nothing was checked.", "mixed", lines)
    count = f"All {len(checks)}" if not failed else f"{len(failed)} of {len(checks)}"
    short = f"{count} checks of the measurement {'failed' if failed else 'passed'}."
    if results["smoke"] or results["synthetic"]:
        short = "Not at all: " + short[0].lower() + short[1:]
    points = [(check["name"], f"{check['found']} {check['meaning']}".strip()) for check in failed]
    return Answer(question, short, tone, lines, points)


def _privacy(results: Row) -> list[str]:
    """What private training guarantees, beside what the attackers prove."""
    privacy = results["settings"].get("privacy")
    if not privacy:
        return []
    found = max(attack["epsilon_low"] for attack in results["attacks"] if not attack["defended"])
    said = (
        f"The training was differentially private: ε = {privacy['epsilon']:.3g} at δ = {privacy['delta']:.2g} for each "
        f"member ({privacy['steps']:,} steps with noise of {privacy['noise_multiplier']:.3g} clipping norms). Of the "
        f"attackers' lower bounds on ε without a defense, the largest is {found:.2g} "
        "(95% for each attacker alone, δ = 0)"
    )
    if found > privacy["epsilon"]:
        return [f"{said}. That is above the stated ε: chance, or an error in the training."]
    return [f"{said}; a smaller figure proves nothing."]
