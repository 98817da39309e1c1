"""Configuration files: what they hold is what was typed, unless it was; mistakes are one line that names the key."""

import codecs
import dataclasses
import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from mindefense import cli
from mindefense.arguments import DATASETS
from mindefense.cli import build_parser
from mindefense.cli.studies import attackers
from mindefense.configuration import TABLES
from mindefense.errors import InputError

EXAMPLES = {
    name: Path(__file__).parent.parent / f"examples/{name}.py" for name in ("location_defense", "example_vgg_cifar")
}
REQUIRED = {
    "report": ["results.json"],
    "diff": ["old", "new"],
    "download": ["location", "--to", "x"],
    **{name: [] for name in ("doctor", "demo", "run", "train")},
}
"""What commands want typed; the others want ``--out``."""


def write(folder, text, name="study.toml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def parse(*argv):
    """What the command line makes of arguments, without the file's own name."""
    found = vars(build_parser().parse_args([str(word) for word in argv]))
    return {name: value for name, value in found.items() if name not in ("config", "section", "typed")}


def mistake(capsys, *argv, parser=build_parser):
    """The one line that arguments get for an answer."""
    with pytest.raises(SystemExit) as stop:
        parser().parse_args([str(word) for word in argv])
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1)
    return err


# ---------------------------------------------------------------------------------------------------------------- TOML

# File → what is typed beside it → what it stands for.
MEANINGS = {
    "empty": ("", "run", "run"),
    "top level": ("seed = 3\nout = 'x'", "run", "run --seed 3 --out x"),
    "table": ("[run]\nseed = 3\ndata_path = 'a b'", "run", ["run", "--seed", "3", "--data_path", "a b"]),
    "table of another": ("seed = 1\n[train]\nepochs = 3", "run", "run --seed 1"),
    "table over top level": ("seed = 1\n[run]\nseed = 2", "run", "run --seed 2"),
    "flag over both": ("seed = 1\n[run]\nseed = 2", "run --seed 3", "run --seed 3"),
    "flag with =": ("seed = 1", "run --seed=3", "run --seed 3"),
    "flag before the file": ("seed = 1", "run --seed 3 --config FILE", "run --seed 3"),
    "switches": ("smoke = true\nparity = false", "run", "run --smoke"),
    "fractions": ("[train]\nlearning_rate = 1e-3\nuntil_accuracy = 1", "train",
                  "train --learning_rate 0.001 --until_accuracy 1"),
    "lists": ("[run]\nattacks = ['gap', 'entropy']", "run", "run --attacks gap,entropy"),
    "repeated": ("fail-above = ['auc=0.9', 'epsilon=1']", "run", "run --fail-above auc=0.9 --fail-above epsilon=1"),
    "underscore": ("fail_above = 'auc=0.9'", "run", "run --fail-above auc=0.9"),
    "switch taken back": ("smoke = true\nseed = 1", "run --no_smoke", "run --seed 1"),
    "switch taken back with a dash": ("smoke = true", "run --no-smoke --parity", "run --parity"),
    "switch taken back and given": ("smoke = true", "run --no_smoke --smoke", "run --smoke"),
    "switch given and taken back": ("", "run --smoke --no_smoke", "run"),
    "one of what repeats": ("fail-above = 'auc=0.9'", "run", "run --fail-above auc=0.9"),
    "repeated flag over file": ("fail-above = ['auc=0.9']", "run --fail-above auc=0.6", "run --fail-above auc=0.6"),
    "required": ("out = 'x'", "evaluate", "evaluate --out x"),
    "begins with a dash": ("out = '-x'", "evaluate", "evaluate --out=-x"),
    "defenses": ("[compare]\nout = 'x'\ndefenses = ['top-k=3', 'label-only']", "compare",
                 "compare --out x --defenses top-k=3,label-only"),
    "number or word": ("[export]\nout = 'x'\nbatch_size = 'dynamic'", "export", "export --out x --batch_size dynamic"),
    "download": ("[download]\nto = 'x'", "download location", "download location --to x"),
    "doctor": ("[doctor]\njson = true", "doctor", "doctor --json"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "typed", "meant"), MEANINGS.values(), ids=MEANINGS)
