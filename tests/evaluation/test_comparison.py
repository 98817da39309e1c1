"""A comparison of defenses in front of a model of one's own, and of recorded outputs: no study needed."""

import dataclasses

import numpy as np
import pytest

from mindefense.confidence import softmax
from mindefense.data import from_datasets, load_outputs
from mindefense.defenses import MemGuard, MemGuardBudget, Rounding, fit_defender
from mindefense.errors import InputError
from mindefense.evaluation import compare, compare_outputs, evaluate
from mindefense.reports.results import comparison_to_json
from mindefense.targets import FunctionTarget
from mindefense.training import PUBLISHED_DEFENDER

CLASSES, N = 4, 400
ATTACKS = ("confidence", "max-confidence", "shokri-label")


def rows(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=N)
    features = rng.normal(0, 1, (N, 5)).astype(np.float32)
    features[np.arange(N), labels] += 2
    features[:, 4] = 3 if seed == 0 else 0  # by which the model knows its members
    return features, labels


def respond(features):
    return features[:, :CLASSES] * (1 + features[:, 4:])


@pytest.fixture(scope="module")
def given():
    data, split = from_datasets(rows(0), rows(1), num_classes=CLASSES, name="rows", synthetic=True)
    return FunctionTarget(respond, gives="logits"), data, split


@pytest.fixture(scope="module")
def compared(given):
    asked = []

    def counted(features):
        asked.append(len(features))
        return respond(features)

    target, data, split = FunctionTarget(counted, gives="logits"), *given[1:]
    found = compare(target, data, split, ["class-mean", "rounding=1", "label-only"], attacks=ATTACKS, progress=False)
    return found, asked


def test_each_defense_is_a_contender(compared):
    found, _ = compared
    assert [one.name for one in found.contenders] == ["none", "class-mean", "rounding=1", "label-only"]
    assert set(found.checks) == {one.name for one in found.contenders}
    assert found.contenders[0].verdict.level == "leak"
    for one in found.contenders[1:]:
        assert {attack.adversary for attack in one.attacks if attack.name == "shokri-label"} == {"static", "adaptive"}
        assert one.change is not None
    assert found.contenders[3].verdict.sharpest.metrics.two_sided_auc < 0.65
    assert len(comparison_to_json(found)["contenders"]) == 4


def test_the_model_is_asked_about_each_sample_once(compared):
    _, asked = compared
    assert sum(asked) <= 2 * N + 32


def test_figures_are_those_of_an_evaluation(compared, given):
    found, _ = compared
    alone = evaluate(*given, attacks=ATTACKS, defense=Rounding(1), progress=False)
    rounding = next(one for one in found.contenders if one.name == "rounding=1")
    assert [one.metrics for one in rounding.attacks] == [one.metrics for one in alone.attacks if one.defended]
    assert found.contenders[0].attacks == tuple(
        dataclasses.replace(one, roc=None) for one in alone.attacks if not one.defended
    )


def test_defenses_may_be_given_by_name(given):
    found = compare(*given, {"mine": Rounding(0)}, attacks=("confidence",), progress=False)
    assert [one.name for one in found.contenders] == ["none", "mine"]


def test_a_classifier_is_fitted_once_for_all_that_need_it(given, monkeypatch):
    from mindefense.defenses import classifier

    fitted, real = [], classifier.fit_defender

    def fit(probs, is_member, *, config, **more):
        fitted.append(len(probs))
        return real(probs, is_member, config=dataclasses.replace(config, epochs=3), **more)

    monkeypatch.setattr(classifier, "fit_defender", fit)
    found = compare(*given, ["defenmi", "memguard", "memguard=0.3"], attacks=("confidence",), progress=False)
    assert len(found.contenders) == 4
    assert fitted == [len(given[2].defender_members) + len(given[2].defender_non_members)]


def test_recorded_outputs_are_compared(tmp_path):
    (members, labels), (others, other_labels) = rows(0), rows(1)
    np.savez(
        tmp_path / "outputs.npz",
        logits=np.concatenate((respond(members), respond(others))),
        labels=np.concatenate((labels, other_labels)),
        is_member=np.arange(2 * N) < N,
    )
    outputs = load_outputs(tmp_path / "outputs.npz")
    found = compare_outputs(outputs, ["class-mean", "label-only"], attacks=ATTACKS, progress=False)
    assert [one.name for one in found.contenders] == ["none", "class-mean", "label-only"]
    assert found.contenders[0].verdict.level == "leak"
    both = dataclasses.replace(outputs, defended_log_probs=outputs.log_probs)
    with pytest.raises(InputError, match="only undefended answers"):
        compare_outputs(both, ["rounding=1"])


@pytest.mark.parametrize(
    ("defenses", "words"),
    [(["foo"], "defense: expected"), ({"a": 3}, "defense a: expected a Defense"), (["rounding=1"] * 2, "twice")],
)
def test_what_is_no_defense_is_one_line(defenses, words, given):
    with pytest.raises(InputError, match=words):
        compare(*given, defenses, attacks=("confidence",), progress=False)


def test_without_rows_for_the_defender_nothing_can_be_fitted(given):
    target, _, _ = given
    data, split = from_datasets(rows(0), rows(1), num_classes=CLASSES, name="rows", synthetic=True, defender_share=0.0)
    with pytest.raises(InputError, match="at least one row to fit defenmi on"):
        compare(target, data, split, ["rounding=1", "defenmi"], attacks=("confidence",), progress=False)


def test_a_defense_that_owns_a_classifier_reports_how_good_it_is(given):
    target, data, split = given
    rows = np.concatenate((split.defender_members, split.defender_non_members))
    probs = softmax(target.logits(data.features[rows]))
    is_member = np.isin(rows, split.defender_members)
    config = dataclasses.replace(PUBLISHED_DEFENDER, epochs=3)
    classifier = fit_defender(probs, is_member, config=config, progress=False)
    defense = MemGuardBudget(MemGuard(classifier), 0.3)
    found = evaluate(*given, attacks=("confidence",), defense=defense, progress=False)
    right = (classifier.member_probability(probs) > 0.5) == is_member
    assert found.defense.classifier_accuracy == right.mean()
    assert found.budgets == ()  # the published table is about the search alone
