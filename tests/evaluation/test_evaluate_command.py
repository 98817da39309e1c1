"""The commands that judge: recorded outputs, the gate, --strict, and a comparison on a study that is there."""

import csv
import json
import shutil

import jsonschema
import numpy as np
import pytest

from mindefense import cli
from mindefense.reports.results import schema

QUICK = "confidence,entropy,shokri-label"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Recorded outputs of a model that knows its members, and of one that does not."""
    folder, rng = tmp_path_factory.mktemp("outputs"), np.random.default_rng(0)
    n, classes = 2400, 5
    labels, is_member = rng.integers(classes, size=n), np.arange(n) % 2 == 0
    for name, leak in (("leaky", 3.0), ("tight", 0.0)):
        logits = rng.normal(0, 1, (n, classes))
        logits[np.arange(n), labels] += 5 - leak * ~is_member
        np.savez(folder / f"{name}.npz", logits=logits.astype(np.float32), labels=labels, is_member=is_member)
    return folder


def run(*arguments):
    """The exit code of a command line."""
    try:
        return cli.main(list(map(str, arguments)))
    except SystemExit as left:
        return left.code


def evaluate(path, out, *options):
    return run(*["evaluate", "--outputs", str(path), "--out", str(out), "--attacks", QUICK, *options])


def test_recorded_outputs_leave_results_and_say_what_was_not_run(outputs, tmp_path, capsys):
    assert evaluate(outputs / "leaky.npz", tmp_path, "--attacks", f"{QUICK},label-flips") == 0
    held = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert (held["dataset"], held["target"]["test_accuracy"], held["shadow"]) == ("leaky.npz", None, None)
    assert {attack["name"] for attack in held["attacks"]} == {"gap", *QUICK.split(",")}
    text = " ".join(capsys.readouterr().out.split())
    assert "label-flips (auditor)" in text
    assert "recorded outputs have no answers" in text
    with (tmp_path / "records.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2400
    with (tmp_path / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == [attack["name"] for attack in held["attacks"]]


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("leaky", ["--fail-above", "auc=0.6"], 4),
        ("leaky", ["--fail-above", "auc=0.99"], 5),  # nothing is said of the members that are identified
        ("leaky", ["--fail-above", "auc=0.99", "--fail-above", "named=1000"], 0),
        ("leaky", ["--fail-above", "auc=0.99", "--fail-above", "advantage=0.2"], 4),
        ("tight", ["--fail-above", "auc=0.6", "--fail-above", "tpr@0.01=0.05"], 0),
        ("tight", ["--strict"], 0),
        ("leaky", ["--fail-above", "auc=0.6", "--strict"], 4),
    ],
)
def test_the_gate(name, options, code, outputs, tmp_path, capsys):
    assert evaluate(outputs / f"{name}.npz", tmp_path, *options) == code
    err = capsys.readouterr().err
    assert err.count("\n") == (code in (4, 5))  # one line, whatever else is wrong
    assert not code or "--fail_above: " in err
    assert (tmp_path / "results.json").is_file()  # nothing is lost


def test_strict_names_the_doubts(outputs, tmp_path, capsys):
    with np.load(outputs / "tight.npz") as held:
        few = {name: held[name][:160] for name in held.files}
    np.savez(tmp_path / "few.npz", **few)
    assert evaluate(tmp_path / "few.npz", tmp_path / "out", "--strict") == 3
    err = capsys.readouterr().err
    assert "sample-size" in err
    assert err.count("\n") == 1
    assert evaluate(tmp_path / "few.npz", tmp_path / "out") == 0


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--fail-above", "auc"], "METRIC=LIMIT"),
        (["--fail-above", "f1=0.5"], "METRIC=LIMIT"),
        (["--attacks", "gab"], "expected gap, "),
        (["--knowledge", "shadow"], "drop it or use auditor"),
        (["--noise", "fresh"], "each row has one answer"),
        (["--max_queries", "50"], "attackers that ask about changed samples do not run"),
        (["--fail-above", "auc=60"], "a fraction"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(options, word, outputs, tmp_path, capsys):
    assert evaluate(outputs / "tight.npz", tmp_path / "out", *options) == 2
    err = capsys.readouterr().err
    assert word in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_results_of_more_attackers_that_are_replaced_are_named(outputs, tmp_path, capsys):
    command = ("evaluate", "--outputs", outputs / "tight.npz", "--out", tmp_path, "--attacks")
    said = "replaced the results of 4 attackers"
    for attacks, expected in (
        (QUICK, None),
        (QUICK, None),  # the same ones again lose nothing
        ("entropy", f"{said} in {tmp_path}; this run is without confidence, shokri-label\n"),
        (QUICK, None),
    ):
        assert run(*command, attacks) == 0
        out = capsys.readouterr().out
        assert (expected is None) == ("replaced the results" not in out)
        assert expected is None or expected in out
    (tmp_path / "results.json").write_text("[]")
    assert run(*command, "entropy") == 0
    assert "replaced the results" not in capsys.readouterr().out


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert evaluate(tmp_path / "none.npz", tmp_path / "out") == 2
    assert "none.npz" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_seed_belongs_to_recorded_outputs(tmp_path, capsys):
    assert cli.main(["evaluate", "--out", str(tmp_path), "--seed", "3"]) == 2
    assert "a study keeps the seed it began with" in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------------------- compare


@pytest.fixture(scope="module")
def compared(staged, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    shutil.copytree(staged, out)
    arguments = [
        "--defenses",
        "defenmi,label-only,laplace=0.5",
        "--training",
        "early-stopping=0.02,dp=8,dp-mindarmour=1",
    ]
    assert cli.main(["compare", "--out", str(out), "--attacks", "confidence,averaging-8", *arguments]) == 0
    return out


def test_a_comparison_leaves_the_page_that_its_file_makes(compared, tmp_path):
    assert cli.main(["report", str(compared / "comparison.json"), "--out", str(tmp_path)]) == 0
    for name in ("comparison.html", "comparison.md"):
        assert (tmp_path / name).read_bytes() == (compared / name).read_bytes()


def test_a_comparison_has_every_way_to_defend(compared):
    held = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))
    contenders = {contender["name"]: contender for contender in held["contenders"]}
    assert list(contenders) == ["none", "defenmi", "label-only", "laplace=0.5", "early-stopping=0.02", "dp=8"]
    assert [(entry["name"], entry["knowledge"]) for entry in held["not_run"]] == [("dp-mindarmour=1", "training")]
    for name, contender in contenders.items():
        states = {attack["defended"] for attack in contender["attacks"]}
        assert states == {name not in ("none", "early-stopping=0.02", "dp=8")}
        averaged = any(attack["name"] == "averaging-8" for attack in contender["attacks"])
        assert averaged == (name in ("defenmi", "laplace=0.5"))
        assert contender["checks"]
    assert contenders["none"]["utility"]["mean_l1"] == 0 < contenders["label-only"]["utility"]["mean_l1"]
    assert contenders["early-stopping=0.02"]["in_training"]
    assert contenders["dp=8"]["in_training"]
    assert 7.9 < contenders["dp=8"]["config"]["epsilon"] <= 8.0
    # A label says to an attacker what the gap attack knows, and no more.
    label_only = contenders["label-only"]
    auc = {attack["auc"] for attack in label_only["attacks"] if attack["knowledge"] == "shadow"}
    assert auc == {next(attack["auc"] for attack in label_only["attacks"] if attack["name"] == "gap")}


def test_a_fresh_comparison_fits_the_schema(compared):
    held = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema()).validate(held)
    del held["contenders"][1]["utility"]["ece"]
    assert not jsonschema.Draft202012Validator(schema()).is_valid(held)


def test_the_comparison_agrees_with_the_evaluation(compared, staged):
    held = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))
    before = json.loads((staged / "results.json").read_text(encoding="utf-8"))
    expected = {
        (attack["name"], attack["knowledge"], attack["adversary"], attack["defended"]): attack["auc"]
        for attack in before["attacks"]
        if attack["name"] in ("gap", "confidence")
    }
    found = {
        (attack["name"], attack["knowledge"], attack["adversary"], attack["defended"]): attack["auc"]
        for contender in held["contenders"][:2]
        for attack in contender["attacks"]
        if attack["name"] in ("gap", "confidence")
    }
    assert found == expected


def test_a_comparison_is_a_table_for_spreadsheets_too(compared):
    with (compared / "comparison.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == [
        "none",
        "defenmi",
        "label-only",
        "laplace=0.5",
        "early-stopping=0.02",
        "dp=8",
    ]
    assert float(rows[0]["mean_l1"]) == 0


def test_a_comparison_keeps_to_the_budget_and_says_of_each_what_it_is(staged, tmp_path):
    out = shutil.copytree(staged, tmp_path / "out")
    held = json.loads((out / "study.json").read_text(encoding="utf-8"))
    (out / "study.json").write_text(json.dumps({**held, "max_steps": 20, "alignment": "published"}), encoding="utf-8")
    names = "defenmi,memguard=0.5,memguard=0.5@300"
    assert run("compare", "--out", out, "--defenses", names, "--attacks", "confidence") == 0
    held = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    found = {
        one["name"]: [one["config"][name] for name in ("max_steps", "alignment")] for one in held["contenders"][1:]
    }
    assert found == {"defenmi@20": [20, "corrected"], "memguard=0.5@300": [300, "corrected"]}
    assert held["settings"]["max_steps"] == 20
    assert not {"defense", "alignment"} & set(held["settings"])  # those of the study, which is not what is compared
    (left_out,) = held["not_run"]
    assert (left_out["name"], left_out["knowledge"]) == ("memguard=0.5", "defense")
    assert "max_steps with an L1 budget" in left_out["reason"]
    assert "memguard=0.5@300" in left_out["reason"]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--defenses", "memguard=0.5@20"], "at least max_iterations (300)"),
        (["--defenses", "top-k"], "top-k= and how many confidences to keep"),
        (["--defenses", "defenmi,defenmi"], "each once"),
        (["--training", "dropout=0.5"], "early-stopping or weight-decay"),
    ],
)
def test_unknown_contenders_are_refused_before_anything_is_attacked(options, word, staged, capsys):
    assert run("compare", "--out", staged, *options) == 2
    err = capsys.readouterr().err
    assert word in err
    assert err.count("\n") == 1


# ---------------------------------------------------------------------------------------------------- steps of a search


@pytest.mark.parametrize("defense", ["rounding=1", "none", "label-only"])
@pytest.mark.parametrize("command", ["run", "train"])
def test_a_budget_of_steps_needs_a_search(command, defense, tmp_path, capsys):
    assert run(command, "--smoke", "--defense", defense, "--max_steps", 300, "--out", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert err.startswith(f"mindefense {command}: error: --max_steps: expected a defense that searches, got {defense}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    for searching in ("defenmi", "memguard=0.5", "memguard@200"):
        typed = [command, "--defense", searching, "--max_steps", "300"]
        assert cli.build_parser().parse_args(typed).max_steps == 300


# ---------------------------------------------------------------------------------------------------- canaries


def test_canaries_are_trained_on_and_reported_apart(tmp_path, on_the_cpu):
    out = tmp_path / "out"
    arguments = ["--smoke", "--canaries", "20", "--defense", "none", "--out", str(out), "--attacks", "confidence"]
    assert cli.main(["run", *arguments, "--knowledge", "auditor"]) == 0
    held = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert [(attack["name"], attack["n_members"], attack["n_non_members"]) for attack in held["canaries"]] == [
        ("gap", 20, 20),
        ("confidence", 20, 20),
    ]
    gap = next(attack for attack in held["attacks"] if attack["name"] == "gap")
    assert (gap["n_members"], gap["n_non_members"]) == (180, 180)
