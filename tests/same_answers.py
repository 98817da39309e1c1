"""Whether this version gives the same answers as another: every figure, of studies of each kind with fixed seeds.

    python tests/same_answers.py record FOLDER      # with the one version
    python tests/same_answers.py compare FOLDER     # with the other

Figures depend on the machine's libraries in their last digits, so both have to run on the same one. With
``MINDEFENSE_DATA`` Location is real; without it, and for images, the data are made up. What is compared: results.json,
comparison.json, records.csv and attacks.csv, defended vectors and keyed noise, answers of the exported graph. Times,
the time of day, versions, and the versions of schemas are left out.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LEFT_OUT = {"timings", "versions", "schema_version", "evidence", "data_path"}
SMALL_VGG = (
    "run --smoke --model vgg16 --image_size 32 --width_multiplier 0.0625 --members 60 --augment --num_samples 40 "
    "--epochs 2 --batch_size 20 --defense defenmi"
)


def main() -> int:
    """Records, or compares and tells what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = everything(Path(folder))
    path = args.folder / "answers.json"
    if args.what == "record":
        args.folder.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1, sort_keys=True))
        print(f"{sum(map(leaves, found.values())):,} figures of {len(found)} files in {path}")
        return 0
    before = json.loads(path.read_text())
    found = json.loads(json.dumps(found))
    differing = list(differences(before, found))
    for line in differing[:50]:
        print(line)
    print(f"{sum(map(leaves, before.values())):,} figures of {len(before)} files: {len(differing)} differ")
    return bool(differing)


def everything(folder: Path) -> dict[str, Any]:
    """All figures, by file."""
    found: dict[str, Any] = {}
    small = folder / "small"
    command(f"run --smoke --out {small}")
    command(f"export --out {small}")
    found |= files(small, "made-up Location") | exported(small)
    command(f"evaluate --out {small} --noise fresh --attacks max-confidence,averaging-8")
    found |= files(small, "fresh noise", only=("results.json",))
    defenses = "defenmi,memguard=0.3,rounding=1,laplace=0.1"
    command(f"compare --out {small} --defenses {defenses} --training early-stopping=0.9")
    found |= files(small, "comparison", only=("comparison.json", "comparison.csv"))
    command(f"{SMALL_VGG} --out {folder / 'images'}")
    found |= files(folder / "images", "VGG16")
    recorded(folder / "recorded.npz", small / "defended.npz")
    command(f"evaluate --outputs {folder / 'recorded.npz'} --out {folder / 'recorded'}")
    found |= files(folder / "recorded", "recorded outputs")
    if data := os.environ.get("MINDEFENSE_DATA"):
        real = folder / "real"
        command(f"run --data_path {data}/location --epochs 40 --out {real}")
        found |= files(real, "real Location")
    return found


def command(line: str) -> None:
    """Runs mindefense in this process; what it says is shown if it fails."""
    from mindefense import cli

    print(f"mindefense {line}", file=sys.stderr, flush=True)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = cli.main(line.split())
    if code:
        raise SystemExit(f"{said.getvalue()}\nexit code {code}")


def files(folder: Path, study: str, *, only: tuple[str, ...] = ()) -> dict[str, Any]:
    """What the files of a study hold."""
    names = only or ("results.json", "records.csv", "attacks.csv", "defended.npz")
    found: dict[str, Any] = {}
    for path in (folder / name for name in names):
        if not path.is_file():
            continue
        if path.suffix == ".json":
            held = {name: value for name, value in json.loads(path.read_text()).items() if name not in LEFT_OUT}
            held["settings"] = {name: value for name, value in held["settings"].items() if name not in LEFT_OUT}
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                held = {name: digest(value) for name, value in arrays.items()}
        else:
            held = path.read_text().splitlines()
        found[f"{study}: {path.name}"] = held
    return found


def exported(folder: Path) -> dict[str, Any]:
    """What the exported graph and keyed noise say of some inputs."""
    from mindefense.keyed_noise import KeyedNoise
    from mindefense.serving import GuardedModel

    inputs = (np.random.default_rng(0).random((8, 446)) < 0.1).astype(np.float32)
    noise = KeyedNoise(bytes(32), 0.1)(inputs)
    guarded = GuardedModel.load(folder / "guarded.mindir", key=bytes(32))
    return {"exported graph": {"noise": digest(noise), "answers": digest(guarded.query(inputs))}}


def recorded(path: Path, defended: Path) -> None:
    """Outputs as another framework would have recorded them, with defended ones beside."""
    with np.load(defended) as held:
        np.savez(
            path,
            probs=held["clean_probs"],
            defended_probs=held["defended_probs"],
            labels=held["labels"],
            is_member=held["is_member"],
        )


def digest(array: np.ndarray) -> str:
    """Type, shape and bytes of an array as one word."""
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def leaves(value: Any) -> int:
    """Values that hold no others."""
    if isinstance(value, dict | list):
        return sum(map(leaves, value.values() if isinstance(value, dict) else value))
    return 1


def differences(before: Any, after: Any, at: str = ""):
    """Where two trees of values differ, a line each."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            if name not in before or name not in after:
                yield f"{at}/{name}: only {'before' if name in before else 'after'}"
            else:
                yield from differences(before[name], after[name], f"{at}/{name}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{at}/{number}")
    elif before != after:
        yield f"{at}: {str(before)[:200]} → {str(after)[:200]}"


if __name__ == "__main__":
    sys.exit(main())
