"""What docs/evaluation.md says there is, is there; so is what it leaves to docs/command_line.md."""

import re

from pages import page

from mindefense.arguments import EXIT_CODES
from mindefense.attacks.registry import ATTACKS
from mindefense.defenses.registry import DefenseSpec, TrainingSpec
from mindefense.evaluation.gate import Gate

SECTIONS = page("docs/evaluation.md").sections


def first_cells(text):
    """The names in the first column of a table; ``-knn`` after ``mindarmour-lr`` stands for ``mindarmour-knn``."""
    names = []
    for row in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            names.append(names[-1].rpartition("-")[0] + name if name.startswith("-") else name)
    return names


def test_every_attacker_is_there_and_no_other():
    assert sorted(first_cells(SECTIONS["Attackers"])) == sorted(ATTACKS)


def test_every_defense_is_there():
    names = first_cells(SECTIONS["Defenses"])
    assert {DefenseSpec.parse(name).name for name in names} == {
        "defenmi", "memguard", "rounding", "top-k", "temperature", "laplace", "class-mean", "label-only"
    }  # fmt: skip
    ways = re.findall(r"`([a-z-]+=[0-9.]+)`", SECTIONS["Defenses"].split("In training", 1)[1])
    names = [TrainingSpec.parse(way).name for way in ways]
    assert names == ["early-stopping", "weight-decay", "label-smoothing", "dp", "dp-mindarmour"]


def test_gates():
    text = SECTIONS["A limit for pipelines"]
    for metric in ("auc", "accuracy", "advantage", "epsilon", "tpr@0.1", "tpr@0.01", "tpr@0.001"):
        assert f"`{metric}`" in text
        assert Gate.parse(f"{metric}=0.5").metric == metric


def test_exit_codes_are_told_in_one_place():
    text = page("docs/command_line.md").sections["Exit codes"]
    codes = list(map(str, EXIT_CODES))
    assert re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE) == codes
