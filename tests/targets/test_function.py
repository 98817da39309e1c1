"""Functions, services and scikit-learn classifiers as targets: figures are those of the answers; what is refused."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mindefense.confidence import log_softmax, softmax
from mindefense.data import from_datasets
from mindefense.defenses import Rounding, fit_defenmi
from mindefense.errors import InputError
from mindefense.evaluation import evaluate
from mindefense.models import MLP
from mindefense.progress import Brief
from mindefense.targets import FunctionTarget, Network, Target, model_of
from mindefense.training import PUBLISHED_DEFENDER

CLASSES, N = 4, 240
QUICK = ("confidence", "shokri-label", "label-noise")


def rows(seed, n=N):
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=n)
    features = rng.normal(0, 1, (n, 6)).astype(np.float32)
    features[np.arange(n), labels] += 1.5
    return features, labels


MEMBERS, OTHERS = rows(0), rows(1)


@pytest.fixture(scope="module")
def data_and_split():
    return from_datasets(MEMBERS, OTHERS, num_classes=CLASSES, name="rows", synthetic=True)


def linear(features):
    return np.asarray(features, np.float32) @ np.eye(6, CLASSES, dtype=np.float32)


def overfit():
    """A classifier that knows its rows by heart."""
    from sklearn.tree import ExtraTreeClassifier

    return ExtraTreeClassifier(random_state=0, min_samples_leaf=2).fit(*MEMBERS)


@pytest.mark.parametrize(
    ("respond", "gives"),
    [(linear, "logits"), (lambda x: log_softmax(linear(x)), "log_probs"), (lambda x: softmax(linear(x)), "probs")],
)
def test_whatever_it_gives_the_answers_are_the_same(respond, gives):
    asked = []

    def counted(given):
        asked.append(len(given))
        return respond(given)

    target = FunctionTarget(counted, gives=gives, batch_size=100)
    np.testing.assert_allclose(softmax(target.logits(MEMBERS[0])), softmax(linear(MEMBERS[0])), atol=1e-6)
    assert asked == [100, 100, 40]
    target.logits(MEMBERS[0][:50])
    assert sum(asked) == N  # each sample once


def test_samples_reach_the_function_as_they_are():
    seen = []

    def respond(given):
        seen.append(given.dtype)
        return softmax(linear(given))

    FunctionTarget(respond).logits(np.arange(12, dtype=np.int64).reshape(2, 6))
    assert seen == [np.int64]


@pytest.mark.parametrize(
    ("respond", "gives", "words"),
    [
        (linear, "probs", 'where they are logits, give FunctionTarget(f, gives="logits")'),
        (lambda x: softmax(linear(x)), "logits", 'these are probabilities: say gives="probs"'),
        (linear, "log_probs", "exp of the answers of the target"),
        (lambda x: softmax(linear(x))[:-1], "probs", "one row of logits for each of the 64 samples"),
        (lambda x: 1 / 0 if len(x) < 0 else np.full((len(x), 4), np.nan), "probs", "answers of the target row 0"),
        (lambda x: (_ for _ in ()).throw(ConnectionError("no route to host")), "probs", "no route to host"),
        (lambda x: linear(x)[:, 0], "logits", "one number a sample"),
    ],
)
def test_what_is_no_answer_is_one_line(respond, gives, words):
    with pytest.raises(InputError) as caught:
        FunctionTarget(respond, gives=gives).logits(MEMBERS[0][:64])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "words"), [({"gives": "proba"}, "gives: expected probs"), ({}, "a function of samples")]
)
def test_arguments_are_checked(given, words):
    with pytest.raises(InputError, match=words):
        FunctionTarget(*([linear] if given else [3]), **given)


def test_a_classifier_of_scikit_learn_is_evaluated(data_and_split):
    data, split = data_and_split
    found = evaluate(overfit(), data, split, attacks=QUICK, defense=Rounding(1))
    assert found.evidence.network == "ExtraTreeClassifier"
    assert found.evidence.parameters is None
    assert found.target.member_accuracy > found.target.non_member_accuracy + 0.1
    assert found.undefended.level == "leak"
    by_name = {(one.name, one.adversary, one.defended) for one in found.attacks}
    assert ("label-noise", "adaptive", True) in by_name  # it answers changed samples


def test_classes_that_its_fit_never_saw_have_a_column():
    features, labels = MEMBERS
    some = labels != 1
    model = model_of(LogisticRegression().fit(features[some], labels[some]))
    probs = softmax(model.logits(features))
    assert probs.shape == (N, CLASSES)
    assert probs[:, 1].max() < 1e-6


@pytest.mark.parametrize("progress", [None, False])
def test_a_slow_model_is_told_before_it_has_answered_unless_nobody_wants_it(
    progress, data_and_split, monkeypatch, capsys
):
    now = [0.0]

    def slow(samples):
        now[0] += 40.0
        return softmax(linear(samples))

    monkeypatch.setattr(Brief, "__init__", lambda self: setattr(self, "_clock", lambda: now[0]))
    evaluate(slow, *data_and_split, attacks=("confidence",), progress=progress)
    said = capsys.readouterr().err.splitlines()
    assert said == ([] if progress is False else ["ask target: 128/240; 0:01:10 left"])


def test_a_classifier_that_never_saw_the_top_class_is_told_apart_from_a_network(data_and_split):
    features, labels = MEMBERS
    some = labels < CLASSES - 1
    classifier = LogisticRegression().fit(features[some], labels[some])
    with pytest.raises(InputError) as caught:
        evaluate(classifier, *data_and_split, attacks=QUICK)
    assert str(caught.value) == (
        "classes of the LogisticRegression: expected 4, the number of classes of rows, got 3; fit it on rows of every "
        "class, or give a function that appends a column of zeros for each missing class"
    )
    found = evaluate(lambda x: np.pad(classifier.predict_proba(x), ((0, 0), (0, 1))), *data_and_split, attacks=QUICK)
    assert found.target.member_accuracy > 1 / CLASSES


def test_a_classifier_of_more_classes_than_the_data_is_refused():
    data, split = from_datasets(*(tuple(part[rows[1] < 3] for part in rows) for rows in (MEMBERS, OTHERS)), name="rows")
    with pytest.raises(
        InputError,
        match="classes of the ExtraTreeClassifier: expected 3, the number of classes of rows, got 4; set num_",
    ):
        evaluate(overfit(), data, split, attacks=QUICK)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (LogisticRegression(), "without classes_"),
        (LogisticRegression, "the class LogisticRegression; make an object"),
        (LogisticRegression().fit(MEMBERS[0], np.array(list("abcd"))[MEMBERS[1]]), "whole numbers from 0"),
        ("resnet.ckpt", "a trained model: a MindSpore Cell"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_model_is_one_line(given, words, data_and_split):
    with pytest.raises(InputError) as caught:
        evaluate(given, *data_and_split, attacks=QUICK)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_function_gives_the_figures_of_the_network_behind_it(data_and_split):
    data, split = data_and_split
    net = MLP((6, 16, CLASSES), seed=1)
    network = Network(net)
    inside = evaluate(network, data, split, attacks=QUICK)
    outside = evaluate(FunctionTarget(network.logits, gives="logits"), data, split, attacks=QUICK)
    assert [one.metrics for one in outside.attacks] == [one.metrics for one in inside.attacks]
    target = evaluate(Target(lambda samples: log_softmax(network.logits(samples))), data, split, attacks=QUICK)
    for one, other in zip(target.attacks, inside.attacks, strict=True):
        assert one.metrics.auc == pytest.approx(other.metrics.auc, abs=1e-3)


def test_defenmi_stands_in_front_of_a_function(data_and_split):
    data, split = data_and_split
    net = MLP((6, 16, CLASSES), seed=1)
    target = FunctionTarget(Network(net).logits, gives="logits", name="service")
    defense = fit_defenmi(target, data, split, train=dataclasses.replace(PUBLISHED_DEFENDER, epochs=4))
    found = evaluate(target, data, split, attacks=QUICK, defense=defense, seed=3)
    same = evaluate(net, data, split, attacks=QUICK, defense=defense, seed=3)
    assert found.defense.defended.label_changes == 0
    assert found.defense.defended.mean_l1 == pytest.approx(same.defense.defended.mean_l1, rel=1e-5)
    assert [one.name for one in found.attacks] == [one.name for one in same.attacks]
    assert found.evidence.network == "service"


def test_a_function_that_is_random_is_refused(data_and_split):
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match=r"the same answer to a repeated query.*without dropout"):
        evaluate(lambda x: softmax(linear(x) + rng.normal(size=(len(x), CLASSES))), *data_and_split, attacks=QUICK)


def test_samples_of_both_kinds_are_asked_once(data_and_split):
    asked = []

    def respond(given):
        asked.append(len(given))
        return softmax(linear(given))

    evaluate(respond, *data_and_split, attacks=("confidence", "shokri-label"))
    assert sum(asked) <= 2 * N + 32  # and some a second time, to see whether the answers stay
