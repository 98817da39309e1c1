"""The files of an evaluation and of a comparison: every key, every number, whole or not at all."""

import csv
import dataclasses
import json
import os

import numpy as np
import pytest

from mindefense.errors import OutputError
from mindefense.reports.results import (
    ADVERSARY,
    KNOWLEDGE,
    NOISE,
    SCHEMA_VERSION,
    comparison_to_json,
    to_json,
    write_comparison,
    write_results,
)
from mindefense.types import AttackResult, IdentifiedMembers, MembershipMetrics

WHO = ("name", "knowledge", "adversary", "defended")
LISTS = {"tpr_at_fpr": ("fpr", "tpr"), "tnr_at_fnr": ("fnr", "tnr"), "precision_at_prior": ("prior", "precision")}
METRICS = tuple(field.name for field in dataclasses.fields(MembershipMetrics) if field.name not in LISTS)
FILES = ("results.json", "attacks.csv", "records.csv")
HEADING = {"schema_version", "warnings", "dataset", "synthetic", "smoke", "seed", "settings", "versions", "evidence"}


def refuse_constant(name):
    raise AssertionError(f"{name} in the JSON")


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def read(folder, name="results.json", table="attacks.csv"):
    """The JSON, in which NaN and infinities are refused, and the rows of the CSV."""
    text = (folder / name).read_text(encoding="utf-8")
    return json.loads(text, parse_constant=refuse_constant), rows_of(folder / table)


def test_files_are_written_and_named(evaluation, tmp_path):
    out = tmp_path / "new" / "folder"
    assert write_results(evaluation, out) == tuple(out / name for name in FILES)
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)


