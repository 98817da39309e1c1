"""The command line before MindSpore is loaded: quick help, every mistake in one line with a remedy, interruptions."""

import argparse
import dataclasses
import json
import subprocess
import sys
import time

import pytest
from typed_commands import command, study_config

from mindefense import arguments, cli
from mindefense.data import SOURCES
from mindefense.errors import DataError, InputError, MindefenseError

COMMANDS = (
    "run",
    "train",
    "train-defender",
    "train-shadow",
    "defend",
    "evaluate",
    "compare",
    "export",
    "report",
    "download",
    "doctor",
    "demo",
    "completion",
)
STAGES = ("train-defender", "train-shadow", "defend", "evaluate", "export")

# What to type → words of the one line on stderr.
MISTAKES = {
    "nothing": ([], ["COMMAND", "mindefense --help"]),
    "unknown command": (["attack"], ["'attack'", "evaluate", "mindefense --help"]),
    "unknown option": (["run", "--sed", "1"], ["--sed", "mindefense"]),
    "a file for a study": (["evaluate", "--out", __file__], ["--out", "expected the folder of a study", "test_cli.py"]),
    "unknown option before a missing one": (
        ["evaluate", "--outt", "x"],
        ["unrecognized arguments: --outt x", "'--out'?"],
    ),
    "nothing near an option": (["run", "--bogus"], ["unrecognized arguments: --bogus (see mindefense run --help)"]),
    "blank between names": (["run", "--attacks", "gap,", "loss"], ["arguments: loss", "commas and no blanks"]),
    "negative seed": (["run", "--seed", "-1"], ["--seed", "whole number of at least 0", "'-1'", "run --help"]),
    "seed in words": (["run", "--seed", "one"], ["--seed", "whole number of at least 0", "'one'"]),
    "fractional seed": (["train", "--seed", "1.5"], ["--seed", "whole number of at least 0", "train --help"]),
    "seed too large": (["run", "--seed", "4294967296"], ["--seed", "below 2**32", "run --help"]),
    "negative device id": (["run", "--device_id", "-2"], ["--device_id", "whole number of at least 0"]),
    "unknown device": (["run", "--device_target", "TPU"], ["--device_target", "'TPU'", "CPU", "Ascend"]),
    "unknown device of a stage": (["defend", "--out", "x", "--device_target", "TPU"], ["'TPU'", "CPU"]),
    "unknown data set": (["run", "--dataset", "mnist"], ["--dataset", "'mnist'", "location", "texas100"]),
    "unknown defense": (["run", "--defense", "dp"], ["--defense", "'dp'", "defenmi", "memguard", "label-only"]),
    "defense without its value": (["run", "--defense", "top-k"], ["--defense", "top-k=", "such as 3"]),
    "unknown attacker": (["evaluate", "--out", "x", "--attacks", "gab"], ["--attacks", "gap, confidence", "'gab'"]),
    "unknown gate": (["evaluate", "--out", "x", "--fail-above", "f1=1"], ["--fail_above", "METRIC=LIMIT", "tpr@0.01"]),
    "missing vectors": (["defend", "--out", "x", "--outputs", "no.npy"], ["no.npy", "no such file", "np.save"]),
    "defense to be fitted": (
        ["defend", "--out", "x", "--defense", "class-mean"],
        ["--defense", "expected --outputs beside it"],
    ),
    "resume of no vectors": (["defend", "--out", "x", "--resume"], ["--resume", "expected --outputs beside it"]),
    "unknown format": (["export", "--out", "x", "--file_format", "ONNX"], ["--file_format", "MINDIR", "loops"]),
    "batch of nobody": (["export", "--out", "x", "--batch_size", "0"], ["--batch_size", "at least 1", "export --help"]),
    "one contender twice": (["compare", "--out", "x", "--defenses", "memguard,memguard"], ["--defenses", "each once"]),
    "unknown training": (["compare", "--out", "x", "--training", "dropout=1"], ["--training", "label-smoothing"]),
    "unknown alignment": (["run", "--alignment", "x"], ["--alignment", "corrected", "published"]),
    "option without value": (["run", "--out"], ["--out", "expected one argument"]),
    "missing data": (["run", "--data_path", "nowhere"], ["--data_path", "existing path", "nowhere", "spelling"]),
    "missing checkpoint": (["run", "--pre_trained", "no.ckpt"], ["--pre_trained", "existing path", "no.ckpt"]),
    "missing split": (["train", "--split_config", "no.ini"], ["--split_config", "existing path", "no.ini"]),
    "synthetic data from a path": (
        ["run", "--dataset", "synthetic", "--data_path", "."],
        ["--dataset synthetic", "no --data_path"],
    ),
    "named data without a path": (["run", "--dataset", "texas100"], ["--data_path", "folder or file of texas100"]),
    "no image size": (["run", "--image_size", "0"], ["--image_size", "whole number of at least 1", "'0'"]),
    "fractional image size": (["train", "--image_size", "32.5"], ["--image_size", "whole number of at least 1"]),
    "nobody to judge by": (["run", "--num_samples", "0"], ["--num_samples", "whole number of at least 1"]),
    "negative members": (["train", "--members", "-1"], ["--members", "whole number of at least 1", "train --help"]),
    "no batch": (["run", "--batch_size", "0"], ["--batch_size", "whole number of at least 1"]),
    "no epochs": (["train", "--epochs", "0"], ["--epochs", "whole number of at least 1", "'0'"]),
    "epochs in words": (["train", "--epochs", "many"], ["--epochs", "whole number of at least 1", "'many'"]),
    "negative warm-up": (["train", "--warmup_epochs", "-1"], ["--warmup_epochs", "whole number of at least 0"]),
    "no learning rate": (["train", "--learning_rate", "0"], ["--learning_rate", "above 0 and up to 1", "'0'"]),
    "NaN as learning rate": (["run", "--learning_rate", "nan"], ["--learning_rate", "above 0 and up to 1", "'nan'"]),
    "accuracy in percent": (["train", "--until_accuracy", "99"], ["--until_accuracy", "above 0 and up to 1", "'99'"]),
    "wider than published": (["run", "--width_multiplier", "2"], ["--width_multiplier", "above 0 and up to 1"]),
    "width in words": (["run", "--width_multiplier", "half"], ["--width_multiplier", "above 0 and up to 1", "'half'"]),
    "unknown schedule": (["train", "--schedule", "linear"], ["--schedule", "'linear'", "step", "cosine"]),
    "unknown model": (["run", "--model", "resnet"], ["--model", "'resnet'", "mlp", "vgg16"]),
    "image size of a stage": (["evaluate", "--out", "x", "--image_size", "32"], ["--image_size", "mindefense"]),
    "images without a path": (["run", "--dataset", "cifar100"], ["--data_path", "folder or file of cifar100"]),
    "missing images": (
        ["train", "--model", "vgg16", "--data_path", "nowhere"],
        ["--data_path", "existing path", "nowhere", "spelling"],
    ),
    "missing checkpoint of images": (
        ["run", "--model", "vgg16", "--data_path", ".", "--pre_trained", "no.ckpt"],
        ["--pre_trained", "existing path", "no.ckpt"],
    ),
    "report of nothing": (["report"], ["FILE", "report --help"]),
    "report of a missing file": (["report", "no.json"], ["no.json", "No such file", "results.json"]),
    "download of nothing": (["download"], ["name", "--to"]),
    "download to nowhere": (["download", "location"], ["--to", "download --help"]),
    "download of something else": (["download", "texas100", "--to", "x"], ["'texas100'", "location", "cifar100"]),
    **{f"{stage} of nothing": ([stage], ["--out", f"{stage} --help"]) for stage in STAGES},
    **{
        f"{stage} without a study": ([stage, "--out", "empty"], ["no study in empty", "mindefense train --out empty"])
        for stage in STAGES
    },
}
# What says which target is trained, how, and on which images.
NEW_OPTIONS = (
    *("--model", "--epochs", "--learning_rate", "--schedule", "--warmup_epochs", "--until_accuracy"),
    *("--image_size", "--num_samples", "--batch_size", "--parity", "--members", "--width_multiplier", "--augment"),
)
ASKED = {"help": ["--help"], "version": ["--version"], **{name: [name, "--help"] for name in COMMANDS}}

