"""Configuration files of TOML: what they hold is what was typed, unless it was; a mistake is a line with its key."""

import pytest
from configuration_files import EXAMPLES, example, mistake, parse, write

from mindefense.cli import build_parser
from mindefense.configuration import TABLES

REQUIRED = {
    "report": ["results.json"],
    "diff": ["old", "new"],
    "download": ["location", "--to", "x"],
    **{name: [] for name in ("doctor", "demo", "run", "train")},
}
"""What commands want typed; the others want ``--out``."""

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
