"""A whole study as a smoke test: its files, its stages one by one, and what it says when one is missing."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import shutil
import stat
import time

import numpy as np
import pytest

from mindefense import cli
from mindefense.attacks.registry import AttackContext, select
from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.data import make_location_like
from mindefense.errors import CheckpointError, InputError, OutputError
from mindefense.evaluation import AttackRunner, EvaluationConfig
from mindefense.models import MLP
from mindefense.progress import Quiet
from mindefense.study import Study, StudyConfig, evaluator, roles, trainer
from mindefense.study.networks import StudyNetworks
from mindefense.study.stages import Stages
from mindefense.study.store import StudyStore
from mindefense.targets import cell
from mindefense.targets.base import clean_target
from mindefense.targets.cell import Network
from mindefense.training import PUBLISHED_DEFENDER, PUBLISHED_TARGET

CHECKPOINTS = ("target", "shadow", "defender", "defense")
SMOKE = StudyConfig(smoke=True)


def held_in(folder):
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def arrays(folder):
    with np.load(folder / "defended.npz") as held:
        return dict(held)


def copy(source, target, *names):
    """Copies files of a study."""
    target.mkdir(exist_ok=True)
    for name in names:
        if (source / name).is_dir():
            shutil.copytree(source / name, target / name)
        else:
            shutil.copy(source / name, target / name)
    return target


def answers(folder, role, indices):
    """Confidence vectors of a trained network, computed here."""
    x = Study(None, folder).data.features[indices].astype(np.float64)
    parameters = load_checkpoint(folder / f"{role}.ckpt").parameters
    for layer in range(5):
        x = x @ parameters[f"layers.{layer}.weight"].T + parameters[f"layers.{layer}.bias"]
        x = np.maximum(x, 0) if layer < 4 else x
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


@pytest.fixture
def study(staged, tmp_path):
    """A copy of the study that may be changed."""
    return copy(staged, tmp_path / "out", *(path.name for path in staged.iterdir()))


# ------------------------------------------------------------------------------------------------------------ its files


def test_files_are_there_and_nothing_partial(staged):
    assert sorted(path.name for path in staged.iterdir()) == sorted(
        [
            "study.json",
            "shadows",
            "defended.npz",
            "results.json",
            "attacks.csv",
            "records.csv",
            "report.html",
            "report.md",
            *(f"{name}.{end}" for name in CHECKPOINTS for end in ("ckpt", "json")),
        ]
    )


@pytest.mark.skipif(os.name != "posix", reason="modes of files are of POSIX")
@pytest.mark.parametrize("name", ["records.csv", "defended.npz"])
def test_files_that_list_members_are_their_owners_alone(name, staged):
    assert stat.S_IMODE((staged / name).stat().st_mode) == 0o600


def test_study_json_holds_the_configuration(staged):
    assert json.loads((staged / "study.json").read_text(encoding="utf-8")) == dataclasses.asdict(SMOKE)
    assert Study(None, staged).config == SMOKE


def test_checkpoints_say_what_they_are(staged):
    for name in CHECKPOINTS:
        description = load_checkpoint(staged / f"{name}.ckpt").description
        assert description["kind"] == name
        assert description["data"]["synthetic"] is True
        assert description == json.loads((staged / f"{name}.json").read_text(encoding="utf-8"))
    target, shadow = (load_checkpoint(staged / f"{name}.ckpt") for name in ("target", "shadow"))
    assert target.description["rows"] != shadow.description["rows"]
    assert (target.parameters["layers.0.weight"] != shadow.parameters["layers.0.weight"]).any()


def test_defended_vectors_belong_to_the_rows_of_the_split(staged):
    held, opened = arrays(staged), Study(None, staged)
    data, split = opened.data, opened.split
    members, non_members = split.eval_members, split.eval_non_members
    assert (len(members), len(non_members)) == (200, 200)
    np.testing.assert_array_equal(held["indices"], np.concatenate((members, non_members)))
    np.testing.assert_array_equal(held["is_member"], np.isin(held["indices"], split.target_members))
    np.testing.assert_array_equal(held["labels"], data.labels[held["indices"]])
    assert held["synthetic"]


def test_defended_vectors_are_confidence_vectors_of_the_same_class(staged):
    held = arrays(staged)
    for name in ("clean_probs", "defended_probs"):
        assert held[name].shape == (400, 30)
        assert held[name].min() >= 0
        np.testing.assert_allclose(held[name].sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(held["clean_probs"].argmax(axis=1), held["defended_probs"].argmax(axis=1))
    assert np.median(np.abs(held["clean_probs"] - held["defended_probs"]).sum(axis=1)) > 1e-3


def test_clean_vectors_are_the_targets_answers(staged):
    held = arrays(staged)
    np.testing.assert_allclose(held["clean_probs"], answers(staged, "target", held["indices"]), atol=1e-5)


# ---------------------------------------------------------------------------------------------------------- its results


def test_results_are_about_these_files(staged):
    results, held, opened = held_in(staged), arrays(staged), Study(None, staged)
    clean, defended, is_member = held["clean_probs"], held["defended_probs"], held["is_member"]
    right = clean.argmax(axis=1) == held["labels"]
    assert results["target"]["member_accuracy"] == pytest.approx(right[is_member].mean())
    assert results["target"]["non_member_accuracy"] == pytest.approx(right[~is_member].mean())
    assert min(results["target"]["queries"], results["defense"]["queries"]) >= 400
    moved = np.abs(clean.astype(np.float64) - defended).sum(axis=1)
    assert results["defense"]["mean_l1"] == pytest.approx(moved.mean(), abs=1e-6)
    assert results["defense"]["label_changes"] == 0
    assert (results["defense"]["name"], results["defense"]["config"]["alignment"]) == ("defenmi", "corrected")
    assert (results["defense"]["noise"], results["defense"]["keeps_labels"]) == ("keyed", True)
    assert results["settings"]["order"] == "synthetic"
    assert (results["dataset"], results["synthetic"], results["smoke"]) == ("location-like", True, True)
    gap = next(attack for attack in results["attacks"] if attack["name"] == "gap")
    assert gap["recall"] == pytest.approx(right[is_member].mean())

    def accuracy(role, indices):
        said = answers(staged, role, indices).argmax(axis=1)
        return pytest.approx((said == opened.data.labels[indices]).mean())

    split = opened.split
    assert results["target"]["test_accuracy"] == accuracy("target", split.target_non_members)
    assert results["shadow"]["member_accuracy"] == accuracy("shadow", split.attacker_members)
    assert results["shadow"]["non_member_accuracy"] == accuracy("shadow", split.attacker_non_members)


def test_every_attacker_is_there_in_every_state(staged):
    results = held_in(staged)
    left_out = {(entry["name"], entry["knowledge"]) for entry in results["not_run"]}
    assert left_out == {
        *((name, knowledge) for name in ("label-noise", "label-shifts") for knowledge in ("auditor", "shadow")),
        ("lira-augmented", "online"),
    }
    expected = []
    for name, spec in select(None).items():
        attack = spec.make(AttackContext())
        for knowledge in attack.learns_from if attack.needs_fit else ("none",):
            if (name, knowledge) not in left_out and knowledge != "offline":  # a smoke test has an online bank alone
                states = [] if attack.needs_randomness else [("static", False)]
                states += [("static", True)] + ([("adaptive", True)] if knowledge != "none" else [])
                expected += [(name, knowledge, *state) for state in states]
    found = [
        tuple(attack[key] for key in ("name", "knowledge", "adversary", "defended")) for attack in results["attacks"]
    ]
    assert sorted(found) == sorted(expected)
    # An auditor is judged on the half that it is not fitted on, the others on all rows.
    for attack in results["attacks"]:
        n = 100 if attack["knowledge"] == "auditor" else 200
        assert (attack["n_members"], attack["n_non_members"]) == (n, n)


def test_records_have_a_line_for_every_judged_row(staged):
    with (staged / "records.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    held = arrays(staged)
    assert [int(row["index"]) for row in rows] == held["indices"].tolist()
    assert [row["is_member"] == "True" for row in rows] == held["is_member"].tolist()
    column = [row["gap|none|static|defended"] for row in rows]
    assert [float(value) for value in column] == (held["defended_probs"].argmax(axis=1) == held["labels"]).tolist()
    judged = [row["confidence|auditor|adaptive|defended"] for row in rows]
    assert sum(value != "" for value in judged) == 200


def test_doubts_are_told_and_a_smoke_test_is_one(staged):
    checks = {check["name"]: check for check in held_in(staged)["checks"]}
    failed = {name for name, check in checks.items() if not check["passed"]}
    assert {"smoke", "synthetic"} <= failed
    assert not {"overlap", "labels-changed", "same-answer", "treatment", "duplicates"} & failed
    assert all(check["meaning"] and check["advice"] for check in checks.values() if not check["passed"])


def test_verdict_and_budgets_agree_with_the_attacks(staged):
    results = held_in(staged)
    for state, defended in (("undefended", False), ("defended", True)):
        attacks = [attack for attack in results["attacks"] if attack["defended"] == defended]
        verdict = results["verdict"][state]
        assert verdict["strongest_balanced_accuracy"] == max(attack["balanced_accuracy"] for attack in attacks)
        assert verdict["gap_accuracy"] == next(a["balanced_accuracy"] for a in attacks if a["name"] == "gap")
    nn = {a["defended"]: a["accuracy"] for a in results["attacks"] if (a["name"], a["adversary"]) == ("nn", "static")}
    budgets = {point["budget"]: point["accuracy"] for point in results["budgets"]}
    assert list(budgets) == [1.0, 0.7, 0.5, 0.3, 0.1, 0.0]
    assert budgets[0.0] == pytest.approx(nn[False])


def test_csv_has_the_numbers_of_the_json(staged):
    with (staged / "attacks.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    attacks = held_in(staged)["attacks"]
    assert [(row["name"], row["adversary"], float(row["auc"])) for row in rows] == [
        (attack["name"], attack["adversary"], attack["auc"]) for attack in attacks
    ]


def test_stages_one_by_one_give_what_one_run_gives(staged, at_once):
    one, other = held_in(staged), held_in(at_once)
    assert set(one.pop("timings")) < set(other.pop("timings"))
    for held in (one, other):
        for name in ("created", "command"):
            del held["evidence"][name]
        del held["evidence"]["digests"]["checkpoint"]  # its file says when parameters were written
    assert one == other
    for name, array in arrays(staged).items():
        np.testing.assert_array_equal(array, arrays(at_once)[name])
    for name in CHECKPOINTS:
        first, second = (load_checkpoint(folder / f"{name}.ckpt") for folder in (staged, at_once))
        assert first.description == second.description
        assert first.parameters.keys() == second.parameters.keys()
        for key, array in first.parameters.items():
            np.testing.assert_array_equal(array, second.parameters[key])


# -------------------------------------------------------------------------------------------------------- other studies


def test_without_a_defense_and_resumed(staged, tmp_path, capsys, on_the_cpu):
    """Trained networks are taken up again; what the defense would have needed is not."""
    out = copy(staged, tmp_path / "out", "target.ckpt", "shadow.ckpt")
    before = (out / "target.ckpt").stat().st_mtime_ns
    attacks = ("gap", "confidence", "shokri-label", "mindarmour-lr", "lira")  # the others are in the run with a defense
    named = ["--attacks", ",".join(attacks)]
    assert cli.main(["run", "--smoke", "--defense", "none", "--resume", "--out", str(out), *named]) == 0
    assert (out / "target.ckpt").stat().st_mtime_ns == before
    text = capsys.readouterr().out
    assert "undefended" in text
    assert "adapts" not in text
    results, defended = held_in(out), held_in(staged)
    assert results["defense"] is None
    assert results["verdict"]["defended"] is None
    assert results["budgets"] == []
    # Attackers that average take part behind the defense alone, and ask the undefended target too.
    assert results["target"].pop("queries") < defended["target"].pop("queries")
    assert results["target"] == defended["target"]
    assert results["shadow"] == defended["shadow"]
    assert results["attacks"] == [
        attack for attack in defended["attacks"] if not attack["defended"] and attack["name"] in attacks
    ]
    assert not (out / "defended.npz").exists()


def test_memguard(staged, tmp_path):
    out = copy(staged, tmp_path / "out", "target.ckpt", "defender.ckpt")
    Study(dataclasses.replace(SMOKE, defense="memguard"), out).defend()
    held, other = arrays(out), arrays(staged)
    np.testing.assert_array_equal(held["clean_probs"], other["clean_probs"])
    np.testing.assert_array_equal(held["defended_probs"].argmax(axis=1), held["clean_probs"].argmax(axis=1))
    assert (held["defended_probs"] != other["defended_probs"]).any()
    described = load_checkpoint(out / "defense.ckpt").description
    assert (described["defense"], described["config"]["alignment"]) == ("memguard", "corrected")


def test_published_alignment(staged, tmp_path):
    out = copy(staged, tmp_path / "out", "target.ckpt", "defender.ckpt")
    opened = Study(dataclasses.replace(SMOKE, alignment="published"), out)
    opened.defend()
    held, corrected = load_checkpoint(out / "defense.ckpt"), load_checkpoint(staged / "defense.ckpt")
    assert held.description["config"]["alignment"] == "published"
    # The published program takes the class means from the very rows it defends: here those of the evaluation.
    check_means(held.parameters["class_mean_probs"], arrays(out)["clean_probs"])
    assert (held.parameters["class_mean_probs"] != corrected.parameters["class_mean_probs"]).any()
    assert (arrays(out)["defended_probs"] != arrays(staged)["defended_probs"]).any()


def test_corrected_class_means_come_from_the_defenders_rows(staged):
    split = Study(None, staged).split
    rows = np.concatenate((split.defender_members, split.defender_non_members))
    check_means(
        load_checkpoint(staged / "defense.ckpt").parameters["class_mean_probs"], answers(staged, "target", rows)
    )


def check_means(means, probs):
    """Row k is the softmax of the mean logits, up to a constant the logarithms, of the rows predicted as k."""
    predicted = probs.argmax(axis=1)
    for label in np.unique(predicted):
        powers = np.exp(np.log(probs[predicted == label]).mean(axis=0))
        np.testing.assert_allclose(means[label], powers / powers.sum(), atol=1e-6)


def test_target_from_a_checkpoint(staged, tmp_path, capsys, on_the_cpu):
    out, given = tmp_path / "out", staged / "target.ckpt"
    assert cli.main(["train", "--smoke", "--pre_trained", str(given), "--out", str(out)]) == 0
    assert "wrote" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == ["study.json", "target.ckpt", "target.json"]
    held, original = (load_checkpoint(folder / "target.ckpt") for folder in (out, staged))
    for name, array in original.parameters.items():
        np.testing.assert_array_equal(held.parameters[name], array)
    assert held.description["rows"] == original.description["rows"]
    Study(None, out).rows("target")


def test_target_of_another_program_is_taken_at_the_users_word(tmp_path):
    net = MLP((446, 1024, 512, 256, 128, 30), seed=5)
    save_checkpoint(tmp_path / "mine.ckpt", parameters_of(net), {})
    opened = Study(SMOKE, tmp_path / "out")
    opened.adopt_target(tmp_path / "mine.ckpt")
    held = load_checkpoint(tmp_path / "out" / "target.ckpt")
    assert (held.description["kind"], held.description["origin"]) == ("target", "mine.ckpt")
    np.testing.assert_array_equal(held.parameters["layers.4.weight"], parameters_of(net)["layers.4.weight"])


def test_a_given_checkpoint_is_copied_which_is_said_and_never_written(tmp_path):
    """Not even where the study's file was a link to it."""
    mine, out, said = tmp_path / "mine.ckpt", tmp_path / "out", []
    net = MLP((446, 1024, 512, 256, 128, 30), seed=5)
    save_checkpoint(mine, parameters_of(net), {})
    before = mine.read_bytes()
    out.mkdir()
    os.link(mine, out / "target.ckpt")
    bars = Quiet()
    bars.say = said.append
    Study(SMOKE, out, progress=bars).adopt_target(mine)
    assert mine.read_bytes() == before
    assert not os.path.samefile(mine, out / "target.ckpt")
    size = f"{(out / 'target.ckpt').stat().st_size / 1e6:,.1f} MB"
    assert said == [
        f"{out / 'target.ckpt'} is a copy of {mine} ({size}) that also records data and rows; the given "
        "file is not changed"
    ]
    Study(SMOKE, out, progress=bars).adopt_target(out / "target.ckpt")
    assert len(said) == 1