def test_a_file_stands_for_arguments(text, typed, meant, tmp_path):
    path = write(tmp_path, text)
    typed = typed.replace("FILE", str(path)) if "FILE" in typed else f"{typed} --config {path}"
    assert parse(*typed.split()) == parse(*(meant.split() if isinstance(meant, str) else meant))


# File → arguments → words of the one line, of which the first is where.
MISTAKES = {
    "unknown key": ("epohcs = 3", "run", ["study.toml epohcs: ", "an option of run", "did you mean 'epochs'?"]),
    "unknown key of another's table": (
        "[train]\ndata_pth = 'x'",
        "run",
        ["study.toml [train] data_pth: ", "an option of train", "did you mean 'data_path'?"],
    ),
    "unknown key of a table": ("[run]\nsede = 3", "run", ["study.toml [run] sede: ", "did you mean 'seed'?"]),
    "nothing near": ("[doctor]\nxyz = 3", "doctor", ["[doctor] xyz: ", "(data_path, debug, json)"]),
    "of another command": ("epochs = 3\nout = 'x'", "evaluate", ["study.toml epochs: ", "names of these commands"]),
    "in the wrong table": ("[evaluate]\nout = 'x'\nepochs = 3", "evaluate", ["[evaluate] epochs: ", "of evaluate"]),
    "unknown table": ("[evalaute]\nstrict = true", "run", ["study.toml [evalaute]: ", "did you mean 'evaluate'?"]),
    "key as a table": ("[seed]\nx = 3", "run", ["study.toml [seed]: ", "a table with a command's name"]),
    "itself": ("config = 'other.toml'", "run", ["study.toml config: "]),
    "help": ("help = true", "run", ["study.toml help: "]),
    "table as a key": ("run = 3", "run", ["study.toml run: "]),
    "word for a number": ("epochs = 'many'", "run", ["epochs: ", "whole number of at least 1", "'many'"]),
    "fraction for a number": ("epochs = 1.5", "run", ["epochs: ", "whole number of at least 1", "'1.5'"]),
    "overruled and wrong": ("epochs = 1.5", "run --epochs 3", ["epochs: ", "whole number of at least 1"]),
    "truth for a number": ("epochs = true", "run", ["epochs: ", "a value of --epochs", "got true"]),
    "list for a number": ("epochs = [1, 2]", "run", ["epochs: ", "whole number of at least 1", "'1,2'"]),
    "number for a path": ("out = 3", "run", ["out: ", "expected text, DIR", "got 3"]),
    "truth for a path": ("out = true", "run", ["out: ", "expected text, DIR", "got true"]),
    "list for a path": ("out = ['a', 'b']", "run", ["out: ", "expected text, DIR"]),
    "number for a switch": ("smoke = 1", "run", ["smoke: ", "true or false", "got 1"]),
    "word for a switch": ("smoke = 'true'", "run", ["smoke: ", "true or false", "got 'true'"]),
    "no choice": ("[run]\nschedule = 'linear'", "run", ["[run] schedule: ", "'linear'", "step", "cosine"]),
    "date": ("seed = 2026-01-01", "run", ["seed: ", "a value of --seed"]),
    "table for a key": ("[run]\nseed = {a = 1}", "run", ["[run] seed: ", "a value of --seed"]),
    "unknown attacker": ("attacks = ['gab']", "run", ["attacks: ", "gap, confidence", "'gab'"]),
    "nobody": ("attacks = []", "run", ["attacks: ", "names with commas"]),
    "unknown defense": ("defense = 'dp'", "run", ["defense: ", "'dp'", "defenmi"]),
    "one bad gate": ("fail-above = ['auc=0.9', 'f1=1']", "run", ["fail-above: ", "METRIC=LIMIT"]),
    "no TOML": ("seed = x\n", "run", ["study.toml: expected TOML", "line 1"]),
    "twice": ("seed = 1\nseed = 2", "run", ["study.toml: expected TOML", "overwrite"]),
    "section": ("", "run --section location", ["--section: ", "an .ini file"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "typed", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_in_a_file_is_one_line_that_says_where(text, typed, words, tmp_path, capsys):
    said = mistake(capsys, *typed.split(), "--config", write(tmp_path, text))
    assert said.startswith(f"mindefense {typed.split()[0]}: error: ")
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "no.toml", ["--config: expected a readable file", "No such file", "check the path"]),
        (lambda folder: folder, ["--config: ", "ends in .toml, .ini, .json"]),
        (lambda folder: write(folder, "", "study.yaml"), ["ends in .toml, .ini, .json", "study.yaml"]),
        (lambda folder: (folder / "a.toml").mkdir() or folder / "a.toml", ["a readable file", "Is a directory"]),
        (lambda folder: (folder / "a.toml").write_bytes(b"\xff") and folder / "a.toml", ["a.toml", "UTF-8"]),
    ],
)
def test_files_that_cannot_be_read(make, words, tmp_path, capsys):
    said = mistake(capsys, "run", "--config", make(tmp_path))
    for word in words:
        assert word in said


