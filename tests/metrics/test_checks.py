"""What the checks of outside arrays let through, what they refuse, and that the message says what to do."""

import doctest
import importlib
import subprocess
import sys

import numpy as np
import pytest

from mindefense.checks import (
    check_flags,
    check_fractions,
    check_labels,
    check_logits,
    check_probs,
    check_same_length,
    check_scores,
    instead_of_logits,
)
from mindefense.errors import InputError


def softmax(logits):
    exp = np.exp(logits)
    return exp / exp.sum(axis=1, keepdims=True)


LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32) * 3


@pytest.mark.parametrize(
    "probs", [softmax(LOGITS), np.eye(3), np.ones((2, 1)), np.zeros((0, 5)), np.full((1, 4), 0.250024)]
)
def test_confidence_vectors_pass_untouched(probs):
    assert check_probs(probs, name="probs") is probs


@pytest.mark.parametrize(
    ("probs", "words"),
    [
        (np.float16([[0.5, 0.25, 0.25025]]), "probs row 0: .* got a sum of 1.00024"),  # 1 if summed in float16
        (LOGITS, "probs row 0: expected values ≥ 0, got a minimum of .*; apply softmax first"),
        (
            [[0.5, 0.5], [0.5, 0.5002]],
            "probs row 1: expected a sum of 1 within 0.0001, got a sum of 1.0002; divide each row by its sum",
        ),
        ([[0.5, 0.5], [1e-9, 1e-9]], "probs row 1: .* got a sum of 2e-09; keep all classes, .* independent sigmoids"),
        ([[0.5, 0.5], [1.1, -0.1]], "probs row 1: expected values ≥ 0, got a minimum of -0.1; apply softmax first"),
        ([[3.0, 1.0], [np.nan, 1.0]], "probs row 0: expected a sum of 1"),  # the first bad row, of whatever kind
        ([[1.0, 0.0], [0.5, np.nan]], "probs row 1: expected finite values, got nan in column 1; look for an overflow"),
        ([[np.inf, -np.inf]], "probs row 0: expected finite values, got inf in column 0; look for"),
        ([[1.7e308, 1.7e308]], "probs row 0: expected a sum of 1 .* got a sum of inf"),
        ([[1.0, -1e-8], [0.5, 0.5]], "probs row 0: expected values ≥ 0, .*; this is a rounding error: set .* to 0"),
        (100 * softmax(LOGITS), "probs row 0: .* got a sum of 100; these are per cent: divide by 100"),
        (np.log10(softmax(LOGITS)), "probs row 0: expected values ≥ 0, .*; these are base-10 logarithms of prob"),
        (np.log2(softmax(LOGITS)), "probs row 0: expected values ≥ 0, .*; these are base-2 logarithms of prob"),
        ([[0.0, -400.0], [-0.301, -0.301], [-0.398, -0.222]], "probs row 0: .*; these are base-10 logarithms"),
        ([[0.9, 0.8, 0.1], [0.2, 0.1, 0.3]], "probs row 0: .*; these look like independent sigmoids, one per class"),
        ([[0.4, 0.1], [0.9, 0.05]], "probs row 0: .*; keep all classes, with six digits or more; or, if .* sigmoids"),
        (
            [[0.5, 0.5], [0.1, 0.9], [0.0, 0.0]],
            "probs row 2: .*; 2 of 3 rows are valid: find out what is wrong with this one",
        ),
        (
            [[0.5, 0.5], [0.1, 0.9], [-3.0, 7.0]],
            "probs row 2: .*; 2 of 3 rows are valid: find out what is wrong with this one",
        ),
        (np.log(softmax(LOGITS)), "probs row 0: expected values ≥ 0, .*; these are log-probabilities: apply exp first"),
        ([[-np.inf, 0.0]], "got -inf in column 0; these are log-probabilities: apply exp first"),
        ([0.5, 0.5], r"probs: expected shape \(N, C\) .* got \(2,\); pass probs\[None\] for a single sample"),
        (np.ones((2, 2, 1)), r"probs: expected shape \(N, C\) .*, got \(2, 2, 1\); pass probs\[\.\.\., 0\]$"),
        (np.ones((2, 2, 3)), r"probs: expected shape \(N, C\) .*, got \(2, 2, 3\)$"),
        (np.ones((2, 0)), r"probs: expected shape \(N, C\) with at least one class, got \(2, 0\)"),
        (np.eye(2, dtype=int), "probs: expected floating-point numbers, got int64"),
        ([["a"]], "probs: expected floating-point numbers, got <U1"),
        ([[0.5, 0.5], [1.0]], "probs: expected an array, got list of uneven rows"),
    ],
)
def test_other_things_are_no_confidence_vectors(probs, words):
    with pytest.raises(InputError, match=words):
        check_probs(probs, name="probs")