def test_target_of_another_seed_is_refused(staged, tmp_path):
    with pytest.raises(CheckpointError, match=r"its data and rows differ.*data, split, members and seed"):
        Study(dataclasses.replace(SMOKE, seed=1), tmp_path / "out").adopt_target(staged / "target.ckpt")
    assert not (tmp_path / "out").exists()


def test_target_of_other_data_is_refused(staged, tmp_path):
    held = load_checkpoint(staged / "target.ckpt")
    described = {**held.description, "data": {"name": "location", "synthetic": False, "sha256": "0" * 64}}
    save_checkpoint(tmp_path / "other.ckpt", held.parameters, described)
    with pytest.raises(CheckpointError):
        Study(SMOKE, tmp_path / "out").adopt_target(tmp_path / "other.ckpt")


# ------------------------------------------------------------------------------------ who is trained and fitted on what


@pytest.mark.parametrize("smoke", [False, True])
def test_networks_are_trained_on_their_rows_the_published_way(smoke, tmp_path, monkeypatch):
    trained = []

    def record(net, features, labels, config, *, checkpoint, resume, description, **_):
        trained.append((net, features, labels, config, checkpoint.name, resume, description["kind"]))

    monkeypatch.setattr(trainer, "train_classifier", record)
    opened = Study(StudyConfig(seed=5, smoke=smoke), tmp_path)
    opened.train_target()
    opened.train_shadow(resume=True)
    split, scale = opened.split, 0.2 if smoke else 1
    for (net, features, labels, config, name, resume, kind), (role, rows, seed) in zip(
        trained, [("target", split.target_members, 5), ("shadow", split.attacker_members, 6)], strict=True
    ):
        assert net.widths == (446, 1024, 512, 256, 128, 30)
        np.testing.assert_array_equal(features, opened.data.features[rows])
        np.testing.assert_array_equal(labels, opened.data.labels[rows])
        assert config == dataclasses.replace(PUBLISHED_TARGET, seed=seed, epochs=8 if smoke else 200)
        assert (name, kind, resume) == (f"{role}.ckpt", role, role == "shadow")
        assert len(rows) == {"target": 1000, "shadow": 500}[role] * scale
    weights = [net.weights()[0][0] for net, *_ in trained]
    assert (weights[0] != weights[1]).any()


