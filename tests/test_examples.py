"""The examples: the arguments and results of ``mindefense run``, quick help, one smoke test each."""

import atexit
import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from mindefense.cli import build_parser

EXAMPLE = Path(__file__).parent.parent / "examples" / "location_defense.py"
TUTORIAL = EXAMPLE.with_name("example_vgg_cifar.py")
COMMON = {
    *(
        "--help",
        "--debug",
        "--config",
        "--json",
        "--device_target",
        "--device_id",
        "--amp",
        "--distributed",
        "--max_steps",
        "--data_path",
        "--pre_trained",
        "--defense",
        "--alignment",
    ),
    *("--seed", "--out", "--smoke"),
    *(
        "--attacks",
        "--knowledge",
        "--adversary",
        "--noise",
        "--max_queries",
        "--targets",
        "--targets",
        "--strict",
        "--fail_above",
        "--fail_by",
        "--policy",
        "--title",
        "--note",
    ),
}
OPTIONS = {
    EXAMPLE: COMMON
    | {"--section", "--dataset", "--split_config", "--split_section", "--resume", "--shadows", "--jobs"},
    TUTORIAL: COMMON
    | {"--image_size", "--num_samples", "--batch_size", "--parity", "--members", "--shadows", "--jobs"},
}
FILES = {
    "study.json",
    *(f"{name}.{end}" for name in ("target", "shadow", "defender", "defense") for end in ("ckpt", "json")),
    "defended.npz",
    "shadows",
    "results.json",
    "attacks.csv",
    "records.csv",
    "report.html",
    "report.md",
}


def example(*arguments, script=EXAMPLE, **options):
    return subprocess.run([sys.executable, script, *map(str, arguments)], capture_output=True, text=True, **options)


def load(script):
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def smoke(example_run):
    """Exit code, stdout, stderr and folder of ``--smoke`` on the embedded data."""
    return *json.loads((example_run / "run.json").read_text()), example_run / "out"


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory):
    """The same of the tutorial."""
    out = tmp_path_factory.mktemp("tutorial") / "out"
    run = example("--smoke", "--out", out, script=TUTORIAL)
    return run.returncode, run.stdout, run.stderr, out


@pytest.mark.parametrize("script", [EXAMPLE, TUTORIAL])
def test_help_comes_at_once(script, tmp_path):
    began = time.perf_counter()
    run = example("--help", script=script, cwd=tmp_path)
    assert time.perf_counter() - began < 1.0  # about 0.1 s on an idle machine; MindSpore alone takes 2 s
    assert run.returncode == 0
    assert f"examples/{script.name} --smoke" in run.stdout
    assert list(tmp_path.iterdir()) == []
    assert set(re.findall(r"^  (?:-h, )?(--\w+)", run.stdout, re.MULTILINE)) == OPTIONS[script]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--data_path", "x", "--dataset", "purchase100", "--seed", "3", "--defense", "memguard", "--smoke", "--resume"],
        ["--pre_trained", "x.ckpt", "--out", "y", "--alignment", "published", "--device_target", "CPU", "--debug"],
        ["--split_config", "x.ini", "--split_section", "y", "--device_id", "1"],
    ],
)
def test_arguments_are_those_of_the_command_line(argv, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["location_defense.py", *argv])
    given, expected = vars(load(EXAMPLE).parse_args()), vars(build_parser().parse_args(["run", *argv]))
    assert given.pop("typed").split(" ")[0] == "location_defense.py"
    assert expected.pop("typed").startswith("mindefense run")
    assert {name: expected[name] for name in given} == given
    # How a target is trained, and on which images, is for the command line.
    nothing = vars(build_parser().parse_args(["run"]))
    assert {name: value for name, value in expected.items() if name not in given} == {
        name: nothing[name]
        for name in ("command", "stage", *(option[2:].replace("-", "_") for option in beyond(EXAMPLE)))
    }


def beyond(script):
    """Options of ``mindefense run`` that an example does not have."""
    run = subprocess.run([sys.executable, "-m", "mindefense", "run", "--help"], capture_output=True, text=True)
    options = set(re.findall(r"^  (?:-h, )?(--\w+)", run.stdout, re.MULTILINE))
    assert OPTIONS[script] <= options
    return sorted(options - OPTIONS[script])


