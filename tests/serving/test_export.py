"""What is exported answers as the Python Cell does, to the last bit, and runs where this package is not."""

import contextlib
import json
import os
import stat
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from toy_graphs import BATCH, CLASSES, KEY, X

from mindefense.confidence import log_softmax
from mindefense.defenses import ClassMean, DefendedModel
from mindefense.defenses.defended import DEFENSES
from mindefense.errors import CheckpointError, InputError, OutputError
from mindefense.keyed_noise import KeyedDraws, KeyedNoise
from mindefense.models import vgg16
from mindefense.runtime import compiled
from mindefense.serving import GuardedModel, Manifest, export, export_guarded
from mindefense.serving.manifest import files_of
from mindefense.targets.cell import forward

KINDS = {
    "class-mean": ["x"],
    "defenmi": ["x", "noise"],
    "label-only": ["x"],
    "laplace-output-2": ["x", "draws"],
    "memguard": ["x"],
    "memguard-budget-0.3": ["x", "draws"],
    "rounding-1": ["x"],
    "temperature-10": ["x"],
    "top-2": ["x"],
}
"""One toy of each defense, and what its graph takes."""
ROWS = X[:BATCH]


def feeds_for(defense):
    """What goes into the graph."""
    second = {True: KeyedNoise.of(KEY, defense.noise_scale)}.get(defense.noise_scale > 0)
    second = second or (KeyedDraws.of(KEY, defense.draws) if defense.draws else None)
    return [ROWS] if second is None else [ROWS, second(ROWS)]


def run_graph(path, *feeds, again=True):
    try:
        with compiled():
            return nn.GraphCell(ms.load(f"{path}.mindir"))(*map(ms.Tensor, feeds)).asnumpy()
    except RuntimeError as error:
        if not again or "actor already exists" not in str(error):  # see `GuardedModel`
            raise
        return run_graph(path, *feeds, again=False)


@pytest.mark.parametrize("name", KINDS)
def test_graph_answers_as_the_cell(name, net, defense_of, exported):
    defense, path = defense_of(name), exported(name)
    expected = DefendedModel(net, defense, key=KEY)(ms.Tensor(ROWS)).asnumpy()
    assert run_graph(path, *feeds_for(defense)).tobytes() == expected.tobytes()
    held = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert held["inputs"] == KINDS[name]
    assert (held["classes"], held["input_shape"], held["batch_size"]) == (CLASSES, [6], BATCH)
    assert (held["noise_scale"], held["draws"]) == (defense.noise_scale, defense.draws)
    assert (held["defense"], held["config"]) == (defense.name, defense.settings())
    assert held["keeps_labels"] == defense.keeps_labels
    assert {"mindefense", "mindspore", "numpy"} <= set(held["versions"])


def test_every_defense_is_tried(defense_of):
    assert {type(defense_of(name)).name for name in KINDS} == set(DEFENSES)


def test_bare_graph_answers_as_the_network(net, exported):
    logits = forward(net, ROWS, batch_size=BATCH)
    np.testing.assert_allclose(run_graph(exported("bare"), ROWS), log_softmax(logits), atol=1e-5)
    manifest = Manifest.read(exported("bare").with_suffix(".json"))
    assert (manifest.inputs, manifest.defense, manifest.config, manifest.keeps_labels) == (("x",), None, {}, True)


FRESH = """
import os, sys
os.environ["GLOG_v"] = "3"
import numpy as np
import mindspore as ms
from mindspore import nn
for name in sys.argv[1:]:
    feeds = np.load(name + ".npz")
    graph = nn.GraphCell(ms.load(feeds["graph"].item()))
    answers = graph(*(ms.Tensor(feeds[part]) for part in ("x", "second") if part in feeds)).asnumpy()
    np.save(name + ".npy", answers)
    assert "mindefense" not in sys.modules
"""


