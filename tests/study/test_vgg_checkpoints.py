"""VGG16 from a checkpoint of another program: its sizes, and which images are taken for its members."""

import csv
import functools

import mindspore as ms
import numpy as np
import pytest
from study_folders import held_in

from mindefense import cli
from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.errors import InputError
from mindefense.models import vgg16
from mindefense.study import Study, StudyConfig
from mindefense.targets.base import clean_target


@pytest.fixture(scope="session")
def foreign(tmp_path_factory):
    """A checkpoint of another program: parameters alone, and what its optimizer left."""
    path = tmp_path_factory.mktemp("foreign") / "VGG16-100_781.ckpt"
    net = vgg16(image_size=32, width_multiplier=0.0625, seed=5)
    held = [{"name": name, "data": ms.Tensor(array)} for name, array in parameters_of(net).items()]
    held.append({"name": "moments.layers.0.weight", "data": ms.Tensor(np.zeros((4, 3, 3, 3), np.float32))})
    ms.save_checkpoint(held, str(path))
    return path


def adopt(images, foreign, out, *more):
    return [
        *("train", "--data_path", str(images), "--dataset", "cifar100", "--pre_trained", str(foreign), "--image_size"),
        *("32", "--width_multiplier", "0.0625", "--out", str(out), *more),
    ]


def test_checkpoint_of_another_program_is_taken_at_the_users_word(few_images, foreign, tmp_path, on_the_cpu):
    out = tmp_path / "out"
    assert cli.main(adopt(few_images, foreign, out, "--num_samples", "20")) == 0
    opened, held = Study(None, out), load_checkpoint(out / "target.ckpt")
    assert (held.description["kind"], held.description["origin"]) == ("target", "VGG16-100_781.ckpt")
    assert held.parameters.keys() == load_checkpoint(foreign).parameters.keys()
    assert opened.rows("target").members.indices.tolist() == list(range(60))
    assert opened.rows("eval").members.indices.tolist() == list(range(20))
    assert opened.rows("eval").non_members.indices.tolist() == list(range(60, 80))
    assert opened.rows("defender").non_members.indices.tolist() == list(range(80, 110))
    assert opened.config.members is None
    with pytest.raises(InputError, match="rows for the attacker"):
        opened.rows("attacker")


def test_sizes_are_those_of_the_file_and_are_said(few_images, foreign, tmp_path, capfd, on_the_cpu):
    wrapped = tmp_path / "wrapped.ckpt"
    held = load_checkpoint(foreign).parameters
    named = [{"name": f"network.{name}", "data": ms.Tensor(array)} for name, array in held.items()]
    ms.save_checkpoint(named, str(wrapped))
    out = tmp_path / "out"
    given = ("train", "--data_path", str(few_images), "--dataset", "cifar100", "--pre_trained", str(wrapped))
    assert cli.main([*given, "--num_samples", "20", "--out", str(out)]) == 0
    assert "settings taken from wrapped.ckpt: image_size 32, width_multiplier 0.0625" in capfd.readouterr().out
    assert Study(None, out).config.image_size == 32
    assert load_checkpoint(out / "target.ckpt").parameters.keys() == held.keys()  # without the prefix


