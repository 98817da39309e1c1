"""Checkpoints come back as they were, say what they are, and are whole or not there."""

import contextlib
import json
import os

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindefense.checkpoint import Checkpoint, load_checkpoint, load_into, parameters_of, save_checkpoint
from mindefense.errors import CheckpointError, InputError, OutputError
from mindefense.models import MLP, vgg16

try:
    import resource
except ImportError:  # on Windows
    resource = None

DESCRIPTION = {"kind": "target", "architecture": {"name": "mlp", "widths": [4, 3, 2]}, "note": "é", "none": None}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def same(one, other):
    assert list(one) == list(other)
    for name, array in one.items():
        assert array.dtype == other[name].dtype
        np.testing.assert_array_equal(array, other[name])


@pytest.fixture
def net():
    return MLP((4, 3, 2), seed=1)


def test_round_trip(tmp_path, net):
    path = tmp_path / "runs" / "a.ckpt"
    parameters = {**parameters_of(net), "steps": np.arange(3), "turned": np.float64([[1, 2], [3, 4]]).T}
    save_checkpoint(path, parameters, DESCRIPTION)
    held = load_checkpoint(str(path))
    assert held.path == path
    assert held.description == DESCRIPTION
    same(held.parameters, parameters)
    assert json.loads((tmp_path / "runs" / "a.json").read_text(encoding="utf-8")) == DESCRIPTION
    assert names(tmp_path / "runs") == ["a.ckpt", "a.json"]


def test_written_again(tmp_path, net):
    path = tmp_path / "a.ckpt"
    for seed in (1, 2):
        save_checkpoint(path, parameters_of(MLP((4, 3, 2), seed=seed)), {"seed": seed})
    assert load_checkpoint(path).description == {"seed": 2}
    same(load_checkpoint(path).parameters, parameters_of(MLP((4, 3, 2), seed=2)))
    assert names(tmp_path) == ["a.ckpt", "a.json"]


def test_of_another_program(tmp_path, net):
    ms.save_checkpoint(net, str(tmp_path / "a.ckpt"), append_dict={"epoch": 3, "name": "theirs"})
    held = load_checkpoint(tmp_path / "a.ckpt")
    assert held.description == {}
    for name, array in parameters_of(net).items():
        np.testing.assert_array_equal(held.parameters[name], array)


def test_into_a_network(tmp_path, net):
    ms.save_checkpoint(net, str(tmp_path / "a.ckpt"))
    other = MLP((4, 3, 2), seed=2)
    load_into(other, load_checkpoint(tmp_path / "a.ckpt"))
    same(parameters_of(other), parameters_of(net))


def test_into_a_network_of_another_dtype(tmp_path, net):
    load_into(net, Checkpoint(tmp_path, {k: v.astype(np.float64) * 2 for k, v in parameters_of(net).items()}, {}))
    same(parameters_of(net), {k: v * 2 for k, v in parameters_of(MLP((4, 3, 2), seed=1)).items()})


def changed(**arrays):
    """The parameters of `net`, with these in place of those of the same name; None leaves one out."""
    held = parameters_of(MLP((4, 3, 2), seed=2))
    return {k: v for k, v in (held | {k.replace("__", "."): v for k, v in arrays.items()}).items() if v is not None}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (changed(layers__0__bias=None), r"\(missing: layers.0.bias\)"),
        (changed(theirs=np.zeros(1)), r"\(unexpected: theirs\)"),
        (changed(layers__0__bias=np.zeros(5)), r"\(mis-shaped: layers.0.bias \(5,\) instead of \(3,\)\)"),
        (
            changed(layers__1__bias=None, theirs=np.zeros(1), layers__0__bias=np.zeros((3, 1))),
            r"\(missing: layers.1.bias; unexpected: theirs; mis-shaped: layers.0.bias \(3, 1\) instead of \(3,\)\)",
        ),
        ({f"n{k}": np.zeros(1) for k in range(9)}, r"unexpected: n0, n1, n2, n3 and 5 more\)"),
    ],
)
def test_into_the_wrong_network(tmp_path, net, parameters, words):
    before = {name: array.copy() for name, array in parameters_of(net).items()}
    with pytest.raises(
        CheckpointError, match=f"a.ckpt does not fit this network .*{words}: expected MLP 4-3-2, got"
    ) as caught:
        load_into(net, Checkpoint(tmp_path / "a.ckpt", parameters, {}))
    assert "\n" not in str(caught.value)
    same(parameters_of(net), before)


