"""What an evaluation, or a comparison of defenses, found."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mindefense.types.metrics import BudgetPoint, Change, IdentifiedMembers, UtilityMetrics
from mindefense.types.trials import AttackResult, NotRun, attacker_in_words, rounded


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


@dataclasses.dataclass(frozen=True, eq=False)
class RowRisks:
    """How much the training on each evaluated row changes a model's answers, measured on an online bank.

    Attributes:
        defended: Whether the models were defended.
        attack: The attacker whose statistic separates most.
        models: Number of shadow models.
        separation: ``(N,)`` float64: mean of the models that were trained on the row minus that of the others, in
            standard deviations; NaN for a row that all or none of the models were trained on.
        low: ``(N,)`` lower ends of the rows' 95% intervals.
        high: ``(N,)`` upper ends.
        labels: ``(N,)`` true classes.
        indices: ``(N,)`` positions in the data set.
    """

    defended: bool
    attack: str
    models: int
    separation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    labels: np.ndarray
    indices: np.ndarray

    def most(self, count: int) -> np.ndarray:
        """Positions of the `count` rows with the largest separations, in descending order; without NaN."""
        order = np.argsort(-self.separation, kind="stable")
        return order[~np.isnan(self.separation[order])][:count]


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
        risks: Risk of each evaluated row, for each state of the target; empty without an online bank.
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
    risks: tuple[RowRisks, ...] = dataclasses.field(default=(), compare=False)

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


def _headed(found: Evaluation | Comparison) -> str:
    marks = [word for word, holds in (("SYNTHETIC DATA", found.synthetic), ("SMOKE TEST", found.smoke)) if holds]
    return repr(found.dataset) + (f" ({', '.join(marks)})" if marks else "")


def _verdict(verdict: Verdict) -> str:
    interval = f"{rounded(verdict.strongest_low)}–{rounded(verdict.strongest_high)}"
    return f"{verdict.level}, strongest {attacker_in_words(verdict.strongest, interval)}"


def _shown(thing: object, how: str) -> Any:
    """What a function of `mindefense.reports.notebook` makes of a value.

    That module is in a higher layer, so it is named in a string, and imported when the value is to be shown.
    """
    return getattr(importlib.import_module("mindefense.reports.notebook"), how)(thing)
