"""The shared search against a slow and simple one, row by row in float64."""

import dataclasses

import numpy as np
import pytest
from toy_defenses import l1, softmax, toy_layers

from mindefense.defenses.search import SearchConfig, search
from mindefense.errors import InputError

CLASSES = [2, 3, 10, 30]


def slow_search(z0, reference, layers, config):
    """One row: what it found, rounds, steps, whether the last position was ever overtaken, and passes."""
    layers = [(np.float64(w), np.float64(b)) for w, b in layers]

    def look(z):
        p, x, gates = softmax(z), softmax(z), []
        for w, b in layers[:-1]:
            x = x @ w + b
            gates.append(x > 0)
            x = x * gates[-1]
        slope = layers[-1][0][:, 0]
        for (w, _), gate in zip(layers[-2::-1], gates[::-1], strict=True):
            slope = w @ (slope * gate)
        return p, (x @ layers[-1][0] + layers[-1][1]).item(), slope

    h0 = look(z0)[1]
    if abs(1 / (1 + np.exp(-h0)) - 0.5) <= config.undecided:
        return reference, -1, 0, False, 1
    found, rounds, steps, overtaken, passes, c3 = reference, 0, 0, False, 0, config.c3_first
    while c3 <= config.threshold * (1 + 1e-9):
        z = np.float64(z0)
        for step in range(config.max_iterations):
            p, h, slope = look(z)
            passes += 1
            rival = z[:-1].argmax()
            if step and z[-1] > z[rival] and h * h0 <= 0:
                break
            if step == config.max_iterations - 1 or passes == config.max_steps:
                return found, rounds, steps + step, overtaken, passes
            by_p = config.c1 * np.sign(h) * slope + c3 * np.sign(p - reference)
            gradient = p * (by_p - p @ by_p)
            if z[rival] > z[-1]:
                overtaken = True
                gradient[rival] += config.c2
                gradient[-1] -= config.c2
            z = z - config.step_size * gradient / max(np.linalg.norm(gradient), 1e-30)
        found, rounds, steps, c3 = p, rounds + 1, steps + step, c3 * 10
        if passes == config.max_steps:
            break
    return found, rounds, steps, overtaken, passes


def rows(classes, n=14, *, seed=0):
    rng = np.random.default_rng((classes, seed))
    start = np.sort(rng.normal(size=(n, classes)) * 2.5, axis=1)
    return np.float32(start), np.float32(np.sort(rng.dirichlet(np.full(classes, 0.5), n), axis=1))


def slowly(start, reference, layers, config):
    done = [slow_search(z, r, layers, config) for z, r in zip(start, reference, strict=True)]
    return [np.array(column) for column in zip(*done, strict=True)]


CONFIGS = {
    "published": SearchConfig(),
    "two rounds, long steps": SearchConfig(step_size=0.4, max_iterations=60, threshold=1.0),
    "strong hinge": SearchConfig(c1=0.2, c2=50.0, c3_first=2.0, threshold=2e3, max_iterations=150),
    "weak hinge": SearchConfig(c2=1e-3, max_iterations=100, threshold=10),
    "hardly any step": SearchConfig(max_iterations=3),
    "budget within a round": SearchConfig(max_steps=9),
    "budget of many rounds": SearchConfig(max_iterations=60, max_steps=85),
}


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_agrees_with_the_slow_search(classes, config):
    start, reference = rows(classes)
    layers = toy_layers(classes)
    fast = search(start, reference, layers, config)
    probs, rounds, steps, _, passes = slowly(start, reference, layers, config)
    assert (fast.probs.dtype, fast.rounds.dtype, fast.passes.dtype) == (np.float32, np.int32, np.int32)
    assert (fast.rounds == rounds).mean() >= 0.9
    assert (fast.passes == passes).mean() >= 0.85
    assert fast.passes.max() <= config.most_passes
    away = l1(fast.probs, probs)[(fast.rounds == rounds) & (rounds > 0)]
    assert (away >= 1e-3).sum() <= 0.1 * len(away)
    assert fast.steps == pytest.approx(steps.sum(), rel=0.02)


def test_the_table_above_reaches_every_branch():
    outcomes = [
        column
        for classes in CLASSES
        for column in [slowly(*rows(classes), toy_layers(classes), CONFIGS["two rounds, long steps"])]
    ]
    rounds = np.concatenate([column[1] for column in outcomes])
    assert set(rounds) >= {0, 1, 2}
    assert np.concatenate([column[3] for column in outcomes]).any()


@pytest.mark.parametrize("pool", [1, 16, 17, 48, 1000])
def test_slots_make_no_difference(pool):
    start, reference = rows(10, 50)
    config = SearchConfig(max_iterations=80)
    expected = search(start, reference, toy_layers(10), config)
    found = search(start, reference, toy_layers(10), config, pool=pool)
    np.testing.assert_array_equal(found.rounds, expected.rounds)
    np.testing.assert_array_equal(found.probs, expected.probs)
    np.testing.assert_array_equal(found.passes, expected.passes)
    assert found.steps == expected.steps


