"""How fast are confidence vectors reshaped, against what the machine's matrix products allow?

Prints one line a case: rows a second, steps a row, GFLOP/s, the share of the floor, and peak memory. The floor is the
time that the bare matrix products of the same steps take in NumPy, one thread a core, measured around each case in
the same process.

python benchmarks/reshape.py                          random models, C = 10, 30, 100, 1000, N up to 100,000
python benchmarks/reshape.py --golden FILE.npz        the published vectors instead
"""

import argparse
import itertools
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from threadpoolctl import threadpool_limits

from mindefense.confidence import softmax
from mindefense.defenses.driver import Reshaper, cores
from mindefense.defenses.search import SearchConfig

HIDDEN = (256, 128, 64)


def flop_per_step(classes: int) -> int:
    """One forward and one input-gradient pass of the defender's classifier for one row."""
    widths = (classes, *HIDDEN, 1)
    return 4 * sum(a * b for a, b in itertools.pairwise(widths))


def floor_gflops(classes: int, *, rows: int = 512, seconds: float = 0.5) -> float:
    """GFLOP/s of the bare products of a step, one thread a core."""
    rng = np.random.default_rng(0)
    widths = (classes, *HIDDEN, 1)
    weights = [rng.standard_normal(shape).astype(np.float32) for shape in itertools.pairwise(widths)]
    transposed = [np.ascontiguousarray(weight.T) for weight in weights]

    def products(deadline: float) -> int:
        acts = [rng.standard_normal((width, rows)).astype(np.float32) for width in widths]
        steps = 0
        while time.perf_counter() < deadline:
            for level, weight in enumerate(transposed):
                np.matmul(weight, acts[level], out=acts[level + 1])
            for level in reversed(range(len(weights))):
                np.matmul(weights[level], acts[level + 1], out=acts[level])
            for act in acts:  # keeps the numbers finite
                act /= 1 + np.abs(act).max()
            steps += rows
        return steps

    began = time.perf_counter()
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(cores()) as executor:
        steps = sum(executor.map(products, [began + seconds] * cores()))
    return steps * flop_per_step(classes) / (time.perf_counter() - began) / 1e9


def random_case(classes: int, rows: int, seed: int = 0) -> tuple[Reshaper, np.ndarray, np.ndarray]:
    """A classifier that tells sharp vectors from flat ones, and vectors of both kinds."""
    rng = np.random.default_rng(seed)
    widths = (classes, *HIDDEN, 1)
    layers = []
    for fan_in, fan_out in itertools.pairwise(widths):
        bound = np.sqrt(6 / (fan_in + fan_out))
        layers.append((rng.uniform(-bound, bound, (fan_in, fan_out)).astype(np.float32), np.zeros(fan_out, np.float32)))
    logits = rng.standard_normal((rows, classes)).astype(np.float32) * rng.uniform(1, 4, (rows, 1)).astype(np.float32)
    means = softmax(2 * np.eye(classes, dtype=np.float32) + 1)
    probs = softmax(logits)
    start = logits + rng.laplace(0, 0.3, logits.shape).astype(np.float32)
    # The bias in the middle of what comes out, so that some rows are on either side of 0.5.
    hidden = np.sort(probs[:1000], axis=1)
    for weight, bias in layers[:-1]:
        hidden = np.maximum(hidden @ weight + bias, 0)
    layers[-1][1][:] = -np.median(hidden @ layers[-1][0])
    return Reshaper(layers, SearchConfig(), means, True), probs, start


def golden_case(path: str) -> tuple[Reshaper, np.ndarray, np.ndarray]:
    """The vectors that DefenMI's authors released."""
    held = np.load(path, allow_pickle=False)
    layers = [(held[f"W{k}"], held[f"b{k}"]) for k in (1, 2, 3, 4)]
    probs = held["clean_probs"].astype(np.float32)
    predicted = probs.argmax(axis=1)
    logs = np.log(np.maximum(probs, 1e-38))
    means = np.concatenate([softmax(logs[predicted == k].mean(axis=0, keepdims=True)) for k in range(probs.shape[1])])
    return Reshaper(layers, SearchConfig(), means, False), probs, held["start_logits"].astype(np.float32)


def peak_mib() -> float:
    """Peak resident memory of this process and its worker processes so far, added up."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    peaks = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text()) for process in processes]
    return sum(int(peak.group(1)) for peak in peaks if peak) / 1024


def measure(name: str, case: tuple[Reshaper, np.ndarray, np.ndarray], repeats: int) -> None:
    """Prints the median of `repeats` warm runs, and the cold one."""
    reshaper, probs, start = case
    classes = probs.shape[1]
    before, times, steps = floor_gflops(classes), [], 0
    for _ in range(repeats + 1):
        began = time.perf_counter()
        steps = reshaper.run(probs, start).steps
        times.append(time.perf_counter() - began)
    floor = (before + floor_gflops(classes)) / 2
    warm = float(np.median(times[1:])) if repeats else times[0]
    gflops = steps * flop_per_step(classes) / warm / 1e9
    data = (2 * probs.nbytes + start.nbytes) / 2**20
    print(
        f"{name:<22} {len(probs):>7} rows  {classes:>4} classes  cold {times[0]:6.2f} s  warm {warm:6.2f} s  "
        f"{len(probs) / warm:8.0f} rows/s  {steps / len(probs):5.0f} steps/row  {gflops:5.0f} GFLOP/s  "
        f"{gflops / floor:4.0%} of the floor ({floor:.0f})  peak {peak_mib():5.0f} MiB, {data:.0f} of it data",
        flush=True,
    )


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", metavar="FILE", help="defenmi_location_released.npz")
    parser.add_argument("--repeats", type=int, default=3, help="warm runs a case (default: 3)")
    parser.add_argument("--largest", type=int, default=100_000, help="largest number of rows (default: 100000)")
    args = parser.parse_args()
    if args.golden:
        measure("published vectors", golden_case(args.golden), args.repeats)
        return
    for classes in (10, 30, 100, 1000):
        measure("random model", random_case(classes, 2000), args.repeats)
    for rows in (1000, 10_000, 100_000):
        if rows <= args.largest:
            measure("growing N", random_case(30, rows), 0)


if __name__ == "__main__":
    main()
