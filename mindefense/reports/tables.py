"""The tables of a report."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from mindefense.reports.wording import Row, between, called, guessed, identity, learned_from, rounded, state_of

_DAGGER = "†"
_TINTS = (0.55, 0.6, 0.65, 0.7, 0.8)
"""Accuracies from which on a cell has a deeper tint."""
_MOST_PARTS = 300
"""Most parts of one state in the table, so that a thousand classes do not make a page of many megabytes."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, its sort key, whether it is bold, and how deep its tint is (0 to 5)."""

    text: str
    sort: float | str | None = None
    strong: bool = False
    tint: int = 0


@dataclasses.dataclass(frozen=True)
class Sheet:
    """A table.

    Attributes:
        anchor: Its name in the page.
        heading: Its title.
        note: What the columns mean.
        columns: Headings; those of figures end in ``#``, which is not shown.
        rows: The cells of each row, one per column.
        sorted_by: The column by which the rows are sorted in descending order, or None.
        named_by: The column that names a row.
    """

    anchor: str
    heading: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    sorted_by: int | None = None
    named_by: int = 0


def attacker_sheet(results: Row) -> Sheet:
    """Every attacker on every state of the target."""
    tops = []
    for defended, verdict in ((False, results["verdict"]["undefended"]), (True, results["verdict"]["defended"])):
        if verdict is not None:
            tops.append((defended, *identity(verdict["strongest"])))
    rows = []
    for attack in sorted(results["attacks"], key=lambda attack: -attack["balanced_accuracy"]):
        rates = {rate["fpr"]: rate for rate in attack["tpr_at_fpr"]}
        strong = (attack["defended"], *identity(attack)) in tops
        rows.append([
            Cell(attack["name"], attack["name"], strong),
            Cell(learned_from(attack)),
            Cell(state_of(attack)),
            _figure(attack["balanced_accuracy"], strong=strong),
            _interval(attack, "balanced_accuracy"),
            _figure(attack["auc"]),
            _interval(attack, "auc"),
            *(_rate(rates.get(fpr)) for fpr in (0.01, 0.001)),
            _figure(attack["precision"]),
            _figure(attack["recall"]),
            _figure(attack["epsilon_low"]),
        ])  # fmt: skip
    note = (
        "One row per attacker and state; the strongest of each state is in bold. Accuracy is balanced: members and "
        "non-members count alike. AUC is the chance that a member scores above a non-member; below 0.5 the ranking is "
        "inverted, which reveals as much. TPR is the true positive rate, the share of members that are "
        f"found, at a false positive rate of 1% or 0.1%; {_DAGGER} marks rates for which there are too few "
        "samples. ε: with 95% confidence, no training with differential privacy of a smaller ε gives such scores. A "
        "claim of a smaller ε is refuted; a small figure proves nothing."
    )
    columns = ("attacker", "learned from", "state", "accuracy#", "95%#", "AUC#", "95%#", "TPR at 1%#",
               "TPR at 0.1%#", "precision#", "recall#", "ε at least#")  # fmt: skip
    return Sheet("attackers", "All attackers", note, columns, rows, sorted_by=3)


def contender_sheet(contenders: Sequence[Row]) -> Sheet:
    """Every way to defend."""
    rows = []
    ordered = sorted(contenders, key=lambda one: -one["verdict"]["strongest_balanced_accuracy"])
    for one in ordered:
        verdict, cost = one["verdict"], one["utility"]
        strong = not one["dominated_by"]
        rows.append([
            Cell(called(one["name"]) + (" *" if one["in_training"] else ""), called(one["name"]), strong),
            _figure(verdict["strongest_balanced_accuracy"], strong=strong),
            _interval(verdict, "strongest"),
            Cell(verdict["strongest"]["name"]),
            _figure(verdict["sharpest_two_sided_auc"]),
            _figure(cost["accuracy"]),
            Cell(f"{cost['label_changes']:,}", cost["label_changes"]),
            _figure(cost["mean_l1"]),
            _figure(cost["ece"]),
            _figure(cost["nll"]),
            _dominated(one["dominated_by"]),
        ])  # fmt: skip
    note = (
        "Those in bold are not dominated: for each of the others, another one leaks no more and costs no more. * "
        "trained differently: another target, whose answers are compared with those of the first."
    )
    columns = ("defense", "strongest attacker is right#", "95%#", "attacker", "highest AUC#",
               "model's accuracy#", "classes changed#", "mean L1#", "calibration error#", "log-loss#",
               "dominated by")  # fmt: skip
    return Sheet("contenders", "All ways to defend", note, columns, rows, sorted_by=1)