def test_into_a_network_of_another_image_size(tmp_path):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, parameters_of(vgg16(10, 32, width_multiplier=0.0625)), {})
    net = vgg16(10, 64, width_multiplier=0.0625, seed=1)
    before = {name: array.copy() for name, array in parameters_of(net).items()}
    with pytest.raises(CheckpointError) as caught:
        load_into(net, load_checkpoint(path))
    of = "VGG16 with batch normalization, image_size {}, 10 classes, width_multiplier 0.0625"
    assert str(caught.value) == (
        f"{path} does not fit this network (mis-shaped: classifier.0.weight (256, 32) instead of (256, 128)): "
        f"expected {of.format(64)}, got a file that seems to contain {of.format(32)}; "
        "build the network of the file (docs/your_model.md), or choose another checkpoint"
    )
    same(parameters_of(net), before)


def test_into_a_network_without_batch_normalization(tmp_path):
    held = Checkpoint(tmp_path / "a.ckpt", parameters_of(vgg16(10, 32, width_multiplier=0.0625)), {})
    with pytest.raises(
        CheckpointError,
        match=r"\(missing: layers.2.weight, layers.5.weight, .* and 3 more; "
        r"unexpected: layers.1.moving_mean, layers.1.moving_variance, layers.1.gamma, layers.1.beta and 55 more; "
        r"mis-shaped: layers.7.weight .*\): expected VGG16 without .*, got .* VGG16 with batch",
    ) as caught:
        load_into(vgg16(10, 32, width_multiplier=0.0625, batch_norm=False), held)
    assert "\n" not in str(caught.value)


def test_a_file_of_no_known_network(net):
    with pytest.raises(CheckpointError, match="expected MLP 4-3-2, got a file that seems to contain no network known"):
        load_into(net, Checkpoint("a.ckpt", {"conv.weight": np.zeros((8, 3, 3, 3))}, {}))


