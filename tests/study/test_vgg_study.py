"""VGG16 on images, end to end on a small width: the stages one by one, the tutorial's example, what they refuse."""

import contextlib
import csv
import functools
import importlib.util
import json
import re
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest

from mindefense import cli
from mindefense.checkpoint import load_checkpoint, load_into, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation import EvaluationConfig
from mindefense.images import ImageTransform, augmented
from mindefense.models import vgg16
from mindefense.progress import ConsoleProgress
from mindefense.study import Study, StudyConfig
from mindefense.targets.base import clean_target
from mindefense.targets.cell import forward

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "example_vgg_cifar.py"
MEMBERS, JUDGED, BATCH = 60, 40, 20
STAGES = ("train-defender", "defend", "evaluate")
# Those that ask about the images alone, so that it can be counted what passes the network.
ATTACKS = "max-confidence,entropy,mindarmour-lr,mindarmour-knn,mindarmour-mlp,mindarmour-rf"


def train_arguments(images, out):
    return [
        *("train", "--smoke", "--model", "vgg16", "--dataset", "cifar100", "--data_path", str(images)),
        *("--image_size", "32", "--width_multiplier", "0.0625", "--members", str(MEMBERS), "--augment"),
        *("--num_samples", str(JUDGED), "--epochs", "2", "--batch_size", str(BATCH), "--out", str(out)),
    ]


def run_example(*arguments):
    """The example in this process."""
    spec = importlib.util.spec_from_file_location("example_vgg_cifar", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [EXAMPLE.name, *map(str, arguments)])
        return module.main()


def held_in(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def arrays(folder):
    with np.load(folder / "defended.npz") as held:
        return dict(held)


@pytest.fixture(scope="session")
def staged_vgg(tmp_path_factory, on_the_cpu, images, watch):
    """A smoke test with DefenMI, a command at a time: the folder, and what was seen of each command."""
    out = tmp_path_factory.mktemp("vgg") / "out"
    seen = watch(BATCH)
    seen.run("train", lambda: cli.main(train_arguments(images, out)))
    for stage in STAGES:
        more = ["--attacks", ATTACKS] if stage == "evaluate" else []
        seen.run(stage, lambda stage=stage, more=more: cli.main([stage, "--out", str(out), *more]))
    assert seen.codes == dict.fromkeys(("train", *STAGES), 0), seen.errors
    return out, seen


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory, staged_vgg, images, watch):
    """The example on that target: without more, and with MemGuard and the tutorial's crops."""
    given, _ = staged_vgg
    folder = tmp_path_factory.mktemp("tutorial")
    seen = watch(BATCH)
    common = ["--smoke", "--data_path", images, "--pre_trained", given / "target.ckpt", "--batch_size", BATCH]
    common += ["--num_samples", JUDGED, "--attacks", ATTACKS]
    seen.run("plain", lambda: run_example(*common, "--image_size", 32, "--out", folder / "plain"))
    seen.run("parity", lambda: run_example(*common, "--defense", "memguard", "--parity", "--out", folder / "parity"))
    assert seen.codes == {"plain": 0, "parity": 0}, seen.errors
    return folder, seen


# ------------------------------------------------------------------------------------------------------- stage by stage


def test_every_stage_is_silent_but_for_its_report(staged_vgg):
    out, seen = staged_vgg
    assert set(seen.errors.values()) == {""}
    for stage, following in (("train", "train-defender"), ("train-defender", "defend"), ("defend", "evaluate")):
        assert seen.screens[stage].endswith(f"next: mindefense {following} --out {out}\n")
    for screen in seen.screens.values():
        assert "smoke test: " in screen
        assert "members and non-members are treated alike" in screen
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [
            *("study.json", "defended.npz", "results.json", "attacks.csv", "records.csv", "report.html", "report.md"),
            *(f"{name}.{end}" for name in ("target", "defender", "defense") for end in ("ckpt", "json")),
        ]
    )


