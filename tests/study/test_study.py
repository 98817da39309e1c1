"""A whole study as a smoke test: its files, its results, and its stages one by one as in one run."""

import csv
import dataclasses
import hashlib
import json
import os
import stat

import numpy as np
import pytest
from study_folders import CHECKPOINTS, SMOKE, answers, arrays, held_in

from mindefense.attacks.registry import AttackContext, select
from mindefense.checkpoint import load_checkpoint
from mindefense.study import Study


def test_files_are_there_and_nothing_partial(staged):
    assert sorted(path.name for path in staged.iterdir()) == sorted(
        [
            "study.json",
            "shadows",
            "defended.npz",
            "results.json",
            "attacks.csv",
            "records.csv",
            "report.html",
            "report.md",
            *(f"{name}.{end}" for name in CHECKPOINTS for end in ("ckpt", "json")),
        ]
    )


@pytest.mark.skipif(os.name != "posix", reason="modes of files are of POSIX")
@pytest.mark.parametrize("name", ["records.csv", "defended.npz"])
def test_files_that_list_members_are_their_owners_alone(name, staged):
    assert stat.S_IMODE((staged / name).stat().st_mode) == 0o600


def test_study_json_holds_the_configuration(staged):
    assert json.loads((staged / "study.json").read_text(encoding="utf-8")) == dataclasses.asdict(SMOKE)
    assert Study(None, staged).config == SMOKE


def test_checkpoints_say_what_they_are(staged):
    for name in CHECKPOINTS:
        description = load_checkpoint(staged / f"{name}.ckpt").description
        assert description["kind"] == name
        assert description["data"]["synthetic"] is True
        assert description == json.loads((staged / f"{name}.json").read_text(encoding="utf-8"))
    target, shadow = (load_checkpoint(staged / f"{name}.ckpt") for name in ("target", "shadow"))
    assert target.description["rows"] != shadow.description["rows"]
    assert (target.parameters["layers.0.weight"] != shadow.parameters["layers.0.weight"]).any()


def test_defended_vectors_belong_to_the_rows_of_the_split(staged):
    held, opened = arrays(staged), Study(None, staged)
    data, split = opened.data, opened.split
    members, non_members = split.eval_members, split.eval_non_members
    assert (len(members), len(non_members)) == (200, 200)
    np.testing.assert_array_equal(held["indices"], np.concatenate((members, non_members)))
    np.testing.assert_array_equal(held["is_member"], np.isin(held["indices"], split.target_members))
    np.testing.assert_array_equal(held["labels"], data.labels[held["indices"]])
    assert held["synthetic"]


