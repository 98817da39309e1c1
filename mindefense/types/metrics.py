"""What figures are made of: rates and intervals, differences, points of a ROC curve, utility."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class RateAtFpr:
    """True-positive rate at a bounded false-positive rate.

    Attributes:
        fpr: The bound on the share of non-members called members.
        tpr: Largest share of members called members within the bound.
        low: Lower end of the 95 % interval of the rate at a false-positive rate of `fpr` in the population; the
            uncertainty of the threshold is in it.
        high: Upper end.
        note: Why the figure should not be relied on, or None.
    """

    fpr: float
    tpr: float
    low: float
    high: float
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class RateAtFnr:
    """True-negative rate at a bounded false-negative rate: non-members cleared while hardly a member is missed.

    Attributes:
        fnr: The bound on the share of members not called members.
        tnr: Largest share of non-members not called members within the bound.
        low: Lower end of the 95 % interval of the rate at a false-negative rate of `fnr` in the population; the
            uncertainty of the threshold is in it.
        high: Upper end.
        note: Why the figure should not be relied on, or None.
    """

    fnr: float
    tnr: float
    low: float
    high: float
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class IdentifiedMembers:
    """Members whom an attacker identifies while hardly calling a non-member a member.

    Attributes:
        fpr: The bound on the false positive rate in the sample.
        identified: Members above the threshold.
        mistakes: Non-members above it.
        n_members: Members judged.
        n_non_members: Non-members judged.
        share: `identified` of `n_members`.
        share_low: One-sided lower bound on the share of all members above this threshold.
        fpr_high: One-sided 95 % upper bound on the false positive rate at this threshold.
        p_value: The chance of as many or more, if members and non-members were alike; for this attacker alone.
    """

    fpr: float
    identified: int
    mistakes: int
    n_members: int
    n_non_members: int
    share: float
    share_low: float
    fpr_high: float
    p_value: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """The difference of two figures; who makes it says which is taken from which.

    Attributes:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Change:
    """What a defense changed for the attackers; of the same rows before and behind it.

    Attributes:
        accuracy: Of the highest balanced accuracy.
        auc: Of the highest two-sided AUC.
    """

    accuracy: Difference
    auc: Difference


@dataclasses.dataclass(frozen=True)
class PrecisionAtPrior:
    """What a call is worth where members are rarer than in the evaluation.

    Attributes:
        prior: Share of members among those the attacker meets.
        precision: Share of true members among those called members; None if no sample is called a member.
    """

    prior: float
    precision: float | None


@dataclasses.dataclass(frozen=True)
class MembershipMetrics:
    """How well scores tell members from non-members; fractions in 0 … 1. Every `low` and `high` is a 95 % interval.

    Attributes:
        n_members: Members scored.
        n_non_members: Non-members scored.
        accuracy: Share of all samples classified correctly as members or non-members.
        balanced_accuracy: Mean of the true-positive and the true-negative rate.
        balanced_accuracy_low: Lower end of its interval.
        balanced_accuracy_high: Upper end.
        advantage: True-positive rate minus false-positive rate, -1 … 1 (Yeom et al. 2018, definition 4).
        precision: Share of true members among those called members; None if no sample was.
        recall: Share of the members that were called members.
        share_called_member: Share of all samples called members; 0 or 1 means the attacker answers one way.
        auc: Area under the ROC curve, ties counted half.
        auc_low: Lower end of its interval.
        auc_high: Upper end.
        two_sided_auc: The larger of `auc` and ``1 - auc``: an inverted ranking reveals as much.
        tpr_at_fpr: True-positive rates at small false-positive rates, the largest bound first.
        tnr_at_fnr: True-negative rates at small false-negative rates, the largest bound first.
        epsilon_low: With 95 % confidence, no mechanism that is ε-differentially private with a smaller ε (δ = 0) shows
            such scores, if samples are independent and members were chosen at random; 0 if there is nothing to tell.
        precision_at_prior: What a call is worth where members are rarer.
    """

    n_members: int
    n_non_members: int
    accuracy: float
    balanced_accuracy: float
    balanced_accuracy_low: float
    balanced_accuracy_high: float
    advantage: float
    precision: float | None
    recall: float
    share_called_member: float
    auc: float
    auc_low: float
    auc_high: float
    two_sided_auc: float
    tpr_at_fpr: tuple[RateAtFpr, ...]
    tnr_at_fnr: tuple[RateAtFnr, ...]
    epsilon_low: float
    precision_at_prior: tuple[PrecisionAtPrior, ...]


@dataclasses.dataclass(frozen=True)
class UtilityMetrics:
    """What the answers of a (defended) model are worth to its users.

    Attributes:
        accuracy: Share of samples whose most likely class is the true one; None if true classes are unknown.
        label_changes: Samples whose most likely class differs from the undefended one.
        mean_l1: Mean L1 distance of the defended to the undefended confidence vector, 0 … 2.
        median_l1: Median of the same.
        max_l1: Maximum of the same.
        ece: Expected calibration error, 15 equal-width bins of the top confidence; likewise.
        nll: Mean negative log-likelihood of the true class, natural logarithm; likewise.
    """

    accuracy: float | None
    label_changes: int
    mean_l1: float
    median_l1: float
    max_l1: float
    ece: float | None
    nll: float | None


@dataclasses.dataclass(frozen=True)
class RocPoints:
    """Operating points of an attacker: few enough to keep in a file, each one exact.

    Attributes:
        false_alarms: ``(K,)`` non-members called members, rising from the fewest possible to all of them.
        found: ``(K,)`` the most members that are called members with no more false positives.
    """

    false_alarms: tuple[int, ...]
    found: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class RatesByAll:
    """How well scores that are fitted to no row rank all rows.

    Attributes:
        n_members: Members among them.
        n_non_members: Non-members among them.
        tpr_at_fpr: True-positive rates at the false-positive rates at which an identification counts as almost sure.
    """

    n_members: int
    n_non_members: int
    tpr_at_fpr: tuple[RateAtFpr, ...]


@dataclasses.dataclass(frozen=True)
class BudgetPoint:
    """One row of the published budget table.

    Attributes:
        budget: Bound on the expected L1 distortion of a confidence vector.
        accuracy: Expected inference accuracy of the attacker at that budget.
        mean_l1: Expected L1 distortion actually spent.
    """

    budget: float
    accuracy: float
    mean_l1: float
