"""Every doubt on a clean example and on one with its fault planted, with the figures that the message must give."""

import dataclasses

import numpy as np
import pytest
from validity_facts import CLEAN, N, look, trial_of

from mindefense.errors import InputError
from mindefense.evaluation.facts import AskedAgain, BankFacts, Facts, FitRows, Training
from mindefense.evaluation.validity import doubts
from mindefense.types import Outputs

JUDGED = np.r_[0:500, 1000:1500]
ALWAYS = ["synthetic", "smoke", "sample-size", "labels-match", "members"]


def change(**what):
    return dataclasses.replace(CLEAN, **what)


def with_answers(**what):
    return change(answers=dataclasses.replace(CLEAN.answers, **what))


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
    return dataclasses.replace(with_answers(labels=labels), shadow_accuracy=None, banks={})


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
    "made up": ("synthetic", change(synthetic=True), ["rows are synthetic"]),
    "smoke": ("smoke", change(smoke=True), ["smoke test"]),
    "few members": ("sample-size", small(99, 600), ["99 members", "600 non-members", "±0.053", "6 false positives"]),
    "few non-members": ("sample-size", small(600, 99), ["600 members", "99 non-members", "0 false positives"]),
    "labels of other rows": (
        "labels-match",
        with_answers(labels=np.roll((CLEAN.answers.clean_probs.argmax(axis=1) + 1) % 4, 0).astype(np.int32)),
        ["classifies 0.000 of the members and 0.000 of the non-members", "guessing reaches 0.2"],
    ),
    "few for small rates": ("sample-size", small(499, 499), ["±0.031", "0.01 corresponds to 4 false positives"]),
    "one row in both": (
        "overlap",
        change(fitted_on={"auditor": FitRows(indices=np.array([10_000, 10_500]))}),
        ["1 of 1000 rows", "auditor", "the 2 they"],
    ),
    "twins of members": ("duplicates", with_twins(15, 0, 1000), ["30 of 2000 equal one of the other"]),
    "repeated members": ("duplicates", with_twins(21, 0, 500), ["21 of 2000 repeat one of the same"]),
    "twins of fitted rows": (
        "duplicates",
        change(fitted_on={"auditor": FitRows(features=CLEAN.features[:11].astype(np.float64))}),
        ["11 of 1000 on which attackers of knowledge auditor are evaluated"],
    ),
    "equal answers": (
        "duplicates",
        with_equal_answers(40, 0, 1000),
        ["80 of 2000 equal one of the other", "not rounded"],
    ),
    "equal answers fitted on": ("duplicates", with_equal_answers(11, 500, 0), ["11 of 1000 on which"]),
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
        ["1 of 2000", "it is not meant to preserve them"],
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
        ["49 of 50", "as expected with fresh noise"],
    ),
    "static": (
        "static-only",
        change(trials=[trial_of(LEAK, MEMBER[JUDGED], JUDGED, defended=True)]),
        ["0 of 1 attackers"],
    ),
    "nobody called": (
        "one-way",
        plus(scores=FAR, name="nn", knowledge="shadow", defended=True),
        ["nn (shadow, static, defended) classifies 0.000", "accuracy of 0.500", "by lr (auditor, adaptive, defended)"],
    ),
    "inverted": (
        "upside-down",
        plus(scores=-LEAK, name="knn", knowledge="none"),
        ["knn (static, undefended) has an AUC"],
    ),
    "still falling": (
        "convergence",
        change(trainings={"target": Training(losses=np.linspace(2, 0.2, 100), accuracy=0.9)}),
        ["target had a loss that still fell by 39.2%", "100 epochs"],
    ),
    "learned nothing": (
        "convergence",
        change(trainings={"nn": Training(losses=np.full(40, 0.69), accuracy=0.51)}),
        ["nn correctly classifies 0.510", "guessing reaches 0.500"],
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
        ["nn correctly classifies 0.510", "lr (auditor, static) stopped"],
    ),
    "diverged": ("convergence", change(trainings={"nn": Training(losses=[1, np.nan])}), ["not finite"]),
    "not asked": (
        "left-out",
        change(not_asked={"label-only": ["gap"], "shadow": []}),
        ["not chosen: label-only (gap)."],
    ),
    "models that generalize otherwise": (
        "shadow-models",
        change(banks={"offline": BankFacts(models=8, rows=1000, uncompared=0, accuracy=(0.99, 0.5))}),
        ["The 8 offline models correctly classify 0.990", "0.500 of the others", "deviation is mostly that over all"],
    ),
    "rows of all models": (
        "shadow-models",
        change(banks={"online": BankFacts(models=64, rows=1000, uncompared=51, accuracy=(1.0, 0.95))}),
        ["The 64 online models correctly classify 1.000", "0.950 of the others; the target"],
    ),
    "easy shadow": ("threshold-transfer", change(shadow_accuracy=(1.0, 0.5)), ["0.500 (shadow model)", "(target)"]),
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
    "enough for small rates": ("sample-size", small(100, 500), ["100 members", "5 false positives"]),
    "other rows fitted on": ("overlap", CLEAN, ["0 of 1000 rows"]),
    "few twins": ("duplicates", with_twins(10, 0, 1000), ["20 of 2000 equal one of the other"]),
    "the rows fitted on are the judged, which is an overlap": (
        "duplicates",
        change(fitted_on={"auditor": FitRows(indices=CLEAN.answers.indices, features=CLEAN.features)}),
        ["0 of 0 on which"],
    ),
    "labels of constant rows": (
        "treatment",
        shifted(np.ones((N, 3), np.float32)),
        ["none, because these are equal for all"],
    ),
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
        ["target correctly classifies 1.000"],
    ),
    "better than one in a hundred": (
        "convergence",
        change(trainings={"target": Training(losses=np.full(20, 2.0), accuracy=0.3, chance=0.01)}),
        ["target correctly classifies 0.300"],
    ),
    "stopped early, where others of its kind converged and more is found": (
        "convergence",
        weak("mindarmour-lr", "mindarmour-knn", stopped=("mindarmour-lr",)),
        ["0 trainings converged; mindarmour-lr (auditor, static) stopped at its limit of 300 iterations, but no"],
    ),
    "like shadow": ("threshold-transfer", change(shadow_accuracy=(1.0, 0.9)), ["0.100 (shadow model)"]),
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
    assert found.endswith("6 more likewise.")


def test_features_of_other_rows_are_refused():
    with pytest.raises(InputError, match="features"):
        change(features=CLEAN.features[:-1])
