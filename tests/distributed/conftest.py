"""Runs jobs to their end."""

import subprocess

import pytest
from launcher import Ended, command, end, environment, said_by

WITHIN = 1200
"""Seconds for a job, which takes half a minute on two idle cores and was seen to take four minutes on busy ones."""


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """Runs a script on so many ranks to its end."""

    def run(workers, script, *arguments, within=WITHIN):
        logs = tmp_path_factory.mktemp("logs")
        argv, quiet = command(workers, logs, script, *arguments), subprocess.DEVNULL
        with subprocess.Popen(argv, env=environment(), cwd=logs, stdout=quiet, stderr=quiet) as job:
            try:
                code = job.wait(within)
            except BaseException:
                end(job)  # ranks that are left would wait for each other, and slow down whoever comes next
                raise
        return Ended(code, [said_by(logs, rank) for rank in range(workers)])

    return run
