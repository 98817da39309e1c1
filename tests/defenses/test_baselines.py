"""The contract that all defenses share, and each simple one's own formula."""

import functools
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from toy_defenses import BASELINES, SEARCHES, hard_logits, l1, plain_logits, softmax, starts, toy_defense, toy_means

from mindefense.confidence import LOWEST_PROB
from mindefense.defenses import (
    ClassMean,
    Defense,
    LabelOnly,
    LaplaceOutput,
    MemGuardBudget,
    Rounding,
    Temperature,
    TopK,
    load_defense,
)
from mindefense.defenses.defended import DEFENSES
from mindefense.errors import CheckpointError, InputError
from mindefense.keyed_noise import keyed_uniform
from mindefense.metrics import budget_table
from mindefense.runtime import compiled

KEY, OTHER = b"a secret", b"another"
ALL = {**BASELINES, **SEARCHES}
CASES = [(name, classes) for name in ALL for classes in (1, 2, 5) if classes > 1 or name in BASELINES]
each_case = pytest.mark.parametrize(("name", "classes"), CASES)
each_name = pytest.mark.parametrize("name", ALL)


@functools.cache
def defense_of(name, classes):
    return ALL[name](classes)


@functools.cache
def queries(classes):
    """Logits: ties, one-hot rows, and plain ones."""
    return np.concatenate((hard_logits(classes), plain_logits(20, classes)))


def ask(defense, logits, *, key=KEY):
    """What `reshape` makes of logits, all that it needs a function of them."""
    start = starts("defenmi", queries(logits.shape[1])) if defense.noise_scale else queries(logits.shape[1])
    # Whoever asks in another order or for a part finds the start that belongs to the row.
    row = {z.tobytes(): s for z, s in zip(queries(logits.shape[1]), start, strict=True)}
    draws = keyed_uniform(logits, defense.draws, key) if defense.draws else None
    start = np.stack([row[z.tobytes()] for z in np.ascontiguousarray(logits)])
    return defense.reshape(np.float32(softmax(logits)), start, draws=draws, workers=1)


@functools.cache
def answered(name, classes):
    return ask(defense_of(name, classes), queries(classes))


@each_case
def test_rows_are_confidence_vectors(name, classes):
    probs = answered(name, classes)
    assert (probs.shape, probs.dtype) == (queries(classes).shape, np.float32)
    assert probs.min() >= 0
    np.testing.assert_allclose(probs.sum(axis=1, dtype=np.float64), 1, atol=1e-5)


@each_case
def test_predicted_class_is_kept_where_promised(name, classes):
    predicted = softmax(queries(classes)).astype(np.float32).argmax(axis=1)
    probs = answered(name, classes)
    kept = probs.argmax(axis=1) == predicted
    assert defense_of(name, classes).keeps_labels == (not name.startswith("laplace"))
    if defense_of(name, classes).keeps_labels:
        assert kept.all()
        assert (np.log(probs).argmax(axis=1) == predicted).all() if probs.min() > 0 else True
    elif name == "laplace-output-2" and classes > 1:
        assert 0.1 < kept.mean() < 0.9


@each_name
@pytest.mark.parametrize("way", ["reversed", "one by one"])
def test_company_makes_no_difference(name, way):
    logits, defense = queries(5), defense_of(name, 5)
    if way == "one by one":
        part = slice(0, None, 9)
        alone = np.concatenate([ask(defense, z[None]) for z in logits[part]])
        np.testing.assert_array_equal(alone, answered(name, 5)[part])
    else:
        np.testing.assert_array_equal(ask(defense, logits[::-1])[::-1], answered(name, 5))


@each_name
def test_arguments_are_left_alone(name):
    defense, logits = defense_of(name, 5), queries(5)
    clean = np.float32(softmax(logits))
    draws = keyed_uniform(logits, defense.draws, KEY) if defense.draws else None
    given = clean, logits, draws
    before = [None if array is None else array.copy() for array in given]
    finished = []
    defense.reshape(clean, logits, draws=draws, workers=1, on_progress=finished.append)
    assert sum(finished) == len(logits)
    for array, was in zip(given, before, strict=True):
        np.testing.assert_array_equal(array, was)


