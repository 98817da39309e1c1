"""CH-MNIST: gray images of colorectal histology."""

from __future__ import annotations

import os

from mindefense.data.files import Origin, find_file, open_text, read_order
from mindefense.data.table import Layout, read_table
from mindefense.types import LabelledData

FEATURES, CLASSES = 64 * 64, 8
LIMIT = 1 << 30
ORIGIN = Origin(
    name="ch_mnist",
    accepted=("hmnist_64_64_L.csv", "hmnist_64_64_L.csv.gz"),
    remedy="take hmnist_64_64_L.csv from kaggle.com/kmader/colorectal-histology-mnist",
)


def load_ch_mnist(path: str | os.PathLike[str]) -> LabelledData:
    """Loads CH-MNIST.

    Args:
        path: A folder with ``hmnist_64_64_L.csv``, or such a file of any name: a header line, then lines of 4,096
            pixels 0…255 and the label 1…8. A ``shuffle_index.npy`` or ``.npz`` in the same folder becomes `order`.

    Returns:
        Features ``(N, 4096)`` float32 in 0…1, pixels of a 64 × 64 gray image row by row; labels ``(N,)`` int32, the
        kind of tissue 0…7. The published file has N = 5,000; any N ≥ 1 is accepted.

    Raises:
        DataError: If the file is missing, damaged or in another format.

    Source:
        Kather et al., "Multi-class texture analysis in colorectal cancer histology", 2016;
        kaggle.com/kmader/colorectal-histology-mnist.
    """
    file = find_file(path, ORIGIN)
    layout = Layout(FEATURES, highest=255, label="last", classes=CLASSES, header=True)
    with open_text(file, ("hmnist_64_64_L.csv",), ORIGIN, limit=LIMIT) as stream:
        features, labels = read_table(stream, file, layout, ORIGIN)
    features /= 255
    return LabelledData("ch_mnist", features, labels, CLASSES, order=read_order(file.parent, len(features), ORIGIN))
