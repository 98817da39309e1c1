"""The values that travel between the rooms: frozen, NumPy only, no MindSpore."""

from __future__ import annotations

import dataclasses
import decimal
import functools
import hashlib
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mindefense.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Samples:
    """Rows that a target is asked about.

    Attributes:
        features: ``(N, ...)`` float32, or uint8 for images ``(N, channels, height, width)``; what goes into the target.
        labels: ``(N,)`` int32 true classes, ``0 … C-1``.
        indices: ``(N,)`` int64 positions of the rows in the data set they come from.
    """

    features: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Samples({len(self):,} rows, features {_features(self.features)})"

    def take(self, positions: np.ndarray) -> Samples:
        """The rows at these positions of this selection, in this order."""
        return Samples(self.features[positions], self.labels[positions], self.indices[positions])


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledData:
    """One whole data set.

    Attributes:
        name: Name of the data set.
        features: ``(N, ...)`` float32, or uint8 for images ``(N, channels, height, width)``.
        labels: ``(N,)`` int32 classes ``0 … num_classes-1``.
        num_classes: Number of classes, C.
        synthetic: True if the rows were made up; every figure derived from them must say so.
        order: ``(N,)`` int64 permutation that the published experiments index with, or None.
        parts: Published parts of the data set by name, for example train and test, as ranges over its rows; None if
            it has none.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    num_classes: int
    synthetic: bool = False
    order: np.ndarray | None = None
    parts: Mapping[str, range] | None = None

    def __post_init__(self) -> None:
        if len(self.features) != len(self.labels):
            raise InputError(
                f"{self.name} labels", expected=f"one per row ({len(self.features)})", got=str(len(self.labels))
            )
        if len(self.labels) and not (self.labels.min() >= 0 and self.labels.max() < self.num_classes):
            raise InputError(
                f"{self.name} labels",
                expected=f"classes 0…{self.num_classes - 1}",
                got=f"{self.labels.min()}…{self.labels.max()}",
            )
        for name, rows in (self.parts or {}).items():
            if not (isinstance(rows, range) and rows.step == 1 and 0 <= rows.start < rows.stop <= len(self.labels)):
                expected = f"a range of one or more rows within 0…{len(self.labels) - 1}"
                raise InputError(f"{self.name} part {name}", expected=expected, got=repr(rows))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        made_up = ", SYNTHETIC" if self.synthetic else ""
        parts = "".join(f", {name} {len(rows):,}" for name, rows in (self.parts or {}).items())
        return (
            f"LabelledData({self.name!r}: {len(self):,} rows, features {_features(self.features)}, "
            f"{self.num_classes:,} classes{parts}{made_up})"
        )

    def take(self, indices: np.ndarray) -> Samples:
        """The rows at `indices` of this data set, in this order."""
        return Samples(self.features[indices], self.labels[indices], np.asarray(indices, np.int64))

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over name, shapes and bytes of features and labels, and parts, hex; tells two data sets apart."""
        digest = hashlib.sha256(self.name.encode())
        for array in (self.features, self.labels):
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        if self.parts is not None:  # the same rows under other borders make another study
            borders = sorted((name, rows.start, rows.stop) for name, rows in self.parts.items())
            digest.update(f"parts{borders}".encode())
        return digest.hexdigest()


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
            f"Trial({state}: {_attacker(self.result)}; judged by {members:,} members and "
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


@dataclasses.dataclass(frozen=True)
class Check:
    """One doubt about an evaluation, looked into.

    Attributes:
        name: For example ``"sample-size"``.
        passed: Whether there is no such doubt.
        found: What was found, with figures.
        meaning: What that does to the figures; empty if it passed.
        advice: What to do; empty if it passed.
    """

    name: str
    passed: bool
    found: str
    meaning: str = ""
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Slice:
    """How far one attacker tells members from non-members within one part of the samples.

    Attributes:
        by: What divides the samples: ``"class"``, ``"confidence decile"`` or ``"correctness"``.
        part: Which part, for example ``"class 7"``.
        n_members: Members in it.
        n_non_members: Non-members in it.
        auc: Area under the ROC curve within the part; None if one kind is missing.
        low: Lower end of its interval: 95 % over all parts looked at together (Bonferroni).
        high: Upper end.
    """

    by: str
    part: str
    n_members: int
    n_non_members: int
    auc: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Slices:
    """The parts of one state of the target, through the eyes of one attacker.

    Attributes:
        attack: The attacker whose scores these are: the one with the highest two-sided AUC.
        knowledge: What it was fitted on.
        adversary: Static or adaptive.
        defended: Whether the outputs were defended.
        parts: Every part.
        worst: The part whose interval reaches furthest from 0.5 with its near end; None if none excludes 0.5.
    """

    attack: str
    knowledge: str
    adversary: str
    defended: bool
    parts: tuple[Slice, ...]
    worst: Slice | None


