"""`mindefense export` on a study that is there: what it writes, says and refuses, and that it serves."""

import hashlib
import json
import os
import shutil
import stat
import types

import mindspore as ms
import numpy as np
import pytest

from mindefense import cli
from mindefense.confidence import log_softmax
from mindefense.defenses import DefendedModel, load_defense
from mindefense.images import ImageTransform
from mindefense.keyed_noise import read_key
from mindefense.serving import GuardedModel
from mindefense.study import Preset, Study


@pytest.fixture
def study(staged, tmp_path):
    """A copy of the study, so that the others find theirs as it was."""
    return shutil.copytree(staged, tmp_path / "study")


def export(folder, *options):
    return cli.main(["export", "--out", str(folder), *map(str, options)])


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
    net, defense, _ = Study(None, study).guard()
    model = DefendedModel(net, load_defense(study / "defense.ckpt"), key=key)
    assert defense.name == "defenmi"
    assert "a query takes at most 1800 passes of the search; to bound it, run and evaluate the study" in out
    held = json.loads((study / "guarded.json").read_text(encoding="utf-8"))
    assert (held["most_passes"], held["amp"]) == (1800, "O0")
    assert held["sources"] == {name: sha256(study / name) for name in ("target.ckpt", "defense.ckpt")}
    np.testing.assert_array_equal(names["log_probs"][:16], model(ms.Tensor(x[:16])).asnumpy())
    np.testing.assert_array_equal(names["log_probs"].argmax(axis=1), net(ms.Tensor(x)).asnumpy().argmax(axis=1))

    assert export(study, "--batch_size", "16") == 0  # again: answers stay as they are
    assert f"kept the existing {study / 'guarded.key'}" in capfd.readouterr().out
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
    assert list(held["sources"]) == ["target.ckpt"]
    said = capfd.readouterr().out
    assert "passes" not in said
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
    before = {path.name: path.read_bytes() for path in study.iterdir() if path.is_file()}
    assert export(study, *options) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert {path.name: path.read_bytes() for path in study.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "most", "bounded_by"),
    [("memguard", 2100, "memguard@300"), ("memguard=0.3", 2100, "memguard=0.3@300"), ("defenmi@300", 300, None)],
)
def test_ceiling_is_said(name, most, bounded_by, study, capfd):
    assert export(study, "--defense", name, "--file_name", "bounded") == 0
    held = json.loads((study / "bounded.json").read_text(encoding="utf-8"))
    assert held["most_passes"] == most
    assert held["sources"] == {name: sha256(study / name) for name in ("target.ckpt", "defender.ckpt")}
    said = f"a query takes at most {most} passes of the search"
    said += "; to bound it, run and evaluate the study with --max_steps 300" if bounded_by else ""
    assert said in capfd.readouterr().out.splitlines()
    if bounded_by is not None:
        assert Study(None, study).guard(bounded_by)[1].settings()["max_steps"] == 300


def test_float16_is_exported_and_said(study, capfd):
    x = Study(None, study).rows("eval").features()[:64].astype(np.float32)
    answers = {}
    for amp in ("O0", "O2"):
        assert export(study, "--defense", "none", "--file_name", amp, "--amp", amp) == 0
        assert ("in float16\n" in capfd.readouterr().out) == (amp == "O2")
        assert json.loads((study / f"{amp}.json").read_text(encoding="utf-8"))["amp"] == amp
        logits = Study(None, study, amp=amp)._networks.network("target").logits(x)
        answers[amp] = GuardedModel.load(study / amp).query(x)
        np.testing.assert_allclose(answers[amp], log_softmax(logits), rtol=0, atol=2e-5)
    assert np.abs(answers["O0"] - answers["O2"]).max() > 1e-4


@pytest.mark.parametrize("name", ["none", "memguard", "top-k=3"])
def test_key_for_what_draws_nothing(name, study, tmp_path, capfd):
    before = {path.name for path in study.iterdir()}
    assert export(study, "--defense", name, "--key", tmp_path / "k") == 2
    err = capfd.readouterr().err
    assert "--key: expected a randomized defense, such as defenmi, got" in err
    assert err.endswith("; drop it\n")
    assert err.count("\n") == 1
    assert left(study, before) == []


def test_keys_of_others_do_not_matter_to_what_draws_nothing(study):
    (study / "guarded.key").write_text("no key")
    assert export(study, "--defense", "top-k=3", "--batch_size", "8") == 0


def test_place_for_a_key_that_is_none(study, tmp_path, capfd):
    before = {path.name for path in study.iterdir()}
    (tmp_path / "notes").write_text("a file, no folder")
    assert export(study, "--defense", "laplace=0.1", "--key", tmp_path / "notes" / "k") == 2
    err = capfd.readouterr().err
    assert "cannot write" in err
    assert err.count("\n") == 1
    assert left(study, before) == []  # the graph would have been in vain


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
    assert Preset.input_shape(types.SimpleNamespace(prepare=prepare), features) == shape
