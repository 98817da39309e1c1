"""Types of the results of an evaluation or of a comparison of defenses."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from mindefense.types.metrics import BudgetPoint, Change, UtilityMetrics
from mindefense.types.targets import OtherTargets
from mindefense.types.trials import AttackResult, NotRun, attacker_in_words, rounded
from mindefense.types.verdicts import Check, Ruling, Verdict


@dataclasses.dataclass(frozen=True)
class Slice:
    """An attacker's AUC within one part of the samples.

    Attributes:
        by: The criterion of the division: ``"class"``, ``"confidence decile"`` or ``"correctness"``.
        part: Name of the part, for example ``"class 7"``.
        n_members: Number of members in the part.
        n_non_members: Number of non-members in the part.
        auc: Area under the ROC curve within the part; None if members or non-members are missing.
        low: Lower end of its interval, with a confidence of 95 % for all parts together (Bonferroni).
        high: Upper end of that interval.
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
    """The AUCs of one attacker within parts of the samples, on one state of the target.

    Attributes:
        attack: Name of the attacker; the one with the highest two-sided AUC on this state.
        knowledge: Its knowledge; see `AttackResult`.
        adversary: ``"static"`` or ``"adaptive"``.
        defended: Whether the target was defended.
        parts: All parts.
        worst: The part whose interval has the largest distance from 0.5; None if no interval excludes 0.5.
    """

    attack: str
    knowledge: str
    adversary: str
    defended: bool
    parts: tuple[Slice, ...]
    worst: Slice | None