@dataclasses.dataclass(frozen=True)
class ConfidenceHistogram:
    """How sure one state of the target is of the true class, for members and for non-members.

    Attributes:
        defended: Whether the answers were defended.
        members: ``(B,)`` members in each of B bins of equal width over 0 … 1; a bin holds its lower border, the last
            one both.
        non_members: ``(B,)`` non-members likewise.
    """

    defended: bool
    members: tuple[int, ...]
    non_members: tuple[int, ...]


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


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What to make of one state of the target, undefended or defended.

    Attributes:
        tutorial_rule: Whether any attacker reaches more than 0.6 in balanced accuracy, precision (as it is with as many
            members as non-members) and recall all three: the rule of MindArmour's tutorial.
        strongest: The attacker with the highest balanced accuracy, whatever it knows.
        strongest_low: Lower end of the interval of that accuracy: 95 % for all figures of all attackers together
            (Bonferroni), since this one was picked after looking.
        strongest_high: Upper end.
        sharpest: The attacker with the highest two-sided AUC.
        sharpest_low: Lower end of the interval of its `auc`, likewise.
        sharpest_high: Upper end.
        attackers: How many there were to pick from.
        gap_accuracy: Balanced accuracy of the gap attack. No defense that keeps the predicted class can lower the
            undefended one. None if true classes are unknown, so that it could not take part.
        level: One of `LEVELS`.
        identifies: The attacker that identifies the largest share of the members almost surely, by the lower bound;
            None if too few non-members judge.
        identified: What it identifies; the bound on the share is one-sided, likewise.
        identifies_beyond_chance: Whether any attacker identifies more members than chance explains.
        shown_by: The attacker whose balanced accuracy or AUC excludes chance by most; None if none does.
        shown_figure: ``"balanced accuracy"`` or ``"AUC"``: which figure of `shown_by` does.
        shown_low: Lower end of its interval, likewise.
        shown_high: Upper end.
        untold_by: Why nothing can be told: ``"few rows"``, or the name of the failed check that hides a leak; None
            unless `level` is ``"cannot be told"``.
    """

    tutorial_rule: bool
    strongest: AttackResult
    strongest_low: float
    strongest_high: float
    sharpest: AttackResult
    sharpest_low: float
    sharpest_high: float
    attackers: int
    gap_accuracy: float | None
    level: str = "cannot be told"
    identifies: AttackResult | None = None
    identified: IdentifiedMembers | None = None
    identifies_beyond_chance: bool = False
    shown_by: AttackResult | None = None
    shown_figure: str | None = None
    shown_low: float | None = None
    shown_high: float | None = None
    untold_by: str | None = None

    @property
    def leaks(self) -> bool:
        """Whether attackers identify members, or are right, more often than chance explains."""
        return self.level in LEVELS[:2]


LEVELS = ("leak", "some", "none found", "cannot be told")
"""What a verdict says. Leak: members are identified almost surely, or the best attacker is often right. Some: the best
attacker is right a little more often than by chance. Cannot be told: nothing was found, by too few rows to find it or
by rows that a failed check says are wrong."""


@dataclasses.dataclass(frozen=True)
class TargetFacts:
    """The target as it is without a defense; shares of rows classified correctly, None if true classes are unknown.

    Attributes:
        member_accuracy: On the evaluation's members.
        non_member_accuracy: On the evaluation's non-members.
        test_accuracy: On the target's own test rows; None if only recorded outputs are there.
        queries: Questions that were put to the target during the evaluation, changed samples included.
    """

    member_accuracy: float | None
    non_member_accuracy: float | None
    test_accuracy: float | None
    queries: int


@dataclasses.dataclass(frozen=True)
class DefenseFacts:
    """The defense in front of the target and what it costs on the evaluation's rows.

    Attributes:
        name: For example ``"defenmi"``; ``"recorded"`` for recorded outputs.
        config: Its settings, as JSON holds them.
        noise: ``"keyed"`` (the same query gets the same answer), ``"fresh"``, ``"none"``, or ``"unknown"`` for recorded
            outputs.
        keeps_labels: Whether it promises to keep the predicted class; None if that is not known.
        classifier_accuracy: Accuracy of the defender's classifier on the defender's own rows; None if it has none.
        undefended: What the undefended answers are worth.
        defended: What the defended answers are worth.
        queries: Questions that were put to the defended target during the evaluation.
    """

    name: str
    config: Mapping[str, object]
    noise: str
    keeps_labels: bool | None
    classifier_accuracy: float | None
    undefended: UtilityMetrics
    defended: UtilityMetrics
    queries: int


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What was judged, and when.

    Attributes:
        created: When the evaluation ended, in UTC as ISO 8601 writes it.
        network: Class of the network; None for recorded outputs.
        parameters: Its number of parameters; None for recorded outputs.
        digests: SHA-256, hex, by what it is of: ``"members"`` (their indices in rising order, as little-endian 64-bit
            integers), ``"data"``, ``"parameters"`` (their values in order), ``"checkpoint"`` and ``"outputs"`` (files).
        title: The user's; None without one.
        note: The user's; None without one.
        command: What was typed, with names in place of absolute paths; None from Python.
    """

    created: str
    network: str | None
    parameters: int | None
    digests: Mapping[str, str]
    title: str | None = None
    note: str | None = None
    command: str | None = None


