"""What every defense promises of every confidence vector, through the fast driver."""

import functools

import numpy as np
import pytest
from toy_defenses import (
    KINDS,
    hard_logits,
    has_tie,
    l1,
    membership_logits,
    plain_logits,
    softmax,
    starts,
    toy_defense,
    toy_layers,
    toy_means,
)

from mindefense.defenses import (
    DefenMI,
    DefenMIConfig,
    DefenseSpec,
    MemGuard,
    MemGuardConfig,
    class_mean_probs,
    load_defense,
)
from mindefense.defenses.base import DefenseConfig
from mindefense.errors import InputError
from mindefense.study import StudyConfig

CLASSES = [2, 3, 10, 30]
SEARCHES = {
    "long": {"max_iterations": 120},
    "cut short": {"max_iterations": 2},
    "budget": {"max_iterations": 120, "max_steps": 7},
}
CASES = [(*kind, classes, search) for kind in KINDS for classes in CLASSES for search in SEARCHES]
each_case = pytest.mark.parametrize(("name", "alignment", "classes", "search"), CASES)


@functools.cache
def defense_of(name, alignment, classes, search):
    return toy_defense(name, alignment, classes, **SEARCHES[search])


def queries(name, classes):
    logits = hard_logits(classes)
    return np.float32(softmax(logits)), starts(name, logits)


@functools.cache
def reshaped(name, alignment, classes, search):
    """Clean probabilities and what the defense makes of them."""
    clean, start = queries(name, classes)
    return clean, defense_of(name, alignment, classes, search).reshape_in_detail(clean, start, workers=1)


@each_case
def test_rows_are_confidence_vectors(name, alignment, classes, search):
    clean, done = reshaped(name, alignment, classes, search)
    assert (done.probs.shape, done.probs.dtype) == (clean.shape, np.float32)
    assert np.isfinite(done.probs).all()
    assert done.probs.min() >= 0
    np.testing.assert_allclose(done.probs.sum(axis=1, dtype=np.float64), 1, atol=1e-5)


@each_case
def test_predicted_class_is_kept(name, alignment, classes, search):
    clean, done = reshaped(name, alignment, classes, search)
    kept = done.probs.argmax(axis=1) == clean.argmax(axis=1)
    searched = done.rounds > 0
    if alignment == "corrected":
        assert kept.all()
    elif search == "budget":
        assert kept[done.rounds >= 0].mean() >= 0.9  # all but ties at the top, which "corrected" takes apart
    elif name == "memguard":  # what stands in for a failed search is the clean vector itself
        assert kept[~searched].all()
    else:  # the published fallback permutes a vector that is not sorted
        assert not kept[~searched].all()
        clear = np.sort(done.probs, axis=1)[:, -1] > np.sort(done.probs, axis=1)[:, -2]
        assert kept[searched & clear].all()


def test_cases_reach_every_outcome():
    for name, alignment in KINDS:
        rounds = {r for classes in CLASSES for s in SEARCHES for r in reshaped(name, alignment, classes, s)[1].rounds}
        assert rounds >= {0, 1, 2}
        assert max(rounds) == (6 if name == "defenmi" else 7)


@each_case
def test_searched_rows_change_sides(name, alignment, classes, search):
    clean, start = queries(name, classes)
    _, done = reshaped(name, alignment, classes, search)
    rows = np.flatnonzero((done.rounds > 0) & ~has_tie(hard_logits(classes)))
    # In the order in which the classifier saw it, which is not always ascending any more.
    seen = np.take_along_axis(done.probs, clean.argsort(axis=1), axis=1)[rows]
    before = membership_logits(toy_layers(classes), np.sort(softmax(start[rows]), axis=1))
    after = membership_logits(toy_layers(classes), seen)
    assert (np.sign(before) * after < 1e-4).all()


@each_case
def test_same_query_same_answer(name, alignment, classes, search):
    defense = defense_of(name, alignment, classes, search)
    np.testing.assert_array_equal(
        defense.reshape(*queries(name, classes), workers=1), reshaped(name, alignment, classes, search)[1].probs
    )


def reordered(defense, clean, start):
    turned = np.random.default_rng(1).permutation(len(clean))
    probs = np.empty_like(clean)
    probs[turned] = defense.reshape(clean[turned], start[turned], workers=1)
    return probs


