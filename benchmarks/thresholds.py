"""Does the number of members and non-members that attackers are fitted on change their balanced accuracy?

Fits each classifier on 1,000 : 1,000, 5,000 : 1,000 and 1,000 : 10,000 members and non-members of one made-up leak,
judges it by the same 4,000 : 4,000 others, and prints its balanced accuracy at 0.5 and at its `threshold_`, and
its AUC. With --null there is no leak. The networks nn and nsh are trained for --epochs, not for as many as published.

    python benchmarks/thresholds.py
    python benchmarks/thresholds.py --null --attacks mindarmour-lr,mindarmour-knn,salem-top3,shokri-label
"""

import argparse
import dataclasses

import numpy as np

from mindefense.attacks import Attack, NeuralAttack, NSHAttack
from mindefense.attacks.neural import NSH_TRAINING
from mindefense.attacks.registry import ATTACKS, AttackContext
from mindefense.confidence import log_softmax
from mindefense.metrics import membership_metrics
from mindefense.targets.base import Target
from mindefense.training import PUBLISHED_ATTACK
from mindefense.types import Samples

CLASSES, JUDGED, LEAD = 10, 4000, 3.0
RATIOS = ((1000, 1000), (5000, 1000), (1000, 10_000))
NAMES = (
    *("mindarmour-lr", "mindarmour-knn", "mindarmour-mlp", "mindarmour-rf"),
    *("salem-top3", "shokri-label", "stacked", "nn", "nsh"),
)


def drawn(seed: int, count: int, lead: float) -> Samples:
    """Rows that carry their own logits: noise, and on average `lead` more for the true class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=count)
    logits = rng.normal(0, 1, (count, CLASSES))
    logits[np.arange(count), labels] += lead + rng.normal(0, 1.5, count)
    return Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(count))


def made(name: str, epochs: int) -> Attack:
    """The attacker of this name, as an evaluation has it but for the epochs of networks."""
    if name == "nn":
        return NeuralAttack(dataclasses.replace(PUBLISHED_ATTACK, epochs=epochs, seed=3))
    if name == "nsh":
        return NSHAttack(dataclasses.replace(NSH_TRAINING, epochs=epochs, seed=3))
    return ATTACKS[name].make(AttackContext())


def main() -> None:
    """Fits, judges and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attacks", default=",".join(NAMES), help="attackers, by commas (default: all classifiers)")
    parser.add_argument("--null", action="store_true", help="members are drawn like non-members")
    parser.add_argument("--epochs", type=int, default=40, help="epochs of nn and nsh (default: 40)")
    args = parser.parse_args()
    lead = LEAD if args.null else LEAD + 1.55
    is_member = np.arange(2 * JUDGED) < JUDGED
    judged = (drawn(1, JUDGED, lead), drawn(2, JUDGED, LEAD))
    print("| attacker | members : non-members | at 0.5 | at its threshold | AUC |\n|---|---|---|---|---|")
    for name in args.attacks.split(","):
        for members, non_members in RATIOS:
            target = Target(log_softmax)
            attack = made(name, args.epochs)
            attack.fit(target, drawn(3, members, lead), drawn(4, non_members, LEAD))
            scores = np.concatenate([attack.score(target, samples) for samples in judged])
            at_half, at_its = (membership_metrics(scores, is_member, threshold=cut) for cut in (0.5, attack.threshold_))
            figures = (at_half.balanced_accuracy, at_its.balanced_accuracy, at_its.auc)
            ratio = f"{members:,} : {non_members:,}"
            print(f"| `{name}` | {ratio} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
