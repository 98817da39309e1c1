"""Target and shadow asked in float16: what computes in it, what comes out, and what the results say of it."""

import json
import shutil

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindefense import cli
from mindefense.checkpoint import load_checkpoint, parameters_of, save_checkpoint
from mindefense.confidence import softmax
from mindefense.errors import InputError
from mindefense.evaluation import EvaluationConfig
from mindefense.study import Study, StudyConfig
from mindefense.study.networks import StudyNetworks
from mindefense.targets.cell import parameters_sha256

IMAGES = StudyConfig(model="vgg16", smoke=True, image_size=32, width_multiplier=0.0625, members=60, num_samples=20)


@pytest.fixture(params=["mlp", "vgg16"])
def opened(request, tmp_path, monkeypatch):
    """Level → a study with a target, of tables or images."""
    if request.param == "mlp":
        staged = request.getfixturevalue("staged")
        return lambda amp: Study(None, staged, amp=amp)
    start = Study(IMAGES, tmp_path)._networks.start("target")
    save_checkpoint(tmp_path / "start.ckpt", parameters_of(start), {})
    monkeypatch.setattr(StudyNetworks, "checkpoint", lambda *_: load_checkpoint(tmp_path / "start.ckpt"))
    return lambda amp: Study(IMAGES, tmp_path, amp=amp)


def dtypes_inside(cell, x):
    """What each kind of layer in `cell` gives, and what comes out at the end."""
    given: dict[type, set] = {}

    def note(layer, _, output):
        given.setdefault(type(layer), set()).add(output.dtype)

    handles = [
        layer.register_forward_hook(note)
        for _, layer in cell.cells_and_names()
        if isinstance(layer, nn.Dense | nn.Conv2d | nn.BatchNorm2d)
    ]
    mode = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)  # graphs call no hooks
    try:
        out = cell(ms.Tensor(x))
    finally:
        ms.set_context(mode=mode)
        for handle in handles:
            handle.remove()
    return given, out


@pytest.mark.parametrize("amp", ["O0", "O2"])
def test_what_computes_in_float16(opened, amp):
    study = opened(amp)
    network = study._networks.network("target")
    samples = study.rows("eval").features()[:3]
    inputs = samples if study.preset.prepare is None else next(study.preset.prepare.batches(samples, 3))
    given, out = dtypes_inside(network.cell, np.float32(inputs))
    low = {ms.float16 if amp == "O2" else ms.float32}
    kinds = {nn.Dense: low} if study.config.model == "mlp" else {nn.Dense: low, nn.Conv2d: low}
    if study.config.model == "vgg16":
        kinds[nn.BatchNorm2d] = {ms.float32}
    assert given == kinds
    assert out.dtype == ms.float32
    assert all(parameter.dtype == ms.float32 for parameter in network.cell.get_parameters())


def test_answers_are_other_ones_and_near(opened):
    samples = opened("O0").rows("eval").features()
    full, low = (opened(amp)._networks.network("target").logits(samples) for amp in ("O0", "O2"))
    assert full.dtype == low.dtype == np.float32
    assert (full != low).any()
    assert 0 < np.abs(softmax(full) - softmax(low)).max() < 5e-3
    np.testing.assert_allclose(low, full, rtol=0, atol=5e-3 * np.abs(full).max())


def test_the_network_is_the_same(opened):
    full, low = (opened(amp)._networks.network("target").cell for amp in ("O0", "O2"))
    assert parameters_sha256(full) == parameters_sha256(low)
    assert list(parameters_of(full)) == list(parameters_of(low))


@pytest.mark.parametrize("amp", ["O1", "o2", "", None])
def test_other_levels_are_refused(staged, amp):
    with pytest.raises(InputError, match=r"^amp: expected O0 or O2, got "):
        Study(None, staged, amp=amp)


def test_settings_name_device_and_level(staged):
    for study, amp in ((Study(None, staged), "O0"), (Study(None, staged, amp="O2"), "O2")):
        settings = study.evaluator.settings(EvaluationConfig())
        assert (settings["device"], settings["amp"]) == (ms.get_context("device_target"), amp)


def test_from_the_command_line(staged, tmp_path, monkeypatch, capsys):
    def use_device(target, *, device_id, tell):
        tell(f"{target} {device_id} is available but does not work (no driver); using CPU")
        return "CPU"

    out = shutil.copytree(staged, tmp_path / "out")
    monkeypatch.setattr("mindefense.runtime.use_device", use_device)
    few = ["--attacks", "gap,confidence", "--knowledge", "auditor"]
    assert cli.main(["evaluate", "--out", str(out), *few, "--amp", "O2"]) == 0
    printed = capsys.readouterr()
    assert printed.err == "mindefense: auto None is available but does not work (no driver); using CPU\n"
    assert "on CPU in float16" in printed.out
    settings = json.loads((out / "results.json").read_text())["settings"]
    assert (settings["device"], settings["amp"]) == (ms.get_context("device_target"), "O2")


def test_all_training_is_in_float32(staged):
    study = Study(None, staged, amp="O2")
    given, _ = dtypes_inside(study._networks.start("target"), study.rows("eval").features()[:3])
    assert given == {nn.Dense: {ms.float32}}
