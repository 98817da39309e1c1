"""What answers strangers: the Cell's answers, checked, in any company, and mistakes in one line."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from toy_graphs import BATCH, CLASSES, KEY, X

from mindefense.defenses import DefendedModel, Temperature
from mindefense.errors import CheckpointError, InputError
from mindefense.keyed_noise import write_key
from mindefense.models import MLP
from mindefense.serving import GuardedModel, Manifest, export_guarded
from mindefense.targets.base import Target

NAMES = ["defenmi", "memguard", "laplace-output-2", "bare"]


@pytest.fixture(scope="module")
def guarded_of(exported):
    """Name of a toy → its graph, loaded."""
    loaded = {}

    def load(name):
        if name not in loaded:
            manifest = Manifest.read(exported(name).with_suffix(".json"))
            loaded[name] = GuardedModel.load(exported(name), KEY if manifest.is_random else None)
        return loaded[name]

    return load


@pytest.mark.parametrize("name", NAMES[:3])
def test_answers_are_those_of_the_cell(name, guarded_of, net, defense_of):
    model = DefendedModel(net, defense_of(name), key=KEY)
    full = np.concatenate((X, np.repeat(X[-1:], -len(X) % BATCH, axis=0)))
    batches = [full[first : first + BATCH] for first in range(0, len(full), BATCH)]
    expected = np.concatenate([model(ms.Tensor(batch)).asnumpy() for batch in batches])[: len(X)]
    answers = guarded_of(name).query(X)
    assert (answers.shape, answers.dtype) == ((len(X), CLASSES), np.float32)
    assert answers.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_same_query_same_bytes_in_any_company(name, guarded_of):
    guarded = guarded_of(name)
    together = guarded.query(X)
    order = np.random.default_rng(5).permutation(len(X))
    assert guarded.query(X[order]).tobytes() == together[order].tobytes()
    assert guarded.query(X[9:10]).tobytes() == together[9:10].tobytes()
    assert guarded.query(np.concatenate((X[30:], X[:3])))[-1].tobytes() == together[2].tobytes()
    assert guarded.query(np.asfortranarray(np.float64(X))).tobytes() == together.tobytes()


@pytest.mark.parametrize("classes", [2, 3, 5, 30, 101])
def test_smallest_batch_that_is_promised(classes, tmp_path):
    """Whatever the number of classes, a row's place among 64 does not show in the last digits of a logarithm."""
    export_guarded(MLP((6, 16, classes), seed=3), Temperature(2.5), tmp_path / "g", input_shape=(6,), batch_size=64)
    guarded = GuardedModel.load(tmp_path / "g")
    together = guarded.query(X)
    for first in (1, 2, 3, 37):
        assert guarded.query(X[first:]).tobytes() == together[first:].tobytes()
    assert guarded.query(X[::-1]).tobytes() == together[::-1].tobytes()


def test_answers_depend_on_the_key(exported, guarded_of):
    mine, other = guarded_of("defenmi").query(X), GuardedModel.load(exported("defenmi"), bytes(32)).query(X)
    assert (np.abs(np.exp(mine) - np.exp(other)).sum(axis=1) > 1e-3).mean() > 0.5


def test_it_is_a_target(guarded_of):
    target = Target(guarded_of("defenmi").query)
    np.testing.assert_array_equal(target.query(X), guarded_of("defenmi").query(X))
    assert target.queries == len(X)


LOADS = """
import sys
import numpy as np
from mindefense import GuardedModel
guarded = GuardedModel.load(sys.argv[1], sys.argv[2])
sys.stdout.buffer.write(guarded.query(np.load(sys.argv[3])).tobytes())
found = {name.split(".")[1] for name in sys.modules if name.startswith("mindefense.")}
idle = found - {"errors", "files", "checks", "confidence", "keyed_noise", "lazy", "runtime", "subprocesses", "serving"}
assert not idle and "mindefense.serving.export" not in sys.modules, idle
"""