@dataclasses.dataclass(frozen=True)
class LimitFound:
    """A limit of a policy, and what was found.

    Attributes:
        metric: For example ``"auc"``, ``"tpr@0.001"`` or ``"named"``.
        by: ``"estimate"``, ``"low"`` or ``"high"``: the figure, or the end of its interval, that is compared.
        limit: The largest value that passes.
        value: The largest value of all attackers.
        attack: The attacker that has it.
        exceeded: Whether it is above the limit.
    """

    metric: str
    by: str
    limit: float
    value: float
    attack: AttackResult
    exceeded: bool


@dataclasses.dataclass(frozen=True)
class Ruling:
    """Whether a model keeps to a policy.

    Attributes:
        policy: What the policy is called.
        outcome: ``"PASS"``, ``"FAIL"`` if a limit is exceeded, or ``"INCONCLUSIVE"`` if none is, but a leak may have
            been missed.
        limits: Every limit and what was found.
        reasons: Why a figure below its limit may have missed a leak; empty for ``"PASS"``.
    """

    policy: str
    outcome: str
    limits: tuple[LimitFound, ...]
    reasons: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """All that one evaluation found.

    Attributes:
        dataset: Name of the data set.
        synthetic: Whether its rows were made up.
        smoke: Whether this was a smoke test, whose figures mean nothing.
        seed: Decides everything that is random.
        settings: Everything else that was chosen.
        versions: Versions of everything that figures depend on.
        target: The target.
        shadow_accuracy: The shadow's accuracy on its own training rows and on others; None without a shadow.
        defense: The defense, or None.
        attacks: Every attacker on every state of the target.
        not_run: Attackers that were left out, and why.
        budgets: The published budget table; empty without a defense that searches, or without the nn attacker.
        undefended: The verdict before.
        defended: The verdict after, or None.
        slices: The parts of the samples, through the eyes of the sharpest attacker on each state.
        checks: Every doubt that was looked into.
        timings: Seconds by stage.
        records: Columns of ``records.csv``, one value a judged sample; None where an attacker did not judge it.
        canaries: Every attacker on mislabeled samples alone, if some were trained on.
        confidences: Histograms of the confidence in the true class, one a state of the target.
        change: What the defense changed for the best attackers, or None.
        ruling: What a policy says, or None without one.
        evidence: What was judged, and when; None where it is not known.
    """

    dataset: str
    synthetic: bool
    smoke: bool
    seed: int
    settings: dict[str, object]
    versions: dict[str, str]
    target: TargetFacts
    shadow_accuracy: tuple[float, float] | None
    defense: DefenseFacts | None
    attacks: tuple[AttackResult, ...]
    not_run: tuple[NotRun, ...]
    budgets: tuple[BudgetPoint, ...]
    undefended: Verdict
    defended: Verdict | None
    slices: tuple[Slices, ...]
    checks: tuple[Check, ...]
    timings: dict[str, float]
    records: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict, compare=False, repr=False)
    canaries: tuple[AttackResult, ...] = ()
    confidences: tuple[ConfidenceHistogram, ...] = ()
    change: Change | None = None
    ruling: Ruling | None = None
    evidence: Evidence | None = None

    def __repr__(self) -> str:
        states = [f"undefended: {_verdict(self.undefended)}"]
        if self.defended is not None and self.defense is not None:
            name = "the recorded defense" if self.defense.name == "recorded" else self.defense.name
            states.append(f"behind {name}: {_verdict(self.defended)}")
        return f"Evaluation({_headed(self)}; {'; '.join(states)})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the verdicts in words, every attacker, and the ROC curves."""
        return _shown(self, "evaluation_html")

    def to_pandas(self) -> Any:
        """The attackers as a ``pandas.DataFrame``, a row each: the columns of ``attacks.csv``.

        Shares and rates are fractions, 0 … 1; a figure that is not defined is missing.

        Raises:
            InputError: If pandas is not installed, which is optional.
        """
        return _shown(self, "attacks_frame")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to defend, in a comparison.

    Attributes:
        name: For example ``"top-k=3"``; ``"none"`` for the undefended target.
        config: Its settings, as JSON holds them.
        in_training: Whether it is a way to train the target rather than to reshape its answers.
        utility: What its answers are worth.
        verdict: The strongest attackers.
        attacks: Every attacker.
        dominated_by: Contenders that leak no more, cost no more, and are better in something.
        change: What it changed for the best attackers, on the same rows; None for the undefended target.
    """

    name: str
    config: Mapping[str, object]
    in_training: bool
    utility: UtilityMetrics
    verdict: Verdict
    attacks: tuple[AttackResult, ...]
    dominated_by: tuple[str, ...] = ()
    change: Change | None = None

    def __repr__(self) -> str:
        return f"Contender({self.name!r}: {_verdict(self.verdict)}; {len(self.attacks)} attackers)"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Ways to defend one target, side by side.

    Attributes:
        dataset: Name of the data set.
        synthetic: Whether its rows were made up.
        smoke: Whether this was a smoke test, whose figures mean nothing.
        seed: Decides everything that is random.
        settings: Everything else that was chosen.
        versions: Versions of everything that figures depend on.
        contenders: Every way, the undefended target first.
        not_run: What was left out, and why.
        checks: Every doubt that was looked into, by contender.
        timings: Seconds by stage.
        evidence: What was judged, and when; None where it is not known.
    """

    dataset: str
    synthetic: bool
    smoke: bool
    seed: int
    settings: dict[str, object]
    versions: dict[str, str]
    contenders: tuple[Contender, ...]
    not_run: tuple[NotRun, ...]
    checks: Mapping[str, tuple[Check, ...]]
    timings: dict[str, float]
    evidence: Evidence | None = None

    def __repr__(self) -> str:
        names = ", ".join(contender.name for contender in self.contenders)
        return f"Comparison({_headed(self)}; {len(self.contenders)} contenders: {names})"


