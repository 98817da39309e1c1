"""What docs/deployment.md says of graphs, keys and manifests is so, of those that its blocks make too."""

import re

import numpy as np
import pytest
from pages import page

from mindefense.defenses import DefendedModel, DefenderClassifier, DefenMIConfig, MemGuardConfig
from mindefense.defenses.registry import DefenseSpec
from mindefense.keyed_noise import read_key
from mindefense.serving import Manifest, export_guarded

PAGE = page("docs/deployment.md")
EXPORTING = PAGE.sections["Exporting"]


@pytest.fixture(scope="module")
def read(reader):
    return reader(PAGE.name).read()


def test_graph_model_and_target_answer_alike(read):
    served = read.names["guarded"].query(read.names["x"])
    assert served.shape == (70, 30)
    np.testing.assert_array_equal(read.names["log_probs"], served[:64])
    np.testing.assert_array_equal(read.names["target"].query(read.names["x"]), served)
    model = DefendedModel(read.names["net"], read.names["defense"], key=read_key(read.folder / "secrets/guarded.key"))
    np.testing.assert_array_equal(model.respond(read.names["x"]).argmax(axis=1), served.argmax(axis=1))
    assert read.names["guarded_images"].query(read.names["inputs"]).shape == (5, 5)


def test_defaults_are_those_of_the_text(read):
    manifest = Manifest.read(read.folder / "deploy/guarded.json")
    assert manifest.batch_size == 64
    assert "(default: 64)" in EXPORTING
    assert manifest.inputs == ("x", "noise")
    assert manifest.most_passes == 6 * 5  # rounds × iterations


def test_inputs_of_every_defense():
    """The table names each defense once, with what its graph takes."""
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", EXPORTING.split("depend on the defense")[1], re.M)
    table = {name: inputs for names, inputs in rows for name in re.findall(r"`([^`]+)`", names)}
    values = {"memguard=BUDGET": "memguard=0.3", "laplace": "laplace=0.1"}
    others = dict.fromkeys(("rounding=1", "top-k=1", "temperature=4", "class-mean", "label-only"), table.pop("none"))
    for name, inputs in {**table, **others}.items():
        spec = DefenseSpec.parse(values.get(name, name))
        defense = spec.build(lambda: DefenderClassifier(3), lambda: np.eye(3, dtype=np.float32), 3)
        assert ("noise" in inputs, "draws" in inputs) == (defense.noise_scale > 0, defense.draws > 0)


def test_commands_export_what_the_text_says_of_them(read):
    """In the order of the page: the study's own defense, another, none, and twice one with a budget."""
    said = [read.said[number] for number, line in enumerate(PAGE.text.splitlines(), 1) if "$ mindefense export" in line]
    wanted = re.compile(r"^exported (defenmi|memguard|the bare target)|at most (\d+) passes", re.MULTILINE)
    assert [wanted.findall(text) for text in said] == [
        [("defenmi", ""), ("", "1800")],
        [("memguard", ""), ("", "2100")],
        [("the bare target", "")],
        [("defenmi", ""), ("", "300")],
        [("defenmi", ""), ("", "300")],
    ]


def test_ceilings_are_those_of_the_text():
    for name, config in (("DefenMI", DefenMIConfig()), ("MemGuard", MemGuardConfig())):
        assert re.search(rf"{name}\D* {config.most_passes:,}\b", EXPORTING), name
    assert not DefenMIConfig(max_steps=300).cuts_first_round


def test_sums_and_manifest_say_the_same_of_a_fresh_graph(read):
    (said,) = (said for said in read.said.values() if '"sources"' in said)
    for file in ("target.ckpt", "defense.ckpt"):
        (told,) = re.findall(rf"^([0-9a-f]{{64}})  {file}$", said, re.M)
        assert f'"{file}": "{told}"' in said


def test_what_grep_shows_is_all_of_the_sources(read, tmp_path):
    sources = {"target.ckpt": "1", "defense.ckpt": "2"}
    export_guarded(read.names["net"], None, tmp_path / "g", input_shape=(446,), sources=sources)
    lines = (tmp_path / "g.json").read_text(encoding="utf-8").splitlines()
    first = next(k for k, line in enumerate(lines) if '"sources"' in line)
    shown = "".join(lines[first : first + 4])
    assert "grep -A 3" in EXPORTING
    assert all(word in shown for word in (*sources, "}"))


def test_fields_of_the_manifest_that_the_text_names(read):
    manifest = Manifest.read(read.folder / "deploy/guarded.json")
    for name in re.findall(r"`(most_passes|amp|sources|prepared)`", PAGE.text):
        assert hasattr(manifest, name)
