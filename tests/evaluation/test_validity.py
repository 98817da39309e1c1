"""Every doubt on a clean example and on one with its fault planted, with the figures that the message must give."""

import dataclasses

import numpy as np
import pytest

from mindefense.confidence import log_softmax
from mindefense.errors import InputError
from mindefense.evaluation.facts import AskedAgain, Facts, FitRows, Training
from mindefense.evaluation.validity import doubts
from mindefense.metrics import membership_metrics
from mindefense.types import AttackResult, Outputs, Trial

N = 2000
JUDGED = np.r_[0:500, 1000:1500]
ALWAYS = ["synthetic", "smoke", "sample-size", "labels-match", "members"]


def trial_of(scores, is_member, samples, *, name="lr", knowledge="auditor", adversary="static", defended=False):
    metrics = membership_metrics(scores, is_member, threshold=0.5)
    return Trial(AttackResult(name, knowledge, adversary, defended, metrics), scores, 0.5, samples, is_member)


def clean_facts(seed=0, n=N, shape=(20,)):
    """Half members, a slight leak, four classes; every attacker sees it, and nothing is wrong."""
    rng = np.random.default_rng(seed)
    is_member = np.arange(n) < n // 2
    labels = rng.integers(4, size=n)
    probs = rng.dirichlet(np.ones(4) / 2, n)
    probs[np.arange(n), labels] += np.where(is_member, 1.5, 1.0)
    probs /= probs.sum(axis=1, keepdims=True)
    defended = np.where(probs == probs.max(axis=1, keepdims=True), 0.4, 0.2)
    answers = Outputs(labels, is_member, np.arange(n) + 10_000, probs, defended)
    judged = np.r_[0 : n // 4, n // 2 : n * 3 // 4]
    fitted = np.setdiff1d(np.arange(n), judged)
    features = rng.normal(size=(n, *shape)).astype(np.float32)
    trials = [
        trial_of(
            rng.normal(size=len(judged)) + 0.5 + 0.4 * is_member[judged],
            is_member[judged],
            judged,
            adversary=adversary,
            defended=adversary == "adaptive",
        )
        for adversary in ("static", "adaptive")
    ]
    return Facts(
        trials=trials,
        answers=answers,
        features=features,
        fitted_on={"auditor": FitRows(indices=fitted + 10_000, features=features[fitted], probs=probs[fitted])},
        treated_alike=True,
        keeps_labels=True,
        trainings={"nn": Training(losses=0.3 + 0.4 * 0.9 ** np.arange(100), accuracy=0.8)},
        shadow_accuracy=(1.0, 0.95),
        asked_again=AskedAgain(rows=50, differing=0),
        not_asked={},
    )


CLEAN = clean_facts()


def change(**what):
    return dataclasses.replace(CLEAN, **what)


def with_answers(**what):
    return change(answers=dataclasses.replace(CLEAN.answers, **what))


def look(facts, name):
    return {check.name: check for check in doubts(facts)}[name]


def plus(**what):
    """The clean trials and one more."""
    judged = CLEAN.answers.is_member[JUDGED]
    scores = what.pop("scores")
    return change(trials=[*CLEAN.trials, trial_of(scores, judged, JUDGED, **what)])


LIMIT = Training(stopped="stopped at its limit of 300 iterations")


def weak(*names, stopped):
    """The clean trials and weaker ones of these names, some of them stopped before they converged."""
    judged = CLEAN.answers.is_member[JUDGED]
    scores = [np.random.default_rng(seed).normal(size=len(judged)) + 0.5 + 0.1 * judged for seed, _ in enumerate(names)]
    trials = [trial_of(own, judged, JUDGED, name=name) for own, name in zip(scores, names, strict=True)]
    trainings = {f"{name} (auditor, static)": LIMIT for name in stopped}
    return change(trials=[*CLEAN.trials, *trials], trainings=trainings)


def small(n_members, n_non_members):
    is_member = np.arange(n_members + n_non_members) < n_members
    scores = np.random.default_rng(0).normal(size=len(is_member))
    return change(trials=[trial_of(scores, is_member, np.r_[0:n_members, 1000 : 1000 + n_non_members])], fitted_on={})


def with_twins(n, first, second):
    features = CLEAN.features.copy()
    features[second : second + n] = features[first : first + n]
    return change(features=features)


def recorded(probs=CLEAN.answers.clean_probs, **what):
    """Outputs without features; the fit rows are those of the same recording that judge nobody."""
    fitted = np.setdiff1d(np.arange(N), JUDGED)
    rows = FitRows(indices=CLEAN.answers.indices[fitted], probs=probs[fitted])
    answers = dataclasses.replace(CLEAN.answers, clean_probs=probs, defended_probs=None)
    return change(answers=answers, features=None, fitted_on={"auditor": rows}, **what)


def with_equal_answers(n, first, second):
    probs = CLEAN.answers.clean_probs.copy()
    probs[second : second + n] = probs[first : first + n]
    return recorded(probs)


def unbalanced():
    labels = CLEAN.answers.labels.copy()
    labels[:300] = 3
    return dataclasses.replace(with_answers(labels=labels), shadow_accuracy=None)


def with_labels_changed(n, **what):
    defended = CLEAN.answers.defended_probs.copy()
    defended[:n] = np.roll(defended[:n], 1, axis=1)
    return dataclasses.replace(with_answers(defended_probs=defended), **what)


def shifted(features):
    return change(features=features, fitted_on={})


RNG = np.random.default_rng(7)
MEMBER = CLEAN.answers.is_member
IMAGES = RNG.integers(1, 256, size=(N, 3, 8, 8), dtype=np.uint8)
CROPPED = IMAGES.copy()
CROPPED[: N // 4, :, 0] = 0  # a quarter of all rows, half of the members
CROPPED[N // 2 : N * 3 // 4, :, 4] = 0  # as many zeros in non-members, in the middle
LEAK = 0.4 + 0.2 * RNG.normal(size=1000) + 0.4 * MEMBER[JUDGED]
FAR = -5 + LEAK  # below every threshold, and ranked as before

FAULTS = {
    "made up": ("synthetic", change(synthetic=True), ["made up"]),
    "smoke": ("smoke", change(smoke=True), ["smoke test"]),
    "few members": ("sample-size", small(99, 600), ["99 members", "600 non-members", "±0.053", "6 mistakes"]),
    "few non-members": ("sample-size", small(600, 99), ["600 members", "99 non-members", "0 mistakes"]),
    "labels of other rows": (
        "labels-match",
        with_answers(labels=np.roll((CLEAN.answers.clean_probs.argmax(axis=1) + 1) % 4, 0).astype(np.int32)),
        ["classifies 0.000 of the members and 0.000 of the non-members", "guessing reaches 0.2"],
    ),
    "few for small rates": ("sample-size", small(499, 499), ["±0.031", "0.01 rests on 4 mistakes"]),
    "one row in both": (
        "overlap",
        change(fitted_on={"auditor": FitRows(indices=np.array([10_000, 10_500]))}),
        ["1 of 1000 rows", "auditor", "the 2 they"],
    ),
    "twins of members": ("duplicates", with_twins(15, 0, 1000), ["30 of 2000 have a twin of the other"]),
    "repeated members": ("duplicates", with_twins(21, 0, 500), ["21 of 2000 repeat another of the same"]),
    "twins of fitted rows": (
        "duplicates",
        change(fitted_on={"auditor": FitRows(features=CLEAN.features[:11].astype(np.float64))}),
        ["11 of 1000 judge attackers of knowledge auditor"],
    ),
    "equal answers": (
        "duplicates",
        with_equal_answers(40, 0, 1000),
        ["80 of 2000 have a twin", "not rounded"],
    ),
    "equal answers fitted on": ("duplicates", with_equal_answers(11, 500, 0), ["11 of 1000 judge"]),
    "flag": ("treatment", change(treated_alike=False), ["through different transforms"]),
    "shifted mean": ("treatment", shifted(CLEAN.features + 0.1 * MEMBER[:, None]), ["mean 0.6"]),
    "scaled": ("treatment", shifted(CLEAN.features * (1 + 0.2 * MEMBER[:, None])), ["standard deviation 0.792"]),
    "zeros": (
        "treatment",
        shifted(CLEAN.features * (RNG.random((N, 20)) > 0.2 * MEMBER[:, None])),
        ["share of zeros 0.9"],
    ),
    "cropped members": ("treatment", shifted(CROPPED), ["share of zeros at the border 0.625"]),
    "other classes": ("class-balance", unbalanced(), ["class 3 differs most", "of the members", "2000 rows"]),
    "promised labels": ("labels-changed", with_labels_changed(7), ["7 of 2000", "(0.0035)", "although it is meant"]),
    "labels": (
        "labels-changed",
        with_labels_changed(1, keeps_labels=False),
        ["1 of 2000", "which it is not meant to keep"],
    ),
    "labels of unknown promise": ("labels-changed", with_labels_changed(1, keeps_labels=None), ["(0.0005);"]),
    "another answer": (
        "same-answer",
        change(asked_again=AskedAgain(rows=50, differing=3)),
        ["3 of 50", "a key determines"],
    ),
    "fresh noise": (
        "same-answer",
        change(asked_again=AskedAgain(rows=50, differing=49, fresh_noise=True)),
        ["49 of 50", "as fresh noise is meant to do"],
    ),
    "static": (
        "static-only",
        change(trials=[trial_of(LEAK, MEMBER[JUDGED], JUDGED, defended=True)]),
        ["0 of 1 attackers"],
    ),
    "nobody called": (
        "one-way",
        plus(scores=FAR, name="nn", knowledge="shadow", defended=True),
        ["nn (shadow, static, defended) calls 0.000", "accuracy of 0.500", "by lr (auditor, adaptive, defended)"],
    ),
    "inverted": (
        "upside-down",
        plus(scores=-LEAK, name="knn", knowledge="none"),
        ["knn (static, undefended) has an AUC"],
    ),
    "still falling": (
        "convergence",
        change(trainings={"target": Training(losses=np.linspace(2, 0.2, 100), accuracy=0.9)}),
        ["target had a loss that still fell by 0.392", "100 epochs"],
    ),
    "learned nothing": (
        "convergence",
        change(trainings={"nn": Training(losses=np.full(40, 0.69), accuracy=0.51)}),
        ["nn is right about 0.510", "guessing reaches 0.500"],
    ),
    "stopped early, and the headline is its": (
        "convergence",
        change(trainings={"lr (auditor, static)": LIMIT}),
        ["lr (auditor, static) stopped at its limit of 300 iterations and has the highest balanced accuracy without"],
    ),
    "stopped early, behind the defense": (
        "convergence",
        change(trainings={"lr (auditor, adaptive)": LIMIT}),
        ["lr (auditor, adaptive) stopped", "has the highest balanced accuracy behind the defense"],
    ),
    "stopped early, and nobody else of its kind converged": (
        "convergence",
        weak("mindarmour-lr", stopped=("mindarmour-lr",)),
        ["mindarmour-lr (auditor, static) stopped", "no other of the classifiers that see the true class converged"],
    ),
    "all of a kind stopped early": (
        "convergence",
        weak("mindarmour-lr", "mindarmour-mlp", stopped=("mindarmour-lr", "mindarmour-mlp")),
        ["mindarmour-lr (auditor, static) stopped", "mindarmour-mlp (auditor, static) stopped"],
    ),
    "stopped early, and a network learned nothing": (
        "convergence",
        change(trainings={"lr (auditor, static)": LIMIT, "nn": Training(losses=np.full(40, 0.69), accuracy=0.51)}),
        ["nn is right about 0.510", "lr (auditor, static) stopped"],
    ),
    "diverged": ("convergence", change(trainings={"nn": Training(losses=[1, np.nan])}), ["not finite"]),
    "not asked": (
        "left-out",
        change(not_asked={"label-only": ["gap"], "shadow": []}),
        ["not chosen: label-only (gap)."],
    ),
    "easy shadow": ("threshold-transfer", change(shadow_accuracy=(1.0, 0.5)), ["0.500 (shadow)", "(target)"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault):
    name, facts, figures = FAULTS[fault]
    clean, found = look(CLEAN, name), look(facts, name)
    assert clean.passed
    assert not clean.meaning
    assert not clean.advice
    assert not found.passed
    for figure in figures:
        assert figure in found.found
    for text in (clean.found, found.found, found.meaning, found.advice):
        assert text == " ".join(text.split())
        assert not text[0].islower() or text.startswith(
            ("nn ", "knn ", "target ", "lr ", "mindarmour-")
        )  # names stay as they are
        assert text.endswith(".")
        assert ". " not in text  # one sentence
    also = {"members"} if name == "labels-match" else set()  # with labels of other rows few members are right
    assert {check.name for check in doubts(facts) if not check.passed} - also == {name}


def test_every_doubt_has_a_planted_fault_and_none_is_left_on_the_clean_example():
    checks = doubts(CLEAN)
    assert [check.name for check in checks if not check.passed] == []
    assert {check.name for check in checks} == {name for name, _, _ in FAULTS.values()} | {"members"}


HARMLESS = {
    "enough for small rates": ("sample-size", small(100, 500), ["100 members", "5 mistakes"]),
    "other rows fitted on": ("overlap", CLEAN, ["0 of 1000 rows"]),
    "few twins": ("duplicates", with_twins(10, 0, 1000), ["20 of 2000 have a twin"]),
    "the rows fitted on are the judged, which is an overlap": (
        "duplicates",
        change(fitted_on={"auditor": FitRows(indices=CLEAN.answers.indices, features=CLEAN.features)}),
        ["0 of 0 judge"],
    ),
    "labels of constant rows": ("treatment", shifted(np.ones((N, 3), np.float32)), ["none, for all rows are alike"]),
    "images alike": ("treatment", shifted(IMAGES), ["standard deviation 0."]),
    "fresh noise, averaged": (
        "same-answer",
        change(asked_again=AskedAgain(rows=50, differing=49, fresh_noise=True, averaged=True)),
        ["49 of 50", "averages"],
    ),
    "nobody called and nothing known": (
        "one-way",
        change(trials=[trial_of(np.zeros(1000), MEMBER[JUDGED], JUDGED, defended=True)]),
        ["0 of 1"],
    ),
    "nobody called before the defense": ("one-way", plus(scores=FAR, name="nn"), ["0 of 1"]),
    "fitted, so that the rest of the loss does not matter": (
        "convergence",
        change(trainings={"target": Training(losses=1 / np.arange(1, 101), accuracy=1.0, chance=1 / 4)}),
        ["target is right about 1.000"],
    ),
    "better than one in a hundred": (
        "convergence",
        change(trainings={"target": Training(losses=np.full(20, 2.0), accuracy=0.3, chance=0.01)}),
        ["target is right about 0.300"],
    ),
    "stopped early, where others of its kind converged and more is found": (
        "convergence",
        weak("mindarmour-lr", "mindarmour-knn", stopped=("mindarmour-lr",)),
        ["0 trainings converged; mindarmour-lr (auditor, static) stopped at its limit of 300 iterations, on which no"],
    ),
    "like shadow": ("threshold-transfer", change(shadow_accuracy=(1.0, 0.9)), ["0.100 (shadow)"]),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_what_is_harmless_passes(case):
    name, facts, figures = HARMLESS[case]
    check = look(facts, name)
    assert check.passed, check
    for figure in figures:
        assert figure in check.found


def test_recorded_outputs_need_no_more_than_trials_and_answers():
    facts = Facts(trials=CLEAN.trials, answers=CLEAN.answers)
    names = [check.name for check in doubts(facts)]
    known = ["duplicates", "class-balance", "labels-changed", "static-only", "one-way", "upside-down"]
    assert names == [*ALWAYS, *known]
    undefended = dataclasses.replace(CLEAN.answers, defended_probs=None)
    alone = doubts(Facts(trials=[], answers=undefended))
    assert [check.name for check in alone] == [*ALWAYS, "duplicates", "class-balance"]
    assert all(check.passed for check in alone)


@pytest.mark.parametrize(
    "probs",
    [
        np.eye(4)[np.zeros(N, int)],
        np.tile([0.25, 0.375, 0.375, 0.0], (N, 1)),
        np.round(CLEAN.answers.clean_probs, 2),
        np.tile(np.array([1 / 3, 2 / 3]), (N, 1)),
        np.tile(np.array([0.99989, 3.3e-5, 3.3e-5, 4.4e-5]), (N, 1)),
    ],
    ids=["one-hot", "two and a half", "rounded", "two classes", "saturated"],
)
def test_confidence_vectors_that_repeat_by_nature_are_no_duplicates(probs):
    assert "duplicates" not in [check.name for check in doubts(Facts(trials=[], answers=_with_probs(probs)))]


def _with_probs(probs):
    labels = CLEAN.answers.labels % probs.shape[1]
    return dataclasses.replace(CLEAN.answers, labels=labels, clean_probs=probs, defended_probs=None)


def test_rows_drawn_alike_are_hardly_ever_called_different():
    """200 draws: intervals of 95 % would call 5 % of them so."""
    failed = {"treatment": 0, "class-balance": 0}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        n = 400
        answers = Outputs(rng.integers(10, size=n), rng.random(n) < 0.5, np.arange(n), np.full((n, 10), 0.1))
        features = (rng.random((n, 12)) < 0.3) * rng.normal(size=(n, 12))
        for check in doubts(Facts(trials=[], answers=answers, features=features)):
            if check.name in failed:
                failed[check.name] += not check.passed
    assert failed["treatment"] <= 2
    assert failed["class-balance"] <= 1


def test_a_small_shift_that_many_rows_show_is_within_the_margin():
    rng = np.random.default_rng(0)
    n = 20_000
    is_member = np.arange(n) % 2 == 0
    answers = Outputs(np.zeros(n, int), is_member, np.arange(n), np.ones((n, 2)) / 2)
    for shift, passed in ((0.08, True), (0.4, False)):  # in standard deviations of the mean; AUC 0.52 and 0.61
        features = (rng.normal(size=n) + shift * is_member)[:, None]
        assert look(Facts(trials=[], answers=answers, features=features), "treatment").passed == passed


@pytest.mark.parametrize(("n", "passed"), [(200, True), (20_000, False)])
def test_classes_are_compared_by_what_so_many_rows_can_tell(n, passed):
    ones = round(n / 4 * 1.08)
    labels = np.r_[np.repeat([1, 0], [ones, n // 2 - ones]), np.repeat([0, 1], [ones, n // 2 - ones])]
    answers = Outputs(labels, np.arange(n) < n // 2, np.arange(n), np.ones((n, 2)) / 2)
    assert look(Facts(trials=[], answers=answers), "class-balance").passed == passed


def made(n_classes, *, n=2000, lead=4.0, gap=1.5, seed=3):
    """Labels, membership and logits of a target that is better on its members."""
    rng = np.random.default_rng(seed)
    labels, is_member = rng.integers(n_classes, size=n), np.arange(n) < n // 2
    logits = rng.normal(size=(n, n_classes))
    logits[np.arange(n), labels] += lead + gap * is_member
    return labels, is_member, logits, rng


def failed_of(labels, is_member, logits, defended=None):
    probs = [None if some is None else np.exp(log_softmax(some.astype(np.float32))) for some in (logits, defended)]
    answers = Outputs(labels, is_member, np.arange(len(labels)), *probs)
    return {check.name for check in doubts(Facts(trials=[], answers=answers)) if not check.passed}


@pytest.mark.parametrize("of_members", [True, False])
def test_labels_of_one_side_in_another_order_are_found(of_members):
    labels, is_member, logits, rng = made(20)
    side = is_member == of_members
    labels[side] = rng.permutation(labels[side])
    assert "labels-match" in failed_of(labels, is_member, logits)


def test_columns_sorted_as_words_or_swapped_are_found():
    labels, is_member, logits, _ = made(25)
    for order in (sorted(range(25), key=str), [1, 0, *range(2, 25)]):
        assert "labels-match" in failed_of(labels, is_member, logits[:, order])


def test_defended_answers_of_other_rows_are_found_and_changed_labels_are_not_taken_for_them():
    labels, is_member, logits, rng = made(12)
    assert "labels-match" in failed_of(labels, is_member, logits, logits[rng.permutation(2000)])
    noised = logits + rng.normal(size=logits.shape)
    assert failed_of(labels, is_member, logits, noised) == {"labels-changed"}


def test_always_naming_the_commonest_class_is_guessing():
    rng = np.random.default_rng(1)
    labels = (rng.random(2000) < 0.1).astype(int)
    assert "labels-match" in failed_of(labels, np.arange(2000) < 1000, np.tile([3.0, 0.0], (2000, 1)))


@pytest.mark.parametrize(
    "what",
    [
        {"n_classes": 10, "lead": 0.3, "gap": 0.0},
        {"n_classes": 2, "lead": 0.3, "gap": 9.0},
        {"n_classes": 100, "n": 100, "lead": 1.0, "gap": 9.0},
    ],
    ids=["weak", "two classes", "many classes, few rows"],
)
def test_weak_targets_are_not_accused_of_wrong_labels(what):
    assert "labels-match" not in failed_of(*made(**what)[:3])


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("second", [1000, 500], ids=["on both sides", "on one side"])
def test_copies_are_found_however_sure_the_target_and_however_few_the_classes(n_classes, second):
    labels, is_member, logits, _ = made(n_classes, lead=1.5, gap=9.0 if second == 1000 and n_classes > 2 else 2.0)
    assert "duplicates" not in failed_of(labels, is_member, logits)
    logits[second : second + 500], labels[second : second + 500] = logits[:500], labels[:500]
    assert "duplicates" in failed_of(labels, is_member, logits)


def test_two_saturated_classes_in_float32_are_no_duplicates():
    labels, is_member, logits, _ = made(2, lead=12.0, gap=6.0)
    probs = np.exp(log_softmax(logits))[:, :1].astype(np.float32)
    probs = np.concatenate([probs, 1 - probs], axis=1)
    answers = Outputs(labels, is_member, np.arange(2000), probs)
    assert all(check.passed for check in doubts(Facts(trials=[], answers=answers)) if check.name == "duplicates")


def of_members(accuracy, others, area, n=2000):
    """Facts with exactly these accuracies and one attacker whose scores tell about that much."""
    is_member, labels = np.arange(n) < n // 2, np.arange(n) % 10
    rng = np.random.default_rng(0)
    right = rng.random(n) < np.where(is_member, accuracy, others)
    probs = np.full((n, 10), 0.01)
    probs[np.arange(n), np.where(right, labels, rng.integers(10, size=n))] = 0.91
    scores = rng.normal(size=n) + area * is_member
    answers = Outputs(labels, is_member, np.arange(n), probs)
    return Facts(trials=[trial_of(scores, is_member, np.arange(n))], answers=answers)


@pytest.mark.parametrize(
    ("facts", "passed"),
    [
        (of_members(0.6, 0.6, 0.0), False),
        (of_members(0.15, 0.1, 2.0), False),
        (of_members(0.95, 0.95, 0.0), True),
        (of_members(0.9, 0.6, 0.0), True),
        (of_members(0.6, 0.6, 2.0), True),
        (of_members(0.6, 0.6, 0.0, n=100), True),
    ],
    ids=["no gap", "few right", "near perfect", "gap", "an attacker finds them", "too few rows"],
)
def test_members_that_the_target_does_no_better_on_are_asked_about(facts, passed):
    assert look(facts, "members").passed == passed


def test_words_on_changed_labels_follow_the_figures():
    labels = CLEAN.answers.labels.copy()
    labels[:9] = (labels[:9] + 1) % 4
    defended = np.eye(4)[labels]
    risen = look(
        change(answers=dataclasses.replace(CLEAN.answers, labels=labels, defended_probs=defended), keeps_labels=None),
        "labels-changed",
    )
    assert "lower leak" not in risen.advice
    assert "accuracy is higher and the leak is not lower" in risen.advice


def test_attackers_left_out_are_listed_only_where_that_is_known():
    assert "left-out" not in {check.name for check in doubts(change(not_asked=None))}
    assert look(change(not_asked={"label-only": []}), "left-out").passed


def test_long_lists_are_cut_short():
    trials = [trial_of(-LEAK, MEMBER[JUDGED], JUDGED, name=f"a{k}") for k in range(9)]
    found = look(change(trials=trials), "upside-down").found
    assert found.count("has an AUC") == 3
    assert found.endswith("6 more do alike.")


def test_features_of_other_rows_are_refused():
    with pytest.raises(InputError, match="features"):
        change(features=CLEAN.features[:-1])
