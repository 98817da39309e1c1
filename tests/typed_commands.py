"""The command line as a user types it, and the study that it describes."""

import subprocess
import sys


def command(*arguments, **options):
    """Runs the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "mindefense", *map(str, arguments)], capture_output=True, text=True, **options
    )


def study_config():
    from mindefense.study import StudyConfig

    return StudyConfig