def matrix_sheet(contenders: Sequence[Row]) -> Sheet:
    """How often every attacker is right against every defense."""
    found = [{identity(attack): attack["balanced_accuracy"] for attack in one["attacks"]} for one in contenders]
    tops = [identity(one["verdict"]["strongest"]) for one in contenders]
    attackers = {identity(attack): attack for one in contenders for attack in one["attacks"]}
    ordered = sorted(attackers, key=lambda key: -max(here.get(key, 0) for here in found))
    rows = [
        [
            Cell(attackers[key]["name"]),
            Cell(learned_from(attackers[key])),
            Cell("yes" if attackers[key]["adversary"] == "adaptive" else "no"),
            *(
                _figure(here.get(key), strong=key == top, tinted=True)
                for here, top in zip(found, tops, strict=True)
            ),
        ]
        for key in ordered
    ]  # fmt: skip
    note = (
        "Balanced accuracy: 0.5 is guessing; the higher, the deeper the tint. The strongest against each defense is in "
        "bold. An attacker that knows of the defense learned from defended answers; a dash means that there is no "
        "defense to know of or that the attacker could not take part. * trained differently."
    )
    names = [f"{called(one['name'])}{' *' if one['in_training'] else ''}#" for one in contenders]
    columns = ("attacker", "learned from", "knows of the defense", *names)
    return Sheet("matrix", "Every attacker against every defense", note, columns, rows)


def checks_sheet(checks: Any) -> Sheet:
    """Every check, with the contenders that it concerns, if any; the failed checks first."""
    rows = []
    for check, about in checks:
        found = " ".join(part for part in (check["found"], check["meaning"], check["advice"]) if part)
        found = f"{about}: {found}" if about else found
        rows.append([
            Cell("passed" if check["passed"] else "FAILED", int(check["passed"]), not check["passed"]),
            Cell(check["name"]),
            Cell(found),
        ])  # fmt: skip
    rows.sort(key=lambda row: row[0].sort)
    note = "Every check. A failed one states what it means for the figures and what to do."
    return Sheet("checks", "Checks", note, ("result", "check", "what was found"), rows, named_by=1)


def part_sheets(results: Row) -> list[Sheet]:
    """The sharpest attackers within parts of the samples."""
    rows = []
    cut = ""
    for one in results["slices"]:
        parts = one["parts"]
        if len(parts) > _MOST_PARTS:
            parts = sorted(parts, key=lambda part: -(part["auc"] or 0))[:_MOST_PARTS]
            cut = f" Of {len(one['parts']):,} parts, the {_MOST_PARTS} with the highest AUC; the file has all."
        for part in parts:
            number = re.search(r"\d+", part["part"])
            order = f"{part['by']} {int(number[0]):06d}" if number else part["part"]
            rows.append([
                Cell(part["part"], order),
                Cell("defended" if one["defended"] else "undefended"),
                Cell(one["attack"]),
                Cell(f"{part['n_members']:,}", part["n_members"]),
                Cell(f"{part['n_non_members']:,}", part["n_non_members"]),
                _figure(part["auc"]),
                Cell("–") if part["low"] is None else Cell(between(part["low"], part["high"]), part["low"]),
            ])  # fmt: skip
    if not rows:
        return []
    labelled = results["target"]["member_accuracy"] is not None
    kinds = "tenths by confidence"
    if labelled:
        kinds = f"true classes, {kinds}, and those classified correctly and incorrectly"
    note = (
        f"AUC of the sharpest attacker of each state within parts of the samples: {kinds}. The intervals hold for all "
        "parts at once."
        f"{cut}"
    )
    columns = ("part", "state", "attacker", "members#", "non-members#", "AUC#", "95%#")
    return [Sheet("parts", "AUC within parts of the samples", note, columns, rows)]


def risk_sheets(results: Row) -> list[Sheet]:
    """The rows most at risk, if there was an online bank of shadow models."""
    rows, said = [], []
    for one in results.get("risks") or ():
        state = "defended" if one["defended"] else "undefended"
        said.append(f"{state} {one['models']} models, compared as {one['attack']} does")
        for row in one["most"]:
            rows.append([
                Cell(state),
                Cell(f"{row['rank']}", row["rank"]),
                Cell(f"{row['index']:,}", row["index"]),
                Cell(f"{row['label']}", row["label"]),
                Cell(f"{row['separation']:.2f}", row["separation"]),
                Cell(f"{row['low']:.2f}–{row['high']:.2f}", row["low"]),
                _figure(guessed(row["low"])),
            ])  # fmt: skip
    if not rows:
        return []
    note = (
        "The rows whose answers differ most between shadow models that were trained on them and models that were not "
        f"({'; '.join(said)}). The separation is the difference of the two means in standard deviations, with the "
        "95% interval of this row alone. The largest of many are partly luck, so the last column uses the lower end: "
        "how often the best guess about the row is right, if both kinds of answers are Gaussian. Whether a "
        "row was in the training data is stated only in records.csv, which has these figures for all rows."
    )
    columns = (
        "state",
        "rank#",
        "row in the data set#",
        "class#",
        "separation#",
        "95%#",
        "guessed correctly, at least#",
    )
    return [Sheet("risk-rows", "Rows most at risk", note, columns, rows, named_by=2)]


