"""What attackers find of published confidence vectors: the released ones of DefenMI, and those of a run of MemGuard.

A folder holds both files of vectors (`golden/`) and Location (`location/`), whose rows in the published order give the
true classes. Every attacker is fitted anew on each division of the rows, and behind the defense as one that knows it.

    python benchmarks/published.py --data_path DIR --seeds 5 --fit_share 0.5
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path

import numpy as np

from mindefense import evaluate_outputs, load_outputs
from mindefense.data import load_location

FILES = {
    "defenmi_location_released.npz": ("undefended", "behind DefenMI"),
    "memguard_location_even_rows.npz": ("undefended, every second row", "behind MemGuard, every second row"),
}


def labels_of(folder: Path, rows: int) -> np.ndarray:
    """The true classes of the members and non-members whose vectors are published; of all, or every second one."""
    data = load_location(folder / "location")
    assert data.order is not None, "shuffle_index.npy belongs beside the data"
    return data.labels[data.order[np.r_[0:1000, 2000:3000]]][:: 2000 // rows]


def main() -> None:
    """Prints a table: `stacked`, and the best of the others, mean over the divisions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--fit_share", type=float, default=0.5)
    args = parser.parse_args()
    print("| vectors | stacked | best of the others | which |\n|---|---|---|---|")
    for name, states in FILES.items():
        found = [_measured(args.data_path, name, seed, args.fit_share) for seed in range(args.seeds)]
        for defended, state in enumerate(states):
            means = {
                key: float(np.mean([areas[key] for areas in found])) for key in found[0] if key[1] == bool(defended)
            }
            stacked = max(value for key, value in means.items() if key[0] == "stacked")
            best = max((key for key in means if key[0] != "stacked"), key=lambda key: means[key])
            print(f"| {state} | {stacked:.3f} | {means[best]:.3f} | {best[0]} ({best[2]}) |", flush=True)


def _measured(folder: Path, name: str, seed: int, fit_share: float) -> dict[tuple[str, bool, str], float]:
    with np.load(folder / "golden" / name) as published:
        arrays = {key: published[key] for key in ("clean_probs", "defended_probs", "is_member")}
    with tempfile.TemporaryDirectory() as folder_of_outputs, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder_of_outputs) / "outputs.npz"
        np.savez(
            path,
            probs=arrays["clean_probs"],
            defended_probs=arrays["defended_probs"],
            is_member=arrays["is_member"],
            labels=labels_of(folder, len(arrays["is_member"])),
        )
        results = evaluate_outputs(load_outputs(path), seed=seed, fit_share=fit_share).attacks
    return {(one.name, one.defended, one.adversary): one.metrics.two_sided_auc for one in results}


if __name__ == "__main__":
    main()
