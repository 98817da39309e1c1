"""What attackers find of leaks whose best attack is known: AUCs beside that of the likelihood ratio.

Recorded outputs of 1,000 members and 1,000 non-members in ten classes. Logits are normal, that of the true class is
higher by 3, and members differ in one thing: the logit of the class after the true one (``next``), the correlation of
the two classes after it (``correlation``), the sign of that shift by class (``sign``), the correlation of two fixed
classes (``pair``), or nothing (``null``). An attacker sees log-probabilities, so the ratio is that of the densities of
the logits less their mean.

    python benchmarks/attackers.py --seeds 3
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from scipy.linalg import null_space

from mindefense import evaluate_outputs, load_outputs
from mindefense.metrics import auc

KINDS = ("next", "correlation", "sign", "pair", "null")
CLASSES, SPREAD, LEAD = 10, 1.5, 3.0
SHIFT, CORRELATION = {"next": 1.9, "sign": 1.45}, 0.9


def drawn(kind: str, seed: int, rows: int = 1000) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Logits, labels, who is a member, and the logarithm of the likelihood ratio of each row."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(0, CLASSES, 2 * rows), np.arange(2 * rows) < rows
    plain = rng.normal(0, SPREAD, (2 * rows, CLASSES))
    logits, ratios = plain.copy(), np.empty(2 * rows)
    contrasts = null_space(np.ones((1, CLASSES))).T
    for label in range(CLASSES):
        mix, shift = _member(kind, label)
        of_label = labels == label
        hit = of_label & is_member
        logits[hit] = plain[hit] @ mix.T + shift
        ratios[of_label] = _log_density(logits[of_label], contrasts, mix, shift) - _log_density(
            logits[of_label], contrasts, np.eye(CLASSES), np.zeros(CLASSES)
        )
    logits[np.arange(2 * rows), labels] += LEAD
    return logits, labels, is_member, ratios


def _member(kind: str, label: int) -> tuple[np.ndarray, np.ndarray]:
    """How the logits of members of a class come about: a matrix on plain ones, and a shift."""
    mix, shift = np.eye(CLASSES), np.zeros(CLASSES)
    following = (label + 1) % CLASSES
    if kind in SHIFT:
        sign = 1 if kind == "next" else np.random.default_rng(99).choice([-1, 1], CLASSES)[label]
        shift[following] = sign * SHIFT[kind]
    elif kind in ("correlation", "pair"):
        one, other = (following, (label + 2) % CLASSES) if kind == "correlation" else (7, 3)
        mix[other, one], mix[other, other] = CORRELATION, np.sqrt(1 - CORRELATION**2)
    return mix, shift


def _log_density(logits: np.ndarray, contrasts: np.ndarray, mix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    covariance = SPREAD**2 * contrasts @ mix @ mix.T @ contrasts.T
    away = (logits - shift) @ contrasts.T
    return -(away * np.linalg.solve(covariance, away.T).T).sum(axis=1) / 2 - np.linalg.slogdet(covariance)[1] / 2


def main() -> None:
    """Prints a table: the likelihood ratio, `stacked`, and the best of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    print("| leak | likelihood ratio | stacked | best of the others | which | seconds of stacked |")
    print("|---|---|---|---|---|---|")
    for kind in KINDS:
        found = [_measured(kind, seed) for seed in range(args.seeds)]
        names = found[0][1].keys() - {"stacked"}
        means = {name: float(np.mean([areas[name] for _, areas, _ in found])) for name in (*names, "stacked")}
        best = max(names, key=lambda name: abs(means[name] - 0.5))
        cells = (kind, np.mean([one[0] for one in found]), means["stacked"], means[best], best)
        seconds = np.mean([one[2] for one in found])
        print("| {} | {:.3f} | {:.3f} | {:.3f} | {} | ".format(*cells) + f"{seconds:.2f} |", flush=True)


def _measured(kind: str, seed: int) -> tuple[float, dict[str, float], float]:
    """AUC of the likelihood ratio, of every attacker, and the seconds that `stacked` took."""
    logits, labels, is_member, ratios = drawn(kind, seed)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "outputs.npz"
        np.savez(path, logits=logits.astype(np.float32), labels=labels, is_member=is_member)
        found = evaluate_outputs(load_outputs(path), seed=seed, timed=lambda stage: _Timed(stage, seconds))
    areas = {result.name: result.metrics.auc for result in found.attacks}
    return auc(ratios, is_member) if kind != "null" else 0.5, areas, seconds["attack stacked"]


class _Timed:
    def __init__(self, stage: str, seconds: dict[str, float]):
        self._stage, self._seconds = stage, seconds

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds[self._stage] = time.perf_counter() - self._began


if __name__ == "__main__":
    main()
