"""Recorded outputs behind a defense, without a study: fitted on rows that judge nobody, evaluated from the files."""

import dataclasses
import json

import numpy as np
import pytest

from mindefense import cli
from mindefense.data import load_outputs
from mindefense.data.outputs import with_defended
from mindefense.defenses import DefenseSpec
from mindefense.errors import DataError, InputError
from mindefense.evaluation import evaluate_outputs
from mindefense.evaluation.recorded import fit_recorded, recorded_scenario
from mindefense.training import PUBLISHED_DEFENDER

ROWS, CLASSES = 800, 5
ATTACKS = ("confidence", "max-confidence", "shokri-label")


@pytest.fixture(scope="module", autouse=True)
def soon_fitted():
    """A tenth of the published epochs: the classifier need not be good here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mindefense.training.PUBLISHED_DEFENDER", dataclasses.replace(PUBLISHED_DEFENDER, epochs=40))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels, is_member = rng.integers(CLASSES, size=ROWS), np.arange(ROWS) % 2 == 0
    logits = rng.normal(0, 1, (ROWS, CLASSES)).astype(np.float32)
    logits[np.arange(ROWS), labels] += 2 + 3 * is_member
    out = tmp_path_factory.mktemp("recorded")
    held = {"logits": logits, "labels": labels, "is_member": is_member}
    np.savez(out / "outputs.npz", **held)
    np.savez(out / "split.npz", **held, split=np.where(np.arange(ROWS) % 4 < 2, "fit", "eval"))
    return out


@pytest.fixture(scope="module")
def fitted(folder):
    outputs = load_outputs(folder / "outputs.npz")
    return outputs, fit_recorded(outputs, DefenseSpec.parse("defenmi"))


def run(*arguments):
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as left:
        return left.code


def test_a_fitted_defense_is_evaluated(fitted):
    outputs, defense = fitted
    found = evaluate_outputs(outputs, attacks=ATTACKS, defense=defense)
    assert (found.defense.name, found.defense.keeps_labels) == ("defenmi", True)
    assert found.defense.defended.label_changes == 0
    assert found.defense.defended.mean_l1 > 0.05
    areas = [
        max(one.metrics.two_sided_auc for one in found.attacks if (one.name, one.defended) == ("max-confidence", state))
        for state in (False, True)
    ]
    assert areas[1] < areas[0] - 0.1
    assert {one.adversary for one in found.attacks if one.defended} == {"static", "adaptive"}


def test_rows_that_it_was_fitted_on_judge_nobody_behind_it(fitted):
    outputs, defense = fitted
    found = evaluate_outputs(outputs, attacks=ATTACKS, defense=defense)
    assert any(one.by_all is not None for one in found.attacks if not one.defended)
    assert all(one.by_all is None for one in found.attacks if one.defended)
    known = recorded_scenario(outputs).sets.known
    assert not set(known.indices()) & set(recorded_scenario(outputs).sets.judged.indices())


def test_only_the_known_rows_are_fitted_on(folder, monkeypatch):
    from mindefense.defenses import classifier

    seen, real = {}, classifier.fit_defender

    def fit(probs, is_member, **more):
        seen.update(probs=probs, is_member=is_member)
        return real(probs, is_member, **more)

    monkeypatch.setattr(classifier, "fit_defender", fit)
    outputs = load_outputs(folder / "split.npz")
    fit_recorded(outputs, DefenseSpec.parse("memguard"))
    assert len(seen["probs"]) == outputs.split.sum()
    known = np.exp(outputs.log_probs[outputs.split])
    in_order = [np.sort(probs, axis=0) for probs in (seen["probs"], known)]
    np.testing.assert_allclose(*in_order, rtol=1e-4, atol=1e-7)
    assert seen["is_member"].sum() == (outputs.split & outputs.is_member).sum()


def test_defended_and_undefended_answers_are_not_mixed(fitted, folder):
    outputs, defense = fitted
    both = with_defended(outputs, folder / "outputs.npz")
    with pytest.raises(InputError, match="none, since the outputs hold defended answers"):
        evaluate_outputs(both, defense=defense)
    with pytest.raises(DataError, match="only undefended answers"):
        with_defended(both, folder / "outputs.npz")


@pytest.mark.parametrize("name", ["class-mean", "defenmi"])
def test_the_command_line_goes_all_the_way(name, folder, tmp_path, capsys):
    assert run("defend", "--outputs", folder / "outputs.npz", "--defense", name, "--out", tmp_path / "d") == 0
    said = capsys.readouterr().out
    assert "fitted on 400 rows of outputs.npz drawn with seed 0: 200 members and 200 non-members; no attacker" in said
    assert ("the search starts from the clean answers" in said) == (name == "defenmi")
    written = tmp_path / "d" / "defended.npz"
    assert written.stat().st_mode & 0o077 == 0  # it says who is a member
    held = load_outputs(written)
    assert held.split.sum() == 400
    verdicts = []
    for given in (["--outputs", written], ["--outputs", folder / "outputs.npz", "--defended", written]):
        out = tmp_path / f"e{len(verdicts)}"
        assert run("evaluate", *given, "--out", out, "--attacks", ",".join(ATTACKS)) == 0
        results = json.loads((out / "results.json").read_text(encoding="utf-8"))
        verdicts.append(results["verdict"])
        assert results["defense"]["name"] == "recorded"
    for state in ("undefended", "defended"):
        assert verdicts[0][state]["sharpest_two_sided_auc"] == pytest.approx(
            verdicts[1][state]["sharpest_two_sided_auc"], abs=1e-6
        )


def test_vectors_of_a_plain_defense_are_taken(folder, tmp_path):
    outputs = folder / "outputs.npz"
    assert run("defend", "--outputs", outputs, "--defense", "rounding=1", "--out", tmp_path) == 0
    defended = with_defended(load_outputs(outputs), tmp_path / "defended_outputs.npy")
    assert (np.abs(np.exp(defended.defended_log_probs) * 10 % 1 - 0.5) > 0.3).mean() > 0.8  # tenths, but for the sum


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda held: {**held, "is_member": ~held["is_member"]}, "is_member row 0: expected True, got False"),
        (lambda held: {**held, "labels": (held["labels"] + 1) % CLASSES}, "labels row 0"),
        (lambda held: {name: value[:700] for name, value in held.items()}, "got (700, 5)"),
    ],
)
def test_answers_of_other_rows_are_refused(change, words, folder, tmp_path):
    with np.load(folder / "outputs.npz") as held:
        np.savez(tmp_path / "other.npz", **change(dict(held)))
    with pytest.raises(DataError) as caught:
        with_defended(load_outputs(folder / "outputs.npz"), tmp_path / "other.npz")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [(np.full((10, CLASSES), 0.2), "got (10, 5)"), (np.full((ROWS, CLASSES), 3.0), "defended_probs row 0")],
)
def test_arrays_of_something_else_are_refused(values, words, folder, tmp_path):
    np.save(tmp_path / "other.npy", values)
    with pytest.raises(DataError) as caught:
        with_defended(load_outputs(folder / "outputs.npz"), tmp_path / "other.npy")
    assert words in str(caught.value)


def test_what_does_not_go_together_is_one_line(folder, tmp_path, capsys):
    assert (
        run("defend", "--outputs", folder / "outputs.npz", "--defense", "memguard", "--resume", "--out", tmp_path) == 2
    )
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "expected neither --resume nor --key" in said


def test_defenses_of_recorded_outputs_are_compared(folder, tmp_path, capsys):
    given = ("compare", "--outputs", folder / "outputs.npz", "--out", tmp_path / "c", "--attacks", ",".join(ATTACKS))
    assert run(*given, "--defenses", "class-mean,label-only") == 0
    held = json.loads((tmp_path / "c" / "comparison.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in held["contenders"]] == ["none", "class-mean", "label-only"]
    assert "label-only" in capsys.readouterr().out
    assert (tmp_path / "c" / "comparison.html").is_file()
    assert run(*given, "--training", "early-stopping=0.9") == 2
    assert "recorded outputs; they have no model to train" in capsys.readouterr().err