def test_it_loads_nothing_but_what_serves(exported, guarded_of, tmp_path):
    key = tmp_path / "guarded.key"
    key.write_text(KEY.hex() + "\n")
    key.chmod(0o600)
    np.save(tmp_path / "x.npy", X)
    arguments = [str(exported("defenmi")) + ".mindir", key, tmp_path / "x.npy"]
    environment = {**os.environ, "PYTHONHASHSEED": "11"}
    run = subprocess.run([sys.executable, "-c", LOADS, *map(str, arguments)], capture_output=True, env=environment)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stderr == b""
    assert run.stdout == guarded_of("defenmi").query(X).tobytes()


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (X[0], r"x: expected shape \(N, 6\) with at least one row, got \(6,\); pass x\[None\]"),
        (X[:, :5], r"expected shape \(N, 6\) with at least one row, got \(150, 5\)"),
        (X[:0], r"got \(0, 6\)"),
        (np.float32(1), r"got \(\)"),
        (X[:, None], r"got \(150, 1, 6\)"),
        (np.where(np.arange(len(X))[:, None] == 3, np.nan, X), "x row 3: expected finite float32, got NaN or infinity"),
        (np.where(np.arange(len(X))[:, None] == 4, np.inf, X), "x row 4"),
        (np.where(np.arange(len(X))[:, None] == 5, 1e300, np.float64(X)), "x row 5"),
        (np.array([["a"] * 6]), "x: expected real numbers, got <U1"),
        (np.array([[1j] * 6]), "x: expected real numbers, got complex128"),
    ],
)
def test_queries_that_are_none(x, message, guarded_of):
    with pytest.raises(InputError, match=message):
        guarded_of("memguard").query(x)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16])
def test_other_numbers_are_taken(dtype, guarded_of):
    rows = (X > 0).astype(dtype)
    np.testing.assert_array_equal(guarded_of("memguard").query(rows), guarded_of("memguard").query(np.float32(rows)))


class Says(nn.Cell):
    """A graph that answers what it is told to."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def __call__(self, x):
        if isinstance(self.answer, Exception):
            raise self.answer
        return ms.Tensor(self.answer[: len(x)])


UNIFORM = np.full((BATCH, CLASSES), np.log(1 / CLASSES), np.float32)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.where(np.arange(BATCH)[:, None] == 2, np.nan, UNIFORM), "answer of the graph row 2: expected finite"),
        (np.where(np.arange(BATCH)[:, None] == 2, -np.inf, UNIFORM), "answer of the graph row 2: expected finite"),
        (UNIFORM + 0.01, "answer of the graph row 0: expected a sum of 1"),
        (UNIFORM[:, :2], r"answer of the graph: expected shape \(3, 8\), got \(3, 2\)"),
        (UNIFORM[:1], r"expected shape \(3, 8\), got \(1, 8\)"),
        (RuntimeError("out of memory\nat length"), "inputs that the graph runs on, got out of memory$"),
    ],
)
def test_nothing_unchecked_is_answered(answer, message, exported):
    manifest = Manifest.read(exported("memguard").with_suffix(".json"))
    assert GuardedModel(Says(UNIFORM), manifest, None).query(X[:3]).shape == (3, CLASSES)
    if isinstance(answer, np.ndarray):
        answer = answer.astype(np.float32)
    with pytest.raises(InputError, match=message):
        GuardedModel(Says(answer), manifest, None).query(X[:3])


@pytest.mark.parametrize("name", ["defenmi", "laplace-output-2"])
def test_key_that_is_missing(name, exported):
    drawn = "noise" if name == "defenmi" else "draws"
    with pytest.raises(InputError, match=f"key: expected the secret that {drawn} .*, got none; .*guarded.key"):
        GuardedModel.load(exported(name))


@pytest.mark.parametrize("name", ["memguard", "bare"])
def test_key_where_nothing_is_drawn(name, exported):
    with pytest.raises(InputError, match=r"key: expected none, since .* draws nothing, got one; leave it out"):
        GuardedModel.load(exported(name), KEY)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("key", [b"", KEY[:31], KEY + b"\n", KEY.hex().encode() + b"\n"])
def test_key_of_another_length(key, kind, exported):
    """The digits in a key's file are not the key: they would give other noise."""
    expected = f"^key: expected 32 bytes, or a path, got {len(key)} bytes; pass the path of the key's file"
    with pytest.raises(InputError, match=expected) as caught:
        GuardedModel.load(exported("defenmi"), kind(key))
    assert KEY.hex()[:8] not in str(caught.value)


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_key_of_another_kind(kind, exported, guarded_of):
    guarded = GuardedModel.load(exported("defenmi"), kind(KEY))
    assert guarded.query(X[:3]).tobytes() == guarded_of("defenmi").query(X[:3]).tobytes()


