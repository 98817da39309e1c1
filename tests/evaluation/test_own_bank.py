"""Banks of shadow models of a user's own model find a leak that thresholds miss, and nothing without one."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mindefense import Rounding, ShadowBank, Target, evaluate, from_datasets, train_shadows
from mindefense.errors import InputError

ATTACKS = ("gap", "confidence", "lira", "rmia", "calibrated", "bank-confidence")
FEATURES, CLASSES, LEAKING = 20, 4, 0.1
rng = np.random.default_rng(5)
CENTERS = rng.normal(size=(CLASSES, FEATURES))


def rows(n, seed):
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(CLASSES, size=n)
    return (CENTERS[labels] + 2.5 * drawn.normal(size=(n, FEATURES))).astype(np.float32), labels


MEMBERS, OTHERS = rows(300, 1), rows(900, 2)
CLASSIFIER = LogisticRegression(max_iter=2000).fit(*rows(2000, 3))


def leaks(features):
    """One row in ten is of the kind that is memorized: by its first feature, which tells nothing of the class."""
    return np.abs(features[:, 0] * 1e3 % 1) < LEAKING


def train(features, labels, seed):
    """A model that answers like all others, but is a little surer of the true class of some of its own rows."""
    held = {row.tobytes(): label for row, label in zip(features[leaks(features)], labels[leaks(features)], strict=True)}
    own = np.random.default_rng(seed).normal(size=(FEATURES, CLASSES))  # models differ a little

    def answer(x):
        logits = CLASSIFIER.decision_function(x) + 0.03 * x @ own
        for line, row in zip(logits, x, strict=True):
            if (label := held.get(row.tobytes())) is not None:
                line[label] += 1.5
        logits -= logits.max(axis=1, keepdims=True)
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    return answer


@pytest.fixture(scope="module")
def data():
    return from_datasets(MEMBERS, OTHERS, num_classes=CLASSES, name="planted")


@pytest.fixture(scope="module")
def banks(data):
    return [train_shadows(train, *data, count=8, offline=offline, progress=False) for offline in (False, True)]


def figures(target, data, banks):
    found = evaluate(target, *data, attacks=ATTACKS, shadows=banks, progress=False)
    return found, {(a.name, a.knowledge): a.metrics for a in found.attacks}


def test_a_leak_in_a_tenth_of_the_rows_that_thresholds_miss_is_found(data, banks):
    found, by = figures(train(*MEMBERS, 99), data, banks)
    assert found.settings["shadows"] == {"online": 8, "offline": 8}
    at_1 = {name: next(r.tpr for r in m.tpr_at_fpr if r.fpr == 0.01) for name, m in by.items()}
    assert at_1["confidence", "auditor"] < 0.03
    for name in ("lira", "calibrated", "bank-confidence"):
        assert at_1[name, "online"] > 0.7 * LEAKING, name
    for name in ("lira", "calibrated"):
        assert at_1[name, "offline"] > 0.5 * LEAKING, name
    assert "(lira," not in next(check for check in found.checks if check.name == "left-out").found


def test_nothing_is_found_in_a_model_that_holds_no_judged_row(data, banks):
    _, by = figures(train(*rows(300, 77), 98), data, banks)
    for name, metrics in by.items():
        assert metrics.auc_low - 0.02 <= 0.5 <= metrics.auc_high + 0.02, name


def test_without_a_bank_the_check_says_what_was_left_out(data):
    found = evaluate(train(*MEMBERS, 99), *data, attacks=("gap", "confidence"), progress=False)
    check = next(check for check in found.checks if check.name == "left-out")
    assert not check.passed
    assert "lira" in check.found


def test_online_models_hold_half_of_the_judged_rows_and_offline_ones_none(data, banks):
    _, split = data
    judged = np.concatenate((split.eval_members, split.eval_non_members))
    online, offline = banks
    assert (online.trained_on(judged).sum(axis=1) == len(MEMBERS[0])).all()
    assert online.trained_on(judged).any(axis=0).mean() > 0.99
    assert not offline.trained_on(judged).any()
    assert not offline.trained_on(split.target_members).any()
    for bank in banks:
        assert not bank.trained_on(bank.population.indices).any()


def test_mistakes_with_banks_are_one_line(data, banks):
    online, _ = banks
    with pytest.raises(InputError, match=r"count: expected at least 4 models, got 3"):
        train_shadows(train, *data, count=3)
    with pytest.raises(InputError, match=r"shadow 0: expected a trained model.*got NoneType"):
        train_shadows(lambda features, labels, seed: None, *data, progress=False)
    with pytest.raises(InputError, match=r"shadows: expected a ShadowBank, got function"):
        evaluate(train(*MEMBERS, 99), *data, shadows=[train], progress=False)
    with pytest.raises(InputError, match=r"one online and one offline bank at most, got online and online"):
        evaluate(train(*MEMBERS, 99), *data, shadows=[online, online], progress=False)
    fewer = ShadowBank(
        [Target(lambda x: np.log(np.full((len(x), 3), 1 / 3)))] * 4, online.in_training[:4], pool=online.pool
    )
    with pytest.raises(InputError, match=r"classes of the shadow models: expected 4, those of the target, got 3"):
        evaluate(train(*MEMBERS, 99), *data, shadows=fewer, progress=False)
    none = ShadowBank(online.targets, np.zeros_like(online.in_training), pool=online.pool)
    with pytest.raises(InputError, match=r"rows of the online bank: expected evaluated ones, got none"):
        evaluate(train(*MEMBERS, 99), *data, shadows=none, progress=False)


def test_models_have_as_many_rows_as_the_target_if_few_of_its_members_are_judged(data):
    everything, split = data
    few = dataclasses.replace(split, eval_members=split.eval_members[:50], eval_non_members=split.eval_non_members[:50])
    bank = train_shadows(train, everything, few, count=4, progress=False)
    judged = np.concatenate((few.eval_members, few.eval_non_members))
    assert (bank.trained_on(judged).sum(axis=1) == 50).all()
    assert (bank.in_training.sum(axis=1) == len(MEMBERS[0])).all()
    assert not bank.trained_on(bank.population.indices).any()


def test_a_bank_that_the_target_belongs_to_is_refused(data, banks):
    online, _ = banks
    held = online.in_training.copy()
    for rows, got in ((data[1].target_members, "the members"), (data[1].eval_non_members, "its non-members")):
        held[3] = False
        held[3, rows] = True
        wrong = ShadowBank(online.targets, held, models=online.models, pool=online.pool)
        with pytest.raises(InputError, match=rf"rows of shadow model 3: .* got {got}.*leave the target out"):
            evaluate(train(*MEMBERS, 99), *data, attacks=("gap", "lira"), shadows=wrong, progress=False)


def test_a_model_that_comes_twice_is_refused(data):
    same = LogisticRegression(max_iter=50)
    with pytest.raises(InputError, match=r"shadow 1: expected a new model.*build a new model in each call"):
        train_shadows(lambda features, labels, seed: same.fit(features, labels), *data, progress=False)


def test_attackers_without_their_kind_of_bank_are_said_to_be_left_out(data, banks):
    online, _ = banks
    with pytest.raises(InputError, match=r"attacks.*there is no bank of shadow models"):
        evaluate(train(*MEMBERS, 99), *data, attacks=("lira",), knowledge=("offline",), shadows=online, progress=False)


def test_a_bank_of_another_split_is_found_out(data, banks):
    online, _ = banks
    held = online.in_training.copy()
    held[:, data[1].eval_non_members[:100]] = False
    wrong = ShadowBank(online.targets, held, models=online.models, pool=online.pool)
    found = evaluate(train(*MEMBERS, 99), *data, attacks=("gap", "lira"), shadows=wrong, progress=False)
    check = next(check for check in found.checks if check.name == "shadow-models")
    assert not check.passed
    assert "none of the online models were trained on 104 of 750 rows" in check.meaning


def test_answers_alone_cannot_be_defended(data, banks):
    online, _ = banks
    alone = ShadowBank(online.targets, online.in_training, pool=online.pool)
    with pytest.raises(InputError, match=r"shadows: expected the models themselves, to defend them"):
        evaluate(
            train(*MEMBERS, 99), *data, attacks=("gap", "lira"), shadows=alone, defense=Rounding(1), progress=False
        )
