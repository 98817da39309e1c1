"""What does a defense cost whoever asks, and what does a budget for its search?

Exports the bare target and the target behind each defense, loads the graphs as a server does, and asks them in turns:
milliseconds of one query, queries a second in batches of 64, each also as a multiple of the bare target's, and where
the time goes. "driver" is the same answer without a graph, by `DefendedModel.respond`.

python benchmarks/serving.py                               a random model of Location's shape
python benchmarks/serving.py --study runs/location         the target and the defender of a study
python benchmarks/serving.py --study runs/location --dynamic
                                                           graphs of fixed and of dynamic batch, in place of the above
python benchmarks/serving.py --study runs/location --budgets
                                                           passes of the search for each of the evaluation's rows, and
                                                           what budgets for them change, in place of times
"""

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import mindspore as ms
import numpy as np
from mindspore import nn
from reshape import random_case

from mindefense.checkpoint import load_into
from mindefense.confidence import softmax
from mindefense.defenses import (
    ClassMean,
    DefendedModel,
    DefenderClassifier,
    DefenMI,
    DefenMIConfig,
    Defense,
    MemGuard,
    MemGuardConfig,
    class_mean_probs,
)
from mindefense.keyed_noise import KeyedNoise
from mindefense.metrics import auc
from mindefense.models import MLP
from mindefense.runtime import compiled, use_device
from mindefense.serving import GuardedModel, Manifest, export_guarded
from mindefense.study import Study
from mindefense.targets.cell import forward

WIDTHS = (446, 1024, 512, 256, 128, 30)
KEY = b"a benchmark has no secrets at all"[:32]
BATCH = 64
BUDGETS = (20, 50, 100, 150, 200, 300, 500, 1000, None)
"""For ``--budgets``; None is what the published program allows."""
Ask = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A target, what its defenses are made of, and what it is asked.

    Attributes:
        net: The target.
        classifier: The defender's.
        means: ``(C, C)`` reference vectors.
        queries: ``(N, F)`` float32.
        labels: ``(N,)`` true labels, if they are known.
        is_member: ``(N,)`` bool likewise.
    """

    net: nn.Cell
    classifier: DefenderClassifier
    means: np.ndarray
    queries: np.ndarray
    labels: np.ndarray | None = None
    is_member: np.ndarray | None = None

    def defenmi(self, max_steps: int | None) -> DefenMI:
        """DefenMI with a budget."""
        return DefenMI(self.classifier, self.means, DefenMIConfig(max_steps=max_steps))

    def memguard(self, max_steps: int | None) -> MemGuard:
        """MemGuard with a budget."""
        return MemGuard(self.classifier, MemGuardConfig(max_steps=max_steps))

    def defense(self, name: str, max_steps: int | None) -> DefenMI | MemGuard:
        """Either by its name."""
        return self.defenmi(max_steps) if name == "defenmi" else self.memguard(max_steps)


def random_target(count: int = 1000) -> Case:
    """A network and a classifier with random weights, and random check-ins."""
    rng = np.random.default_rng(0)
    queries = (rng.random((count, WIDTHS[0])) < 0.1).astype(np.float32)
    net = MLP(WIDTHS, seed=0).set_train(False)
    # Logits as far apart as a trained network's, and different for different queries.
    weights = net.weights()
    logits = forward(net, queries)
    last = weights[-1][0] * np.float32(2.5) / logits.std(axis=0)
    net.load_weights([*weights[:-1], (last, -logits.mean(axis=0) * np.float32(2.5) / logits.std(axis=0))])
    logits = forward(net, queries)
    layers = list(random_case(WIDTHS[-1], count)[0].layers)
    hidden = np.sort(softmax(logits), axis=1)
    for weight, bias in layers[:-1]:
        hidden = np.maximum(hidden @ weight + bias, 0)
    layers[-1] = (layers[-1][0], -np.median(hidden @ layers[-1][0], axis=0))  # calls every other one a member
    return Case(net, DefenderClassifier.from_weights(layers), class_mean_probs(logits), queries)


def trained_target(study: Study) -> Case:
    """What a study has trained, and the rows that it judges by, in no order."""
    net = study.preset.build(0).set_train(False)
    load_into(net, study.checkpoint("target"))
    known, judged = study.rows("defender"), study.rows("eval")
    means = class_mean_probs(forward(net, known.features(), prepare=study.preset.prepare))
    order = np.random.default_rng(0).permutation(len(judged.features()))
    labels = np.concatenate((judged.members.labels, judged.non_members.labels))
    features = judged.features()[order].astype(np.float32)
    return Case(net, study.defender(), means, features, labels[order], judged.is_member()[order])


# ------------------------------------------------------------------------------------------------------------ budgets


def print_budgets(case: Case) -> None:
    """Passes a row, and what a budget for them does to answers and simple attackers."""
    labels, is_member = case.labels, case.is_member
    assert labels is not None
    assert is_member is not None
    clean = forward(case.net, case.queries)
    clean_probs = softmax(clean)
    row = np.arange(len(clean))

    def attacked(probs: np.ndarray) -> str:
        highest, own = auc(probs.max(axis=1), is_member), auc(probs[row, labels], is_member)
        return f"{np.abs(probs - clean_probs).sum(axis=1).mean():.4f} | {highest:.4f} | {own:.4f} |"

    print("| defense | budget | passes: mean, median, 95%, 99%, most | rounds complete | fallback | members among | "
          "mean L1 | AUC max-confidence | AUC confidence of the true label |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|")
    print(f"| none | – | – | – | – | – | {attacked(clean_probs)}")
    in_vain = {}
    for name in ("defenmi", "memguard"):
        whole = case.defense(name, None)
        start = clean
        if whole.noise_scale:
            start = forward(case.net, case.queries, noise=KeyedNoise.of(KEY, whole.noise_scale))
        unbounded = whole.reshape_in_detail(clean_probs, start)
        failed = (unbounded.rounds >= 0) & (unbounded.rounds < whole.config.rounds)
        in_vain[name] = failed.sum() * whole.config.max_iterations / unbounded.passes.sum()
        for budget in BUDGETS:
            done = case.defense(name, budget).reshape_in_detail(clean_probs, start)
            assert (done.probs.argmax(axis=1) == clean_probs.argmax(axis=1)).all()
            without = done.rounds == 0
            spread = ", ".join(f"{passes:.0f}" for passes in np.quantile(done.passes, (0.5, 0.95, 0.99, 1)))
            among = f"{is_member[without].mean():.2f}" if without.any() else "–"
            print(
                f"| {name} | {budget or f'none ({whole.config.most_passes})'} | {done.passes.mean():.0f}, {spread} | "
                f"{(done.rounds == unbounded.rounds).mean():.2%} | {without.mean():.2%} | {among} | "
                f"{attacked(done.probs)}",
                flush=True,
            )
            if name == "memguard" and without.any():
                told = np.where(without[:, None], clean_probs, done.probs)
                print(f"| if it told the clean vector | {budget} | – | – | – | – | {attacked(told)}")
    for name, share in in_vain.items():
        print(f"{name}: {share:.0%} of all passes without a budget are those of a last round that fails")


# -------------------------------------------------------------------------------------------------------------- times


def seconds(ask: Ask, queries: np.ndarray) -> float:
    """How long one question takes."""
    began = time.perf_counter()
    ask(queries)
    return time.perf_counter() - began


def in_turns(measures: dict[str, Callable[[np.ndarray], Any]], batches: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What each measures of each batch.

    In turns, since a machine is not equally fast all the time; in a new order each turn, since whoever comes after
    another's long search finds its own weights gone from the cache.
    """
    rng = np.random.default_rng(0)
    for measure in measures.values():
        measure(batches[0])
    found = {name: [] for name in measures}
    for batch in batches:
        for name in rng.permutation(list(measures)):
            found[name].append(measures[name](batch))
    return {name: np.array(values) for name, values in found.items()}


