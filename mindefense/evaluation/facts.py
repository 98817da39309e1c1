"""What is known of an evaluation, for the checks to look into. NumPy only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mindefense.checks import check_same_length
from mindefense.types import Outputs, Trial


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FitRows:
    """What attackers of one knowledge were fitted on, as far as it is known.

    Attributes:
        indices: ``(M,)`` positions of the rows in the data set that `Outputs.indices` counts in; None if unknown.
        features: ``(M, ...)`` the rows; None if unknown.
        probs: ``(M, C)`` what the undefended target says of them; None if unknown. Looked at without features only.
    """

    indices: np.ndarray | None = None
    features: np.ndarray | None = None
    probs: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Training:
    """How the training of a target, a shadow or an attack network went.

    Attributes:
        losses: ``(E,)`` mean loss of each epoch, the first epoch first; may be empty.
        accuracy: Balanced accuracy, or accuracy where classes are as frequent, on the rows it was fitted on; None if
            unknown.
        chance: What guessing would reach: 0.5 for an attack network, 1 over the number of classes for a target.
        stopped: How a fit that iterates until it converges ended before it did (``Attack.stopped_``); None if it
            converged, or was meant to take a number of epochs.
    """

    losses: Sequence[float] = ()
    accuracy: float | None = None
    chance: float = 0.5
    stopped: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedAgain:
    """What happened when the same was asked twice.

    Attributes:
        rows: Rows asked about a second time.
        differing: Those of them that got another answer.
        fresh_noise: Whether the target is meant to answer differently every time; False if a key decides.
        averaged: Whether an attacker that asks many times and averages took part.
    """

    rows: int
    differing: int
    fresh_noise: bool = False
    averaged: bool = False


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Facts:
    """What is known of an evaluation; recorded outputs have trials and answers alone.

    Attributes:
        trials: Every attacker on every state of the target; `Trial.samples` are positions in the rows of `answers`.
        answers: The evaluation's rows.
        features: ``(N, ...)`` the same rows as the target was asked about them, N as in `answers`; None if unknown.
            Four dimensions are taken for images ``(N, channels, height, width)``.
        fitted_on: What attackers were fitted on, by knowledge (``"auditor"``, ``"shadow"``).
        treated_alike: Whether members and non-members went through the same transforms; None if unknown.
        keeps_labels: Whether the defense promises to keep the predicted classes; None if unknown.
        trainings: How trainings went, by the name to call the network in messages; of attackers, `training_name`.
        shadow_accuracy: The shadow's accuracy on its own training rows and on others; None without a shadow.
        asked_again: What happened when the same was asked twice; None if it was not.
        synthetic: Whether the rows were made up.
        smoke: Whether this was a smoke test.
        not_asked: Names of attackers that could have taken part and were not chosen, by their kind (for example
            ``"label-only"``); None if unknown.
        without_bank: Whether there was no bank of shadow models.
    """

    trials: Sequence[Trial]
    answers: Outputs
    features: np.ndarray | None = None
    fitted_on: Mapping[str, FitRows] = dataclasses.field(default_factory=dict)
    treated_alike: bool | None = None
    keeps_labels: bool | None = None
    trainings: Mapping[str, Training] = dataclasses.field(default_factory=dict)
    shadow_accuracy: tuple[float, float] | None = None
    asked_again: AskedAgain | None = None
    synthetic: bool = False
    smoke: bool = False
    not_asked: Mapping[str, Sequence[str]] | None = None
    without_bank: bool = False

    def __post_init__(self) -> None:
        if self.features is not None:
            check_same_length({"answers": self.answers.is_member, "features": self.features})


def training_name(name: str, knowledge: str, adversary: str) -> str:
    """What the training of an attacker is called in `Facts.trainings`."""
    return f"{name} ({knowledge}, {adversary})"
