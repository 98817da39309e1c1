"""A user-defined attack beside attacks of the package, without a defense and behind one.

python examples/your_attack.py

The target is a small network on made-up rows, so this runs anywhere; examples/your_model.py evaluates your own model.
"""

import argparse

import numpy as np

from mindefense import (
    MLP,
    LabelOnly,
    Samples,
    ScoreAttack,
    Target,
    TrainConfig,
    evaluate,
    make_location_like,
    published_split,
    save_evaluation,
    train_classifier,
)

QUICK = TrainConfig(epochs=60, learning_rate=0.1, decay_every=None)
OTHERS = ("confidence", "mindarmour-lr", "shokri-label")


class MarginAttack(ScoreAttack):
    """The log-probability of the true class minus the largest one of the other classes."""

    name = "margin"

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """``(N,)`` float64, higher = more likely a member; `ScoreAttack` finds the threshold."""
        log_probs = target.query(samples.features).astype(np.float64)
        rows = np.arange(len(samples))
        true = log_probs[rows, samples.labels]
        log_probs[rows, samples.labels] = -np.inf
        return true - log_probs.max(axis=1)


def parse_args() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/your_attack", metavar="DIR", help="folder for the files")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    return parser.parse_args()


def main() -> None:
    """Trains a target, and runs all attacks on it without a defense and behind one that gives only labels."""
    args = parse_args()
    data = make_location_like(args.seed)
    split = published_split(data)
    known = data.take(split.target_members)
    net = MLP((known.features.shape[1], 128, data.num_classes), seed=args.seed)
    train_classifier(net, known.features, known.labels, QUICK)

    own = {"margin": MarginAttack}
    found = evaluate(net, data, split, attacks=OTHERS, own_attacks=own, defense=LabelOnly(), seed=args.seed)
    for result in found.attacks:
        state = f"behind labels alone, {result.adversary}" if result.defended else "undefended"
        print(f"{result.name}, {state}: AUC {result.metrics.auc:.3f}")
    print("These rows were made up: the figures say nothing about real data.")
    print("wrote", *save_evaluation(found, args.out))


if __name__ == "__main__":
    main()
