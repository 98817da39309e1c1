"""Runs jobs to their end."""

import subprocess

import pytest
from launcher import Ended, command, environment, said_by


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """Runs a script on so many ranks to its end."""

    def run(workers, script, *arguments):
        logs = tmp_path_factory.mktemp("logs")
        ended = subprocess.run(
            command(workers, logs, script, *arguments),
            capture_output=True,
            text=True,
            env=environment(),
            cwd=logs,
            timeout=300,
        )
        return Ended(ended.returncode, [said_by(logs, rank) for rank in range(workers)])

    return run
