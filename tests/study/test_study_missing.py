"""What a study says when a file is missing or of another study, and its bars when a stage fails."""

import contextlib
import dataclasses
import shutil
import time

import pytest
from study_folders import CHECKPOINTS, SMOKE, copy

from mindefense import cli
from mindefense.checkpoint import load_checkpoint, save_checkpoint
from mindefense.data import make_location_like
from mindefense.errors import CheckpointError, InputError, OutputError
from mindefense.evaluation import AttackRunner
from mindefense.progress import Quiet
from mindefense.study import Study, StudyConfig, evaluator, roles
from mindefense.study.stages import Stages
from mindefense.study.store import StudyStore
from mindefense.targets import cell


@pytest.fixture
def study(staged, tmp_path):
    """A copy of the study that may be changed."""
    return copy(staged, tmp_path / "out", *(path.name for path in staged.iterdir()))


class Bars(Quiet):
    """Notes when bars begin and end, and what they were told."""

    def __init__(self):
        self.noted = []

    @contextlib.contextmanager
    def stage(self, title, total):
        self.noted.append(("begun", title))
        try:
            yield lambda done, note: self.noted.append((title, done))
        finally:
            self.noted.append(("ended", title))


@pytest.mark.parametrize("at", ["forward", "answers_of"])
def test_a_stage_that_fails_ends_its_bar_and_is_told_no_more(at, staged, monkeypatch):
    def fail(*_, on_rows=None, **__):
        if on_rows is not None:
            on_rows(3)
        raise InterruptedError

    bars = Bars()
    opened = Study(None, staged, progress=bars)
    scenario = opened.behind(opened.guard()[1], "defenmi", "keyed")
    with monkeypatch.context() as patch:
        patch.setattr(cell if at == "forward" else evaluator, at, fail)
        with pytest.raises(InterruptedError):
            opened.evaluator.answers(scenario)
    title, stage = ("ask target", "query") if at == "forward" else ("defend", "defend")
    assert bars.noted[-1] == ("ended", title)
    assert ((title, 3) in bars.noted) == (at == "forward")
    assert stage in opened.timings
    noted = list(bars.noted)
    opened._networks.network("shadow").logits(opened.rows("attacker").features()[:5])
    assert bars.noted == noted


def test_seconds_of_a_stage_that_fails_count(monkeypatch):
    stages = Stages()
    monkeypatch.setattr(time, "perf_counter", iter((1.0, 3.5, 10.0, 11.0)).__next__)
    for error in (InterruptedError, KeyboardInterrupt):
        with pytest.raises(error), stages.timed("work"):
            raise error
    assert stages.timings == {"work": 3.5}


# ------------------------------------------------------------------------------------------------------ what is missing

# The files that are there → the stage → the command that must be named.
MISSING = [
    ([], "train-defender", "train"),
    ([], "defend", "train-defender"),
    ([], "evaluate", "train"),
    (["target"], "defend", "train-defender"),
    (["target", "shadow", "defender"], "evaluate", "defend"),
    (["defender"], "defend", "train"),
    (["target", "defender", "defense"], "evaluate", "train-shadow"),
]


