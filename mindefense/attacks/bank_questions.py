"""What attackers with a bank of shadow models ask a model, and the statistic that they take of its answers."""

from __future__ import annotations

import functools

import numpy as np

from mindefense.attacks.bank_statistics import log_odds
from mindefense.attacks.label_only import BitFlipAttack, NoiseRobustnessAttack, ShiftAttack
from mindefense.targets.bank import Statistic
from mindefense.targets.base import Target
from mindefense.types import Samples

_CHUNK = 1024
"""Images whose variants are made at a time."""


def log_odds_of_true_class(target: Target, samples: Samples) -> np.ndarray:
    """The log-odds of the true class; see `bank_statistics.log_odds`."""
    return log_odds(target.query(samples.features), samples.labels)


def log_prob_of_true_class(target: Target, samples: Samples) -> np.ndarray:
    """The log-probability of the true class."""
    log_probs = target.query(samples.features)
    return log_probs[np.arange(len(samples)), samples.labels].astype(np.float64)


def correct_share_of(seed: int, target: Target, samples: Samples) -> np.ndarray:
    """The share of a sample and its variants that a model classifies correctly: all that labels alone tell.

    Bits are flipped where all features are 0 or 1, images are shifted, and noise is added to other features.

    Args:
        seed: Seeds the variants, which are those of the label-only attackers of that seed.
        target: The model.
        samples: The N samples.

    Returns:
        ``(N,)`` float64 in 0 … 1.

    Source:
        Choquette-Choo, Tramèr, Carlini & Papernot, ICML 2021, section 3.
    """
    kinds = BitFlipAttack(seed=seed), ShiftAttack(), NoiseRobustnessAttack(seed=seed)
    attack = next(one for one in kinds if one.unsupported(samples) is None)
    return attack.correct_share(target, samples)


def log_odds_of_variant(number: int, target: Target, samples: Samples) -> np.ndarray:
    """The log-odds of the true class of one variant of each image; the variants are those of `ShiftAttack`."""
    values = np.empty(len(samples))
    for first in range(0, len(samples), _CHUNK):
        chunk = samples.take(np.arange(first, min(first + _CHUNK, len(samples))))
        values[first : first + len(chunk)] = log_odds(
            target.query(np.ascontiguousarray(ShiftAttack().variants(chunk)[:, number])), chunk.labels
        )
    return values


LOG_ODDS = Statistic("log-odds", log_odds_of_true_class)
LOG_PROB = Statistic("log-prob", log_prob_of_true_class)


def correct_share(seed: int) -> Statistic:
    """`correct_share_of` as a statistic."""
    return Statistic(f"correct-share {seed}", functools.partial(correct_share_of, seed), asks="labels of variants")


def log_odds_of_views() -> tuple[Statistic, ...]:
    """The log-odds of an image, of four shifted ones, and of the mirror image.

    Source:
        Carlini et al., S&P 2022, section VI-D: an attacker queries the variants that the model was trained with.
    """
    variants = (
        Statistic(f"log-odds of variant {number}", functools.partial(log_odds_of_variant, number), asks="variants")
        for number in range(ShiftAttack().variants_per_sample)
    )
    return LOG_ODDS, *variants