def one_by_one(defense, clean, start):
    return np.concatenate([defense.reshape(c[None], s[None], workers=1) for c, s in zip(clean, start, strict=True)])


def in_parts(defense, clean, start):
    parts = np.split(np.arange(len(clean)), [1, 8])
    return np.concatenate([defense.reshape(clean[part], start[part], workers=1) for part in parts])


@each_case
def test_order_makes_no_difference(name, alignment, classes, search):
    turned = reordered(defense_of(name, alignment, classes, search), *queries(name, classes))
    np.testing.assert_array_equal(turned, reshaped(name, alignment, classes, search)[1].probs)


@pytest.mark.parametrize("company", [reordered, one_by_one, in_parts])
@pytest.mark.parametrize("name", ["defenmi", "memguard"])
def test_company_makes_no_difference(name, company):
    # Of the published size, where matrix products have the most kernels to choose from.
    defense = toy_defense(name, "corrected", 30, layers=toy_layers(30, widths=(256, 128, 64)))
    clean, start = queries(name, 30)
    together = defense.reshape(clean, start, workers=1)
    n = 6 if company is one_by_one else len(clean)
    np.testing.assert_array_equal(company(defense, clean[:n], start[:n]), together[:n])


@pytest.mark.parametrize("name", ["defenmi", "memguard"])
def test_workers_make_no_difference(name):
    defense = toy_defense(name, "corrected", 10, max_iterations=100)
    logits = plain_logits(700, 10)
    query = np.float32(softmax(logits)), starts(name, logits)
    progress = [], []
    one = defense.reshape(*query, workers=1, on_progress=progress[0].append)
    two = defense.reshape(*query, workers=2, on_progress=progress[1].append)
    np.testing.assert_array_equal(one, two)
    assert (sum(progress[0]), sum(progress[1])) == (700, 700)
    assert len(progress[1]) >= 2


def fallback(name, alignment, classes, clean):
    """The vector that stands where nothing was or could be found, one row at a time."""
    rows = []
    for p in clean:
        if name == "memguard":
            rows.append(p)
            continue
        predicted = p.argmax()
        mean = toy_means(classes)[predicted].copy()
        if alignment == "corrected":
            top = mean.argmax()
            mean[[top, predicted]] = mean[[predicted, top]]
            rows.append(mean)
        else:
            rows.append(mean[p.argsort(kind="stable").argsort(kind="stable")])
    return np.array(rows)


@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize(("name", "alignment"), KINDS)
@pytest.mark.parametrize("outcome", [0, -1])
def test_fallback(name, alignment, classes, outcome):
    logits = plain_logits(30, classes)
    clean, start = np.float32(softmax(logits)), starts(name, logits)
    layers = toy_layers(classes)
    # Far from 0, no step changes the sign; at 0 there is nothing to do.
    layers[-1] = (layers[-1][0] * 0, np.float32([9.0 if outcome == 0 else 0.0]))
    done = toy_defense(name, alignment, classes, layers=layers, max_iterations=3).reshape_in_detail(clean, start)
    assert done.rounds.tolist() == [outcome] * 30
    assert done.steps == (30 * 2 if outcome == 0 else 0)
    np.testing.assert_array_equal(done.probs, fallback(name, alignment, classes, clean))


@pytest.mark.parametrize("alignment", ["corrected", "published"])
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("name", ["defenmi", "memguard"])
@pytest.mark.parametrize("outcome", [0, -1])
def test_what_a_budget_leaves_without_a_vector(name, alignment, classes, outcome):
    logits = plain_logits(30, classes)
    clean, start = np.float32(softmax(logits)), starts(name, logits)
    layers = toy_layers(classes)
    layers[-1] = (layers[-1][0] * 0, np.float32([9.0 if outcome == 0 else 0.0]))
    settings = {"layers": layers, "max_iterations": 20}
    cut = toy_defense(name, alignment, classes, **settings, max_steps=6).reshape_in_detail(clean, start)
    assert cut.rounds.tolist() == [outcome] * 30
    assert cut.passes.tolist() == [6 if outcome == 0 else 1] * 30
    if outcome < 0:  # not searched, so not cut short
        np.testing.assert_array_equal(cut.probs, fallback(name, alignment, classes, clean))
        return
    np.testing.assert_array_equal(cut.probs.argmax(axis=1), clean.argmax(axis=1))
    if name == "memguard":  # says nothing but the class
        own = np.eye(classes)[clean.argmax(axis=1)]
        np.testing.assert_allclose(cut.probs, (own + 1 / classes) / 2, atol=1e-6)
    elif alignment == "corrected":
        np.testing.assert_array_equal(cut.probs, fallback(name, "corrected", classes, clean))
    else:  # the reference still, in the mixed-up order but for the label
        np.testing.assert_array_equal(np.sort(cut.probs), np.sort(fallback(name, "corrected", classes, clean)))
    # A budget that no first round can exceed changes nothing.
    whole = toy_defense(name, alignment, classes, **settings, max_steps=20).reshape_in_detail(clean, start)
    np.testing.assert_array_equal(whole.probs, fallback(name, alignment, classes, clean))


