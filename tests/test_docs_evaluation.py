"""What docs/evaluation.md says there is, is there."""

import re
import shlex
from pathlib import Path

import pytest

from mindefense.arguments import (
    EXIT_GATE,
    EXIT_STRICT,
    EXIT_UNFIT,
    Parser,
    add_evaluation_arguments,
    add_study_arguments,
    add_tutorial_arguments,
)
from mindefense.attacks.catalog import ATTACKS
from mindefense.cli import build_parser
from mindefense.evaluation.gate import Gate
from mindefense.evaluation.lineup import DefenseSpec, TrainingSpec

DOCS = Path(__file__).parent.parent / "docs"
TEXT = (DOCS / "evaluation.md").read_text(encoding="utf-8")


def section(title):
    return re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:][
        [part.split("\n")[0] for part in re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]].index(title)
    ]


def first_cells(text):
    """The names in the first column of a table; ``-knn`` after ``mindarmour-lr`` stands for ``mindarmour-knn``."""
    names = []
    for row in re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE):
        for name in re.findall(r"`([^`]+)`", row):
            names.append(names[-1].rpartition("-")[0] + name if name.startswith("-") else name)
    return names


def test_every_attacker_is_there_and_no_other():
    assert sorted(first_cells(section("Attackers"))) == sorted(ATTACKS)


def test_every_defense_is_there():
    names = first_cells(section("Defenses"))
    assert {DefenseSpec.parse(name).name for name in names} == {
        "defenmi", "memguard", "rounding", "top-k", "temperature", "laplace", "class-mean", "label-only"
    }  # fmt: skip
    ways = re.findall(r"`([a-z-]+=[0-9.]+)`", section("Defenses").split("In training", 1)[1])
    assert [TrainingSpec.parse(way).name for way in ways] == ["early-stopping", "weight-decay", "label-smoothing", "dp"]


def test_gates_and_exit_codes():
    text = section("Exit codes")
    for metric in ("auc", "accuracy", "advantage", "epsilon", "tpr@0.1", "tpr@0.01", "tpr@0.001"):
        assert f"`{metric}`" in text
        assert Gate.parse(f"{metric}=0.5").metric == metric
    codes = ["0", str(EXIT_UNFIT), "2", str(EXIT_STRICT), str(EXIT_GATE), "130"]
    assert re.findall(r"^\| (\d+) \|", text, flags=re.MULTILINE) == codes


def parser_of(program):
    """The parser of a script that a page calls."""
    if Path(program).name == "mindefense":
        return build_parser()
    parser = Parser()
    (add_tutorial_arguments if "vgg" in program else add_study_arguments)(parser)
    if "vgg" not in program:
        add_evaluation_arguments(parser)
    parser.set_defaults(command=program)
    return parser


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda page: page.relative_to(DOCS).as_posix())
def test_commands_on_the_pages_parse(page):
    text = re.sub(r"\\\n\s*", "", page.read_text(encoding="utf-8")).replace("$(which mindefense)", "mindefense")
    commands = re.findall(r"`(mindefense [a-z-]+ [^`]*?)`", text)
    commands += re.findall(
        r"^\w*\$ (?:python |msrun .*?--log_dir=\w+ )?((?:\S*mindefense|examples/\S+\.py) .*)$", text, re.M
    )
    for command in commands:
        # An optional part is no command, and files are beside those of tests/test_configuration.py.
        if "[" not in command and "--config" not in command:
            program, *arguments = shlex.split(command, comments=True)
            assert parser_of(program).parse_args(arguments).command is not None