def test_key_that_is_no_file(exported, tmp_path):
    with pytest.raises(InputError, match=r"key .*guarded.key: expected a file"):
        GuardedModel.load(exported("defenmi"), tmp_path / "guarded.key")


def test_graph_that_mindspore_stumbles_over_is_loaded_afresh(exported, guarded_of):
    guarded = GuardedModel.load(exported("memguard"))
    guarded._graph = Says(RuntimeError("The actor already exists: Default/Switch-op0"))
    np.testing.assert_array_equal(guarded.query(X), guarded_of("memguard").query(X))
    guarded._graph = Says(RuntimeError("out of memory"))
    with pytest.raises(InputError, match="out of memory"):
        guarded.query(X)


def test_graph_is_loaded_afresh_from_another_working_folder_too(exported, guarded_of, tmp_path, monkeypatch):
    monkeypatch.chdir(exported("memguard").parent)
    guarded = GuardedModel.load("guarded")
    monkeypatch.chdir(tmp_path)
    guarded._graph = Says(RuntimeError("The actor already exists: Default/Switch-op0"))
    np.testing.assert_array_equal(guarded.query(X), guarded_of("memguard").query(X))


@pytest.fixture
def copied(exported, tmp_path):
    """A graph of one's own to spoil."""
    for suffix in (".mindir", ".json"):
        shutil.copy(exported("memguard").with_suffix(suffix), tmp_path / f"g{suffix}")
        (tmp_path / f"g{suffix}").chmod(0o600)
    return tmp_path / "g"


def test_graph_that_was_changed(copied):
    graph = copied.with_suffix(".mindir")
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match=r"g.mindir: expected SHA-256 .*as g.json says, got .*; copy both"):
        GuardedModel.load(copied)


def test_graph_that_does_not_load(copied):
    graph, manifest = copied.with_suffix(".mindir"), copied.with_suffix(".json")
    graph.write_bytes(b"no graph")
    held = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**held, "sha256": hashlib.sha256(b"no graph").hexdigest()}))
    with pytest.raises(CheckpointError, match="expected a graph that loads") as caught:
        GuardedModel.load(copied)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("suffix", "message"), [(".mindir", "no graph at"), (".json", "no manifest at")])
def test_file_that_is_missing(suffix, message, copied):
    copied.with_suffix(suffix).unlink()
    with pytest.raises(CheckpointError, match=message):
        GuardedModel.load(copied)


def test_manifest_of_something_else(copied):
    copied.with_suffix(".json").write_text('{"kind": "target"}')
    with pytest.raises(CheckpointError, match="expected the manifest of a graph"):
        GuardedModel.load(copied)


def test_model_does_not_show_its_key(exported, tmp_path):
    key = write_key(tmp_path / "k")
    guarded = GuardedModel.load(exported("defenmi"), tmp_path / "k")
    for shown in (repr(guarded), repr(vars(guarded))):
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