def test_what_mindspores_training_saves(tmp_path, net):
    momentum = nn.Momentum(net.trainable_params(), [0.1, 0.05], 0.9)
    step = nn.TrainOneStepCell(nn.WithLossCell(net, nn.SoftmaxCrossEntropyWithLogits(sparse=True)), momentum)
    step.set_train()
    rows = ms.Tensor(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    step(rows, ms.Tensor(np.array([0, 1, 1, 0, 1], np.int32)))
    ms.save_checkpoint(step, str(tmp_path / "a.ckpt"))
    held = load_checkpoint(tmp_path / "a.ckpt")
    moments = {f"moments.{name}" for name in parameters_of(net)}
    assert held.state.keys() == moments | {"learning_rate", "momentum", "global_step"}
    assert held.state["global_step"].item() == 1
    assert all(held.state[name].any() for name in moments)
    other = MLP((4, 3, 2), seed=2)
    load_into(other, held)
    same(parameters_of(other), parameters_of(net))
    assert not np.array_equal(net.weights()[0][0], MLP((4, 3, 2), seed=1).weights()[0][0])  # a step was made


@pytest.mark.parametrize(
    "optimizer", [nn.SGD, nn.Momentum, nn.Adam, nn.AdamWeightDecay, nn.RMSProp, nn.Adagrad, nn.Lamb]
)
def test_what_an_optimizer_saves_is_no_network(tmp_path, net, optimizer):
    more = {"momentum": 0.9} if optimizer is nn.Momentum else {}
    ms.save_checkpoint(optimizer(net.trainable_params(), 0.1, **more), str(tmp_path / "a.ckpt"))
    held = load_checkpoint(tmp_path / "a.ckpt")
    assert held.parameters.keys() == parameters_of(net).keys()
    assert "learning_rate" in held.state


class Confusing(nn.Cell):
    """A network whose parts are called like an optimizer's."""

    def __init__(self, value):
        super().__init__()
        self.stat = nn.Dense(2, 2, weight_init=value, bias_init=value)
        self.moments = nn.Dense(2, 2, weight_init=value, bias_init=value)
        self.momentum = ms.Parameter(ms.Tensor(np.full(3, value, np.float32)), "momentum")
        self.moments_of_image = nn.Dense(2, 2, weight_init=value, bias_init=value)


def test_a_network_may_call_its_parts_like_an_optimizer(tmp_path):
    one, other = Confusing(1.0), Confusing(2.0)
    ms.save_checkpoint(one, str(tmp_path / "a.ckpt"))
    load_into(other, load_checkpoint(tmp_path / "a.ckpt"))
    same(parameters_of(other), parameters_of(one))


def test_no_parameter_of_these_networks_is_taken_for_an_optimizers(tmp_path):
    net = nn.CellList([vgg16(2, 32, width_multiplier=0.0625), MLP((4, 3, 2))])
    ms.save_checkpoint(net, str(tmp_path / "a.ckpt"))
    held = load_checkpoint(tmp_path / "a.ckpt")
    assert held.state == {}
    assert held.parameters.keys() == parameters_of(net).keys()


def test_kinds():
    Checkpoint(None, {}, {"kind": "target"}).expect("target")
    Checkpoint(None, {}, {}).expect("target")  # files of other programs do not say
    with pytest.raises(CheckpointError, match=r"^a.ckpt: expected a checkpoint of a target, got one of a defense$"):
        Checkpoint("a.ckpt", {}, {"kind": "defense"}).expect("target")


@pytest.mark.parametrize("kept", [0, 1, 0.1, 0.5, 0.9, -1])
def test_truncated(tmp_path, capfd, net, kept):
    save_checkpoint(tmp_path / "a.ckpt", parameters_of(net), DESCRIPTION)
    content = (tmp_path / "a.ckpt").read_bytes()
    (tmp_path / "b.ckpt").write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(tmp_path / "b.ckpt", capfd)


@pytest.mark.parametrize("content", [b"", b"hello\n" * 9, bytes(range(256))])
def test_no_checkpoint(tmp_path, capfd, content):
    (tmp_path / "b.ckpt").write_bytes(content)
    refused(tmp_path / "b.ckpt", capfd)


def refused(path, capfd):
    with pytest.raises(
        CheckpointError, match=f"^{path} cannot be read: expected a MindSpore .ckpt file, got .+"
    ) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_missing(tmp_path):
    for path in (tmp_path / "a.ckpt", tmp_path):
        with pytest.raises(CheckpointError, match=f"^no checkpoint at {path}; check the path"):
            load_checkpoint(path)


def test_damaged_description(tmp_path, net):
    ms.save_checkpoint(net, str(tmp_path / "a.ckpt"), append_dict={"mindefense": "{no json"})
    with pytest.raises(CheckpointError, match=r"a.ckpt: its description is damaged"):
        load_checkpoint(tmp_path / "a.ckpt")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_description_without_nan(tmp_path, net, number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_checkpoint(tmp_path / "a.ckpt", parameters_of(net), {"loss": number})
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made(tmp_path, net):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot write .*a.ckpt: ") as caught:
        save_checkpoint(tmp_path / "file" / "a.ckpt", parameters_of(net), {})
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == ["file"]


def test_the_old_survives_a_failing_rename(tmp_path, net, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.ckpt"
    save_checkpoint(path, parameters_of(net), {"seed": 1})
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"cannot write .*a.ckpt: No space left on device; choose"):
        save_checkpoint(path, parameters_of(MLP((4, 3, 2), seed=2)), {"seed": 2})
    assert names(tmp_path) == ["a.ckpt", "a.json"]
    assert load_checkpoint(path).description == {"seed": 1}
    same(load_checkpoint(path).parameters, parameters_of(net))


@contextlib.contextmanager
def full_disk():
    """As good as one: no file may grow beyond 10 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(resource is None, reason="Windows has no limit on the size of files")
def test_the_old_survives_a_full_disk(tmp_path, capfd):
    path = tmp_path / "a.ckpt"
    save_checkpoint(path, {"w": np.ones(10)}, {"seed": 1})
    with pytest.raises(OutputError, match=f"^cannot write {path}: .*; choose") as caught, full_disk():
        save_checkpoint(path, {"w": np.ones(10_000)}, {"seed": 2})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert load_checkpoint(path).description == {"seed": 1}
    same(load_checkpoint(path).parameters, {"w": np.ones(10)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"seed": 1}
    assert names(tmp_path) == ["a.ckpt", "a.json"]


@pytest.mark.parametrize("name", ["a", "a.bin", "a.ckpt.part"])
def test_another_suffix(tmp_path, net, name):
    # MindSpore would append .ckpt, to a file that is then neither renamed nor removed.
    with pytest.raises(InputError, match=f"^path: expected a name that ends in .ckpt, .* got .*{name}$"):
        save_checkpoint(tmp_path / name, parameters_of(net), {})
    assert names(tmp_path) == []