def _features(features: np.ndarray) -> str:
    return f"{'×'.join(map(str, features.shape[1:])) or 'one'} {features.dtype}"


def _headed(found: Evaluation | Comparison) -> str:
    marks = [word for word, holds in (("SYNTHETIC DATA", found.synthetic), ("SMOKE TEST", found.smoke)) if holds]
    return repr(found.dataset) + (f" ({', '.join(marks)})" if marks else "")


def _verdict(verdict: Verdict) -> str:
    interval = f"{_rounded(verdict.strongest_low)}–{_rounded(verdict.strongest_high)}"
    return f"{verdict.level}, strongest {_attacker(verdict.strongest, interval)}"


def _attacker(result: AttackResult, interval: str = "") -> str:
    """An attacker with its figures; `interval` is that of the balanced accuracy."""
    accuracy = _rounded(result.metrics.balanced_accuracy) + (f" ({interval})" if interval else "")
    return (
        f"{result.name} ({result.knowledge}, {result.adversary}), balanced accuracy {accuracy}, "
        f"AUC {_rounded(result.metrics.auc)}"
    )


def _rounded(share: float) -> str:
    """Three decimals of the number as it is printed, halves up, as tables and reports have it."""
    return str(decimal.Decimal(repr(float(share))).quantize(decimal.Decimal("0.001"), decimal.ROUND_HALF_UP))


def _shown(thing: object, how: str) -> Any:
    """What a function of `mindefense.reports.notebook` makes of a value.

    That room is above this one, so it is named here, and imported when somebody wants to see the value.
    """
    return getattr(importlib.import_module("mindefense.reports.notebook"), how)(thing)
