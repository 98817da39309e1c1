"""DefenMI's own configuration file: it means what it did, and what would mean something else is refused."""

import codecs
import json

import pytest
from configuration_files import PUBLISHED_OUT, example, mistake, parse, write, write_ini

from mindefense import cli
from mindefense.arguments import DATASETS


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
