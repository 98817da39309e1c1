"""The examples for one's own model, attack and defense run as they stand, and their figures make sense."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mindefense  # noqa: F401  sets MindSpore's log level
from mindefense.checkpoint import save_checkpoint

EXAMPLES = Path(__file__).parent.parent / "examples"
FILES = {"results.json", "attacks.csv", "records.csv", "report.html", "report.md"}
ALSO = {"model": {"your_net.ckpt"}, "attack": set(),
        "defense": {"flatten.ckpt", "flatten.json", "guarded.mindir", "guarded.json"}}  # fmt: skip


WRONG = {
    "none.ckpt": ["no checkpoint at none.ckpt"],
    "text.ckpt": ["text.ckpt cannot be read", "truncated"],
    "other.ckpt": ["does not fit this network", "missing"],
}
"""Checkpoints that do not do → words of the one line on stderr."""
TYPED = {
    "model": ("model", "--smoke", "--out", "model"),
    "again": ("model", "--smoke", "--pre_trained", "model/your_net.ckpt", "--seed", "5", "--out", "again"),
    **{name: (name, "--out", name) for name in ("attack", "defense")},
    **{name: ("model", "--smoke", "--pre_trained", name) for name in WRONG},
}
PROBE = """
import contextlib, io, json, runpy, sys
said = {}
for name, (script, *argv) in json.load(sys.stdin).items():
    out, err, sys.argv = io.StringIO(), io.StringIO(), [script, *argv]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            runpy.run_path(script, run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = 1
            print(stop.code, file=sys.stderr)
    said[name] = code, out.getvalue(), err.getvalue()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where everything that is in `TYPED` was run, in one process, since most of the time goes into imports."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "text.ckpt").write_text("not one")
    save_checkpoint(folder / "other.ckpt", {"w": np.zeros(3, np.float32)}, {})
    typed = {name: (str(EXAMPLES / f"your_{script}.py"), *argv) for name, (script, *argv) in TYPED.items()}
    done = subprocess.run(
        [sys.executable, "-c", PROBE], input=json.dumps(typed), capture_output=True, text=True, cwd=folder, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "said.json").write_text(done.stdout, encoding="utf-8")
    return folder


class Run:
    """What an example printed and left."""

    def __init__(self, name, folder):
        self.code, self.stdout, self.stderr = json.loads((folder / "said.json").read_text(encoding="utf-8"))[name]
        self.out = folder / name
        self.held = json.loads((self.out / "results.json").read_text(encoding="utf-8"))

    def figure(self, name, *, adversary="static", defended=False):
        (found,) = (
            attack
            for attack in self.held["attacks"]
            if attack["name"] == name and (attack["adversary"], attack["defended"]) == (adversary, defended)
        )
        return found


@pytest.fixture
def ran(folder):
    """Name of an example → its run."""
    return lambda name: Run(name, folder)


@pytest.mark.parametrize("name", ALSO)
def test_example_runs_silently_and_leaves_its_files(name, ran):
    run = ran(name)
    assert (run.code, run.stderr) == (0, "")
    assert {path.name for path in run.out.iterdir()} == FILES | ALSO[name]
    assert f"wrote {Path(name, 'results.json')}" in run.stdout


@pytest.mark.parametrize("name", ALSO)
def test_example_says_that_its_rows_were_made_up(name, ran):
    run = ran(name)
    assert "made up" in run.stdout or "The rows are synthetic." in run.stdout  # of the example, or of the check
    assert run.held["synthetic"] is True
    assert run.held["warnings"] == ["synthetic data: made up, not measured"]


@pytest.mark.parametrize("name", ALSO)
def test_an_overfitted_target_leaks(name, ran):
    run = ran(name)
    target, verdict = run.held["target"], run.held["verdict"]["undefended"]
    assert target["member_accuracy"] > target["test_accuracy"] + 0.2
    assert verdict["tutorial_rule"]
    assert verdict["strongest_balanced_accuracy"] > 0.7


def test_the_model_is_evaluated_from_its_checkpoint(ran):
    """Not trained again; its members stay its members, with another seed too, else nothing would leak."""
    model, again = ran("model"), ran("again")
    assert "trained" in model.stdout
    assert "trained" not in again.stdout
    assert again.held["seed"] == 5
    assert again.held["target"] == model.held["target"]
    assert again.held["attacks"] != model.held["attacks"]
    assert again.held["verdict"]["undefended"]["tutorial_rule"]


def test_the_defense_of_the_model_keeps_its_labels(ran):
    run = ran("model")
    assert (run.held["defense"]["name"], run.held["defense"]["label_changes"]) == ("defenmi", 0)
    undefended = run.figure("confidence")
    assert run.figure("confidence", defended=True)["balanced_accuracy"] < undefended["balanced_accuracy"]
    assert re.search(r"^undefended: \S+ \(static\) has a balanced accuracy of 0\.\d{3}$", run.stdout, re.MULTILINE)
    assert re.search(r"^behind DefenMI: \S+ \(\w+\) has a balanced accuracy of 0\.\d{3}$", run.stdout, re.MULTILINE)


def test_the_own_attack_is_in_the_results_under_its_name(ran):
    run = ran("attack")
    rows = [attack for attack in run.held["attacks"] if attack["name"] == "margin"]
    assert [(row["adversary"], row["defended"]) for row in rows] == [("static", False), ("static", True),
                                                                     ("adaptive", True)]  # fmt: skip
    assert run.figure("margin")["auc"] > 0.75
    assert run.figure("margin", defended=True, adversary="adaptive")["auc"] < run.figure("margin")["auc"] - 0.1
    assert {attack["name"] for attack in run.held["attacks"]} >= {"gap", "confidence", "mindarmour-lr"}
    assert "margin" in (run.out / "report.html").read_text(encoding="utf-8")


def test_the_own_defense_fools_those_alone_who_do_not_know_of_it(ran):
    run = ran("defense")
    undefended = run.figure("confidence")["balanced_accuracy"]
    assert run.figure("confidence", defended=True)["balanced_accuracy"] == 0.5
    assert run.figure("confidence", defended=True, adversary="adaptive")["balanced_accuracy"] == undefended
    assert (run.held["defense"]["name"], run.held["defense"]["config"]) == ("flatten", {"share": 0.7})
    assert run.held["defense"]["label_changes"] == 0


def test_the_own_defense_is_in_the_exported_graph(ran):
    """At least 0.7 of every answer is spread evenly over 30 classes."""
    (line,) = (line for line in ran("defense").stdout.splitlines() if "exported" in line)
    told = [float(word) for word in line.split()[-5:]]
    assert all(1 / 30 < largest <= 0.3 + 0.7 / 30 + 1e-3 for largest in told)
    assert max(told) > 0.3, "members are known by heart"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_checkpoint_is_one_line(name, folder):
    code, stdout, stderr = json.loads((folder / "said.json").read_text(encoding="utf-8"))[name]
    assert (code, stdout) == (1, "")
    assert stderr.count("\n") == 1
    assert stderr.startswith("your_model.py: error: ")
    for word in WRONG[name]:
        assert word in stderr


@pytest.mark.parametrize(("name", "cell"), [("attack", "class MarginAttack"), ("defense", "class Flatten")])
def test_an_attack_or_a_defense_takes_20_lines_at_most(name, cell):
    text = (EXAMPLES / f"your_{name}.py").read_text(encoding="utf-8")
    body = text[text.index(cell) :].partition("\n\n\n")[0]
    assert sum(bool(line.strip()) for line in body.splitlines()) <= 20