def served_by(case: Case, defense: Defense | None, batch: int | None, folder: Path) -> tuple[Path, GuardedModel]:
    """Exports a graph and loads it as a server does."""
    path = folder / f"{'bare' if defense is None else defense.name}-{batch}"
    manifest = export_guarded(case.net, defense, path, input_shape=case.queries.shape[1:], batch_size=batch)
    return path, GuardedModel.load(path, key_for(manifest))


def key_for(manifest: Manifest) -> bytes | None:
    """The key, if one is needed."""
    return KEY if manifest.is_random else None


class Served:
    """An exported model as a server has it, and each part of its answer by itself.

    Args:
        case: What it is made of.
        defense: What is in front of the target, or None.
        batch: Rows at a time.
        folder: Where the files may lie until it is loaded.
    """

    def __init__(self, case: Case, defense: Defense | None, batch: int, folder: Path):
        """Exports and loads it."""
        path, self.model = served_by(case, defense, batch, folder)
        manifest = self.model.manifest
        self.draw = KeyedNoise.of(KEY, manifest.noise_scale) if manifest.noise_scale else None
        self._graph = nn.GraphCell(ms.load(f"{path}.mindir"))
        answer = ms.Tensor(self.model.query(case.queries[:batch]))
        self._without_graph = GuardedModel(cast(nn.Cell, lambda *feeds: answer), manifest, key_for(manifest))

    def parts(self, x: np.ndarray) -> tuple[float, float, float]:
        """Seconds of the noise, of the graph, and of all the rest, which is checks and copies."""
        began = time.perf_counter()
        feeds = [x] if self.draw is None else [x, self.draw(x)]
        drawn = time.perf_counter()
        with compiled():
            self._graph(*map(ms.Tensor, feeds)).asnumpy()
        ran = time.perf_counter()
        self._without_graph.query(x)
        return drawn - began, ran - drawn, max(0.0, time.perf_counter() - ran - (drawn - began))


