"""The (ε, δ) of private training, by Google's dp-accounting. Needs no MindSpore."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

from mindefense.errors import InputError
from mindefense.training.config import TrainConfig

LARGEST_EPSILON = 64.0
"""An ε beyond which no noise multiplier is searched: the guarantee is weak, and its computation takes long."""


@functools.lru_cache
def spent_epsilon(noise_multiplier: float, sampling_rate: float, steps: int, delta: float) -> float:
    """The ε of descent with clipped gradients and Gaussian noise, for adding or removing one row.

    Each step draws each row independently with the same probability (Poisson sampling). The privacy loss distributions
    of all steps are composed numerically, which gives an upper bound that is nearly exact.

    Args:
        noise_multiplier: Standard deviation of the noise as a multiple of the clipping norm, above 0.
        sampling_rate: Probability with which a row is in a step, in (0, 1].
        steps: Number of steps, at least 1.
        delta: δ in (0, 1).

    Returns:
        ε of at least 0.

    Raises:
        InputError: If an argument is out of range.

    Source:
        Abadi et al., CCS 2016, algorithm 1; Koskela, Jälkö & Honkela, AISTATS 2020 (privacy loss distributions).
    """
    _check(noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=steps, delta=delta)
    accountant = _accountant()
    accountant.compose(_event(noise_multiplier, sampling_rate, steps))
    return float(accountant.get_epsilon(delta))


@functools.lru_cache
def noise_for_epsilon(epsilon: float, sampling_rate: float, steps: int, delta: float) -> float:
    """The smallest noise multiplier with which training spends at most ε; arguments as in `spent_epsilon`.

    Args:
        epsilon: ε above 0.
        sampling_rate: Probability with which a row is in a step, in (0, 1].
        steps: Number of steps, at least 1.
        delta: δ in (0, 1).

    Raises:
        InputError: If an argument is out of range.
    """
    _check(sampling_rate=sampling_rate, steps=steps, delta=delta)
    if not 0 < epsilon <= LARGEST_EPSILON:
        raise InputError("epsilon", expected=f"a number above 0 and at most {LARGEST_EPSILON:g}", got=repr(epsilon))
    from dp_accounting.rdp import RdpAccountant
    from scipy.optimize import brentq

    def excess(noise: float) -> float:
        return spent_epsilon(noise, sampling_rate, steps, delta) - epsilon

    # Rényi divergences give a larger ε in milliseconds, and so a noise from which the search needs few steps down.
    # Of fractional orders the series often does not converge.
    high, orders = 0.3, [*range(2, 65), 96, 128, 256, 512]
    while RdpAccountant(orders).compose(_event(high, sampling_rate, steps)).get_epsilon(delta) > epsilon:
        high *= 1.1
    low = high / 1.1
    while excess(low) <= 0:
        low /= 1.1
    found = float(brentq(excess, low, high, xtol=1e-4 * high))
    while excess(found) > 0:
        found *= 1 + 1e-3
    return found


def with_noise(config: TrainConfig, epsilon: float, rows: int) -> TrainConfig:
    """The training with the smallest noise with which it spends at most ε, for δ = `usual_delta`.

    Args:
        config: The training.
        epsilon: ε above 0.
        rows: Number of training rows.
    """
    rate, steps = _sampling(config, rows)
    noise = noise_for_epsilon(float(epsilon), rate, steps, usual_delta(rows))
    return dataclasses.replace(config, noise_multiplier=noise)


def spent_by(config: TrainConfig, rows: int) -> dict[str, float]:
    """What a private training spends: its ε, δ, noise multiplier, clipping norm, sampling rate and number of steps."""
    rate, steps = _sampling(config, rows)
    delta = usual_delta(rows)
    return {
        "epsilon": spent_epsilon(config.noise_multiplier, rate, steps, delta),
        "delta": delta,
        "noise_multiplier": config.noise_multiplier,
        "clip_norm": config.clip_norm,
        "sampling_rate": rate,
        "steps": steps,
    }


def _sampling(config: TrainConfig, rows: int) -> tuple[float, int]:
    """The probability with which a row is in a step, and the number of steps, of a private training."""
    batch = min(config.batch_size, rows)
    return batch / rows, config.epochs * math.ceil(rows / batch)


def usual_delta(rows: int) -> float:
    """The δ that is used unless another is chosen: 1 / N² for N training rows.

    A training that published one random row would have a δ of 1 / N, so δ must be far below it.
    """
    return 1 / rows**2


def _accountant() -> Any:
    from dp_accounting import NeighboringRelation
    from dp_accounting.pld import PLDAccountant

    return PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE)


def _event(noise_multiplier: float, sampling_rate: float, steps: int) -> Any:
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent

    return SelfComposedDpEvent(PoissonSampledDpEvent(sampling_rate, GaussianDpEvent(noise_multiplier)), steps)


def _check(*, noise_multiplier: float = 1.0, sampling_rate: float, steps: int, delta: float) -> None:
    if not 0 < noise_multiplier < math.inf:
        raise InputError("noise_multiplier", expected="a finite number above 0", got=repr(noise_multiplier))
    if not 0 < sampling_rate <= 1:
        raise InputError("sampling_rate", expected="a probability in (0, 1]", got=repr(sampling_rate))
    if not isinstance(steps, int) or steps < 1:
        raise InputError("steps", expected="a whole number of at least 1", got=repr(steps))
    if not 0 < delta < 1:
        raise InputError("delta", expected="a number in (0, 1)", got=repr(delta))
