"""The example: the same arguments and results as ``mindefense run``, quick help, one smoke test."""

import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mindefense.cli import build_parser

EXAMPLE = Path(__file__).parent.parent / "examples" / "location_defense.py"
FILES = {
    "study.json",
    *(f"{name}.{end}" for name in ("target", "shadow", "defender", "defense") for end in ("ckpt", "json")),
    "defended.npz",
    "results.json",
    "attacks.csv",
}


def example(*arguments, **options):
    return subprocess.run([sys.executable, EXAMPLE, *map(str, arguments)], capture_output=True, text=True, **options)


@pytest.fixture(scope="session")
def smoke(tmp_path_factory):
    """Exit code, stdout, stderr and folder of ``--smoke`` on the embedded data."""
    # tests/evaluation/conftest.py compares with the same folder, so that one run serves both.
    out = tmp_path_factory.getbasetemp() / "example" / "out"
    if not out.exists():
        run = example("--smoke", "--out", out)
        (out.parent / "run.json").write_text(json.dumps([run.returncode, run.stdout, run.stderr]))
    return *json.loads((out.parent / "run.json").read_text()), out


def test_help_comes_at_once(tmp_path):
    began = time.perf_counter()
    run = example("--help", cwd=tmp_path)
    assert time.perf_counter() - began < 1.0  # about 0.1 s on an idle machine; MindSpore alone takes 2 s
    assert run.returncode == 0
    assert "examples/location_defense.py --smoke" in run.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--data_path", "x", "--dataset", "purchase100", "--seed", "3", "--defense", "memguard", "--smoke", "--resume"],
        ["--pre_trained", "x.ckpt", "--out", "y", "--alignment", "published", "--device_target", "CPU", "--debug"],
        ["--split_config", "x.ini", "--split_section", "y", "--device_id", "1"],
    ],
)
def test_arguments_are_those_of_the_command_line(argv, monkeypatch):
    spec = importlib.util.spec_from_file_location("location_defense", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["location_defense.py", *argv])
    expected = vars(build_parser().parse_args(["run", *argv]))
    del expected["command"]
    assert vars(module.parse_args()) == expected


def test_options_are_those_of_the_command_line():
    ours = example("--help").stdout
    theirs = subprocess.run([sys.executable, "-m", "mindefense.cli", "run", "--help"], capture_output=True, text=True)
    options = set(re.findall(r"--\w+", ours[ours.index("options:") :]))
    assert options == set(re.findall(r"--\w+", theirs.stdout[theirs.stdout.index("options:") :]))
    assert len(options) > 10


def test_mistake_is_one_line(tmp_path):
    for argv, words in ((["--data_path", "nowhere"], ["nowhere", "spelling"]), (["--seed", "x"], ["--seed", "'x'"])):
        run = example(*argv, cwd=tmp_path)
        assert run.returncode == 2
        assert run.stdout == ""
        assert run.stderr.count("\n") == 1
        assert run.stderr.startswith("location_defense.py: error: ")
        for word in words:
            assert word in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_smoke_run_is_quick_silent_and_leaves_all_files(smoke):
    code, stdout, stderr, out = smoke
    assert code == 0
    assert stderr == ""  # no countdown of MindArmour's, no warning of MindSpore's
    assert f"wrote {out / 'results.json'} and {out / 'attacks.csv'}" in stdout
    assert {path.name for path in out.iterdir()} == FILES
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert held["timings"]["total"] < 60  # about 15 s on an idle machine


def test_smoke_run_marks_itself_everywhere(smoke):
    _, stdout, _, out = smoke
    text = " ".join(stdout.split())
    for mark in ("synthetic data: ", "smoke test: ", "SYNTHETIC DATA, SMOKE TEST"):
        assert mark in text
    assert "location-like" in text
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (held["synthetic"], held["smoke"], held["dataset"]) == (True, True, "location-like")
    assert len(held["warnings"]) == 2
    with (out / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        assert {(row["synthetic"], row["smoke"]) for row in csv.DictReader(stream)} == {("True", "True")}


def test_screen_of_the_smoke_run_fits_80_columns(smoke):
    assert max(map(len, smoke[1].replace(str(smoke[3]), "out").splitlines())) <= 80
    assert "…" not in smoke[1]


@pytest.mark.skipif(
    "MINDEFENSE_DATA" not in os.environ, reason="MINDEFENSE_DATA is not set: no real Location to run on"
)
def test_smoke_run_on_real_data(tmp_path):
    """Structure alone: with so few rows and epochs the figures mean nothing."""
    folder = Path(os.environ["MINDEFENSE_DATA"]) / "location"
    run = example("--smoke", "--data_path", folder, "--out", "out", cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "synthetic" not in run.stdout.lower()
    assert "SMOKE TEST" in run.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    held = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert (held["synthetic"], held["smoke"], held["dataset"]) == (False, True, "location")
    assert len(held["warnings"]) == 1
    assert held["settings"]["order"] == "published"
    assert held["settings"]["data_path"] == str(folder)
    assert {attack["name"] for attack in held["attacks"]} >= {"gap", "mindarmour-lr", "nn"}
    assert held["defense"]["label_changes"] == 0
