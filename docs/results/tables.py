"""What the results pages show of the files beside them.

A page says where: ``<!-- figures: attackers results.json -->`` begins a block, ``<!-- end -->`` ends it, and

    python docs/results/tables.py docs/results/location/README.md

writes into every block what its files hold. A block of a file that is too old to be read stays as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.errors import DataError
from mindefense.reports.report import evaluation_page, read_results
from mindefense.reports.wording import rounded

FIGURES = (("balanced_accuracy", "Balanced accuracy"), ("auc", "AUC"))
TUTORIAL = {
    "lr": (0.7132, 0.6596, 0.8810),
    "knn": (0.5774, 0.5613, 0.7082),
    "mlp": (0.6522, 0.6462, 0.6729),
    "rf": (0.7117, 0.6655, 0.8513),
}
"""Accuracy, precision and recall that MindArmour's tutorial prints."""
LEARNED_FROM = {
    "none": "nothing",
    "auditor": "the target",
    "shadow": "a shadow",
    "online": "shadow models, online",
    "offline": "shadow models, offline",
}
BLOCK = re.compile(r"(<!-- figures: (\w+) ([^>]*?) -->\n)(.*?)(<!-- end -->)", re.DOTALL)

Results = Mapping[str, Any]


def filled(page: str, folder: Path) -> str:
    """The page with every block as the files in `folder` have it now.

    Raises:
        KeyError: If a block is of a kind that is not known.
        DataError: If a file is missing or damaged.
    """

    def fill(block: re.Match) -> str:
        make = BLOCKS[block[2]]
        try:
            held = [read_results(folder / name) for name in block[3].split()]
        except DataError as error:
            if "schema version" in str(error):
                return block[0]
            raise
        return f"{block[1]}\n{make(held).strip()}\n\n{block[5]}"

    return BLOCK.sub(fill, page)


def answers(held: Sequence[Results]) -> str:
    """The questions and answers at the top of the report."""
    page = evaluation_page(held[0], "results.json")
    parts = []
    for answer in page.answers:
        parts.append(f"**{answer.question}** {answer.short}")
        parts += answer.text
        parts += ["\n".join(f"- **{name}**: {text}" for name, text in answer.points)] if answer.points else []
    return "\n\n".join(parts)


def made_with(held: Sequence[Results]) -> str:
    """Seed and versions of an evaluation."""
    facts = dict(evaluation_page(held[0], "results.json").facts)["Seed and versions"]
    return f"Made with {', '.join(f'{name} {value}' for name, value in facts)}."


def attackers(held: Sequence[Results]) -> str:
    """Every attacker of an evaluation: balanced accuracy / AUC / true positive rate at a false positive rate of 1%."""
    results = held[0]
    judged: dict[str, dict[tuple[int, int], list[str]]] = {}
    for attack in results["attacks"]:
        sizes = judged.setdefault(attack["knowledge"], {})
        names = sizes.setdefault((attack["n_members"], attack["n_non_members"]), [])
        if attack["name"] not in names:
            names.append(attack["name"])
    said = []
    for knowledge, sizes in judged.items():
        (members, others), _ = most = max(sizes.items(), key=lambda item: len(item[1]))
        text = f"those that learned from {LEARNED_FROM[knowledge]}, on {members:,} members and {others:,} non-members"
        for (members, others), names in sizes.items():
            if names is not most[1]:
                text += f" ({', '.join(names)}: {members:,} and {others:,})"
        said.append(text)
    found = {}
    for attack in results["attacks"]:
        rates = {rate["fpr"]: rate["tpr"] for rate in attack["tpr_at_fpr"]}
        figures = attack["balanced_accuracy"], attack["auc"], rates[0.01]
        column = "before" if not attack["defended"] else attack["adversary"]
        found.setdefault((attack["name"], attack["knowledge"]), {})[column] = " / ".join(rounded(x) for x in figures)
    states = {"before": "undefended"}
    if results["defense"] is not None:
        name = results["defense"]["name"]
        states |= {"static": f"{name}, unaware of it", "adaptive": f"{name}, adapts to it"}
    rows = [
        (name, _learned_from(knowledge), *(cells.get(state, "–") for state in states))
        for (name, knowledge), cells in found.items()
    ]
    return f"Attackers are judged as follows: {'; '.join(said)}.\n\n" + _table(
        ("attacker", "learned from", *states.values()), rows
    )


