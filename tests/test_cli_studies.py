"""Arguments that become a study, and which command is next."""

import dataclasses
import json

import pytest
from typed_commands import study_config

from mindefense import cli
from mindefense.errors import CheckpointError, InputError

PATHS = ("data_path", "split_config")
SMALL = {"image_size": 32, "width_multiplier": 0.125, "members": 300, "num_samples": 150}


@pytest.mark.parametrize(
    ("argv", "expected", "out"),
    [
        ([], {}, "runs/synthetic"),
        (["--smoke"], {"smoke": True}, "runs/synthetic-smoke"),
        (["--data_path", "."], {"dataset": "location", "data_path": "HERE"}, "runs/location"),
        (
            ["--data_path", ".", "--dataset", "texas100", "--smoke"],
            {"dataset": "texas100", "data_path": "HERE", "smoke": True},
            "runs/texas100-smoke",
        ),
        (["--seed", "7", "--defense", "memguard", "--out", "x"], {"seed": 7, "defense": "memguard"}, "x"),
        (["--defense", "none", "--alignment", "published"], {"defense": "none", "alignment": "published"}, None),
        (
            ["--split_config", "c.ini", "--split_section", "s"],
            {"split_config": "HERE/c.ini", "split_section": "s"},
            None,
        ),
        (
            ["--data_path", ".", "--dataset", "cifar100"],
            {"dataset": "cifar100", "data_path": "HERE", "model": "vgg16"},
            "runs/cifar100",
        ),
        (
            ["--data_path", ".", "--model", "vgg16"],
            {"dataset": "cifar100", "data_path": "HERE", "model": "vgg16"},
            "runs/cifar100",
        ),
        (
            ["--model", "vgg16", "--smoke"],
            {"model": "vgg16", "smoke": True, **SMALL},
            "runs/synthetic-smoke",
        ),
        (
            ["--model", "vgg16", "--smoke", "--image_size", "64", "--width_multiplier", "1", "--num_samples", "7"],
            {"model": "vgg16", "smoke": True, **SMALL, "image_size": 64, "width_multiplier": 1.0, "num_samples": 7},
            None,
        ),
        (
            [
                *("--model", "vgg16", "--image_size", "32", "--width_multiplier", "0.5"),
                *("--members", "3", "--num_samples", "2", "--augment", "--parity"),
            ],
            {
                "model": "vgg16",
                "image_size": 32,
                "width_multiplier": 0.5,
                "members": 3,
                "num_samples": 2,
                "augment": True,
                "parity": True,
            },
            None,
        ),
        (
            [
                *("--epochs", "3", "--learning_rate", "0.5", "--schedule", "cosine"),
                *("--warmup_epochs", "0", "--until_accuracy", "1", "--batch_size", "7"),
            ],
            {
                "epochs": 3,
                "learning_rate": 0.5,
                "schedule": "cosine",
                "warmup_epochs": 0,
                "until_accuracy": 1.0,
                "batch_size": 7,
            },
            "runs/synthetic",
        ),
    ],
)
@pytest.mark.parametrize("name", ["run", "train"])
def test_arguments_become_the_study(name, argv, expected, out, here, monkeypatch):
    asked = []

    def record(config, folder, **_):
        asked.append((config, folder))
        raise InputError("enough")

    (here / "c.ini").touch()
    monkeypatch.setattr("mindefense.study.pipeline.Study", record)
    assert cli.main([name, *argv]) == 2
    expected = {
        key: str(value).replace("HERE", str(here)) if key in PATHS else value for key, value in expected.items()
    }
    ((config, folder),) = asked
    assert config == study_config()(**expected)
    assert out is None or folder == out


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    ("argv", "method"),
    [
        (["train"], "train_target"),
        (["train-shadow"], "train_shadow"),
        (["train-defender"], "train_defender"),
        (["run"], "run"),
    ],
)
def test_resume_reaches_the_training(argv, method, resume, here, monkeypatch):
    from mindefense.study.pipeline import Study

    asked = []

    def record(self, **arguments):
        asked.append(arguments["resume"])
        raise InputError("enough")

    (here / "study.json").write_text(json.dumps(dataclasses.asdict(study_config()(smoke=True))))
    monkeypatch.setattr(Study, method, record)
    assert cli.main([*argv, "--out", ".", *(["--resume"] if resume else [])]) == 2
    assert asked == [resume]


