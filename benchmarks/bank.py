"""How long does a bank of shadow models take, compared with the matrix products of its steps?

Trains MLPs of Location's size, in turns: the bare products of all steps, in processes of one core each; the trainer of
banks, in as many processes; and MindSpore's epoch graph, one model after the other on all cores. Prints the seconds
per model and the ratio to the bare products.

python benchmarks/bank.py
python benchmarks/bank.py --models 64 --turns 1
"""

import argparse
import functools
import itertools
from collections.abc import Callable

import numpy as np
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits
from turns import in_turns

from mindefense.data import make_location_like
from mindefense.models.mlp import MLP, TARGET_WIDTHS
from mindefense.subprocesses import cores
from mindefense.training import TrainConfig, train_classifier
from mindefense.training.dense import DenseTask, train_side_by_side

ROWS, BATCH = 1000, 64


def bare_products(widths: tuple[int, ...], steps: int) -> None:
    """The three products of each layer and step, into arrays that are there, on one core."""
    rng = np.random.default_rng(0)
    weights = [rng.random(shape, np.float32) / 100 for shape in itertools.pairwise(widths)]
    values = [rng.random((BATCH, width), np.float32) for width in widths]
    slopes = [rng.random((BATCH, width), np.float32) for width in widths]
    changes = [np.empty_like(weight) for weight in weights]
    with threadpool_limits(1):
        for _ in range(steps):
            for level, weight in enumerate(weights):
                np.matmul(values[level], weight, out=values[level + 1])
            for level in range(len(weights) - 1, -1, -1):
                np.matmul(values[level].T, slopes[level + 1], out=changes[level])
                if level:
                    np.matmul(slopes[level + 1], weights[level].T, out=slopes[level])


def in_processes(work: Callable[[], None], count: int, jobs: int) -> None:
    """Does something `count` times, in processes of one core each."""
    with parallel_config("loky", inner_max_num_threads=1):
        Parallel(jobs)(delayed(work)() for _ in range(count))


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=4, help="models per turn (default: 4)")
    parser.add_argument("--epochs", type=int, default=50, help="epochs of each model (default: 50; Location has 200)")
    parser.add_argument("--turns", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes (default: one per core)")
    args = parser.parse_args()
    data = make_location_like(0)
    rows = data.take(np.arange(ROWS))
    widths = (rows.features.shape[1], *TARGET_WIDTHS, data.num_classes)
    config = TrainConfig(epochs=args.epochs, batch_size=BATCH)

    def side_by_side() -> None:
        tasks = (
            DenseTask(MLP(widths, seed=seed).weights(), rows.features, rows.labels, config)
            for seed in range(args.models)
        )
        list(train_side_by_side(tasks, args.jobs))

    def one_after_the_other() -> None:
        for seed in range(args.models):
            train_classifier(MLP(widths, seed=seed), rows.features, rows.labels, config, progress=False)

    bare = functools.partial(bare_products, widths, args.epochs * -(-ROWS // BATCH))
    ways = {
        "bare products": lambda: in_processes(bare, args.models, args.jobs),
        "side by side": side_by_side,
        "epoch graph": one_after_the_other,
    }
    in_processes(functools.partial(bare_products, widths, 1), args.jobs, args.jobs)  # starts the processes
    found = {name: taken / args.models for name, taken in in_turns(ways, args.turns).items()}
    for name, taken in found.items():
        ratio = taken / found["bare products"]
        print(
            f"{name}: {np.mean(taken):.2f} s per model of {args.epochs} epochs with {args.jobs} processes or threads, "
            f"{np.mean(ratio):.2f} × the bare products ({ratio.min():.2f}–{ratio.max():.2f} in {args.turns} turns)"
        )


if __name__ == "__main__":
    main()
