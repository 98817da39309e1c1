"""Data sets: files to `LabelledData`, and who gets which rows. Pure NumPy."""

from __future__ import annotations

import os

from mindefense.data.ch_mnist import load_ch_mnist
from mindefense.data.cifar100 import load_cifar100
from mindefense.data.download import SOURCES, Source, download
from mindefense.data.location import load_location
from mindefense.data.numbers import read_row_numbers
from mindefense.data.outputs import RecordedOutputs, load_outputs
from mindefense.data.pipelines import from_datasets
from mindefense.data.purchase100 import load_purchase100
from mindefense.data.splits import Split, check_split, parts_split, published_split, split_from_config
from mindefense.data.synthetic import make_cifar_like, make_location_like
from mindefense.data.texas100 import load_texas100
from mindefense.errors import InputError
from mindefense.types import LabelledData

LOADERS = {
    "location": load_location,
    "purchase100": load_purchase100,
    "texas100": load_texas100,
    "ch_mnist": load_ch_mnist,
    "cifar100": load_cifar100,
}

__all__ = [
    "LOADERS",
    "SOURCES",
    "RecordedOutputs",
    "Source",
    "Split",
    "check_split",
    "download",
    "from_datasets",
    "load_ch_mnist",
    "load_cifar100",
    "load_dataset",
    "load_location",
    "load_outputs",
    "load_purchase100",
    "load_texas100",
    "make_cifar_like",
    "make_location_like",
    "parts_split",
    "published_split",
    "read_row_numbers",
    "split_from_config",
]


def load_dataset(name: str, path: str | os.PathLike[str]) -> LabelledData:
    """Loads a data set by its name.

    Args:
        name: A key of `LOADERS`: ``"location"``, ``"purchase100"``, ``"texas100"``, ``"ch_mnist"`` or ``"cifar100"``.
        path: The file, or a folder that holds it; see the loader of that name.

    Raises:
        InputError: There is no data set of that name.
        DataError: The file is missing, damaged or another.
    """
    if name not in LOADERS:
        raise InputError("data set", expected=f"one of {', '.join(LOADERS)}", got=repr(name))
    return LOADERS[name](path)
