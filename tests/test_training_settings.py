"""`TrainConfig`: its learning rates, when a training ends, the published settings, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from rows_to_learn import LONG

from mindefense.errors import InputError
from mindefense.training import (
    PUBLISHED_ATTACK,
    PUBLISHED_DEFENDER,
    PUBLISHED_TARGET,
    PUBLISHED_VGG16,
    Epoch,
    TrainConfig,
)


@pytest.mark.parametrize(
    ("config", "train", "agrees"),
    [
        (LONG, dataclasses.asdict(LONG), True),
        (
            LONG,
            {"epochs": 5, "learning_rate": 0.3, "decay_every": 3, "batch_size": 8, "seed": 7, "weight_decay": 0.01},
            True,
        ),
        (LONG, dataclasses.asdict(LONG) | {"seed": 8}, False),
        (LONG, dataclasses.asdict(LONG) | {"later": 1}, False),
        (dataclasses.replace(LONG, label_smoothing=0.1), dataclasses.asdict(LONG), False),
        (TrainConfig(), None, False),
        (TrainConfig(), "as usual", False),
    ],
)
def test_described(config, train, agrees):
    assert config.is_described_by(train) == agrees


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("epochs", -1),
        ("batch_size", 0),
        ("decay_every", 0),
        ("decay_every", -3),
        *(("learning_rate", bad) for bad in (0.0, -0.1, float("nan"), float("inf"))),
        ("loss", "hinge"),
        ("loss", ""),
        ("seed", -1),
        ("epochs", 1.5),
        ("batch_size", 0.5 + 1),
        ("schedule", "linear"),
        ("schedule", ""),
        ("warmup_epochs", -1),
        ("warmup_epochs", 0.5),
        *(("momentum", bad) for bad in (1.0, 1, -0.1, float("nan"))),
        *(("weight_decay", bad) for bad in (-1e-9, float("inf"), float("nan"))),
        *(("until_accuracy", bad) for bad in (0, 0.0, -0.5, 1.01, float("nan"))),
        *(("label_smoothing", bad) for bad in (1.0, 1, -0.1, float("nan"))),
    ],
)
def test_bad_config(name, value):
    with pytest.raises(InputError, match=f"^{name}: expected .*, got {value!r}"):
        TrainConfig(**{name: value})


def test_only_classes_are_smoothed():
    with pytest.raises(InputError, match=r"^label_smoothing: expected 0 with loss 'sigmoid', got 0\.1; smooth"):
        TrainConfig(loss="sigmoid", label_smoothing=0.1)


@pytest.mark.parametrize(
    ("decay_every", "epoch", "rate"),
    [
        (150, 0, 0.01),
        (150, 149, 0.01),
        (150, 150, 1e-3),
        (150, 299, 1e-3),
        (150, 300, 1e-4),
        (None, 999, 0.01),
        (1, 2, 1e-4),
    ],
)
def test_rate(decay_every, epoch, rate):
    assert TrainConfig(learning_rate=0.01, decay_every=decay_every).rates(epoch, 3) == pytest.approx([rate] * 3)


@pytest.mark.parametrize(
    ("settings", "epoch", "rates"),
    [
        # 0.4 · (1 + cos t) / 2 at t = 0, π/4, π/2, 3π/4.
        ({"schedule": "cosine", "epochs": 2}, 0, [0.4, 0.34142136]),
        ({"schedule": "cosine", "epochs": 2}, 1, [0.2, 0.05857864]),
        ({"schedule": "cosine", "epochs": 2, "decay_every": 1}, 1, [0.2, 0.05857864]),
        ({"warmup_epochs": 2}, 0, [0.1, 0.2]),
        ({"warmup_epochs": 2}, 1, [0.3, 0.4]),
        ({"warmup_epochs": 2}, 2, [0.4, 0.4]),
        ({"warmup_epochs": 2, "decay_every": 1}, 1, [0.03, 0.04]),
        ({"warmup_epochs": 2, "decay_every": 1}, 3, [0.0004, 0.0004]),
        ({"warmup_epochs": 1, "schedule": "cosine", "epochs": 2}, 0, [0.2, 0.34142136]),
        ({"warmup_epochs": 1, "schedule": "cosine", "epochs": 2}, 1, [0.2, 0.05857864]),
    ],
)
def test_schedules(settings, epoch, rates):
    got = TrainConfig(learning_rate=0.4, **settings).rates(epoch, 2)
    assert (got.shape, got.dtype) == ((2,), np.float64)
    np.testing.assert_allclose(got, rates, rtol=1e-6)


def test_a_cosine_ends_near_nothing():
    config = TrainConfig(epochs=10, learning_rate=0.4, schedule="cosine")
    rates = np.concatenate([config.rates(epoch, 50) for epoch in range(10)])
    assert (np.diff(rates) < 0).all()
    assert (rates[0], 0 < rates[-1] < 1e-5) == (0.4, True)


@pytest.mark.parametrize(
    ("accuracies", "until", "ends"),
    [
        ([], None, False),
        ([1.0], None, False),
        ([0.1, 0.1, 0.1], None, True),
        ([], 0.5, False),
        ([0.49], 0.5, False),
        ([0.5], 0.5, True),
        ([0.6, 0.4], 0.5, False),
        ([0.1, 0.1, 0.1], 0.5, True),
    ],
)
def test_when_a_training_ends(accuracies, until, ends):
    history = [Epoch(number, 3, 1.0, accuracy) for number, accuracy in enumerate(accuracies, 1)]
    assert TrainConfig(epochs=3, until_accuracy=until).ends(history) == ends


def test_published_settings():
    assert dataclasses.astuple(PUBLISHED_TARGET)[:5] == (200, 0.01, 150, 64, "softmax")
    assert dataclasses.astuple(PUBLISHED_DEFENDER)[:5] == (400, 0.001, None, 64, "sigmoid")
    assert dataclasses.astuple(PUBLISHED_ATTACK)[:5] == (400, 0.01, 300, 64, "sigmoid")
    assert dataclasses.asdict(PUBLISHED_VGG16) == {
        "epochs": 100,
        "learning_rate": 0.01,
        "decay_every": 30,
        "batch_size": 64,
        "loss": "softmax",
        "seed": 0,
        "schedule": "step",
        "warmup_epochs": 5,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "augment": False,
        "until_accuracy": None,
        "label_smoothing": 0.0,
        "noise_multiplier": 0.0,
        "clip_norm": 1.0,
    }
