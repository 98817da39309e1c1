"""Data sets: loaders of `LabelledData`, splits into roles, recorded outputs. Needs only NumPy."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mindefense.data.download import download  # eager: otherwise the module of the same name would replace it
from mindefense.data.registry import DATASETS, SOURCES, Source
from mindefense.errors import InputError
from mindefense.lazy import lazy_names

if TYPE_CHECKING:
    from mindefense.data.ch_mnist import load_ch_mnist
    from mindefense.data.cifar100 import load_cifar100
    from mindefense.data.location import load_location
    from mindefense.data.numbers import read_row_numbers
    from mindefense.data.outputs import RecordedOutputs, load_outputs
    from mindefense.data.pipelines import from_datasets
    from mindefense.data.purchase100 import load_purchase100
    from mindefense.data.shadow_outputs import PopulationOutputs, ShadowOutputs, load_shadow_outputs
    from mindefense.data.splits import Split, check_split, parts_split, published_split, split_from_config
    from mindefense.data.synthetic import make_cifar_like, make_location_like
    from mindefense.data.texas100 import load_texas100
    from mindefense.types import LabelledData

_HOMES = {
    "ch_mnist": ("load_ch_mnist",),
    "cifar100": ("load_cifar100",),
    "location": ("load_location",),
    "numbers": ("read_row_numbers",),
    "outputs": ("RecordedOutputs", "load_outputs"),
    "pipelines": ("from_datasets",),
    "purchase100": ("load_purchase100",),
    "shadow_outputs": ("PopulationOutputs", "ShadowOutputs", "load_shadow_outputs"),
    "splits": ("Split", "check_split", "parts_split", "published_split", "split_from_config"),
    "synthetic": ("make_cifar_like", "make_location_like"),
    "texas100": ("load_texas100",),
}
__getattr__, __dir__ = lazy_names(__name__, _HOMES)
__all__ = [
    "DATASETS",
    "SOURCES",
    "PopulationOutputs",
    "RecordedOutputs",
    "ShadowOutputs",
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
    "load_shadow_outputs",
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
        name: A key of `DATASETS`: ``"location"``, ``"purchase100"``, ``"texas100"``, ``"ch_mnist"`` or ``"cifar100"``.
        path: The file, or a folder that contains it; see the loader of that name.

    Raises:
        InputError: If there is no data set of that name.
        DataError: If the file is missing, damaged or in another format.
    """
    if name not in DATASETS:
        raise InputError("data set", expected=f"one of {', '.join(DATASETS)}", got=repr(name))
    return DATASETS[name].load()(path)