@each_name
def test_another_key_is_another_answer(name):
    defense = defense_of(name, 5)
    other = ask(defense, queries(5), key=OTHER)
    changed = (l1(answered(name, 5), other) > 1e-4).mean()
    assert (changed > 0) == (defense.draws > 0)
    assert defense.is_random == (defense.draws > 0 or name == "defenmi")
    assert defense.draws == {"laplace-output": 5, "memguard-budget": 1}.get(type(defense).name, 0)


@each_name
def test_no_rows(name):
    defense = defense_of(name, 5)
    nothing = np.zeros((0, 5), np.float32)
    probs = defense.reshape(nothing, nothing, draws=np.zeros((0, defense.draws)))
    assert (probs.shape, probs.dtype) == ((0, 5), np.float32)


@each_name
def test_files_hold_the_whole_defense(tmp_path, name):
    defense = defense_of(name, 5)
    defense.save(tmp_path / "mine.ckpt", description={"fitted": "on nothing"})
    loaded = load_defense(tmp_path / "mine.ckpt")
    assert type(loaded) is type(defense)
    assert (loaded.name, loaded.draws, loaded.keeps_labels, loaded.classes) == (
        name,
        defense.draws,
        defense.keeps_labels,
        defense.classes,
    )
    np.testing.assert_array_equal(ask(loaded, queries(5)), answered(name, 5))
    described = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert described == {**defense.describe(), "fitted": "on nothing"}
    assert described["defense"] == type(defense).name


def test_every_defense_is_in_the_tables():
    assert {type(make(5)) for make in ALL.values()} == set(DEFENSES.values())
    assert all(issubclass(kind, Defense) and kind.name == name for name, kind in DEFENSES.items())


@pytest.mark.parametrize("held", [TopK(2), MemGuardBudget(toy_defense("memguard", "corrected", 3), 1.0)])
def test_files_that_lack_a_setting_are_refused(tmp_path, monkeypatch, held):
    monkeypatch.setattr(type(held), "settings", lambda self: {})
    held.save(tmp_path / "mine.ckpt")
    with pytest.raises(CheckpointError, match=r"mine.ckpt does not hold a whole defense"):
        load_defense(tmp_path / "mine.ckpt")


# ---------------------------------------------------------------------- the same as a graph


def near_a_step(name, logits):
    """Rows where a difference in the last bit may make all the difference."""
    p = softmax(logits)
    if not name.startswith("rounding"):
        return np.zeros(len(p), bool)
    scaled = p * 10 ** int(name[-1])
    return (np.abs(scaled % 1 - 0.5) < 1e-4).any(axis=1)


COMPILED = ("rounding-1", "top-2", "temperature-10", "label-only", "class-mean", "laplace-output-0.01")
"""One of each kind; the others differ from these in a number."""


def seconds(name, logits):
    return keyed_uniform(logits, max(1, defense_of(name, logits.shape[1]).draws), KEY)


class Together(nn.Cell):
    """All of them in one graph, which is compiled once."""

    def __init__(self, names, classes):
        super().__init__()
        self.defenses = nn.CellList([defense_of(name, classes) for name in names])

    def construct(self, logits, one, many):
        answers = ()
        for defense in self.defenses:
            answers = (*answers, defense(logits, many if defense.draws > 1 else one))
        return answers


@pytest.fixture(scope="module")
def compiled_answers():
    """Name → log-probabilities out of graphs."""
    names, logits = [*COMPILED, "memguard-budget-0.3"], ms.Tensor(queries(5))
    one, many = (ms.Tensor(seconds(name, queries(5))) for name in (names[-1], names[-2]))
    with compiled():
        return dict(zip(names, [a.asnumpy() for a in Together(names, 5)(logits, one, many)], strict=True))