def test_target_says_what_it_was_trained_on_and_how(staged_vgg):
    held = load_checkpoint(staged_vgg[0] / "target.ckpt")
    described = held.description
    assert (described["kind"], described["members"]) == ("target", MEMBERS)
    sizes = {"num_classes": 100, "image_size": 32, "batch_norm": True, "width_multiplier": 0.0625}
    assert described["architecture"] == {"name": "vgg16", **sizes}
    train = described["train"]
    assert (train["epochs"], train["batch_size"], train["augment"], train["momentum"]) == (2, BATCH, True, 0.9)
    assert len(described["history"]["loss"]) == 2
    assert held.state == {}  # no optimizer's state in a finished training
    start, net = vgg16(**sizes, seed=0), vgg16(**sizes)
    load_into(net, held)
    for name, array in parameters_of(start).items():
        if name.endswith(("weight", "moving_mean")):
            assert (parameters_of(net)[name] != array).any(), name


def test_defended_vectors_are_the_targets_answers_to_the_judged_images(staged_vgg):
    out, _ = staged_vgg
    held, opened = arrays(out), Study(None, out)
    judged = [*range(JUDGED), *range(opened.data.parts["test"].start, opened.data.parts["test"].start + JUDGED)]
    assert held["indices"].tolist() == judged
    assert held["is_member"].tolist() == [True] * JUDGED + [False] * JUDGED
    np.testing.assert_array_equal(held["labels"], opened.data.labels[judged])
    net = vgg16(image_size=32, width_multiplier=0.0625)
    load_into(net, load_checkpoint(out / "target.ckpt"))
    logits = forward(net, opened.data.features[judged], batch_size=8, prepare=ImageTransform(32))
    logits = np.float64(logits)
    np.testing.assert_allclose(
        held["clean_probs"], np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-5
    )
    np.testing.assert_array_equal(held["clean_probs"].argmax(axis=1), held["defended_probs"].argmax(axis=1))
    assert (held["clean_probs"] != held["defended_probs"]).any()


def test_results_of_images_have_no_shadow(staged_vgg):
    out, _ = staged_vgg
    held = held_in(out)
    assert held["shadow"] is None
    assert held["budgets"] == []
    assert held["warnings"] == ["smoke test: the figures mean nothing", *SYNTHETIC[: held["synthetic"]]][::-1]
    assert held["defense"]["name"] == "defenmi"
    assert held["settings"]["members"] == MEMBERS
    right = arrays(out)["clean_probs"].argmax(axis=1) == arrays(out)["labels"]
    assert held["target"]["member_accuracy"] == right[:JUDGED].mean()
    assert held["target"]["test_accuracy"] == held["target"]["non_member_accuracy"] == right[JUDGED:].mean()
    learning = {"max-confidence", "entropy", *(f"mindarmour-{method}" for method in ("lr", "knn", "mlp", "rf"))}
    expected = {("gap", "static", False), ("gap", "static", True)}
    expected |= {(name, *state) for name in learning for state in (("static", False), ("static", True))}
    expected |= {(name, "adaptive", True) for name in learning}
    assert {(attack["name"], attack["adversary"], attack["defended"]) for attack in held["attacks"]} == expected
    assert len(held["attacks"]) == len(expected)


ALIKE = "members and non-members are treated alike"
SYNTHETIC = ["synthetic data: made up, not measured"]


