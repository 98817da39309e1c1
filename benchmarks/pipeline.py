"""Where does the time of the whole example go?

Runs `examples/location_defense.py` in a fresh process and prints its stages by their share.

python benchmarks/pipeline.py --data_path data/location
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "examples" / "location_defense.py"


def stolen_seconds() -> float:
    """CPU seconds that a virtual machine's host has given to others since boot; 0 where that is not told."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return 0.0


def main() -> None:
    """Runs the example and prints its timings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_path", metavar="PATH", help="Location (default: synthetic rows)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, str(EXAMPLE), "--out", out]
        command += ["--data_path", args.data_path] if args.data_path else []
        began, stolen = time.perf_counter(), stolen_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        whole, stolen = time.perf_counter() - began, stolen_seconds() - stolen
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        timings = json.loads((Path(out) / "results.json").read_text(encoding="utf-8"))["timings"]
    stages = {name: seconds for name, seconds in timings.items() if name not in ("total", "evaluate")}
    for name, seconds in sorted(stages.items(), key=lambda item: -item[1]):
        print(f"{name:<24} {seconds:7.1f} s  {seconds / whole:5.1%}")
    print(f"{'start, files, the rest':<24} {whole - sum(stages.values()):7.1f} s")
    print(f"{'whole process':<24} {whole:7.1f} s, {used.ru_utime + used.ru_stime:.0f} CPU seconds")
    if stolen > 0.02 * whole:
        print(f"the machine was not idle: its host kept {stolen:.0f} CPU seconds for others meanwhile")


if __name__ == "__main__":
    main()
