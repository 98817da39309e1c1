"""The risk of each row: hand-computed, with true intervals, and high for just the rows that leak."""

import csv
import json

import numpy as np
import pytest
from test_own_bank import ATTACKS, CLASSES, LEAKING, MEMBERS, OTHERS, leaks, rows, train

from mindefense import evaluate, from_datasets, save_evaluation, train_shadows
from mindefense.attacks.bank_statistics import separations


def test_a_small_case_by_hand():
    held = np.array([[True, True, True], [True, False, True], [False, True, True], [False, False, True]])
    values = np.array([[3.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 3.0, 0.0], [-2.0, -2.0, 0.0]])
    # Means in: 2, 2; out: -1, -1. Squares in: 2, 2 and 0 (4 of the last row), out: 2, 2.
    std_in, std_out = np.sqrt(4 / (1 + 1 + 3)), np.sqrt(4 / (1 + 1))
    deviation = np.sqrt((std_in**2 + std_out**2) / 2)
    separation, low, high = separations(values, held)
    np.testing.assert_allclose(separation[:2], 3 / deviation)
    np.testing.assert_allclose((high - low)[:2] / 2, 1.959964 * np.sqrt(std_in**2 / 2 + std_out**2 / 2) / deviation)
    assert np.isnan([separation[2], low[2], high[2]]).all()


@pytest.mark.parametrize("models", [4, 8, 32])
def test_intervals_hold_the_true_separation_in_95_of_100_rows(models):
    drawn = np.random.default_rng(models)
    n = 4000
    true = drawn.exponential(1.0, n)
    held = np.zeros((models, n), bool)
    for row in range(n):
        held[drawn.permutation(models)[: models // 2], row] = True
    values = drawn.normal(size=n) * 3 + held * true * 1.5 + 1.5 * drawn.normal(size=(models, n))
    separation, low, high = separations(values, held)
    share = ((low <= true) & (true <= high)).mean()
    assert abs(share - 0.95) < 0.015
    assert np.corrcoef(separation, true)[0, 1] > {4: 0.6, 8: 0.75, 32: 0.9}[models]


@pytest.fixture(scope="module")
def data():
    return from_datasets(MEMBERS, OTHERS, num_classes=CLASSES, name="planted")


@pytest.fixture(scope="module")
def found(data):
    bank = train_shadows(train, *data, count=16, progress=False)
    return evaluate(train(*MEMBERS, 99), *data, attacks=ATTACKS, shadows=bank, progress=False)


def test_rows_most_at_risk_are_those_that_leak(data, found):
    (risks,) = found.risks
    assert (risks.attack, risks.models, risks.defended) == ("lira", 16, False)
    leaking = leaks(data[0].features[risks.indices])
    assert leaking[risks.most(20)].all()
    assert (risks.low[leaking] > 0).mean() > 0.9
    assert (risks.low[~leaking] > 0).mean() < 0.06  # chance explains 0.025, and deviations differ between rows
    assert abs(leaking.mean() - LEAKING) < 0.03


def test_files_state_the_risk_of_every_row_and_name_no_members(found, tmp_path):
    save_evaluation(found, tmp_path)
    (held,) = json.loads((tmp_path / "results.json").read_text())["risks"]
    assert sum(held["counts"]) == held["rows"] == len(found.risks[0].separation)
    assert [row["rank"] for row in held["most"]] == list(range(1, 21))
    assert not {"is_member", "member"} & set(held["most"][0])
    with (tmp_path / "records.csv").open() as stream:
        records = list(csv.DictReader(stream))
    by_index = {int(row["index"]): row for row in records}
    for row in held["most"]:
        assert float(by_index[row["index"]]["risk"]) == pytest.approx(row["separation"])
        assert float(by_index[row["index"]]["risk_low"]) == pytest.approx(row["low"])
        assert int(by_index[row["index"]]["label"]) == row["label"]
    page = (tmp_path / "report.md").read_text()
    assert "Rows most at risk" in page
    assert f"{held['most'][0]['index']:,}" in page


def test_without_memorization_intervals_above_0_are_as_rare_as_chance_has_them(data):
    def alike(features, labels, seed):
        return train(*(part[:0] for part in rows(10, 1)), seed)  # holds no row

    bank = train_shadows(alike, *data, count=8, progress=False)
    (risks,) = evaluate(alike(*MEMBERS, 5), *data, attacks=("gap", "lira"), shadows=bank, progress=False).risks
    assert abs((risks.low > 0).mean() - 0.025) < 0.02
    assert abs((risks.high < 0).mean() - 0.025) < 0.02