def check_agreement(name, classes, log_probs):
    logits = queries(classes)
    assert (log_probs.shape, log_probs.dtype) == (logits.shape, np.float32)
    assert log_probs.min() > np.log(LOWEST_PROB) - 1e-3
    if defense_of(name, classes).keeps_labels:
        np.testing.assert_array_equal(log_probs.argmax(axis=1), logits.argmax(axis=1))
    away = l1(np.exp(np.float64(log_probs)), answered(name, classes))[~near_a_step(name, logits)]
    assert len(away) > 30
    return away


@pytest.mark.parametrize("name", COMPILED)
def test_graph_agrees(compiled_answers, name):
    assert check_agreement(name, 5, compiled_answers[name]).max() < 1e-5


def test_graph_of_a_search_agrees(compiled_answers):
    away = check_agreement("memguard-budget-0.3", 5, compiled_answers["memguard-budget-0.3"])
    assert (away < 1e-3).mean() > 0.75  # the search goes another way in rows with ties
    assert (away[-20:] < 1e-3).mean() >= 0.9


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("classes", [1, 2])
def test_eager_agrees_with_few_classes(name, classes):
    logits = queries(classes)
    log_probs = defense_of(name, classes)(ms.Tensor(logits), ms.Tensor(seconds(name, logits))).asnumpy()
    assert check_agreement(name, classes, log_probs).max() < 1e-5


# ---------------------------------------------------------------------- formulas


def row(defense, probs, **given):
    given = {name: np.array([values]) for name, values in given.items()}
    return defense.reshape(np.array([probs]), **given)[0]


THIRD = 1 / 3
FORMULAS = {
    "rounded": (Rounding(1), [0.58, 0.24, 0.18], {}, [0.6, 0.2, 0.2]),
    "rounded, sum not 1": (Rounding(1), [0.64, 0.18, 0.18], {}, [0.6, 0.2, 0.2]),
    "rounded up": (Rounding(1), [0.36, 0.32, 0.32], {}, [0.4, 0.3, 0.3]),
    "rounded, more than 1": (Rounding(1), [0.47, 0.37, 0.16], {}, [0.5 / 1.1, 0.4 / 1.1, 0.2 / 1.1]),
    "rounded to level": (Rounding(1), [0.38, 0.42, 0.2], {}, [0.4, 0.4, 0.2]),
    "rounded to nothing": (Rounding(0), [0.3, 0.4, 0.3], {}, [THIRD, THIRD, THIRD]),
    "rounded to one": (Rounding(0), [0.3, 0.7], {}, [0, 1]),
    "top 1": (TopK(1), [0.2, 0.5, 0.3], {}, [0, 1, 0]),
    "top 2": (TopK(2), [0.3, 0.2, 0.5], {}, [0.375, 0, 0.625]),
    "top 2 of equals": (TopK(2), [0.1, 0.2, 0.5, 0.2], {}, [0, 2 / 7, 5 / 7, 0]),
    "top 2, equals on top": (TopK(2), [0.1, 0.3, 0.3, 0.3], {}, [0, 0.5, 0.5, 0]),
    "top of few": (TopK(9), [0.3, 0.7], {}, [0.3, 0.7]),
    "hot": (Temperature(2.0), [0.2, 0.8], {}, [THIRD, 2 * THIRD]),
    "cold": (Temperature(0.5), [0.25, 0.75], {}, [0.1, 0.9]),
    "hot by logits": (Temperature(2.0), [0.0, 1.0], {"start_logits": [0.0, 100.0]}, [np.exp(-50), 1]),
    "hot from nothing": (Temperature(10.0), [0.0, 1.0], {}, [1e-3 / 1.001, 1 / 1.001]),
    "label": (LabelOnly(), [0.3, 0.3, 0.4], {}, [0, 0, 1]),
    "label of equals": (LabelOnly(), [0.2, 0.4, 0.4], {}, [0, 1, 0]),
    "mean": (ClassMean([[0.9, 0.1], [0.3, 0.7]]), [0.51, 0.49], {}, [0.9, 0.1]),
    "mean of another": (ClassMean([[0.9, 0.1], [0.3, 0.7]]), [0.49, 0.51], {}, [0.3, 0.7]),
    "mean swapped": (ClassMean([[0.1, 0.9], [0.6, 0.4]]), [0.2, 0.8], {}, [0.4, 0.6]),
    "noise": (
        LaplaceOutput(0.1, 3),
        [0.5, 0.25, 0.25],
        {"draws": [0.5, 0.25, 0.75]},
        [0.5, 0.25 - 0.1 * np.log(2), 0.25 + 0.1 * np.log(2)],
    ),
    "noise cut off": (LaplaceOutput(0.1, 2), [1.0, 0.0], {"draws": [0.5, 1e-3]}, [1, 0]),
    "noise and nothing left": (LaplaceOutput(1.0, 2), [0.9, 0.1], {"draws": [0.01, 0.01]}, [0.5, 0.5]),
}


