"""Results as a configuration, which make the same study again, and the files on the page about all of them."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from configuration_files import PUBLISHED, PUBLISHED_OUT, mistake, parse, write, write_ini

from mindefense import cli
from mindefense.cli import build_parser
from mindefense.cli.studies import attackers
from mindefense.errors import InputError


def study_of(argv, monkeypatch):
    """The study and the attackers that arguments describe."""
    asked = []

    def record(config, out, **_):
        asked.append(config)
        raise InputError("enough")

    with monkeypatch.context() as patch:
        patch.setattr("mindefense.study.pipeline.Study", record)
        assert cli.main([str(word) for word in argv]) == 2
    return *asked, attackers(build_parser().parse_args([str(word) for word in argv]))


def results(folder, config, who, **more):
    """A file of results as far as its settings go."""
    derived = {"pre_trained": None, "split": "x", "order": "y", "target_training": {"epochs": 1}}
    settings = {**dataclasses.asdict(config), **dataclasses.asdict(who), "device": "CPU", "amp": "O0", **derived}
    held = {"settings": {**settings, **more}, "verdict": {}}
    return write(folder, json.dumps(held), "results.json")


STUDIES = (
    "run",
    "run --smoke --seed 7",
    "run --defense memguard=0.3 --max_steps 300 --alignment published --seed 4294967295",
    "run --model vgg16 --smoke --parity --augment",
    "run --model vgg16 --image_size 32 --width_multiplier 0.25 --members 100 --num_samples 50 --batch_size 16 "
    "--schedule cosine --warmup_epochs 0 --until_accuracy 0.98 --epochs 3",
    "run --learning_rate 0.001 --weight_decay 1e-05 --label_smoothing 0.3 --canaries 10 --defense none",
    "run --attacks gap,nn --knowledge shadow --adversary adaptive --noise fresh --max_queries 5",
    "run --knowledge auditor --adversary static",
)


@pytest.mark.parametrize("typed", STUDIES)
@pytest.mark.parametrize("kind", ["json", "toml"])
def test_settings_make_the_same_study_again(typed, kind, tmp_path, monkeypatch, on_the_cpu):
    config, who = study_of(typed.split(), monkeypatch)
    path = results(tmp_path, config, who)
    if kind == "toml":  # by hand, as the page shows it
        settings = json.loads(path.read_text())["settings"]
        kept = dataclasses.asdict(config).keys() | {"attacks", "noise", "max_queries"}
        lines = [f"{name} = {json.dumps(settings[name])}" for name in sorted(kept) if settings[name] is not None]
        lines += [f"{name} = '{settings[name][0]}'" for name in ("knowledge", "adversary") if len(settings[name]) == 1]
        path = write(tmp_path, "\n".join(lines))
    assert study_of(["run", "--config", path], monkeypatch) == (config, who)


def test_settings_that_an_evaluation_wrote(staged, monkeypatch, on_the_cpu):
    from mindefense.study.store import StudyStore

    config, who = study_of(["run", "--config", staged / "results.json"], monkeypatch)
    assert config == StudyStore(staged).read_config()
    held = json.loads((staged / "results.json").read_text(encoding="utf-8"))["settings"]
    assert json.loads(json.dumps(dataclasses.asdict(who))) == {name: held[name] for name in vars(who)}
    assert parse("run", "--config", staged / "results.json")["device_target"] == held["device"]
    again, _ = study_of(["run", "--config", staged / "results.json", "--seed", "9"], monkeypatch)
    assert again == dataclasses.replace(config, seed=9)


@pytest.mark.parametrize("name", ["data_path", "split_config", "pre_trained", "members"])
def test_what_results_do_not_hold_must_be_said(name, tmp_path, capsys, monkeypatch, on_the_cpu):
    path = results(tmp_path, *study_of(["run"], monkeypatch), **{name: "x"})
    capsys.readouterr()
    said = mistake(capsys, "run", "--config", path)
    assert f"--{name}: expected " in said
    assert "was made with one and lacks its path" in said
    there = str(tmp_path / "y.txt")
    Path(there).write_text("3\n")
    assert parse("run", "--config", path, f"--{name}", there)[name] == there


@pytest.mark.parametrize(
    ("argv", "change", "word"),
    [
        (["evaluate", "--out", "x"], None, "only `mindefense run` accepts results.json"),
        (["run"], {"settings": {"outputs": "x"}}, "results.json of a study"),
        (["run"], {"settings": {"dataset": "synthetic", "seed": 0}, "contenders": []}, "results.json of a study"),
        (["run"], [1], "results.json of a study"),
        (
            ["run"],
            {"settings": {"dataset": "synthetic", "seed": 0, "epoch": 1}, "verdict": {}},
            "did you mean 'epochs'?",
        ),
        (["run"], {"settings": {"dataset": "synthetic", "seed": -1}, "verdict": {}}, "settings seed: expected a whole"),
    ],
)
def test_other_json(argv, change, word, tmp_path, capsys):
    path = write(tmp_path, json.dumps(change), "results.json")
    assert word in mistake(capsys, *argv, "--config", path)


# ---------------------------------------------------------------------------------------------------------------- page

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_the_page(tmp_path, monkeypatch, on_the_cpu):
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write(tmp_path, block)
    write_ini(tmp_path)
    commands = [line.split("#")[0].split()[1:] for line in re.findall(r"^\$ (mindefense .*)$", PAGE, re.M)]
    by_toml = {words[0]: parse(*words) for words in commands if "study.toml" in words}
    assert (by_toml["train"]["epochs"], by_toml["train"]["out"]) == (400, "runs/mine")
    assert (by_toml["evaluate"]["strict"], by_toml["evaluate"]["attacks"]) == (True, ("gap", "confidence", "nn"))
    by_ini = {words[0]: parse(*words) for words in commands if "config.ini" in words}
    assert by_ini.keys() >= {"train", "evaluate"}
    assert Path(by_ini["evaluate"]["out"]) == Path(PUBLISHED_OUT)
    (again,) = (words for words in commands if "results.json" in str(words))
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    results(tmp_path / "runs" / "mine", *study_of(["run", "--seed", "5"], monkeypatch), data_path="location")
    assert {name: parse(*again)[name] for name in ("seed", "data_path", "out")} == {
        "seed": 5, "data_path": "data/location", "out": "runs/again"
    }  # fmt: skip
    assert len(by_toml) + len(by_ini) + 2 == len(commands), "evaluate is there twice, run once"
    for row in re.findall(r"^\| `(\w+)` \|", PAGE, re.M):
        assert row in PUBLISHED
