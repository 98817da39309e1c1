"""The command line: quick help, and every mistake in one line that names a remedy and leaves nothing behind."""

import argparse
import dataclasses
import gzip
import hashlib
import io
import json
import os
import resource
import socket
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest

from mindefense import arguments, cli
from mindefense.data import SOURCES, Source
from mindefense.errors import CheckpointError, DataError, InputError, MindefenseError

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


def command(*arguments, **options):
    """Runs the command line as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "mindefense", *map(str, arguments)], capture_output=True, text=True, **options
    )


# ------------------------------------------------------------------------------------------- before MindSpore is loaded

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


def study_config():
    from mindefense.study import StudyConfig

    return StudyConfig


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


# -------------------------------------------------------------------------------------------- after MindSpore is loaded


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory, in a process that runs on the CPU."""
    import mindspore as ms

    # Other tests may have run something in this process, after which MindSpore lets nobody choose a device.
    monkeypatch.setattr(ms, "set_device", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def location_line(label=1, features=446, feature=0):
    return b'"%d"' % label + b",%d" % feature * features


def tgz(text):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("bangkok")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    return gzip.compress(sink.getvalue(), 1)


def data(name, content):
    """Puts a data file into ./data."""

    def write(folder):
        (folder / "data").mkdir()
        (folder / "data" / name).write_bytes(content() if callable(content) else content)
        return ["--data_path", "data"]

    return write


def arrays(value, at_label=False):
    """The content of a data_complete.npz with `value` in row 7 of x or y."""

    def content():
        x, y = np.zeros((5010, 446), np.float32), np.ones(5010, np.float32)
        if at_label:
            y[7] = value
        else:
            x[7, 3] = value
        sink = io.BytesIO()
        np.savez(sink, x=x, y=y)
        return sink.getvalue()

    return content


def empty_folder(folder):
    (folder / "data").mkdir()
    return ["--data_path", "data"]


def net_checkpoint(folder, widths, description, name="net.ckpt"):
    from mindefense.checkpoint import parameters_of, save_checkpoint
    from mindefense.models import MLP

    save_checkpoint(folder / name, parameters_of(MLP(widths)), description)
    (folder / name).chmod(0o600)
    return ["--pre_trained", name]


def other_architecture(folder):
    return net_checkpoint(
        folder, (446, 8, 30), {"kind": "target", "architecture": {"name": "mlp", "widths": [446, 8, 30]}}
    )


def other_data_set(folder):
    return net_checkpoint(folder, (600, 1024, 512, 256, 128, 100), {"kind": "target"})


def other_program(folder):
    import mindspore as ms

    ms.save_checkpoint([{"name": "conv.weight", "data": ms.Tensor(np.zeros(3, np.float32))}], str(folder / "net.ckpt"))
    return ["--pre_trained", "net.ckpt"]


def other_rows(folder):
    return net_checkpoint(folder, (446, 1024, 512, 256, 128, 30), {"kind": "target", "rows": "0123"})


def truncated_checkpoint(folder):
    arguments = other_architecture(folder)
    content = (folder / "net.ckpt").read_bytes()
    (folder / "net.ckpt").write_bytes(content[: len(content) // 2])
    return arguments


def defense_checkpoint(folder):
    from mindefense.defenses import DefenderClassifier, MemGuard

    MemGuard(DefenderClassifier(30)).save(folder / "defense.ckpt")
    return ["--pre_trained", "defense.ckpt"]


def no_checkpoint(folder):
    (folder / "net.ckpt").write_text("these are no weights")
    return ["--pre_trained", "net.ckpt"]


def empty_checkpoint(folder):
    (folder / "net.ckpt").touch()
    return ["--pre_trained", "net.ckpt"]


def split_file(text):
    def write(folder):
        (folder / "config.ini").write_text(text)
        return ["--split_config", "config.ini"]

    return write


def file_as_out(below):
    def write(folder):
        (folder / "file").write_text("mine")
        return ["--out", f"file{below}"]

    return write


def typed(text, prepare=lambda folder: []):
    """Arguments as they are typed, and those of a preparation."""
    return lambda folder: [*text.split(), *prepare(folder)]


def vgg_checkpoint(folder):
    """Parameters alone, as another program writes them."""
    import mindspore as ms

    from mindefense.models import vgg16

    net = vgg16(image_size=32, width_multiplier=0.0625)
    ms.save_checkpoint(net, str(folder / "net.ckpt"))
    (folder / "net.ckpt").chmod(0o600)
    return ["--pre_trained", "net.ckpt"]


# InputTransform that returns arguments → what is wrong, what to do.
LATE_MISTAKES = {
    "folder without data": (empty_folder, ["location data", "data_complete.npz"], "mindefense download location"),
    "truncated archive": (
        data("dataset_location.tgz", lambda: tgz((location_line() + b"\n") * 5010)[:2000]),
        ["dataset_location.tgz", "damaged or truncated"],
        "mindefense download location",
    ),
    "too few columns": (
        data("bangkok", location_line() + b"\n" + location_line(features=445)),
        ["bangkok line 2", "447 columns", "446"],
        "replace the file",
    ),
    "label out of range": (
        data("bangkok", location_line() + b"\n" + location_line(label=31)),
        ["bangkok line 2", "label 1…30", "31"],
        "replace the file",
    ),
    "label 0": (data("bangkok", location_line(label=0)), ["line 1", "label 1…30"], "replace the file"),
    "feature out of range": (data("bangkok", location_line(feature=2)), ["line 1", "0 or 1"], "replace the file"),
    "too few rows": (data("bangkok", location_line() + b"\n"), ["5,010 rows", "got 1"], "replace the file"),
    "NaN in the features": (
        data("data_complete.npz", arrays(np.nan)),
        ["x row 7", "nan"],
        "replace the file",
    ),
    "NaN in the labels": (data("data_complete.npz", arrays(np.nan, True)), ["y row 7", "nan"], "replace the file"),
    "label of npz out of range": (data("data_complete.npz", arrays(31, True)), ["y row 7", "31"], "replace the file"),
    "no npz": (data("data_complete.npz", b"PK\3\4 and no more"), ["npz"], "replace the file"),
    "other architecture": (other_architecture, ["net.ckpt", "does not fit", "mis-shaped"], "MLP 446-8-30"),
    "checkpoint of another data set": (other_data_set, ["net.ckpt", "does not fit"], "choose another checkpoint"),
    "checkpoint of another program": (other_program, ["unexpected: conv.weight"], "choose another checkpoint"),
    "checkpoint of other rows": (other_rows, ["net.ckpt", "its rows differ"], "give the data, split, members and seed"),
    "truncated checkpoint": (truncated_checkpoint, ["net.ckpt", "cannot be read"], "train it again"),
    "no checkpoint": (no_checkpoint, ["net.ckpt", "cannot be read"], "train it again"),
    "empty checkpoint": (empty_checkpoint, ["net.ckpt", "cannot be read"], "train it again"),
    "folder as a checkpoint": (lambda folder: ["--pre_trained", "."], ["no checkpoint at ."], "check the path"),
    "defense as a target": (defense_checkpoint, ["defense.ckpt", "of a defense"], "a checkpoint of a target"),
    "out below a file": (file_as_out("/below"), ["cannot write", "Not a directory"], "choose a writable folder"),
    "out is a file": (file_as_out(""), ["cannot write", "file"], "choose a writable folder"),
    "no such section": (split_file("[other]\na=1\n"), ["'synthetic'", "config.ini"], "one of other"),
    "section without ranges": (
        split_file("[synthetic]\na=1\n"),
        ["[synthetic]", "user_training_data_index_range", "no such key"],
        "add it to the section",
    ),
    "no ini file": (split_file("x"), ["config.ini"], "readable ini file"),
    "image size of a table": (typed("--image_size 32"), ["image_size", "got model mlp"], "only with model vgg16"),
    "members of a table": (typed("--members 32"), ["members", "got model mlp"], "only with model vgg16"),
    "parity of a table": (typed("--parity"), ["parity", "got model mlp"], "only with model vgg16"),
    "ranges for images": (
        typed("--model vgg16", split_file("[synthetic]\na=1\n")),
        ["split_config", "got model vgg16"],
        "only with model mlp",
    ),
    "table for vgg16": (
        typed("--model vgg16 --dataset location --data_path ."),
        ["model for location", "'vgg16'"],
        "expected mlp",
    ),
    "images for an mlp": (
        typed("--model mlp --dataset cifar100 --data_path ."),
        ["model for cifar100", "'mlp'"],
        "expected vgg16",
    ),
    "folder without images": (
        typed("--model vgg16", empty_folder),
        ["cifar100 data", "train.bin and test.bin"],
        "mindefense download cifar100",
    ),
    "odd image size": (typed("--model vgg16 --image_size 33"), ["image_size", "got 33"], "a multiple of 32"),
    "more members than there are": (
        typed("--model vgg16 --members 601"),
        ["members", "got 601", "the training part has 600 rows"],
        "a whole number from 1 to 600",
    ),
    "more judged than members": (
        typed("--model vgg16 --members 40 --num_samples 41"),
        ["num_samples", "got 41", "40 members and 300 test rows"],
        "a whole number from 1 to 40",
    ),
    "nobody left for the defender": (
        typed("--model vgg16 --members 600 --num_samples 300"),
        ["rows for the defender", "neither the target's members nor evaluated", "first 600 of train, first 300"],
        "--num_samples",
    ),
    "checkpoint of a table for images": (
        typed("--model vgg16 --width_multiplier 0.0625", other_architecture),
        ["net.ckpt", "does not fit", "expected VGG16 with batch normalization, image_size 224, 100 classes"],
        "got a file that seems to contain MLP 446-8-30",
    ),
    "checkpoint of other images": (
        typed("--model vgg16 --image_size 64 --width_multiplier 0.0625", vgg_checkpoint),
        ["net.ckpt", "does not fit", "expected VGG16 with batch normalization, image_size 64, 100 classes"],
        "seems to contain VGG16 with batch normalization, image_size 32, 100 classes, width_multiplier 0.06",
    ),
}


@pytest.mark.parametrize("name", LATE_MISTAKES)
def test_late_mistake_is_one_line_with_a_remedy_and_leaves_nothing(name, here, capfd):
    prepare, wrong, remedy = LATE_MISTAKES[name]
    arguments = prepare(here)
    before = {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()}
    capfd.readouterr()
    code = cli.main(["run", "--smoke", "--device_target", "CPU", "--out", "out", *arguments])
    err = capfd.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("mindefense: error: ")
    for word in (*wrong, remedy):
        assert word in err
    assert {path: path.stat().st_mtime_ns for path in here.rglob("*") if path.is_file()} == before
    assert not (here / "out").exists()


def test_section_of_the_split_is_named(here, capfd):
    (here / "config.ini").write_text("[location]\na=1\n")
    assert cli.main(["train", "--split_config", "config.ini", "--split_section", "texas", "--out", "out"]) == 2
    err = capfd.readouterr().err
    assert "'texas'" in err
    assert "one of location" in err


@pytest.mark.parametrize(
    "text",
    [
        '{"dataset": ',
        "[]",
        '{"colour": 1}',
        '{"seed": "x"}',
        '{"defense": "dp"}',
    ],
)
def test_damaged_study_is_one_line(text, here, capfd):
    (here / "study.json").write_text(text)
    assert cli.main(["evaluate", "--out", "."]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["study.json"]


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


def test_absent_device_is_one_line_without_noise(tmp_path):
    run = command("run", "--smoke", "--device_target", "GPU", "--out", tmp_path / "out")
    if run.returncode == 0:
        pytest.skip("this machine has a GPU")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    for word in ("device_target GPU", "CPU", "use --device_target auto"):
        assert word in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory):
    """A run with a limit on the size of files, which stands for the disk: study.json fits, a checkpoint does not."""
    tmp_path = tmp_path_factory.mktemp("disk")
    arguments = net_checkpoint(tmp_path, (446, 1024, 512, 256, 128, 30), {"kind": "target"})
    out = tmp_path / "out"
    out.mkdir()
    (out / "target.ckpt").write_bytes(b"old")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    run = command("train", "--smoke", *arguments, "--out", "out", cwd=tmp_path, preexec_fn=limit)
    run.out = out
    return run


def test_full_disk_is_said_and_leaves_the_old_file(full_disk):
    assert full_disk.returncode == 2
    assert "Traceback" not in full_disk.stderr
    assert full_disk.stderr.splitlines()[-1].startswith("mindefense: error: cannot write out/target.ckpt: ")
    assert "free space" in full_disk.stderr.splitlines()[-1]
    assert (full_disk.out / "target.ckpt").read_bytes() == b"old"


def test_full_disk_is_one_line(full_disk):
    assert full_disk.stderr.count("\n") == 1


def test_full_disk_leaves_nothing_partial(full_disk):
    assert sorted(path.name for path in full_disk.out.iterdir()) == ["study.json", "target.ckpt"]


# ------------------------------------------------------------------------------------------------------------- download


@pytest.fixture
def source(monkeypatch):
    """Replaces Location by a small file at an address where nobody answers."""
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    content = b"the right file"
    small = Source(
        "small.tgz", f"http://127.0.0.1:{port}/x", "sha256", hashlib.sha256(content).hexdigest(), len(content)
    )
    monkeypatch.setitem(SOURCES, "location", small)
    return small, content


def test_download_without_a_network_says_what_to_do_and_leaves_nothing(source, here, capfd):
    assert cli.main(["download", "location", "--to", "new/folder"]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "refused" in err
    assert f"fetch {source[0].url} by hand and put it at {os.path.join('new', 'folder', 'small.tgz')}" in err
    assert list(here.iterdir()) == []


def test_download_that_is_there_already(source, here, capfd):
    (here / "small.tgz").write_bytes(source[1])
    assert cli.main(["download", "location", "--to", "."]) == 0
    out, err = capfd.readouterr()
    assert "wrote small.tgz" in out
    assert err == ""


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