def tutorial(held: Sequence[Results]) -> str:
    """MindArmour's four on the undefended target, beside what its tutorial prints: accuracy / precision / recall."""
    here = {attack["name"]: attack for attack in held[0]["attacks"] if not attack["defended"]}
    rows = []
    for name, printed in TUTORIAL.items():
        attack = here.get(f"mindarmour-{name}")
        ours = [None if attack is None else attack[key] for key in ("accuracy", "precision", "recall")]
        rows.append(
            (name, *(" / ".join("–" if x is None else rounded(x, ".4f") for x in row) for row in (ours, printed)))
        )
    return _table(("method", "here", "tutorial"), rows)


def summary(held: Sequence[Results]) -> str:
    """What each defense leaves to the strongest attacker, and what it costs: means over comparisons, one a seed."""
    rows = []
    for position, contender in enumerate(held[0]["contenders"]):
        here = [comparison["contenders"][position] for comparison in held]
        verdicts, costs = [c["verdict"] for c in here], [c["utility"] for c in here]
        rows.append((
            contender["name"],
            ", ".join(dict.fromkeys(_who(v["strongest"]) for v in verdicts)),
            _range(verdicts, "strongest_balanced_accuracy", "strongest_low", "strongest_high"),
            _mean(verdicts, "sharpest_two_sided_auc"),
            _mean(verdicts, "gap_accuracy"),
            *(_mean(costs, key) for key in ("mean_l1", "ece", "nll", "accuracy")),
            ", ".join(str(cost["label_changes"]) for cost in costs),
        ))  # fmt: skip
    head = ("defense", "strongest attacker (by seed)", "its balanced accuracy", "highest two-sided AUC", "gap attack",
            "mean L1", "ECE", "NLL", "accuracy", "labels changed")  # fmt: skip
    return _table(head, rows)


def tradeoff(held: Sequence[Results]) -> str:
    """All ways to defend of one comparison, with who dominates them."""
    rows = []
    for contender in held[0]["contenders"]:
        verdict, cost = contender["verdict"], contender["utility"]
        rows.append((
            contender["name"] + (" (training)" if contender["in_training"] else ""),
            verdict["strongest"]["name"],
            _range([verdict], "strongest_balanced_accuracy", "strongest_low", "strongest_high"),
            _mean([verdict], "sharpest_two_sided_auc"),
            _mean([cost], "mean_l1"),
            _mean([cost], "ece"),
            rounded(cost["nll"], ".2f"),
            _mean([cost], "accuracy"),
            ", ".join(contender["dominated_by"]) or "–",
        ))  # fmt: skip
    head = ("way to defend", "strongest attacker", "its balanced accuracy", "highest two-sided AUC", "mean L1", "ECE",
            "NLL", "accuracy", "dominated by")  # fmt: skip
    return _table(head, rows)


def matrix(held: Sequence[Results]) -> str:
    """Every attacker against every defense: means over comparisons, one a seed."""
    names = [contender["name"] for contender in held[0]["contenders"]]
    columns = [(0, "static")]
    columns += [(position, adversary) for position in range(1, len(names)) for adversary in ("static", "adaptive")]
    head = ["attacker", "learned from", "undefended"]
    head += [f"{names[position]}, {adversary}" for position, adversary in columns[1:]]
    found: dict[tuple[int, str, str, str], list[Results]] = {}
    for comparison in held:
        for position, contender in enumerate(comparison["contenders"]):
            for attack in contender["attacks"]:
                key = position, attack["name"], attack["knowledge"], attack["adversary"]
                found.setdefault(key, []).append(attack)
    parts = []
    for figure, title in FIGURES:
        rows = []
        for name, knowledge in dict.fromkeys(key[1:3] for key in found):
            met = [found.get((position, name, knowledge, adversary)) for position, adversary in columns]
            cells = ["–" if one is None else _range(one, figure, f"{figure}_low", f"{figure}_high") for one in met]
            rows.append((name, _learned_from(knowledge), *cells))
        parts.append(f"### {title}\n\n{_table(head, rows)}")
    return "\n\n".join(parts)


