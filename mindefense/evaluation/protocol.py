"""Who knows what: fits attackers on what they may see and scores them on what they may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mindefense.attacks.base import Attack, scores_of
from mindefense.errors import InputError
from mindefense.metrics import (
    accuracy_difference,
    auc_difference,
    auc_interval,
    balanced_accuracy_interval,
    identified_members,
    level_of,
    membership_metrics,
    small_fpr,
    tpr_at_fpr,
    verdict,
)
from mindefense.metrics.identified import SMALL_FPRS, standing
from mindefense.metrics.levels import FALSE_ALARMS
from mindefense.targets.base import Target
from mindefense.types import AttackResult, Change, Check, IdentifiedMembers, RatesByAll, Samples, Trial, Verdict

KNOWLEDGE = ("auditor", "shadow")
"""What attackers that fit are fitted on: known members of the target itself, or a model that the attacker trained."""
WRONG_ROWS = ("labels-match", "duplicates")
"""Checks whose failure means that a leak may be there and not be seen: labels of other rows, twins on both sides."""
ADVERSARIES = ("static", "adaptive")
"""Whether an attacker knows of the defense."""


@dataclasses.dataclass(frozen=True)
class Doors:
    """The ways into the models in one state: undefended, or all of them behind the same defense.

    Attributes:
        target: The model under attack.
        shadow: The attacker's own model, behind the same defense with the attacker's own key; None if there is none.
        noised: Whether answers depend on secret noise, so that asking again, or nearly the same, may tell more.
        answers_variants: Whether changed samples are answered; recorded outputs cannot.
    """

    target: Target
    shadow: Target | None = None
    noised: bool = False
    answers_variants: bool = True


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Samples of both kinds.

    Attributes:
        members: Trained on.
        non_members: Not trained on.
    """

    members: Samples
    non_members: Samples

    def __len__(self) -> int:
        return len(self.members) + len(self.non_members)

    def divide(self, seed: int, *, share: float = 0.5) -> tuple[Rows, Rows]:
        """Rows to fit on and rows to judge on, drawn once and by index, so that no row is in both.

        The draw is made within membership and class. Otherwise a class with more members among the rows fitted on has
        fewer among those judged, and an attacker that sees the class is wrong more often than chance. A class with as
        many members as non-members keeps as many of either in both parts: where its share is no whole number, members
        and non-members are rounded alike.

        Args:
            seed: Decides which row goes where.
            share: Share of either kind to fit on.
        """
        rng = np.random.default_rng(seed)
        classes = np.unique(self.labels())
        precedence = rng.permutation(len(classes))  # of the classes whose shares are rounded; one for both kinds
        pairs = []
        for samples in (self.members, self.non_members):
            order = rng.permutation(len(samples))
            column = np.searchsorted(classes, samples.labels[order])
            counts = np.bincount(column, minlength=len(classes))
            quotas = _quotas(counts, share, precedence)
            by_class = np.argsort(column, kind="stable")
            place = np.empty(len(order), np.int64)  # of each row among those of its class, in the order drawn
            place[by_class] = np.arange(len(order)) - (np.cumsum(counts) - counts)[column[by_class]]
            is_fit = place < quotas[column]
            pairs.append((samples.take(order[is_fit]), samples.take(order[~is_fit])))
        (fit_members, eval_members), (fit_non_members, eval_non_members) = pairs
        return Rows(fit_members, fit_non_members), Rows(eval_members, eval_non_members)

    def first(self, count: int | None) -> Rows:
        """At most the first `count` of either kind; None for all."""
        return Rows(*(samples.take(np.arange(len(samples))[:count]) for samples in (self.members, self.non_members)))

    def features(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.features, self.non_members.features))

    def labels(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.labels, self.non_members.labels))

    def indices(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.indices, self.non_members.indices))

    def is_member(self) -> np.ndarray:
        """``(N,)`` bool, in the order of `features`."""
        return np.arange(len(self.members) + len(self.non_members)) < len(self.members)


def _quotas(counts: np.ndarray, share: float, precedence: np.ndarray) -> np.ndarray:
    """How many rows of each class to fit on: the share of each, rounded so that their sum is the share of all rows.

    The largest remainders are rounded up (Hamilton's method); among equal ones, `precedence` decides.
    """
    wanted = counts * share
    quotas = np.floor(wanted + 1e-9).astype(np.int64)
    left = int(counts.sum() * share + 1e-9) - int(quotas.sum())
    remainders = np.round(wanted - quotas, 9)
    quotas[np.lexsort((precedence, -remainders))[:left]] += 1
    return quotas


