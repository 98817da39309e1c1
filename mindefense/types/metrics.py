"""Types of measures: rates with intervals, differences, points of a ROC curve, utility."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class RateAtFpr:
    """True positive rate at a bounded false positive rate.

    Attributes:
        fpr: The bound on the false positive rate, 0 … 1.
        tpr: The largest true positive rate within the bound, 0 … 1.
        low: Lower end of the 95 % interval of the true positive rate at a false positive rate of `fpr` in the
            population; it includes the uncertainty of the threshold.
        high: Upper end of that interval.
        note: The reason why the figure is not reliable; None if it is.
    """

    fpr: float
    tpr: float
    low: float
    high: float
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class RateAtFnr:
    """True negative rate at a bounded false negative rate.

    Attributes:
        fnr: The bound on the false negative rate, 0 … 1.
        tnr: The largest true negative rate within the bound, 0 … 1.
        low: Lower end of the 95 % interval of the true negative rate at a false negative rate of `fnr` in the
            population; it includes the uncertainty of the threshold.
        high: Upper end of that interval.
        note: The reason why the figure is not reliable; None if it is.
    """

    fnr: float
    tnr: float
    low: float
    high: float
    note: str | None = None


@dataclasses.dataclass(frozen=True)
class IdentifiedMembers:
    """The members that an attacker identifies at a small false positive rate.

    Attributes:
        fpr: The bound on the false positive rate in the sample, 0 … 1.
        identified: Number of members above the threshold.
        mistakes: Number of non-members above it.
        n_members: Number of all members evaluated.
        n_non_members: Number of all non-members evaluated.
        share: ``identified / n_members``.
        share_low: One-sided lower bound on the share of members above this threshold in the population.
        fpr_high: One-sided 95 % upper bound on the false positive rate at this threshold.
        p_value: Probability of at least as many if members and non-members had the same distribution, for this
            attacker alone (not corrected for the number of attackers).
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
    """The difference of two figures; its sign is defined where it is computed.

    Attributes:
        value: The difference.
        low: Lower end of its interval.
        high: Upper end of its interval.
    """

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Change:
    """The decreases of the best attackers' figures by a defense, on the same rows; positive if the defense helps.

    Attributes:
        accuracy: Decrease of the highest balanced accuracy.
        auc: Decrease of the highest two-sided AUC.
    """

    accuracy: Difference
    auc: Difference


@dataclasses.dataclass(frozen=True)
class PrecisionAtPrior:
    """The attacker's precision if members are rarer than in the evaluation.

    Attributes:
        prior: Share of members in the population, 0 … 1.
        precision: Share of members among the samples classified as members; None if there are none.
    """

    prior: float
    precision: float | None


@dataclasses.dataclass(frozen=True)
class MembershipMetrics:
    """Measures of an attacker's scores; fractions are in 0 … 1. Every `low` and `high` is an end of a 95 % interval.

    Attributes:
        n_members: Number of members scored.
        n_non_members: Number of non-members scored.
        accuracy: Share of all samples classified correctly as members or non-members.
        balanced_accuracy: Mean of the true positive rate and the true negative rate.
        balanced_accuracy_low: Lower end of its interval.
        balanced_accuracy_high: Upper end of its interval.
        advantage: True positive rate minus false positive rate, -1 … 1 (Yeom et al. 2018, definition 4).
        precision: Share of members among the samples classified as members; None if there are none.
        recall: The true positive rate: share of the members that are classified as members.
        share_called_member: Share of all samples that are classified as members; if it is 0 or 1, the attacker
            classifies all samples alike.
        auc: Area under the ROC curve, with ties counted half.
        auc_low: Lower end of its interval.
        auc_high: Upper end of its interval.
        two_sided_auc: The larger of `auc` and ``1 - auc``, because an inverted ranking reveals as much.
        tpr_at_fpr: True positive rates at small false positive rates, the largest bound first.
        tnr_at_fnr: True negative rates at small false negative rates, the largest bound first.
        epsilon_low: Lower bound on ε with 95 % confidence: no ε-differentially private mechanism (δ = 0) with a smaller
            ε gives such scores, if samples are independent and members were chosen at random; 0 if there is no
            positive bound.
        precision_at_prior: The precision if members are rarer.
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
    """Usefulness of the answers of a (defended) model to its users.

    Attributes:
        accuracy: Share of samples whose predicted class is the true one, 0 … 1; None if true classes are unknown.
        label_changes: Number of samples whose predicted class differs from the undefended one.
        mean_l1: Mean L1 distance between the defended and the undefended confidence vectors, 0 … 2.
        median_l1: Median of these distances.
        max_l1: Maximum of these distances.
        ece: Expected calibration error with 15 equal-width bins of the largest confidence, 0 … 1; None if true classes
            are unknown.
        nll: Mean negative log-likelihood of the true class, natural logarithm; None if true classes are unknown.
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
    """Some exact points of a ROC curve, few enough to store in a file.

    Attributes:
        false_alarms: ``(K,)`` numbers of false positives, ascending from the smallest possible one to all non-members.
        found: ``(K,)`` largest numbers of true positives with at most that many false positives.
    """

    false_alarms: tuple[int, ...]
    found: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class RatesByAll:
    """True positive rates on all rows of the evaluation, for scores that do not depend on the rows fitted on.

    Attributes:
        n_members: Number of members.
        n_non_members: Number of non-members.
        tpr_at_fpr: True positive rates at the false positive rates at which an identification counts as almost sure.
    """

    n_members: int
    n_non_members: int
    tpr_at_fpr: tuple[RateAtFpr, ...]


@dataclasses.dataclass(frozen=True)
class BudgetPoint:
    """One row of the published budget table.

    Attributes:
        budget: Bound on the expected L1 distortion of a confidence vector.
        accuracy: Expected accuracy of the attacker with that budget, 0 … 1.
        mean_l1: Expected L1 distortion that is actually used, 0 … 2.
    """

    budget: float
    accuracy: float
    mean_l1: float
