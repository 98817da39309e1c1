"""A user-defined defense: evaluated with attackers that do not know of it and attackers that do, saved and exported.

python examples/your_defense.py

The target is a small network on made-up rows, so this runs anywhere; examples/your_model.py evaluates your own model.
"""

import argparse
from pathlib import Path

import numpy as np

from mindefense import (
    MLP,
    Defense,
    GuardedModel,
    TrainConfig,
    evaluate,
    export_guarded,
    load_defense,
    make_location_like,
    published_split,
    save_evaluation,
    train_classifier,
)

QUICK = TrainConfig(epochs=60, learning_rate=0.1, decay_every=None)
ATTACKS = ("confidence", "max-confidence", "mindarmour-lr", "shokri-label")


class Flatten(Defense):
    """Mixes every confidence vector with the uniform vector.

    Args:
        share: Share of the uniform vector, from 0 to 1.
    """

    name = "flatten"

    def __init__(self, share: float):
        """Stores the share."""
        super().__init__()
        self.share = share

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """Mixes each vector with the uniform one."""
        return (1 - self.share) * probs + self.share / probs.shape[1]

    def settings(self) -> dict[str, float]:
        """The arguments of ``__init__``, for the file."""
        return {"share": self.share}


def parse_args() -> argparse.Namespace:
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/your_defense", metavar="DIR", help="folder for the files")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    return parser.parse_args()


def main() -> None:
    """Trains a target, attacks it without the defense and behind it; saves, loads and exports the defense."""
    args = parse_args()
    out = Path(args.out)
    data = make_location_like(args.seed)
    split = published_split(data)
    known = data.take(split.target_members)
    net = MLP((known.features.shape[1], 128, data.num_classes), seed=args.seed)
    train_classifier(net, known.features, known.labels, QUICK)

    defense = Flatten(0.7)
    found = evaluate(net, data, split, attacks=ATTACKS, defense=defense, seed=args.seed)
    for result in found.attacks:
        state = f"behind {defense.name}, {result.adversary}" if result.defended else "undefended"
        print(f"{result.name}, {state}: balanced accuracy {result.metrics.balanced_accuracy:.3f}")
    print("These rows were made up: the figures say nothing about real data.")
    print("wrote", *save_evaluation(found, out))

    defense.save(out / "flatten.ckpt")
    again = load_defense(out / "flatten.ckpt", own=(Flatten,))
    export_guarded(net, again, out / "guarded", input_shape=known.features.shape[1:])
    log_probs = GuardedModel.load(out / "guarded").query(known.features[:5])
    print("largest confidences of the exported graph:", *np.exp(log_probs).max(axis=1).round(3))


if __name__ == "__main__":
    main()