def test_auditors_of_images_are_judged_on_a_fifth(staged_vgg, tutorial):
    for folder in (staged_vgg[0], tutorial[0] / "plain", tutorial[0] / "parity"):
        sizes = {(a["name"], a["n_members"], a["n_non_members"]) for a in held_in(folder)["attacks"]}
        assert ("gap", JUDGED, JUDGED) in sizes
        assert {size[1:] for size in sizes if size[0] != "gap"} == {(JUDGED // 5, JUDGED // 5)}


# ---------------------------------------------------------------------------------------- each image through it once


def test_no_image_passes_the_target_twice(staged_vgg, tutorial):
    for seen in (staged_vgg[1], tutorial[1]):
        for name, inputs in seen.inputs.items():
            # Behind DefenMI, all judged images are asked about once more, to see whether the answers stay.
            again = 2 * JUDGED if name == "evaluate" else 0
            assert len(inputs) - len(set(inputs)) == again, name


def test_without_a_defense_the_judged_images_alone_pass_the_target(tutorial):
    folder, seen = tutorial
    assert len(seen.inputs["plain"]) == 2 * JUDGED
    assert held_in(folder / "plain")["target"]["queries"] == 2 * JUDGED


def test_with_defenmi_noised_images_pass_too_and_the_defenders(staged_vgg):
    out, seen = staged_vgg
    # In a smoke test the defender has as many rows as are judged; the judged members are the defender's too.
    known, noised, new = 2 * JUDGED, 2 * JUDGED, JUDGED
    assert len(seen.inputs["train-defender"]) == known
    assert len(seen.inputs["defend"]) == known + new + noised
    assert set(seen.inputs["train-defender"]) < set(seen.inputs["defend"])
    # The noise is that of the same key: what was answered before would be answered again.
    assert set(seen.inputs["evaluate"]) == set(seen.inputs["defend"])
    held = held_in(out)
    assert held["target"]["queries"] == held["defense"]["queries"] == 2 * JUDGED


def test_with_memguard_no_noise_passes(tutorial):
    folder, seen = tutorial
    # With the tutorial's crops the judged members are other images than the defender's.
    cropped = sum(not (crop == image).all() for crop, image in zip(*crops(folder / "parity"), strict=True))
    assert cropped > JUDGED / 2
    assert len(seen.inputs["parity"]) == 2 * JUDGED + JUDGED + cropped


def crops(folder):
    opened = Study(None, folder)
    return opened.rows("eval").members.features, opened.data.features[:JUDGED]


# -------------------------------------------------------------------------------------------------------------- example


def test_example_takes_sizes_and_members_from_the_checkpoint(tutorial, staged_vgg):
    folder, _ = tutorial
    given = load_checkpoint(staged_vgg[0] / "target.ckpt")
    for name in ("plain", "parity"):
        settings = held_in(folder / name)["settings"]
        assert (settings["members"], settings["image_size"], settings["width_multiplier"]) == (MEMBERS, 32, 0.0625)
        held = load_checkpoint(folder / name / "target.ckpt")
        assert held.description == {**given.description, "origin": "target.ckpt"}
        for key, array in given.parameters.items():
            np.testing.assert_array_equal(held.parameters[key], array)


def test_example_asks_what_the_stages_asked(tutorial, staged_vgg):
    one, other = held_in(tutorial[0] / "plain"), held_in(staged_vgg[0])
    assert one["target"] == other["target"]
    assert one["attacks"] == [attack for attack in other["attacks"] if not attack["defended"]]
    assert one["verdict"]["undefended"] == other["verdict"]["undefended"]
    assert one["defense"] is one["verdict"]["defended"] is None


def test_example_prints_the_tutorials_lines_then_table_and_verdict(tutorial):
    folder, seen = tutorial
    for name in ("plain", "parity"):
        lines = seen.screens[name].splitlines()
        said = [line for line in lines if line.startswith("Method: ")]
        attacks = {a["name"]: a for a in held_in(folder / name)["attacks"] if not a["defended"]}
        for line, method in zip(said, ("lr", "knn", "mlp", "rf"), strict=True):
            words = {
                key: "None" if (figure := attacks[f"mindarmour-{method}"][key]) is None else f"{figure:.4f}"
                for key in ("recall", "precision", "accuracy")
            }
            figures = ", ".join(f"'{key}': {word}" for key, word in words.items())
            assert line == f"Method: {method}, {{{figures}}}"
            assert re.search(r"'recall': \d\.\d{4}, .*'accuracy': \d\.\d{4}}$", line)
        order = [lines.index(said[3]), *(first(lines, word) for word in ("Membership inf", "gap", "target: "))]
        assert order == sorted(order)
        assert lines[-1 - (name == "plain")] == f"report: {folder / name / 'report.html'}"
        assert lines[-2 - (name == "plain")] == (
            f"wrote {', '.join(str(folder / name / file) for file in ('results.json', 'attacks.csv', 'records.csv'))}"
        )


def first(lines, word):
    return next(number for number, line in enumerate(lines) if line.strip().startswith(word))


def test_example_shows_before_and_after_with_a_defense(tutorial):
    folder, seen = tutorial
    plain, defended = seen.screens["plain"], seen.screens["parity"]
    assert defended.count("acc  AUC  TPR") == 3
    assert plain.count("acc  AUC  TPR") == 1
    for word in ("unaware of it", "adapts to it", "behind the defense", "cost of memguard (corrected)"):
        assert word in defended
        assert word not in plain
    assert plain.endswith("no defense was used; to see the effect of one: --defense defenmi\n")
    assert "no defense was used" not in defended
    assert held_in(folder / "parity")["defense"]["name"] == "memguard"


def test_parity_is_marked_on_screen_and_in_the_results(tutorial):
    folder, seen = tutorial
    plain, cropped = (" ".join(seen.screens[name].split()) for name in ("plain", "parity"))
    for text, mine, other in ((cropped, "only members are cropped", ALIKE), (plain, ALIKE, "are cropped")):
        assert mine in text
        assert other not in text
    assert [any("parity: " in w for w in held_in(folder / name)["warnings"]) for name in ("plain", "parity")] == [
        False,
        True,
    ]
    assert "SYNTHETIC" not in cropped or held_in(folder / "parity")["synthetic"]


def test_parity_crops_the_judged_members_and_nothing_else(few_images, tmp_path):
    settings = {"model": "vgg16", "dataset": "cifar100", "data_path": str(few_images), "members": 30, "num_samples": 20}
    alike, parity = (Study(StudyConfig(**settings, parity=flag), tmp_path) for flag in (False, True))
    members = alike.rows("eval").members.features
    np.testing.assert_array_equal(parity.rows("eval").members.features, augmented(members, seed=1))
    assert (parity.rows("eval").members.features != members).any()
    np.testing.assert_array_equal(parity.rows("eval").members.indices, alike.rows("eval").members.indices)
    np.testing.assert_array_equal(parity.rows("eval").members.labels, alike.rows("eval").members.labels)
    for role, kind in (("eval", "non_members"), ("target", "members"), ("defender", "members")):
        one, other = (getattr(study.rows(role), kind).features for study in (alike, parity))
        np.testing.assert_array_equal(one, other)


def test_csv_of_the_example_has_the_numbers_of_its_json(tutorial):
    with (tutorial[0] / "parity" / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    attacks = held_in(tutorial[0] / "parity")["attacks"]
    assert [(row["name"], row["adversary"], float(row["auc"])) for row in rows] == [
        (attack["name"], attack["adversary"], attack["auc"]) for attack in attacks
    ]


def test_example_trains_a_small_target_on_real_images_in_a_smoke_test(tmp_path, images, capfd, monkeypatch, on_the_cpu):
    """Up to the training, which tests/test_examples.py sees on made-up images."""
    started = []

    def stop(self, **given):
        started.append((self, given))
        raise InputError("enough")

    monkeypatch.setattr(Study, "run", stop)
    assert run_example("--smoke", "--data_path", images, "--out", tmp_path / "out") == 2
    out = capfd.readouterr().out
    assert "mindefense: cifar100, seed 0, on" in out
    assert "smoke test: " in out
    assert "made up" not in out
    ((study, given),) = started
    assert given == {"pre_trained": None, "config": EvaluationConfig(), "jobs": None}
    assert not study.data.synthetic
    assert len(study.rows("target").members) == 300
    assert len(study.rows("eval").members) == len(study.rows("eval").non_members) == 150
    assert (study.preset.architecture["image_size"], study.preset.architecture["width_multiplier"]) == (32, 0.125)
    assert study.preset.train.epochs == 8


# --------------------------------------------------------------------------------------------------------------- resume


def test_interrupted_training_is_taken_up_with_the_same_bytes(staged_vgg, images, watch, tmp_path, monkeypatch):
    whole = ConsoleProgress.stage

    @contextlib.contextmanager
    def interrupted(self, title, total):
        with whole(self, title, total) as advance:

            def stop(done, note):
                advance(done, note)
                raise KeyboardInterrupt

            yield stop

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(ConsoleProgress, "stage", interrupted)
        assert cli.main(train_arguments(images, out)) == 130
    half = load_checkpoint(out / "target.ckpt")
    assert len(half.description["history"]["loss"]) == 1
    assert half.state
    with pytest.raises(CheckpointError, match=r"the training stopped after epoch 1 of 2; run .*--resume"):
        Study(None, out).evaluate()
    with pytest.raises(CheckpointError, match="the training stopped after epoch 1 of 2; finish its training"):
        Study(None, out).adopt_target(out / "target.ckpt")
    seen = watch(BATCH)
    seen.run("resume", lambda: cli.main([*train_arguments(images, out), "--resume"]))
    assert (seen.codes, seen.errors) == ({"resume": 0}, {"resume": ""})
    assert seen.units["resume"] == {"train target": [2, 2]}  # the epoch before the interruption among them
    given, _ = staged_vgg
    for name in ("target.ckpt", "target.json", "study.json"):
        assert (out / name).read_bytes() == (given / name).read_bytes()


# ---------------------------------------------------------------------------------------------------- other checkpoints


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


def test_a_list_of_other_members_than_the_checkpoints_is_refused(staged_vgg, images, tmp_path, capfd, on_the_cpu):
    given, out = staged_vgg[0] / "target.ckpt", tmp_path / "out"
    for first, code in ((0, 0), (1, 2)):
        np.savetxt(tmp_path / "rows.txt", np.arange(first, MEMBERS + first), fmt="%d")
        typed = ["train", "--dataset", "cifar100", "--data_path", str(images), "--pre_trained", str(given)]
        typed += ["--members", str(tmp_path / "rows.txt"), "--num_samples", "9", "--out", str(out)]
        assert cli.main(typed) == code
    assert "was not trained on this study's target members: its rows differ" in capfd.readouterr().err


def test_nobody_left_for_the_defender_is_said_before_anything_is_done(few_images, foreign, tmp_path, capfd, on_the_cpu):
    out = tmp_path / "out"
    assert cli.main(adopt(few_images, foreign, out, "--num_samples", "50")) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    for word in ("rows for the defender", "none in the split first 60 of train, first 50 of each", "--num_samples"):
        assert word in err
    assert not out.exists() or not list(out.iterdir())


def test_members_other_than_the_checkpoints_are_refused(staged_vgg, images, tmp_path, capfd, on_the_cpu):
    given, out = staged_vgg[0] / "target.ckpt", tmp_path / "out"
    assert cli.main(["train", "--dataset", "cifar100", "--data_path", str(images), "--pre_trained", str(given),
                     "--members", "59", "--num_samples", "9", "--out", str(out)]) == 2  # fmt: skip
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "was not trained on this study's target members: its rows differ" in err
    assert not out.exists()


def test_images_of_another_size_are_refused_with_what_the_file_holds(staged_vgg, images, tmp_path, capfd, on_the_cpu):
    given, out = staged_vgg[0] / "target.ckpt", tmp_path / "out"
    assert run_example("--data_path", images, "--pre_trained", given, "--image_size", 96, "--num_samples", 9,
                       "--out", out) == 2  # fmt: skip
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    for word in ("target.ckpt does not fit", "image_size 96", "contain VGG16 with batch normalization, image_size 32"):
        assert word in err
    assert not out.exists()


def test_target_trained_on_other_images_is_refused(staged_vgg, few_images, tmp_path, on_the_cpu):
    settings = {"model": "vgg16", "dataset": "cifar100", "data_path": str(few_images), "image_size": 32}
    other = Study(StudyConfig(**settings, width_multiplier=0.0625, members=MEMBERS), tmp_path / "out")
    with pytest.raises(CheckpointError, match="its data differ"):
        other.adopt_target(staged_vgg[0] / "target.ckpt")
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("command", ["train", *STAGES, "plain", "parity"])
def test_stages_tell_as_many_units_as_they_promise(command, staged_vgg, tutorial):
    units = {**staged_vgg[1].units, **tutorial[1].units}[command]
    assert units
    for title, (promised, told) in units.items():
        assert (title, told) == (title, promised)
    if "defend" in units:  # DefenMI's rows come out of the network and out of the search, MemGuard's out of the search
        assert units["defend"][0] == 2 * JUDGED * (1 if command == "parity" else 2)


def test_adopting_another_target_forgets_the_one_before(few_images, foreign, tmp_path, on_the_cpu):
    settings = {"model": "vgg16", "dataset": "cifar100", "data_path": str(few_images), "image_size": 32}
    study = Study(StudyConfig(**settings, width_multiplier=0.0625, defense="none", batch_size=5), tmp_path / "out")
    study.adopt_target(foreign)
    rows = study.rows("eval").members.features[:5]
    before = clean_target(study._networks.network("target")).query(rows)
    save_checkpoint(tmp_path / "two.ckpt", parameters_of(vgg16(image_size=32, width_multiplier=0.0625, seed=6)), {})
    study.adopt_target(tmp_path / "two.ckpt")
    assert (clean_target(study._networks.network("target")).query(rows) != before).any()


def test_results_name_the_data_and_say_how_the_target_was_trained(staged_vgg, images):
    out, _ = staged_vgg
    settings = held_in(out)["settings"]
    assert settings["data_path"] == Path(images).name
    assert settings["target_training"] == load_checkpoint(out / "target.ckpt").description["train"]
