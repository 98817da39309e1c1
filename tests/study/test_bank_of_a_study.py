"""A study's bank of shadow models: which rows it is about, its files, and what attackers find with it."""

import json
import shutil

import numpy as np
import pytest

from mindefense import cli
from mindefense.attacks.bank_questions import LOG_ODDS, correct_share
from mindefense.checkpoint import load_checkpoint, parameters_of
from mindefense.errors import CheckpointError
from mindefense.evaluation import EvaluationConfig
from mindefense.progress import Quiet
from mindefense.study import Study, bank_training
from mindefense.study.bank_training import Trainings
from mindefense.study.shared import FEW, SharedWork
from mindefense.training.dense import Processes

ATTACKS = ("lira", "rmia", "calibrated", "lira-label", "bank-confidence", "bank-label", "bank")


@pytest.fixture(scope="module")
def banked(staged, tmp_path_factory):
    """A copy of the study with two banks, evaluated with the attackers that need them."""
    out = tmp_path_factory.mktemp("banked") / "out"
    shutil.copytree(staged, out)
    for kind in ("--online", "--offline"):
        assert cli.main(["train-shadows", "--out", str(out), "--shadows", "4", kind]) == 0
    assert cli.main(["evaluate", "--out", str(out), "--attacks", ",".join(ATTACKS)]) == 0
    return out


@pytest.fixture
def copied(banked, tmp_path):
    shutil.copytree(banked, tmp_path / "out")
    return tmp_path / "out"


def test_each_attacker_is_there_with_either_bank_before_and_behind_the_defense(banked):
    held = json.loads((banked / "results.json").read_text())
    found = {(a["name"], a["knowledge"], a["adversary"], a["defended"]) for a in held["attacks"]}
    for name in ATTACKS:
        for knowledge in ("online", "offline"):
            assert (name, knowledge, "static", False) in found
            assert (name, knowledge, "static", True) in found
            assert (name, knowledge, "adaptive", True) in found
    assert held["settings"]["shadows"] == {"online": 4, "offline": 4}


def test_labels_alone_tell_as_much_behind_a_defense_that_keeps_them(banked):
    held = json.loads((banked / "results.json").read_text())
    for name in ("lira-label", "bank-label"):
        areas = {a["auc"] for a in held["attacks"] if (a["name"], a["knowledge"]) == (name, "online")}
        assert len(areas) == 1