@pytest.mark.parametrize("option", ["--image_size 32", "--parity", "--model vgg16", "--epochs 3", "--batch_size 9"])
def test_options_for_images_are_none_of_locations(option, tmp_path):
    run = example(*option.split(), cwd=tmp_path)
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.count("\n") == 1
    assert f"unrecognized arguments: {option}" in run.stderr


def test_mistake_is_one_line(tmp_path):
    for argv, words in ((["--data_path", "nowhere"], ["nowhere", "spelling"]), (["--seed", "x"], ["--seed", "'x'"])):
        run = example(*argv, cwd=tmp_path)
        assert run.returncode == 2
        assert run.stdout == ""
        assert run.stderr.count("\n") == 1
        assert run.stderr.startswith("location_defense.py: error: ")
        for word in words:
            assert word in run.stderr
    assert list(tmp_path.iterdir()) == []


LISTED = Path(tempfile.mkdtemp(prefix="listed"))
"""Files of row numbers; what is typed below names them."""
(LISTED / "minus.csv").write_text("6\n-3\n")
(LISTED / "twice.txt").write_text("6\n4\n6\n")
(LISTED / "some.txt").write_text("6\n4\n9\n")
np.save(LISTED / "float.npy", np.array([6.0, 4.0]))
atexit.register(shutil.rmtree, LISTED, ignore_errors=True)
# What to type → words of the one line on stderr.
MISTAKES = {
    "nothing": ([], ["--data_path", "the folder of CIFAR-100", "mindefense download cifar100 --to DIR", "--smoke"]),
    "no data": (["--pre_trained", "."], ["--data_path", "the folder of CIFAR-100", "mindefense download cifar100"]),
    "no checkpoint": (
        ["--data_path", "."],
        ["--pre_trained", "a checkpoint of VGG16", "mindefense train --model vgg16", "--smoke"],
    ),
    "missing data": (["--data_path", "nowhere", "--pre_trained", "."], ["--data_path", "nowhere", "spelling"]),
    "missing checkpoint": (["--data_path", ".", "--pre_trained", "no.ckpt"], ["--pre_trained", "no.ckpt", "spelling"]),
    "missing data in a smoke test": (["--smoke", "--data_path", "nowhere"], ["nowhere", "spelling"]),
    "image size 0": (["--smoke", "--image_size", "0"], ["--image_size", "at least 1", "--help"]),
    "nobody to judge by": (["--smoke", "--num_samples", "0"], ["--num_samples", "at least 1"]),
    "unknown defense": (["--defense", "dp"], ["--defense", "'dp'", "memguard"]),
    "unknown device": (["--device_target", "TPU"], ["--device_target", "'TPU'", "Ascend"]),
    "an option of the command line": (["--smoke", "--epochs", "9"], ["unrecognized arguments: --epochs 9"]),
    "no members": (
        ["--smoke", "--members", "0"],
        ["--members: expected a whole number of at least 1, or a file of row"],
    ),
    "a file of another kind": (["--members", "rows.json"], ["--members: expected", ".txt, .csv, .npy", "'rows.json'"]),
    "missing members": (
        ["--members", "no.txt"],
        ["--members: no.txt: expected a file with row numbers", "check the path"],
    ),
    "negative members": (["--members", str(LISTED / "minus.csv")], ["--members", "minus.csv line 2", "got '-3'"]),
    "members with a point": (["--members", str(LISTED / "float.npy")], ["--members", "expected integers", "float64"]),
    "members twice": (["--members", str(LISTED / "twice.txt")], ["twice.txt line 3: expected each row once, got 6"]),
    "another data set": (["--smoke", "--dataset", "location"], ["unrecognized arguments: --dataset location"]),
}
PROBE = """
import contextlib, importlib.util, io, json, sys
spec = importlib.util.spec_from_file_location("example", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
answers = {}
for name, argv in json.load(sys.stdin).items():
    out, err = io.StringIO(), io.StringIO()
    sys.argv = ["example_vgg_cifar.py", *argv]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = module.main()
        except SystemExit as stop:
            code = stop.code
    slow = sorted({"mindspore", "mindarmour", "sklearn", "scipy"} & set(sys.modules))
    answers[name] = [code, out.getvalue(), err.getvalue(), slow]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What one process says to all of `MISTAKES`, and which slow packages it has loaded by then."""
    folder = tmp_path_factory.mktemp("answers")
    typed = {name: argv for name, (argv, _) in MISTAKES.items()}
    run = subprocess.run(
        [sys.executable, "-c", PROBE, TUTORIAL], input=json.dumps(typed), capture_output=True, text=True, cwd=folder
    )
    assert run.returncode == 0, run.stderr
    assert list(folder.iterdir()) == []
    return json.loads(run.stdout)


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake_in_the_tutorial_is_one_line_before_mindspore_is_loaded(name, answers):
    code, out, err, slow = answers[name]
    assert (code, out, slow) == (2, "", [])
    assert err.count("\n") == 1
    assert err.startswith("example_vgg_cifar.py: error: ")
    for word in MISTAKES[name][1]:
        assert word in err


