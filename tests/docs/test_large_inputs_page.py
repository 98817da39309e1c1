"""What docs/large_inputs.md says of the file is so, whichever framework makes it."""

import re
import types

import brought
import numpy as np
import pytest
from pages import page

from mindefense.confidence import log_probs, softmax
from mindefense.data import vectors
from mindefense.defenses import Rounding, load_defense
from mindefense.defenses.registry import DefenseSpec
from mindefense.keyed_noise import keyed_laplace, read_key

PAGE = page("docs/large_inputs.md")
TORCH, KERAS, MINDSPORE, SAVE = (block.text for block in PAGE.under("How to save it"))
LOAD, IN_PYTHON = (block.text for block in PAGE.under("The result"))


def test_memguard_of_a_study_with_defenmi(reader):
    assert load_defense(reader(PAGE.name).read().folder / "memguard.ckpt").name == "memguard"


@pytest.mark.parametrize(
    ("snippet", "bring"),
    [(TORCH, brought.of_torch), (KERAS, brought.of_keras), (MINDSPORE, brought.of_mindspore)],
    ids=["PyTorch", "Keras", "MindSpore"],
)
def test_every_snippet_from_saving_to_reading(snippet, bring, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reader = types.SimpleNamespace(names={}, patch=monkeypatch)
    bring(reader)
    known = reader.names
    for code in (snippet, SAVE):
        exec(code, known)
    rows, weights = brought.FEATURES, brought.WEIGHTS
    expected = rows @ weights, (rows + keyed_laplace(rows, 1 / 3, read_key("my.key"))) @ weights
    with np.load("big.npz") as held:
        assert set(held.files) == {"logits", "noised_logits"}
        for name, logits in zip(held.files, expected, strict=True):
            np.testing.assert_allclose(softmax(held[name]), softmax(logits), rtol=1e-3, atol=1e-6)
    Rounding(1).save("defense.ckpt")
    for code in (IN_PYTHON, LOAD):
        exec(code, known)
    np.testing.assert_array_equal(known["defended"].argmax(axis=1), expected[0].argmax(axis=1))
    assert known["tally"].rows == len(known["defended"]) == len(rows)


def test_the_table_lists_every_array():
    table = "".join(line for line in PAGE.text.splitlines() if line.startswith("| `"))
    for names in vectors.NAMES.values():
        for name in names:
            assert f"`{name}`" in table
    assert f"up to {vectors.ROUNDED_SUM:g} away from 1" in " ".join(PAGE.text.split())


def test_the_names_are_those_that_need_no_fitting():
    for name in re.findall(r"`((?:rounding|top-k|temperature|label-only|laplace)[^`]*)`", PAGE.text):
        DefenseSpec.parse_unfitted(
            re.sub("=[A-Z]+", "=1", name) if "=" in name or name == "label-only" else f"{name}=1"
        )


def test_the_file_of_an_evaluation_will_do(tmp_path):
    probs = softmax(brought.FEATURES @ brought.WEIGHTS)
    arrays = {"log_probs": log_probs(probs), "labels": brought.CLASSES, "is_member": np.ones(len(probs))}
    np.savez(tmp_path / "outputs.npz", **arrays)
    assert len(vectors.open_vectors(tmp_path / "outputs.npz").check()) == 64
