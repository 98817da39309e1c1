"""Recorded answers of many shadow models to the rows of recorded outputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindefense.checks import check_flags, check_labels
from mindefense.data.answers import log_probs_of
from mindefense.data.outputs import FORMS, RecordedOutputs
from mindefense.data.outputs_files import read_npz
from mindefense.errors import DataError, InputError
from mindefense.files import sha256_of_file

DEFENDED = tuple(f"defended_{form}" for form in FORMS)
POPULATION = tuple(f"population_{form}" for form in FORMS)
OF_TARGET = tuple(f"target_population_{form}" for form in FORMS)
ARRAYS = (*FORMS, *DEFENDED, *POPULATION, *OF_TARGET, "population_labels", "in_training")
REMEDY = 'save with np.savez("shadows.npz", logits=…, in_training=…)'


@dataclasses.dataclass(frozen=True, eq=False)
class PopulationOutputs:
    """Answers to Z rows that no model was trained on and that are not evaluated.

    Attributes:
        log_probs: ``(K, Z, C)`` float32, finite: the answers of the shadow models.
        of_target: ``(Z, C)`` float32, finite: the answers of the model under attack.
        labels: ``(Z,)`` int32 true classes, ``0 … C-1``.
    """

    log_probs: np.ndarray
    of_target: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class ShadowOutputs:
    """Answers of K shadow models to the N rows of recorded outputs, with C classes.

    Attributes:
        name: Name of the file, without its folder.
        log_probs: ``(K, N, C)`` float32, finite.
        in_training: ``(K, N)`` bool, True if the model was trained on the row.
        sha256: Hexadecimal SHA-256 of the file; None if there is no file.
        defended_log_probs: ``(K, N, C)`` float32: the answers of the same models behind a defense; None if unknown.
        population: Answers to other rows, with which RMIA compares; None to compare the N rows with each other.
    """

    name: str
    log_probs: np.ndarray
    in_training: np.ndarray
    sha256: str | None = None
    defended_log_probs: np.ndarray | None = None
    population: PopulationOutputs | None = None

    def __len__(self) -> int:
        return len(self.log_probs)

    def __repr__(self) -> str:
        models, rows, classes = self.log_probs.shape
        return f"ShadowOutputs({self.name!r}: {models:,} models, {rows:,} rows, {classes:,} classes)"


def load_shadow_outputs(path: str | os.PathLike[str], outputs: RecordedOutputs) -> ShadowOutputs:
    """Loads the answers of shadow models from an npz file.

    The file has one of the arrays ``logits``, ``log_probs`` and ``probs``, ``(K, N, C)`` floating, and ``in_training``,
    ``(K, N)`` bool or integers 0 and 1. The N rows are those of `outputs`, in the same order. ``defended_logits``,
    ``defended_log_probs`` or ``defended_probs`` may hold the answers of the same models behind the defense.
    ``population_logits`` (or another form) ``(K, Z, C)``, ``target_population_logits`` ``(Z, C)`` and
    ``population_labels`` ``(Z,)`` may hold answers to rows that no model was trained on.

    Args:
        path: The file.
        outputs: The recorded outputs of the model under attack.

    Raises:
        DataError: If the file is missing or damaged, lacks an array, or does not match `outputs`.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"shadow outputs {file}", expected="an npz file", got="no such file", fix=REMEDY)
    try:
        arrays = read_npz(file, ARRAYS, REMEDY)
        log_probs, in_training = _checked(arrays, outputs)
        defended = _answers(arrays, DEFENDED, outputs) if any(form in arrays for form in DEFENDED) else None
        if defended is not None and len(defended) != len(log_probs):
            expected, got = f"{len(log_probs)}, those without the defense", str(len(defended))
            raise InputError("models with defended answers", expected=expected, got=got)
        population = _population(arrays, len(log_probs), outputs)
        return ShadowOutputs(file.name, log_probs, in_training, sha256_of_file(file), defended, population)
    except InputError as error:
        raise DataError(f"{file}: {error}") from error
    except OSError as error:
        raise DataError(f"{file}", expected="a readable file", got=error.strerror or str(error)) from error


def _population(arrays: dict[str, np.ndarray], models: int, outputs: RecordedOutputs) -> PopulationOutputs | None:
    if not any(name in arrays for name in (*POPULATION, *OF_TARGET, "population_labels")):
        return None
    classes = outputs.log_probs.shape[1]
    form, of_target_form = _one_of(arrays, POPULATION), _one_of(arrays, OF_TARGET)
    if "population_labels" not in arrays:
        raise InputError("population_labels", expected="the true class of each population row", got="no such array")
    labels = check_labels(arrays["population_labels"], num_classes=classes, name="population_labels").astype(np.int32)
    for name, expected in ((form, (models, len(labels), classes)), (of_target_form, (len(labels), classes))):
        if arrays[name].shape != expected:
            raise InputError(name, expected=str(expected), got=str(arrays[name].shape))
    log_probs = _by_model(arrays[form], form.removeprefix("population_"), form)
    of_target, _ = log_probs_of(
        arrays[of_target_form], of_target_form.removeprefix("target_population_"), of_target_form
    )
    return PopulationOutputs(log_probs, of_target, labels)


def _one_of(arrays: dict[str, np.ndarray], forms: Sequence[str]) -> str:
    """The name of the one array of these that is there."""
    found = [form for form in forms if form in arrays]
    if len(found) != 1:
        expected = f"one of {', '.join(forms)}"
        raise InputError("shadow outputs", expected=expected, got=", ".join(found) or "none", fix=REMEDY)
    return found[0]


def _answers(arrays: dict[str, np.ndarray], forms: Sequence[str], outputs: RecordedOutputs) -> np.ndarray:
    """``(K, N, C)`` float32 log-probabilities of the one form of answers that is there."""
    form = _one_of(arrays, forms)
    values, shape = arrays[form], outputs.log_probs.shape
    if values.ndim != 3 or values.shape[1:] != shape:
        expected = f"(K, {shape[0]}, {shape[1]}), since {outputs.name} has {shape[0]} rows and {shape[1]} classes"
        fix = "record the answers of every model to the same rows, in the same order"
        raise InputError(form, expected=expected, got=str(values.shape), fix=fix)
    return _by_model(values, form.removeprefix("defended_"), form)


def _by_model(values: np.ndarray, form: str, name: str) -> np.ndarray:
    """``(K, n, C)`` float32 log-probabilities of answers in one of the forms."""
    log_probs = np.empty(values.shape, np.float32)
    for number, one in enumerate(values):
        try:
            log_probs[number], _ = log_probs_of(one, form, name)
        except InputError as error:
            raise InputError(f"model {number}: {error}") from error
    return log_probs


def _checked(arrays: dict[str, np.ndarray], outputs: RecordedOutputs) -> tuple[np.ndarray, np.ndarray]:
    log_probs = _answers(arrays, FORMS, outputs)
    if "in_training" not in arrays:
        raise InputError("in_training", expected="a value for each model and row", got="no such array", fix=REMEDY)
    held = arrays["in_training"]
    if held.shape != log_probs.shape[:2]:
        raise InputError("in_training", expected=str(log_probs.shape[:2]), got=str(held.shape))
    if held.dtype.kind in "iu" and ((held == 0) | (held == 1)).all():
        held = held == 1
    held = check_flags(held.ravel(), name="in_training").reshape(held.shape)
    if not (held.any(axis=0) & ~held.all(axis=0)).any():
        fix = "train each model on about half of the rows"
        expected = "rows that some of the models were trained on and others were not"
        raise InputError("in_training", expected=expected, got="none", fix=fix)
    return log_probs, held