def test_fresh_process_without_the_package_gives_the_same_bits(net, defense_of, exported, tmp_path):
    expected = {}
    for name in ("defenmi", "memguard", "memguard-budget-0.3", "bare"):
        feeds = [ROWS] if name == "bare" else feeds_for(defense_of(name))
        held = dict(zip(("x", "second"), feeds, strict=False))
        np.savez(tmp_path / f"{name}.npz", graph=f"{exported(name)}.mindir", **held)
        cell = export._joined(net, None) if name == "bare" else DefendedModel(net, defense_of(name), key=KEY)
        expected[name] = cell(ms.Tensor(ROWS)).asnumpy()
    run = subprocess.run([sys.executable, "-I", "-c", FRESH, *expected], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    for name, answers in expected.items():
        assert np.load(tmp_path / f"{name}.npy").tobytes() == answers.tobytes(), name


@pytest.mark.parametrize("name", ["defenmi", "laplace-output-2"])
def test_dynamic_graph_takes_any_number(name, net, defense_of, exported):
    guarded = GuardedModel.load(exported(name, None), KEY)
    model = DefendedModel(net, defense_of(name), key=KEY)
    for n in (21, 1, 8):
        expected = model(ms.Tensor(X[:n])).asnumpy()
        np.testing.assert_allclose(guarded.query(X[:n]), expected, atol=1e-5)  # a logarithm's digits vary with n


@pytest.mark.parametrize("name", ["defenmi", "laplace-output-2"])
def test_nothing_of_a_key_is_written(name, net, defense_of, tmp_path, monkeypatch):
    monkeypatch.setattr("secrets.token_bytes", lambda count: KEY[:count])  # whatever key is drawn on the way
    export_guarded(net, defense_of(name), tmp_path / "g", input_shape=(6,), batch_size=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.json", "g.mindir"]
    for path in tmp_path.iterdir():
        held = path.read_bytes()
        assert KEY[:16] not in held
        assert KEY.hex()[:32].encode() not in held


def test_images_behind_a_defense(tmp_path):
    """A network with batch normalization and dropout is exported as it answers, also in the midst of its training."""
    net = vgg16(num_classes=5, image_size=32, batch_norm=True, width_multiplier=0.0625, seed=1)
    x = np.float32(np.random.default_rng(2).normal(size=(3, 3, 32, 32)))
    means = np.float32(np.random.default_rng(0).dirichlet(np.ones(5), 5))
    expected = DefendedModel(net, ClassMean(means), key=KEY, batch_size=2).respond(x)
    net.set_train(True)
    names = [parameter.name for parameter in net.get_parameters()]
    manifest = export_guarded(
        net, ClassMean(means), tmp_path / "g", input_shape=(3, 32, 32), batch_size=2, prepared="ImageTransform(32)"
    )
    assert all(cell.training for _, cell in net.cells_and_names())
    assert [parameter.name for parameter in net.get_parameters()] == names
    guarded = GuardedModel.load(tmp_path / "g")
    np.testing.assert_allclose(guarded.query(x), expected, atol=1e-5)
    assert (manifest.prepared, manifest.input_shape) == ("ImageTransform(32)", (3, 32, 32))
    with pytest.raises(InputError, match=r"x: expected what ImageTransform\(32\) makes, float32, got uint8"):
        guarded.query(np.zeros((1, 3, 32, 32), np.uint8))


def test_names_of_parameters_are_given_back(defense_of, tmp_path):
    from mindefense.models import MLP

    net = MLP((6, 16, CLASSES), seed=3)
    names = [parameter.name for parameter in net.get_parameters()]
    export_guarded(net, defense_of("label-only"), tmp_path / "g", input_shape=(6,), batch_size=2)
    assert [parameter.name for parameter in net.get_parameters()] == names
    assert not any(name.startswith("net.") for name in names)


class Loops(nn.Cell):
    """Outputs, but does not compile."""

    def construct(self, x):
        return ms.Tensor(np.zeros((len(x.asnumpy()), CLASSES), np.float32))


class Infinite(nn.Cell):
    def construct(self, x):
        return ops.log(x - x)[:, :CLASSES]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (7,)}, "rows that the network takes"),
        ({"batch_size": 0}, "batch_size: expected at least 1, or None for any, got 0"),
        ({"net": Infinite()}, "expected finite values"),
        ({"net": nn.Dense(6, 1)}, r"with at least two classes, got \(1, 1\), one number a sample"),
        ({"net": Loops()}, "net: expected a Cell that compiles to a graph"),
        ({"defense": ClassMean(np.eye(9, dtype=np.float32))}, "one for 8 classes, as the network has, got one for 9"),
    ],
)
def test_what_cannot_be_exported(change, message, net, defense_of, tmp_path, tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))  # MindSpore describes graphs that fail in the working folder
    given = {"net": net, "defense": defense_of("label-only"), "input_shape": (6,), **change}
    with pytest.raises(InputError, match=message) as caught:
        export_guarded(given.pop("net"), given.pop("defense"), tmp_path / "new" / "g", **given)
    assert str(caught.value).count("\n") == 0
    assert list(tmp_path.iterdir()) == []