@dataclasses.dataclass(frozen=True)
class ConfidenceHistogram:
    """Histograms of the confidence in the true class, for members and for non-members, on one state of the target.

    Attributes:
        defended: Whether the answers were defended.
        members: ``(B,)`` numbers of members in B bins of equal width over 0 … 1. A bin includes its lower border, the
            last bin both borders.
        non_members: ``(B,)`` numbers of non-members in these bins.
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
class TargetFacts:
    """Accuracies of the undefended target, 0 … 1, and its number of queries.

    Attributes:
        member_accuracy: Accuracy on the evaluation's members; None if true classes are unknown.
        non_member_accuracy: Accuracy on the evaluation's non-members; None if true classes are unknown.
        test_accuracy: Accuracy on the target's test rows; None for recorded outputs.
        queries: Number of queries to the target during the evaluation, including changed samples.
    """

    member_accuracy: float | None
    non_member_accuracy: float | None
    test_accuracy: float | None
    queries: int


@dataclasses.dataclass(frozen=True)
class DefenseFacts:
    """The defense of the target, and the utility of the answers to the evaluation's rows.

    Attributes:
        name: Its name, for example ``"defenmi"``; ``"recorded"`` for recorded outputs.
        config: Its settings, as in JSON.
        noise: ``"keyed"`` (the same query gets the same answer), ``"fresh"`` (every query gets new noise), ``"none"``,
            or ``"unknown"`` for recorded outputs.
        keeps_labels: Whether it is meant to preserve the predicted class; None if unknown.
        classifier_accuracy: Accuracy of the defender's classifier on the defender's rows, 0 … 1; None without one.
        undefended: Utility of the undefended answers.
        defended: Utility of the defended answers.
        queries: Number of queries to the defended target during the evaluation.
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
    """Time of an evaluation, and digests of what was evaluated.

    Attributes:
        created: Time when the evaluation ended, in UTC and ISO 8601.
        network: Class name of the network; None for recorded outputs.
        parameters: Its number of parameters; None for recorded outputs.
        digests: Hexadecimal SHA-256 by name: ``"members"`` (their indices in ascending order, as little-endian 64-bit
            integers), ``"data"``, ``"parameters"`` (their values in order), ``"checkpoint"`` and ``"outputs"`` (files).
        title: The user's title; None without one.
        note: The user's note; None without one.
        command: The command line, with file names instead of absolute paths; None from Python.
    """

    created: str
    network: str | None
    parameters: int | None
    digests: Mapping[str, str]
    title: str | None = None
    note: str | None = None
    command: str | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation.

    Attributes:
        dataset: Name of the data set.
        synthetic: Whether its rows are synthetic.
        smoke: Whether this was a smoke test, whose figures have no meaning.
        seed: Seed of everything that is random.
        settings: All other settings.
        versions: Versions of the programs that the figures depend on.
        target: Accuracies of the undefended target.
        shadow_accuracy: The shadow model's accuracy on its training rows and on other rows; None without one.
        defense: The defense, or None.
        attacks: The results of every attacker on every state of the target.
        not_run: The attackers that were left out, with the reasons.
        budgets: The published budget table; empty without a defense that searches, or without the nn attacker.
        undefended: The verdict on the undefended target.
        defended: The verdict on the defended target, or None.
        slices: For each state, the AUCs within parts of the samples of the attacker with the highest two-sided AUC.
        checks: The checks of whether the evaluation can be trusted.
        timings: Seconds by stage.
        records: ``(N,)`` columns of ``records.csv`` by name; scores are None for samples that an attacker was not
            evaluated on.
        canaries: The results of every attacker on the canaries, if the target was trained with some.
        confidences: Histograms of the confidence in the true class, one for each state of the target.
        change: The decreases of the best attackers' figures by the defense, or None.
        ruling: The outcome of a policy; None without one.
        evidence: Time and digests of what was evaluated; None if unknown.
        risks: The risk of each evaluated row, for each state of the target; empty without an online bank.
        other_targets: The figures of the attackers on other targets; None if none were attacked.
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
    other_targets: OtherTargets | None = None

    def __repr__(self) -> str:
        states = [f"undefended: {_verdict(self.undefended)}"]
        if self.defended is not None and self.defense is not None:
            name = "the recorded defense" if self.defense.name == "recorded" else self.defense.name
            states.append(f"behind {name}: {_verdict(self.defended)}")
        return f"Evaluation({_headed(self)}; {'; '.join(states)})"

    def _repr_html_(self) -> str:
        """HTML for notebooks: the verdicts in words, a table of the attackers, and the ROC curves."""
        return _shown(self, "evaluation_html")

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with the columns of ``attacks.csv`` and one row per attacker.

        Rates are fractions, 0 … 1; undefined figures are missing values.

        Raises:
            InputError: If pandas, an optional dependency, is not installed.
        """
        return _shown(self, "attacks_frame")


@dataclasses.dataclass(frozen=True)
class Contender:
    """One defense in a comparison, or the undefended target.

    Attributes:
        name: Its name, for example ``"top-k=3"``; ``"none"`` for the undefended target.
        config: Its settings, as in JSON.
        in_training: Whether it changes the training of the target instead of reshaping its answers.
        utility: Utility of its answers.
        verdict: The verdict over all attackers.
        attacks: The results of every attacker.
        dominated_by: Names of contenders that leak no more, cost no more, and are better in at least one figure.
        change: The decreases of the best attackers' figures, on the same rows; None for the undefended target.
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
    """The results of a comparison of defenses of one target.

    Attributes:
        dataset: Name of the data set.
        synthetic: Whether its rows are synthetic.
        smoke: Whether this was a smoke test, whose figures have no meaning.
        seed: Seed of everything that is random.
        settings: All other settings.
        versions: Versions of the programs that the figures depend on.
        contenders: The undefended target, followed by the defenses.
        not_run: The attackers and defenses that were left out, with the reasons.
        checks: The checks of whether the figures can be trusted, by contender.
        timings: Seconds by stage.
        evidence: Time and digests of what was evaluated; None if unknown.
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
    """The result of the function `how` of `mindefense.reports.notebook` for a value.

    That module is in a higher layer, so it is named in a string and imported only when a value is shown.
    """
    return getattr(importlib.import_module("mindefense.reports.notebook"), how)(thing)