def test_no_file_is_asked_for_by_halves(capsys):
    assert "--config: expected one argument" in mistake(capsys, "run", "--config")
    assert "--section: expected --config config.ini with it" in mistake(capsys, "run", "--section", "location")


def test_help_is_given_whatever_the_file(capsys):
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["run", "--config", "no.toml", "--help"])
    assert stop.value.code == 0
    assert "--config FILE" in capsys.readouterr().out


def test_every_command_takes_a_file_and_has_a_table(tmp_path):
    (commands,) = (action.choices for action in build_parser()._actions if isinstance(action.choices, dict))
    assert sorted(TABLES) == sorted({*commands, *EXAMPLES} - {"completion"})
    for name in TABLES[: -len(EXAMPLES)]:
        path = write(tmp_path, f"[{name}]\ndebug = true")
        assert parse(name, *REQUIRED.get(name, ["--out", "x"]), "--config", path)["debug"] is True


def example(name, monkeypatch, *argv):
    """The arguments of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [EXAMPLES[name].name, *map(str, argv)])
    return module.parse_args


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_examples_take_files(name, tmp_path, monkeypatch, capsys):
    own = f"[{name}]\ndefense = 'defenmi'\nmax_steps = 9\nsmoke = true\n"
    path = write(tmp_path, f"seed = 3\nattacks = ['gap']\n[run]\nepochs = 1\n{own}")
    found = example(name, monkeypatch, "--config", path, "--max_steps", "7")()
    assert (found.seed, found.attacks, found.max_steps, found.smoke) == (3, ("gap",), 7, True)
    write(tmp_path, f"[{name}]\nsmokes = true")
    with pytest.raises(SystemExit):
        example(name, monkeypatch, "--config", path)()
    said = capsys.readouterr().err
    assert said.startswith(f"{name}.py: error: {path} [{name}] smokes: ")
    assert "did you mean 'smoke'?" in said


# ------------------------------------------------------------------------------------------------------ DefenMI's own

RANGES = {
    "user_training_data_index_range": (0, 1000),
    "user_testing_data_index_range": (1000, 2000),
    "defense_member_data_index_range": (0, 1000),
    "defense_nonmember_data_index_range": (1000, 2000),
    "attacker_evaluate_member_data_range": (0, 1000),
    "attacker_evaluate_nonmember_data_range": (2000, 3000),
    "attacker_train_member_data_range": (3000, 3500),
    "attacker_train_nonmember_data_range": (4000, 4500),
}
PUBLISHED = {
    "all_data_path": "./data/location/data_complete.npz",
    "shuffle_index": "./data/location/shuffle_index.npz",
    "result_folder": "./result/location/code_publish/",
    **{f"result_file{end}": "x.ini" for end in ("", "_publish", "_old")},
    **{key: f'{{"start":"{start}","end":"{end}"}}' for key, (start, end) in RANGES.items()},
    "defense_member_data_number": 1000,
    "attacker_evaluate_member_number": 1000,
    "attacker_evaluate_non_member_number": 1000,
    "num_classes": 30,
    "user_epochs": 200,
    "batch_size": 64,
    "defense_epochs": 400,
    "defense_batch_size": 64,
    "defense_training_ratio": 1.0,
    "network_architecture": "./model/fccnet_location.py",
    "network_name": "fccnet_location",
    "attack_epochs": 400,
    "attack_shallow_model_epochs": 200,
    "attack_shallow_model_batch_size": 64,
    "delta": 1,
    "epsilon": 3,
    "beta": 0.1,
    "max_iteration": 300,
    "threshold": 10000,
}
"""The keys of the published file and their values."""
PUBLISHED_OUT = "result/location/code_publish"


def write_ini(folder, *, section="location", **changes):
    """A file like the published one with some values changed, or left out where None."""
    lines = [f"{key} = {value}" for key, value in {**PUBLISHED, **changes}.items() if value is not None]
    text = "\n".join(["[dataset]", f"dataset = {section}", "", f"[{section}]", *lines])
    return write(folder, text, "config.ini")


def test_the_published_file_as_it_is(tmp_path):
    path = write_ini(tmp_path)
    found = parse("run", "--config", path, "--section", "location")
    data, out = tmp_path / "data/location/data_complete.npz", tmp_path / PUBLISHED_OUT
    meant = f"--dataset location --data_path {data} --out {out} --epochs 200 --batch_size 64"
    assert found == parse("run", *meant.split(), "--split_config", path, "--split_section", "location")
    assert found == parse("run", "--config", path), "the section that [dataset] names"


def test_a_byte_order_mark_changes_nothing(tmp_path):
    meant = parse("run", "--config", write_ini(tmp_path))
    assert "split_section" in meant
    for path in (tmp_path / "config.ini", write(tmp_path, "[run]\nseed = 7\n")):
        path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    assert parse("run", "--config", tmp_path / "config.ini") == meant
    assert parse("run", "--out", "x", "--config", tmp_path / "study.toml")["seed"] == 7


@pytest.mark.parametrize("name", ["train-defender", "train-shadow", "defend", "evaluate", "compare", "export"])
def test_later_stages_find_the_folder_in_it(name, tmp_path):
    # The batch of a training is not that of an exported graph.
    path, out = write_ini(tmp_path, batch_size=32, attack_shallow_model_batch_size=32), tmp_path / PUBLISHED_OUT
    assert parse(name, "--config", path, "--section", "location") == parse(name, "--out", out)
    assert parse(name, "--config", path, "--out", "y") == parse(name, "--out", "y")


def test_the_example_takes_it(tmp_path, monkeypatch):
    path = write_ini(tmp_path)
    found = example("location_defense", monkeypatch, "--config", path, "--data_path", "x", "--out", "y")()
    assert (found.data_path, found.out, found.dataset) == ("x", "y", "location")
    assert (found.split_config, found.split_section) == (str(path), "location")


MARK = b"\xef\xbb\xbf"
"""The byte-order mark that editors of Windows begin a file of UTF-8 with."""


@pytest.mark.parametrize("kind", ["ini", "toml"])
def test_a_byte_order_mark_is_no_part_of_a_file(kind, tmp_path):
    path = write_ini(tmp_path) if kind == "ini" else write(tmp_path, "seed = 3\n[run]\nepochs = 7")
    plain = parse("run", "--config", path)
    path.write_bytes(MARK + path.read_bytes().replace(b"\n", b"\r\n"))
    assert parse("run", "--config", path) == plain


def test_a_section_with_a_name_of_its_own(tmp_path):
    found = parse("train", "--config", write_ini(tmp_path, section="mine"), "--dataset", "purchase100")
    assert (found["split_section"], found["dataset"]) == ("mine", "purchase100")
    assert "mine" not in DATASETS


# Changes → words of the one line.
INI_MISTAKES = {
    "unknown key": ({"user_epoch": 3}, ["[location] user_epoch: ", "did you mean 'user_epochs'?"]),
    "no number": (
        {"user_epochs": "many", "attack_shallow_model_epochs": None},
        ["[location] user_epochs: ", "whole number of at least 1", "'many'"],
    ),
    "no option": ({"epsilon": 1}, ["[location] epsilon: ", "3, the published value", "got 1", "--split_config"]),
    "no number and no option": ({"beta": "small"}, ["[location] beta: ", "0.1, the published value", "got small"]),
    "another shadow": ({"attack_shallow_model_epochs": 100}, ["attack_shallow_model_epochs: ", "200, the target"]),
    "order elsewhere": ({"shuffle_index": "x/shuffle_index.npz"}, ["shuffle_index: ", "folder of all_data_path"]),
    "order by another name": ({"shuffle_index": "data/location/order.npz"}, ["shuffle_index: ", "order.npz"]),
}


@pytest.mark.parametrize(("changes", "words"), INI_MISTAKES.values(), ids=INI_MISTAKES)
def test_what_would_mean_something_else_here_is_refused(changes, words, tmp_path, capsys):
    said = mistake(capsys, "run", "--config", write_ini(tmp_path, **changes))
    for word in words:
        assert word in said


def test_values_that_are_the_same_numbers_pass(tmp_path):
    changed = write_ini(tmp_path, epsilon="3.0", threshold="1e4", user_epochs=50, attack_shallow_model_epochs=50)
    assert parse("run", "--config", changed)["epochs"] == 50


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["run", "--section", "texas"], ["--section: ", "one of location in", "got texas"]),
        (["doctor"], ["a .toml file for this command", "DefenMI's configuration"]),
        (["download", "location", "--to", "x"], ["a .toml file for this command"]),
    ],
)
def test_sections_and_commands_that_do_not_fit(argv, words, tmp_path, capsys):
    said = mistake(capsys, *argv, "--config", write_ini(tmp_path))
    for word in words:
        assert word in said


@pytest.mark.parametrize(("text", "word"), [("x", "readable ini file"), ("[a]\nb = 1", "one of a in")])
def test_ini_files_that_say_nothing(text, word, tmp_path, capsys):
    assert word in mistake(capsys, "run", "--config", write(tmp_path, text, "config.ini"))


def test_two_stages_by_the_same_file(tmp_path, monkeypatch, on_the_cpu, capsys):
    """On made-up rows, by the ranges of a file of one's own."""
    monkeypatch.chdir(tmp_path)
    changes = {"all_data_path": None, "shuffle_index": None, "user_epochs": 2, "attack_shallow_model_epochs": 2}
    write_ini(tmp_path, section="synthetic", result_folder="found", **changes)
    few = ["--config", "config.ini", "--section", "synthetic"]
    assert cli.main(["train", *few, "--defense", "none"]) == 0
    assert cli.main(["evaluate", *few, "--attacks", "gap", "--knowledge", "auditor"]) == 0
    assert "error" not in capsys.readouterr().err
    held = json.loads((tmp_path / "found" / "results.json").read_text(encoding="utf-8"))
    assert (held["settings"]["split"], held["settings"]["split_config"]) == ("synthetic", "config.ini")
    assert (held["settings"]["target_training"]["epochs"], held["settings"]["pre_trained"]) == (2, None)
    given = ["--defense", "none", "--dataset", "synthetic", "--split_config", "config.ini", "--out", "given"]
    assert cli.main(["train", *given, "--pre_trained", "found/target.ckpt"]) == 0
    assert cli.main(["evaluate", "--out", "given", "--attacks", "gap", "--knowledge", "auditor"]) == 0
    held = json.loads((tmp_path / "given" / "results.json").read_text(encoding="utf-8"))
    assert held["settings"]["pre_trained"] == "target.ckpt", "without its folder"


# ------------------------------------------------------------------------------------------------------------- results


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
