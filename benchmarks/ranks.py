"""What of an evaluation is shared by many ranks, and what is not?

Evaluates a trained study in one process, with a watch on everything that ranks would share, and prints the seconds of
each part and what they come to on 1 … 64 ranks. The latter is derived, not measured: each question to a network goes by
its number of batches, of which a rank takes whole ones, each reshaping by its rows; nothing is added for what travels,
and ranks are taken to be as fast as this process, each with a device and CPU cores of its own.

python benchmarks/ranks.py --study runs/location
"""

import argparse
import math
import sys
import time
from typing import Any, cast

import numpy as np

from mindefense.evaluation.config import EvaluationConfig
from mindefense.ranks import Job, ProcessGroup, part_of
from mindefense.runtime import use_device
from mindefense.study import Study, shared

RANKS = (1, 2, 3, 4, 8, 16, 32, 64)


class OneRank:
    """A group of one rank, which does all jobs in this process and notes what there was to share.

    Attributes:
        asked: Seconds and batches of each question to a network.
        of_bank: Rows of each question to a shadow model of a bank.
        reshaped: Seconds and rows of each reshaping.
    """

    rank, size, leads, on_this_host = 0, 1, True, 1

    def __init__(self, batch: int):
        """Without notes yet, for questions of so many rows per batch."""
        self._batch = batch
        self.asked: list[tuple[float, int]] = []
        self.of_bank: list[int] = []
        self.reshaped: list[tuple[float, int]] = []

    def lead(self, job: str, settings: Any = None, arrays: Any = None, *, here: Job) -> np.ndarray | None:
        """Does a job."""
        began = time.perf_counter()
        found = here(settings or {}, arrays or {})
        taken = time.perf_counter() - began
        if job == "forward":
            rows = len(arrays["samples"])
            self.asked.append((taken, math.ceil(rows / self._batch)))
            if settings["role"].startswith("shadows/"):
                self.of_bank.append(rows)
        elif job == "reshape":
            self.reshaped.append((taken, len(arrays["clean_probs"])))
        return found


def watched(study: Study) -> OneRank:
    """Has everything done by one rank that ranks would share; compiles the network before anything is timed."""
    preset = study.preset
    crew = OneRank(preset.query_batch)
    work = shared.SharedWork(cast(ProcessGroup, crew), preset, study.data.num_classes, amp="O0")
    work.network("to compile", preset.build(0)).forward(study.data.features[:1], noise=None, on_rows=None)
    crew.asked.clear()
    study._parts.shared = work
    return crew


def asking(calls: list[tuple[float, int]], ranks: int) -> float:
    """Seconds of the rank with the most batches."""
    return sum(seconds * math.ceil(batches / ranks) / batches for seconds, batches in calls)


def reshaping(calls: list[tuple[float, int]], ranks: int) -> float:
    """Seconds of the rank with the most rows."""
    most = [(seconds, rows, math.ceil(math.ceil(rows / shared.FEW) / ranks) * shared.FEW) for seconds, rows in calls]
    return sum(seconds * min(1, its_rows / rows) for seconds, rows, its_rows in most)


def print_bank(rows: list[int], models: int, batch: int) -> None:
    """What the busiest rank does for a bank: models that it trains, and rows that it asks in all questions."""
    print("| ranks | models trained by the busiest rank | rows asked by the busiest rank |")
    print("|---|---|---|")
    for ranks in RANKS:
        parts = [[part_of(n, rank=rank, size=ranks, block=batch) for n in rows] for rank in range(ranks)]
        most = max(sum(part.stop - part.start for part in its_parts) for its_parts in parts)
        print(f"| {ranks} | {math.ceil(models / ranks)} | {most:,} |")


def main() -> int:
    """Evaluates and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", required=True, metavar="DIR", help="folder of a study that is trained and defended")
    parser.add_argument("--attacks", metavar="A,B", help="attackers (default: all)")
    args = parser.parse_args()
    use_device("CPU")
    study = Study(None, args.study)
    crew = watched(study)
    began = time.perf_counter()
    study.evaluate(EvaluationConfig(attacks=tuple(args.attacks.split(",")) if args.attacks else None))
    total = time.perf_counter() - began
    asked, reshaped = (sum(seconds for seconds, _ in calls) for calls in (crew.asked, crew.reshaped))
    rest = total - asked - reshaped
    batches = sum(batches for _, batches in crew.asked)
    rows = sum(rows for _, rows in crew.reshaped)
    print(f"in all {total:.1f} s: asking networks {asked:.1f} s ({len(crew.asked)} times, {batches} batches),")
    print(f"reshaping {reshaped:.1f} s ({len(crew.reshaped)} times, {rows} rows), all else {rest:.1f} s")
    for name, seconds in sorted(study.timings.items(), key=lambda item: -item[1]):
        if name.startswith("attack ") and seconds > 0.01 * total:
            print(f"  {name}: {seconds:.1f} s")
    print("| ranks | batches of the busiest rank | asking | reshaping | all else | in all | of one rank |")
    print("|---|---|---|---|---|---|---|")
    for ranks in RANKS:
        most = sum(math.ceil(batches / ranks) for _, batches in crew.asked)
        parts = asking(crew.asked, ranks), reshaping(crew.reshaped, ranks), rest
        figures = " | ".join(f"{seconds:.1f} s" for seconds in (*parts, sum(parts)))
        print(f"| {ranks} | {most} | {figures} | {sum(parts) / total:.0%} |")
    if crew.of_bank:
        print_bank(crew.of_bank, study.bank.count("online") + study.bank.count("offline"), study.preset.query_batch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
