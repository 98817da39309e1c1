"""An evaluation says of a fit that stopped at its limit that it did, and what that means for the verdict."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mindefense import evaluate_outputs, load_outputs
from mindefense.attacks import ClassifierAttack, NeuralAttack, StackedAttack
from mindefense.attacks.averaging import AveragingAttack
from mindefense.attacks.base import convergence_noted, how_stopped
from mindefense.attacks.registry import AttackSpec
from mindefense.confidence import log_softmax
from mindefense.data import load_location
from mindefense.evaluation import Attackers, AttackRunner, EvaluationSets, Rows, Scenario
from mindefense.targets.base import Target
from mindefense.training import TrainConfig
from mindefense.types import Samples

N, CLASSES = 800, 30
STOPPED = "mindarmour-lr (auditor, static) stopped at its limit of 300 iterations"


def log_probs_and_labels(least, band):
    """Answers whose directions have spreads from 20 down to `least`; members differ where there is little.

    Non-members' logits are smaller or larger by the share `band`, which no linear classifier can tell.
    """
    rng = np.random.default_rng(0)
    is_member = np.arange(2 * N) < N
    directions = np.linalg.qr(rng.normal(0, 1, (CLASSES, CLASSES)))[0]
    logits = (rng.normal(0, 1, (2 * N, CLASSES)) * np.geomspace(20, least, CLASSES)) @ directions
    logits *= np.where(is_member, 1, rng.choice([1 - band, 1 + band], 2 * N))[:, None]
    logits += np.where(is_member, 2.5 * least if least < 1 else 1, 0)[:, None] * np.linspace(-1, 1, CLASSES)
    logits -= logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), logits.argmax(axis=1)


def judged(folder, attacks, *, name="outputs", jitter=0.0, least=0.02, band=0.0):
    log_probs, labels = log_probs_and_labels(least, band)
    log_probs = log_probs + jitter * np.random.default_rng(1).standard_normal(log_probs.shape)
    arrays = {"labels": labels, "is_member": np.arange(2 * N) < N, "log_probs": log_probs.astype(np.float32)}
    np.savez(folder / f"{name}.npz", **arrays)
    found = evaluate_outputs(load_outputs(folder / f"{name}.npz"), attacks=attacks)
    return found, next(check for check in found.checks if check.name == "convergence")


def test_recordings_that_differ_in_the_last_digits_get_the_same_verdict_and_the_same_doubt(tmp_path):
    attacks = ["gap", "confidence", "mindarmour-lr"]
    first, check = judged(tmp_path, attacks)
    again, other = judged(tmp_path, attacks, name="again", jitter=1e-7)
    scores = [found.records["mindarmour-lr|auditor|static|undefended"] for found in (first, again)]
    assert list(scores[0]) != list(scores[1])
    assert first.undefended.level == again.undefended.level == "leak"
    for one in (check, other):
        assert not one.passed
        assert STOPPED in one.found
        assert "last digits" in one.meaning


def test_released_answers_about_location_that_differ_in_the_last_digits_get_the_same_verdict(
    tmp_path, golden, data_root
):
    held, location = golden("defenmi_location_released"), load_location(data_root / "location")
    assert location.order is not None
    labels = location.labels[location.order[np.r_[:1000, 2000:3000]]]
    levels = set()
    for number, size in enumerate((0, 1e-7, 1e-7)):
        noise = size * np.random.default_rng(number).standard_normal(held["clean_probs"].shape)
        log_probs = np.log(np.maximum(held["clean_probs"].astype(np.float64), 1e-30)) + noise
        path = tmp_path / f"{number}.npz"
        np.savez(path, log_probs=log_probs.astype(np.float32), labels=labels, is_member=held["is_member"].astype(bool))
        found = evaluate_outputs(load_outputs(path), attacks=["gap", "confidence", "mindarmour-lr", "shokri-label"])
        check = next(check for check in found.checks if check.name == "convergence")
        assert STOPPED in check.found
        levels.add(found.undefended.level)
    assert levels == {"leak"}


def test_one_that_decides_nothing_beside_others_of_its_kind_is_told_and_fails_nothing(tmp_path):
    found, check = judged(tmp_path, ["gap", "confidence", "mindarmour-lr", "shokri-label"], band=0.8)
    assert found.undefended.strongest.name != "mindarmour-lr"
    assert check.passed
    assert f"{STOPPED}, but no verdict depends on it" in check.found


def test_one_that_converges_is_told_too(tmp_path):
    _, check = judged(tmp_path, ["gap", "mindarmour-lr"], least=20)
    assert check.passed
    assert check.found == "1 training converged: mindarmour-lr (auditor, static)."


def drawn(seed, lead, n=200):
    rng = np.random.default_rng(seed)
    labels = rng.integers(5, size=n)
    logits = rng.normal(0, 1, (n, 5))
    logits[np.arange(n), labels] += lead
    return Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(n))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClassifierAttack("label"),
        lambda: StackedAttack(),
        lambda: AveragingAttack(lambda: ClassifierAttack("label"), repeats=2),
    ],
)
def test_attackers_of_ours_converge_on_plain_answers_and_say_so(make, recwarn):
    assert make().fit(Target(log_softmax), drawn(0, 2), drawn(1, 1)).stopped_ is None
    assert not recwarn.list


def test_one_of_ours_that_stops_says_so_and_warns_of_nothing(recwarn):
    attack = ClassifierAttack("top3").fit(Target(log_softmax), drawn(0, 1, n=40), drawn(1, 1, n=40))
    assert attack.stopped_ == "stopped at its limit of 200 iterations"
    assert not recwarn.list


def test_other_warnings_are_shown_and_a_fit_that_does_not_last_counts(recwarn):
    rows, is_member = np.random.default_rng(0).normal(size=(50, 5)), np.arange(50) % 2
    with convergence_noted() as said:
        short = LogisticRegression(max_iter=1).fit(rows, is_member)
        warnings.warn("of another kind", UserWarning, stacklevel=1)
    lasting = LogisticRegression().fit(rows, is_member)
    assert len(said) == 1
    assert [str(warning.message) for warning in recwarn.list] == ["of another kind"]
    assert how_stopped(short, said=said) == "stopped at its limit of 1 iterations"
    assert how_stopped(lasting, said=said) == "stopped before it converged"
    assert how_stopped(lasting) is None


def test_a_network_that_guesses_the_more_frequent_kind_has_learned_nothing():
    """It is right about 9 of 10 of its own rows, which is what guessing reaches."""
    idle = TrainConfig(epochs=1, learning_rate=1e-9, decay_every=None, batch_size=64, loss="sigmoid", seed=3)
    known = Rows(drawn(0, 2, n=180), shifted(drawn(1, 2, n=20), 180))
    judged_by = Rows(shifted(drawn(2, 2), 200), shifted(drawn(3, 2), 400))

    class Idle(NeuralAttack):
        learns_from = ("auditor",)

    attackers = Attackers({"nn": AttackSpec(lambda context: Idle(idle))})
    runner = AttackRunner(attackers, Scenario(Target(log_softmax), EvaluationSets(judged_by, known, judged_by)))
    runner.run()
    assert runner.trainings["nn (auditor, static)"].accuracy == pytest.approx(0.5, abs=0.15)


def shifted(samples, first):
    return Samples(samples.features, samples.labels, samples.indices + first)