def test_another_network_is_named_with_where_to_go(few_images, tmp_path, capfd, on_the_cpu):
    other = tmp_path / "other.ckpt"
    save_checkpoint(other, {"conv1.weight": np.zeros((8, 3, 3, 3), np.float32)}, {})
    given = ("train", "--data_path", str(few_images), "--dataset", "cifar100", "--pre_trained", str(other))
    assert cli.main([*given, "--image_size", "32", "--num_samples", "20", "--out", str(tmp_path / "out")]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "docs/your_model.md" in said


def test_members_of_a_foreign_checkpoint_may_be_said(few_images, foreign, tmp_path, on_the_cpu):
    out = tmp_path / "out"
    assert cli.main(adopt(few_images, foreign, out, "--members", "25", "--num_samples", "20")) == 0
    opened = Study(None, out)
    assert opened.rows("target").members.indices.tolist() == list(range(25))
    assert opened.rows("defender").non_members.indices.tolist() == list(range(25, 50))


def test_members_may_be_listed_in_a_file_and_the_screen_says_which(few_images, foreign, tmp_path, capfd, on_the_cpu):
    listed, out = np.random.default_rng(8).permutation(60)[:24], tmp_path / "out"
    for name, save in (("rows.npy", np.save), ("rows.txt", functools.partial(np.savetxt, fmt="%d"))):
        save(tmp_path / name, listed)
        typed = adopt(few_images, foreign, out, "--members", str(tmp_path / name), "--num_samples", "20")[1:]
        code = cli.main(["run", *typed, "--defense", "none", "--attacks", "gap,confidence"])
        said, err = capfd.readouterr()
        assert (code, err) == (0, "")
        said = " ".join(said.split())
        assert (
            f"members: the 24 rows of the training part (train.bin) that {name} lists; the first 20 of them are" in said
        )
        assert (
            "non-members: rows of the test part (test.bin); the first 20 are judged; the other 36 rows of the" in said
        )
        assert "it is not known which images" not in said
        with (out / "records.csv").open(newline="", encoding="utf-8") as stream:
            rows = {row["is_member"]: [] for row in csv.DictReader(stream)}
            stream.seek(0)
            for row in csv.DictReader(stream):
                rows[row["is_member"]].append(int(row["index"]))
        assert sorted(rows.values()) == sorted([sorted(listed.tolist())[:20], [*range(60, 80)]])
        assert held_in(out)["settings"]["members"] == name  # without the folder: others read it


def test_all_of_the_training_part_for_members_is_said_to_be_assumed(few_images, foreign, tmp_path, capfd, on_the_cpu):
    assert cli.main(adopt(few_images, foreign, tmp_path / "out", "--num_samples", "20")) == 0
    said = " ".join(capfd.readouterr().out.split())
    assert "members: all 60 rows of the training part (train.bin); the first 20 of them are judged" in said
    assert "it is not known which images the checkpoint was trained on" in said
    assert "give those with --members" in said


def test_listed_members_that_the_data_do_not_have_are_refused(few_images, foreign, tmp_path, capfd, on_the_cpu):
    (tmp_path / "rows.csv").write_text("3\n60\n")
    assert cli.main(adopt(few_images, foreign, tmp_path / "out", "--members", str(tmp_path / "rows.csv"))) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "rows.csv line 2: expected a row number 0 … 59, got 60; count rows from 0" in err


def test_nobody_left_for_the_defender_is_said_before_anything_is_done(few_images, foreign, tmp_path, capfd, on_the_cpu):
    out = tmp_path / "out"
    assert cli.main(adopt(few_images, foreign, out, "--num_samples", "50")) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    for word in ("rows for the defender", "none in the split first 60 of train, first 50 of each", "--num_samples"):
        assert word in err
    assert not out.exists() or not list(out.iterdir())


def test_adopting_another_target_forgets_the_one_before(few_images, foreign, tmp_path, on_the_cpu):
    settings = {"model": "vgg16", "dataset": "cifar100", "data_path": str(few_images), "image_size": 32}
    study = Study(StudyConfig(**settings, width_multiplier=0.0625, defense="none", batch_size=5), tmp_path / "out")
    study.adopt_target(foreign)
    rows = study.rows("eval").members.features[:5]
    before = clean_target(study._networks.network("target")).query(rows)
    save_checkpoint(tmp_path / "two.ckpt", parameters_of(vgg16(image_size=32, width_multiplier=0.0625, seed=6)), {})
    study.adopt_target(tmp_path / "two.ckpt")
    assert (clean_target(study._networks.network("target")).query(rows) != before).any()
