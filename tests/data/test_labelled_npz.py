"""Purchase100, Texas100 and Location as npz files, in the forms of several repositories."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from mindefense.data import load_location, load_purchase100, load_texas100
from mindefense.errors import DataError


@dataclasses.dataclass(frozen=True)
class Case:
    """A data set and its sizes."""

    load: Callable
    features: int
    classes: int
    rows: int


CASES = {
    "purchase100": Case(load_purchase100, 600, 100, 130),
    "texas100": Case(load_texas100, 6169, 100, 110),
    "location": Case(load_location, 446, 30, 5010),
}


def make(name):
    """Features, and labels from 0 among which each class is."""
    case = CASES[name]
    rng = np.random.default_rng(5)
    features = rng.integers(0, 2, (case.rows, case.features)).astype(np.uint8)
    return features, rng.permutation(np.arange(case.rows) % case.classes)


LABELS = {
    "one-hot": lambda labels, classes: np.eye(classes)[labels],
    "one-hot of bytes": lambda labels, classes: np.eye(classes, dtype=np.uint8)[labels],
    "one-hot of bool": lambda labels, classes: np.eye(classes, dtype=bool)[labels],
    "numbers from 0": lambda labels, classes: labels,
    "numbers from 1": lambda labels, classes: labels + 1,
    "a column of floats": lambda labels, classes: labels[:, None].astype(np.float64),
}


@pytest.mark.parametrize("form", LABELS)
@pytest.mark.parametrize("name", CASES)
def test_features_and_labels(name, form, tmp_path):
    case, (features, labels) = CASES[name], make(name)
    path = tmp_path / "of_any_name.npz"
    save = np.savez_compressed if form == "one-hot" else np.savez
    save(path, features=features.astype(np.float32), labels=LABELS[form](labels, case.classes), more=np.zeros(3))
    data = case.load(path)
    assert (data.name, data.num_classes, data.features.dtype, data.labels.dtype) == (
        name, case.classes, np.float32, np.int32
    )  # fmt: skip
    np.testing.assert_array_equal(data.features, features)
    np.testing.assert_array_equal(data.labels, labels)


@pytest.mark.parametrize("name", CASES)
def test_x_and_y_count_from_1(name, tmp_path):
    case, (features, labels) = CASES[name], make(name)
    np.savez(tmp_path / "data_complete.npz", x=features, y=labels + 1)
    data = case.load(tmp_path)
    np.testing.assert_array_equal(data.features, features)
    np.testing.assert_array_equal(data.labels, labels)
    np.savez(tmp_path / "data_complete.npz", x=features, y=labels)
    with pytest.raises(DataError, match=rf"array y row \d+: expected a label 1…{case.classes}, got 0; replace"):
        case.load(tmp_path)


@pytest.mark.parametrize("name", ["purchase100", "texas100"])
def test_a_folder_with_the_file_and_an_order(name, tmp_path):
    features, labels = make(name)
    order = np.random.default_rng(1).permutation(len(labels))
    np.savez(tmp_path / f"{name}.npz", features=features, labels=labels)
    np.save(tmp_path / "shuffle_index.npy", order)
    data = CASES[name].load(tmp_path)
    np.testing.assert_array_equal(data.labels, labels)
    np.testing.assert_array_equal(data.order, order)


def changed(name, what):
    features, labels = make(name)
    one_hot = np.eye(CASES[name].classes)[labels]
    if what == "a class too many":
        labels[[4, 9]] = CASES[name].classes, 0
    if what == "two classes at once":
        one_hot[6, (labels[6] + 1) % 100] = 1
    if what == "no class":
        one_hot[6] = 0
    if what == "smoothed":
        one_hot = one_hot * 0.9 + 0.001
    if what == "not binary":
        features[5, 7] = 2
    return {
        "columns": {"features": features[:, 1:], "labels": labels},
        "lengths": {"features": features, "labels": labels[1:]},
        "classes": {"features": features, "labels": one_hot[:, 1:]},
        "no labels": {"features": features},
        "other names": {"data": features, "target": labels},
        "no rows": {"features": features[:0], "labels": labels[:0]},
        "words": {"features": features, "labels": np.full(len(labels), "cat")},
        "a class too many": {"features": features, "labels": labels},
        "below 0": {"features": features, "labels": labels - 1},
        "not binary": {"features": features, "labels": labels},
    }.get(what, {"features": features, "labels": one_hot})


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("columns", "expected features (N, {F}) and labels (N,) or (N, 100), got features ("),
        ("lengths", "and labels ({less},)"),
        ("classes", "and labels ({N}, 99)"),
        ("no labels", "expected arrays features, labels, got features.npy"),
        ("other names", "expected arrays features and labels, or x and y, got data.npy, target.npy"),
        ("no rows", "got features (0, {F}) and labels (0,)"),
        ("words", "array labels: expected an array of numbers, no pickled objects, got type <U3"),
        ("a class too many", "array labels row 9: expected a label 1…100, got 0"),
        ("below 0", "expected a label 0…99, got -1"),
        ("two classes at once", "array labels row 6: expected one entry 1 and all others 0, got 2 entries"),
        ("no class", "array labels row 6: expected one entry 1 and all others 0, got 0 entries"),
        ("smoothed", "array labels row 0: expected one entry 1 and all others 0, got 100 entries"),
        ("not binary", "array features row 5: expected 0 or 1, got 2"),
    ],
)
@pytest.mark.parametrize("name", ["purchase100", "texas100"])
def test_another_content_is_refused_with_one_line(name, what, words, tmp_path):
    case = CASES[name]
    np.savez(tmp_path / f"{name}.npz", **changed(name, what))
    with pytest.raises(DataError) as caught:
        case.load(tmp_path)
    said = str(caught.value)
    assert words.format(F=case.features, N=case.rows, less=case.rows - 1) in said
    assert "\n" not in said
    assert "privacytrustlab" in said


@pytest.mark.parametrize("name", ["purchase100", "texas100"])
def test_a_cut_file_is_refused_with_one_line(name, tmp_path):
    features, labels = make(name)
    path = tmp_path / f"{name}.npz"
    np.savez(path, features=features, labels=labels)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="expected a readable npz file, got a damaged one") as caught:
        CASES[name].load(path)
    assert "\n" not in str(caught.value)
