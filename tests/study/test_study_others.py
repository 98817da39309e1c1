"""Studies that differ from the usual one: without a defense, with another, or on a target that was given."""

import dataclasses
import os

import numpy as np
import pytest
from study_folders import SMOKE, answers, arrays, copy, held_in

from mindefense import cli
from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError
from mindefense.models import MLP
from mindefense.progress import Quiet
from mindefense.study import Study


def test_without_a_defense_and_resumed(staged, tmp_path, capsys, on_the_cpu):
    """Trained networks are taken up again; what the defense would have needed is not."""
    out = copy(staged, tmp_path / "out", "target.ckpt", "shadow.ckpt")
    before = (out / "target.ckpt").stat().st_mtime_ns
    attacks = ("gap", "confidence", "shokri-label", "mindarmour-lr", "lira")  # the others are in the run with a defense
    named = ["--attacks", ",".join(attacks)]
    assert cli.main(["run", "--smoke", "--defense", "none", "--resume", "--out", str(out), *named]) == 0
    assert (out / "target.ckpt").stat().st_mtime_ns == before
    text = capsys.readouterr().out
    assert "undefended" in text
    assert "adapts" not in text
    results, defended = held_in(out), held_in(staged)
    assert results["defense"] is None
    assert results["verdict"]["defended"] is None
    assert results["budgets"] == []
    # Attackers that average take part behind the defense alone, and ask the undefended target too.
    assert results["target"].pop("queries") < defended["target"].pop("queries")
    assert results["target"] == defended["target"]
    assert results["shadow"] == defended["shadow"]
    assert results["attacks"] == [
        attack for attack in defended["attacks"] if not attack["defended"] and attack["name"] in attacks
    ]
    assert not (out / "defended.npz").exists()


def test_memguard(staged, tmp_path):
    out = copy(staged, tmp_path / "out", "target.ckpt", "defender.ckpt")
    Study(dataclasses.replace(SMOKE, defense="memguard"), out).defend()
    held, other = arrays(out), arrays(staged)
    np.testing.assert_array_equal(held["clean_probs"], other["clean_probs"])
    np.testing.assert_array_equal(held["defended_probs"].argmax(axis=1), held["clean_probs"].argmax(axis=1))
    assert (held["defended_probs"] != other["defended_probs"]).any()
    described = load_checkpoint(out / "defense.ckpt").description
    assert (described["defense"], described["config"]["alignment"]) == ("memguard", "corrected")


def test_published_alignment(staged, tmp_path):
    out = copy(staged, tmp_path / "out", "target.ckpt", "defender.ckpt")
    opened = Study(dataclasses.replace(SMOKE, alignment="published"), out)
    opened.defend()
    held, corrected = load_checkpoint(out / "defense.ckpt"), load_checkpoint(staged / "defense.ckpt")
    assert held.description["config"]["alignment"] == "published"
    # The published program takes the class means from the very rows it defends: here those of the evaluation.
    check_means(held.parameters["class_mean_probs"], arrays(out)["clean_probs"])
    assert (held.parameters["class_mean_probs"] != corrected.parameters["class_mean_probs"]).any()
    assert (arrays(out)["defended_probs"] != arrays(staged)["defended_probs"]).any()


def test_corrected_class_means_come_from_the_defenders_rows(staged):
    split = Study(None, staged).split
    rows = np.concatenate((split.defender_members, split.defender_non_members))
    check_means(
        load_checkpoint(staged / "defense.ckpt").parameters["class_mean_probs"], answers(staged, "target", rows)
    )


def check_means(means, probs):
    """Row k is the softmax of the mean logits, up to a constant the logarithms, of the rows predicted as k."""
    predicted = probs.argmax(axis=1)
    for label in np.unique(predicted):
        powers = np.exp(np.log(probs[predicted == label]).mean(axis=0))
        np.testing.assert_allclose(means[label], powers / powers.sum(), atol=1e-6)


def test_target_from_a_checkpoint(staged, tmp_path, capsys, on_the_cpu):
    out, given = tmp_path / "out", staged / "target.ckpt"
    assert cli.main(["train", "--smoke", "--pre_trained", str(given), "--out", str(out)]) == 0
    assert "wrote" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["study.json", "target.ckpt", "target.json"]
    held, original = (load_checkpoint(folder / "target.ckpt") for folder in (out, staged))
    for name, array in original.parameters.items():
        np.testing.assert_array_equal(held.parameters[name], array)
    assert held.description["rows"] == original.description["rows"]
    Study(None, out).rows("target")


def test_target_of_another_program_is_taken_at_the_users_word(tmp_path):
    net = MLP((446, 1024, 512, 256, 128, 30), seed=5)
    save_checkpoint(tmp_path / "mine.ckpt", parameters_of(net), {})
    opened = Study(SMOKE, tmp_path / "out")
    opened.adopt_target(tmp_path / "mine.ckpt")
    held = load_checkpoint(tmp_path / "out" / "target.ckpt")
    assert (held.description["kind"], held.description["origin"]) == ("target", "mine.ckpt")
    np.testing.assert_array_equal(held.parameters["layers.4.weight"], parameters_of(net)["layers.4.weight"])


def test_a_given_checkpoint_is_copied_which_is_said_and_never_written(tmp_path):
    """Not even where the study's file was a link to it."""
    mine, out, said = tmp_path / "mine.ckpt", tmp_path / "out", []
    net = MLP((446, 1024, 512, 256, 128, 30), seed=5)
    save_checkpoint(mine, parameters_of(net), {})
    before = mine.read_bytes()
    out.mkdir()
    os.link(mine, out / "target.ckpt")
    bars = Quiet()
    bars.say = said.append
    Study(SMOKE, out, progress=bars).adopt_target(mine)
    assert mine.read_bytes() == before
    assert not os.path.samefile(mine, out / "target.ckpt")
    size = f"{(out / 'target.ckpt').stat().st_size / 1e6:,.1f} MB"
    assert said == [
        f"{out / 'target.ckpt'} is a copy of {mine} ({size}) that also records data and rows; the given "
        "file is not changed"
    ]
    Study(SMOKE, out, progress=bars).adopt_target(out / "target.ckpt")
    assert len(said) == 1


def test_target_of_another_seed_is_refused(staged, tmp_path):
    with pytest.raises(CheckpointError, match=r"its data and rows differ.*data, split, members and seed"):
        Study(dataclasses.replace(SMOKE, seed=1), tmp_path / "out").adopt_target(staged / "target.ckpt")
    assert not (tmp_path / "out").exists()


def test_target_of_other_data_is_refused(staged, tmp_path):
    held = load_checkpoint(staged / "target.ckpt")
    described = {**held.description, "data": {"name": "location", "synthetic": False, "sha256": "0" * 64}}
    save_checkpoint(tmp_path / "other.ckpt", held.parameters, described)
    with pytest.raises(CheckpointError):
        Study(SMOKE, tmp_path / "out").adopt_target(tmp_path / "other.ckpt")