@pytest.mark.parametrize("pool", [16, 1000])
@pytest.mark.parametrize("max_steps", [2, 7, 40, 121, 479])
def test_a_budget_leaves_the_last_vector_that_was_found(max_steps, pool):
    start, reference = rows(10, 50)
    config = SearchConfig(max_iterations=80)
    cut = search(start, reference, toy_layers(10), dataclasses.replace(config, max_steps=max_steps), pool=pool)
    whole = search(start, reference, toy_layers(10), config)
    assert (cut.passes == np.minimum(whole.passes, max_steps)).all()
    assert (cut.rounds <= whole.rounds).all()
    for passed in set(cut.rounds) - {-1, 0}:
        up_to = dataclasses.replace(config, threshold=config.c3_first * 10 ** (passed - 1))
        there = cut.rounds == passed
        np.testing.assert_array_equal(cut.probs[there], search(start, reference, toy_layers(10), up_to).probs[there])
    if max_steps == 40:
        assert len(set(cut.rounds)) > 2  # or the loop above shows nothing


def test_a_budget_of_all_rounds_is_none():
    start, reference = rows(10, 50)
    config = SearchConfig(max_iterations=80)
    allowed = search(start, reference, toy_layers(10), dataclasses.replace(config, max_steps=config.most_passes))
    whole = search(start, reference, toy_layers(10), config)
    for field in ("probs", "rounds", "passes", "steps"):
        np.testing.assert_array_equal(getattr(allowed, field), getattr(whole, field))


@pytest.mark.parametrize(
    ("settings", "most_passes", "cuts_first_round"),
    [
        ({}, 1800, False),
        ({"threshold": 1e5}, 2100, False),
        ({"max_steps": 299}, 299, True),
        ({"max_steps": 300}, 300, False),
        ({"max_steps": 10**6}, 1800, False),
        ({"max_steps": 2, "max_iterations": 2}, 2, False),
    ],
)
def test_ceiling(settings, most_passes, cuts_first_round):
    config = SearchConfig(**settings)
    assert (config.most_passes, config.cuts_first_round) == (most_passes, cuts_first_round)


@pytest.mark.parametrize("threshold", [0.1, 1e4])
@pytest.mark.parametrize(("bias", "rounds"), [(0.0, -1), (3e-5, -1), (-3e-5, -1), (5e-5, 0), (-5e-5, 0)])
def test_undecided_starts_are_not_searched(bias, rounds, threshold):
    # σ(4e-5) is 0.5 + 1e-5, the bound.
    start, reference = rows(3, 4)
    layers = [
        (np.zeros((3, 5), np.float32), np.zeros(5, np.float32)),
        (np.zeros((5, 1), np.float32), np.float32([bias])),
    ]
    found = search(start, reference, layers, SearchConfig(max_iterations=4, threshold=threshold))
    assert found.rounds.tolist() == [rounds] * 4
    assert found.steps == (0 if rounds < 0 else 4 * 3)
    assert found.passes.tolist() == [1 if rounds < 0 else 4] * 4


def test_no_rows():
    found = search(*rows(3, 0), toy_layers(3), SearchConfig())
    assert (found.probs.shape, found.rounds.shape, found.steps) == ((0, 3), (0,), 0)


def test_arguments_are_left_alone():
    start, reference = rows(3)
    layers = toy_layers(3)
    copies = start.copy(), reference.copy(), [(w.copy(), b.copy()) for w, b in layers]
    search(start, reference, layers, SearchConfig(max_iterations=9))
    np.testing.assert_array_equal(start, copies[0])
    np.testing.assert_array_equal(reference, copies[1])
    for pair, copied in zip(layers, copies[2], strict=True):
        for array, copy in zip(pair, copied, strict=True):
            np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("first", "threshold", "rounds"),
    [
        (0.1, 1e4, 6),
        (0.1, 1e5, 7),
        (0.1, 0.1, 1),
        (0.1, 0.99, 1),
        (0.1, 1.0, 2),
        (3.0, 3e3, 4),
        (1e-3, 1e3, 7),
        (0.07, 0.7, 2),
    ],
)
def test_rounds(first, threshold, rounds):
    assert SearchConfig(c3_first=first, threshold=threshold).rounds == rounds


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, bad)
            for name in ("step_size", "c1", "c2", "c3_first", "threshold", "undecided")
            for bad in (0, -1.0, float("nan"), float("inf"))
        ),
        ("max_iterations", 1),
        *(("max_steps", bad) for bad in (1, 0, -5, 2.5, True)),
        ("threshold", 0.09),
        ("undecided", 0.5),
    ],
)
def test_bad_config(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected .*, got {value}"):
        SearchConfig(**{name: value})
