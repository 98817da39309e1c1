"""The pictures of a report, each with a sentence on what it shows, made from the numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from mindefense.metrics import small_fpr
from mindefense.reports import plots as draw
from mindefense.reports.svg import Picture
from mindefense.reports.wording import (
    Row,
    apart,
    between,
    by_spread,
    called,
    find,
    guessed,
    keeps_labels,
    percent,
    rate_of,
    rounded,
    short_name,
    span,
    spread_figure,
    tpr,
    usual_in_words,
)

_ASKED = {"shokri-label": 1, "averaging-8": 8, "averaging-64": 64, "averaging-8-perturbed": 8}
"""Queries of these attackers about each sample; all use the answers in the same way."""


_FIGURES = {"tpr_at_fpr_0.01": "TPR at a false positive rate of 1%", "auc": "AUC"}
_SHOWN_ATTACKERS = 8


@dataclasses.dataclass(frozen=True)
class Plate:
    """Related pictures and a sentence on what they show; without pictures, the sentence states why there are none."""

    anchor: str
    heading: str
    sentence: str
    pictures: Sequence[Picture] = ()


def scale(states: Sequence[tuple[str, Row]], behind: str = "defended") -> Picture:
    """How often the strongest attacker is right in each state; `behind` is a short name for the second state."""
    said = "; ".join(
        f"{name}: {percent(v['strongest_balanced_accuracy'])} ({span(v, 'strongest')})" for name, v in states
    )
    alt = f"How often the strongest attacker is right, with its 95% interval. {said}. Guessing is right in 50%."
    short = [(("undefended", behind)[number], verdict) for number, (_, verdict) in enumerate(states)]
    return Picture("scale", "The strongest attacker", alt, draw.draw_scale(short))


def evaluation_plates(results: Row, states: Sequence[tuple[str, Row]]) -> list[Plate]:
    """The pictures of an evaluation; for a picture that cannot be made, the reason."""
    return [
        roc_plate(results, states),
        _confidence_plate(results, states),
        _bargain_plate(results),
        _risk_plate(results, states),
        _targets_plate(results, states),
        _class_plate(results, states),
        _budget_plate(results),
        _averaging_plate(results),
    ]


def roc_plate(results: Row, states: Sequence[tuple[str, Row]]) -> Plate:
    """The ROC curves of each state of the target, both axes logarithmic."""
    heading = "True positive rate at each false positive rate"
    if not any("roc" in attack for attack in results["attacks"]):
        return Plate("roc", heading, _old("points of the ROC curves"))
    fpr = small_fpr(min(attack["n_non_members"] for attack in results["attacks"]))
    by = fpr or 0.1
    pictures, said = [], []
    for defended, (name, verdict) in enumerate(states):
        here = [attack for attack in results["attacks"] if attack["defended"] == bool(defended) and "roc" in attack]
        best = max(here, key=lambda attack: tpr(attack, by))
        picks = [best, *(find(here, verdict[key], defended=bool(defended)) for key in ("strongest", "sharpest"))]
        picks += [attack for attack in here if attack["name"] == "gap"]
        unique: dict[str, Row] = {}
        for pick in picks:
            unique.setdefault(pick["name"], pick)
        shown = [(short_name(pick, here), pick) for pick in unique.values()]
        found = f"{percent(tpr(best, by))} of the members"
        at_rate = f" At a false positive rate of {rate_of(by)} the best finds {found}." if fpr else ""
        alt = (
            f"ROC curves of {len(here)} attackers, {name}, both axes logarithmic, with the diagonal of guessing."
            f"{at_rate} Highlighted: {'; '.join(said_as for said_as, _ in shown)}."
        )
        pictures.append(Picture(f"roc-{_slug(defended)}", name, alt, draw.draw_roc(here, shown)))
        said.append(f"{found} {name} ({best['name']})")
    sentence = (
        f"At a false positive rate of {rate_of(fpr)}, the best attacker finds {' and '.join(said)}; guessing (the "
        f"dashed line) finds {rate_of(fpr)}. The second answer above states whether that is beyond chance."
        if fpr
        else "There are fewer than 100 non-members, so nothing can be said about a false positive rate of 1%. The "
        "dashed line is guessing."
    )
    return Plate("roc", heading, sentence, pictures)


def _confidence_plate(results: Row, states: Sequence[tuple[str, Row]]) -> Plate:
    heading = "Confidence in the true class"
    histograms = results.get("confidences") or ()
    if not _labelled(results):
        return Plate("confidences", heading, _UNLABELLED)
    if not histograms:
        return Plate("confidences", heading, _old("histograms of the confidence"))
    kinds = [[draw.shares(one[kind]) for kind in ("members", "non_members")] for one in histograms]
    most = max(float(share.max()) for pair in kinds for share in pair)
    pictures, said = [], []
    for histogram, (members, others) in zip(histograms, kinds, strict=True):
        name = states[int(histogram["defended"])][0]
        common = sum(min(pair) for pair in zip(members.tolist(), others.tolist(), strict=True))
        high = [f"{float(share[-4:].sum()):.0%}" for share in (members, others)]
        alt = (
            f"Histogram, {name}: {high[0]} of the members and {high[1]} of the non-members have a confidence of at "
            f"least 80% in the true class. The two histograms share {common:.0%} of their area."
        )
        slug = _slug(histogram["defended"])
        pictures.append(Picture(f"confidence-{slug}", name, alt, draw.draw_confidences(histogram, most)))
        said.append(f"{common:.0%} of their area {name}")
    sentence = (
        f"The histograms of members (filled) and non-members (dashed) share {' and '.join(said)}: the less they share, "
        "the more this confidence alone reveals who was in the training data."
    )
    return Plate("confidences", heading, sentence, pictures)


def _risk_plate(results: Row, states: Sequence[tuple[str, Row]]) -> Plate:
    heading = "How unequal the risk is"
    risks = results.get("risks") or ()
    if not risks:
        return Plate("risks", heading, "This needs an online bank of shadow models (`mindefense train-shadows`).")
    shares = [draw.shares(one["counts"]) for one in risks]
    most = max(float(share.max()) for share in shares)
    pictures, said = [], []
    for one, share in zip(risks, shares, strict=True):
        name = states[int(one["defended"])][0]
        median, high = one["median"], one["upper_hundredth"]
        said.append(
            f"{name}, the interval lies above 0 for {percent(one['above_0'])} of the rows, where chance alone explains "
            f"2.5%, and the best guess about a row of median risk is right in {percent(guessed(median))} "
            f"({one['attack']})"
        )
        alt = (
            f"Histogram of {one['rows']:,} rows, {name}, by the separation of {one['models']} shadow models: median "
            f"{median:.2f}, 99th percentile {high:.2f} standard deviations."
        )
        slug = _slug(one["defended"])
        pictures.append(Picture(f"risks-{slug}", name, alt, draw.draw_risks(one["edges"], share, most)))
    found = "; ".join(said)
    sentence = (
        "The separation of a row states how far training on it moves the answers, in standard deviations. "
        f"{found[0].upper()}{found[1:]}. With few models, part of the spread is chance."
    )
    return Plate("risks", heading, sentence, pictures)


def _targets_plate(results: Row, states: Sequence[tuple[str, Row]]) -> Plate:
    heading = "Whether other models leak as much"
    found = results.get("other_targets")
    if not found or not found["attackers"]:
        return Plate(
            "targets", heading, "This needs an online bank of shadow models and `mindefense evaluate --targets 8`."
        )
    figure = spread_figure(results)
    pictures, said = [], []
    for defended, (name, _) in enumerate(states):
        here = by_spread(found, figure, defended=bool(defended))
        if not here:
            continue
        attack, spread = here[0]
        said.append(f"{name}, {attack['name']} {usual_in_words(spread)}")
        alt = (
            f"For {min(len(here), _SHOWN_ATTACKERS)} attackers, {name}, {_FIGURES[figure]} for each of "
            f"{found['targets']} other models, and for this model."
        )
        shown = [(short_name(one, [a for a, _ in here]), one_spread) for one, one_spread in here[:_SHOWN_ATTACKERS]]
        figured = draw.draw_targets(shown, _FIGURES[figure], share=figure != "auc")
        pictures.append(Picture(f"targets-{_slug(defended)}", name, alt, figured))
    places = [by_spread(found, figure, defended=bool(d))[0][1]["place"] for d in range(len(pictures))]
    conclusion = (
        "So there is no sign that this model leaks more or less than others that are trained in the same way."
        if set(places) == {"within"}
        else "So this model leaks more than others that are trained in the same way."
        if "above" in places
        else "So this model leaks less than others that are trained in the same way; the next one may leak more."
    )
    sentence = (
        f"{found['targets']} models of the online bank were attacked in this model's place, each with the help of the "
        f"others. Of the attackers, that with the highest mean is named: {'; '.join(said)}. {conclusion}"
    )
    return Plate("targets", heading, sentence, pictures)


def _class_plate(results: Row, states: Sequence[tuple[str, Row]]) -> Plate:
    heading = "Which classes leak most"
    if not _labelled(results):
        return Plate("classes", heading, _UNLABELLED)
    slices = [(states[int(one["defended"])][0], one) for one in results["slices"]]
    kept = draw.shown_classes(slices) if slices else []
    if not kept:
        return Plate("classes", heading, "No class has both members and non-members, so there is nothing to show.")
    said = []
    total = seen = 0
    for name, one in slices:
        parts = [part for part in one["parts"] if part["by"] == "class" and part["auc"] is not None]
        above = sum(not part["low"] <= 0.5 <= part["high"] for part in parts)
        total, seen = max(total, len(parts)), max(seen, above)
        said.append(f"{name} in {above} of {len(parts)} classes (by {one['attack']})")
    top = next(part for part in slices[0][1]["parts"] if part["part"] == kept[0])
    doubt = "" if not top["low"] <= 0.5 <= top["high"] else ", though chance may explain it with so few samples"
    few = f" The {len(kept)} furthest from 0.5 are shown; the table has more." if total > len(kept) else ""
    unseen = any(verdict["level"] in ("leak", "some") for _, verdict in states) and not seen
    few += " A leak was found in all samples together; there are too few per class to see it there." if unseen else ""
    sentence = (
        f"Members are distinguished from non-members beyond chance {' and '.join(said)}. Undefended, {kept[0]} has the "
        f"AUC furthest from 0.5, {rounded(top['auc'])} ({between(top['low'], top['high'])}): the probability that a "
        f"member of this class scores above a non-member of it{doubt}.{few}"
    )
    alt = f"AUC of the sharpest attacker within each class, with 95% intervals. {sentence}"
    return Plate("classes", heading, sentence, [Picture("classes", "By class", alt, draw.draw_classes(slices))])


def _budget_plate(results: Row) -> Plate:
    heading = "What an L1 budget achieves"
    budgets = sorted(results["budgets"], key=lambda point: point["budget"])
    if not budgets:
        reason = (
            "There is no defense, so there is no budget to spend."
            if results["defense"] is None
            else "The published budget curve needs a defense that searches (defenmi, memguard) and the nn attacker; "
            "this evaluation lacks one of them."
        )
        return Plate("budgets", heading, reason)
    first, last = budgets[0], budgets[-1]
    adaptive = max((a["balanced_accuracy"] for a in results["attacks"] if a["adversary"] == "adaptive"), default=None)
    sentence = (
        "Answers are defended only as often as the budget, a mean L1 distance, allows. The published attacker (nn), "
        f"unaware of the defense, falls from {percent(first['accuracy'])} at a budget of {first['budget']:g} to "
        f"{percent(last['accuracy'])} at a budget of {last['budget']:g}"
    )
    sentence += f"; the best attacker that adapts is right in {percent(adaptive)}." if adaptive is not None else "."
    alt = "Accuracy of the nn attacker by L1 budget: " + ", ".join(
        f"{point['budget']:g}: {percent(point['accuracy'])}" for point in budgets
    )
    return Plate(
        "budgets", heading, sentence, [Picture("budgets", "Budget curve", alt + ".", draw.draw_budgets(budgets))]
    )


def _averaging_plate(results: Row) -> Plate:
    heading = "What repeated queries reveal"
    lines: dict[str, list[tuple[int, Row]]] = {}
    attacks = [a for a in results["attacks"] if a["defended"] and a["knowledge"] == "auditor" and a["name"] in _ASKED]
    if not any(attack["name"].startswith("averaging") for attack in attacks):
        reason = (
            "There is no defense, so repeated queries get the same answer."
            if results["defense"] is None
            else "No attacker that averages over repeated queries took part: the answers do not depend on noise, "
            "recorded outputs cannot be queried again, or it was not among the attackers that were chosen."
        )
        return Plate("averaging", heading, reason)
    for attack in attacks:
        adapts = "adapts" if attack["adversary"] == "adaptive" else "unaware"
        if not attack["name"].endswith("perturbed"):
            lines.setdefault(f"the same query, {adapts}", []).append((_ASKED[attack["name"]], attack))
    for attack in attacks:
        adapts = "adapts" if attack["adversary"] == "adaptive" else "unaware"
        if attack["name"].endswith("perturbed"):
            once = [
                (1, one) for one in attacks if (one["name"], one["adversary"]) == ("shokri-label", attack["adversary"])
            ]
            lines[f"slightly changed, {adapts}"] = [*once, (_ASKED[attack["name"]], attack)]
    for points in lines.values():
        points.sort(key=lambda point: point[0])
    reached = {name: (points[0], points[-1]) for name, points in lines.items()}
    said = []
    for kind in ("the same query", "slightly changed"):
        names = [name for name in reached if name.startswith(kind)]
        if names:
            (fewest, one), (most, many) = reached[max(names, key=lambda name: reached[name][1][1]["auc"])]
            how = "the same query" if kind.startswith("the") else "slightly changed queries"
            said.append(
                f"{how} sent {most} times: AUC {rounded(many['auc'])}"
                + (f", from {rounded(one['auc'])} sent once" if fewest == 1 and most > 1 else "")
            )
    noise = results["defense"]["noise"]
    why = {
        "keyed": " With a key, the same query always gets the same answer.",
        "fresh": " Fresh noise averages out.",
    }
    sentence = f"{'; '.join(said)}.{why.get(noise, '')}"
    sentence = sentence[0].upper() + sentence[1:]
    alt = f"AUC by number of queries about each sample, with 95% intervals. {sentence}"
    return Plate(
        "averaging", heading, sentence, [Picture("averaging", "Repeated queries", alt, draw.draw_averaging(lines))]
    )


def tradeoff_plates(contenders: Sequence[Row]) -> list[Plate]:
    """The pictures of a comparison."""
    heading = "What each defense achieves, and what it costs"
    if len(contenders) < 2:
        return [Plate("tradeoff", heading, "There was no defense, so there is nothing to compare.")]
    drawn = _tradeoffs(contenders)
    said = "; ".join(
        f"{picture.title.removeprefix('cost: ')}: {', '.join(map(called, frontier))}" for picture, frontier in drawn
    )
    sentence = (
        "Lower leaks less, further left costs less. The labelled points on the line are the frontier: no other leaks "
        f"less at the same or a lower cost ({said})."
    )
    return [Plate("tradeoff", heading, sentence, [picture for picture, _ in drawn])]


def _bargain_plate(results: Row) -> Plate:
    """The trade-off of the one defense of an evaluation: two points, made of this evaluation alone."""
    heading = "What the defense achieves, and what it costs"
    more = "" if "outputs" in results["settings"] else "`mindefense compare` compares many defenses of the same target."
    defense, (before, after) = results["defense"], (results["verdict"][key] for key in ("undefended", "defended"))
    if defense is None:
        return Plate("tradeoff", heading, f"There is no defense to compare. {more}".strip())
    name, clean = defense["name"], defense["undefended"]
    leaks = [percent(verdict["strongest_balanced_accuracy"]) for verdict in (before, after)]
    gain = before["strongest_balanced_accuracy"] - after["strongest_balanced_accuracy"]
    if leaks[0] == leaks[1] and not defense["mean_l1"]:
        return Plate(
            "tradeoff",
            heading,
            f"The defense changed neither an answer nor the figure of the best attacker. {more}".strip(),
        )
    floor = after["gap_accuracy"] if keeps_labels(defense) else None
    contenders = [
        {"name": "none", "in_training": False, "verdict": before, "utility": clean},
        {"name": name, "in_training": False, "verdict": after, "utility": defense},
    ]
    loss = (
        "" if clean["nll"] is None else f" and the log-loss from {rounded(clean['nll'])} to {rounded(defense['nll'])}"
    )
    sentence = (
        f"Lower leaks less, further left costs less. The defense moves the answers by {rounded(defense['mean_l1'])} on "
        f"average{loss}; "
    )
    if leaks[0] == leaks[1]:
        sentence += f"the best attacker is right in {leaks[1]} of its guesses with it and without it."
    elif gain > 0:
        chance = "" if apart(before, after, results["change"]) else ", a difference that chance may explain"
        sentence += f"with it, the best attacker is right in {leaks[1]} of its guesses instead of {leaks[0]}{chance}."
    else:
        sentence += (
            f"that does not help: the best attacker is right in {leaks[1]} of its guesses, undefended in {leaks[0]}."
        )
    if floor is not None:
        sentence += (
            f" No defense that keeps the predicted classes lowers the figure of the gap attack, {percent(floor)}."
        )
    pictures = [picture for picture, _ in _tradeoffs(contenders, floor)]
    return Plate("tradeoff", heading, f"{sentence} {more}".strip(), pictures)


def _tradeoffs(contenders: Sequence[Row], floor: float | None = None) -> list[tuple[Picture, list[str]]]:
    """A picture for each known cost, and the names of the contenders on its frontier."""
    drawn = []
    for name, title, axis, key, chosen in (
        ("tradeoff-l1", "cost: change of the answers", "mean L1 distance of the answers", "mean_l1",
         [one for one in contenders if not one["in_training"]]),
        ("tradeoff-nll", "cost: worse predictions", "log-loss of the answers (log)", "nll", contenders),
    ):  # fmt: skip
        if len(chosen) < 2 or any(one["utility"][key] is None for one in chosen):
            continue

        def cost(one: Row, key: str = key) -> float:
            return one["utility"][key]

        places = {one["name"]: (cost(one), one["verdict"]["strongest_balanced_accuracy"]) for one in chosen}
        frontier = draw.frontier_of(places)
        alt = (
            f"How often the strongest attacker is right against each of {len(chosen)} contenders, the undefended "
            f"model among them, over the {axis}, with 95% intervals. On the frontier: "
            + ", ".join(f"{called(one)} ({rounded(places[one][0])}, {percent(places[one][1])})" for one in frontier)
            + "."
        )
        costs = [cost(one) for one in chosen]
        log = key == "nll" and 0 < 4 * min(costs) < max(costs)
        figure = draw.draw_tradeoff(chosen, cost, axis if log else axis.removesuffix(" (log)"), log=log, floor=floor)
        drawn.append((Picture(name, title, alt, figure), frontier))
    return drawn


_UNLABELLED = "True classes were not recorded, so there is nothing to show."


def _labelled(results: Row) -> bool:
    """Whether true classes were known."""
    return results["target"]["member_accuracy"] is not None


def _slug(defended: Any) -> str:
    return "defended" if defended else "undefended"


def _old(what: str) -> str:
    return f"This file was written by an older version, which kept no {what}. Evaluate again to see the picture."
