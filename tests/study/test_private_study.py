"""A study with private training: what it says, writes and refuses."""

import json
import re

import pytest

from mindefense import cli
from mindefense.checkpoint import load_checkpoint
from mindefense.reports.answers import answer_trust
from mindefense.study import Study
from mindefense.training.accounting import spent_by


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    out = tmp_path_factory.mktemp("private") / "out"
    typed = ["run", "--smoke", "--training", "dp=8", "--defense", "none", "--attacks", "gap,confidence,lira"]
    assert cli.main([*typed, "--out", str(out)]) == 0
    return out


def test_the_results_state_what_was_spent(private):
    settings = json.loads((private / "results.json").read_text(encoding="utf-8"))["settings"]
    study = Study(None, private)
    assert settings["epsilon"] == 8.0
    assert settings["privacy"] == spent_by(study.evaluator._networks.trainings["target"], 200)
    assert 7.9 < settings["privacy"]["epsilon"] <= 8.0
    assert settings["privacy"]["delta"] == 1 / 200**2
    assert settings["target_training"]["noise_multiplier"] == settings["privacy"]["noise_multiplier"]


def test_the_shadow_models_have_the_same_noise_by_seeds_of_their_own(private):
    train = load_checkpoint(private / "target.ckpt").description["train"]
    for path in (private / "shadow.ckpt", *sorted((private / "shadows").glob("*.ckpt"))):
        other = load_checkpoint(path).description["train"]
        assert {**other, "seed": 0} == train
    study = Study(None, private)
    assert study.bank.train("online", 4, resume=True) == []  # they are this study's
    before = {path.name: path.read_bytes() for path in (private / "shadows").glob("*.ckpt")}
    (private / "shadows" / "online-003.ckpt").unlink()
    study.bank.train("online", 4, resume=False)
    assert (private / "shadows" / "online-003.ckpt").read_bytes() == before["online-003.ckpt"]


def test_the_report_shows_the_guarantee_beside_what_is_proved(private):
    results = json.loads((private / "results.json").read_text(encoding="utf-8"))
    page = (private / "report.md").read_text(encoding="utf-8")
    assert re.search(r"The training was differentially private: ε = (8|7\.99) at δ = 2\.5e-05 for each member", page)
    assert "a smaller figure proves nothing" in page
    results["attacks"][0]["epsilon_low"] = 9.0
    (line,) = (line for line in answer_trust([], results).text if "differentially private" in line)
    assert "the largest is 9 (95% for each attacker alone, δ = 0). That is above the stated ε" in line


def test_two_trainings_differ_since_their_noise_is_secret(private, tmp_path):
    other = tmp_path / "out"
    assert cli.main(["train", "--smoke", "--epsilon", "8", "--out", str(other)]) == 0
    one, two = (load_checkpoint(folder / "target.ckpt").parameters["layers.0.weight"] for folder in (private, other))
    assert (one != two).any()


def test_training_says_what_it_will_spend(tmp_path, capsys):
    assert cli.main(["train", "--smoke", "--training", "dp=4", "--out", str(tmp_path / "out")]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert re.search(
        r"differentially private training: ε = (4|3\.99) at δ = 2\.5e-05 for each member, by 8 steps", said
    )


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--training", "dp=8", "--epsilon", "4"], "--training dp=8: expected no --epsilon beside it, got 4"),
        (["--training", "dp-mindarmour=1"], "--training: expected a way that every device has, got dp-mindarmour=1"),
        (
            ["--model", "vgg16", "--epsilon", "8"],
            "epsilon: expected model mlp, got model vgg16; its batch normalization",
        ),
        (["--epsilon", "2000"], "epsilon: expected a number above 0 and at most 64, got 2000"),
        (["--epsilon", "8", "--until_accuracy", "0.9"], "until_accuracy: expected None for private training"),
    ],
)
def test_what_cannot_be_private_is_refused_in_one_line(tmp_path, capsys, typed, message):
    assert cli.main(["train", "--smoke", *typed, "--out", str(tmp_path / "out")]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert not (tmp_path / "out" / "target.ckpt").exists()


def test_other_ways_change_their_setting(tmp_path):
    ways = "early-stopping=0.5,weight-decay=0.005,label-smoothing=0.3"
    assert cli.main(["train", "--smoke", "--training", ways, "--out", str(tmp_path / "out")]) == 0
    config = Study(None, tmp_path / "out").config
    assert (config.until_accuracy, config.weight_decay, config.label_smoothing) == (0.5, 0.005, 0.3)


def test_results_repeat_the_study(private, tmp_path):
    out = tmp_path / "again"
    assert cli.main(["run", "--config", str(private / "results.json"), "--out", str(out)]) == 0
    settings = json.loads((out / "results.json").read_text(encoding="utf-8"))["settings"]
    assert settings["epsilon"] == 8.0
    assert settings["privacy"]["epsilon"] <= 8.0
