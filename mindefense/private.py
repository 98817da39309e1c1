"""Training with differential privacy by MindArmour; its guarantee limits every membership inference attack."""

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
    """The reason, in one line, why MindSpore's device cannot train with differential privacy; None if it can.

    MindArmour 2.0 raises an error at the end of ``DPModel.__init__`` on all devices other than GPU and Ascend.
    """
    device = ms.get_context("device_target")
    if device in ("GPU", "Ascend"):
        return None
    return f"MindArmour trains with differential privacy only on GPU and Ascend, and MindSpore computes on {device}"


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
    """Trains `net` in place by DP-SGD: each row's gradient is clipped, and Gaussian noise is added to their sum.

    This is algorithm 1 of Abadi et al., CCS 2016, in MindArmour 2.0 (``DPModel``, ``NoiseGaussianRandom``), with
    shuffled instead of sampled batches; see `epsilon` for its guarantee. The guarantee does not cover the returned
    losses and accuracies, which are computed from the rows without noise. The noise comes from MindSpore's generator,
    which is not cryptographically secure.

    MindArmour's graph contains each row of a batch separately, so the compile time grows with the batch size. This
    function has not been run on a GPU or an Ascend; the tests run it on a CPU and bypass MindArmour's device check.

    Args:
        net: A network as for `train_classifier`, without batch normalization, which mixes rows and stores statistics
            of them.
        features: ``(N, ...)`` float32 rows.
        labels: ``(N,)``: int32 classes for softmax, 0/1 for sigmoid.
        config: Training settings. Rows of an incomplete last batch are left out of the epoch. Momentum, weight decay,
            schedules and label smoothing do not affect privacy. Augmentation and an end that depends on the accuracy
            are not supported.
        noise_multiplier: Standard deviation of the noise as a multiple of `clip_norm`, above 0.
        clip_norm: Largest L2 norm of a row's gradient, above 0; longer gradients are scaled down to it.
        on_epoch: Called after every epoch.

    Returns:
        Loss and accuracy of all epochs; the accuracy is that on all rows after the epoch.

    Raises:
        DeviceError: If MindSpore computes on a CPU; it is raised before any computation.
        InputError: If the settings or the network do not allow privacy, features and labels do not match or have NaN,
            or the loss becomes NaN.
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
            micro_batches=batch,  # one row each, so that the gradients of single rows are clipped
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
    """The ε of the (ε, δ)-differential privacy of `train_privately` for every row.

    A row is in at most one batch per epoch. Replacing it by a row with gradient 0 changes the sum of gradients by at
    most `clip_norm`. If the start weights do not depend on the row, the training is therefore ρ-zCDP with ρ = epochs /
    (2 · noise_multiplier²), and ε = ρ + 2 √(ρ ln 1/δ) (Bun and Steinke 2016, propositions 1.6 and 1.3). There is no
    amplification by sampling (Abadi et al.), because rows are shuffled with a known seed.

    Args:
        epochs: Number of epochs of the training, at least 1.
        noise_multiplier: The noise multiplier of the training, above 0.
        delta: δ in (0, 1); it should be below 1 / number of rows.

    Returns:
        ε, above 0.

    Raises:
        InputError: If an argument is out of range.
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
    """Raises InputError for settings with which the guarantee does not hold."""
    _check_positive("noise_multiplier", noise_multiplier)
    _check_positive("clip_norm", clip_norm)
    if config.augment:
        raise InputError("augment", expected="False for private training", got="True")
    if config.until_accuracy is not None:
        raise InputError(
            "until_accuracy",
            expected="None for private training, because the number of epochs would reveal information on the rows",
            got=repr(config.until_accuracy),
        )
    if any(parameter.name.endswith("moving_mean") for parameter in net.get_parameters()):
        raise InputError("net", expected="no batch normalization, which mixes rows", got="one with it")
    if (seed := ms.get_seed()) is not None:
        raise InputError(
            "MindSpore's seed", expected="none, because it determines the noise", got=str(seed),
            fix="do not call mindspore.set_seed",
        )  # fmt: skip
