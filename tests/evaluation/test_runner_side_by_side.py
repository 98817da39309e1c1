"""Attackers that are fitted in parts: side by side as one after the other, each once, and the others in their turn."""

import dataclasses
import functools

import numpy as np
import pytest
from recording_attack import CONTEXT, EVERYONE, SHADOWS_FIT, Log, Recorder, models, runner_of, states
from test_runner import Told

from mindefense.attacks import NeuralAttack, NSHAttack, neural
from mindefense.attacks.base import FitInParts
from mindefense.attacks.registry import AttackSpec
from mindefense.confidence import log_softmax
from mindefense.defenses import LabelOnly
from mindefense.errors import InputError
from mindefense.evaluation import Attackers, AttackRunner, DefendedBy, EvaluationSets, Rows, Scenario, fits
from mindefense.targets.bank import ShadowBank
from mindefense.targets.base import Target
from mindefense.training import TrainConfig
from mindefense.types import Samples

SHORT = TrainConfig(epochs=3, learning_rate=0.05, decay_every=None, batch_size=32, loss="sigmoid", seed=3)
NSH_SHORT = dataclasses.replace(SHORT, learning_rate=0.2)


@pytest.fixture
def on_cores(monkeypatch):
    """Sets the number of cores; returns the numbers of functions and processes of every call of `side_by_side`."""
    called, side_by_side = [], fits.side_by_side

    def counting(works, jobs):
        works = list(works)
        called.append((len(works), jobs))
        return side_by_side(works, jobs)

    def use(cores):
        called.clear()
        monkeypatch.setattr(fits, "processes", lambda: cores)
        monkeypatch.setattr(fits, "side_by_side", counting)
        return called

    return use


# ------------------------------------------------------------------------------------------------ the two networks


def drawn(first, lead, n=40, classes=5):
    rng = np.random.default_rng(first)
    labels = rng.integers(classes, size=n)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), labels] += lead
    return Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(first, first + n))


def scenario(factor=1.0):
    everyone = Rows(drawn(0, 2), drawn(100, 1))
    known, judged = (Rows(part[0], part[1]) for part in (split(everyone, 0), split(everyone, 20)))
    sets = EvaluationSets(everyone, known, judged, shadow=Rows(drawn(300, 2), drawn(400, 1)))
    target, shadow = (Target(lambda rows: log_softmax(factor * rows)) for _ in range(2))
    defense = None if factor == 1 else DefendedBy(LabelOnly(), "keyed")
    return Scenario(target, sets, ShadowBank([shadow], np.zeros((1, 500), bool)), defense=defense)


def split(rows, first):
    return [part.take(np.arange(first, first + 20)) for part in (rows.members, rows.non_members)]


def attackers(nn=SHORT, nsh=NSH_SHORT):
    specs = {"nn": AttackSpec(lambda context: NeuralAttack(nn)), "nsh": AttackSpec(lambda context: NSHAttack(nsh))}
    return Attackers(specs, CONTEXT)


def run_networks(given):
    one = AttackRunner(given, scenario(), progress=False)
    return one, one.run() + one.run(scenario(0.5))