def check_disjoint(fit: Rows, judged: Rows) -> None:
    """Raises InputError if an attack would be judged by a row that it was fitted on."""
    asked = judged.indices()
    shared = np.intersect1d(fit.indices(), asked)
    if shared.size:
        raise InputError(
            "eval_rows",
            expected="samples that the attack is not fitted on",
            got=f"{shared.size} of {asked.size} that it is, the first is row {shared[0]}",
            fix="split the rows by index before anything is fitted",
        )


def judge(
    attack: Attack,
    target: Target,
    rows: Rows,
    everyone: Rows,
    *,
    name: str,
    knowledge: str,
    adversary: str,
    defended: bool,
) -> Trial:
    """Scores rows with a fitted attack.

    Where its scores are fitted to no rows, it ranks everyone besides: twice as many rows tell members who are
    identified from chance.

    Args:
        attack: The attack.
        target: The model that it asks.
        rows: The samples to judge it by, all of them among `everyone`.
        everyone: The evaluation's rows.
        name: What to call the attack in the result.
        knowledge: What the attack was fitted on; named in the result.
        adversary: Whether it was fitted behind the defense; likewise.
        defended: Whether `target` is; likewise.

    Raises:
        InputError: If the attack does not give a number for every sample, or has no threshold.
    """
    scores = np.concatenate([scores_of(attack, target, samples, name) for samples in (rows.members, rows.non_members)])
    if not hasattr(attack, "threshold_"):
        fix = "set it in fit, or build on ScoreAttack, which finds it"
        raise InputError(f"attack {name}", expected="threshold_ after fit", got="none", fix=fix)
    is_member = rows.is_member()
    ranked = by_all = None
    if not attack.fits_scores and len(everyone) > len(rows):
        both = [scores_of(attack, target, samples, name) for samples in (everyone.members, everyone.non_members)]
        ranked = (np.concatenate(both), everyone.is_member())
        rates = tuple(tpr_at_fpr(*ranked, fpr=fpr) for fpr in SMALL_FPRS)
        by_all = RatesByAll(len(everyone.members), len(everyone.non_members), rates)
    metrics = membership_metrics(scores, is_member, threshold=attack.threshold_)
    own = None
    if attack.own_threshold not in (None, attack.threshold_):
        own = membership_metrics(scores, is_member, threshold=attack.own_threshold)
    result = AttackResult(name, knowledge, adversary, defended, metrics, own=own, by_all=by_all)
    known = everyone.indices()
    order = np.argsort(known)
    samples = order[np.searchsorted(known, rows.indices(), sorter=order)]
    return Trial(result, scores, float(attack.threshold_), samples, is_member, ranked)


def conclude(trials: Sequence[Trial], *, defended: bool, labelled: bool = True) -> Verdict:
    """The verdict over all attackers on the undefended or the defended target.

    Args:
        trials: All trials.
        defended: Which state of the target.
        labelled: Whether true classes are known, so that the gap attack takes part.

    Raises:
        InputError: If there are no such trials, or the gap attack is not among them though true classes are known.
    """
    here = [trial for trial in trials if trial.result.defended == defended]
    gap = [trial.result.metrics.balanced_accuracy for trial in here if trial.result.name == "gap"]
    if not here or (labelled and not gap):
        raise InputError("trials", expected="the gap attack among the attackers", got="none")
    strongest = max(here, key=lambda trial: trial.result.metrics.balanced_accuracy)
    sharpest = max(here, key=lambda trial: trial.result.metrics.two_sided_auc)
    # The best is picked after looking, so the intervals have to hold for every attacker at once (Bonferroni), and for
    # three figures: of 0.05, the balanced accuracies above chance take a quarter, the AUCs on either side a half, and
    # those who identify members the last quarter.
    confidence = 1 - FALSE_ALARMS / 2 / len(here)
    shown = [_shown(trial, confidence) for trial in here]
    of_accuracy = {id(trial): accuracy for trial, (accuracy, _) in zip(here, shown, strict=True)}
    of_auc = {id(trial): area for trial, (_, area) in zip(here, shown, strict=True)}
    identifies, identified, surely = _identified(here)
    by, figure, interval = max(
        (
            (trial, figure, interval)
            for trial, pair in zip(here, shown, strict=True)
            for figure, interval in zip(("balanced accuracy", "AUC"), pair, strict=True)
        ),
        key=lambda one: _beyond_chance(one[1], one[2]),
    )
    is_shown = _beyond_chance(figure, interval) > 0
    level = _level(here, surely=surely, is_shown=is_shown)
    return Verdict(
        tutorial_rule=any(verdict(trial.result.metrics) for trial in here),
        strongest=strongest.result,
        strongest_low=of_accuracy[id(strongest)][0],
        strongest_high=of_accuracy[id(strongest)][1],
        sharpest=sharpest.result,
        sharpest_low=of_auc[id(sharpest)][0],
        sharpest_high=of_auc[id(sharpest)][1],
        attackers=len(here),
        gap_accuracy=gap[0] if gap else None,
        level=level,
        identifies=None if identifies is None else identifies.result,
        identified=identified,
        identifies_beyond_chance=surely,
        shown_by=by.result if is_shown else None,
        shown_figure=figure if is_shown else None,
        shown_low=interval[0] if is_shown else None,
        shown_high=interval[1] if is_shown else None,
        untold_by="few rows" if level == "cannot be told" else None,
    )


