"""``results.json`` and ``attacks.csv``: every key, every number, whole or not at all."""

import csv
import dataclasses
import json
import os

import pytest

from mindefense.errors import OutputError
from mindefense.reports.results import SCHEMA_VERSION, to_json, write_results

METRICS = ("accuracy", "balanced_accuracy", "precision", "recall", "share_called_member", "auc")


def refuse_constant(name):
    raise AssertionError(f"{name} in the JSON")


def read(folder):
    """The JSON, in which NaN and infinities are refused, and the rows of the CSV."""
    text = (folder / "results.json").read_text(encoding="utf-8")
    with (folder / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        return json.loads(text, parse_constant=refuse_constant), list(csv.DictReader(stream))


def test_files_are_written_and_named(evaluation, tmp_path):
    out = tmp_path / "new" / "folder"
    assert write_results(evaluation, out) == (out / "results.json", out / "attacks.csv")
    assert sorted(path.name for path in out.iterdir()) == ["attacks.csv", "results.json"]


def test_json_holds_the_schema(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    held, _ = read(tmp_path)
    assert held == json.loads(json.dumps(to_json(evaluation)))
    assert set(held) == {
        "schema_version",
        "warnings",
        "dataset",
        "synthetic",
        "smoke",
        "seed",
        "settings",
        "versions",
        "target",
        "shadow",
        "defense",
        "attacks",
        "budgets",
        "verdict",
        "timings",
    }
    assert held["schema_version"] == SCHEMA_VERSION == 2
    assert (held["dataset"], held["synthetic"], held["smoke"], held["seed"]) == ("location", False, False, 7)
    assert held["warnings"] == []
    assert held["settings"] == {"dataset": "location", "data_path": "/data", "seed": 7}
    assert held["versions"] == {"python": "3.11.7", "mindspore": "2.8.0"}
    assert held["target"] == {
        "member_accuracy": 0.9995,
        "non_member_accuracy": 0.6185,
        "test_accuracy": 0.58,
        "queries": 2000,
    }
    assert held["shadow"] == {"member_accuracy": 0.998, "non_member_accuracy": 0.4725}
    assert held["timings"] == {"total": 12.5}
    assert held["budgets"] == [
        {"budget": 1.0, "accuracy": 0.501, "mean_l1": 0.334},
        {"budget": 0.5, "accuracy": 0.558, "mean_l1": 0.25},
        {"budget": 0.0, "accuracy": 0.775, "mean_l1": 0.0},
    ]


def test_json_holds_the_cost_of_the_defense(evaluation):
    defense = to_json(evaluation)["defense"]
    assert defense == {
        "name": "defenmi",
        "alignment": "corrected",
        "classifier_accuracy": 0.8325,
        "queries": 2001,
        "accuracy": 0.8055,
        "label_changes": 3,
        "mean_l1": 0.334,
        "median_l1": 0.312,
        "max_l1": 1.239,
        "ece": 0.227,
        "nll": 0.9,
        "undefended": dataclasses.asdict(evaluation.defense.undefended),
    }
    assert defense["undefended"]["ece"] == 0.103


def test_json_holds_every_attack(evaluation):
    held = to_json(evaluation)["attacks"]
    assert len(held) == len(evaluation.attacks)
    for row, attack in zip(held, evaluation.attacks, strict=True):
        assert list(row)[:4] == ["name", "knowledge", "adversary", "defended"]
        assert [row[key] for key in list(row)[:4]] == [
            attack.name,
            attack.knowledge,
            attack.adversary,
            attack.defended,
        ]
        assert set(row) == {"name", "knowledge", "adversary", "defended", "n_members", "n_non_members"} | {
            *METRICS,
            "tpr_at_fpr",
        }
        for name in METRICS:
            assert row[name] == getattr(attack.metrics, name)
        for rate, expected in zip(row["tpr_at_fpr"], attack.metrics.tpr_at_fpr, strict=True):
            assert rate == dataclasses.asdict(expected)


def test_json_holds_the_verdicts(evaluation):
    assert to_json(evaluation)["verdict"] == {
        "undefended": {
            "leaks": True,
            "strongest": {"name": "mindarmour-lr", "knowledge": "auditor", "adversary": "static"},
            "strongest_balanced_accuracy": 1.0,
            "gap_accuracy": 0.692,
        },
        "defended": {
            "leaks": False,
            "strongest": {"name": "mindarmour-lr", "knowledge": "auditor", "adversary": "adaptive"},
            "strongest_balanced_accuracy": 0.734,
            "gap_accuracy": 0.692,
        },
    }


def test_undefined_is_null_and_an_empty_cell(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    held, rows = read(tmp_path)
    undefined = [attack["precision"] is None for attack in held["attacks"]]
    assert sum(undefined) == 1
    assert [row["precision"] == "" for row in rows] == undefined


def test_nan_is_refused_and_the_old_file_kept(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    old = (tmp_path / "results.json").read_bytes()
    spoilt = dataclasses.replace(evaluation, timings={"total": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(spoilt, tmp_path)
    assert (tmp_path / "results.json").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == 2


def test_csv_has_one_row_an_attack_with_the_numbers_of_the_json(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    held, rows = read(tmp_path)
    assert len(rows) == len(held["attacks"]) == 11
    for row, attack in zip(rows, held["attacks"], strict=True):
        assert (row["dataset"], row["synthetic"], row["smoke"]) == ("location", "False", "False")
        assert (row["name"], row["knowledge"], row["adversary"]) == (
            attack["name"],
            attack["knowledge"],
            attack["adversary"],
        )
        assert row["defended"] == str(attack["defended"])
        for name in (*METRICS, "n_members", "n_non_members"):
            assert attack[name] is None or float(row[name]) == attack[name]
        for rate in attack["tpr_at_fpr"]:
            column = f"tpr_at_fpr_{rate['fpr']:g}"
            assert [float(row[column + end]) for end in ("", "_low", "_high")] == [
                rate["tpr"],
                rate["low"],
                rate["high"],
            ]
    assert "tpr_at_fpr_0.01_low" in rows[0]
    assert "tpr_at_fpr_0.001_high" in rows[0]
    assert None not in rows[0]  # a cell without a heading


@pytest.mark.parametrize(("synthetic", "smoke"), [(True, False), (False, True), (True, True)])
def test_made_up_and_meaningless_figures_say_so(synthetic, smoke, evaluation, tmp_path):
    write_results(dataclasses.replace(evaluation, synthetic=synthetic, smoke=smoke), tmp_path)
    held, rows = read(tmp_path)
    assert (held["synthetic"], held["smoke"]) == (synthetic, smoke)
    assert any("synthetic" in warning for warning in held["warnings"]) == synthetic
    assert any("smoke" in warning for warning in held["warnings"]) == smoke
    assert {(row["synthetic"], row["smoke"]) for row in rows} == {(str(synthetic), str(smoke))}


@pytest.mark.parametrize("parity", [None, False, True])
def test_parity_is_warned_of(parity, evaluation):
    settings = {**evaluation.settings, **({} if parity is None else {"parity": parity})}
    held = to_json(dataclasses.replace(evaluation, settings=settings))
    warning = "parity: members alone were cropped and flipped at random, by which they can be told"
    assert held["warnings"] == ([warning] if parity else [])


def test_warnings_stand_together(evaluation):
    everything = dataclasses.replace(evaluation, synthetic=True, smoke=True, settings={"parity": True})
    assert [warning.partition(":")[0] for warning in to_json(everything)["warnings"]] == [
        "synthetic data",
        "smoke test",
        "parity",
    ]


def test_without_a_shadow_and_budgets(evaluation, tmp_path):
    write_results(dataclasses.replace(evaluation, shadow_accuracy=None, budgets=()), tmp_path)
    held, _ = read(tmp_path)
    assert "shadow" in held
    assert held["shadow"] is None
    assert held["budgets"] == []
    assert set(held) == set(to_json(evaluation))


def test_without_a_defense(undefended, tmp_path):
    write_results(undefended, tmp_path)
    held, rows = read(tmp_path)
    assert held["defense"] is None
    assert held["verdict"]["defended"] is None
    assert held["verdict"]["undefended"]["gap_accuracy"] == 0.692
    assert held["budgets"] == []
    assert [row["name"] for row in rows] == ["gap", "max-confidence", "mindarmour-lr", "nn"]


def test_unwritable_folder(evaluation, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match="choose a writable folder") as caught:
            write_results(evaluation, out)
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["results.json", "attacks.csv"])
def test_old_files_stay_if_the_new_ones_cannot_be_written(name, evaluation, tmp_path, monkeypatch):
    write_results(evaluation, tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(source, target):
        if str(target).endswith(name):
            raise OSError(28, "No space left on device")
        replace(source, target)

    replace = os.replace
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=f"{name}: No space left on device"):
        write_results(dataclasses.replace(evaluation, seed=8), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(old)
    assert (tmp_path / name).read_bytes() == old[name]


def test_new_results_take_the_place_of_old_ones(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    write_results(dataclasses.replace(evaluation, seed=8), tmp_path)
    assert read(tmp_path)[0]["seed"] == 8