@pytest.mark.parametrize("case", FORMULAS)
def test_formula(case):
    defense, probs, given, wanted = FORMULAS[case]
    np.testing.assert_allclose(row(defense, probs, **given), wanted, rtol=1e-5)
    if case == "rounded to level":
        assert row(defense, probs).argmax() == 1


def test_class_means_with_a_tie_name_their_class():
    defense = ClassMean(np.full((4, 4), 0.25))
    probs = defense.reshape(np.float32(softmax(4 * np.eye(4))))
    np.testing.assert_array_equal(np.log(probs).argmax(axis=1), range(4))
    np.testing.assert_allclose(probs, 0.25, rtol=2e-6)


def test_class_means_are_copied():
    means = toy_means(3)
    defense = ClassMean(means)
    before = row(defense, [0.2, 0.3, 0.5])
    means[:] = 0
    np.testing.assert_array_equal(row(defense, [0.2, 0.3, 0.5]), before)


# ---------------------------------------------------------------------- MemGuard's coin


@functools.cache
def budgeted(budget):
    """Clean vectors, MemGuard's, and the defense with that budget."""
    memguard = defense_of("memguard", 5)
    clean = np.float32(softmax(plain_logits(40, 5)))
    return clean, memguard.reshape(clean, plain_logits(40, 5)), MemGuardBudget(memguard, budget)


@pytest.mark.parametrize("budget", [0.0, 0.05, 0.3, 2.0])
def test_coin_has_the_odds_of_the_budget_table(budget):
    clean, moved, defense = budgeted(budget)
    g = defense.memguard.classifier().member_probability
    # An accuracy of which f′ is always right and f never is the coin's probability.
    shares = np.array(
        [
            budget_table(
                f[None],
                f_moved[None],
                correct_clean=[False],
                correct_defended=[True],
                g_clean=[g_clean],
                g_defended=[g_moved],
                budgets=[budget],
            )[0].accuracy
            for f, f_moved, g_clean, g_moved in zip(clean, moved, g(clean), g(moved), strict=True)
        ]
    )
    for nudge, is_heads in ((0.999, True), (1.001, False)):
        coin = np.clip(shares * nudge, 1e-6, 1 - 1e-6)[:, None]
        told = defense.reshape(clean, plain_logits(40, 5), draws=coin, workers=1)
        heads = (shares > 0) & (is_heads | (shares == 1))
        np.testing.assert_array_equal(told, np.where(heads[:, None], moved, clean))
    if budget == 0.05:
        assert ((shares > 0) & (shares < 1)).any()
        assert (l1(clean, moved) > 0.05).any()


