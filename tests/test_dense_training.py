"""Networks that are trained on one core each: as MindSpore trains them, and the same for any number of processes."""

import dataclasses

import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.models.mlp import MLP
from mindefense.models.nsh import NSH
from mindefense.targets.cell import forward
from mindefense.training import TrainConfig, dense, train_classifier
from mindefense.training.dense import DenseTask, Processes, fastest_processes, train_dense, train_side_by_side

WIDTHS = (12, 32, 16, 5)
CONFIG = TrainConfig(epochs=6, learning_rate=0.1, decay_every=4, batch_size=16, seed=3)


def rows(n=90, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.random((n, WIDTHS[0]), np.float32)
    return features, (features[:, :5] + 0.1 * rng.random((n, 5))).argmax(axis=1).astype(np.int32)


def task(config=CONFIG, *, seed=0):
    return DenseTask(MLP(WIDTHS, seed=seed).weights(), *rows(), config)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_decay": 0.01, "label_smoothing": 0.2, "schedule": "cosine", "warmup_epochs": 2},
        {"batch_size": 500},
        {"until_accuracy": 0.25},
    ],
    ids=str,
)
def test_training_is_mindspores_but_for_rounding(changes):
    config = dataclasses.replace(CONFIG, **changes)
    net = MLP(WIDTHS, seed=7)
    wanted = train_classifier(net, *rows(), config, progress=False)
    layers, history = train_dense(task(config, seed=7))
    for (weight, bias), (right_weight, right_bias), (start, _) in zip(
        layers, net.weights(), MLP(WIDTHS, seed=7).weights(), strict=True
    ):
        np.testing.assert_allclose(weight, right_weight, atol=2e-5)
        np.testing.assert_allclose(bias, right_bias, atol=2e-5)
        assert np.abs(weight - start).max() > 100 * 2e-5
    assert len(history) == len(wanted)
    np.testing.assert_allclose([e.loss for e in history], [e.loss for e in wanted], rtol=1e-4)
    np.testing.assert_allclose([e.accuracy for e in history], [e.accuracy for e in wanted], atol=1e-6)
    if "until_accuracy" in changes:
        assert len(history) < config.epochs


NETWORKS = {"one stack": lambda seed: MLP((12, 32, 16, 1), seed=seed), "two branches": lambda seed: NSH(6, seed=seed)}


def membership_rows(n=90, seed=0):
    features, _ = rows(n, seed)
    return features, features[:, 0] + features[:, 7] > 1


def membership_task(network, config, *, seed=0):
    net = NETWORKS[network](seed)
    return DenseTask(net.weights(), *membership_rows(), config, getattr(net, "branches", ()))


@pytest.mark.parametrize("changes", [{}, {"weight_decay": 0.01, "batch_size": 500}], ids=str)
@pytest.mark.parametrize("network", NETWORKS)
def test_network_of_one_output_is_mindspores_but_for_rounding(network, changes):
    config = dataclasses.replace(CONFIG, loss="sigmoid", **changes)
    net = NETWORKS[network](7)
    wanted = train_classifier(net, *membership_rows(), config, progress=False)
    layers, history = train_dense(membership_task(network, config, seed=7))
    for (weight, bias), (right_weight, right_bias), (start, _) in zip(
        layers, net.weights(), NETWORKS[network](7).weights(), strict=True
    ):
        np.testing.assert_allclose(weight, right_weight, atol=2e-5)
        np.testing.assert_allclose(bias, right_bias, atol=2e-5)
        assert np.abs(weight - start).max() > 20 * 2e-5
    np.testing.assert_allclose([e.loss for e in history], [e.loss for e in wanted], rtol=1e-4)
    np.testing.assert_allclose([e.accuracy for e in history], [e.accuracy for e in wanted], atol=1e-6)
    loaded = NETWORKS[network](8)
    loaded.load_weights(layers)
    features, _ = membership_rows()
    np.testing.assert_allclose(forward(loaded, features), forward(net, features), atol=1e-4)


