"""VGG16 on images, end to end on a small width: the stages one by one, the tutorial's example, what they refuse."""

import contextlib
import csv
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from study_folders import arrays, held_in

from mindefense import cli
from mindefense.checkpoint import load_checkpoint, load_into, parameters_of
from mindefense.errors import CheckpointError, InputError
from mindefense.evaluation import EvaluationConfig
from mindefense.images import ImageTransform, augmented
from mindefense.models import vgg16
from mindefense.progress import ConsoleProgress
from mindefense.study import Study, StudyConfig
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


def test_a_list_of_other_members_than_the_checkpoints_is_refused(staged_vgg, images, tmp_path, capfd, on_the_cpu):
    given, out = staged_vgg[0] / "target.ckpt", tmp_path / "out"
    for first, code in ((0, 0), (1, 2)):
        np.savetxt(tmp_path / "rows.txt", np.arange(first, MEMBERS + first), fmt="%d")
        typed = ["train", "--dataset", "cifar100", "--data_path", str(images), "--pre_trained", str(given)]
        typed += ["--members", str(tmp_path / "rows.txt"), "--num_samples", "9", "--out", str(out)]
        assert cli.main(typed) == code
    assert "was not trained on this study's target members: its rows differ" in capfd.readouterr().err


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


def test_results_name_the_data_and_say_how_the_target_was_trained(staged_vgg, images):
    out, _ = staged_vgg
    settings = held_in(out)["settings"]
    assert settings["data_path"] == Path(images).name
    assert settings["target_training"] == load_checkpoint(out / "target.ckpt").description["train"]