def held_against(verdict: Verdict, checks: Sequence[Check]) -> Verdict:
    """The verdict, which cannot be that no leak was found if a failed check says that the rows are wrong."""
    failed = [check.name for check in checks if check.name in WRONG_ROWS and not check.passed]
    if verdict.level != "none found" or not failed:
        return verdict
    return dataclasses.replace(verdict, level="cannot be told", untold_by=failed[0])


def changed(before: Sequence[Trial], after: Sequence[Trial]) -> Change:
    """What a defense changed for the best attackers, from all trials on either state; on the same rows."""

    def best(trials: Sequence[Trial], figure: str) -> Trial:
        return max(trials, key=lambda trial: getattr(trial.result.metrics, figure))

    return Change(
        accuracy_difference(best(before, "balanced_accuracy"), best(after, "balanced_accuracy")),
        auc_difference(best(before, "two_sided_auc"), best(after, "two_sided_auc")),
    )


def _shown(trial: Trial, confidence: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """The intervals of an attacker's balanced accuracy and AUC."""
    return (
        balanced_accuracy_interval(
            trial.scores, trial.is_member, threshold=trial.threshold, confidence=confidence
        ),
        auc_interval(trial.scores, trial.is_member, confidence=confidence),
    )  # fmt: skip


def _beyond_chance(figure: str, interval: tuple[float, float]) -> float:
    """How far an interval stays from 0.5; an inverted ranking reveals as much, an inverted threshold does not."""
    low, high = interval
    return max(low - 0.5, 0.5 - high) if figure == "AUC" else low - 0.5


def _identified(trials: Sequence[Trial]) -> tuple[Trial | None, IdentifiedMembers | None, bool]:
    """Which attacker identifies the most members almost surely, and whether any identifies more than chance explains.

    Each attacker is looked at by the smallest false positive rate that its own non-members carry, and by all rows if
    its scores are fitted to none. Attackers with the same scores are one.
    """
    carried = []
    for trial in trials:
        scores, is_member = trial.ranked or (trial.scores, trial.is_member)
        rate = small_fpr(np.count_nonzero(~is_member))
        if rate is not None:
            carried.append((trial, scores, is_member, rate))
    if not carried:
        return None, None, False
    tail = FALSE_ALARMS / 4 / len({scores.tobytes() for _, scores, _, _ in carried})
    found = [
        (trial, identified_members(scores, is_member, fpr=rate, confidence=1 - tail))
        for trial, scores, is_member, rate in carried
    ]
    best, identified = max(found, key=lambda one: standing(one[1], tail))
    return best, identified, identified.p_value <= tail


def _level(trials: Sequence[Trial], *, surely: bool, is_shown: bool) -> str:
    figures = [trial.result.metrics for trial in trials]
    return level_of(
        surely=surely,
        shown=is_shown,
        accuracy=max(one.balanced_accuracy for one in figures),
        two_sided_auc=max(one.two_sided_auc for one in figures),
        judged=min(max(one.n_members for one in figures), max(one.n_non_members for one in figures)),
    )