def in_batches(case: Case, batch: int, count: int) -> list[np.ndarray]:
    """`count` times as many rows."""
    return [case.queries[np.arange(k, k + batch) % len(case.queries)] for k in np.arange(count) * batch]


def print_asked(asks: dict[str, Ask], batches: list[np.ndarray]) -> None:
    """How long each of `asks` takes."""
    times = in_turns({name: lambda x, ask=ask: seconds(ask, x) for name, ask in asks.items()}, batches)
    bare, batch = float(np.median(times["bare"])), len(batches[0])
    print(f"\n{len(batches)} queries of {batch} row{'s' * (batch > 1)}")
    for name, taken in times.items():
        median, high, most = np.quantile(taken, (0.5, 0.95, 1))
        print(
            f"  {name:<20} median {median * 1e3:8.2f} ms  95% {high * 1e3:8.2f} ms  most {most * 1e3:8.2f} ms  "
            f"{batch / median:8.0f} rows/s  {median / bare:7.1f} x bare",
            flush=True,
        )


def print_dynamic(case: Case, batch: int, count: int) -> None:
    """Times of `count` batches, of graphs of this batch size and of any."""
    defenses = {"bare": None, "defenmi": case.defenmi(None), "defenmi@300": case.defenmi(300)}
    asks: dict[str, Ask] = {}
    for name, defense in defenses.items():
        for size, title in ((batch, name), (None, f"{name} dynamic")):
            with TemporaryDirectory() as folder:
                asks[title] = served_by(case, defense, size, Path(folder))[1].query
    print_asked(asks, in_batches(case, batch, count))


def print_times(case: Case, budgets: Sequence[int | None], batch: int, count: int) -> None:
    """Times of `count` batches."""
    defenses: dict[str, Defense | None] = {"bare": None, "class-mean": ClassMean(case.means)}
    for name in ("memguard", "defenmi"):
        for budget in budgets:
            defenses[name if budget is None else f"{name}@{budget}"] = case.defense(name, budget)
    with TemporaryDirectory() as folder:
        served = {name: Served(case, defense, batch, Path(folder)) for name, defense in defenses.items()}
    asks: dict[str, Ask] = {name: one.model.query for name, one in served.items()}
    for name, defense in defenses.items():
        if isinstance(defense, DefenMI | MemGuard):
            driven = DefendedModel(case.net, defense, key=KEY, batch_size=batch, as_graph=True)
            asks[f"driver {name}"] = driven.respond
    batches = in_batches(case, batch, count)
    print_asked(asks, batches)
    parts = in_turns({name: one.parts for name, one in served.items()}, batches[: max(5, count // 2)])
    network = float(np.median(parts["bare"][:, 1]))
    print("  where the time of a median query goes: noise, network, search, checks and copies")
    for name, one in served.items():
        noise, graph, rest = np.median(parts[name], axis=0)
        passes = network * (2 if one.draw else 1)
        shares = (noise, passes, max(0.0, graph - passes), rest)
        print(f"  {name:<20} " + "  ".join(f"{part * 1e3:7.2f} ms ({part / sum(shares):4.0%})" for part in shares))


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", metavar="DIR", help="folder of a study with target and defender (default: random)")
    parser.add_argument("--dynamic", action="store_true", help="time graphs of dynamic batch against those of fixed")
    parser.add_argument("--budgets", action="store_true", help="what budgets change, for the rows of --study")
    parser.add_argument(
        "--max_steps", type=int, nargs="*", default=[300, 150], metavar="N", help="budgets to time (default: 300 150)"
    )
    parser.add_argument("--queries", type=int, default=200, help="single queries (default: 200)")
    parser.add_argument("--batches", type=int, default=15, help=f"batches of {BATCH} (default: 15)")
    parser.add_argument("--device_target", default="auto", help="device (default: auto)")
    args = parser.parse_args()
    if args.budgets and args.study is None:
        parser.error("--budgets needs --study")
    print(f"device {use_device(args.device_target)}")
    case = random_target() if args.study is None else trained_target(Study(None, args.study))
    if args.budgets:
        print_budgets(case)
        return
    for batch, count in ((1, args.queries), (BATCH, args.batches)):
        if args.dynamic:
            print_dynamic(case, batch, count)
        else:
            print_times(case, (None, *args.max_steps), batch, count)


if __name__ == "__main__":
    main()
