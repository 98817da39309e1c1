"""Words and figures that several parts of a report share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Context, Decimal, localcontext
from typing import Any

_LEARNED_FROM = {"none": "nothing", "auditor": "the target", "shadow": "a shadow", "online": "online bank",
                 "offline": "offline bank"}  # fmt: skip

Row = Mapping[str, Any]


def behind(defense: Row) -> str:
    """The name of the defended state of the target."""
    return "behind the recorded defense" if defense["name"] == "recorded" else f"behind {defense['name']}"


def called(name: str) -> str:
    """The name of a defense for readers; `none` is the undefended target."""
    return "undefended" if name == "none" else name


def identity(attack: Row) -> tuple[str, str, str]:
    """The key of an attacker within one state of the target."""
    return attack["name"], attack["knowledge"], attack["adversary"]


def find(attacks: Sequence[Row], named: Row, *, defended: bool) -> Row:
    """The attacker that a verdict names."""
    return next(a for a in attacks if identity(a) == identity(named) and a["defended"] == defended)


def learned_from(attack: Row) -> str:
    """What an attacker was fitted on, for a table."""
    return _LEARNED_FROM.get(attack["knowledge"], str(attack["knowledge"]))


def who(attack: Row) -> str:
    """An attacker within a sentence."""
    learned = {"none": "which is not fitted", "auditor": "which learned from known members of this model",
               "shadow": "which learned from a shadow model",
               "online": "which learned from shadow models, some of them trained on each sample",
               "offline": "which learned from shadow models that were trained on other samples"}  # fmt: skip
    knows = " and adapts to the defense" if attack["adversary"] == "adaptive" else ""
    return f"{attack['name']}, {learned.get(attack['knowledge'], attack['knowledge'])}{knows}"


def state_of(attack: Row) -> str:
    """The state of the target and whether the attacker knows of the defense, for a table."""
    if not attack["defended"]:
        return "undefended"
    return "defended, adapts" if attack["adversary"] == "adaptive" else "defended, unaware"


def short_name(attack: Row, among: Sequence[Row]) -> str:
    """The shortest name that tells an attacker from the others."""
    twins = [one for one in among if one["name"] == attack["name"] and one is not attack]
    words = [attack["name"]]
    if any(one["knowledge"] != attack["knowledge"] for one in twins):
        words.append(learned_from(attack).removesuffix(" bank").split()[-1])
    if any(one["adversary"] != attack["adversary"] for one in twins):
        words.append("adapts" if attack["adversary"] == "adaptive" else "unaware")
    return ", ".join(words)


def tpr(attack: Row, fpr: float = 0.01) -> float:
    """The share of members found at this false positive rate."""
    return next(rate["tpr"] for rate in attack["tpr_at_fpr"] if rate["fpr"] == fpr)


def rounded(number: float | None, form: str = ".3f") -> str:
    """A number as the page shows it: the decimal in the file, rounded half up; a dash for None.

    Rounding the binary number would show 0.8075 as 0.807 in a table and as 80.8% in a sentence.
    """
    if number is None:
        return "–"
    with localcontext(Context(rounding=ROUND_HALF_UP)):
        return format(Decimal(repr(float(number))), form)


def between(low: float | None, high: float | None) -> str:
    """An interval as the page shows it."""
    return f"{rounded(low)}–{rounded(high)}"


def guessed(separation: float) -> float:
    """How often the best guess between two Gaussians is right that are so many standard deviations apart."""
    return 0.5 * (1 + math.erf(max(separation, 0) / 2 / math.sqrt(2)))


def percent(number: float | None) -> str:
    """With one decimal; a dash for None."""
    return rounded(number, ".1%")


def spread_figure(results: Row) -> str:
    """The figure by which targets are compared: the AUC if there are too few rows for a false positive rate of 1%."""
    return "auc" if min(attack["n_non_members"] for attack in results["attacks"]) < 100 else "tpr_at_fpr_0.01"


def by_spread(found: Row, figure: str, *, defended: bool) -> list[tuple[Row, Row]]:
    """The attackers on other targets in one state, each with the spread of a figure; the highest mean first."""
    here = [
        (one, next(spread for spread in one["figures"] if spread["figure"] == figure))
        for one in found["attackers"]
        if one["defended"] == defended
    ]
    return sorted(here, key=lambda pair: -pair[1]["mean"])


def usual_in_words(spread: Row) -> str:
    """What an attacker reaches on other targets and on the target itself, as the predicate of a sentence."""
    share = spread["figure"] != "auc"
    form = percent if share else rounded
    figures = spread["mean"], min(spread["values"]), max(spread["values"]), spread["target"]
    mean, low, high, here = map(form, figures)
    place = {
        "within": "which is usual for such models",
        "above": "more than is usual for such models",
        "below": "less than is usual for such models",
    }[spread["place"]]
    reaches = "finds {} of the members at a false positive rate of 1%" if share else "has an AUC of {}"
    return f"{reaches.format(mean)} on average ({low} to {high}), and {here} for this model, {place}"


def apart(one: Row, other: Row, change: Row | None = None) -> bool:
    """Whether two verdicts' strongest attackers differ by more than chance explains.

    Args:
        one: A verdict.
        other: Another.
        change: Their difference on the same rows; where an older file has none, their intervals must not overlap.
    """
    if change is not None:
        return not change["accuracy"]["low"] <= 0 <= change["accuracy"]["high"]
    return one["strongest_high"] < other["strongest_low"] or other["strongest_high"] < one["strongest_low"]


def keeps_labels(defense: Row) -> bool:
    """Whether a defense keeps the predicted classes: as it declares, or, if it declares nothing, as observed."""
    if defense["keeps_labels"] is None:
        return not defense["label_changes"]
    return bool(defense["keeps_labels"])


def rate_of(fpr: float) -> str:
    """A false positive rate in words."""
    return f"{rounded(100 * fpr, '.4f').rstrip('0').rstrip('.')}%"


def number(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}" if count < 1000 else f"{count:,} {noun}s"


def moves(clean: Row, defended: Row, name: str, form: str = ".3f") -> str:
    """How a measure of the answers changes, within a sentence."""
    before, after = (rounded(one[name], form) for one in (clean, defended))
    return f"stays at {before}" if before == after else f"goes from {before} to {after}"


def of_hundred(part: float, kind: str) -> str:
    """A share as a number of 100, in words where the number would mislead."""
    part = round(part, 9)  # a difference of shares may miss 0 by a rounding error
    number = int(rounded(100 * part, ".0f"))
    if number == 100:
        return f"{'all' if part >= 1 else 'almost all'} {kind}"
    few = "none" if part <= 0 else "fewer than one"
    return f"{number or few} of 100 {kind}"


def span(verdict: Row, name: str) -> str:
    """The interval of a verdict."""
    return f"{percent(verdict[f'{name}_low']).removesuffix('%')}–{percent(verdict[f'{name}_high'])}"