def test_json_holds_the_schema(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    held, _ = read(tmp_path)
    assert held == json.loads(json.dumps(to_json(evaluation)))
    assert set(held) == HEADING | {
        "threat_models",
        "target",
        "shadow",
        "defense",
        "attacks",
        "not_run",
        "budgets",
        "verdict",
        "change",
        "ruling",
        "slices",
        "canaries",
        "confidences",
        "risks",
        "other_targets",
        "checks",
        "timings",
    }
    assert held["schema_version"] == SCHEMA_VERSION == 5
    assert (held["dataset"], held["synthetic"], held["smoke"], held["seed"]) == ("location", False, False, 7)
    assert held["warnings"] == []
    assert held["settings"] == {"dataset": "location", "data_path": "data", "seed": 7}
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
    assert held["canaries"] == []
    assert held["not_run"][2] == {
        "name": "label-shifts",
        "knowledge": "auditor",
        "reason": "the samples are not images, so there is nothing to shift",
    }
    assert held["checks"][1] == {
        "name": "sample-size",
        "passed": False,
        "found": "There are 500 members.",
        "meaning": "Figures are rough.",
        "advice": "Judge by more rows.",
    }
    assert [check["passed"] for check in held["checks"]] == [True, False, True]


def test_json_says_what_the_words_for_threat_models_mean(evaluation, undefended):
    held = to_json(evaluation)
    assert held["threat_models"] == {"knowledge": KNOWLEDGE, "adversary": ADVERSARY, "noise": {"keyed": NOISE["keyed"]}}
    assert "noise" not in to_json(undefended)["threat_models"]
    for attack in held["attacks"]:
        assert attack["knowledge"] in KNOWLEDGE
        assert attack["adversary"] in ADVERSARY
    for noise in ("fresh", "none", "unknown"):
        defense = dataclasses.replace(evaluation.defense, noise=noise)
        found = to_json(dataclasses.replace(evaluation, defense=defense))
        assert found["threat_models"]["noise"] == {noise: NOISE[noise]}


def test_json_holds_every_part_and_the_worst_one(evaluation):
    before, after = to_json(evaluation)["slices"]
    assert [before[key] for key in ("attack", "knowledge", "adversary", "defended")] == [
        "max-confidence",
        "auditor",
        "static",
        False,
    ]
    assert (len(before["parts"]), len(after["parts"])) == (3, 1)
    assert before["parts"][1] == {
        "by": "class",
        "part": "class 3",
        "n_members": 0,
        "n_non_members": 9,
        "auc": None,
        "low": None,
        "high": None,
    }
    assert before["worst"] == before["parts"][2]
    assert (before["worst"]["part"], before["worst"]["auc"]) == ("classified incorrectly", 0.912)
    assert after["worst"] is None


def test_json_holds_the_canaries_apart(evaluation):
    held = to_json(dataclasses.replace(evaluation, canaries=evaluation.attacks[3:4]))
    assert held["canaries"] == [held["attacks"][3]]
    assert len(held["attacks"]) == len(evaluation.attacks)


def test_json_holds_the_cost_of_the_defense(evaluation):
    defense = to_json(evaluation)["defense"]
    assert defense == {
        "name": "defenmi",
        "config": {"alignment": "corrected", "noise_scale": 0.012},
        "noise": "keyed",
        "keeps_labels": True,
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
        assert tuple(row) == (*WHO, *(field.name for field in dataclasses.fields(MembershipMetrics)))
        assert [row[key] for key in WHO] == [getattr(attack, key) for key in WHO]
        for name in METRICS:
            assert row[name] == getattr(attack.metrics, name)
        for name in LISTS:
            assert list(row[name]) == [dataclasses.asdict(figure) for figure in getattr(attack.metrics, name)]
    assert set(WHO) == {field.name for field in dataclasses.fields(AttackResult)} - {"metrics", "roc", "own", "by_all"}


def test_json_holds_the_verdicts(evaluation):
    lr = {"name": "mindarmour-lr", "knowledge": "auditor"}
    identified = dataclasses.asdict(IdentifiedMembers(0.01, 17, 5, 500, 500, 0.034, 0.019, 0.021, 1e-7))
    assert to_json(evaluation)["verdict"] == {
        "undefended": {
            "level": "leak",
            "identifies": {**lr, "adversary": "static"},
            "identified": identified,
            "identifies_beyond_chance": True,
            "shown_by": {"name": "max-confidence", "knowledge": "auditor", "adversary": "static"},
            "shown_figure": "AUC",
            "shown_low": pytest.approx(0.7376),
            "shown_high": pytest.approx(0.8386),
            "tutorial_rule": True,
            "attackers": 7,
            "strongest": {**lr, "adversary": "static"},
            "strongest_balanced_accuracy": 1.0,
            "strongest_low": 0.94,
            "strongest_high": 1.061,
            "sharpest": {"name": "max-confidence", "knowledge": "auditor", "adversary": "static"},
            "sharpest_auc": pytest.approx(0.7876),
            "sharpest_two_sided_auc": pytest.approx(0.7876),
            "sharpest_low": pytest.approx(0.7376),
            "sharpest_high": pytest.approx(0.8386),
            "gap_accuracy": 0.692,
            "untold_by": None,
        },
        "defended": {
            "level": "some",
            "identifies": {**lr, "adversary": "adaptive"},
            "identified": identified,
            "identifies_beyond_chance": False,
            "shown_by": {**lr, "adversary": "adaptive"},
            "shown_figure": "AUC",
            "shown_low": pytest.approx(0.6831),
            "shown_high": pytest.approx(0.7841),
            "tutorial_rule": False,
            "attackers": 7,
            "strongest": {**lr, "adversary": "adaptive"},
            "strongest_balanced_accuracy": 0.734,
            "strongest_low": pytest.approx(0.674),
            "strongest_high": pytest.approx(0.795),
            "sharpest": {**lr, "adversary": "adaptive"},
            "sharpest_auc": pytest.approx(0.7331),
            "sharpest_two_sided_auc": pytest.approx(0.7331),
            "sharpest_low": pytest.approx(0.6831),
            "sharpest_high": pytest.approx(0.7841),
            "gap_accuracy": 0.692,
            "untold_by": None,
        },
    }


def test_undefined_is_null_and_an_empty_cell(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    held, rows = read(tmp_path)
    undefined = [attack["precision"] is None for attack in held["attacks"]]
    assert sum(undefined) == 1
    for column in ("precision", "precision_at_prior_0.5", "precision_at_prior_0.01"):
        assert [row[column] == "" for row in rows] == undefined


def test_nan_is_refused_and_the_old_file_kept(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    old = (tmp_path / "results.json").read_bytes()
    spoilt = dataclasses.replace(evaluation, timings={"total": float("nan")})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_results(spoilt, tmp_path)
    assert (tmp_path / "results.json").read_bytes() == old
    assert len(list(tmp_path.iterdir())) == len(FILES)


def test_csv_has_one_row_an_attack_with_the_numbers_of_the_json(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    held, rows = read(tmp_path)
    assert len(rows) == len(held["attacks"]) == 11
    for row, attack in zip(rows, held["attacks"], strict=True):
        assert (row["dataset"], row["synthetic"], row["smoke"]) == ("location", "False", "False")
        assert [row[key] for key in WHO] == [str(attack[key]) for key in WHO]
        for name in METRICS:
            assert attack[name] is None or float(row[name]) == attack[name]
        for name, (bound, rate) in LISTS.items():
            for figure in attack[name]:
                column = f"{name}_{figure[bound]:g}"
                assert figure[rate] is None or float(row[column]) == figure[rate]
                if "low" in figure:
                    assert [float(row[f"{column}_{end}"]) for end in ("low", "high")] == [figure["low"], figure["high"]]
    for column in ("tpr_at_fpr_0.01_low", "tpr_at_fpr_0.001_high", "tnr_at_fnr_0.1_low", "precision_at_prior_0.01"):
        assert column in rows[0]
    assert None not in rows[0]  # a cell without a heading


def test_records_have_one_row_a_sample_and_empty_cells_where_nobody_judged(evaluation, tmp_path):
    write_results(evaluation, tmp_path)
    assert (tmp_path / "records.csv").read_text(encoding="utf-8") == (
        "index,is_member,confidence,gap|none|static|undefended,nn|shadow|static|undefended\n"
        "5,True,0.75,1.0,\n"
        "17,False,0.5,0.0,0.30000000000000004\n"
    )


def test_records_of_unequal_length_are_no_table(evaluation, tmp_path):
    records = {"index": np.arange(3), "label": np.arange(2)}
    with pytest.raises(ValueError, match="shorter"):
        write_results(dataclasses.replace(evaluation, records=records), tmp_path)


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
    warning = "parity: only members were cropped and flipped at random, which alone makes them recognizable"
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


@pytest.mark.parametrize("name", FILES)
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


# ----------------------------------------------------------------------------------------------------------- comparison

COMPARED = ("comparison.json", "comparison.csv")


def test_comparison_is_written_and_named(comparison, tmp_path):
    assert write_comparison(comparison, tmp_path / "new") == tuple(tmp_path / "new" / name for name in COMPARED)
    held, _ = read(tmp_path / "new", *COMPARED)
    assert held == json.loads(json.dumps(comparison_to_json(comparison)))
    assert set(held) == HEADING | {"threat_models", "contenders", "not_run", "timings"}
    assert (held["schema_version"], held["dataset"], held["seed"]) == (SCHEMA_VERSION, "location", 7)
    assert held["timings"] == {"total": 34.5}
    assert held["not_run"][0]["name"] == "dp=1"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(COMPARED)


def test_comparison_holds_every_contender_with_cost_verdict_and_doubts(comparison):
    contenders = comparison_to_json(comparison)["contenders"]
    assert [contender["name"] for contender in contenders] == [one.name for one in comparison.contenders]
    for held, contender in zip(contenders, comparison.contenders, strict=True):
        assert held["utility"] == dataclasses.asdict(contender.utility)
        assert [attack["name"] for attack in held["attacks"]] == [attack.name for attack in contender.attacks]
        assert held["verdict"]["strongest"]["name"] == contender.verdict.strongest.name
        assert held["checks"] == [dataclasses.asdict(check) for check in comparison.checks[contender.name]]
        assert held["config"] == {"name": contender.name}
    assert [held["in_training"] for held in contenders] == [False, False, False, True]
    assert contenders[2]["dominated_by"] == ["defenmi-published", "label-smoothing=0.3"]
    assert [held["verdict"]["tutorial_rule"] for held in contenders] == [True, False, False, False]


def test_table_of_a_comparison_has_the_numbers_of_its_json(comparison, tmp_path):
    write_comparison(comparison, tmp_path)
    held, rows = read(tmp_path, *COMPARED)
    assert len(rows) == 4
    for row, contender in zip(rows, held["contenders"], strict=True):
        verdict = contender["verdict"]
        assert (row["name"], row["in_training"]) == (contender["name"], str(contender["in_training"]))
        assert (row["strongest"], row["sharpest"]) == (verdict["strongest"]["name"], verdict["sharpest"]["name"])
        assert float(row["balanced_accuracy"]) == verdict["strongest_balanced_accuracy"]
        assert float(row["balanced_accuracy_low"]) == verdict["strongest_low"]
        assert float(row["balanced_accuracy_high"]) == verdict["strongest_high"]
        assert float(row["two_sided_auc"]) == max(verdict["sharpest_auc"], 1 - verdict["sharpest_auc"])
        for name, value in contender["utility"].items():
            assert float(row[name]) == value
    assert [row["dominated_by"] for row in rows] == ["", "", "defenmi-published label-smoothing=0.3", ""]


@pytest.mark.parametrize(("synthetic", "smoke"), [(True, False), (False, True), (False, False)])
def test_made_up_and_meaningless_comparisons_say_so(synthetic, smoke, comparison):
    held = comparison_to_json(dataclasses.replace(comparison, synthetic=synthetic, smoke=smoke))
    assert (held["synthetic"], held["smoke"]) == (synthetic, smoke)
    assert [warning.partition(":")[0] for warning in held["warnings"]] == ["synthetic data"] * synthetic + [
        "smoke test"
    ] * smoke


@pytest.mark.parametrize("name", COMPARED)
def test_old_comparison_stays_if_the_new_one_cannot_be_written(name, comparison, tmp_path, monkeypatch):
    write_comparison(comparison, tmp_path)
    old = (tmp_path / name).read_bytes()

    def full(source, target):
        if str(target).endswith(name):
            raise OSError(28, "No space left on device")
        replace(source, target)

    replace = os.replace
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=f"{name}: No space left on device"):
        write_comparison(dataclasses.replace(comparison, seed=8), tmp_path)
    assert (tmp_path / name).read_bytes() == old
