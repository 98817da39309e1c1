"""The blocks on pages that take a PyTorch module, where PyTorch is installed."""

import numpy as np
import pytest
from brought import CLASSES, FEATURES, SAMPLES
from pages import page

import mindefense
from mindefense.training import TrainConfig

torch = pytest.importorskip("torch", reason="PyTorch is not installed: torch is an extra")

QUICK = TrainConfig(epochs=4, learning_rate=0.05, decay_every=None, loss="sigmoid")


def block_with(name, part):
    (found,) = (block for block in page(name).blocks if block.language == "python" and part in block.text)
    return found.text


@pytest.fixture
def names(monkeypatch):
    monkeypatch.setitem(mindefense.fit_defenmi.__kwdefaults__, "train", QUICK)
    return {"evaluate": mindefense.evaluate, "fit_defenmi": mindefense.fit_defenmi}


def test_the_block_about_your_own_model(names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(144, 4).state_dict(), "module.pt")
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(300, 144)).astype(np.float32), rng.integers(4, size=300)
    inside, outside = (rows[:100], labels[:100]), (rows[100:], labels[100:])
    names["data"], names["split"] = mindefense.from_datasets(inside, outside, num_classes=4)
    exec(block_with("docs/your_model.md", "torch.nn.Linear(144, 4)"), names)
    assert names["of_module"].evidence.network == "Linear"
    assert names["of_module"].defense.name == "defenmi"


def test_the_block_about_outputs(names):
    names |= {**SAMPLES, "module": torch.nn.Linear(FEATURES.shape[1], CLASSES.max() + 1)}
    exec(block_with("docs/outputs.md", "import evaluate, fit_defenmi").partition("found =")[0], names)
    exec(block_with("docs/outputs.md", "TorchTarget(module"), names)
    assert names["found"].evidence.network == "Linear"
    assert names["found"].defense.name == "defenmi"