def test_network_beyond_one_file(net, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "MOST_BYTES", 500)
    with pytest.raises(InputError, match="parameters of at most 1 GiB"):
        export_guarded(net, None, tmp_path / "g", input_shape=(6,))


def old_files(folder):
    """What an earlier export left, and what it holds."""
    held = Manifest("0" * 64, 3, (6,), 2, None, 0.0, 0, True, None, "O0", None, {}, {}, {})
    (folder / "g.json").write_text(json.dumps(held.as_json()))
    (folder / "g.mindir").write_text("old")
    return (folder / "g.json").read_bytes(), b"old"


@pytest.mark.parametrize("fails", ["write_json", "_write_graph"])
def test_both_files_or_none(fails, net, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = old_files(tmp_path)
    monkeypatch.setattr(export, fails, full)
    with pytest.raises(OutputError, match="No space left on device"):
        export_guarded(net, None, tmp_path / "g", input_shape=(6,))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.json", "g.mindir"]
    assert ((tmp_path / "g.json").read_bytes(), (tmp_path / "g.mindir").read_bytes()) == before


def test_an_export_replaces_an_earlier_one(net, tmp_path):
    old_files(tmp_path)
    manifest = export_guarded(net, None, tmp_path / "g.mindir", input_shape=(6,), batch_size=2)
    assert Manifest.read(tmp_path / "g.json") == manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.json", "g.mindir"]
    if os.name == "posix":
        assert not stat.S_IMODE((tmp_path / "g.mindir").stat().st_mode) & 0o077  # a model is not everybody's


@pytest.mark.parametrize("content", ['{"model": "mlp"}', '{"kind": "target"}', "[]", "notes", "\xff"])
def test_files_of_others_are_left_alone(content, net, tmp_path):
    (tmp_path / "study.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(OutputError, match=r"study.json is no manifest of a graph; choose another name"):
        export_guarded(net, None, tmp_path / "study", input_shape=(6,))
    assert (tmp_path / "study.json").read_bytes() == content.encode("latin-1")
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


@pytest.mark.parametrize("content", ["", '{"kind": "gu', "\xff", '{"kind": "guarded", "schema_version": 1}'])
def test_a_damaged_or_older_export_is_replaced(content, net, tmp_path):
    old_files(tmp_path)
    (tmp_path / "g.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match="export it again"):
        GuardedModel.load(tmp_path / "g")
    export_guarded(net, None, tmp_path / "g", input_shape=(6,), batch_size=2)
    assert GuardedModel.load(tmp_path / "g").query(X[:1]).shape == (1, CLASSES)


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize("suffix", [".mindir", ".json"])
def test_either_name_that_cannot_be_taken(suffix, is_there, net, tmp_path, monkeypatch):
    before = old_files(tmp_path) if is_there else None
    names = sorted(path.name for path in tmp_path.iterdir())
    replace, failed = os.replace, []

    def fail_once(source, target):
        if str(target).endswith(suffix) and not failed:
            failed.append(target)
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr("mindefense.files.os.replace", fail_once)
    with pytest.raises(OutputError, match="Input/output error"):
        export_guarded(net, None, tmp_path / "g", input_shape=(6,), batch_size=2)
    assert failed == [tmp_path / f"g{suffix}"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    if before:
        assert ((tmp_path / "g.json").read_bytes(), (tmp_path / "g.mindir").read_bytes()) == before


def test_folder_of_the_name_of_a_graph(net, tmp_path):
    (tmp_path / "g.mindir").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*g.mindir: Is a directory"):
        export_guarded(net, None, tmp_path / "g", input_shape=(6,), batch_size=2)
    assert [path.name for path in tmp_path.iterdir()] == ["g.mindir"]


def test_process_that_dies_between_both(net, tmp_path, monkeypatch):
    """The new manifest beside the old graph is refused, and exporting again mends it."""
    old_files(tmp_path)
    monkeypatch.setattr(export, "_restoring", lambda _: contextlib.nullcontext())
    with monkeypatch.context() as patch:
        replace = os.replace
        patch.setattr(
            "mindefense.files.os.replace", lambda *names: 1 / 0 if names[1].suffix == ".mindir" else replace(*names)
        )
        with pytest.raises(ZeroDivisionError):
            export_guarded(net, None, tmp_path / "g", input_shape=(6,), batch_size=2)
    with pytest.raises(CheckpointError, match=r"expected SHA-256 .*export again"):
        GuardedModel.load(tmp_path / "g")
    export_guarded(net, None, tmp_path / "g", input_shape=(6,), batch_size=2)
    GuardedModel.load(tmp_path / "g")


@pytest.mark.parametrize("name", ["defenmi", "memguard", "memguard-budget-0.3"])
def test_ceiling_of_the_search(name, exported, defense_of):
    config = defense_of(name).settings()
    rounds = 1 + round(np.log10(config["threshold"] / config["c3_first"]))
    most = Manifest.read(exported(name).with_suffix(".json")).most_passes
    assert most == rounds * config["max_iterations"]
    bounded = type(defense_of(name)).restore({**config, "max_steps": 61}, defense_of(name).arrays())
    assert export._most_passes(bounded) == 61 < most


def test_no_search_has_no_ceiling(exported):
    for name in ("laplace-output-2", "bare"):
        assert Manifest.read(exported(name).with_suffix(".json")).most_passes is None


MANIFEST = Manifest(
    "0" * 64, 3, (6,), 2, None, 0.5, 0, True, 1800, "O0", "defenmi", {"delta": 1.0}, {"target.ckpt": "1" * 64}, {}
).as_json()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (None, "expected the manifest of a graph, got something else"),
        ({"kind": "defense"}, "got something else"),
        ({"schema_version": 1}, "expected schema version 2, got 1; .* export it again"),
        ({"schema_version": 3}, "expected schema version 2, got 3"),
        ({"most_passes": 0}, "damaged: most_passes is"),
        ({"amp": 2}, "damaged: amp is"),
        ({"sources": None}, "damaged: sources is"),
        ({"classes": "3"}, "damaged: classes is"),
        ({"classes": 0}, "damaged: classes is"),
        ({"classes": True}, "damaged: classes is"),
        ({"input_shape": 6}, "damaged: input_shape is"),
        ({"input_shape": [6.5]}, "damaged: input_shape is"),
        ({"noise_scale": -1.0}, "damaged: noise_scale is"),
        ({"noise_scale": "much"}, "damaged: noise_scale is"),
        ({"noise_scale": 0.0}, "damaged: inputs is"),
        ({"draws": -1}, "damaged: draws is"),
        ({"extra": 1}, "damaged: extra is"),
        ({"sha256": None}, "damaged: sha256 is"),
    ],
)
def test_damaged_manifest(change, message, tmp_path):
    path = tmp_path / "g.json"
    path.write_text(json.dumps([] if change is None else {**MANIFEST, **change}))
    with pytest.raises(CheckpointError, match=message):
        Manifest.read(path)
    path.write_text(json.dumps(MANIFEST))
    assert Manifest.read(path).inputs == ("x", "noise")


@pytest.mark.parametrize("content", ["", "{", "\xff"])
def test_manifest_that_is_no_json(content, tmp_path):
    (tmp_path / "g.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match="expected the manifest of a graph, got no JSON; give the path"):
        Manifest.read(tmp_path / "g.json")


@pytest.mark.parametrize("name", ["g", "g.mindir", "g.json", "g.key", "v1.2"])
def test_any_of_the_three_names_will_do(name):
    stem = "v1.2" if name == "v1.2" else "g"
    assert [str(path) for path in files_of(name)] == [stem + ".mindir", stem + ".json", stem + ".key"]
