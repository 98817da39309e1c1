"""Which data sets there are by name; a new one is one entry here and the file of its loader."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Source:
    """One file that can be fetched.

    Attributes:
        file_name: Name it gets in the user's folder.
        url: Where it is published.
        algorithm: Kind of digest, a name that `hashlib` knows.
        digest: The digest of the right file, hex.
        size: Its size in bytes.
    """

    file_name: str
    url: str
    algorithm: str
    digest: str
    size: int


@dataclasses.dataclass(frozen=True)
class DataSpec:
    """One data set of the catalogue.

    Attributes:
        home: The module of its loader, below `mindefense.data`.
        loader: The loader: a path → `LabelledData`.
        source: Where it can be fetched; None if it is not published as one file.
    """

    home: str
    loader: str
    source: Source | None = None

    def load(self) -> Callable[..., Any]:
        """Its loader."""
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
            algorithm="md5",  # the only digest its publisher names; against damage, as forgery is up to https
            digest="03b5dce01913d631647c71ecec9e9cb8",
            size=168_513_733,
        ),
    ),
}
"""Every data set by name."""

SOURCES = {name: spec.source for name, spec in DATASETS.items() if spec.source is not None}
"""Those that can be fetched."""
