"""Facts about an evaluation, from which the checks are computed. Needs only NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mindefense.checks import check_same_length
from mindefense.types import Outputs, Trial


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class FitRows:
    """The rows that the attackers of one knowledge were fitted on.

    Attributes:
        indices: ``(M,)`` integer, positions of the rows in the same data set as `Outputs.indices`; None if unknown.
        features: ``(M, ...)`` the rows; None if unknown.
        probs: ``(M, C)`` the undefended target's confidence vectors of the rows; None if unknown. Used only if the
            features are unknown.
    """

    indices: np.ndarray | None = None
    features: np.ndarray | None = None
    probs: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Training:
    """The training of a target, a shadow model or an attack network.

    Attributes:
        losses: ``(E,)`` mean loss of each epoch in order; may be empty.
        accuracy: Balanced accuracy on the training rows, or accuracy if the classes are equally frequent; None if
            unknown.
        chance: The accuracy of guessing: 0.5 for an attack network, 1 / number of classes for a target.
        stopped: How an iterative fit ended without converging (``Attack.stopped_``); None if it converged, or has a
            fixed number of epochs.
    """

    losses: Sequence[float] = ()
    accuracy: float | None = None
    chance: float = 0.5
    stopped: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class AskedAgain:
    """The result of sending the same queries twice.

    Attributes:
        rows: Number of rows that were queried twice.
        differing: Number of those whose second answer differed from the first.
        fresh_noise: Whether every query is meant to get new noise; False if a key determines the noise.
        averaged: Whether an attacker that averages the answers to repeated queries took part.
    """

    rows: int
    differing: int
    fresh_noise: bool = False
    averaged: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class BankFacts:
    """A bank of shadow models.

    Attributes:
        models: Number of models.
        rows: Number of evaluated rows; of an offline bank, of rows that attackers learn from.
        uncompared: Number of those that all or none of the models were trained on.
        accuracy: Mean accuracy of the models on rows that attackers learn from: on those that a model was trained on,
            and on the others.
        trained_on: Mean number of rows that a model was trained on, as far as these are known.
        of_target: Number of rows that the target was trained on; None if unknown.
        overlapping: Number of population rows that are evaluated, or that a model of the bank was trained on.
    """

    models: int
    rows: int
    uncompared: int
    accuracy: tuple[float, float]
    trained_on: int = 0
    of_target: int | None = None
    overlapping: int = 0


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Facts:
    """The facts of an evaluation; for recorded outputs, only trials and answers are required.

    Attributes:
        trials: Every attacker on every state of the target; `Trial.samples` are positions in the rows of `answers`.
        answers: The answers to the evaluation's N rows.
        features: ``(N, ...)`` the features of the same rows; None if unknown. Arrays of four dimensions are taken to
            be images ``(N, channels, height, width)``.
        fitted_on: The rows that attackers were fitted on, by knowledge (``"auditor"``, ``"shadow"``).
        treated_alike: Whether members and non-members went through the same transforms; None if unknown.
        keeps_labels: Whether the defense is meant to preserve the predicted classes; None if unknown.
        trainings: The trainings, by the network's name in messages; `training_name` for attackers.
        shadow_accuracy: The shadow model's accuracy on its training rows and on other rows; None without one.
        banks: The banks of shadow models by kind.
        asked_again: The result of repeated queries; None if there were none.
        synthetic: Whether the rows are synthetic.
        smoke: Whether this was a smoke test.
        not_asked: Names of attackers that could have taken part and were not chosen, by kind (for example
            ``"label-only"``); None if unknown.

    Raises:
        InputError: If `features` and `answers` differ in length.
    """

    trials: Sequence[Trial]
    answers: Outputs
    features: np.ndarray | None = None
    fitted_on: Mapping[str, FitRows] = dataclasses.field(default_factory=dict)
    treated_alike: bool | None = None
    keeps_labels: bool | None = None
    trainings: Mapping[str, Training] = dataclasses.field(default_factory=dict)
    shadow_accuracy: tuple[float, float] | None = None
    banks: Mapping[str, BankFacts] = dataclasses.field(default_factory=dict)
    asked_again: AskedAgain | None = None
    synthetic: bool = False
    smoke: bool = False
    not_asked: Mapping[str, Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.features is not None:
            check_same_length({"answers": self.answers.is_member, "features": self.features})


def training_name(name: str, knowledge: str, adversary: str) -> str:
    """The name of an attacker's training in `Facts.trainings`."""
    return f"{name} ({knowledge}, {adversary})"