def test_defenders_classifier_is_trained_on_the_targets_answers(staged, tmp_path, monkeypatch):
    told = {}
    out = copy(staged, tmp_path / "out", "study.json", "target.ckpt")
    monkeypatch.setattr(
        trainer, "fit_defender", lambda probs, is_member, **more: told.update(more, probs=probs, flags=is_member)
    )
    opened = Study(None, out)
    opened.train_defender(resume=True)
    split = opened.split
    rows = np.concatenate((split.defender_members, split.defender_non_members))
    np.testing.assert_allclose(told["probs"], answers(staged, "target", rows), atol=1e-5)
    np.testing.assert_array_equal(told["flags"], np.isin(rows, split.target_members))
    assert told["config"] == dataclasses.replace(PUBLISHED_DEFENDER, seed=2, epochs=8)
    assert (told["checkpoint"], told["resume"]) == (out / "defender.ckpt", True)


@pytest.mark.parametrize("smoke", [False, True])
def test_attackers_get_the_studys_rows_and_models(smoke, tmp_path, monkeypatch):
    told = {}

    class Recorded(AttackRunner):
        def run(self, scenario=None, **more):
            told.update(attackers=self.attackers, undefended=self.undefended)
            raise InterruptedError

    nets = {role: MLP((446, 1024, 512, 256, 128, 30), seed=seed) for seed, role in enumerate(("target", "shadow"))}
    monkeypatch.setattr(evaluator, "AttackRunner", Recorded)
    monkeypatch.setattr(StudyNetworks, "network", lambda self, role: Network(nets[role]))
    opened = Study(StudyConfig(defense="none", seed=5, smoke=smoke), tmp_path)
    config = EvaluationConfig(attacks=("gap",))
    with pytest.raises(InterruptedError):
        opened.evaluate(config)

    def indices(rows):
        return rows.members.indices.tolist(), rows.non_members.indices.tolist()

    sets, some = told["undefended"].sets, opened.data.features[:3]
    assert list(told["attackers"].specs) == ["gap"]
    assert told["attackers"].context == AttackContext(seed=5, smoke=smoke)
    assert indices(sets.everyone) == indices(opened.rows("eval"))
    for part, expected in zip((sets.known, sets.judged), opened.rows("eval").divide(5), strict=True):
        assert indices(part) == indices(expected)
    assert indices(sets.shadow) == indices(opened.rows("attacker"))
    assert indices(sets.defender) == indices(opened.rows("defender"))
    assert sets.canaries is None
    for door, role in ((told["undefended"].target, "target"), (told["undefended"].shadows[0], "shadow")):
        np.testing.assert_allclose(door.query(some), clean_target(Network(nets[role])).query(some), atol=1e-5)


# ------------------------------------------------------------------------------------------------- bars, and what fails


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


def test_a_network_is_named_by_class_size_and_digests(at_once):
    held = json.loads((at_once / "results.json").read_text(encoding="utf-8"))
    evidence = held["evidence"]
    checkpoint = at_once / "target.ckpt"
    assert evidence["digests"]["checkpoint"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert evidence["network"] == "MLP"
    parameters = load_checkpoint(checkpoint).parameters
    assert evidence["parameters"] == sum(array.size for array in parameters.values())
    assert set(evidence["digests"]) == {"checkpoint", "parameters", "data", "members"}
    assert all(len(digest) == 64 for digest in evidence["digests"].values())
