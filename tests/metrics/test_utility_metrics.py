"""Utility metrics against hand-computed values, scikit-learn, a plain loop, and the figures of the released vectors."""

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss

from mindefense.errors import InputError
from mindefense.metrics import auc, utility_metrics

reproducible = settings(max_examples=40, deadline=None, derandomize=True, database=None)


def random_probs(seed, n=300, classes=5, dtype=np.float64):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, classes)) * 2
    exp = np.exp(logits)
    return (exp / exp.sum(axis=1, keepdims=True)).astype(dtype), rng.integers(classes, size=n)


def ece_by_loop(probs, labels):
    confidences, hits = probs.max(axis=1), probs.argmax(axis=1) == labels
    total = 0.0
    for b in range(15):
        inside = (confidences > b / 15) & (confidences <= (b + 1) / 15)
        if inside.any():
            total += inside.mean() * abs(hits[inside].mean() - confidences[inside].mean())
    return total


def test_metrics_equal_hand_computed_ones():
    probs = [[0.5, 0.3, 0.2], [0.2, 0.5, 0.3], [0.0, 0.1, 0.9], [0.9, 0.1, 0.0]]
    clean = [[0.9, 0.1, 0.0], [0.2, 0.5, 0.3], [0.0, 0.2, 0.8], [0.1, 0.9, 0.0]]
    metrics = utility_metrics(np.array(probs), np.array([0, 2, 2, 2]), clean_probs=np.array(clean))
    assert metrics.accuracy == 0.5
    assert metrics.label_changes == 1
    # L1: 0.8, 0, 0.2, 1.6
    assert metrics.mean_l1 == pytest.approx(0.65, abs=1e-12)
    assert metrics.median_l1 == pytest.approx(0.5, abs=1e-12)
    assert metrics.max_l1 == pytest.approx(1.6, abs=1e-12)
    # bin of 0.5: one of two right, 0.5 − 0.5 = 0; bin of 0.9: one of two right, |0.5 − 0.9| for half of the samples
    assert metrics.ece == pytest.approx(0.2, abs=1e-12)
    # −ln of 0.5, 0.3, 0.9 and of 0, clipped to 1e-12
    assert metrics.nll == pytest.approx((np.log(2) - np.log(0.3) - np.log(0.9) + 12 * np.log(10)) / 4, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn_and_a_loop(seed, dtype):
    probs, labels = random_probs(seed, dtype=dtype)
    metrics = utility_metrics(probs, labels, clean_probs=probs)
    assert metrics.accuracy == pytest.approx(accuracy_score(labels, probs.argmax(axis=1)), abs=1e-12)
    exact = probs.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)  # scikit-learn warns where float32 rounding shows
    assert metrics.nll == pytest.approx(log_loss(labels, exact, labels=range(5)), abs=1e-6)
    assert metrics.ece == pytest.approx(ece_by_loop(probs.astype(np.float64), labels), abs=1e-12)
    assert metrics.ece > 0.01
    assert (metrics.label_changes, metrics.mean_l1, metrics.median_l1, metrics.max_l1) == (0, 0, 0, 0)


@pytest.mark.parametrize("edge", range(5, 15))
def test_a_confidence_on_an_edge_belongs_to_the_bin_below(edge):
    # Wrong on the edge, right just above it: in one bin the two would make up for each other, in two they do not.
    confidences = np.array([edge / 15, np.nextafter(edge / 15, 1)])
    probs = np.column_stack([confidences] + [(1 - confidences) / 4] * 4)
    metrics = utility_metrics(probs, np.array([1, 0]), clean_probs=probs)
    assert metrics.ece == pytest.approx(0.5, abs=1e-12)
    # Two right answers, one at the top of a bin and one inside it, share it with a wrong one between them.
    confidences = np.array([edge / 15, (edge - 0.5) / 15, (edge - 0.7) / 15])
    probs = np.column_stack([confidences] + [(1 - confidences) / 4] * 4)
    metrics = utility_metrics(probs, np.array([0, 1, 0]), clean_probs=probs)
    assert metrics.ece == pytest.approx(abs(2 / 3 - confidences.mean()), abs=1e-12)


def test_certain_and_right_is_perfectly_calibrated():
    probs = np.eye(4)[[0, 1, 2, 3, 3]]
    metrics = utility_metrics(probs, np.array([0, 1, 2, 3, 3]), clean_probs=probs)
    assert (metrics.accuracy, metrics.ece, metrics.nll) == (1, 0, 0)


def test_impossible_true_class_costs_the_floor_only():
    probs = np.array([[1.0, 0.0]])
    metrics = utility_metrics(probs, np.array([1]), clean_probs=probs)
    assert metrics.nll == pytest.approx(27.631, abs=1e-3)
    assert metrics.ece == 1


def test_equal_probabilities_predict_the_first_class():
    probs = np.array([[0.5, 0.5]])
    metrics = utility_metrics(probs, np.array([0]), clean_probs=np.array([[0.4, 0.6]]))
    assert (metrics.accuracy, metrics.label_changes) == (1, 1)