def banks(held: Sequence[Results]) -> str:
    """Attackers with a bank of shadow models, and others beside them: AUC, balanced accuracy and members identified.

    Means over evaluations, one a seed, in brackets the means of the ends of the intervals.
    """
    found: dict[tuple[str, str], dict[str, list[Results]]] = {}
    for results in held:
        for attack in results["attacks"]:
            state = "before" if not attack["defended"] else attack["adversary"]
            if state == "static" and attack["knowledge"] == "none":
                state = "adaptive"  # it has nothing to adapt
            found.setdefault((attack["name"], attack["knowledge"]), {}).setdefault(state, []).append(attack)
    rows = []
    for (name, knowledge), by_state in found.items():
        row = [name, _learned_from(knowledge)]
        for state in ("before", "adaptive"):
            here = by_state[state]
            rates = [next(rate for rate in one["tpr_at_fpr"] if rate["fpr"] == 0.01) for one in here]
            row += [_mean(here, "auc"), _mean(here, "balanced_accuracy"), _range(rates, "tpr", "low", "high")]
        rows.append(row)
    figures = ("AUC", "balanced accuracy", "TPR at 1% FPR")
    head = ("attacker", "learned from", *(f"undefended: {one}" for one in figures),
            *(f"behind DefenMI: {one}" for one in figures))  # fmt: skip
    return _table(head, rows)


def targets(held: Sequence[Results]) -> str:
    """Attackers on models of the bank in the target's place: means, smallest and largest, of one evaluation."""
    (results,) = held
    found = results["other_targets"]
    spread = "mean (smallest–largest)"
    head = ("attacker", "learned from", "state", "AUC: this model", spread, "TPR at 1% FPR: this model", spread,
            "standard deviation", "TPR at 0.01% FPR, all")  # fmt: skip
    rows = []
    for one in found["attackers"]:
        spreads = {spread["figure"]: spread for spread in one["figures"]}
        state = "undefended" if not one["defended"] else f"defended, {one['adversary']}"
        row = [one["name"], _learned_from(one["knowledge"]), state]
        for spread in (spreads["auc"], spreads["tpr_at_fpr_0.01"]):
            values = spread["values"]
            row += [
                rounded(spread["target"]),
                f"{rounded(spread['mean'])} ({rounded(min(values))}–{rounded(max(values))})",
            ]
        row.append(rounded(spreads["tpr_at_fpr_0.01"]["deviation"]))
        pooled = one["pooled"]
        row.append(f"{rounded(pooled['tpr'])} ({rounded(pooled['low'])}–{rounded(pooled['high'])})" if pooled else "–")
        rows.append(row)
    return _table(head, rows)


BLOCKS: Mapping[str, Callable[[Sequence[Results]], str]] = {
    "answers": answers,
    "made_with": made_with,
    "attackers": attackers,
    "tutorial": tutorial,
    "summary": summary,
    "tradeoff": tradeoff,
    "matrix": matrix,
    "banks": banks,
    "targets": targets,
}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def _learned_from(knowledge: str) -> str:
    return {"auditor": "target", "none": "–"}.get(knowledge, knowledge)


def _who(attacker: Results) -> str:
    known = [] if attacker["knowledge"] == "none" else [attacker["knowledge"]]
    return f"{attacker['name']} ({', '.join([*known, attacker['adversary']])})"


def _range(held: Sequence[Results], value: str, low: str, high: str) -> str:
    return f"{_mean(held, value)} ({_mean(held, low)}–{_mean(held, high)})"


def _mean(held: Sequence[Results], name: str) -> str:
    return rounded(float(np.mean([one[name] for one in held])))


if __name__ == "__main__":
    for path in map(Path, sys.argv[1:]):
        path.write_text(filled(path.read_text(encoding="utf-8"), path.parent), encoding="utf-8")
