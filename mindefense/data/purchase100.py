"""Purchase100: shopping histories of customers in 100 clusters."""

from __future__ import annotations

import os

from mindefense.data.files import ZIP_MAGIC, Origin, find_file, open_text, read_order, starts_with
from mindefense.data.labelled_npz import read_labelled_npz
from mindefense.data.table import Layout, read_table
from mindefense.types import LabelledData

FEATURES, CLASSES = 600, 100
LIMIT = 1 << 30
ORIGIN = Origin(
    name="purchase100",
    accepted=("dataset_purchase.tgz", "dataset_purchase", "purchase100", "purchase100.npz", "data_complete.npz"),
    remedy="take dataset_purchase.tgz from github.com/privacytrustlab/datasets",
)


def load_purchase100(path: str | os.PathLike[str]) -> LabelledData:
    """Loads Purchase100.

    Args:
        path: A folder with ``dataset_purchase.tgz`` or its text, ``dataset_purchase`` or ``purchase100``, each line of
            which has the label 1…100 and 600 features; or with ``purchase100.npz`` (arrays ``features``, and
            ``labels`` one-hot or as numbers) or ``data_complete.npz`` (arrays ``x`` and ``y``, labels from 1); or such
            a file of any name. A ``shuffle_index.npy`` or ``.npz`` in the same folder becomes `order`.

    Returns:
        Features ``(N, 600)`` float32, each 0 or 1: whether a customer bought a product; labels ``(N,)`` int32, the
        customer's cluster 0…99. The published file has N = 197,324; any N ≥ 1 is accepted.

    Raises:
        DataError: If the file is missing, damaged or in another format.

    Source:
        Shokri et al., "Membership Inference Attacks Against Machine Learning Models", 2017, section VI-A;
        github.com/privacytrustlab/datasets.
    """
    file = find_file(path, ORIGIN)
    if starts_with(file, ZIP_MAGIC):
        features, labels = read_labelled_npz(file, ORIGIN, columns=FEATURES, classes=CLASSES, limit=LIMIT)
    else:
        with open_text(file, ("dataset_purchase", "purchase100"), ORIGIN, limit=LIMIT) as stream:
            features, labels = read_table(stream, file, Layout(FEATURES, label="first", classes=CLASSES), ORIGIN)
    return LabelledData("purchase100", features, labels, CLASSES, order=read_order(file.parent, len(features), ORIGIN))