@pytest.mark.parametrize(("there", "stage", "command"), MISSING)
def test_missing_predecessor_names_the_command(there, stage, command, staged, tmp_path, capfd, on_the_cpu):
    out = copy(staged, tmp_path / "out", "study.json", *(f"{name}.ckpt" for name in there))
    before = sorted(path.name for path in out.iterdir())
    assert cli.main([stage, "--out", str(out)]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert f"no {dict(TRAINED)[command]} in {out}; run `mindefense {command} --out {out}`" in err
    assert sorted(path.name for path in out.iterdir()) == before


TRAINED = [
    ("train", "target.ckpt"),
    ("train-defender", "defender.ckpt"),
    ("train-shadow", "shadow.ckpt"),
    ("defend", "defense.ckpt"),
]


@pytest.mark.parametrize(
    ("there", "config", "stage"),
    [
        ([], {}, "train"),
        (["target", "shadow"], {}, "train-defender"),
        (["target", "defender"], {}, "train-shadow"),
        (["target", "shadow", "defender"], {}, "defend"),
        (CHECKPOINTS, {}, "train-shadows"),
        ([*CHECKPOINTS, "shadows"], {}, "evaluate"),
        ([*CHECKPOINTS, "shadows"], {"shadows": 8}, "train-shadows"),
        (CHECKPOINTS, {"shadows": 0}, "evaluate"),
        (CHECKPOINTS, {"seed": 1}, "train"),
        (CHECKPOINTS, {"defense": "memguard"}, "defend"),
        (["target", "shadow", "shadows"], {"defense": "none"}, "evaluate"),
    ],
)
def test_the_first_stage_that_is_missing(there, config, stage, staged, tmp_path):
    out = copy(staged, tmp_path / "out", *(name if name == "shadows" else f"{name}.ckpt" for name in there))
    assert Study(dataclasses.replace(SMOKE, **config), out).next_stage == stage


def test_without_a_defense_a_missing_shadow_is_named_too(staged, tmp_path):
    out = copy(staged, tmp_path / "out", "target.ckpt")
    with pytest.raises(CheckpointError, match=r"no shadow\.ckpt.*mindefense train-shadow"):
        Study(dataclasses.replace(SMOKE, defense="none"), out).evaluate()


def test_nothing_to_defend_with(staged, tmp_path):
    out = copy(staged, tmp_path / "out", "target.ckpt", "defender.ckpt")
    with pytest.raises(InputError, match="a name, such as defenmi"):
        Study(dataclasses.replace(SMOKE, defense="none"), out).defend()
    assert sorted(path.name for path in out.iterdir()) == ["defender.ckpt", "target.ckpt"]


def test_no_study_in_the_folder(tmp_path):
    with pytest.raises(InputError, match=f"no study in {tmp_path}; run `mindefense train --out {tmp_path}`"):
        Study(None, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["target", "shadow", "defender", "defense"])
def test_file_of_another_kind_is_refused(name, study):
    other = "shadow" if name == "target" else "target"
    shutil.copy(study / f"{other}.ckpt", study / f"{name}.part")
    (study / f"{name}.part").replace(study / f"{name}.ckpt")
    opened = Study(None, study)
    with pytest.raises(CheckpointError, match=f"{name}.ckpt.*of a {other}"):
        opened.evaluate() if name != "defender" else opened.defend()


@pytest.mark.parametrize(
    ("change", "stage", "word"),
    [
        ({"seed": 1}, "evaluate", "belongs to another study.*data"),
        ({"smoke": False}, "evaluate", "belongs to another study.*rows"),
        ({"defense": "memguard"}, "evaluate", "expected memguard.*got defenmi"),
        ({"alignment": "published"}, "evaluate", "belongs to another study.*rows"),
    ],
)
def test_files_of_another_study_are_refused(change, stage, word, study):
    opened = Study(dataclasses.replace(SMOKE, **change), study)
    with pytest.raises(CheckpointError, match=word) as caught:
        getattr(opened, stage)()
    assert "mindefense" in str(caught.value)


def test_a_shadow_of_another_seed_is_refused(study, monkeypatch):
    """On data with a published order, `train --seed 1` leaves an older shadow that looks like this study's."""
    monkeypatch.setattr(roles, "make_location_like", lambda seed: make_location_like(0))
    with pytest.raises(CheckpointError, match=r"shadow\.ckpt"):
        Study(dataclasses.replace(SMOKE, seed=1, defense="none"), study)._networks.network("shadow")


def test_the_shadow_may_be_trained_last(study, monkeypatch):
    def reached(*_, **__):
        raise InterruptedError("the attacks")

    monkeypatch.setattr(AttackRunner, "run", reached)
    (study / "shadow.ckpt").rename(study / "later.ckpt")
    opened = Study(None, study)
    opened.defend()
    (study / "later.ckpt").rename(study / "shadow.ckpt")
    with pytest.raises(InterruptedError):
        opened.evaluate()


def test_resuming_with_other_settings_is_refused(study):
    noted = (study / "study.json").read_bytes()
    with pytest.raises(InputError, match="cannot be resumed: its study has another seed"):
        Study(dataclasses.replace(SMOKE, seed=1), study).train_target(resume=True)
    assert (study / "study.json").read_bytes() == noted


def test_a_new_study_takes_the_old_ones_findings_away(study):
    pages = [f"{name}.{end}" for name in ("report", "comparison") for end in ("html", "md")]
    for name in ("results.json", "attacks.csv", "records.csv", "comparison.json", "comparison.csv", *pages):
        (study / name).write_text("of the old one")
    StudyStore(study).begin(dataclasses.replace(SMOKE, seed=1), resume=False)
    kinds = ("target", "shadow", "defender", "defense")
    assert {path.name for path in study.iterdir()} == {
        "study.json", "shadows", *(f"{kind}.{end}" for kind in kinds for end in ("ckpt", "json"))
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["target", "shadow", "defender"])
def test_a_half_trained_network_is_refused(study, kind):
    held = load_checkpoint(study / f"{kind}.ckpt")
    history = {name: values[:3] for name, values in held.description["history"].items()}
    save_checkpoint(study / f"{kind}.ckpt", held.parameters, {**held.description, "history": history})
    with pytest.raises(CheckpointError, match=f"{kind}.ckpt: the training stopped after epoch 3 of 8; run .*--resume"):
        Study(None, study).evaluate()


def test_unwritable_folder_shows_before_the_training(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="choose a writable folder"):
        Study(SMOKE, tmp_path / "file" / "below").train_target()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"dataset": "mnist", "data_path": "x"}, "synthetic or location"),
        ({"defense": "dp"}, "defenmi or memguard or rounding"),
        ({"alignment": "other"}, "corrected or published"),
        ({"data_path": "x"}, "none for the synthetic one"),
        ({"dataset": "location"}, "a path for a named data set"),
        ({"seed": -1}, "from 0 to"),
    ],
)
def test_configuration_is_checked(wrong, word):
    with pytest.raises(InputError, match=word):
        StudyConfig(**wrong)


def test_a_network_trained_otherwise_is_refused(study):
    """An older shadow, of other epochs than this study's, must not pass for its own."""
    held = load_checkpoint(study / "shadow.ckpt")
    train = {**held.description["train"], "learning_rate": 0.5}
    save_checkpoint(study / "shadow.ckpt", held.parameters, {**held.description, "train": train})
    with pytest.raises(CheckpointError, match=r"shadow\.ckpt belongs to another study: its train differ"):
        Study(None, study).evaluate()