def test_float32_is_summed_in_float64():
    n = 300_000
    probs = np.tile(np.array([[0.7, 0.3]], np.float32), (n, 1))
    metrics = utility_metrics(probs, np.zeros(n, np.int64), clean_probs=np.tile(np.float32([0.6, 0.4]), (n, 1)))
    exact = abs(float(np.float32(0.7)) - float(np.float32(0.6))) + abs(float(np.float32(0.3)) - float(np.float32(0.4)))
    assert metrics.mean_l1 == pytest.approx(exact, rel=1e-12)
    assert metrics.nll == pytest.approx(-np.log(float(np.float32(0.7))), rel=1e-12)


@reproducible
@given(seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_order_does_not_matter_and_bounds_hold(seed, n):
    probs, labels = random_probs(seed, n=n)
    clean, _ = random_probs(seed + 1, n=n)
    order = np.random.default_rng(seed).permutation(n)
    metrics = utility_metrics(probs, labels, clean_probs=clean)
    again = utility_metrics(probs[order], labels[order], clean_probs=clean[order])
    assert vars(again) == pytest.approx(vars(metrics), abs=1e-12)
    assert 0 <= metrics.median_l1 <= metrics.max_l1 <= 2
    assert 0 <= metrics.mean_l1 <= metrics.max_l1
    assert 0 <= metrics.ece <= 1


@pytest.mark.parametrize(
    ("labels", "probs", "clean", "words"),
    [
        ([0, 2], [[0.5, 0.5]] * 2, None, "labels row 1: expected a class 0 … 1, got 2; count classes from 0"),
        ([0, -1], [[0.5, 0.5]] * 2, None, "labels row 1: expected a class 0 … 1, got -1"),
        ([0.0, 1.0], [[0.5, 0.5]] * 2, None, "labels: expected integers, got float64"),
        ([0], [[0.5, 0.5]] * 2, None, "labels: expected one row for each of the 2 of probs, got 1"),
        ([0, 1], [[0.5, 0.5]] * 2, [[1.0]] * 2, r"clean_probs: expected shape \(2, 2\), got \(2, 1\)"),
        (
            [0, 1],
            [[0.5, 0.5]] * 2,
            [[0.5, 0.5], [3.0, 1.0]],
            "clean_probs row 1: .* got a sum of 4; apply softmax first",
        ),
        ([0, 1], [[0.5, 0.5], [np.nan, 1.0]], None, "probs row 1: expected finite values, got nan in column 0"),
        (np.zeros(0, int), np.zeros((0, 2)), None, "probs: expected at least one row"),
    ],
)
def test_bad_input_is_refused(labels, probs, clean, words):
    with pytest.raises(InputError, match=words):
        utility_metrics(probs, labels, clean_probs=probs if clean is None else clean)


@pytest.fixture(scope="module")
def released():
    """The vectors that DefenMI's authors released, with the true classes from the data set they are about."""
    folder = os.environ.get("MINDEFENSE_DATA")
    if folder is None:
        pytest.skip("MINDEFENSE_DATA is not set: the outputs that DefenMI's authors released are not here")
    with np.load(Path(folder) / "golden" / "defenmi_location_released.npz") as file:
        arrays = {name: file[name] for name in ("clean_probs", "defended_probs", "is_member")}
    with tarfile.open(Path(folder) / "location" / "dataset_location.tgz") as archive:
        lines = archive.extractfile("bangkok")
        assert lines is not None
        classes = np.array([int(line[1 : line.index(b'"', 1)]) for line in lines]) - 1
    order = np.load(Path(folder) / "location" / "shuffle_index.npy")
    return arrays | {"labels": classes[np.concatenate([order[:1000], order[2000:3000]])]}


def test_released_vectors_keep_the_labels_and_move_a_third(released):
    probs, clean = released["defended_probs"], released["clean_probs"]
    metrics = utility_metrics(probs, released["labels"], clean_probs=clean)
    assert metrics.label_changes == 0
    assert metrics.accuracy == 0.8095  # 1,000 of the members, 619 of the non-members
    assert metrics.mean_l1 == pytest.approx(0.3326, abs=5e-5)


@pytest.mark.parametrize(("name", "expected"), [("clean_probs", 0.103), ("defended_probs", 0.227)])
def test_calibration_error_of_the_released_non_members(released, name, expected):
    others = ~released["is_member"]
    probs = released[name][others]
    metrics = utility_metrics(probs, released["labels"][others], clean_probs=released["clean_probs"][others])
    assert metrics.ece == pytest.approx(expected, abs=5e-4)
    assert metrics.accuracy == 0.619


@pytest.mark.parametrize(("name", "expected"), [("clean_probs", 0.851), ("defended_probs", 0.709)])
def test_auc_of_the_true_class_confidence_in_the_released_vectors(released, name, expected):
    scores = released[name][np.arange(2000), released["labels"]]
    assert auc(scores, released["is_member"]) == pytest.approx(expected, abs=5e-4)
