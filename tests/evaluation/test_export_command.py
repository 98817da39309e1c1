"""`mindefense export` on a study that is there: what it writes, says and refuses, and that it serves."""

import json
import os
import shutil
import stat
import types

import mindspore as ms
import numpy as np
import pytest

from mindefense import cli
from mindefense.defenses import DefendedModel, load_defense
from mindefense.evaluation import Study
from mindefense.images import ImageTransform
from mindefense.keyed import read_key
from mindefense.serving import GuardedModel


@pytest.fixture
def study(staged, tmp_path):
    """A copy of the study, so that the others find theirs as it was."""
    return shutil.copytree(staged, tmp_path / "study")


def export(folder, *options):
    return cli.main(["export", "--out", str(folder), *map(str, options)])


def left(folder, before):
    return sorted({path.name for path in folder.iterdir()} - before)


def test_export_leaves_a_graph_that_serves(study, capfd):
    before = {path.name for path in study.iterdir()}
    assert export(study, "--batch_size", "16") == 0
    assert left(study, before) == ["guarded.json", "guarded.key", "guarded.mindir"]
    out, err = capfd.readouterr()
    assert err == ""
    key = read_key(study / "guarded.key")
    assert key.hex() not in out
    if os.name == "posix":
        assert stat.S_IMODE((study / "guarded.key").stat().st_mode) == 0o600
    for name in ("guarded.mindir", "guarded.json"):
        held = (study / name).read_bytes()
        assert key not in held
        assert key.hex().encode() not in held

    x = Study(None, study).rows("eval").features()[:20].astype(np.float32)
    names = {"x": x}
    snippet = out[out.index("    from mindefense") :]
    exec("\n".join(line.strip() for line in snippet.splitlines()), names)  # the lines that the command printed
    net, defense = Study(None, study).guard()
    model = DefendedModel(net, load_defense(study / "defense.ckpt"), key=key)
    assert defense.name == "defenmi"
    np.testing.assert_array_equal(names["log_probs"][:16], model(ms.Tensor(x[:16])).asnumpy())
    np.testing.assert_array_equal(names["log_probs"].argmax(axis=1), net(ms.Tensor(x)).asnumpy().argmax(axis=1))

    assert export(study, "--batch_size", "16") == 0  # again: answers stay as they are
    assert f"kept {study / 'guarded.key'}" in capfd.readouterr().out
    assert read_key(study / "guarded.key") == key


@pytest.mark.parametrize(
    ("options", "name", "inputs", "batch_size", "has_key"),
    [
        (("--defense", "none"), "bare", ["x"], 64, False),
        (("--defense", "top-k=3", "--batch_size", "dynamic"), "top", ["x"], None, False),
        (("--defense", "laplace=0.1", "--batch_size", "8"), "noisy.mindir", ["x", "draws"], 8, True),
    ],
)
def test_other_defenses_and_names(options, name, inputs, batch_size, has_key, study, capfd):
    before = {path.name for path in study.iterdir()}
    assert export(study, *options, "--file_name", name) == 0
    stem = name.removesuffix(".mindir")
    suffixes = ["json", "key", "mindir"] if has_key else ["json", "mindir"]
    assert left(study, before) == [f"{stem}.{suffix}" for suffix in suffixes]
    held = json.loads((study / f"{stem}.json").read_text(encoding="utf-8"))
    assert (held["inputs"], held["batch_size"], held["input_shape"], held["prepared"]) == (
        inputs, batch_size, [446], None,
    )  # fmt: skip
    said = capfd.readouterr().out
    assert ("keep" in said, "key=" in said) == (has_key, has_key)


def test_path_and_key_elsewhere(study, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    before = {path.name for path in study.iterdir()}
    given = ("--defense", "laplace=0.1", "--batch_size", "8", "--file_name", "deploy/g", "--key", "secrets/k")
    assert export(study, *given) == 0
    assert left(study, before) == []
    assert sorted(path.name for path in (tmp_path / "deploy").iterdir()) == ["g.json", "g.mindir"]
    GuardedModel.load(tmp_path / "deploy" / "g", tmp_path / "secrets" / "k")
    (tmp_path / "secrets" / "k").chmod(0o644)
    capfd.readouterr()
    if os.name == "posix":
        assert export(study, *given) == 2
        assert "chmod 600 secrets/k" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--file_name", "study"), ["study.json is no manifest of a graph", "choose another name"]),
        (("--file_name", "target"), ["target.json is no manifest of a graph"]),
    ],
)
def test_files_of_the_study_are_left_alone(options, words, study, capfd):
    before = {path.name: path.read_bytes() for path in study.iterdir()}
    assert export(study, *options) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert {path.name: path.read_bytes() for path in study.iterdir()} == before


def test_study_that_is_not_defended_yet(study, capfd):
    (study / "defense.ckpt").unlink()
    assert export(study) == 2
    assert "run `mindefense defend --out" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("prepare", "features", "shape"),
    [
        (None, np.zeros((2, 7), np.float32), (7,)),
        (ImageTransform(16), np.zeros((2, 3, 32, 32), np.uint8), (3, 16, 16)),
    ],
)
def test_shape_of_an_input_is_that_after_preparation(prepare, features, shape):
    study = types.SimpleNamespace(
        recipe=types.SimpleNamespace(prepare=prepare), data=types.SimpleNamespace(features=features)
    )
    assert Study.input_shape.fget(study) == shape