def test_weights_that_do_not_fit_the_branches_are_refused():
    weights = NSH(6).weights()
    for other in (weights[:-1], [*weights, weights[-1]], weights[3:] + weights[:3]):
        with pytest.raises(InputError, match="weights: expected shapes"):
            NSH(6).load_weights(other)


def test_number_of_processes_changes_no_bit():
    tasks = [task(dataclasses.replace(CONFIG, seed=seed), seed=seed) for seed in range(3)]
    tasks += [membership_task(network, dataclasses.replace(CONFIG, loss="sigmoid")) for network in NETWORKS]
    alone, side_by_side = (list(train_side_by_side(iter(tasks), jobs)) for jobs in (1, 2))
    for (layers, history), (others, other_history) in zip(alone, side_by_side, strict=True):
        assert history == other_history
        assert all(
            (a == b).all() for one, two in zip(layers, others, strict=True) for a, b in zip(one, two, strict=True)
        )
    assert (alone[0][0][0][0] != alone[1][0][0][0]).any()


@pytest.fixture
def measured(monkeypatch):
    """Steps per second that a measurement finds, by number of processes, in place of those of this machine."""
    rates, asked = {1: 270.0, 2: 480.0, 4: 400.0}, []

    def counts(task, jobs, most, seconds):
        asked.append((jobs, most, seconds > 0))
        return [(rates[jobs], 0.0, 1.0)]

    monkeypatch.setattr(dense, "_counts", counts)
    return asked


def test_the_fastest_number_of_processes_is_chosen_and_told(measured):
    found = fastest_processes(task(dataclasses.replace(CONFIG, epochs=200)), 8, 4)
    assert found == Processes(2, {1: 270.0, 2: 480.0, 4: 400.0})
    told = "1 process 270 steps/s, 2 processes 480 steps/s, 4 processes 400 steps/s"
    assert str(found) == f"2 processes side by side (measured: {told})"
    assert measured == [(4, 4, False), (1, 4, True), (2, 4, True), (4, 4, True)]


@pytest.mark.parametrize(("count", "epochs", "cores"), [(4, 10_000, 4), (8, 10, 4), (8, 10_000, 1)])
def test_few_or_short_trainings_or_one_core_are_not_measured(measured, count, epochs, cores):
    found = fastest_processes(task(dataclasses.replace(CONFIG, epochs=epochs)), count, cores)
    assert found == Processes(cores)
    assert not measured


def test_a_measurement_counts_steps_and_leaves_the_training_as_it_is(monkeypatch):
    monkeypatch.setattr(dense, "_MEASURED", 0.01)
    one = task(dataclasses.replace(CONFIG, epochs=200))
    before, _ = train_dense(task())
    found = fastest_processes(one, 5, 2)
    assert list(found.rates) == [1, 2]
    assert found.jobs in found.rates
    assert all(rate > 0 for rate in found.rates.values())
    after, _ = train_dense(dataclasses.replace(one, config=CONFIG))
    assert all((a == b).all() for (a, _), (b, _) in zip(before, after, strict=True))


def test_start_weights_stay_as_they_are():
    one = task()
    before = [weight.copy() for weight, _ in one.start]
    train_dense(one)
    assert all((a == b).all() for a, (b, _) in zip(before, one.start, strict=True))


@pytest.mark.parametrize("jobs", [1, 2])
def test_loss_that_becomes_infinite_is_an_error_of_one_line(jobs):
    config = dataclasses.replace(CONFIG, learning_rate=1e6)
    tasks = [task(config), membership_task("two branches", dataclasses.replace(config, loss="sigmoid"))]
    for one in tasks:
        with pytest.raises(InputError, match=r"^the loss became (nan|inf) in epoch \d; .*learning rate below 1e\+06"):
            list(train_side_by_side([one], jobs))
