"""Types of one attacker on one state of a target: result, scores, and the target's answers."""

from __future__ import annotations

import dataclasses
import decimal

import numpy as np

from mindefense.types.metrics import MembershipMetrics, RatesByAll, RocPoints


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """The result of one attacker on one state of a target.

    Attributes:
        name: Name of the attack, for example ``"mindarmour-lr"``.
        knowledge: ``"auditor"`` (fitted on known members of the target itself), ``"shadow"`` (fitted on a model that
            the attacker trained), ``"online"`` or ``"offline"`` (fitted on a bank of shadow models), or ``"none"``
            (not fitted).
        adversary: ``"static"`` (does not know of the defense; fitted on undefended outputs) or ``"adaptive"`` (fitted
            behind the same defense; on a shadow model, with the attacker's own key and noise).
        defended: Whether the outputs it scored were defended.
        metrics: Its measures on the samples that it was evaluated on.
        roc: Points of its ROC curve on these samples; None if they are not stored.
        own: Its measures at ``Attack.own_threshold``, the threshold of the attack's authors; None if there is none, or
            `metrics` use it. Not written to files.
        by_all: Its true positive rates on all rows, if its scores do not depend on the rows fitted on
            (``Attack.fits_scores``) and `metrics` are on only some rows; otherwise None. Not written to files.
    """

    name: str
    knowledge: str
    adversary: str
    defended: bool
    metrics: MembershipMetrics
    roc: RocPoints | None = dataclasses.field(default=None, compare=False, repr=False)
    own: MembershipMetrics | None = dataclasses.field(default=None, compare=False, repr=False)
    by_all: RatesByAll | None = dataclasses.field(default=None, compare=False, repr=False)


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One attacker's result, with its scores of N samples.

    Attributes:
        result: The result.
        scores: ``(N,)`` float64, higher = more likely a member.
        threshold: A sample is classified as a member if its score is above this threshold.
        samples: ``(N,)`` int64 positions of the samples in the evaluation's rows.
        is_member: ``(N,)`` bool, True for members.
        ranked: Scores and membership of all M rows of the evaluation, ``(M,)`` each, if the scores do not depend on the
            rows fitted on and the attacker was evaluated on only some rows; otherwise None.
    """

    result: AttackResult
    scores: np.ndarray
    threshold: float
    samples: np.ndarray
    is_member: np.ndarray
    ranked: tuple[np.ndarray, np.ndarray] | None = None

    def __repr__(self) -> str:
        members = int(np.count_nonzero(self.is_member))
        state = "defended" if self.result.defended else "undefended"
        return (
            f"Trial({state}: {attacker_in_words(self.result)}; on {members:,} members and "
            f"{len(self.is_member) - members:,} non-members)"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """The target's answers to the N rows of an evaluation, in any order.

    Attributes:
        labels: ``(N,)`` int32 true classes; None if they are unknown.
        is_member: ``(N,)`` bool, True for members.
        indices: ``(N,)`` int64 positions of the rows in the data set.
        clean_probs: ``(N, C)`` confidence vectors of the undefended target.
        defended_probs: ``(N, C)`` confidence vectors of the defended target, or None.
    """

    labels: np.ndarray | None
    is_member: np.ndarray
    indices: np.ndarray
    clean_probs: np.ndarray
    defended_probs: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.is_member)

    def __repr__(self) -> str:
        members = int(np.count_nonzero(self.is_member))
        defended = "undefended only" if self.defended_probs is None else "undefended and defended"
        return (
            f"Outputs({members:,} members, {len(self) - members:,} non-members, {self.clean_probs.shape[1]:,} "
            f"classes, {defended})"
        )


@dataclasses.dataclass(frozen=True)
class NotRun:
    """An attacker that was left out.

    Attributes:
        name: Name of the attack.
        knowledge: The knowledge that it would have had; see `AttackResult`.
        reason: The reason why it was left out, and what to do about it.
    """

    name: str
    knowledge: str
    reason: str


def attacker_in_words(result: AttackResult, interval: str = "") -> str:
    """A text with an attacker and its figures; `interval` is that of the balanced accuracy."""
    accuracy = rounded(result.metrics.balanced_accuracy) + (f" ({interval})" if interval else "")
    return (
        f"{result.name} ({result.knowledge}, {result.adversary}), balanced accuracy {accuracy}, "
        f"AUC {rounded(result.metrics.auc)}"
    )


def rounded(share: float) -> str:
    """Rounds the printed number to three decimals, halves up, as in tables and reports."""
    return str(decimal.Decimal(repr(float(share))).quantize(decimal.Decimal("0.001"), decimal.ROUND_HALF_UP))
