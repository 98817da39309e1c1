"""What docs/outputs.md shows runs as it stands there, and what it says of the file is so."""

import contextlib
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from mindefense.confidence import log_softmax, softmax
from mindefense.data import outputs
from mindefense.data.outputs import load_outputs

TEXT = (Path(__file__).parent.parent / "docs" / "outputs.md").read_text(encoding="utf-8")
SNIPPETS = dict(
    re.findall(r"^(PyTorch|TensorFlow/Keras|scikit-learn|MindSpore);.*?```python\n(.*?)```", TEXT, re.DOTALL | re.M)
)
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(90, 4)).astype(np.float32)
NAMES = np.array(["ash", "elm", "oak"])
CLASSES = RNG.permutation(np.arange(90) % 3)
WEIGHTS = RNG.normal(size=(4, 3)).astype(np.float32)
MEMBERS, OTHERS = slice(0, 50), slice(50, 90)
SAMPLES = {
    "x_members": FEATURES[MEMBERS],
    "x_others": FEATURES[OTHERS],
    "y_members": CLASSES[MEMBERS],
    "y_others": CLASSES[OTHERS],
}


def run(snippet, folder, monkeypatch, **names):
    monkeypatch.chdir(folder)
    exec(SNIPPETS[snippet], names)
    return load_outputs("outputs.npz")


def assert_in_order(recorded, log_probs, order):
    np.testing.assert_allclose(recorded.log_probs, log_probs[order], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(recorded.labels, CLASSES[order])
    np.testing.assert_array_equal(recorded.is_member, order < 50)


@pytest.mark.parametrize("framework", ["PyTorch", "TensorFlow/Keras", "scikit-learn", "MindSpore"])
def test_every_snippet_is_python_of_a_few_lines(framework):
    compile(SNIPPETS[framework], framework, "exec")
    assert len(SNIPPETS[framework].strip().splitlines()) <= 8


def test_scikit_learn(tmp_path, monkeypatch):
    model = RandomForestClassifier(5, random_state=0).fit(FEATURES[MEMBERS], NAMES[CLASSES[MEMBERS]])
    named = {**SAMPLES, "y_members": NAMES[CLASSES[MEMBERS]], "y_others": NAMES[CLASSES[OTHERS]]}
    recorded = run("scikit-learn", tmp_path, monkeypatch, model=model, **named)
    probs = np.maximum(model.predict_proba(FEATURES), 1e-30)
    assert_in_order(recorded, np.log(probs), np.arange(90))
    correct = recorded.log_probs.argmax(axis=1) == recorded.labels
    assert correct[recorded.is_member].mean() > 0.9, "labels must be the columns' classes"


def test_keras_with_a_stand_in(tmp_path, monkeypatch):
    model = types.SimpleNamespace(predict=lambda features: softmax(features @ WEIGHTS))
    recorded = run("TensorFlow/Keras", tmp_path, monkeypatch, model=model, **SAMPLES)
    assert_in_order(recorded, log_softmax(FEATURES @ WEIGHTS), np.arange(90))


class Tensor(np.ndarray):
    """As much of a PyTorch tensor as the snippet uses."""

    def float(self):
        return self.astype(np.float32)

    def cpu(self):
        return self

    def numpy(self):
        return np.asarray(self)


def test_pytorch_with_a_stand_in(tmp_path, monkeypatch):
    modes = []

    class Model:
        def eval(self):
            modes.append("eval")

        def __call__(self, batch):
            assert modes == ["eval", "no_grad"]
            return batch @ WEIGHTS

    @contextlib.contextmanager
    def no_grad():
        modes.append("no_grad")
        yield

    def loader(rows):
        batches = [rows[first : first + 16] for first in range(0, len(rows), 16)]
        return [(FEATURES[batch].view(Tensor), CLASSES[batch].view(Tensor)) for batch in batches]

    torch = types.ModuleType("torch")
    vars(torch).update(no_grad=no_grad, cat=lambda tensors: np.concatenate(tensors).view(Tensor))
    monkeypatch.setitem(sys.modules, "torch", torch)
    members, others = RNG.permutation(50), 50 + RNG.permutation(40)  # loaders may shuffle
    names = {"model": Model(), "members": loader(members), "others": loader(others)}
    recorded = run("PyTorch", tmp_path, monkeypatch, **names)
    assert_in_order(recorded, log_softmax(FEATURES @ WEIGHTS), np.concatenate([others, members]))


def test_mindspore(tmp_path, monkeypatch):
    import mindspore as ms
    from mindspore import nn

    net = nn.Dense(4, 3, weight_init=ms.Tensor(WEIGHTS.T.copy()), bias_init="zeros")
    recorded = run("MindSpore", tmp_path, monkeypatch, net=net, **SAMPLES)
    assert_in_order(recorded, log_softmax(FEATURES @ WEIGHTS), np.arange(90))


def test_the_table_lists_every_array_and_column():
    table = "".join(line for line in TEXT.splitlines() if line.startswith("|"))
    for name in (*outputs.MATRICES, *outputs.COLUMNS, *outputs.COLUMNS.values()):
        assert f"`{name}`" in table
    for column in re.findall(r"`(\w+_0)[ `]", table):
        assert outputs.NUMBERED.fullmatch(column)


def test_the_figures_are_the_loader_s():
    numbers = f"At least {2 * outputs.FEWEST} members and {2 * outputs.FEWEST} non-members, or {outputs.FEWEST} of each"
    assert numbers in TEXT
    assert f"up to {outputs.ROUNDED_SUM:g} away from 1" in TEXT
