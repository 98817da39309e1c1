"""The data sets by name. A new data set needs an entry here and a module with its loader."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Source:
    """One file that can be downloaded.

    Attributes:
        file_name: Its name in the user's folder.
        url: Address at which it is published.
        algorithm: Name of the digest's algorithm in `hashlib`.
        digest: Hexadecimal digest of the correct file.
        size: Its size in bytes.
    """

    file_name: str
    url: str
    algorithm: str
    digest: str
    size: int


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """One data set.

    Attributes:
        home: Name of the module of its loader in `mindefense.data`.
        loader: Name of the loader, a function from a path to `LabelledData`.
        source: The file to download; None if it is not published as one file.
    """

    home: str
    loader: str
    source: Source | None = None

    def load(self) -> Callable[..., Any]:
        """Imports its loader."""
        return getattr(importlib.import_module(f"mindefense.data.{self.home}"), self.loader)


DATASETS = {
    "location": DataSpec(
        "location",
        "load_location",
        Source(
            file_name="dataset_location.tgz",
            url="https://github.com/privacytrustlab/datasets/raw/master/dataset_location.tgz",
            algorithm="sha256",
            digest="927203f85a868f8ee17a0ded1dc61699efe602167beabe34fbf45b4b1de94b33",
            size=287_293,
        ),
    ),
    "purchase100": DataSpec("purchase100", "load_purchase100"),
    "texas100": DataSpec("texas100", "load_texas100"),
    "ch_mnist": DataSpec("ch_mnist", "load_ch_mnist"),
    "cifar100": DataSpec(
        "cifar100",
        "load_cifar100",
        Source(
            file_name="cifar-100-binary.tar.gz",
            url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
            algorithm="md5",  # the only published digest; it detects damage, and https prevents forgery
            digest="03b5dce01913d631647c71ecec9e9cb8",
            size=168_513_733,
        ),
    ),
}
"""Every data set by name."""

SOURCES = {name: spec.source for name, spec in DATASETS.items() if spec.source is not None}
"""The files of the data sets that can be downloaded, by name."""
