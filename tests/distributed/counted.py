"""Runs a command of mindefense; every rank writes how many rows each network answered on it.

The first argument is the folder for these counts: a file RANK.json with the rows by the name of the network.
"""

import atexit
import collections
import json
import os
import sys
from pathlib import Path

from mindefense.cli import main
from mindefense.study.shared import SharedWork

ANSWERED = collections.Counter()
FORWARD = SharedWork.forward


def counting(work, settings, arrays):
    """The job of `SharedWork.forward`, with a count."""
    logits = FORWARD(work, settings, arrays)
    ANSWERED[settings["role"]] += len(logits)
    return logits


def write(folder):
    """Writes the counts of this process, which may be msrun's scheduler."""
    if os.environ["MS_ROLE"] == "MS_WORKER":
        Path(folder, f"{os.environ['RANK_ID']}.json").write_text(json.dumps(ANSWERED), encoding="utf-8")


if __name__ == "__main__":
    SharedWork.forward = counting
    atexit.register(write, sys.argv.pop(1))
    sys.exit(main())