def test_networks_fitted_side_by_side_have_the_same_bits(on_cores):
    found = {}
    for cores, calls in ((1, []), (2, [(2, 2), (2, 2)])):
        called = on_cores(cores)
        found[cores] = run_networks(attackers())
        assert called == calls
    (alone, wanted), (beside, trials) = found[1], found[2]
    assert [(one.result.name, *states([one])[0]) for one in trials] == [
        *((name, "shadow", "static", False) for name in ("nn", "nsh")),
        *((name, "shadow", adversary, True) for name in ("nn", "nsh") for adversary in ("static", "adaptive")),
    ]
    for one, other in zip(trials, wanted, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        assert (one.result, one.threshold) == (other.result, other.threshold)
    noted = [{name: dataclasses.astuple(one) for name, one in kept.trainings.items()} for kept in (alone, beside)]
    assert noted[0] == noted[1]
    assert len(noted[0]) == 4
    assert len({tuple(one.scores) for one in trials}) == len(trials)


def test_fit_that_fails_side_by_side_says_the_same_line(on_cores):
    said = []
    for cores in (1, 2):
        called = on_cores(cores)
        with pytest.raises(InputError, match=r"^the loss became (nan|inf) in epoch \d; use a learning rate") as caught:
            run_networks(attackers(nsh=dataclasses.replace(SHORT, learning_rate=1e9)))
        said.append(str(caught.value))
        assert len(called) == cores - 1
    assert said[0] == said[1]


def test_networks_that_mindspore_trains_are_fitted_in_their_turn(on_cores, monkeypatch):
    trained, train = [], neural.train_classifier
    monkeypatch.setattr(neural, "device_in_use", lambda: "GPU")
    monkeypatch.setattr(neural, "train_classifier", lambda *given, **more: trained.append(1) or train(*given, **more))
    called = on_cores(2)
    short = dataclasses.replace(SHORT, epochs=1)
    AttackRunner(attackers(short, short), scenario(), progress=False).run()
    assert len(trained) == 2
    assert called == [(0, 1)]


# ------------------------------------------------------------------------------------------------ who is fitted how


class InParts(Recorder):
    """Writes down both parts of its fit; the long one adds two numbers."""

    def fit_in_parts(self, target, members, non_members):
        self.log.append(("begin", self, target, members.indices.tolist(), non_members.indices.tolist()))
        return FitInParts(functools.partial(sum, (1, 2)), lambda found: self.log.append(("finish", self, found)))


def entries(log, *names, **declared):
    kinds = {True: InParts, False: Recorder}

    def entry(name, in_parts):
        settings = {"learns_from": ("shadow",), "fits_in_parts": in_parts, **declared}
        return AttackSpec(lambda context: kinds[in_parts](name, log, settings))

    return {name: entry(name, name.startswith("p")) for name in names}


def happened(log):
    return [(what, attack.name) for what, attack, *_ in log]


def test_all_are_begun_before_the_first_of_them_is_judged_and_others_wait_for_their_turn(on_cores):
    called, log, told = on_cores(4), Log(), Told()
    one = runner_of(entries(log, "a", "p1", "b", "p2"), progress=told, timed=told.clock)
    one.run()
    assert called == [(2, 2)]
    assert [entry for entry in happened(log) if entry[0] != "score"] == [
        *(("fit", "a"), ("begin", "p1"), ("begin", "p2"), ("finish", "p1"), ("finish", "p2"), ("fit", "b")),
    ]
    assert happened(log)[:2] == [("fit", "a"), ("score", "a")]
    assert [entry[2] for entry in log if entry[0] == "finish"] == [3, 3]
    assert told.stages == [("attack", 4, [(1, name) for name in ("a", "p1", "b", "p2")])]
    assert told.timed == ["attack a", "attack p1, p2", "attack p1", "attack b", "attack p2"]


def test_static_and_adaptive_are_fitted_together_on_what_each_knows(on_cores):
    called, log, clean, behind = on_cores(2), Log(), models(), models(-1)
    one = runner_of(entries(log, "p1", "p2"), clean)
    one.run(behind)
    doors = [(entry[1].name, entry[2]) for entry in log if entry[0] == "begin"]
    assert doors == [(name, door.shadows[0]) for name in ("p1", "p2") for door in (clean, behind)]
    assert [tuple(entry[3:]) for entry in log if entry[0] == "begin"] == [SHADOWS_FIT] * 4
    assert called == [(4, 2)]
    one.run(behind)
    one.run(models(2))
    assert called == [(4, 2), (2, 2)]  # only the adaptive ones are fitted again
    assert not log.fits("p1") + log.fits("p2")
    assert {scored[1:] == EVERYONE for scored in log.scores("p1")} == {True}


@pytest.mark.parametrize(("cores", "names"), [(1, ("p1", "p2")), (4, ("a", "p1"))])
def test_one_core_or_one_fit_needs_no_process(cores, names, on_cores):
    called, log = on_cores(cores), Log()
    runner_of(entries(log, *names)).run()
    assert called == []
    assert [entry for entry in happened(log) if entry[0] != "score"] == [("fit", name) for name in names]


def test_costly_ones_begin_with_the_first_rows_only(on_cores):
    on_cores(2)
    log = Log()
    runner_of(entries(log, "p1", "p2", max_samples=3)).run()
    assert [tuple(entry[3:]) for entry in log if entry[0] == "begin"] == [tuple(part[:3] for part in SHADOWS_FIT)] * 2
