"""The manifest of an exported graph: its inputs, its outputs and its origin. Does not import MindSpore."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mindefense.errors import CheckpointError

SCHEMA_VERSION = 2
KIND = "guarded"
SUFFIXES = (".mindir", ".json", ".key")
"""Suffixes of graph, manifest and key."""


def files_of(path: str | os.PathLike) -> tuple[Path, Path, Path]:
    """The paths of graph, manifest and key, from the path of any of them or the path without a suffix."""
    path = Path(path)
    name = path.name.removesuffix(path.suffix) if path.suffix in SUFFIXES else path.name
    graph, manifest, key = (path.with_name(name + suffix) for suffix in SUFFIXES)
    return graph, manifest, key


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Description of an exported graph.

    Attributes:
        sha256: SHA-256 of the graph's file, hex.
        classes: Number of classes C.
        input_shape: Shape of one input.
        batch_size: Rows per call; None for any number.
        prepared: Description of the preparation of samples; None if samples are the inputs.
        noise_scale: Scale of the Laplace noise that is the second input; 0 for none.
        draws: Number of uniform random numbers per row in the second input; 0 for none.
        keeps_labels: Whether the predicted class is that of the undefended model.
        most_passes: Largest number of passes of the search for a query; None without a search.
        amp: Precision of the target: ``"O0"`` float32, ``"O2"`` float16 except for batch normalization.
        defense: Name of the defense; None for the model without one.
        config: Settings of the defense.
        sources: Name → SHA-256, hex, of the files that target and defense come from, as far as they are known.
        versions: Versions of the packages that were used.
        created: Time of the export in UTC, in ISO 8601; None in files of earlier versions.
        network: Class of the target's network; None in files of earlier versions.
        parameters: Number of its parameters; None in files of earlier versions.
    """

    sha256: str
    classes: int
    input_shape: tuple[int, ...]
    batch_size: int | None
    prepared: str | None
    noise_scale: float
    draws: int
    keeps_labels: bool
    most_passes: int | None
    amp: str
    defense: str | None
    config: Mapping[str, Any]
    sources: Mapping[str, str]
    versions: Mapping[str, str]
    created: str | None = None
    network: str | None = None
    parameters: int | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the graph's inputs, in order."""
        return ("x", "noise") if self.noise_scale else ("x", "draws") if self.draws else ("x",)

    @property
    def is_random(self) -> bool:
        """Whether answers depend on a secret key."""
        return len(self.inputs) > 1

    def as_json(self) -> dict[str, Any]:
        """The content of the manifest's file."""
        fields = {**dataclasses.asdict(self), "input_shape": list(self.input_shape)}
        return {"schema_version": SCHEMA_VERSION, "kind": KIND, "inputs": list(self.inputs), **fields}

    @classmethod
    def read(cls, path: str | os.PathLike) -> Manifest:
        """The manifest in a file.

        Raises:
            CheckpointError: If it is missing or damaged, or was written by another program or version.
        """
        fix = "give the path of a file of `mindefense export`, or export it again"
        try:
            held = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"no manifest at {path} ({error.strerror})", fix=fix) from error
        except ValueError as error:
            raise CheckpointError(str(path), expected="the manifest of a graph", got="no JSON", fix=fix) from error
        if not isinstance(held, dict) or held.pop("kind", None) != KIND:
            raise CheckpointError(str(path), expected="the manifest of a graph", got="something else", fix=fix)
        if (version := held.pop("schema_version", None)) != SCHEMA_VERSION:
            raise CheckpointError(str(path), expected=f"schema version {SCHEMA_VERSION}", got=str(version), fix=fix)
        inputs = held.pop("inputs", None)
        fields = dataclasses.fields(cls)
        needed = {field.name for field in fields if field.default is dataclasses.MISSING}
        odd = (needed - held.keys()) | (held.keys() - {field.name for field in fields})
        damaged = sorted(odd) or [name for name in held if not _CHECKS[name](held[name])]
        if not damaged:
            manifest = cls(**{**held, "input_shape": tuple(held["input_shape"])})
            if inputs == list(manifest.inputs):
                return manifest
            damaged = ["inputs"]
        raise CheckpointError(f"{path} is damaged: {', '.join(damaged)} is not what was written", fix=fix)


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


_CHECKS = {
    "sha256": lambda value: isinstance(value, str),
    "classes": _is_count,
    "input_shape": lambda value: isinstance(value, list) and all(map(_is_count, value)),
    "batch_size": lambda value: value is None or _is_count(value),
    "prepared": lambda value: value is None or isinstance(value, str),
    "noise_scale": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0,
    "draws": lambda value: _is_count(value, 0),
    "keeps_labels": lambda value: isinstance(value, bool),
    "most_passes": lambda value: value is None or _is_count(value),
    "amp": lambda value: isinstance(value, str),
    "defense": lambda value: value is None or isinstance(value, str),
    "config": lambda value: isinstance(value, dict),
    "sources": lambda value: isinstance(value, dict),
    "versions": lambda value: isinstance(value, dict),
    "created": lambda value: value is None or isinstance(value, str),
    "network": lambda value: value is None or isinstance(value, str),
    "parameters": lambda value: value is None or _is_count(value),
}
