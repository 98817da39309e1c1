"""What the command line shows, word for word: ``pytest tests/test_cli_snapshots.py --snapshot-update`` takes a new one.

Numbers on the screen of a run are not compared: they differ between machines.
"""

import re

import pytest

from mindefense import cli
from mindefense.cli.catalog import COMMANDS

MISTAKES = {
    "a command": ["evalaute"],
    "an option": ["run", "--epoch", "3"],
    "a choice": ["run", "--dataset", "locaton"],
    "an attacker": ["run", "--attacks", "gap,mindarmour-rl"],
    "a defense": ["run", "--defense", "defendmi"],
    "a gate": ["run", "--fail_above", "auc:0.6"],
    "a number": ["run", "--seed", "one"],
    "a path": ["run", "--data_path", "nowhere"],
    "a folder": ["evaluate", "--out", "nowhere"],
    "nothing": ["evaluate"],
}


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)


def said(capsys, argv):
    try:
        code = cli.main(argv)
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    return f"exit code {code}\n--- stdout\n{out}--- stderr\n{err}"


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help(name, capsys, snapshot):
    assert said(capsys, [*([name] if name else []), "--help"]) == snapshot


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name, capsys, snapshot):
    assert said(capsys, MISTAKES[name]) == snapshot


def test_screen_of_a_run(on_the_cpu, capfd, snapshot):
    """The whole of it, on made-up data."""
    assert cli.main(["demo", "--smoke", "--out", "here"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = [re.sub(r"\d+(\.\d+)?%?|(?<= )\.\d+", "0", line).strip() for line in out.splitlines()]
    table = lines[: next(k for k, line in enumerate(lines) if line.startswith("target:"))]
    kept = [
        line
        for line in lines[len(table) :]
        if line.startswith(("wrote", "report", "next", "open", "mindefense", "python"))
    ]
    assert "\n".join([re.sub(r"\s+", " ", line) for line in table] + kept) == snapshot
