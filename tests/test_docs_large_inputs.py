"""What docs/large_inputs.md shows runs as it stands there, and what it says of the file is so."""

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from mindefense.confidence import log_probs, softmax
from mindefense.data import outputs, vectors
from mindefense.defenses import DefenderClassifier, DefenMI, Rounding, load_defense
from mindefense.evaluation.lineup import DefenseSpec
from mindefense.keyed import keyed_laplace, read_key

TEXT = (Path(__file__).parent.parent / "docs" / "large_inputs.md").read_text(encoding="utf-8")
MEMGUARD, TORCH, KERAS, MINDSPORE, SAVE, LOAD, IN_PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(600, 4))
WEIGHTS = RNG.normal(size=(4, 3)).astype(np.float32)


def torch_stand_in(monkeypatch):
    """As much of PyTorch as the snippet uses."""

    class Tensor(np.ndarray):
        def detach(self):
            return self

        def numpy(self):
            return np.asarray(self)

    class Model:
        training = True

        def eval(self):
            self.training = False

        def __call__(self, batch):
            assert not self.training
            return batch @ WEIGHTS

    torch = types.ModuleType("torch")
    vars(torch).update(from_numpy=lambda array: array.view(Tensor))
    monkeypatch.setitem(sys.modules, "torch", torch)
    return {"model": Model()}


def keras_stand_in(monkeypatch):
    return {"model": types.SimpleNamespace(predict=lambda features, verbose: softmax(features @ WEIGHTS))}


def mindspore_net(monkeypatch):
    import mindspore as ms
    from mindspore import nn

    return {"net": nn.Dense(4, 3, weight_init=ms.Tensor(WEIGHTS.T.copy()), bias_init="zeros")}


def test_memguard_of_a_study_with_defenmi(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    classifier = DefenderClassifier(3)
    DefenMI(classifier, np.eye(3)).save("runs/location/defense.ckpt")
    exec(MEMGUARD, {})
    assert load_defense("memguard.ckpt").name == "memguard"


@pytest.mark.parametrize(
    ("snippet", "names"), [(TORCH, torch_stand_in), (KERAS, keras_stand_in), (MINDSPORE, mindspore_net)]
)
def test_every_snippet_from_saving_to_reading(snippet, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    known = {**names(monkeypatch), "features": FEATURES}
    for code in (snippet, SAVE):
        exec(code, known)
    rows = np.float32(FEATURES)
    expected = rows @ WEIGHTS, (rows + keyed_laplace(rows, 1 / 3, read_key("my.key"))) @ WEIGHTS
    with np.load("big.npz") as held:
        assert set(held.files) == {"logits", "noised_logits"}
        for name, logits in zip(held.files, expected, strict=True):
            np.testing.assert_allclose(softmax(held[name]), softmax(logits), rtol=1e-3, atol=1e-6)
    Rounding(1).save("defense.ckpt")
    for code in (IN_PYTHON, LOAD):
        exec(code, known)
    np.testing.assert_array_equal(known["defended"].argmax(axis=1), expected[0].argmax(axis=1))
    assert known["tally"].rows == len(known["defended"]) == 600


def test_the_table_lists_every_array():
    table = "".join(line for line in TEXT.splitlines() if line.startswith("| `"))
    for names in vectors.NAMES.values():
        for name in names:
            assert f"`{name}`" in table
    assert f"up to {outputs.ROUNDED_SUM:g} away from 1" in " ".join(TEXT.split())


def test_the_names_are_those_that_need_no_fitting():
    for name in re.findall(r"`((?:rounding|top-k|temperature|label-only|laplace)[^`]*)`", TEXT):
        DefenseSpec.parse_unfitted(
            re.sub("=[A-Z]+", "=1", name) if "=" in name or name == "label-only" else f"{name}=1"
        )


def test_the_file_of_an_evaluation_will_do(tmp_path):
    probs = softmax(np.float32(FEATURES) @ WEIGHTS)
    np.savez(tmp_path / "outputs.npz", log_probs=log_probs(probs), labels=np.zeros(600, int), is_member=np.ones(600))
    assert len(vectors.open_vectors(tmp_path / "outputs.npz").check()) == 64