PROBE = """
import contextlib, io, json, sys, time
from mindefense import arguments, cli
from mindefense.arguments.choices import DOWNLOADS

answers = {}
for name, argv in json.load(sys.stdin).items():
    out, err, began = io.StringIO(), io.StringIO(), time.perf_counter()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(argv)
        except SystemExit as stop:
            code = stop.code
    slow = sorted({"mindspore", "mindarmour", "sklearn", "scipy"} & set(sys.modules))
    answers[name] = [code, out.getvalue(), err.getvalue(), slow, time.perf_counter() - began]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one process says to all of `MISTAKES` and `ASKED`, and which slow packages it has loaded by then."""
    folder = tmp_path_factory.mktemp("answers")
    (folder / "empty").mkdir()
    typed = {name: argv for name, (argv, _) in MISTAKES.items()} | ASKED
    run = subprocess.run(
        [sys.executable, "-c", PROBE], input=json.dumps(typed), capture_output=True, text=True, cwd=folder
    )
    assert run.returncode == 0, run.stderr
    assert [path.name for path in folder.rglob("*")] == ["empty"]
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_is_one_line_with_a_remedy(name, answers):
    code, out, err, slow, seconds = answers[name]
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("mindefense")
    assert "error: " in err
    for word in MISTAKES[name][1]:
        assert word in err
    assert slow == []
    assert seconds < 2  # a tenth of it on an idle machine