def target_sheets(results: Row) -> list[Sheet]:
    """Every attacker on other targets, if some were attacked."""
    found = results.get("other_targets")
    if not found or not found["attackers"]:
        return []
    rows = []
    for attack in found["attackers"]:
        spreads = {spread["figure"]: spread for spread in attack["figures"]}
        at_1, pooled = spreads["tpr_at_fpr_0.01"], attack["pooled"]
        cells = [Cell(attack["name"]), Cell(learned_from(attack)), Cell(state_of(attack))]
        for spread in (spreads["auc"], at_1):
            cells += [
                _figure(spread["target"]),
                _figure(spread["mean"]),
                Cell(between(min(spread["values"]), max(spread["values"])), min(spread["values"])),
            ]
        cells += [_figure(spreads["tpr_at_fpr_0.001"]["mean"])]
        cells += [_figure(pooled["tpr"]), _interval(pooled, "")] if pooled else [Cell("–"), Cell("–")]
        rows.append((at_1["mean"], cells))
    note = (
        f"{found['targets']} of the {found['models']} models of the online bank, each attacked in this model's place "
        f"with the help of the others, at most {found['models'] - 2}. TPR at 0.01% is over the rows of all of them "
        "together; its interval is a bootstrap over models. results.json has the figures of each model, and 95% "
        "intervals of the means."
    )
    columns = ("attacker", "learned from", "state", "AUC, this model#", "mean#", "smallest–largest#",
               "TPR at 1%, this model#", "mean#", "smallest–largest#", "TPR at 0.1%, mean#",
               "TPR at 0.01%#", "95%#")  # fmt: skip
    ordered = [cells for _, cells in sorted(rows, key=lambda row: -row[0])]
    return [Sheet("other-targets", "Other models in this model's place", note, columns, ordered, sorted_by=7)]


def canary_sheets(results: Row) -> list[Sheet]:
    """Every attacker on mislabeled samples, if there are some."""
    canaries = results.get("canaries") or ()
    if not canaries:
        return []
    rows = [
        [
            Cell(attack["name"]),
            Cell(learned_from(attack)),
            Cell(state_of(attack)),
            _figure(attack["balanced_accuracy"]),
            _interval(attack, "balanced_accuracy"),
            _figure(attack["auc"]),
            _interval(attack, "auc"),
        ]
        for attack in sorted(canaries, key=lambda attack: -attack["two_sided_auc"])
    ]
    note = (
        f"Attackers on {canaries[0]['n_members']} members and {canaries[0]['n_non_members']} non-members with a wrong "
        "label. A model that predicts such a wrong label has memorized the sample: the worst case for a person."
    )
    columns = ("attacker", "learned from", "state", "accuracy#", "95%#", "AUC#", "95%#")
    return [Sheet("canaries", "Canaries", note, columns, rows)]


def cost_sheets(defense: Row | None) -> list[Sheet]:
    """The quality of the answers, without a defense and behind it."""
    if defense is None:
        return []
    names = {
        "accuracy": "accuracy",
        "label_changes": "predicted classes changed",
        "mean_l1": "L1 distance of the answers, mean",
        "median_l1": "L1 distance, median",
        "max_l1": "L1 distance, maximum",
        "ece": "calibration error",
        "nll": "log-loss",
    }
    rows = [
        [
            Cell(text),
            *(
                _figure(state[name], digits=0 if name == "label_changes" else 3)
                for state in (defense["undefended"], defense)
            ),
        ]
        for name, text in names.items()
        if defense[name] is not None
    ]
    note = "The quality of the answers for the users of the model, on all judged samples."
    return [Sheet("cost", "Cost to the users", note, ("measure", "undefended#", "defended#"), rows)]


def _figure(number: float | None, *, digits: int = 3, strong: bool = False, tinted: bool = False) -> Cell:
    if number is None:
        return Cell("–")
    return Cell(
        rounded(number, f",.{digits}f"), number, strong, sum(number >= step for step in _TINTS) if tinted else 0
    )


def _interval(attack: Row, name: str) -> Cell:
    low, high = (attack[f"{name}_{end}" if name else end] for end in ("low", "high"))
    return Cell(between(low, high), low)


def _dominated(by: Sequence[str]) -> Cell:
    """The first contender that dominates it, and how many more do."""
    more = f" and {len(by) - 1} more" if len(by) > 1 else ""
    return Cell(f"{called(by[0])}{more}" if by else "–", len(by) if by else None)


def _rate(rate: Row | None) -> Cell:
    return Cell("–") if rate is None else Cell(rounded(rate["tpr"]) + (_DAGGER if rate["note"] else ""), rate["tpr"])
