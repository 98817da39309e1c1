"""One attacker on one state of a target: its result, its scores, and the answers it was judged by."""

from __future__ import annotations

import dataclasses
import decimal

import numpy as np

from mindefense.types.metrics import MembershipMetrics, RatesByAll, RocPoints


@dataclasses.dataclass(frozen=True)
class AttackResult:
    """One attacker against one target.

    Attributes:
        name: The attack, for example ``"mindarmour-lr"``.
        knowledge: ``"auditor"`` (fitted on known members of the target itself), ``"shadow"`` (fitted on a model
            the attacker trained) or ``"none"`` (nothing to fit).
        adversary: ``"static"`` (does not know of the defense: fitted on undefended outputs) or ``"adaptive"`` (fitted
            behind the same defense; a shadow's with the attacker's own key and noise).
        defended: Whether the outputs it scored were defended.
        metrics: How well it did on the samples it was judged by.
        roc: Points of its ROC curve on them; None where none were kept.
        own: How well it did at ``Attack.own_threshold``, the cut of its authors; None where `metrics` are at that cut,
            or there is no other. In no file.
        by_all: Its true positive rates by all rows, where its scores are fitted to none (``Attack.fits_scores``) and
            `metrics` are by some; None elsewhere. In no file.
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
    """One attacker's result with what it is made of.

    Attributes:
        result: The result.
        scores: ``(N,)`` float64, higher = more likely a member.
        threshold: A sample is called a member if its score is above.
        samples: ``(N,)`` int64 positions, in the evaluation's rows, of the samples it was judged by.
        is_member: ``(N,)`` bool.
        ranked: Scores and membership of all of the evaluation's rows, ``(M,)`` each, where scores are fitted to none
            and it was judged by some of them; None elsewhere.
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
            f"Trial({state}: {attacker_in_words(self.result)}; judged by {members:,} members and "
            f"{len(self.is_member) - members:,} non-members)"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Outputs:
    """What the evaluation's rows are and what the target says of them; members first or in any order.

    Attributes:
        labels: ``(N,)`` int32 true classes; None if they are unknown.
        is_member: ``(N,)`` bool.
        indices: ``(N,)`` int64 positions of the rows in the data set.
        clean_probs: ``(N, C)`` confidence vectors of the undefended target.
        defended_probs: ``(N, C)`` those of the defended one, or None.
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
        defended = "undefended alone" if self.defended_probs is None else "undefended and defended"
        return (
            f"Outputs({members:,} members, {len(self) - members:,} non-members, {self.clean_probs.shape[1]:,} "
            f"classes, {defended})"
        )


@dataclasses.dataclass(frozen=True)
class NotRun:
    """An attacker that was left out.

    Attributes:
        name: The attack.
        knowledge: What it would have been fitted on.
        reason: Why it was left out, and what to do about it.
    """

    name: str
    knowledge: str
    reason: str


def attacker_in_words(result: AttackResult, interval: str = "") -> str:
    """An attacker with its figures; `interval` is that of the balanced accuracy."""
    accuracy = rounded(result.metrics.balanced_accuracy) + (f" ({interval})" if interval else "")
    return (
        f"{result.name} ({result.knowledge}, {result.adversary}), balanced accuracy {accuracy}, "
        f"AUC {rounded(result.metrics.auc)}"
    )


def rounded(share: float) -> str:
    """Three decimals of the number as it is printed, halves up, as tables and reports have it."""
    return str(decimal.Decimal(repr(float(share))).quantize(decimal.Decimal("0.001"), decimal.ROUND_HALF_UP))
