"""How often a verdict is right: on recorded outputs without a leak, and with leaks of a known kind.

Nulls are outputs of members and non-members that were drawn alike: 2 to 100 classes, 40 to 4,000 rows, from one member
a non-member to one in ten, with and without imbalanced classes. At most 5 % of them may be called leaking. Planted
leaks are members whose true-class logit was raised so far that they are memorised.

    python benchmarks/verdicts.py --nulls 500 --planted 5 --out verdicts.json

The headline is the best of several attackers. Its interval pays for the choice (Bonferroni); the alternative is to pick
the attacker on one half of the judged rows and to judge it by the other half. Both are measured, on the AUC.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from mindefense import evaluate_outputs, load_outputs
from mindefense.metrics import auc_interval

QUICK = (
    "gap", "confidence", "confidence-per-class", "max-confidence", "entropy", "entropy-per-class", "modified-entropy",
    "modified-entropy-per-class", "loss", "mindarmour-lr", "mindarmour-knn", "salem-top3", "shokri-label", "stacked",
)  # fmt: skip
"""All attackers of recorded outputs that take less than a second."""
CLASSES, ROWS, RATIOS = (2, 10, 30, 100), (40, 200, 1000, 4000), (1, 3, 10)


def drawn(rng: np.random.Generator, classes: int, members: int, others: int, *, imbalanced: bool) -> dict:
    """Outputs of members and non-members that are alike; labels may be imbalanced."""
    shares = rng.dirichlet(np.ones(classes)) if imbalanced else np.full(classes, 1 / classes)
    labels = rng.choice(classes, members + others, p=shares)
    logits = rng.normal(0, 1.5, (members + others, classes))
    logits[np.arange(len(labels)), labels] += 3
    return {"logits": logits, "labels": labels, "is_member": np.arange(members + others) < members}


def planted(rng: np.random.Generator, kind: str) -> dict:
    """Outputs of 2,000 members and 2,000 non-members, some of the members memorised."""
    arrays = drawn(rng, 50, 2000, 2000, imbalanced=False)
    members = np.flatnonzero(arrays["is_member"])
    if kind.endswith("memorised"):
        hit = rng.choice(members, round(float(kind.split("%")[0]) / 100 * len(members)), replace=False)
    elif kind == "one class of 50":
        hit = members[arrays["labels"][members] == 7]
    else:  # a group of 3 %, for whom the model is a little surer
        hit = rng.choice(members, 60, replace=False)
    lift = 5 if kind == "a group of 3%, half as sure" else 14
    arrays["logits"][hit, arrays["labels"][hit]] += lift
    return {**arrays, "hit": hit}


PLANTED = ("0% memorised", "1% memorised", "3% memorised", "6% memorised", "10% memorised", "one class of 50",
           "a group of 3%, half as sure")  # fmt: skip


def judged(arrays: dict, seed: int):
    """The evaluation of such outputs."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "outputs.npz"
        np.savez(path, **{name: value for name, value in arrays.items() if name != "hit"})
        return evaluate_outputs(load_outputs(path), attacks=QUICK, seed=seed)


def both_ways(found, seed: int) -> dict[str, tuple[bool, float]]:
    """Whether the AUC of the best attacker is beyond chance, and how wide its interval: picked in either way."""
    records = found.records
    names = [name for name in records if name.endswith("|undefended") and not name.startswith("gap|")]
    columns = {name: np.array([np.nan if value is None else value for value in records[name]], float) for name in names}
    asked = np.all([~np.isnan(column) for column in columns.values()], axis=0)
    is_member = records["is_member"][asked]
    scores = {name: column[asked] for name, column in columns.items()}
    pick = np.zeros(len(is_member), bool)
    rng = np.random.default_rng(seed)
    for kind in (True, False):
        rows = rng.permutation(np.flatnonzero(is_member == kind))
        pick[rows[: len(rows) // 2]] = True

    def distance(name: str, rows: np.ndarray, confidence: float) -> tuple[float, float, float]:
        low, high = auc_interval(scores[name][rows], is_member[rows], confidence=confidence)
        return max(low - 0.5, 0.5 - high), low, high

    everyone = np.ones(len(is_member), bool)
    paid = max(distance(name, everyone, 1 - 0.05 / len(names)) for name in names)
    best = max(names, key=lambda name: distance(name, pick, 0.95))
    apart = distance(best, ~pick, 0.95)
    return {"interval pays": (paid[0] > 0, paid[2] - paid[1]), "picked on a half": (apart[0] > 0, apart[2] - apart[1])}


def main() -> None:
    """Counts verdicts and writes them as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--nulls", type=int, default=500)
    parser.add_argument("--planted", type=int, default=5, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="verdicts.json")
    args = parser.parse_args()
    started = time.perf_counter()
    groups: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    picks: dict[str, list[tuple[bool, float]]] = collections.defaultdict(list)
    for number in range(args.nulls):
        rng = np.random.default_rng([args.seed, number])
        classes, rows, ratio = (int(rng.choice(those)) for those in (CLASSES, ROWS, RATIOS))
        members = max(rows // (1 + ratio), 20)
        arrays = drawn(rng, classes, members, max(rows - members, 20), imbalanced=bool(rng.integers(2)))
        found = judged(arrays, number)
        verdict = found.undefended
        for name in ("all", f"{classes} classes", f"{rows:,} rows", f"1 : {ratio}"):
            groups[name].update(
                n=1,
                identified=verdict.identifies_beyond_chance,
                average=verdict.shown_by is not None,
                either=verdict.level in ("leak", "some"),
                tutorial=verdict.tutorial_rule,
                cannot=verdict.level == "cannot be told",
            )
        for name, one in both_ways(found, number).items():
            picks[name].append(one)
        if number % 20 == 19:
            print(
                number + 1, dict(groups["all"]), f"{time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True
            )
    leaks = {}
    for kind in PLANTED:
        leaks[kind] = []
        for number in range(args.planted):
            arrays = planted(np.random.default_rng([args.seed, 1000 + number]), kind)
            verdict = judged(arrays, number).undefended
            one = verdict.identified
            assert one is not None
            leaks[kind].append({
                "level": verdict.level, "by": verdict.identifies and verdict.identifies.name, "fpr": one.fpr,
                "identified": one.identified, "of": one.n_members, "low": one.share_low,
                "truth": len(arrays["hit"]) / 2000, "accuracy": verdict.strongest.metrics.balanced_accuracy,
                "tutorial": verdict.tutorial_rule,
            })  # fmt: skip
        print(kind, [(one["level"], one["identified"]) for one in leaks[kind]], file=sys.stderr, flush=True)
    summary = {
        name: {
            "share": float(np.mean([hit for hit, _ in those])),
            "width": float(np.mean([width for _, width in those])),
        }
        for name, those in picks.items()
    }
    Path(args.out).write_text(
        json.dumps(
            {"nulls": groups, "picks": summary, "planted": leaks, "seconds": time.perf_counter() - started}, indent=1
        )
    )


if __name__ == "__main__":
    main()
