"""Configuration files for tests, DefenMI's published one among them, and what the command line makes of them."""

import importlib.util
import sys
from pathlib import Path

import pytest

from mindefense.cli import build_parser

EXAMPLES = {
    name: Path(__file__).parent.parent / f"examples/{name}.py" for name in ("location_defense", "example_vgg_cifar")
}


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


def example(name, monkeypatch, *argv):
    """The arguments of an example."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES[name])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", [EXAMPLES[name].name, *map(str, argv)])
    return module.parse_args


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
