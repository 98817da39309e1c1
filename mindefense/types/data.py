"""Types of a data set and of rows of it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping

import numpy as np

from mindefense.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Rows of a data set, to query a target with.

    Attributes:
        features: ``(N, ...)`` float32, or uint8 for images ``(N, channels, height, width)``; the queries.
        labels: ``(N,)`` int32 true classes, ``0 … C-1``.
        indices: ``(N,)`` int64 positions of the rows in their data set.
    """

    features: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Samples({len(self):,} rows, features {_features(self.features)})"

    def take(self, positions: np.ndarray) -> Samples:
        """The rows at these positions of these samples, in the given order."""
        return Samples(self.features[positions], self.labels[positions], self.indices[positions])


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledData:
    """A data set.

    Attributes:
        name: Name of the data set.
        features: ``(N, ...)`` float32, or uint8 for images ``(N, channels, height, width)``.
        labels: ``(N,)`` int32 classes ``0 … num_classes-1``.
        num_classes: Number of classes, C.
        synthetic: True if the rows are synthetic; reports mark every figure derived from them.
        order: ``(N,)`` int64 permutation of the rows in the published experiments, or None.
        parts: Published parts by name, for example train and test, as ranges of rows; None if there are none.

    Raises:
        InputError: If features and labels differ in length, a label is no class, or a part is no range of the rows.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    num_classes: int
    synthetic: bool = False
    order: np.ndarray | None = None
    parts: Mapping[str, range] | None = None

    def __post_init__(self) -> None:
        if len(self.features) != len(self.labels):
            raise InputError(
                f"{self.name} labels", expected=f"one per row ({len(self.features)})", got=str(len(self.labels))
            )
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < self.num_classes):
            raise InputError(
                f"{self.name} labels",
                expected=f"classes 0…{self.num_classes - 1}",
                got=f"{self.labels.min()}…{self.labels.max()}",
            )
        for name, rows in (self.parts or {}).items():
            if not (isinstance(rows, range) and rows.step == 1 and 0 <= rows.start < rows.stop <= len(self.labels)):
                expected = f"a range of one or more rows within 0…{len(self.labels) - 1}"
                raise InputError(f"{self.name} part {name}", expected=expected, got=repr(rows))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        made_up = ", SYNTHETIC" if self.synthetic else ""
        parts = "".join(f", {name} {len(rows):,}" for name, rows in (self.parts or {}).items())
        return (
            f"LabelledData({self.name!r}: {len(self):,} rows, features {_features(self.features)}, "
            f"{self.num_classes:,} classes{parts}{made_up})"
        )

    def take(self, indices: np.ndarray) -> Samples:
        """The rows at `indices` of this data set, in the given order."""
        return Samples(self.features[indices], self.labels[indices], np.asarray(indices, np.int64))

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hexadecimal SHA-256 of the name, of types, shapes and bytes of features and labels, and of the parts."""
        digest = hashlib.sha256(self.name.encode())
        for array in (self.features, self.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        if self.parts is not None:  # the same rows with other parts give other splits
            borders = sorted((name, rows.start, rows.stop) for name, rows in self.parts.items())
            digest.update(f"parts{borders}".encode())
        return digest.hexdigest()


def _features(features: np.ndarray) -> str:
    return f"{'×'.join(map(str, features.shape[1:])) or 'one'} {features.dtype}"
