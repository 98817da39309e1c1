"""The results pages show what their files hold."""

import importlib.util
import json
from pathlib import Path

import pytest

from mindefense.errors import DataError

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"
SPEC = importlib.util.spec_from_file_location("tables", RESULTS / "tables.py")
tables = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(tables)


@pytest.mark.parametrize("page", sorted(RESULTS.glob("*/README.md")), ids=lambda page: page.parent.name)
def test_page_shows_what_its_files_hold(page):
    text = page.read_text(encoding="utf-8")
    assert tables.BLOCK.search(text)
    assert text.count("<!-- figures: ") == text.count("<!-- end -->") == len(tables.BLOCK.findall(text))
    assert tables.filled(text, page.parent) == text


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("smoke run", "answers", "**How far can this be trusted?** Not at all: "),
        ("smoke run", "made_with", "Made with seed 0, python 3."),
        ("smoke run", "attackers", "| undefended | defenmi, unaware of it | defenmi, adapts to it |"),
        ("smoke run", "attackers", "those that learned from a shadow, on "),
        ("smoke run", "tutorial", "| 0.7132 / 0.6596 / 0.8810 |"),
        ("one attack", "attackers", "| attacker | learned from | undefended |\n"),
        ("one attack", "tutorial", "| lr | – / – / – | 0.7132"),
        ("old comparison", "summary", "| none | shokri-label (auditor, static) | 0.832 (0.802–0.859) |"),
        ("old comparison", "matrix", "| label-flips | target | 0.802 (0.777–0.825) |"),
    ],
)  # fmt: skip
def test_block_is_filled(kind, name, said, kinds, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps(kinds[kind]), encoding="utf-8")
    page = f"before\n\n<!-- figures: {name} r.json -->\nold\n<!-- end -->\n\nafter\n"
    new = tables.filled(page, tmp_path)
    assert said in new
    assert "old\n" not in new
    assert (new[:8], new[-7:]) == ("before\n\n", "\nafter\n")
    assert tables.filled(new, tmp_path) == new


def test_every_attacker_is_a_line_with_its_figures(recorded):
    lines = tables.attackers([recorded]).splitlines()[4:]
    assert len(lines) == len({(attack["name"], attack["knowledge"]) for attack in recorded["attacks"]})
    for attack in recorded["attacks"]:
        (found,) = [rate["tpr"] for rate in attack["tpr_at_fpr"] if rate["fpr"] == 0.01]
        figures = f"{attack['balanced_accuracy']:.3f} / {attack['auc']:.3f} / {found:.3f}"
        column = {"static": 4, "adaptive": 5}[attack["adversary"]] if attack["defended"] else 3
        (line,) = [line for line in lines if line.split(" | ")[0] == f"| {attack['name']}"]
        assert line.strip("| ").split(" | ")[column - 1] == figures


def test_old_file_leaves_its_block_alone_and_a_missing_one_is_an_error(tmp_path):
    page = "<!-- figures: attackers results.json -->\nby hand\n<!-- end -->\n"
    (tmp_path / "results.json").write_text('{"schema_version": 2, "attacks": []}', encoding="utf-8")
    assert tables.filled(page, tmp_path) == page
    (tmp_path / "results.json").unlink()
    with pytest.raises(DataError, match="cannot read"):
        tables.filled(page, tmp_path)
    with pytest.raises(KeyError):
        tables.filled(page.replace("attackers", "gossip"), tmp_path)
