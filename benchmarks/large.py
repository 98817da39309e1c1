"""How long do a million confidence vectors take, and how much memory?

Makes N rows of 100 classes on the disk, in chunks, and reshapes them with DefenMI as `mindefense defend --outputs`
does. Every N runs in a process of its own, so that its peak memory is its own. Prints one line a case: seconds to check
and to reshape, rows a second, CPU seconds of all processes (and those of a row against the smallest N's, since other
work on the machine makes seconds longer), and peak memory over what the process had when Python, MindSpore and the
defense were loaded and no row was read: of the process itself, and of all processes together (each of the others brings
a Python interpreter of its own).

python benchmarks/large.py                            N = 10,000, 100,000 and 1,000,000
python benchmarks/large.py --rows 10000 --compressed  one N, from a compressed npz file
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from reshape import random_case

from mindefense.confidence import softmax

ROWS = (10_000, 100_000, 1_000_000)
MADE_AT_A_TIME = 20_000


def write_vectors(path: Path, rows: int, classes: int, *, compressed: bool = False) -> None:
    """An npz file with probs and noised_logits like those of `random_case`, without ever holding all rows."""
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind, compresslevel=1) as archive:
        for name in ("probs", "noised_logits"):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                header = {"descr": "<f4", "fortran_order": False, "shape": (rows, classes)}
                np.lib.format.write_array_header_1_0(stream, header)
                for first in range(0, rows, MADE_AT_A_TIME):
                    rng = np.random.default_rng((0, first))
                    shape = (min(MADE_AT_A_TIME, rows - first), classes)
                    logits = rng.standard_normal(shape, np.float32) * rng.uniform(1, 4, (shape[0], 1))
                    noised = logits + rng.laplace(0, 0.3, shape)
                    block = softmax(logits) if name == "probs" else noised.astype(np.float32)
                    stream.write(block.tobytes())


def resident(process: psutil.Process, field: str) -> int:
    """A figure of the kernel's on a process's resident memory, in bytes; 0 of one that has ended."""
    with contextlib.suppress(OSError):
        found = re.search(rf"{field}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        return int(found.group(1)) * 1024 if found else 0
    return 0


@contextlib.contextmanager
def watched(peaks: dict[str, float]) -> Iterator[None]:
    """Keeps CPU seconds, and peak memory of this process and of it and its children, looked at ten times a second."""
    me, ended = psutil.Process(), threading.Event()
    before = sum(me.cpu_times()[:2])

    def look() -> None:
        while not ended.wait(0.1):
            sizes = [resident(process, "VmRSS") for process in (me, *me.children(recursive=True))]
            peaks["all"] = max(peaks.get("all", 0), sum(sizes))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        peaks["cpu"] = sum(sum(process.cpu_times()[:2]) for process in (me, *me.children(recursive=True))) - before
        peaks["parent"] = resident(me, "VmHWM")  # the kernel's own peak, between two looks too


def run_case(path: Path, out: Path, classes: int) -> dict[str, float]:
    """Seconds and bytes of one file, in this process."""
    from mindefense.data.vectors import open_vectors
    from mindefense.defenses import DefenderClassifier, DefenMI
    from mindefense.defenses.bulk import defend_vectors

    reshaper, _, _ = random_case(classes, 2000)
    assert reshaper.class_means is not None
    defense = DefenMI(DefenderClassifier.from_weights(reshaper.layers), reshaper.class_means)
    vectors = open_vectors(path)
    own, peaks, began = resident(psutil.Process(), "VmRSS"), {}, time.perf_counter()
    with watched(peaks):
        sha256 = vectors.check(noised=True)
        checked = time.perf_counter()
        tally = defend_vectors(vectors, defense, out, sha256=sha256)
    return {
        "check": checked - began,
        "defend": time.perf_counter() - checked,
        "mean_l1": tally.mean_l1,
        "labels_changed": tally.labels_changed,
        "own": own,
        **peaks,
    }


def main() -> None:
    """Runs the cases, the smallest first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, metavar="N", help="numbers of rows")
    parser.add_argument("--classes", type=int, default=100, metavar="C", help="number of classes (default: 100)")
    parser.add_argument("--compressed", action="store_true", help="read from a compressed npz file")
    parser.add_argument("--run", nargs=2, metavar=("FILE", "DIR"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(json.dumps(run_case(Path(args.run[0]), Path(args.run[1]), args.classes)))
        return
    first = None
    for rows in sorted(args.rows):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "big.npz"
            write_vectors(path, rows, args.classes, compressed=args.compressed)
            again = [sys.executable, __file__, "--classes", str(args.classes), "--run", str(path), folder]
            ended = subprocess.run(again, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(ended.stdout.splitlines()[-1])
        each = found["cpu"] / rows
        first = first or each
        print(
            f"{rows:>9,} rows x {args.classes} classes  "
            f"check {found['check']:6.2f} s  defend {found['defend']:8.1f} s  "
            f"{rows / found['defend']:6.0f} rows/s  {found['cpu']:7.1f} CPU s, {each / first:4.2f} of the first's  "
            f"peak over {found['own'] / 2**20:.0f} MiB: {(found['parent'] - found['own']) / 2**20:.0f} MiB, with all "
            f"processes {(found['all'] - found['own']) / 2**20:.0f} MiB  mean L1 {found['mean_l1']:.4f}, "
            f"labels changed {found['labels_changed']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
