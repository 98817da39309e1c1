"""Texas100: hospital stays in Texas, with the main procedure as class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from mindefense.data.files import GZIP_MAGIC, ZIP_MAGIC, Origin, find_file, open_text, read_order, starts_with
from mindefense.data.labelled_npz import read_labelled_npz
from mindefense.data.table import Layout, read_table
from mindefense.errors import DataError
from mindefense.types import LabelledData

FEATURES, CLASSES = 6_169, 100
LIMIT = 1 << 32
ORIGIN = Origin(
    name="texas100",
    accepted=("dataset_texas.tgz", "texas/100/feats", "100/feats", "feats", "texas100.npz", "data_complete.npz"),
    remedy="take dataset_texas.tgz from github.com/privacytrustlab/datasets",
)


def load_texas100(path: str | os.PathLike[str]) -> LabelledData:
    """Loads Texas100.

    Args:
        path: A folder with ``dataset_texas.tgz``, or with ``texas/100/feats`` and ``texas/100/labels`` from it, or with
            ``texas100.npz`` (arrays ``features``, and ``labels`` one-hot or as numbers) or MemGuard's
            ``data_complete.npz`` (arrays ``x`` and ``y``, labels from 1); or the archive, ``feats`` or the npz file
            itself. A ``shuffle_index.npy`` or ``.npz`` in the same folder becomes `order`.

    Returns:
        Features ``(N, 6169)`` float32, each 0 or 1: attributes of a hospital stay; labels ``(N,)`` int32, the main
        procedure 0…99. The published files have N = 67,330, which takes 1.7 GB; any N ≥ 1 is accepted.

    Raises:
        DataError: If a file is missing or damaged, or features and labels differ in number.

    Source:
        Shokri et al., "Membership Inference Attacks Against Machine Learning Models", 2017, section VI-A;
        github.com/privacytrustlab/datasets.
    """
    file = find_file(path, ORIGIN)
    if starts_with(file, ZIP_MAGIC):
        features, labels = read_labelled_npz(file, ORIGIN, columns=FEATURES, classes=CLASSES, limit=LIMIT)
    else:
        features, labels = _read_text(file)
    return LabelledData("texas100", features, labels, CLASSES, order=read_order(file.parent, len(features), ORIGIN))


def _read_text(file: Path) -> tuple[np.ndarray, np.ndarray]:
    archived = starts_with(file, GZIP_MAGIC)
    labels_file = file if archived else file.with_name("labels")
    if not labels_file.is_file():
        raise DataError("texas100 labels", expected=f"a file {labels_file}", got="no such file", fix=ORIGIN.remedy)
    with open_text(labels_file, ("100/labels",), ORIGIN, limit=LIMIT) as stream:
        _, labels = read_table(stream, labels_file, Layout(0, label="first", classes=CLASSES), ORIGIN)
    with open_text(file, ("100/feats",), ORIGIN, limit=LIMIT) as stream:
        features, _ = read_table(stream, file, Layout(FEATURES), ORIGIN)
    if len(labels) != len(features):
        raise ORIGIN.damaged(str(labels_file), expected=f"{len(features):,} labels", got=f"{len(labels):,}")
    return features, labels
