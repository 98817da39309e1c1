"""How long do the attack networks nn and nsh take, side by side in NumPy, compared with MindSpore?

Trains both as an evaluation does, for as many epochs as published, on made-up confidence vectors: in MindSpore one
after the other on all cores, in NumPy one after the other on one core, and in NumPy side by side, in turns. Prints the
seconds, and how many times as long MindSpore takes for both.

    python benchmarks/networks.py
    python benchmarks/networks.py --rows 2000 --epochs 20 --turns 3
"""

import argparse
import dataclasses
import os
from collections.abc import Callable, Sequence
from unittest import mock

import numpy as np
from turns import in_turns

from mindefense.attacks import NeuralAttack, NSHAttack, neural
from mindefense.attacks.neural import NetworkAttack
from mindefense.confidence import log_softmax
from mindefense.subprocesses import processes, side_by_side
from mindefense.targets.base import Target
from mindefense.types import Samples

LEAD = 3.0
"""How much higher the logit of the true class is, on average; 1 more for members."""


def drawn(seed: int, count: int, classes: int, lead: float) -> Samples:
    """Rows that carry their own logits: noise, and `lead` more for the true class."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=count)
    logits = rng.normal(0, 1, (count, classes))
    logits[np.arange(count), labels] += lead
    return Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(count))


def made(epochs: int | None) -> list[NetworkAttack]:
    """Both attackers, unfitted; None for the published number of epochs."""
    attacks: list[NetworkAttack] = [NeuralAttack(), NSHAttack()]
    for attack in attacks:
        attack.config = dataclasses.replace(attack.config, epochs=epochs or attack.config.epochs)
    return attacks


def together(attacks: Sequence[NetworkAttack], rows: tuple[Samples, Samples]) -> None:
    """Fits the attackers in processes of one core each, as `AttackRunner` does."""
    begun = [attack.fit_in_parts(Target(log_softmax), *rows) for attack in attacks]
    parts = [part for part in begun if part is not None]
    results = side_by_side((part.work for part in parts), min(len(parts), processes()) or 1)
    for part, result in zip(parts, list(results), strict=True):
        part.finish(result)


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1000, help="members and non-members together (default: 1000)")
    parser.add_argument("--classes", type=int, default=30, help="classes (default: 30)")
    parser.add_argument("--epochs", type=int, help="epochs of both (default: 400 of nn and 150 of nsh)")
    parser.add_argument("--turns", type=int, default=1, help="turns (default: 1)")
    args = parser.parse_args()
    half = args.rows // 2
    rows = drawn(0, half, args.classes, LEAD + 1), drawn(1, args.rows - half, args.classes, LEAD)
    nn, nsh = made(args.epochs)
    target = Target(log_softmax)

    def by_mindspore(attack: NetworkAttack) -> None:
        with mock.patch.object(neural, "_dense_task", return_value=None):
            attack.fit(target, *rows)

    ways: dict[str, Callable[[], object]] = {
        "nn, MindSpore": lambda: by_mindspore(nn),
        "nsh, MindSpore": lambda: by_mindspore(nsh),
        "nn, NumPy": lambda: nn.fit(target, *rows),
        "nsh, NumPy": lambda: nsh.fit(target, *rows),
        "both, NumPy side by side": lambda: together((nn, nsh), rows),
    }
    together(made(1), rows)  # starts the processes
    found = in_turns(ways, args.turns)
    both = found["nn, MindSpore"] + found["nsh, MindSpore"]
    for name, taken in found.items():
        ratio = both / taken
        print(f"{name}: {np.mean(taken):.1f} s, MindSpore takes {np.mean(ratio):.2f} times as long for both")
    print(f"{processes()} processes; load of the machine {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