def test_defended_vectors_are_confidence_vectors_of_the_same_class(staged):
    held = arrays(staged)
    for name in ("clean_probs", "defended_probs"):
        assert held[name].shape == (400, 30)
        assert held[name].min() >= 0
        np.testing.assert_allclose(held[name].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(held["clean_probs"].argmax(axis=1), held["defended_probs"].argmax(axis=1))
    assert np.median(np.abs(held["clean_probs"] - held["defended_probs"]).sum(axis=1)) > 1e-3


def test_clean_vectors_are_the_targets_answers(staged):
    held = arrays(staged)
    np.testing.assert_allclose(held["clean_probs"], answers(staged, "target", held["indices"]), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- its results


def test_results_are_about_these_files(staged):
    results, held, opened = held_in(staged), arrays(staged), Study(None, staged)
    clean, defended, is_member = held["clean_probs"], held["defended_probs"], held["is_member"]
    right = clean.argmax(axis=1) == held["labels"]
    assert results["target"]["member_accuracy"] == pytest.approx(right[is_member].mean())
    assert results["target"]["non_member_accuracy"] == pytest.approx(right[~is_member].mean())
    assert min(results["target"]["queries"], results["defense"]["queries"]) >= 400
    moved = np.abs(clean.astype(np.float64) - defended).sum(axis=1)
    assert results["defense"]["mean_l1"] == pytest.approx(moved.mean(), abs=1e-6)
    assert results["defense"]["label_changes"] == 0
    assert (results["defense"]["name"], results["defense"]["config"]["alignment"]) == ("defenmi", "corrected")
    assert (results["defense"]["noise"], results["defense"]["keeps_labels"]) == ("keyed", True)
    assert results["settings"]["order"] == "synthetic"
    assert (results["dataset"], results["synthetic"], results["smoke"]) == ("location-like", True, True)
    gap = next(attack for attack in results["attacks"] if attack["name"] == "gap")
    assert gap["recall"] == pytest.approx(right[is_member].mean())

    def accuracy(role, indices):
        said = answers(staged, role, indices).argmax(axis=1)
        return pytest.approx((said == opened.data.labels[indices]).mean())

    split = opened.split
    assert results["target"]["test_accuracy"] == accuracy("target", split.target_non_members)
    assert results["shadow"]["member_accuracy"] == accuracy("shadow", split.attacker_members)
    assert results["shadow"]["non_member_accuracy"] == accuracy("shadow", split.attacker_non_members)


def test_every_attacker_is_there_in_every_state(staged):
    results = held_in(staged)
    left_out = {(entry["name"], entry["knowledge"]) for entry in results["not_run"]}
    assert left_out == {
        *((name, knowledge) for name in ("label-noise", "label-shifts") for knowledge in ("auditor", "shadow")),
        ("lira-augmented", "online"),
    }
    expected = []
    for name, spec in select(None).items():
        attack = spec.make(AttackContext())
        for knowledge in attack.learns_from if attack.needs_fit else ("none",):
            if (name, knowledge) not in left_out and knowledge != "offline":  # a smoke test has an online bank alone
                states = [] if attack.needs_randomness else [("static", False)]
                states += [("static", True)] + ([("adaptive", True)] if knowledge != "none" else [])
                expected += [(name, knowledge, *state) for state in states]
    found = [
        tuple(attack[key] for key in ("name", "knowledge", "adversary", "defended")) for attack in results["attacks"]
    ]
    assert sorted(found) == sorted(expected)
    # An auditor is judged on the half that it is not fitted on, the others on all rows.
    for attack in results["attacks"]:
        n = 100 if attack["knowledge"] == "auditor" else 200
        assert (attack["n_members"], attack["n_non_members"]) == (n, n)


def test_records_have_a_line_for_every_judged_row(staged):
    with (staged / "records.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    held = arrays(staged)
    assert [int(row["index"]) for row in rows] == held["indices"].tolist()
    assert [row["is_member"] == "True" for row in rows] == held["is_member"].tolist()
    column = [row["gap|none|static|defended"] for row in rows]
    assert [float(value) for value in column] == (held["defended_probs"].argmax(axis=1) == held["labels"]).tolist()
    judged = [row["confidence|auditor|adaptive|defended"] for row in rows]
    assert sum(value != "" for value in judged) == 200


def test_doubts_are_told_and_a_smoke_test_is_one(staged):
    checks = {check["name"]: check for check in held_in(staged)["checks"]}
    failed = {name for name, check in checks.items() if not check["passed"]}
    assert {"smoke", "synthetic"} <= failed
    assert not {"overlap", "labels-changed", "same-answer", "treatment", "duplicates"} & failed
    assert all(check["meaning"] and check["advice"] for check in checks.values() if not check["passed"])


def test_verdict_and_budgets_agree_with_the_attacks(staged):
    results = held_in(staged)
    for state, defended in (("undefended", False), ("defended", True)):
        attacks = [attack for attack in results["attacks"] if attack["defended"] == defended]
        verdict = results["verdict"][state]
        assert verdict["strongest_balanced_accuracy"] == max(attack["balanced_accuracy"] for attack in attacks)
        assert verdict["gap_accuracy"] == next(a["balanced_accuracy"] for a in attacks if a["name"] == "gap")
    nn = {a["defended"]: a["accuracy"] for a in results["attacks"] if (a["name"], a["adversary"]) == ("nn", "static")}
    budgets = {point["budget"]: point["accuracy"] for point in results["budgets"]}
    assert list(budgets) == [1.0, 0.7, 0.5, 0.3, 0.1, 0.0]
    assert budgets[0.0] == pytest.approx(nn[False])


def test_csv_has_the_numbers_of_the_json(staged):
    with (staged / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    attacks = held_in(staged)["attacks"]
    assert [(row["name"], row["adversary"], float(row["auc"])) for row in rows] == [
        (attack["name"], attack["adversary"], attack["auc"]) for attack in attacks
    ]


def test_stages_one_by_one_give_what_one_run_gives(staged, at_once):
    one, other = held_in(staged), held_in(at_once)
    assert set(one.pop("timings")) < set(other.pop("timings"))
    for held in (one, other):
        for name in ("created", "command"):
            del held["evidence"][name]
        del held["evidence"]["digests"]["checkpoint"]  # its file says when parameters were written
    assert one == other
    for name, array in arrays(staged).items():
        np.testing.assert_array_equal(array, arrays(at_once)[name])
    for name in CHECKPOINTS:
        first, second = (load_checkpoint(folder / f"{name}.ckpt") for folder in (staged, at_once))
        assert first.description == second.description
        assert first.parameters.keys() == second.parameters.keys()
        for key, array in first.parameters.items():
            np.testing.assert_array_equal(array, second.parameters[key])


def test_a_network_is_named_by_class_size_and_digests(at_once):
    held = json.loads((at_once / "results.json").read_text(encoding="utf-8"))
    evidence = held["evidence"]
    checkpoint = at_once / "target.ckpt"
    assert evidence["digests"]["checkpoint"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert evidence["network"] == "MLP"
    parameters = load_checkpoint(checkpoint).parameters
    assert evidence["parameters"] == sum(array.size for array in parameters.values())
    assert set(evidence["digests"]) == {"checkpoint", "parameters", "data", "members"}
    assert all(len(digest) == 64 for digest in evidence["digests"].values())
