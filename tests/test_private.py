"""`train_privately`: refused on a CPU before anything is computed, and, past MindArmour's own refusal, by formula."""

import importlib
import logging
import math
import types

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

from mindefense.errors import DeviceError, InputError
from mindefense.models import MLP
from mindefense.private import epsilon, train_privately, why_not_private
from mindefense.runtime import quiet_mindarmour
from mindefense.training import TrainConfig

RNG = np.random.default_rng(0)
FEATURES = np.float32(RNG.normal(size=(5, 60)))
FEATURES[:2] /= 100  # whose gradients are too short to be clipped
CLASSES = np.int32(RNG.integers(10, size=5))
CONFIG = TrainConfig(epochs=2, learning_rate=0.5, batch_size=2, seed=3, weight_decay=0.05, label_smoothing=0.2)


@pytest.fixture
def elsewhere(monkeypatch):
    """MindArmour and ours believe to be on a GPU."""
    with quiet_mindarmour():
        from mindarmour.privacy.diff_privacy.train import model

    monkeypatch.setattr(model, "context", types.SimpleNamespace(get_context={"device_target": "GPU"}.get))
    monkeypatch.setattr("mindefense.private.why_not_private", lambda: None)
    # Other tests seed MindSpore, which nothing takes back.
    monkeypatch.setattr(importlib.import_module("mindspore.common.seed"), "_GLOBAL_SEED", None)


def descend(w, b, config, clip):
    """DP-SGD without the noise, on a linear network: its weights, the epochs' losses, and the gradients' norms."""
    w, b, norms, losses = np.float64(w), np.float64(b), [], []
    for epoch in range(config.epochs):
        order = np.random.default_rng((config.seed, epoch)).permutation(5)[:4].reshape(2, 2)
        of_epoch = []
        for rows in order:
            by_w, by_b = np.zeros_like(w), np.zeros_like(b)
            for row in rows:
                z = FEATURES[row] @ w + b
                p = np.exp(z) / np.exp(z).sum()
                truth = 0.8 * np.eye(10)[CLASSES[row]] + 0.02
                of_epoch.append(-(truth * np.log(p)).sum())
                slope = np.concatenate((np.outer(FEATURES[row], p - truth), (p - truth)[None]))
                norms.append(np.linalg.norm(slope))
                slope *= min(1, clip / norms[-1])
                by_w, by_b = by_w + slope[:-1], by_b + slope[-1]
            w, b = w - 0.5 * (by_w / 2 + config.weight_decay * w), b - 0.5 * by_b / 2
        losses.append(np.mean(of_epoch))
    return w, b, losses, norms


def test_agrees_with_numpy_but_for_the_noise(elsewhere):
    # Noise of 1e-3 a coordinate of the sum; four steps of a half over batches of two leave 5e-4, decay aside.
    net, clip, seen = MLP((60, 10), seed=1), 2.0, []
    ((start, bias),) = net.weights()
    w, b, losses, norms = descend(start, bias, CONFIG, clip)
    assert min(norms) < clip < max(norms)
    history = train_privately(
        net, FEATURES, CLASSES, CONFIG, noise_multiplier=5e-4, clip_norm=clip, on_epoch=seen.append
    )
    ((trained, trained_bias),) = net.weights()
    noise = np.concatenate(((trained - w).ravel(), trained_bias - b))
    assert noise.std() == pytest.approx(5e-4, rel=0.15)
    assert abs(noise).max() < 5 * 5e-4
    assert abs(np.corrcoef(noise[:305], noise[305:])[0, 1]) < 0.25
    assert list(history) == seen
    assert [(epoch.number, epoch.of) for epoch in history] == [(1, 2), (2, 2)]
    assert [epoch.loss for epoch in history] == pytest.approx(losses, abs=5e-3)
    assert history[-1].accuracy == ((FEATURES @ w + b).argmax(axis=1) == CLASSES).mean()
    assert not net.training