def test_no_coin_where_the_classifier_would_be_no_less_sure():
    # Another classifier than the one that is deceived: some of f′ are worse than f.
    clean = budgeted(2.0)[0]
    other = toy_defense("memguard", "corrected", 5, max_iterations=2)
    told = MemGuardBudget(other, 2.0).reshape(clean, draws=np.full((40, 1), 1e-3))
    g = other.classifier().member_probability
    after = other.reshape(clean)
    useful = np.abs(g(after) - 0.5) < np.abs(g(clean) - 0.5)
    assert not useful.all()
    np.testing.assert_array_equal(told, np.where(useful[:, None], after, clean))


# ---------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "words"),
    [
        *((lambda bad=bad: Rounding(bad), r"digits: expected a whole number 0 … 7") for bad in (-1, 8, 1.0, True, "2")),
        *((lambda bad=bad: TopK(bad), r"k: expected a whole number ≥ 1") for bad in (0, -2, 2.0, None)),
        *(
            (lambda bad=bad, kind=kind: kind(bad), "temperature|scale: expected a finite number above 0")
            for kind in (Temperature, lambda scale: LaplaceOutput(scale, 3))
            for bad in (0, -1.0, float("nan"), float("inf"), "1", None)
        ),
        (lambda: LaplaceOutput(1.0, 0), r"classes: expected a whole number ≥ 1, got 0"),
        (lambda: ClassMean(np.eye(3)[:2]), r"class_means: expected shape \(C, C\), got \(2, 3\)"),
        (lambda: ClassMean(np.eye(3) * 2), r"class_means row 0: expected a sum of 1"),
        *(
            (lambda bad=bad: MemGuardBudget(defense_of("memguard", 5), bad), "budget: expected a finite number ≥ 0")
            for bad in (-0.1, float("nan"), float("inf"))
        ),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(InputError, match=f"^({words})"):
        make()


PROBS = np.float32([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])


@pytest.mark.parametrize(
    ("defense", "arguments", "settings", "words"),
    [
        (LabelOnly(), (PROBS * 2,), {}, "clean_probs row 0: expected a sum of 1"),
        (LabelOnly(), (PROBS[0],), {}, "clean_probs: expected shape"),
        (LabelOnly(), (PROBS, PROBS[:1]), {}, "start_logits: expected one row for each of the 2"),
        (LabelOnly(), (PROBS, PROBS[:, :2]), {}, "start_logits: expected 3 columns"),
        (LabelOnly(), (PROBS, PROBS * np.nan), {}, "start_logits row 0: expected finite values"),
        (LabelOnly(), (PROBS,), {"workers": 0}, "workers: expected at least 1, got 0"),
        (LabelOnly(), (PROBS,), {"draws": np.full((2, 1), 0.5)}, r"draws: expected shape \(2, 0\), got \(2, 1\)"),
        (ClassMean(np.eye(4)), (PROBS,), {}, "clean_probs: expected 4 columns"),
        (LaplaceOutput(1.0, 3), (PROBS,), {}, r"draws: expected shape \(2, 3\), got \(2, 0\)"),
        (LaplaceOutput(1.0, 3), (PROBS,), {"draws": PROBS[:1]}, r"draws: expected shape \(2, 3\), got \(1, 3\)"),
        (LaplaceOutput(1.0, 3), (PROBS,), {"draws": PROBS - 0.1}, r"draws: expected numbers in \(0, 1\), got 0 … 0.7"),
        (LaplaceOutput(1.0, 3), (PROBS,), {"draws": PROBS + 0.2}, r"draws: expected numbers in \(0, 1\), got 0.3 … 1"),
        (LaplaceOutput(1.0, 3), (PROBS,), {"draws": PROBS * np.nan}, r"draws: expected numbers in \(0, 1\), got nan"),
        (LaplaceOutput(1.0, 2), (PROBS,), {"draws": PROBS}, "clean_probs: expected 2 columns"),
        (toy_defense("defenmi", "corrected", 3), (PROBS,), {}, "start_logits: expected the logits of the noised"),
    ],
)
def test_bad_queries(defense, arguments, settings, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        defense.reshape(*arguments, **settings)
    assert "\n" not in str(caught.value)