@pytest.mark.parametrize("logits", [LOGITS, -LOGITS, np.zeros((0, 3)), np.float16([[65504.0]])])
def test_logits_pass_untouched(logits):
    assert check_logits(logits, name="logits") is logits


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "logits row 2: expected finite values, got nan in column 1; look for an overflow"),
        (np.inf, "logits row 2: expected finite values, got inf in column 1"),
        (-np.inf, "logits row 2: expected finite values, got -inf in column 1"),
    ],
)
def test_logits_must_be_finite(value, words):
    logits = LOGITS.copy()
    logits[2, 1] = logits[4, 0] = value
    with pytest.raises(InputError, match=words):
        check_logits(logits, name="logits")


SIGMOIDS = 1 / (1 + np.exp(-np.random.default_rng(1).normal(size=(200, 4)) * 3))
MANY = softmax(np.random.default_rng(2).normal(size=(200, 4)) * 3)
ZEROS = np.arange(200)[:, None] % 3 > 0


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (MANY, ("rows ≥ 0 that sum to 1", "probs")),
        (MANY * ZEROS, ("133 of 200 rows ≥ 0 that sum to 1, not row 0", "probs")),
        (100 * MANY, ("rows ≥ 0 that sum to 100", "per cent")),
        (SIGMOIDS, ("values from 0 to 1", "sigmoids")),
        (np.where(np.arange(200)[:, None] < 10, 7.0, SIGMOIDS), ("values from 0 to 1", "sigmoids")),
        (np.where(np.arange(200)[:, None] < 11, 7.0, SIGMOIDS), None),
        (SIGMOIDS[:9], None),  # may be chance
        (SIGMOIDS - 0.5, None),
        (0.1 * SIGMOIDS, None),  # small logits, as of a network that was hardly trained
        (np.where(ZEROS, np.log(MANY), MANY), None),
        (np.zeros((200, 4)), None),
        (np.log(MANY), None),
        (np.random.default_rng(3).normal(size=(200, 4)), None),
    ],
)
def test_values_that_are_no_logits_are_told(values, found):
    assert instead_of_logits(values) == found


@pytest.mark.parametrize("logits", [LOGITS[0], LOGITS[None], LOGITS.astype(int)])
def test_logits_must_be_a_floating_matrix(logits):
    with pytest.raises(InputError, match=r"^logits: expected (shape|floating)"):
        check_logits(logits, name="logits")


def test_scores_become_float64_and_may_be_infinite():
    scores = check_scores(np.float32([1.5, -np.inf, np.inf]), name="scores")
    assert scores.dtype == np.float64
    assert scores.tolist() == [1.5, -np.inf, np.inf]
    assert check_scores([1, 2], name="scores").dtype == np.float64


@pytest.mark.parametrize(
    ("check", "value", "words"),
    [
        (check_scores, [0.0, np.nan], "values row 1: expected a number, got NaN"),
        (check_scores, [True], "values: expected real numbers, got bool; apply .astype"),
        (check_scores, [1j], "values: expected real numbers, got complex128"),
        (check_scores, 1.0, r"values: expected shape \(N,\), got \(\)"),
        (check_fractions, [0.0, 1.0, 1.5], "values row 2: expected 0 … 1, got 1.5; apply sigmoid first"),
        (check_fractions, [-0.5], "values row 0: expected 0 … 1, got -0.5"),
        (check_flags, [0, 1], "values: expected bool, got int64; pass values == 1"),
        (check_flags, [[True]], r"values: expected shape \(N,\), got \(1, 1\); apply .ravel\(\)"),
    ],
)
def test_other_things_are_no_column(check, value, words):
    with pytest.raises(InputError, match=words):
        check(value, name="values")


def test_columns_pass():
    assert check_fractions([0, 1, 0.5], name="g").tolist() == [0, 1, 0.5]
    assert check_flags([True, False], name="flags").tolist() == [True, False]
    labels = np.array([0, 3], np.uint8)
    assert check_labels(labels, num_classes=4, name="labels") is labels


def test_labels_are_classes():
    with pytest.raises(InputError, match="labels row 1: expected a class 0 … 3, got 4; count classes from 0"):
        check_labels([0, 4], num_classes=4, name="labels")
    with pytest.raises(InputError, match=r"labels row 0: expected a class 0 … 3, got 9$"):
        check_labels([9, 4], num_classes=4, name="labels")


def test_lengths_agree_with_the_first():
    assert check_same_length({"a": np.zeros((2, 5)), "b": np.zeros(2)}) == 2
    with pytest.raises(InputError, match="b: expected one row for each of the 2 of a, got 3"):
        check_same_length({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(InputError, match="a: expected at least one row, got none"):
        check_same_length({"a": np.zeros(0), "b": np.zeros(0)})


@pytest.mark.parametrize("module", ["checks", "metrics.membership", "metrics.utility"])
def test_examples_in_docstrings_hold(module):
    results = doctest.testmod(
        importlib.import_module(f"mindefense.{module}"), optionflags=doctest.REPORT_ONLY_FIRST_FAILURE
    )
    assert results.attempted > 0
    assert results.failed == 0


def test_import_is_light():
    heavy = "scipy sklearn pandas matplotlib mindspore mindarmour"
    code = f"import sys, mindefense.metrics; sys.exit(' '.join(set(sys.modules) & set({heavy.split()!r})) or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
