"""The table of budgets, by hand and of the vectors that DefenMI's authors released."""

import numpy as np
import pytest

from mindefense.errors import InputError
from mindefense.metrics import budget_table

BY_HAND = {
    # ‖f − f′‖₁ = 1.0, 0.4, 0.6; the third moves g away from 0.5 and is never answered with f′
    "clean_probs": np.array([[1.0, 0.0], [0.7, 0.3], [0.9, 0.1]]),
    "defended_probs": np.array([[0.5, 0.5], [0.5, 0.5], [0.6, 0.4]]),
    "correct_clean": np.array([True, True, False]),
    "correct_defended": np.array([False, False, True]),
    "g_clean": np.array([0.9, 0.3, 0.6]),
    "g_defended": np.array([0.5, 0.6, 0.3]),
}


def test_budget_table_equals_a_hand_computed_one():
    points = budget_table(**BY_HAND, budgets=(1.0, 0.5, 0.1, 0.0))
    assert [point.budget for point in points] == [1.0, 0.5, 0.1, 0.0]
    # p = (1, 1, 0), (0.5, 1, 0), (0.1, 0.25, 0), (0, 0, 0); the attacker is right with 1 − p, 1 − p, 0
    assert [3 * point.accuracy for point in points] == pytest.approx([0, 0.5, 0.9 + 0.75, 2], abs=1e-12)
    assert [3 * point.mean_l1 for point in points] == pytest.approx([1.4, 0.9, 0.2, 0], abs=1e-12)


def test_budgets_default_to_the_published_ones():
    assert [point.budget for point in budget_table(**BY_HAND)] == [1.0, 0.7, 0.5, 0.3, 0.1, 0.0]


def test_g_equally_far_from_one_half_counts_as_no_gain():
    mirrored = {"g_clean": np.array([0.75, 0.25, 0.625]), "g_defended": np.array([0.25, 0.75, 0.375])}
    (point,) = budget_table(**BY_HAND | mirrored, budgets=[2.0])
    assert point.mean_l1 == 0


@pytest.mark.parametrize("budget", [0.0, 0.5])
def test_equal_vectors_are_answered_clean(budget):
    same = BY_HAND | {"defended_probs": BY_HAND["clean_probs"], "g_defended": np.full(3, 0.5)}
    (point,) = budget_table(**same, budgets=[budget])
    assert (point.accuracy, point.mean_l1) == (2 / 3, 0)


def test_tiny_distances_do_not_overflow():
    near = BY_HAND | {"defended_probs": BY_HAND["clean_probs"] + [[0, 5e-324]] * 3}
    (point,) = budget_table(**near, budgets=[1.0])
    assert point.accuracy == 1 / 3  # only in the first row is there room for so small a step: the attacker now fails


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"clean_probs": np.array([[1.0, 0.0], [7.0, 3.0], [0.9, 0.1]])},
            "clean_probs row 1: .*2 of 3 rows are valid: find out what is wrong",
        ),
        ({"defended_probs": np.full((3, 4), 0.25)}, r"defended_probs: expected shape \(3, 2\), got \(3, 4\)"),
        ({"correct_clean": np.array([True])}, "correct_clean: expected one row for each of the 3 of clean_probs"),
        ({"correct_defended": np.array([1.0, 0.0, 1.0])}, "correct_defended: expected bool, got float64"),
        ({"g_clean": np.array([0.5, 2.0, 0.5])}, "g_clean row 1: expected 0 … 1, got 2; apply sigmoid first"),
        ({"g_defended": np.array([0.5, 0.5, -0.1])}, "g_defended row 2: expected 0 … 1"),
        ({"budgets": [0.1, -0.1]}, "budgets: expected finite numbers ≥ 0, got -0.1"),
        ({"budgets": [np.nan]}, "budgets"),
        ({"budgets": [np.inf]}, "budgets"),
    ],
)
def test_budget_table_refuses_what_it_cannot_use(change, words):
    with pytest.raises(InputError, match=words):
        budget_table(**BY_HAND | change)


def test_budget_table_of_the_released_vectors(released):
    is_member = released["is_member"]
    arrays = {name: released[name] for name in ("clean_probs", "defended_probs", "g_clean", "g_defended")}
    right = {
        "correct_clean": (released["g_clean"] > 0.5) == is_member,
        "correct_defended": (released["g_defended"] > 0.5) == is_member,
    }
    points = budget_table(**arrays, **right)

    # The same, one sample and one coin at a time.
    for point in points:
        spent = hits = 0.0
        for i in range(len(is_member)):
            distance = np.abs(arrays["clean_probs"][i] - arrays["defended_probs"][i]).sum()
            share = min(point.budget / distance, 1)
            if abs(arrays["g_defended"][i] - 0.5) >= abs(arrays["g_clean"][i] - 0.5):
                share = 0.0
            spent += share * distance
            hits += share * right["correct_defended"][i] + (1 - share) * right["correct_clean"][i]
        assert point.mean_l1 == pytest.approx(spent / 2000, abs=1e-9)
        assert point.accuracy == pytest.approx(hits / 2000, abs=1e-9)

    assert [point.mean_l1 for point in points] == pytest.approx([0.3290, 0.3096, 0.2802, 0.2355, 0.0977, 0], abs=5e-5)
    # The defender's own classifier as the attacker: from its undefended accuracy down to worse than a coin.
    assert [point.accuracy for point in points] == pytest.approx(
        [0.4653, 0.4796, 0.5033, 0.5464, 0.7015, 0.812], abs=5e-5
    )
    assert all(point.mean_l1 <= point.budget for point in points)


def test_a_generous_budget_spends_all_but_the_useless_rows(released):
    arrays = {name: released[name] for name in ("clean_probs", "defended_probs", "g_clean", "g_defended")}
    wrong = np.zeros(2000, bool)
    (point,) = budget_table(**arrays, correct_clean=wrong, correct_defended=wrong, budgets=[2.0])
    assert point.accuracy == 0
    assert point.mean_l1 == pytest.approx(0.33176, abs=5e-6)  # of 0.33261: 21 rows in 2,000 move away from one half