def test_a_cpu_is_refused_before_anything_is_computed(monkeypatch):
    assert why_not_private().endswith("MindSpore computes on CPU")
    monkeypatch.setattr("mindefense.private.check_rows", lambda *_: pytest.fail("computed"))
    with pytest.raises(DeviceError, match=r"only on GPU and Ascend, .* computes on CPU; use --device_target GPU or"):
        train_privately(MLP((60, 10)), FEATURES, CLASSES, CONFIG, noise_multiplier=-1, clip_norm=1)


@pytest.mark.parametrize(("device", "runs"), [("GPU", True), ("Ascend", True), ("CPU", False)])
def test_why_not(monkeypatch, device, runs):
    monkeypatch.setattr(ms, "get_context", {"device_target": device}.get)
    assert (why_not_private() is None) == runs


def test_mindarmour_still_refuses_a_cpu():
    # The day it does not, neither need we.
    with quiet_mindarmour():
        from mindarmour.privacy.diff_privacy import DPModel, NoiseMechanismsFactory
    net = nn.Dense(2, 2)
    logging.disable(logging.CRITICAL)
    try:
        with pytest.raises(ValueError, match="should be 'GPU' or 'Ascend', but got CPU"):
            DPModel(
                noise_mech=NoiseMechanismsFactory.create("Gaussian"),
                network=net,
                loss_fn=nn.CrossEntropyLoss(),
                optimizer=nn.Momentum(net.trainable_params(), 0.1, 0.0),
            )
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("net", "settings", "noise_multiplier", "clip_norm", "words"),
    [
        *((None, {}, bad, 1, "noise_multiplier: expected a finite number above 0") for bad in (0, -1, math.inf)),
        *((None, {}, 1, bad, "clip_norm: expected a finite number above 0") for bad in (0, math.nan)),
        (None, {"augment": True}, 1, 1, "augment: expected False"),
        (None, {"until_accuracy": 0.9}, 1, 1, "until_accuracy: expected None"),
        (nn.SequentialCell(nn.Dense(60, 10), nn.BatchNorm1d(10)), {}, 1, 1, "net: expected no batch normalization"),
        (MLP((60, 9)), {}, 1, 1, "labels: expected classes 0…8"),
    ],
)
def test_what_breaks_the_promise(elsewhere, net, settings, noise_multiplier, clip_norm, words):
    with pytest.raises(InputError, match=f"^{words}"):
        train_privately(
            net or MLP((60, 10)),
            FEATURES,
            np.arange(5, 10),
            TrainConfig(**settings),
            noise_multiplier=noise_multiplier,
            clip_norm=clip_norm,
        )


def test_noise_that_can_be_foretold(elsewhere, monkeypatch):
    monkeypatch.setattr(ms, "get_seed", lambda: 7)
    with pytest.raises(InputError, match=r"^MindSpore's seed: expected none, .* got 7; do not call mindspore.set_seed"):
        train_privately(MLP((60, 10)), FEATURES, CLASSES, CONFIG, noise_multiplier=1, clip_norm=1)


@pytest.mark.parametrize(
    ("epochs", "noise_multiplier", "delta", "expected"),
    [
        (1, 1.0, 1e-5, 0.5 + 2 * math.sqrt(0.5 * 11.5129254)),
        (8, 2.0, math.exp(-1), 1 + 2),
        (200, 10.0, math.exp(-4), 1 + 4),
    ],
)
def test_epsilon(epochs, noise_multiplier, delta, expected):
    assert epsilon(epochs, noise_multiplier, delta) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0, 1, 0.1), "epochs"), ((1, 0, 0.1), "noise_multiplier"), ((1, 1, 0), "delta"), ((1, 1, 1), "delta")],
)
def test_epsilon_out_of_range(arguments, name):
    with pytest.raises(InputError, match=f"^{name}: expected"):
        epsilon(*arguments)
