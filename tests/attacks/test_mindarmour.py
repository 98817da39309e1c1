"""MindArmour's attackers under this package's contract: the same decisions, on the features it says, and no traces."""

import logging

import mindspore as ms
import numpy as np
import pytest

from mindefense.attacks import METHODS, MindArmourAttack
from mindefense.attacks import mindarmour as module
from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.targets.base import Target
from mindefense.types import Samples

CLASSES, N = 4, 90
SMALL_GRIDS = {
    "lr": {"C": [0.1, 1.0]},
    "knn": {"n_neighbors": [3, 5]},
    "mlp": {"hidden_layer_sizes": [(8,)], "solver": ["adam"], "alpha": [0.001]},
    "rf": {"n_estimators": [10], "max_depth": [2, 3, 5, None], "min_samples_leaf": [1, 5]},
}


def samples(seed, shift, first, n=N):
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=n)
    logits = rng.normal(0, 1, (n, CLASSES))
    logits[np.arange(n), labels] += shift
    return Samples(logits.astype(np.float32), labels.astype(np.int32), np.arange(first, first + n))


def small(method, n_jobs=1):
    return MindArmourAttack(method, grid=SMALL_GRIDS[method], n_jobs=n_jobs)


@pytest.fixture(scope="module")
def rows():
    """Members are answered with more confidence, but not so that anybody could tell all of them."""
    kinds = (2.0, 0.5, 2.0, 0.5)
    return [samples(seed, shift, seed * N) for seed, shift in enumerate(kinds)]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("others", [N, N // 2])
def test_decisions_at_its_own_cut_are_those_of_mindarmours_own_eval(method, others, rows):
    fit_members, fit_non_members, members, non_members = rows
    fit_non_members = fit_non_members.take(np.arange(others))
    target = Target(log_softmax)
    attack = small(method).fit(target, fit_members, fit_non_members)
    assert attack.threshold_ == N / (N + others)
    assert attack.own_threshold == 0.5
    said = attack.inference_.eval(
        module._answers(target, members), module._answers(target, non_members), ["accuracy", "precision", "recall"]
    )
    scores = np.concatenate((attack.score(target, members), attack.score(target, non_members)))
    assert ((scores >= 0) & (scores <= 1)).all()
    called, is_member = scores > attack.own_threshold, np.arange(2 * N) < N
    assert 0.1 < called.mean() < 0.95  # else the comparison would say little
    assert said == [
        {
            "accuracy": pytest.approx((called == is_member).mean(), abs=1e-12),
            "precision": pytest.approx(is_member[called].mean(), abs=1e-12),
            "recall": pytest.approx(called[is_member].mean(), abs=1e-12),
        }
    ]


def test_features_are_loss_and_log_probabilities_in_the_order_of_the_samples(rows):
    fit_members, fit_non_members, members, _ = rows
    target = Target(log_softmax)
    attack = small("lr").fit(target, fit_members, fit_non_members)
    features, _ = attack.inference_._generate(module._answers(target, members), 1)
    powers = np.exp(members.features.astype(np.float64))
    log_probs = np.log(powers / powers.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(features[:, 0], -log_probs[np.arange(N), members.labels], atol=1e-5)
    np.testing.assert_allclose(features[:, 1:], log_probs, atol=1e-5)


def ill_conditioned(n=400, classes=30):
    """Answers whose directions have spreads from 20 down to 0.02; members differ where there is little."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(0, 1, (classes, classes)))[0]
    logits = (rng.normal(0, 1, (2 * n, classes)) * np.geomspace(20, 0.02, classes)) @ directions
    logits[:n] += 0.05 * np.linspace(-1, 1, classes)
    whole = Samples(logits.astype(np.float32), logits.argmax(axis=1).astype(np.int32), np.arange(2 * n))
    return whole.take(np.arange(n)), whole.take(np.arange(n, 2 * n))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_logistic_regression_that_stops_before_it_converges_says_so(n_jobs, rows):
    easy, hard = (MindArmourAttack("lr", grid={"C": [0.05, 100.0]}, n_jobs=n_jobs) for _ in range(2))
    assert easy.fit(Target(log_softmax), *rows[:2]).stopped_ is None
    assert hard.fit(Target(log_softmax), *ill_conditioned()).stopped_ == "stopped at its limit of 300 iterations"


def test_a_network_that_stops_before_it_converges_says_so(rows):
    shape = {"hidden_layer_sizes": [(8,)]}
    short = MindArmourAttack("mlp", grid={**shape, "max_iter": [3]}, n_jobs=1).fit(Target(log_softmax), *rows[:2])
    assert short.stopped_ == "stopped at its limit of 3 iterations"
    easily_done = MindArmourAttack("mlp", grid={**shape, "tol": [0.1]}, n_jobs=1)
    assert easily_done.fit(Target(log_softmax), *rows[:2]).stopped_ is None


@pytest.mark.parametrize("method", ["knn", "rf"])
def test_what_does_not_iterate_cannot_stop_early(method, rows):
    assert not hasattr(small(method).fit(Target(log_softmax), *rows[:2]), "stopped_")


def test_the_true_label_matters(rows):
    fit_members, fit_non_members, members, _ = rows
    target = Target(log_softmax)
    attack = small("lr").fit(target, fit_members, fit_non_members)
    wrong = Samples(members.features, (members.labels + 1) % CLASSES, members.indices)
    assert attack.score(target, wrong).mean() < attack.score(target, members).mean() - 0.1


def same_state(one, other):
    return one[0] == other[0] and np.array_equal(one[1], other[1]) and one[2:] == other[2:]


def test_global_random_state_and_version_are_left_as_they_were(rows, monkeypatch):
    np.random.seed(7)
    np.random.random(3)
    before, version, handlers = np.random.get_state(), ms.__version__, list(logging.getLogger().handlers)
    target = Target(log_softmax)
    attack = small("rf").fit(target, *rows[:2])
    attack.score(target, rows[2])
    assert same_state(np.random.get_state(), before)

    def fail(*_):
        np.random.random(5)
        raise RuntimeError("stopped half way")

    monkeypatch.setattr(module, "_answers", fail)
    with pytest.raises(RuntimeError, match="half way"):
        small("lr").fit(target, *rows[:2])
    assert same_state(np.random.get_state(), before)
    assert ms.__version__ == version != "2.0.0"
    assert logging.getLogger().handlers == handlers


@pytest.mark.parametrize("method", ["svm", "LR", "", "mindarmour-lr"])
def test_unknown_method(method):
    with pytest.raises(InputError, match="lr or knn or mlp or rf") as caught:
        MindArmourAttack(method)
    assert repr(method) in str(caught.value)


def test_grids_are_those_of_the_tutorial():
    assert list(METHODS) == ["lr", "knn", "mlp", "rf"]
    np.testing.assert_array_equal(METHODS["lr"]["C"], np.logspace(-4, 2, 10))
    assert {method: dict(grid) for method, grid in METHODS.items() if method != "lr"} == {
        "knn": {"n_neighbors": [3, 5, 7]},
        "mlp": {"hidden_layer_sizes": [(64,), (32, 32)], "solver": ["adam"], "alpha": [0.0001, 0.001, 0.01]},
        "rf": {
            "n_estimators": [100],
            "max_features": ["sqrt"],
            "max_depth": [5, 10, 20, None],
            "min_samples_split": [2, 5, 10],
            "min_samples_leaf": [1, 2, 4],
        },
    }
    assert set(METHODS["lr"]) == {"C"}


@pytest.mark.parametrize("method", METHODS)
def test_the_tutorials_grid_is_the_default_one(method):
    assert MindArmourAttack(method).grid == METHODS[method]
    assert MindArmourAttack(method, grid={"a": [1]}).grid == {"a": [1]}


def test_processes_change_nothing(rows):
    target = Target(log_softmax)
    one, all_cores = (small("rf", n_jobs).fit(target, *rows[:2]).score(target, rows[2]) for n_jobs in (1, -1))
    np.testing.assert_array_equal(one, all_cores)
    assert MindArmourAttack("rf").n_jobs == -1


def test_a_seed_that_numpy_refuses_is_refused_at_once():
    with pytest.raises(InputError, match="seed"):
        MindArmourAttack("lr", seed=2**32).fit(Target(log_softmax), samples(0, 2, 0), samples(1, 2, N))


def test_too_few_rows_for_the_search_are_refused():
    with pytest.raises(InputError, match="members"):
        small("lr").fit(Target(log_softmax), samples(0, 2, 0, n=2), samples(1, 2, N))
