"""Who is trained and fitted on which rows of a study, and with which settings."""

import dataclasses

import numpy as np
import pytest
from study_folders import answers, copy

from mindefense.attacks.registry import AttackContext
from mindefense.evaluation import AttackRunner, EvaluationConfig
from mindefense.models import MLP
from mindefense.study import Study, StudyConfig, evaluator, trainer
from mindefense.study.networks import StudyNetworks
from mindefense.targets.base import clean_target
from mindefense.targets.cell import Network
from mindefense.training import PUBLISHED_DEFENDER, PUBLISHED_TARGET


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
