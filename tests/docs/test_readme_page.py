"""What README.md says of the code that it shows is so."""

import json

import pytest
from pages import page

PAGE = page("README.md")


@pytest.fixture(scope="module")
def read(reader):
    return reader("README.md").read()


def test_attackers_of_ones_own_model(read):
    found = read.names["found"]
    accuracy = {(a.name, a.adversary, a.defended): a.metrics.balanced_accuracy for a in found.attacks}
    attackers = ("confidence", "mindarmour-lr", "label-flips")
    assert set(accuracy) == {
        *((name, "static", defended) for name in ("gap", *attackers) for defended in (False, True)),
        *((name, "adaptive", True) for name in attackers),
    }
    assert accuracy["gap", "static", False] == accuracy["gap", "static", True] > 0.6, "DefenMI keeps the labels"
    assert accuracy["mindarmour-lr", "static", False] > accuracy["mindarmour-lr", "static", True], (
        "an attacker unaware of the defense must lose by it"
    )
    assert accuracy["label-flips", "adaptive", True] == accuracy["label-flips", "static", False], (
        "who asks for labels alone must not notice it"
    )
    assert {check.name: check.passed for check in found.checks}["labels-changed"]
    names = ("report.html", "report.md", "results.json", "attacks.csv", "records.csv")
    assert {path.name for path in (read.folder / "runs/mine").iterdir()} == set(names)


def test_the_model_that_answers_strangers(read):
    x, log_probs = read.names["x"], read.names["log_probs"]
    assert log_probs.shape == (len(x), 30)
    assert (read.names["guarded"].query(x) == log_probs).all()
    assert (read.folder / "runs/location/guarded.key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("folder", "defense"),
    [("runs/location-smoke", "defenmi"), ("runs/tutorial-smoke", "none"), ("runs/vgg16", "defenmi")],
)
def test_both_examples_evaluated_what_the_commands_say(folder, defense, read):
    settings = json.loads((read.folder / folder / "results.json").read_text(encoding="utf-8"))["settings"]
    assert settings["defense"] == defense


def test_the_tutorial_prints_its_lines(read):
    (line,) = (line for line, said in read.said.items() if "no defense was used" in said)
    assert "example_vgg_cifar.py" in PAGE.text.splitlines()[line - 1]
