"""What changed between two results: nothing where nothing did, and what did where something was planted."""

import json
from pathlib import Path

import numpy as np
import pytest

from mindefense import cli
from mindefense.arguments import EXIT_GATE
from mindefense.data import load_outputs
from mindefense.errors import DataError
from mindefense.evaluation import evaluate_outputs
from mindefense.evaluation.differences import differences, read_records
from mindefense.reports.results import to_json, write_results

ATTACKS = ("confidence", "max-confidence", "shokri-label")

STORED = Path(__file__).parent.parent.parent / "docs" / "results" / "location"


def answers(path, *, leak, seed=0, noise=0.0, rows=3000):
    """Answers of a model to the same rows for the same seed; `noise` stands for another training of it."""
    rng, other = np.random.default_rng(seed), np.random.default_rng(seed + 1000)
    labels, is_member = rng.integers(5, size=rows), np.arange(rows) % 2 == 0
    logits = rng.normal(0, 1, (rows, 5))
    logits[np.arange(rows), labels] += 2 + leak * is_member
    logits += noise * other.normal(0, 1, (rows, 5))
    np.savez(path, logits=logits.astype(np.float32), labels=labels, is_member=is_member)
    return path


def found_in(folder, name, **how):
    """Results and records of an evaluation of such answers."""
    evaluation = evaluate_outputs(load_outputs(answers(folder / f"{name}.npz", **how)), attacks=ATTACKS)
    write_results(evaluation, folder / name)
    return json.loads(json.dumps(to_json(evaluation))), read_records(folder / name / "records.csv")


def test_nothing_changed_where_the_same_was_evaluated_twice(tmp_path):
    first, second = (found_in(tmp_path, name, leak=0.5) for name in ("one", "two"))
    found = differences(first[0], second[0], records=(first[1], second[1]))
    assert found.more == found.less == ()
    assert all(one.change.value == 0 for one in found.figures)
    assert found.same_members
    assert set(found.facts) == {"outputs", "dataset"} | ({"SHA-256 of outputs"} & set(found.facts))


@pytest.mark.parametrize("by_row", [True, False])
def test_a_leak_that_grew_and_one_that_fell_are_told(by_row, tmp_path):
    small, large = (found_in(tmp_path, f"{leak}", leak=leak, noise=0.2) for leak in (0.2, 1.5))
    records = (small[1], large[1]) if by_row else None
    found = differences(small[0], large[0], records=records)
    grown = {(one.attack[0], one.figure) for one in found.more}
    assert {("confidence", "AUC"), ("confidence", "balanced accuracy")} <= grown
    assert found.less == ()
    assert found.levels["undefended"][1] == "leak"
    back = differences(large[0], small[0], records=None if records is None else records[::-1])
    assert {(one.attack[0], one.figure) for one in back.less} == grown


def test_rows_compared_one_by_one_show_smaller_changes(tmp_path):
    first, second = (found_in(tmp_path, f"{leak}", leak=leak) for leak in (0.8, 0.9))
    paired = differences(first[0], second[0], records=(first[1], second[1]))
    apart = differences(first[0], second[0])
    of_auc = {
        how: next(one for one in found.figures if one.attack[0] == "confidence" and one.figure == "AUC")
        for how, found in {"paired": paired, "apart": apart}.items()
    }
    assert of_auc["paired"].paired
    assert not of_auc["apart"].paired
    assert of_auc["paired"].change.value == pytest.approx(of_auc["apart"].change.value)
    widths = {how: one.change.high - one.change.low for how, one in of_auc.items()}
    assert widths["paired"] < widths["apart"] / 2
    assert of_auc["paired"].beyond_chance
    assert not of_auc["apart"].beyond_chance


def test_other_rows_of_the_same_model_are_no_change(tmp_path):
    said = 0
    for seed in range(12):
        first, second = (
            found_in(tmp_path, f"{seed}-{half}", leak=0.5, seed=100 * seed + half, rows=800) for half in (0, 1)
        )
        found = differences(first[0], second[0])
        said += bool(found.more or found.less)
    assert said <= 2  # at most one in twenty of them, 0.6 in twelve


def test_what_else_differs_is_named(tmp_path):
    first, second = (found_in(tmp_path, name, leak=0.5, rows=rows) for name, rows in (("one", 3000), ("two", 150)))
    found = differences(first[0], second[0])
    assert found.same_members is False
    assert found.facts["dataset"] == ("one.npz", "two.npz")
    assert found.checks == {"sample-size": True}
    other = {**second[0], "attacks": [one for one in second[0]["attacks"] if one["name"] != "confidence"]}
    assert differences(first[0], other).only_old == ("confidence (auditor, static, undefended)",)
    with pytest.raises(DataError, match="took part in both"):
        differences(first[0], {**second[0], "attacks": []})


def test_a_damaged_file_of_records_is_named(tmp_path):
    for text in ("", "index,is_member\n1\n", "a,b\n1,2\n"):
        (tmp_path / "records.csv").write_text(text)
        with pytest.raises(DataError, match=r"records\.csv"):
            read_records(tmp_path / "records.csv")


def run(*arguments):
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as left:
        return left.code


def test_command(tmp_path, capsys):
    for leak in (0.2, 1.5):
        found_in(tmp_path, f"{leak}", leak=leak)
    old, new = tmp_path / "0.2", tmp_path / "1.5" / "results.json"
    assert run("diff", old, new) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "undefended: some → leak" in said or "undefended: none found → leak" in said
    assert "figures are significantly higher" in said
    assert "(AUCs compared row by row)" in said
    assert run("diff", old, new, "--fail_on_rise") == EXIT_GATE
    assert "--fail_on_rise: " in capsys.readouterr().err
    assert run("diff", new, old, "--fail_on_rise") == 0
    capsys.readouterr()
    assert run("diff", old, new, "--json") == 0
    held = json.loads(capsys.readouterr().out)
    assert held["more"] > 0
    assert held["less"] == 0
    assert held["figures"][0].keys() >= {"attack", "figure", "old", "new", "change", "paired"}


def test_command_refuses_what_is_no_evaluation(tmp_path, capsys):
    comparison = STORED / "comparison_seed0.json"
    assert run("diff", comparison, comparison) == 2
    assert "got a comparison" in capsys.readouterr().err
    assert run("diff", tmp_path / "none", tmp_path / "none") == 2
    assert capsys.readouterr().err.count("\n") == 1
