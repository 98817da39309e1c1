"""Recorded answers of many shadow models to the rows of recorded outputs."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mindefense.checks import check_flags
from mindefense.data.answers import log_probs_of
from mindefense.data.outputs import FORMS, RecordedOutputs
from mindefense.data.outputs_files import read_npz
from mindefense.errors import DataError, InputError
from mindefense.files import sha256_of_file

DEFENDED = tuple(f"defended_{form}" for form in FORMS)
ARRAYS = (*FORMS, *DEFENDED, "in_training")
REMEDY = 'save with np.savez("shadows.npz", logits=…, in_training=…)'


@dataclasses.dataclass(frozen=True, eq=False)
class ShadowOutputs:
    """Answers of K shadow models to the N rows of recorded outputs, with C classes.

    Attributes:
        name: Name of the file, without its folder.
        log_probs: ``(K, N, C)`` float32, finite.
        in_training: ``(K, N)`` bool, True if the model was trained on the row.
        sha256: Hexadecimal SHA-256 of the file; None if there is no file.
        defended_log_probs: ``(K, N, C)`` float32: the answers of the same models behind a defense; None if unknown.
    """

    name: str
    log_probs: np.ndarray
    in_training: np.ndarray
    sha256: str | None = None
    defended_log_probs: np.ndarray | None = None

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
        return ShadowOutputs(file.name, log_probs, in_training, sha256_of_file(file), defended)
    except InputError as error:
        raise DataError(f"{file}: {error}") from error
    except OSError as error:
        raise DataError(f"{file}", expected="a readable file", got=error.strerror or str(error)) from error


def _answers(arrays: dict[str, np.ndarray], forms: Sequence[str], outputs: RecordedOutputs) -> np.ndarray:
    """``(K, N, C)`` float32 log-probabilities of the one form of answers that is there."""
    found = [form for form in forms if form in arrays]
    if len(found) != 1:
        expected = f"one of {', '.join(forms)}"
        raise InputError("shadow outputs", expected=expected, got=", ".join(found) or "none", fix=REMEDY)
    (form,) = found
    values, shape = arrays[form], outputs.log_probs.shape
    if values.ndim != 3 or values.shape[1:] != shape:
        expected = f"(K, {shape[0]}, {shape[1]}), since {outputs.name} has {shape[0]} rows and {shape[1]} classes"
        fix = "record the answers of every model to the same rows, in the same order"
        raise InputError(form, expected=expected, got=str(values.shape), fix=fix)
    log_probs = np.empty(values.shape, np.float32)
    for number, one in enumerate(values):
        try:
            log_probs[number], _ = log_probs_of(one, form.removeprefix("defended_"), form)
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
