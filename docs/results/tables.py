"""The tables of a results page from its comparisons, one a seed.

python docs/results/tables.py docs/results/location/comparison_seed*.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

FIGURES = (("balanced_accuracy", "Balanced accuracy"), ("auc", "AUC"))


def tables(comparisons: Sequence[dict]) -> str:
    """Markdown: what each defense leaves to each attacker, and what it costs; means over the seeds."""
    names = [contender["name"] for contender in comparisons[0]["contenders"]]
    parts = [_summary(comparisons, names)]
    for figure, title in FIGURES:
        parts.append(f"### {title}\n\n{_attackers(comparisons, names, figure)}")
    return "\n\n".join(parts) + "\n"


def _summary(comparisons: Sequence[dict], names: Sequence[str]) -> str:
    lines = [
        "| defense | strongest attacker (by seed) | its balanced accuracy | highest two-sided AUC | gap attack "
        "| mean L1 | ECE | NLL | accuracy | labels changed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for position, name in enumerate(names):
        here = [comparison["contenders"][position] for comparison in comparisons]
        verdicts, costs = [c["verdict"] for c in here], [c["utility"] for c in here]
        strongest = ", ".join(dict.fromkeys(_who(v["strongest"]) for v in verdicts))
        cells = [
            name,
            strongest,
            _range([v["strongest_balanced_accuracy"] for v in verdicts],
                   [v["strongest_low"] for v in verdicts], [v["strongest_high"] for v in verdicts]),
            _mean([v["sharpest_two_sided_auc"] for v in verdicts]),
            _mean([v["gap_accuracy"] for v in verdicts]),
            *(_mean([cost[key] for cost in costs]) for key in ("mean_l1", "ece", "nll", "accuracy")),
            ", ".join(str(cost["label_changes"]) for cost in costs),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _attackers(comparisons: Sequence[dict], names: Sequence[str], figure: str) -> str:
    columns = [(0, "static")]
    columns += [(position, adversary) for position in range(1, len(names)) for adversary in ("static", "adaptive")]
    head = ["attacker", "learned from", "undefended"]
    head += [f"{names[position]}, {adversary}" for position, adversary in columns[1:]]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    found = {
        (position, attack["name"], attack["knowledge"], attack["adversary"]): []
        for comparison in comparisons
        for position, contender in enumerate(comparison["contenders"])
        for attack in contender["attacks"]
    }
    for comparison in comparisons:
        for position, contender in enumerate(comparison["contenders"]):
            for attack in contender["attacks"]:
                found[position, attack["name"], attack["knowledge"], attack["adversary"]].append(attack)
    for name, knowledge in dict.fromkeys(key[1:3] for key in found):
        cells = [name, {"auditor": "target", "none": "–"}.get(knowledge, knowledge)]
        for position, adversary in columns:
            attacks = found.get((position, name, knowledge, adversary))
            cells.append(
                "–"
                if attacks is None
                else _range(*([attack[f"{figure}{end}"] for attack in attacks] for end in ("", "_low", "_high")))
            )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _who(attacker: dict) -> str:
    known = [] if attacker["knowledge"] == "none" else [attacker["knowledge"]]
    return f"{attacker['name']} ({', '.join([*known, attacker['adversary']])})"


def _range(values: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    return f"{_mean(values)} ({_mean(lows)}–{_mean(highs)})"


def _mean(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f}"


if __name__ == "__main__":
    print(tables([json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:]]), end="")
