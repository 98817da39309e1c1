"""Purchase100, Texas100 and CH-MNIST on small files written here."""

import dataclasses
import functools
import gzip
import io
import os
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mindefense.data import load_ch_mnist, load_dataset, load_purchase100, load_texas100, table
from mindefense.errors import DataError, InputError
from mindefense.types import LabelledData

ROWS = 20
SMALL_BLOCK = 50_000  # bytes that the parser takes at a time: little more than a line


@dataclasses.dataclass(frozen=True)
class Case:
    """One data set, how its published file is written, and where its label stands in a line."""

    load: Callable[[str | os.PathLike[str]], LabelledData]
    file: str
    features: int
    highest: int
    classes: int
    address: str
    first_line: int = 1
    label: int | None = 0


CASES = {
    "purchase100": Case(load_purchase100, "dataset_purchase", 600, 1, 100, "privacytrustlab"),
    "texas100": Case(load_texas100, "texas/100/feats", 6169, 1, 100, "privacytrustlab", label=None),
    "ch_mnist": Case(load_ch_mnist, "hmnist_64_64_L.csv", 4096, 255, 8, "kaggle", first_line=2, label=-1),
}


def make(name):
    features, labels = _made(name)
    return features, labels.copy()


@functools.cache
def _made(name):
    case = CASES[name]
    rng = np.random.default_rng(3)
    features = rng.integers(0, case.highest + 1, (ROWS, case.features))
    labels = rng.integers(1, case.classes + 1, ROWS)
    labels[:2] = 1, case.classes
    return features, labels


@functools.cache
def lines_of(name):
    """The lines of the published file with the rows that `make` gives, as a tuple."""
    features, labels = make(name)
    cells = features.astype(str).tolist()
    if name == "purchase100":
        return (*(",".join([str(label), *row]) for label, row in zip(labels, cells, strict=True)),)
    if name == "ch_mnist":
        header = ",".join([f"pixel{i:04}" for i in range(4096)] + ["label"])
        return header, *(",".join([*row, str(label)]) for label, row in zip(labels, cells, strict=True))
    return (*(",".join(row) for row in cells),)


def write(folder: Path, name, lines, labels):
    path = folder / CASES[name].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    if name == "texas100":
        path.with_name("labels").write_text("".join(f"{label}\n" for label in labels))
    return path


def refusal(load, path) -> str:
    with pytest.raises(DataError) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("given", "block"), [("folder", 1 << 20), ("file", SMALL_BLOCK)])
