"""Reads features and labels from one npz file, in the formats of public repositories."""

from __future__ import annotations

import contextlib
import zipfile
from pathlib import Path

import numpy as np

from mindefense.data.files import Origin, load_arrays

PAIRS = (("x", "y"), ("features", "labels"))
"""Names of the arrays: those of MemGuard and DefenMI, whose labels start at 1, and those of most other repositories."""


def read_labelled_npz(
    file: Path, origin: Origin, *, columns: int, classes: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """Reads binary features and labels from an npz file.

    Args:
        file: An existing zip file.
        origin: The data set, for messages.
        columns: Number of features of a row, F.
        classes: Number of classes, C.
        limit: Largest number of bytes of one array.

    Returns:
        Features ``(N, F)`` float32, each 0 or 1, and labels ``(N,)`` int32 from 0. In the file, ``y`` has ``1 … C``;
        ``labels`` has one-hot rows, or ``1 … C`` if one of them is C, otherwise ``0 … C-1``.

    Raises:
        DataError: If the file is damaged, lacks an array, or has other values. Nothing is unpickled.
    """
    stored = _stored(file)
    known = [any(f"{name}.npy" in stored for name in names) for names in PAIRS]
    if stored and not any(known):
        expected = "arrays features and labels, or x and y"
        raise origin.damaged(str(file), expected=expected, got=", ".join(sorted(stored)))
    names = PAIRS[known[1]]
    features, labels = load_arrays(file, names, origin, limit=limit)
    x, y = names
    is_one_hot = y == "labels" and labels.shape == (len(features), classes)
    if not is_one_hot:
        labels = labels.reshape(-1) if labels.shape[1:] in ((), (1,)) else labels
    fits = features.ndim == 2 and features.shape[1] == columns and len(features) == len(labels) > 0
    if not fits or labels.ndim != 1 + is_one_hot:
        one_hot = f" or (N, {classes})" if y == "labels" else ""
        expected = f"{x} (N, {columns}) and {y} (N,){one_hot}"
        raise origin.damaged(str(file), expected=expected, got=f"{x} {features.shape} and {y} {labels.shape}")
    is_wrong = ~((features == 0) | (features == 1)).all(axis=1)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        got = features[row][(features[row] != 0) & (features[row] != 1)][0]
        raise origin.damaged(f"{file} array {x} row {row}", expected="0 or 1", got=str(got))
    if is_one_hot:
        classes_of = _from_one_hot(labels, f"{file} array {y}", origin)
    else:
        first = 1 if y == "y" or (labels == classes).any() else 0
        classes_of = _from_numbers(labels, first, classes, f"{file} array {y}", origin)
    return features.astype(np.float32), classes_of


def _from_one_hot(labels: np.ndarray, what: str, origin: Origin) -> np.ndarray:
    is_wrong = ~((labels == 0) | (labels == 1)).all(axis=1) | (labels.sum(axis=1, dtype=np.float64) != 1)
    if is_wrong.any():
        row = int(is_wrong.argmax())
        got = f"{np.count_nonzero(labels[row])} entries other than 0, a sum of {labels[row].sum():g}"
        raise origin.damaged(f"{what} row {row}", expected="one entry 1 and all others 0", got=got)
    return labels.argmax(axis=1).astype(np.int32)


def _from_numbers(labels: np.ndarray, first: int, classes: int, what: str, origin: Origin) -> np.ndarray:
    wrong = np.flatnonzero(~np.isin(labels, np.arange(first, first + classes)))
    if len(wrong):
        expected = f"a label {first}…{first + classes - 1}"
        raise origin.damaged(f"{what} row {wrong[0]}", expected=expected, got=str(labels[wrong[0]]))
    return labels.astype(np.int32) - np.int32(first)


def _stored(file: Path) -> list[str]:
    """Names in the archive; empty for a damaged one, which `load_arrays` reports."""
    with contextlib.suppress(OSError, zipfile.BadZipFile, NotImplementedError), zipfile.ZipFile(file) as archive:
        return archive.namelist()
    return []