def test_budget_goes_with_the_defense_into_its_file(tmp_path):
    classifier = toy_defense("memguard", "corrected", 3).classifier()
    for text, steps in (("defenmi", 44), ("memguard@55", 55), ("memguard-published=0.3@344", 344), ("defenmi@7", 7)):
        spec = DefenseSpec.parse(text, max_steps=44)
        spec.build(lambda: classifier, lambda: toy_means(3), 3).save(tmp_path / "defense.ckpt")
        held = load_defense(tmp_path / "defense.ckpt")
        assert getattr(held, "memguard", held).config.max_steps == steps
        assert str(spec).endswith(f"@{steps}")
        assert DefenseSpec.parse(str(spec)) == spec
    assert str(DefenseSpec.parse("top-k=3", max_steps=44)) == "top-k=3"  # has no search to bound


@pytest.mark.parametrize("text", ["defenmi@", "defenmi@x", "defenmi@1", "memguard@-5", "top-k=3@300", "memguard@9=0.3"])
def test_bad_budgets_by_name(text):
    with pytest.raises(InputError, match=r"STEPS|max_steps") as caught:
        DefenseSpec.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [DefenMI, MemGuard])
def test_files_from_before_there_were_budgets(kind):
    defense = toy_defense(kind.name, "published", 3)
    settings = defense.settings()
    assert settings.pop("max_steps") is None
    assert kind.restore(settings, defense.arrays()).config == defense.config


def test_budget_of_a_study():
    assert StudyConfig(max_steps=300).max_steps == 300
    assert StudyConfig().max_steps is None
    with pytest.raises(InputError, match=r"^max_steps: expected a whole number of at least 2, got 1$"):
        StudyConfig(max_steps=1)


def test_alignment_makes_no_difference_to_memguard():
    logits = plain_logits(30, 10)
    query = np.float32(softmax(logits)), logits
    one, other = (toy_defense("memguard", alignment, 10) for alignment in ("corrected", "published"))
    np.testing.assert_array_equal(one.reshape(*query), other.reshape(*query))


def test_start_and_reference_matter():
    # Guards the tests above against a defense that ignores what it is given.
    logits = plain_logits(30, 10)
    clean, start = np.float32(softmax(logits)), starts("defenmi", logits)
    probs = toy_defense("defenmi", "corrected", 10).reshape(clean, start)
    assert (l1(toy_defense("defenmi", "corrected", 10).reshape(clean, logits), probs) > 1e-3).mean() > 0.5
    others = toy_defense("defenmi", "corrected", 10, means=toy_means(10, seed=1)).reshape(clean, start)
    assert (l1(others, probs) > 1e-3).mean() > 0.5