TYPED = [
    ([], {}, "runs/tutorial"),
    (
        ["--image_size", "64", "--num_samples", "7", "--batch_size", "5", "--seed", "3", "--out", "x"],
        {"image_size": 64, "num_samples": 7, "batch_size": 5, "seed": 3},
        "x",
    ),
    (["--defense", "defenmi", "--alignment", "published"], {"defense": "defenmi", "alignment": "published"}, None),
    (["--defense", "memguard", "--parity"], {"defense": "memguard", "parity": True}, None),
    (["--members", "7"], {"members": 7}, None),
    (["--members", str(LISTED / "some.txt")], {"members": str(LISTED / "some.txt")}, None),
    (
        ["--smoke", "--members", str(LISTED / "some.txt")],
        {"smoke": True, "members": str(LISTED / "some.txt"), "num_samples": 3},
        None,
    ),
    (["--smoke"], {"smoke": True, "num_samples": 150}, "runs/tutorial-smoke"),
]


@pytest.mark.parametrize(("argv", "expected", "out"), TYPED)
def test_arguments_of_the_tutorial_become_the_study(argv, expected, out, tmp_path, monkeypatch):
    import mindspore as ms

    from mindefense.checkpoint import save_checkpoint
    from mindefense.errors import InputError
    from mindefense.study import StudyConfig

    asked = []

    def record(config, folder, **_):
        asked.append((config, folder))
        raise InputError("enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ms, "set_device", lambda *_: None)  # see `here` in tests/conftest.py
    monkeypatch.setattr("mindefense.study.pipeline.Study", record)
    save_checkpoint("VGG16-100_781.ckpt", {"w": np.zeros(1, np.float32)}, {})
    given = ["--data_path", ".", "--pre_trained", "VGG16-100_781.ckpt"]
    monkeypatch.setattr(sys, "argv", [TUTORIAL.name, *given, *argv])
    assert load(TUTORIAL).main() == 2
    ((config, folder),) = asked
    common = {"model": "vgg16", "dataset": "cifar100", "data_path": str(tmp_path), "defense": "none"}
    assert config == StudyConfig(**{**common, **expected})
    assert config.pixels == expected.get("image_size", 224)
    assert out is None or folder == out


def test_smoke_run_of_the_tutorial_is_quick_silent_and_leaves_its_files(tutorial):
    code, stdout, stderr, out = tutorial
    assert (code, stderr) == (0, "")
    assert f"wrote {out / 'results.json'}, {out / 'attacks.csv'}, {out / 'records.csv'}" in stdout
    assert {path.name for path in out.iterdir()} == {
        *("study.json", "target.ckpt", "target.json", "results.json", "attacks.csv", "records.csv"),
        *("report.html", "report.md"),
    }
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert held["timings"]["total"] < 120  # about 20 s on an idle machine


def test_smoke_run_of_the_tutorial_marks_itself_everywhere(tutorial):
    _, stdout, _, out = tutorial
    text = " ".join(stdout.split())
    marks = ("synthetic data: ", "smoke test: ", "SYNTHETIC DATA, SMOKE TEST", "cifar100-like", "are treated alike")
    for mark in marks:
        assert mark in text
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (held["synthetic"], held["smoke"], held["dataset"]) == (True, True, "cifar100-like")
    assert [warning.partition(":")[0] for warning in held["warnings"]] == ["synthetic data", "smoke test"]
    with (out / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        assert {(row["synthetic"], row["smoke"]) for row in csv.DictReader(stream)} == {("True", "True")}


def test_smoke_run_of_the_tutorial_prints_its_lines(tutorial):
    _, stdout, _, out = tutorial
    figure = r"(\d\.\d{4}|None)"
    found = re.findall(
        rf"^Method: (\w+), {{'recall': {figure}, 'precision': {figure}, 'accuracy': {figure}}}$", stdout, re.MULTILINE
    )
    attacks = {a["name"]: a for a in json.loads((out / "results.json").read_text(encoding="utf-8"))["attacks"]}
    assert [row[0] for row in found] == ["lr", "knn", "mlp", "rf"]
    for method, *figures in found:
        for key, said in zip(("recall", "precision", "accuracy"), figures, strict=True):
            held = attacks[f"mindarmour-{method}"][key]
            assert said == ("None" if held is None else f"{held:.4f}")
    parts = ("Method: rf", "Membership inference", "\ngap", "\ntarget: ", "\nDoes this model leak", "wrote ")
    lines = [stdout.index(word) for word in parts]
    assert lines == sorted(lines)


def test_results_of_the_tutorial_have_the_schema_of_the_other_example(tutorial, smoke):
    held, other = (json.loads((run[3] / "results.json").read_text(encoding="utf-8")) for run in (tutorial, smoke))
    assert held.keys() == other.keys()
    for key in ("schema_version", "settings", "target", "verdict", "versions"):
        if isinstance(held[key], dict):
            assert held[key].keys() == other[key].keys() - {"shadows"}  # images have no bank unless it is asked for
        else:
            assert held[key] == other[key]
    assert held["attacks"][0].keys() == other["attacks"][0].keys()
    assert (held["shadow"], held["budgets"], held["defense"]) == (None, [], None)
    heads = [(run[3] / "attacks.csv").read_text(encoding="utf-8").splitlines()[0] for run in (tutorial, smoke)]
    assert heads[0] == heads[1]


def test_screen_of_the_tutorial_fits_80_columns(tutorial):
    assert max(map(len, tutorial[1].replace(str(tutorial[3]), "out").splitlines())) <= 80
    assert "…" not in tutorial[1]


def test_smoke_run_is_quick_silent_and_leaves_all_files(smoke):
    code, stdout, stderr, out = smoke
    assert code == 0
    assert stderr == ""  # no countdown of MindArmour's, no warning of MindSpore's
    assert f"wrote {out / 'results.json'}, {out / 'attacks.csv'}, {out / 'records.csv'}" in stdout
    assert {path.name for path in out.iterdir()} == FILES
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert held["timings"]["total"] < 120  # about 30 s on an idle machine


def test_smoke_run_marks_itself_everywhere(smoke):
    _, stdout, _, out = smoke
    text = " ".join(stdout.split())
    for mark in ("synthetic data: ", "smoke test: ", "SYNTHETIC DATA, SMOKE TEST"):
        assert mark in text
    assert "location-like" in text
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (held["synthetic"], held["smoke"], held["dataset"]) == (True, True, "location-like")
    assert len(held["warnings"]) == 2
    with (out / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        assert {(row["synthetic"], row["smoke"]) for row in csv.DictReader(stream)} == {("True", "True")}


def test_screen_of_the_smoke_run_fits_80_columns(smoke):
    assert max(map(len, smoke[1].replace(str(smoke[3]), "out").splitlines())) <= 80
    assert "…" not in smoke[1]


@pytest.mark.skipif(
    "MINDEFENSE_DATA" not in os.environ, reason="MINDEFENSE_DATA is not set: no real Location to run on"
)
def test_smoke_run_on_real_data(tmp_path):
    """Structure alone: with so few rows and epochs the figures mean nothing."""
    folder = Path(os.environ["MINDEFENSE_DATA"]) / "location"
    attacks = "confidence,mindarmour-lr,label-flips,lira"  # the others have been seen on made-up rows
    run = example("--smoke", "--data_path", folder, "--out", "out", "--attacks", attacks, cwd=tmp_path)
    assert (run.returncode, run.stderr) == (0, "")
    assert "synthetic" not in run.stdout.lower()
    assert "SMOKE TEST" in run.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    held = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert (held["synthetic"], held["smoke"], held["dataset"]) == (False, True, "location")
    assert len(held["warnings"]) == 1
    assert held["settings"]["order"] == "published"
    assert held["settings"]["data_path"] == folder.name
    assert {attack["name"] for attack in held["attacks"]} == {
        "gap",
        "confidence",
        "mindarmour-lr",
        "label-flips",
        "lira",
    }
    assert held["defense"]["label_changes"] == 0
