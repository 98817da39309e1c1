"""Training with differential privacy, through MindArmour. What it promises holds against every attack on membership."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.errors import DeviceError, InputError
from mindefense.runtime import compiled, muted, quiet_mindarmour
from mindefense.targets.cell import forward
from mindefense.training import Epoch, TrainConfig, check_loss, check_rows, make_optimizer


def why_not_private() -> str | None:
    """Why MindSpore's device cannot train with differential privacy, in one line; None if it can.

    MindArmour 2.0 refuses every device but GPU and Ascend, at the end of ``DPModel.__init__``, whatever the network.
    """
    device = ms.get_context("device_target")
    if device in ("GPU", "Ascend"):
        return None
    return f"MindArmour trains with differential privacy on GPU and Ascend alone, and MindSpore computes on {device}"


def train_privately(
    net: nn.Cell,
    features: np.ndarray,
    labels: np.ndarray,
    config: TrainConfig,
    *,
    noise_multiplier: float,
    clip_norm: float,
    on_epoch: Callable[[Epoch], None] | None = None,
) -> tuple[Epoch, ...]:
    """Trains `net` in place by DP-SGD: every row's gradient is clipped, and their sum gets Gaussian noise.

    Abadi et al., CCS 2016, algorithm 1, as MindArmour 2.0 does it (``DPModel``, ``NoiseGaussianRandom``), with batches
    that are shuffled instead of drawn; see `epsilon` for what that promises. It promises nothing of the figures that
    are returned: they are taken from the rows without noise. The noise is that of MindSpore's generator, which is not
    made for secrets.

    MindArmour writes a batch out row by row in its graph, so that compiling takes longer the larger the batch. This
    function has not been run on a GPU or an Ascend; the tests run it on a CPU past MindArmour's check of the device.

    Args:
        net: As for `train_classifier`, without batch normalization, which mixes rows and keeps what it saw of them.
        features: ``(N, ...)`` float32 rows.
        labels: ``(N,)``: int32 classes for softmax, 0/1 for sigmoid.
        config: How to train; rows that are left over sit the epoch out. Momentum, weight decay, schedules and label
            smoothing cost no privacy; crops and flips are not offered, nor is an end that depends on the accuracy.
        noise_multiplier: The noise's standard deviation as a multiple of `clip_norm`, above 0.
        clip_norm: Largest L2 norm of a row's gradient, above 0; longer ones are scaled down to it.
        on_epoch: Called after every epoch.

    Returns:
        The figures of all epochs; the accuracy is that of all rows after the epoch.

    Raises:
        DeviceError: If MindSpore computes on a CPU; nothing has been computed then.
        InputError: If the settings or the network rule privacy out, features and labels do not match or hold NaN, or
            the loss becomes NaN.
    """
    if reason := why_not_private():
        raise DeviceError(reason, fix="use --device_target GPU or Ascend on a machine that has one")
    _check_settings(net, config, noise_multiplier, clip_norm)
    check_rows(net, features, labels, config.loss)
    binary = config.loss == "sigmoid"
    truth = labels[:, None].astype(np.float32) if binary else labels.astype(np.int32)
    batch = min(config.batch_size, len(labels))
    steps = len(labels) // batch
    rates = np.concatenate([config.rates(epoch, steps) for epoch in range(config.epochs)])
    loss_of = nn.BCEWithLogitsLoss() if binary else nn.CrossEntropyLoss(label_smoothing=float(config.label_smoothing))
    with quiet_mindarmour():
        from mindarmour.privacy.diff_privacy import DPModel, NoiseMechanismsFactory
    with muted(logging.WARNING):
        step = DPModel(
            micro_batches=batch,  # so that it is single rows that are clipped
            norm_bound=float(clip_norm),
            noise_mech=NoiseMechanismsFactory.create(
                "Gaussian", norm_bound=float(clip_norm), initial_noise_multiplier=float(noise_multiplier)
            ),
            network=net.set_train(True),
            loss_fn=loss_of,
            optimizer=make_optimizer(net, config, rates),
        ).train_network
    history: list[Epoch] = []
    for number in range(config.epochs):
        order = np.random.default_rng((config.seed, number)).permutation(len(labels))[: steps * batch]
        total = 0.0
        with compiled():
            for rows in order.reshape(steps, batch):
                total += float(step(ms.Tensor(np.float32(features[rows])), ms.Tensor(truth[rows])).asnumpy())
        check_loss(total / steps, number, config)
        logits = forward(net, features)
        called = logits[:, 0] > 0 if binary else logits.argmax(axis=1)
        history.append(Epoch(number + 1, config.epochs, total / steps, float((called == labels).mean())))
        if on_epoch is not None:
            on_epoch(history[-1])
    net.set_train(False)
    return tuple(history)


def epsilon(epochs: int, noise_multiplier: float, delta: float) -> float:
    """The ε of the (ε, δ)-differential privacy that `train_privately` gives every row.

    A row is in one batch an epoch at most, and moves its sum by `clip_norm` at most, if it is blanked out. So weights
    that never saw it before are ρ-zCDP with ρ = epochs / (2 · noise_multiplier²), and ε = ρ + 2 √(ρ ln 1/δ) (Bun and
    Steinke 2016, propositions 1.6 and 1.3). Nothing is taken off for rows being drawn at random (Abadi et al.),
    because they are shuffled with a seed that is known.

    Args:
        epochs: How many were trained, at least 1.
        noise_multiplier: As it was trained with, above 0.
        delta: In (0, 1); below one over the number of rows, to mean something.

    Returns:
        ε, above 0.

    Raises:
        InputError: If one of them is out of range.
    """
    if epochs < 1:
        raise InputError("epochs", expected="a whole number of at least 1", got=repr(epochs))
    _check_positive("noise_multiplier", noise_multiplier)
    if not 0 < delta < 1:
        raise InputError("delta", expected="a number in (0, 1)", got=repr(delta))
    rho = epochs / (2 * noise_multiplier**2)
    return rho + 2 * math.sqrt(rho * -math.log(delta))


def _check_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise InputError(name, expected="a finite number above 0", got=repr(value))


def _check_settings(net: nn.Cell, config: TrainConfig, noise_multiplier: float, clip_norm: float) -> None:
    """Raises InputError for what would break the promise."""
    _check_positive("noise_multiplier", noise_multiplier)
    _check_positive("clip_norm", clip_norm)
    if config.augment:
        raise InputError("augment", expected="False for private training", got="True")
    if config.until_accuracy is not None:
        raise InputError(
            "until_accuracy",
            expected="None for private training, since when it ends would tell of the rows",
            got=repr(config.until_accuracy),
        )
    if any(parameter.name.endswith("moving_mean") for parameter in net.get_parameters()):
        raise InputError("net", expected="no batch normalization, which mixes rows", got="one with it")
    if (seed := ms.get_seed()) is not None:
        raise InputError(
            "MindSpore's seed", expected="none, since the noise follows from it", got=str(seed),
            fix="do not call mindspore.set_seed",
        )  # fmt: skip
