"""What docs/deployment.md shows of exporting, serving and keys runs as it stands there, in that order."""

import re
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

from mindefense.defenses import DefendedModel, DefenderClassifier, DefenMI, DefenMIConfig, MemGuardConfig
from mindefense.evaluation.lineup import DefenseSpec
from mindefense.keyed import KeyedNoise, read_key
from mindefense.models import MLP
from mindefense.serving import GuardedModel, Manifest, export_guarded

TEXT = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
RNG = np.random.default_rng(0)


class OfImages(nn.Cell):
    def __init__(self):
        super().__init__()
        self.flatten, self.dense = nn.Flatten(), nn.Dense(3 * 32 * 32, 5)

    def construct(self, x):
        return self.dense(self.flatten(x))


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The names that all blocks have left behind, run in a folder of their own."""
    folder = tmp_path_factory.mktemp("docs")
    x = np.float32(RNG.random((70, 446)) < 0.2)
    classifier, means = DefenderClassifier(30), np.float32(RNG.dirichlet(np.ones(30), 30))
    names = {
        "net": MLP((446, 16, 30), seed=0),
        "defense": DefenMI(classifier, means, DefenMIConfig(max_iterations=5)),
        "x": x,
        "x_64": x[:64],
        "images": RNG.integers(256, size=(5, 3, 36, 36)).astype(np.uint8),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        export_guarded(OfImages(), None, "images", input_shape=(3, 32, 32), prepared="ImageTransform(32)")
        names["guarded_images"] = GuardedModel.load("images")
        for section in ("Exporting", "Serving", "Keys"):
            for block in re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL):
                if "noise_64" in block:
                    noise = KeyedNoise.of(read_key("secrets/guarded.key"), names["defense"].noise_scale)
                    names |= {"noise_64": noise(names["x_64"]), "served": names["guarded"].query(x)}
                exec(block, names)
                if "ImageTransform" in block:
                    assert names["log_probs"].shape == (5, 5)
        names["manifest"] = Manifest.read("deploy/guarded.json")
        names["key"] = read_key("secrets/guarded.key")
    return names


def test_blocks_run(ran):
    assert ran["served"].shape == (70, 30)
    np.testing.assert_array_equal(ran["log_probs"], ran["served"][:64])
    np.testing.assert_array_equal(ran["target"].query(ran["x"]), ran["served"])
    model = DefendedModel(ran["net"], ran["defense"], key=ran["key"])
    np.testing.assert_array_equal(model.respond(ran["x"]).argmax(axis=1), ran["served"].argmax(axis=1))


def test_defaults_are_those_of_the_text(ran):
    assert ran["manifest"].batch_size == 64
    assert "64 unless told" in SECTIONS["Exporting"]
    assert ran["manifest"].inputs == ("x", "noise")


def test_inputs_of_every_defense():
    """The table names each defense once, with what its graph takes."""
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", SECTIONS["Exporting"].split("depends on the defense")[1], re.M)
    table = {name: inputs for names, inputs in rows for name in re.findall(r"`([^`]+)`", names)}
    values = {"memguard=BUDGET": "memguard=0.3", "laplace": "laplace=0.1"}
    others = dict.fromkeys(("rounding=1", "top-k=1", "temperature=4", "class-mean", "label-only"), table.pop("none"))
    for name, inputs in {**table, **others}.items():
        spec = DefenseSpec.parse(values.get(name, name))
        defense = spec.build(lambda: DefenderClassifier(3), lambda: np.eye(3, dtype=np.float32), 3)
        assert ("noise" in inputs, "draws" in inputs) == (defense.noise_scale > 0, defense.draws > 0)


def test_commands_parse():
    from mindefense.cli import build_parser

    commands = re.findall(r"^\$ mindefense (.*?)(?:\s+#.*)?$", SECTIONS["Exporting"], re.M)
    assert [command.split()[0] for command in commands] == 3 * ["export"] + ["run", "export", "compare", "export"]
    for command in commands:
        build_parser().parse_args(command.split())


def test_ceilings_are_those_of_the_text():
    text = SECTIONS["Exporting"]
    for name, config in (("DefenMI", DefenMIConfig()), ("MemGuard", MemGuardConfig())):
        assert re.search(rf"{name}\D* {config.most_passes:,}\b", text), name
    assert not DefenMIConfig(max_steps=300).cuts_first_round


def test_stale_graphs_are_told_as_the_text_says(ran, tmp_path):
    """The names in the command are those of the manifest's fields."""
    export_guarded(
        ran["net"], None, tmp_path / "g", input_shape=(446,), sources={"target.ckpt": "1", "defense.ckpt": "2"}
    )
    lines = (tmp_path / "g.json").read_text(encoding="utf-8").splitlines()
    first = next(k for k, line in enumerate(lines) if '"sources"' in line)
    shown = "".join(lines[first : first + 4])  # what `grep -A 3` shows
    assert "grep -A 3" in SECTIONS["Exporting"]
    assert all(word in shown for word in ("target.ckpt", "defense.ckpt", "}"))


def test_fields_of_the_manifest_that_the_text_names(ran):
    for name in re.findall(r"`(most_passes|amp|sources|prepared)`", TEXT):
        assert hasattr(ran["manifest"], name)
    assert ran["manifest"].most_passes == 6 * 5  # rounds × iterations