@pytest.mark.parametrize("name", CASES)
def test_good_file(name, given, block, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "BLOCK", block)
    case = CASES[name]
    features, labels = make(name)
    path = write(tmp_path, name, lines_of(name), labels)
    order = np.random.default_rng(4).permutation(ROWS)
    np.save(path.with_name("shuffle_index.npy"), order)
    data = load_dataset(name, tmp_path if given == "folder" else path)
    assert (data.name, data.num_classes, data.synthetic) == (name, case.classes, False)
    assert (data.features.dtype, data.labels.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(data.features, (features / case.highest).astype(np.float32))
    np.testing.assert_array_equal(data.labels, labels - 1)
    np.testing.assert_array_equal(data.order, order)


def test_one_row_is_enough(tmp_path):
    (tmp_path / "purchase100").write_text('"100",' + ",".join("01" * 300))
    data = load_purchase100(tmp_path)
    assert data.labels.tolist() == [99]
    assert data.features.tolist() == [[0, 1] * 300]
    assert data.order is None


@pytest.mark.parametrize("name", CASES)
def test_gzip_and_archives(name, tmp_path):
    _, labels = make(name)
    plain = write(tmp_path / "plain", name, lines_of(name), labels)
    expected = CASES[name].load(plain)
    if name == "ch_mnist":
        packed = tmp_path / "hmnist_64_64_L.csv.gz"
        packed.write_bytes(gzip.compress(plain.read_bytes(), 1))
    else:
        packed = tmp_path / f"dataset_{name[:-3]}.tgz"
        with tarfile.open(packed, "w:gz", compresslevel=1) as archive:
            for file in sorted((tmp_path / "plain").rglob("*")):
                archive.add(file, file.relative_to(tmp_path / "plain"), recursive=False)
    assert CASES[name].load(tmp_path).fingerprint == expected.fingerprint
    assert CASES[name].load(packed).fingerprint == expected.fingerprint


@pytest.mark.parametrize("row", [0, 1, ROWS - 1])
@pytest.mark.parametrize("fault", ["short", "too large", "not a number", "label 0", "label too large"])
@pytest.mark.parametrize("name", CASES)
def test_bad_line_is_named(name, fault, row, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "BLOCK", SMALL_BLOCK)
    case = CASES[name]
    _, labels = make(name)
    lines = list(lines_of(name))
    number = row + case.first_line
    cells = lines[number - 1].split(",")
    file, where, expected = Path(case.file).name, f"line {number}", rf"{len(cells)} columns, got {len(cells) - 1};"
    if fault == "short":
        cells.pop()
    elif fault in ("too large", "not a number"):
        column = 7 if case.label == 0 else 6
        cells[column] = str(case.highest + 1) if fault == "too large" else "x"
        where += " feature 7" if fault == "too large" else f" column {column + 1}"
        bounds = "0 or 1" if case.highest == 1 else "0…255"
        expected = f"{bounds}, got {case.highest + 1};" if fault == "too large" else "a whole number .* got 'x';"
    else:
        wrong = 0 if fault == "label 0" else case.classes + 1
        expected = f"a label 1…{case.classes}, got {wrong};"
        if case.label is None:
            labels[row], file = wrong, "labels"
        else:
            cells[case.label] = str(wrong)
    lines[number - 1] = ",".join(cells)
    write(tmp_path, name, lines, labels)
    message = refusal(case.load, tmp_path)
    assert re.search(f"{re.escape(file)} {where}: expected {expected}", message)
    assert case.address in message


@pytest.mark.parametrize("name", CASES)
def test_missing_file_says_where_to_get_it(name, tmp_path):
    message = refusal(CASES[name].load, tmp_path)
    assert CASES[name].file in message
    assert CASES[name].address in message


@pytest.mark.parametrize("content", ["", "pixel,label\n", "1,2\n"])
@pytest.mark.parametrize("name", CASES)
def test_no_table(name, content, tmp_path):
    path = write(tmp_path, name, [], [1])
    path.write_text(content)
    assert path.name in refusal(CASES[name].load, tmp_path)


def test_ch_mnist_without_header_loses_no_row_in_silence(tmp_path):
    _, labels = make("ch_mnist")
    write(tmp_path, "ch_mnist", lines_of("ch_mnist")[1:], labels)
    assert "line 1: expected a header with 4097 names" in refusal(load_ch_mnist, tmp_path)


def test_ch_mnist_with_a_header_only(tmp_path):
    write(tmp_path, "ch_mnist", lines_of("ch_mnist")[:1], [])
    assert "at least one row" in refusal(load_ch_mnist, tmp_path)


def test_texas_labels_must_belong_to_the_features(tmp_path):
    _, labels = make("texas100")
    path = write(tmp_path, "texas100", lines_of("texas100"), labels[1:])
    assert "labels: expected 20 labels, got 19" in refusal(load_texas100, tmp_path)
    path.with_name("labels").unlink()
    assert str(path.with_name("labels")) in refusal(load_texas100, tmp_path)


def test_texas_archive_of_other_classes_is_not_mistaken(tmp_path):
    with tarfile.open(tmp_path / "dataset_texas.tgz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("texas/10/labels"), io.BytesIO())
    assert "got texas/10/labels" in refusal(load_texas100, tmp_path)


# The permutation is read the same way for all data sets.
BAD_ORDERS = {
    "short": np.arange(ROWS - 1),
    "repeated": np.r_[0, np.arange(ROWS - 1)],
    "from one": np.arange(1, ROWS + 1),
    "table": np.arange(ROWS).reshape(-1, 1),
    "single number": np.array(0),
    "fractions": np.arange(ROWS) + 0.5,
    "text": np.array(["a"] * ROWS),
    "objects": np.arange(ROWS).astype(object),
}


@pytest.mark.parametrize("form", BAD_ORDERS)
def test_bad_order_is_refused(form, tmp_path):
    write(tmp_path, "purchase100", lines_of("purchase100"), None)
    np.save(tmp_path / "shuffle_index.npy", BAD_ORDERS[form], allow_pickle=True)
    assert "shuffle_index.npy" in refusal(load_purchase100, tmp_path)


def test_damaged_order_is_refused(tmp_path):
    write(tmp_path, "purchase100", lines_of("purchase100"), None)
    for damaged in (b"", b"junk", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<i8'("):
        (tmp_path / "shuffle_index.npy").write_bytes(damaged)
        assert "shuffle_index.npy" in refusal(load_purchase100, tmp_path)


def test_unknown_data_set_lists_the_known():
    with pytest.raises(InputError, match="location, purchase100, texas100, ch_mnist, cifar100, got 'cifar'"):
        load_dataset("cifar", "x")
