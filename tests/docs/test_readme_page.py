"""What README.md says of the code that it shows is so."""

import json

import pytest
from pages import page

PAGE = page("README.md")


@pytest.fixture(scope="module")
def read(reader):
    return reader("README.md").read()


def test_attackers_of_ones_own_model(read):
    (block,) = PAGE.under("Your own model")
    printed = read.said[block.line].splitlines()
    attacks = [line.split() for line in printed if line.split()[0] not in ("passed", "DOUBT", "not-run")]
    assert [tuple(words[:3]) for words in attacks] == [
        *((name, "static", "undefended") for name in ("gap", "confidence", "mindarmour-lr", "label-flips")),
        ("gap", "static", "defended"),
        *((name, adversary, "defended") for name in ("confidence", "mindarmour-lr", "label-flips")
          for adversary in ("static", "adaptive")),
    ]  # fmt: skip
    accuracy = {tuple(words[:3]): float(words[3]) for words in attacks}
    gap = accuracy["gap", "static", "undefended"]
    assert gap == accuracy["gap", "static", "defended"] > 0.6, "DefenMI keeps the labels"
    assert accuracy["mindarmour-lr", "static", "undefended"] > accuracy["mindarmour-lr", "static", "defended"], (
        "an attacker unaware of the defense must lose by it"
    )
    assert accuracy["label-flips", "adaptive", "defended"] == accuracy["label-flips", "static", "undefended"], (
        "who asks for labels alone must not notice it"
    )
    assert any(line.startswith("passed labels-changed") for line in printed)
    assert (read.folder / "defenmi.ckpt").is_file()


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
    (line,) = (line for line, said in read.said.items() if "nothing was defended" in said)
    assert "example_vgg_cifar.py" in PAGE.text.splitlines()[line - 1]