@pytest.mark.parametrize(
    ("settings", "stage", "method", "there", "following"),
    [
        ({}, "train", "train_target", "target", "train-defender"),
        ({}, "train-defender", "train_defender", "target defender", "train-shadow"),
        ({}, "train-defender", "train_defender", "target shadow defender", "defend"),
        ({}, "train-shadow", "train_shadow", "target shadow defender", "defend"),
        ({}, "train-shadow", "train_shadow", "target shadow", "train-defender"),
        ({}, "train-shadow", "train_shadow", "target shadow defender defense", "train-shadows"),
        ({}, "defend", "defend", "target shadow defender defense", "train-shadows"),
        ({}, "defend", "defend", "target defender defense", "train-shadow"),
        ({"defense": "rounding=1"}, "train", "train_target", "target", "train-shadow"),
        ({"defense": "rounding=1"}, "train-shadow", "train_shadow", "target shadow", "defend"),
        ({"defense": "none"}, "train", "train_target", "target", "train-shadow"),
        ({"defense": "none"}, "train-shadow", "train_shadow", "target shadow", "train-shadows"),
        ({"model": "vgg16"}, "train", "train_target", "target", "train-defender"),
        ({"model": "vgg16"}, "train-defender", "train_defender", "target defender", "defend"),
        ({"model": "vgg16"}, "defend", "defend", "target defender defense", "evaluate"),
        ({"model": "vgg16", "defense": "none"}, "train", "train_target", "target", "evaluate"),
    ],
)
def test_stage_names_the_first_one_that_is_missing(settings, stage, method, there, following, here, capfd, monkeypatch):
    from mindefense.checkpoint import Checkpoint
    from mindefense.study.networks import StudyNetworks
    from mindefense.study.pipeline import Study

    config = study_config()(smoke=True, **settings)

    def checkpoint(self, kind):
        if kind not in there.split():
            raise CheckpointError(f"no {kind}.ckpt")
        return Checkpoint(here, {}, {"spec": config.defense})

    monkeypatch.setattr(Study, method, lambda self, **_: None)
    monkeypatch.setattr(StudyNetworks, "checkpoint", checkpoint)
    (here / "study.json").write_text(json.dumps(dataclasses.asdict(config)))
    given = [part for name, value in settings.items() for part in (f"--{name}", value)] if stage == "train" else []
    assert cli.main([stage, "--out", ".", *given]) == 0
    assert f"next: mindefense {following} --out .\n" in capfd.readouterr().out


def test_vgg16_has_no_shadow_to_train(here, capfd):
    (here / "study.json").write_text(json.dumps(dataclasses.asdict(study_config()(model="vgg16"))))
    assert cli.main(["train-shadow", "--out", "."]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "shadow: expected model mlp, got vgg16" in err
    assert [path.name for path in here.iterdir()] == ["study.json"]


def test_interrupted_study(here, capfd, monkeypatch):
    from mindefense.study.pipeline import Study

    def interrupted(self, **_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Study, "run", interrupted)
    assert cli.main(["run", "--smoke", "--out", "out"]) == 130
    assert "interrupted; trainings go on with --resume" in capfd.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--epochs", ["5"]), ("--schedule", ["cosine"]), ("--augment", [])])
def test_nothing_is_trained_beside_a_checkpoint(option, value, tmp_path, capsys):
    """Such an option would be ignored, and the results would say that it held."""
    given = tmp_path / "t.ckpt"
    given.touch()
    arguments = ["--pre_trained", str(given), "--out", str(tmp_path / "out"), option, *value]
    assert cli.main(["train", "--model", "vgg16", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mindefense: error: {option}: expected no --pre_trained beside it")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