@pytest.mark.parametrize("name", ASKED)
def test_help_is_complete_and_quick(name, answers):
    code, out, err, slow, seconds = answers[name]
    assert (code, err) == (0, "")
    expected = {
        "help": COMMANDS,
        "version": ["mindefense 0."],
        "download": ["location", "cifar100", "--to"],
        "report": ["results.json", "comparison.json", "--out", "--figures", "--debug"],
        "doctor": ["--data_path", "--json", "--config", "--debug"],
        "completion": ["bash", "zsh", "tcsh"],
        "run": ["--data_path", "--defense", "--seed", "--out", "--smoke", "--pre_trained", "--resume", "--debug"],
        "train": ["--data_path", "--device_target", "--split_config", "--split_section", "--pre_trained"],
    }
    for word in expected.get(name, ["--out", "--device_target", "--debug"]):
        assert word in out
    assert ("--resume" in out) == (name in ("run", "train", "train-defender", "train-shadow", "defend"))
    for option in NEW_OPTIONS:
        assert (f"{option} " in out) == (name in ("run", "train") or (name, option) == ("export", "--batch_size"))
    assert slow == []
    assert seconds < 2  # a tenth of it on an idle machine


@pytest.mark.parametrize(
    ("argv", "code"), [(["--help"], 0), (["run", "--seed", "-1"], 2), (["defend", "--out", "x"], 2)]
)
def test_answer_comes_at_once(argv, code, tmp_path):
    began = time.perf_counter()
    run = command(*argv, cwd=tmp_path)
    assert time.perf_counter() - began < 1.0  # about 0.1 s on an idle machine; MindSpore alone takes 2 s
    assert run.returncode == code
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_choices_are_those_of_the_package():
    from mindefense import training
    from mindefense.defenses.search import ALIGNMENTS
    from mindefense.runtime import DEVICE_TARGETS
    from mindefense.study import config

    assert set(arguments.SCHEDULES) == set(training.SCHEDULES)
    assert len(arguments.SCHEDULES) == len(training.SCHEDULES)
    parser = argparse.ArgumentParser()
    arguments.add_study_arguments(parser)
    arguments.add_training_arguments(parser)
    arguments.add_common_arguments(parser)
    choices = {action.dest: action.choices for action in parser._actions}
    assert (choices["model"], choices["schedule"]) == (arguments.MODELS, arguments.SCHEDULES)
    assert set(choices["alignment"]) == set(ALIGNMENTS)
    assert set(choices["device_target"]) == set(DEVICE_TARGETS)
    assert choices["amp"] == arguments.AMP_LEVELS == config.AMP_LEVELS


def test_defaults_describe_a_whole_study():
    args = vars(cli.build_parser().parse_args(["run"]))
    defaults = {field.name: field.default for field in dataclasses.fields(study_config())}
    assert {name: args[name] for name in ("defense", "alignment", "seed", "smoke")} == {
        name: defaults[name] for name in ("defense", "alignment", "seed", "smoke")
    }
    assert args["device_target"] == "auto"
    for name in ("batch_size", "parity", "augment", "image_size", "num_samples", "members", "until_accuracy", "epochs"):
        assert args[name] == defaults[name]
    assert args["width_multiplier"] is None  # as the checkpoint says, else the study's


@pytest.mark.parametrize("name", ["location", "cifar100"])
def test_every_data_set_that_can_be_fetched_is_a_choice(name):
    assert set(SOURCES) == {"location", "cifar100"}
    assert cli.build_parser().parse_args(["download", name, "--to", "x"]).name == name


# --------------------------------------------------------------------------------------------------- run_command, debug


def run_command(work, *, debug=False, prog="mindefense"):
    return cli.run_command(lambda args: work(), argparse.Namespace(debug=debug), prog=prog)


def raising(error):
    def work():
        raise error

    return work


def test_run_command_returns_0_if_it_succeeds(capsys):
    assert run_command(lambda: None) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("error_class", [MindefenseError, InputError, DataError])
def test_run_command_prints_errors_of_the_user_in_one_line(error_class, capsys):
    error = error_class("x", expected="y", got="a\nb", fix="do z")
    assert run_command(raising(error), prog="script.py") == 2
    assert capsys.readouterr() == ("", "script.py: error: x: expected y, got a b; do z\n")
    with pytest.raises(error_class):
        run_command(raising(error), debug=True)


def test_run_command_does_not_catch_errors_of_the_package():
    for debug in (False, True):
        with pytest.raises(ZeroDivisionError):
            run_command(raising(ZeroDivisionError()), debug=debug)


@pytest.mark.parametrize("debug", [False, True])
def test_interruption(debug, capsys):
    assert run_command(raising(KeyboardInterrupt()), debug=debug) == 130
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("mindefense: interrupted")
    assert "--resume" in err
    assert err.count("\n") == 1


def test_an_import_is_not_interrupted(tmp_path, monkeypatch, capsys):
    (tmp_path / "slowly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)

    def work():
        import slowly  # pyright: ignore[reportMissingImports]

        assert slowly.whole
        time.sleep(10)

    assert run_command(work) == 130
    assert sys.modules.pop("slowly").whole
    assert capsys.readouterr().err.startswith("mindefense: interrupted")


@pytest.mark.parametrize("argv", [["run", "--data_path", "nowhere"], ["defend", "--out", "nowhere"]])
def test_debug_shows_the_traceback(argv, tmp_path):
    run = command(*argv, "--debug", cwd=tmp_path)
    assert run.returncode == 1
    assert "Traceback" in run.stderr
    assert "InputError: " in run.stderr.splitlines()[-1]
    assert "nowhere" in run.stderr.splitlines()[-1]
