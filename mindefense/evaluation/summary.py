"""Computes an evaluation from trials and answers: verdicts, utility, slices, budget table, checks. Needs only NumPy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mindefense.confidence import softmax
from mindefense.evaluation.evidence import evidence_of
from mindefense.evaluation.facts import AskedAgain, BankFacts, Facts, FitRows, Training
from mindefense.evaluation.other_targets import attack_others
from mindefense.evaluation.runner import AttackRunner
from mindefense.evaluation.scenario import EvaluationSets, Scenario
from mindefense.evaluation.slices import record_columns, slices_of
from mindefense.evaluation.validity import doubts
from mindefense.evaluation.verdict import changed, held_against, verdict_of
from mindefense.metrics import budget_table, utility_metrics
from mindefense.metrics.ranking import Counts
from mindefense.runtime import versions
from mindefense.targets.bank import ShadowBank
from mindefense.targets.base import Model
from mindefense.types import (
    BudgetPoint,
    Check,
    ConfidenceHistogram,
    DefenseFacts,
    Evaluation,
    Evidence,
    Outputs,
    RocPoints,
    RowRisks,
    Samples,
    Slices,
    TargetFacts,
    Trial,
    UtilityMetrics,
)

_EVERY = 30
"""A stored ROC curve has every point up to this number of false positives, for logarithmic axes."""
_FURTHER = 60
"""Largest number of further points."""
_BINS = 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """Description of an evaluation for its results.

    Attributes:
        dataset: Name of the data set, or of the file of recorded outputs.
        seed: Seed of everything that is random.
        settings: The chosen settings.
        synthetic: Whether the rows are synthetic.
        smoke: Whether this is a smoke test, whose figures have no meaning.
        trainings: The trainings of target, shadow model and defender, by network.
        digests: Hexadecimal SHA-256 of the evaluated files, by name; None for a missing file.
    """

    dataset: str
    seed: int
    settings: Mapping[str, object]
    synthetic: bool = False
    smoke: bool = False
    trainings: Mapping[str, Training] = dataclasses.field(default_factory=dict)
    digests: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


def summarize(
    runner: AttackRunner,
    scenario: Scenario,
    trials: Sequence[Trial],
    answers: Outputs,
    subject: Subject,
    *,
    targets: int = 0,
) -> Evaluation:
    """Computes the evaluation from the trials of all attackers.

    Args:
        runner: The runner that ran them.
        scenario: The state that would be released: the defended one, or the undefended one without a defense.
        trials: All trials, on the undefended and on the defended target.
        answers: The target's answers to the evaluation's rows; see `answers_of`.
        subject: Description of the evaluation.
        targets: Number of models of the online bank to attack in the target's place; 0 for none.

    Raises:
        InputError: If the bank has too few models for this.
    """
    undefended = runner.undefended
    others = attack_others(runner, trials, targets) if targets else None
    is_defended = scenario.defense is not None
    states = (False, True) if is_defended else (False,)
    checks = checks_of(runner, scenario, trials, answers, subject)
    test, model = undefended.sets.test, undefended.model
    tested = None if test is None or model is None else accuracy(model, test)
    verdicts = [
        held_against(verdict_of(trials, defended=defended, labelled=undefended.sets.labelled), checks)
        for defended in states
    ]
    risks = _largest(runner.risks, states)
    return Evaluation(
        dataset=subject.dataset,
        synthetic=subject.synthetic,
        smoke=subject.smoke,
        seed=subject.seed,
        settings=dict(subject.settings),
        versions=versions(),
        target=target_facts(answers, test_accuracy=tested, queries=undefended.target.queries),
        shadow_accuracy=shadow_accuracy(undefended),
        defense=_defense_facts(scenario, answers) if is_defended else None,
        attacks=tuple(
            dataclasses.replace(trial.result, roc=roc_points(trial.scores, trial.is_member)) for trial in trials
        ),
        not_run=runner.participants.left_out(noised=is_noised(scenario)),
        budgets=_budgets(scenario, trials, answers),
        undefended=verdicts[0],
        defended=verdicts[1] if is_defended else None,
        slices=tuple(sharpest_slices(trials, answers, defended=defended) for defended in states),
        checks=checks,
        timings={},
        records=record_columns(trials, answers, risks),
        canaries=tuple(trial.result for trial in runner.on_canaries),
        confidences=tuple(
            confidence_histogram(answers, defended=defended) for defended in states if answers.labels is not None
        ),
        change=changed(*_by_state(trials)) if is_defended else None,
        evidence=evidence_for(undefended, answers, subject),
        risks=risks,
        other_targets=others,
    )


def _largest(risks: Sequence[RowRisks], states: Sequence[bool]) -> tuple[RowRisks, ...]:
    """For each state the risks by the attacker whose statistic separates the rows most on average."""
    found = []
    for defended in states:
        here = [one for one in risks if one.defended == defended and not np.isnan(one.separation).all()]
        if here:
            found.append(max(here, key=lambda one: float(np.nanmean(one.separation))))
    return tuple(found)


def is_noised(scenario: Scenario) -> bool:
    """Whether the answers in this state depend on noise."""
    return scenario.defense is not None and scenario.defense.is_random


def answers_of(undefended: Scenario, scenario: Scenario, *, indices: np.ndarray | None = None) -> Outputs:
    """The target's answers to the evaluation's rows, undefended and, with a defense, defended.

    Args:
        undefended: The target without a defense.
        scenario: The state that would be released.
        indices: ``(N,)`` positions of the rows in the data set; None to take those of the samples.
    """
    rows = undefended.sets.everyone
    samples = rows.features()
    return Outputs(
        labels=rows.labels() if undefended.sets.labelled else None,
        is_member=rows.is_member(),
        indices=rows.indices() if indices is None else indices,
        clean_probs=np.exp(undefended.target.query(samples)),
        defended_probs=None if scenario.defense is None else np.exp(scenario.target.query(samples)),
    )


def checks_of(
    runner: AttackRunner, scenario: Scenario, trials: Sequence[Trial], answers: Outputs, subject: Subject
) -> tuple[Check, ...]:
    """All checks of these trials that can be computed; arguments as in `summarize`."""
    undefended = runner.undefended
    sets = undefended.sets
    defense = None if scenario.defense is None else scenario.defense.defense
    again = None
    if defense is not None and scenario.defense is not None and defense.is_random:
        differing, rows = scenario.answers_differing(seed=subject.seed)
        averaged = any(trial.result.name.startswith("averaging") for trial in trials)
        fresh = scenario.defense.noise == "fresh"
        again = AskedAgain(rows=rows, differing=differing, fresh_noise=fresh, averaged=averaged)
    fitted_on = {"auditor": _known(sets, answers, has_features=undefended.answers_variants)}
    if sets.shadow is not None:
        fitted_on["shadow"] = FitRows(indices=sets.shadow.indices(), features=sets.shadow.features())
    facts = Facts(
        trials=trials,
        answers=answers,
        features=sets.everyone.features() if undefended.answers_variants else None,
        fitted_on=fitted_on,
        treated_alike=sets.treated_alike,
        keeps_labels=None if defense is None else defense.keeps_labels,
        trainings={**runner.trainings, **subject.trainings},
        shadow_accuracy=shadow_accuracy(undefended),
        asked_again=again,
        synthetic=subject.synthetic,
        smoke=subject.smoke,
        not_asked=runner.participants.not_asked(noised=is_noised(scenario)),
        banks={kind: _bank_facts(bank, sets) for kind, bank in undefended.banks.items()} if sets.labelled else {},
    )
    return doubts(facts)


def _known(sets: EvaluationSets, answers: Outputs, *, has_features: bool) -> FitRows:
    """The rows that auditors were fitted on; for recorded outputs, with confidence vectors instead of features."""
    if has_features:
        return FitRows(indices=sets.known.indices(), features=sets.known.features())
    everyone = sets.everyone.indices()
    order = np.argsort(everyone)
    positions = order[np.searchsorted(everyone, sets.known.indices(), sorter=order)]
    return FitRows(indices=answers.indices[positions], probs=answers.clean_probs[positions])


def evidence_for(undefended: Scenario, answers: Outputs, subject: Subject) -> Evidence:
    """Digests of what was evaluated, with the current time."""
    model = undefended.model
    digests = dict(subject.digests)
    if not undefended.answers_variants:  # of recorded outputs, only the file is known, not the network
        model = None
    if model is not None:
        digests["parameters"] = model.digest()
    return evidence_of(
        answers,
        network=None if model is None else model.kind,
        parameters=None if model is None else model.parameters(),
        digests=digests,
    )


def _bank_facts(bank: ShadowBank, sets: EvaluationSets) -> BankFacts:
    """What the checks need to know of a bank; what its models were asked before comes from memory."""
    rows, held = bank.rows, bank.trained_on(bank.rows.indices)
    ways = [model.logits for model in bank.models] or [target.query for target in bank.targets]
    is_correct = np.stack([ask(rows.features).argmax(axis=1) == rows.labels for ask in ways])
    # An offline bank is compared with no judged row; an online one should be with each of them.
    everyone = sets.everyone.indices()
    compared = held if bank.is_offline else bank.trained_on(everyone)
    overlapping = 0
    if bank.population is not None:
        others = bank.population.indices
        overlapping = int((np.isin(others, everyone) | bank.trained_on(others).any(axis=0)).sum())
    return BankFacts(
        models=len(bank),
        rows=compared.shape[1],
        uncompared=int((compared.all(axis=0) | ~compared.any(axis=0)).sum()),
        trained_on=int(bank.in_training.sum(axis=1).mean()),
        of_target=sets.target_rows,
        overlapping=overlapping,
        accuracy=(float(is_correct[held].mean()), float(is_correct[~held].mean())),
    )


def shadow_accuracy(undefended: Scenario) -> tuple[float, float] | None:
    """Mean accuracy of the shadow models on their training rows and on other rows; None without a shadow model."""
    shadows, rows = undefended.shadows, undefended.sets.shadow
    if shadows is None or rows is None or not shadows.models:
        return None
    of_members, of_others = (
        float(np.mean([accuracy(model, samples) for model in shadows.models]))
        for samples in (rows.members, rows.non_members)
    )
    return of_members, of_others


def accuracy(model: Model, samples: Samples) -> float:
    """Share of the samples that a model classifies correctly."""
    return float((model.logits(samples.features).argmax(axis=1) == samples.labels).mean())


def _defense_facts(scenario: Scenario, answers: Outputs) -> DefenseFacts:
    """The defense, and the utility of the answers with and without it."""
    undefended, defended = utility(answers)
    assert scenario.defense is not None
    defense, queries = scenario.defense.defense, scenario.target.queries
    if defense is None:
        return DefenseFacts("recorded", {}, scenario.defense.noise, None, None, undefended, defended, queries)
    told, classifier, rows = None, defense.classifier(), scenario.sets.defender
    if classifier is not None and rows is not None and scenario.model is not None:
        called = classifier.member_probability(softmax(scenario.model.logits(rows.features()))) > 0.5
        told = float((called == rows.is_member()).mean())
    return DefenseFacts(
        name=defense.name,
        config=defense.describe()["config"],
        noise=scenario.defense.noise if defense.is_random else "none",
        keeps_labels=defense.keeps_labels,
        classifier_accuracy=told,
        undefended=undefended,
        defended=defended,
        queries=queries,
    )


def _budgets(scenario: Scenario, trials: Sequence[Trial], answers: Outputs) -> tuple[BudgetPoint, ...]:
    defense = None if scenario.defense is None else scenario.defense.defense
    classifier = defense.classifier() if defense is not None and defense.has_budget_table else None
    if classifier is None or answers.defended_probs is None:
        return ()
    return published_budgets(
        trials,
        answers,
        g_clean=classifier.member_probability(answers.clean_probs),
        g_defended=classifier.member_probability(answers.defended_probs),
    )


def _by_state(trials: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """The trials on the undefended target, and those on the defended target."""
    before = [trial for trial in trials if not trial.result.defended]
    return before, [trial for trial in trials if trial.result.defended]


def roc_points(scores: np.ndarray, is_member: np.ndarray) -> RocPoints:
    """At most 92 points of the ROC curve: all points with up to 30 false positives, then a geometric sequence.

    Args:
        scores: ``(N,)`` float64, higher = more likely a member.
        is_member: ``(N,)`` bool.

    Example:
        >>> roc_points(np.array([3.0, 1.0, 2.0, 0.0]), np.array([True, True, False, False]))
        RocPoints(false_alarms=(0, 1, 2), found=(1, 2, 2))
    """
    counts = Counts.of(scores, is_member)
    false_alarms = counts.called_non_members
    corners = np.append(
        np.flatnonzero(np.diff(false_alarms)), len(false_alarms) - 1
    )  # the point with most true positives
    numbers = false_alarms[corners]
    wanted = np.geomspace(_EVERY, max(counts.n_non_members, _EVERY), _FURTHER)
    kept = np.union1d(np.flatnonzero(numbers <= _EVERY), np.searchsorted(numbers, wanted, side="right") - 1)
    kept = corners[np.union1d(kept, len(corners) - 1)]
    return RocPoints(tuple(false_alarms[kept].tolist()), tuple(counts.called_members[kept].tolist()))


def confidence_histogram(answers: Outputs, *, defended: bool) -> ConfidenceHistogram:
    """Histogram of the confidence in the true class, over 20 equal bins of 0 … 1, for members and non-members."""
    probs = answers.defended_probs if defended else answers.clean_probs
    assert probs is not None
    assert answers.labels is not None
    of_true = np.clip(probs[np.arange(len(probs)), answers.labels], 0, 1)  # float32 may be rounded to just above 1

    def counted(kind: np.ndarray) -> tuple[int, ...]:
        return tuple(np.histogram(of_true[kind], bins=_BINS, range=(0, 1))[0].tolist())

    return ConfidenceHistogram(defended, counted(answers.is_member), counted(~answers.is_member))


def sharpest_slices(trials: Sequence[Trial], answers: Outputs, *, defended: bool) -> Slices:
    """The AUCs within parts of the data for the attacker with the highest two-sided AUC on this state."""
    here = [trial for trial in trials if trial.result.defended == defended]
    return slices_of(max(here, key=lambda trial: trial.result.metrics.two_sided_auc), answers)


def target_facts(answers: Outputs, *, test_accuracy: float | None, queries: int) -> TargetFacts:
    """The target's accuracies on the evaluation's rows, and its number of queries."""
    if answers.labels is None:
        return TargetFacts(None, None, test_accuracy, queries)
    right = answers.clean_probs.argmax(axis=1) == answers.labels
    return TargetFacts(
        member_accuracy=float(right[answers.is_member].mean()),
        non_member_accuracy=float(right[~answers.is_member].mean()),
        test_accuracy=test_accuracy,
        queries=queries,
    )


def utility(answers: Outputs) -> tuple[UtilityMetrics, UtilityMetrics]:
    """The utility of the undefended and of the defended answers; the same twice without a defense."""
    clean, defended = answers.clean_probs, answers.defended_probs
    undefended = utility_metrics(clean, answers.labels, clean_probs=clean)
    if defended is None:
        return undefended, undefended
    return undefended, utility_metrics(defended, answers.labels, clean_probs=clean)


def published_budgets(
    trials: Sequence[Trial], answers: Outputs, *, g_clean: np.ndarray, g_defended: np.ndarray
) -> tuple[BudgetPoint, ...]:
    """The published budget table, for the static nn attacker; empty if that attacker did not take part.

    Args:
        trials: All trials.
        answers: The answers to the evaluation's N rows.
        g_clean: ``(N,)`` the defender's membership probability for the undefended answers.
        g_defended: ``(N,)`` the defender's membership probability for the defended answers.
    """
    right = {}
    for trial in trials:
        if (trial.result.name, trial.result.knowledge, trial.result.adversary) == ("nn", "shadow", "static"):
            called = (trial.scores > trial.threshold) == trial.is_member
            right[trial.result.defended] = called[np.argsort(trial.samples)]
    if len(right) < 2 or answers.defended_probs is None:
        return ()
    return budget_table(
        answers.clean_probs,
        answers.defended_probs,
        correct_clean=right[False],
        correct_defended=right[True],
        g_clean=g_clean,
        g_defended=g_defended,
    )
