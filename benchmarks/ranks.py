"""What of an evaluation is shared by many ranks, and what is not?

Evaluates a trained study in one process, with a watch on everything that ranks would share, and prints the seconds of
each part and what they come to on 1 … 64 ranks. The latter is derived, not measured: each question to a network goes by
its number of batches, of which a rank takes whole ones, each reshaping by its rows; nothing is added for what travels,
and ranks are taken to be as fast as this process, each with a device and CPU cores of its own.

python benchmarks/ranks.py --study runs/location
"""

import argparse
import dataclasses
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mindefense.evaluation.config import EvaluationConfig
from mindefense.runtime import use_device
from mindefense.study import Study, shared
from mindefense.targets.cell import forward

RANKS = (1, 2, 3, 4, 8, 16, 32, 64)


@dataclasses.dataclass
class Watch:
    """A `Executor` that works in this process and notes what there was to share."""

    net: Any
    feed: dict[str, Any]
    asked: list[tuple[float, int]]
    reshaped: list[tuple[float, int]]

    def forward(self, samples: np.ndarray, *, noise: Any, on_rows: Callable[[int], None] | None) -> np.ndarray:
        """Logits, and how long they took for how many batches."""
        began = time.perf_counter()
        logits = forward(self.net, samples, noise=noise, on_rows=on_rows, **self.feed)
        self.asked.append((time.perf_counter() - began, math.ceil(len(samples) / self.feed["batch_size"])))
        return logits

    def reshape(
        self,
        defense: Any,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        draws: np.ndarray | None,
        on_progress: Callable[[int], None] | None,
    ) -> np.ndarray:
        """Reshaped vectors, and how long they took for how many rows."""
        began = time.perf_counter()
        probs = defense.reshape(clean_probs, start_logits, draws=draws, on_progress=on_progress)
        self.reshaped.append((time.perf_counter() - began, len(probs)))
        return probs


class Watched:
    """In the place of `SharedWork`: gives every network a watch."""

    def __init__(self, study: Study):
        """Watches this study's networks."""
        preset = study.preset
        self._feed = {"prepare": preset.prepare, "batch_size": preset.query_batch, "as_graph": True}
        self.asked: list[tuple[float, int]] = []
        self.reshaped: list[tuple[float, int]] = []

    def network(self, role: str, cell: Any) -> Watch:
        """A watch on this network."""
        return Watch(cell, self._feed, self.asked, self.reshaped)


def asking(calls: list[tuple[float, int]], ranks: int) -> float:
    """Seconds of the rank with the most batches."""
    return sum(seconds * math.ceil(batches / ranks) / batches for seconds, batches in calls)


def reshaping(calls: list[tuple[float, int]], ranks: int) -> float:
    """Seconds of the rank with the most rows."""
    most = [(seconds, rows, math.ceil(math.ceil(rows / shared.FEW) / ranks) * shared.FEW) for seconds, rows in calls]
    return sum(seconds * min(1, its_rows / rows) for seconds, rows, its_rows in most)


def main() -> int:
    """Evaluates and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, metavar="DIR", help="folder of a study that is trained and defended")
    parser.add_argument("--attacks", metavar="A,B", help="attackers (default: all)")
    args = parser.parse_args()
    use_device("CPU")
    study = Study(None, args.study)
    watched = Watched(study)
    study._parts.shared = watched  # type: ignore[assignment]
    began = time.perf_counter()
    study.evaluate(EvaluationConfig(attacks=tuple(args.attacks.split(",")) if args.attacks else None))
    total = time.perf_counter() - began
    asked, reshaped = (sum(seconds for seconds, _ in calls) for calls in (watched.asked, watched.reshaped))
    rest = total - asked - reshaped
    batches = sum(batches for _, batches in watched.asked)
    rows = sum(rows for _, rows in watched.reshaped)
    print(f"in all {total:.1f} s: asking networks {asked:.1f} s ({len(watched.asked)} times, {batches} batches),")
    print(f"reshaping {reshaped:.1f} s ({len(watched.reshaped)} times, {rows} rows), all else {rest:.1f} s")
    for name, seconds in sorted(study.timings.items(), key=lambda item: -item[1]):
        if name.startswith("attack ") and seconds > 0.01 * total:
            print(f"  {name}: {seconds:.1f} s")
    print("| ranks | batches of the busiest rank | asking | reshaping | all else | in all | of one rank |")
    print("|---|---|---|---|---|---|---|")
    for ranks in RANKS:
        most = sum(math.ceil(batches / ranks) for _, batches in watched.asked)
        parts = asking(watched.asked, ranks), reshaping(watched.reshaped, ranks), rest
        figures = " | ".join(f"{seconds:.1f} s" for seconds in (*parts, sum(parts)))
        print(f"| {ranks} | {most} | {figures} | {sum(parts) / total:.0%} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
