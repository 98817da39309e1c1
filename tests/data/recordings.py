"""Recorded outputs for tests: arrays, the files that hold them, and what is said of a wrong one."""

import numpy as np
import pytest

from mindefense.confidence import log_softmax
from mindefense.data.outputs import load_outputs
from mindefense.errors import DataError

N, C = 48, 5
RNG = np.random.default_rng(5)
LOGITS = (RNG.normal(size=(N, C)) * 4).astype(np.float32)
DEFENDED = (RNG.normal(size=(N, C)) * 2).astype(np.float32)
LABELS = RNG.permutation(np.arange(N) % C)
IS_MEMBER = np.arange(N) % 2 == 0
IS_FIT = np.arange(N) % 4 < 2
INDEX = RNG.permutation(1000)[:N]
SPLIT = np.where(IS_FIT, "fit", "eval")


def in_form(form, logits):
    """The same answers as logits, log_probs or probs, float64."""
    log_probs = logits - np.log(np.exp(logits.astype(np.float64)).sum(axis=1, keepdims=True))
    return {"logits": logits.astype(np.float64), "log_probs": log_probs, "probs": np.exp(log_probs)}[form]


def everything(form="logits"):
    return {
        form: in_form(form, LOGITS),
        f"defended_{form}": in_form(form, DEFENDED),
        "labels": LABELS,
        "is_member": IS_MEMBER,
        "split": SPLIT,
        "index": INDEX,
    }


def basics(**changes):
    """The arrays that must be there; None takes one away."""
    held = {"logits": LOGITS, "labels": LABELS, "is_member": IS_MEMBER, **changes}
    return {name: array for name, array in held.items() if array is not None}


def changed(array, row, value):
    copy = np.array(array)
    copy[row] = value
    return copy


def write_npz(folder, held):
    path = folder / "outputs.npz"
    np.savez(path, **held)
    return path


def table_of(held, *, precision="%.17g"):
    """Header and rows of the CSV with these arrays, as lists of cells."""
    header, columns = [], []
    for name, array in held.items():
        if array.ndim == 2:
            header += [f"{name[:-1]}_{k}" for k in range(array.shape[1])]
            columns += [[precision % value for value in column] for column in array.T]
        else:
            header.append("label" if name == "labels" else name)
            columns.append([str(value) for value in array])
    return [header, *map(list, zip(*columns, strict=True))]


def write_csv(folder, table, *, end="\n", encoding="utf-8"):
    path = folder / "outputs.csv"
    path.write_bytes("".join(",".join(row) + end for row in table).encode(encoding))
    return path


def write(folder, held, kind):
    return write_npz(folder, held) if kind == "npz" else write_csv(folder, table_of(held))


def refusal(path):
    with pytest.raises(DataError) as caught:
        load_outputs(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message.split(str(path), 1)[1]


def assert_as_recorded(outputs, *, form="logits"):
    assert (outputs.given, len(outputs), outputs.note) == (form, N, None)
    for found, logits in ((outputs.log_probs, LOGITS), (outputs.defended_log_probs, DEFENDED)):
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, log_softmax(logits), rtol=1e-6, atol=1e-6)
    for found, expected, dtype in (
        (outputs.labels, LABELS, np.int32),
        (outputs.is_member, IS_MEMBER, bool),
        (outputs.split, IS_FIT, bool),
        (outputs.indices, INDEX, np.int64),
    ):
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
