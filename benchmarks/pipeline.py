"""Where does the time of the whole example go?

Runs `examples/location_defense.py` in a fresh process and prints its stages by their share.

python benchmarks/pipeline.py --data_path data/location
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "location_defense.py"


def main() -> None:
    """Runs the example and prints its timings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", metavar="PATH", help="Location (default: synthetic rows)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(EXAMPLE), "--out", out]
        command += ["--data_path", args.data_path] if args.data_path else []
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole = time.perf_counter() - began
        timings = json.loads((Path(out) / "results.json").read_text(encoding="utf-8"))["timings"]
    stages = {name: seconds for name, seconds in timings.items() if name not in ("total", "attacks")}
    for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"{name:<24} {seconds:7.1f} s  {seconds / whole:5.1%}")
    print(f"{'start, files, the rest':<24} {whole - sum(stages.values()):7.1f} s")
    print(f"{'whole process':<24} {whole:7.1f} s")


if __name__ == "__main__":
    main()
