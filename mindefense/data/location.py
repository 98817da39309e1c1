"""Location: Foursquare check-ins in Bangkok, the data set of the MemGuard and DefenMI papers."""

from __future__ import annotations

import os

from mindefense.data.files import ZIP_MAGIC, Origin, find_file, open_text, read_order, starts_with
from mindefense.data.labelled_npz import read_labelled_npz
from mindefense.data.table import Layout, read_table
from mindefense.types import LabelledData

ROWS, FEATURES, CLASSES = 5_010, 446, 30
LIMIT = 1 << 26
ORIGIN = Origin(
    name="location",
    accepted=("dataset_location.tgz", "bangkok", "data_complete.npz"),
    remedy="fetch it with `mindefense download location --to DIR`",
)


def load_location(path: str | os.PathLike[str]) -> LabelledData:
    """Loads Location.

    Args:
        path: A folder with ``dataset_location.tgz``, the text ``bangkok`` from it, or the ``data_complete.npz`` of
            MemGuard and DefenMI (arrays ``x`` and ``y``, labels from 1); or such a file of any name. The folder may
            also have ``shuffle_index.npy`` or ``shuffle_index.npz`` (array ``x``), the permutation of the rows in the
            published experiments.

    Returns:
        Features ``(5010, 446)`` float32, each 0 or 1: whether a user visited a kind of place or a region; labels
        ``(5010,)`` int32, the user's cluster 0…29; `order` from the permutation file, None without one.

    Raises:
        DataError: If the file is missing, damaged or not Location. Nothing is unpickled or unpacked to disk.

    Source:
        Shokri et al., "Membership Inference Attacks Against Machine Learning Models", 2017, section VI-A;
        github.com/privacytrustlab/datasets.
    """
    file = find_file(path, ORIGIN)
    if starts_with(file, ZIP_MAGIC):
        features, labels = read_labelled_npz(file, ORIGIN, columns=FEATURES, classes=CLASSES, limit=LIMIT)
    else:
        with open_text(file, ("bangkok",), ORIGIN, limit=LIMIT) as stream:
            features, labels = read_table(stream, file, Layout(FEATURES, label="first", classes=CLASSES), ORIGIN)
    if len(features) != ROWS:
        raise ORIGIN.damaged(str(file), expected=f"{ROWS:,} rows", got=f"{len(features):,}")
    return LabelledData("location", features, labels, CLASSES, order=read_order(file.parent, ROWS, ORIGIN))