@pytest.mark.parametrize(("name", "alignment"), KINDS)
def test_no_rows(name, alignment):
    nothing = np.zeros((0, 3), np.float32)
    done = toy_defense(name, alignment, 3).reshape_in_detail(nothing, nothing)
    assert (done.probs.shape, done.rounds.shape, done.steps) == ((0, 3), (0,), 0)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_other_floats_are_taken(dtype):
    clean = dtype([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    start = dtype([[1.0, -2.0, 0.5], [0.5, 2.0, -1.0]])
    defense = toy_defense("defenmi", "corrected", 3)
    probs = defense.reshape(clean, start)
    assert probs.dtype == np.float32
    np.testing.assert_array_equal(probs, defense.reshape(np.float32(clean), np.float32(start)))


PROBS, LOGITS = np.float32(softmax(plain_logits(4, 3))), plain_logits(4, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((PROBS * 2, LOGITS), r"clean_probs row 0: expected a sum of 1"),
        ((LOGITS, LOGITS), r"clean_probs row 0: expected values ≥ 0"),
        ((np.where(np.eye(4, 3) > 0, np.nan, PROBS), LOGITS), r"clean_probs row 0: expected finite values"),
        ((PROBS, np.where(np.eye(4, 3, -1) > 0, np.nan, LOGITS)), r"start_logits row 1: expected finite values"),
        ((PROBS[:, :0], LOGITS), r"clean_probs: expected shape"),
        ((PROBS[0], LOGITS), r"clean_probs: expected shape"),
        ((np.full((4, 2), 0.5), LOGITS), r"clean_probs: expected 3 columns, .* got \(4, 2\)"),
        ((PROBS, LOGITS[:, :2]), r"start_logits: expected 3 columns, .* got \(4, 2\)"),
        ((PROBS, LOGITS[:3]), r"start_logits: expected one row for each of the 4 of clean_probs, got 3"),
        ((PROBS[:0], LOGITS), r"start_logits: expected one row for each of the 0 of clean_probs, got 4"),
    ],
)
def test_bad_queries(arguments, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        toy_defense("memguard", "corrected", 3).reshape(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, -1])
def test_bad_workers(workers):
    with pytest.raises(InputError, match=f"^workers: expected at least 1, got {workers}"):
        toy_defense("memguard", "corrected", 3).reshape(PROBS, LOGITS, workers=workers)


@pytest.mark.parametrize(
    ("means", "words"),
    [
        (np.eye(3)[:2], r"class_mean_probs: expected shape \(3, 3\), got \(2, 3\)"),
        (np.eye(4), r"class_mean_probs: expected shape \(3, 3\), got \(4, 4\)"),
        (np.eye(3) * 2, "class_mean_probs row 0: expected a sum of 1"),
        (np.full((3, 3), np.nan), "class_mean_probs row 0: expected finite values"),
    ],
)
def test_bad_means(means, words):
    with pytest.raises(InputError, match=f"^{words}"):
        DefenMI(toy_defense("memguard", "corrected", 3).classifier(), means)


@pytest.mark.parametrize(
    ("config", "argument", "value"),
    [
        (DefenseConfig, "alignment", "aligned"),
        (MemGuardConfig, "threshold", -1.0),
        (MemGuardConfig, "alignment", ""),
        *(
            (DefenMIConfig, name, bad)
            for name in ("delta", "epsilon")
            for bad in (0.0, -1.0, float("inf"), float("nan"))
        ),
        (DefenMIConfig, "max_iterations", 0),
    ],
)
def test_bad_config(config, argument, value):
    with pytest.raises(InputError, match=f"^{argument}: expected .*, got {value!r}"):
        config(**{argument: value})


def test_published_configs():
    assert (DefenMIConfig().rounds, MemGuardConfig().rounds) == (6, 7)
    assert DefenMIConfig().alignment == MemGuardConfig().alignment == "corrected"
    assert toy_defense("defenmi", "corrected", 3).noise_scale == pytest.approx(1 / 3)
    assert toy_defense("defenmi", "corrected", 3, delta=2.0, epsilon=0.5).noise_scale == 4
    assert toy_defense("memguard", "corrected", 3).noise_scale == 0


def test_class_means():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40, 4)) * 3
    logits[:, 2] = logits.min() - 1  # class 2 is never predicted
    means = class_mean_probs(logits)
    assert (means.shape, means.dtype) == ((4, 4), np.float32)
    for k in (0, 1, 3):
        np.testing.assert_allclose(means[k], softmax(logits[logits.argmax(axis=1) == k].mean(axis=0)), atol=1e-6)
    # The stand-in: as confident as the others are on average, about its own class, and the same to all others.
    top = logits.max(axis=1).mean()
    rest = (logits.sum() - logits.max(axis=1).sum()) / (40 * 3)
    np.testing.assert_allclose(means[2], softmax(np.where(np.arange(4) == 2, top, rest)), atol=1e-6)


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (np.zeros((0, 3)), "logits: expected at least one row"),
        (np.float32([[0, np.nan]]), "logits row 0: expected finite"),
        (np.zeros(3), "logits: expected shape"),
    ],
)
def test_class_means_of_nothing(logits, words):
    with pytest.raises(InputError, match=f"^{words}"):
        class_mean_probs(logits)