def test_online_models_hold_half_of_the_judged_rows_each_and_pairs_all(banked):
    study = Study(None, banked)
    bank = study.bank.load("online")
    judged = study.rows("eval").indices()
    held = bank.trained_on(judged)
    assert (held.sum(axis=1) == len(judged) // 2).all()
    assert (held[0] != held[1]).all()
    assert (held[2] != held[3]).all()
    assert bank.in_training.sum() == held.sum()
    assert not np.isin(bank.population.indices, [*judged, *study.split.target_members]).any()


def test_offline_models_hold_none_of_the_judged_rows_nor_members(banked):
    study = Study(None, banked)
    bank = study.bank.load("offline")
    apart = np.concatenate((study.rows("eval").indices(), study.split.target_members, bank.population.indices))
    assert not bank.trained_on(apart).any()
    assert (bank.in_training.sum(axis=1) == len(study.split.target_members)).all()
    assert bank.is_offline


def test_an_unfinished_bank_is_named_with_the_command_that_finishes_it(copied):
    (copied / "shadows" / "online-003.ckpt").unlink()
    said = []
    progress = Quiet()
    progress.say = said.append
    Study(None, copied, progress=progress).evaluator.runner(EvaluationConfig(("gap", "confidence", "lira")))
    said = " ".join(said)
    assert "the online bank has 3 of 4 planned shadow models" in said
    assert f"mindefense train-shadows --out {copied} --resume" in said


def test_a_bank_grows_by_models_and_leaves_the_others(copied, capsys):
    before = {path.name: path.read_bytes() for path in (copied / "shadows").glob("online-*.ckpt")}
    assert cli.main(["train-shadows", "--out", str(copied), "--shadows", "5", "--online"]) == 0
    after = {path.name: path.read_bytes() for path in (copied / "shadows").glob("online-*.ckpt")}
    assert sorted(after) == [f"online-{number:03d}.ckpt" for number in range(5)]
    assert {name: after[name] for name in before} == before
    said = "".join(capsys.readouterr())
    assert "5 online (1 new); next: mindefense evaluate" in said


def test_a_lost_model_comes_back_with_the_same_weights(copied):
    path = copied / "shadows" / "online-002.ckpt"
    before = load_checkpoint(path).parameters
    path.unlink()
    assert cli.main(["train-shadows", "--out", str(copied), "--shadows", "4"]) == 0
    after = load_checkpoint(path).parameters
    assert {name: value.tobytes() for name, value in after.items()} == {n: v.tobytes() for n, v in before.items()}


def test_the_number_of_processes_is_measured_unless_it_is_given(copied, monkeypatch, capsys):
    asked = []

    def fastest(task, count, cores):
        asked.append(count)
        return Processes(2, {1: 270.0, 2: 480.0})

    monkeypatch.setattr(bank_training, "fastest_processes", fastest)
    paths = [copied / "shadows" / f"online-{number:03d}.ckpt" for number in (2, 3)]
    before = [load_checkpoint(path).parameters for path in paths]
    for options, told in (([], 1), (["--jobs", "1"], 0)):
        for path in paths:
            path.unlink()
        capsys.readouterr()
        assert cli.main(["train-shadows", "--out", str(copied), "--shadows", "4", "--online", *options]) == 0
        line = "train 2 online shadows: 2 processes side by side (measured: 1 process 270 steps/s, 2 processes 480 "
        assert " ".join("".join(capsys.readouterr()).split()).count(line) == told
        after = [load_checkpoint(path).parameters for path in paths]
        for one, other in zip(before, after, strict=True):
            assert all((one[name] == other[name]).all() for name in one)
    assert asked == [2]


class Alone:
    """In the place of the ranks of a job: one that does all in this process, and counts rows by job and network."""

    rank, size, leads, on_this_host = 0, 1, True, 1

    def __init__(self):
        self.rows = {}

    def lead(self, job, settings=None, arrays=None, *, here):
        found = here(settings or {}, arrays or {})
        if job in ("forward", "reshape"):
            key = (job, (settings or {}).get("role"))
            self.rows[key] = self.rows.get(key, 0) + len(found)
        return found


def measured(study):
    """What attackers ask the online bank, undefended and behind the study's defense."""
    study._defenses.use_banks(("online",))
    behind = study.behind(study._defenses.load(), "the defense", "keyed")
    found = []
    for bank in (study.bank.load("online"), behind.banks["online"]):
        rows, few = (bank.pool.take(np.arange(count)) for count in (FEW + 1, 20))
        found += [bank.measure(LOG_ODDS, rows), bank.measure(LOG_ODDS, bank.population)]
        found.append(bank.measure(correct_share(0), few))
    return found


def test_ranks_share_all_that_a_bank_is_asked_and_answer_with_the_same_bits(banked):
    crew, study = Alone(), Study(None, banked)
    study._parts.shared = SharedWork(crew, study.preset, study.data.num_classes, amp="O0")
    for one, other in zip(measured(study), measured(Study(None, banked)), strict=True):
        assert one.tobytes() == other.tobytes()
    population = len(study.bank.load("online").population)
    for number in range(4):
        # Without and with noise; then 20 rows and 32 changed copies of each, whose labels the defense keeps.
        assert crew.rows["forward", f"shadows/online-{number:03d}"] == 2 * (FEW + 1 + population) + 33 * 20
    assert crew.rows["reshape", None] == 4 * (FEW + 1)  # the population is too small to be sent


def test_a_model_of_another_study_is_refused(copied):
    shutil.copy(copied / "shadows" / "online-001.ckpt", copied / "shadows" / "online-000.ckpt")
    with pytest.raises(CheckpointError, match=r"another study.*mindefense train-shadows"):
        Study(None, copied).bank.load("online")
    assert cli.main(["evaluate", "--out", str(copied), "--attacks", "lira"]) == 2


def test_attackers_with_too_small_a_bank_are_left_out_and_say_what_to_do(copied, capsys):
    for number in (2, 3):
        (copied / "shadows" / f"online-{number:03d}.ckpt").unlink()
    typed = ["--attacks", "gap,lira,loss", "--adversary", "static"]
    assert cli.main(["evaluate", "--out", str(copied), *typed]) == 0
    held = json.loads((copied / "results.json").read_text())
    reasons = {one["knowledge"]: one["reason"] for one in held["not_run"] if one["name"] == "lira"}
    assert "2 shadow models and needs 4; train more" in reasons["online"]
    capsys.readouterr()
    assert cli.main(["evaluate", "--out", str(copied), "--attacks", "lira", "--knowledge", "online"]) == 2
    assert "2 shadow models and needs 4" in capsys.readouterr().err


@pytest.fixture(scope="module")
def without(staged, tmp_path_factory):
    """A copy of the study without a bank, evaluated."""
    out = tmp_path_factory.mktemp("without") / "out"
    shutil.copytree(staged, out)
    shutil.rmtree(out / "shadows")
    assert cli.main(["evaluate", "--out", str(out), "--attacks", "gap,lira,loss"]) == 0
    return out


def test_without_a_bank_the_command_that_trains_one_is_named(without):
    held = json.loads((without / "results.json").read_text())
    (left,) = (one for one in held["not_run"] if one["name"] == "lira")
    assert "mindefense train-shadows" in left["reason"]


def test_the_check_of_left_out_attackers_says_whether_there_was_a_bank(banked, without):
    def found(folder):
        held = json.loads((folder / "results.json").read_text())
        return next(check["found"] for check in held["checks"] if check["name"] == "left-out")

    assert "a bank of shadow models (lira, bank-confidence, bank)" in found(without)
    assert "a bank of shadow models" not in found(banked)


def test_a_rank_without_a_model_has_no_part_and_the_others_all(staged):
    study = Study(None, staged)
    rows = study.bank.rows("online")
    configs = [study.bank.training("online", number) for number in range(2)]
    held = np.stack([np.arange(50), np.arange(50, 100)])
    samples = study.data.take(rows.pool)
    trainings = Trainings(samples.features, samples.labels, held, configs)
    parts = [trainings.run_part(study.preset, 1, rank=rank, size=3) for rank in range(3)]
    assert sorted(0 if part is None else len(part) for part in parts) == [0, 1, 1]
    packed = np.concatenate([part for part in parts if part is not None])
    for (net, history), (other, other_history) in zip(
        trainings.unpacked(packed, study.preset), trainings.run(study.preset, 2), strict=True
    ):
        assert history == other_history
        for name, value in parameters_of(net).items():
            assert value.tobytes() == parameters_of(other)[name].tobytes()
