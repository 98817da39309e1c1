"""A limit on the leak of a model, for pipelines that must fail if it is exceeded."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from mindefense.errors import InputError
from mindefense.metrics import small_fpr
from mindefense.types import AttackResult, Evaluation, MembershipMetrics, Verdict

_METRICS: dict[str, Callable[[MembershipMetrics], tuple[float, float, float]]] = {
    "auc": lambda metrics: (
        max(metrics.auc_low, 1 - metrics.auc_high, 0.5),
        metrics.two_sided_auc,
        max(metrics.auc_high, 1 - metrics.auc_low),
    ),
    "accuracy": lambda metrics: (
        metrics.balanced_accuracy_low,
        metrics.balanced_accuracy,
        metrics.balanced_accuracy_high,
    ),
    "advantage": lambda metrics: (
        2 * metrics.balanced_accuracy_low - 1,
        metrics.advantage,
        2 * metrics.balanced_accuracy_high - 1,
    ),
    "epsilon": lambda metrics: (metrics.epsilon_low, metrics.epsilon_low, metrics.epsilon_low),
}
"""Lower end of the 95 % interval, estimate and upper end of each figure. For ε there is only a lower bound."""
BY = ("estimate", "low", "high")
"""The value that is compared with the limit: the estimate, or the lower or upper end of its interval."""


def state_to_release(evaluation: Evaluation) -> Verdict:
    """The verdict on the model that would be released: with the defense, if there is one."""
    return evaluation.undefended if evaluation.defended is None else evaluation.defended


def _most_named(result: AttackResult) -> float:
    """The upper end of the number of members identified at the smallest false positive rate."""
    ranked = result.by_all or result.metrics
    n, fpr = ranked.n_members, small_fpr(ranked.n_non_members)
    if fpr is None:  # too few non-members to determine a small rate
        return n
    return math.ceil(next(rate for rate in ranked.tpr_at_fpr if rate.fpr == fpr).high * n)


@dataclasses.dataclass(frozen=True)
class Gate:
    """A limit on one figure of the strongest attacker.

    Attributes:
        metric: ``"auc"`` (two-sided), ``"accuracy"`` (balanced), ``"advantage"``, ``"epsilon"`` (the lower bound),
            ``"tpr@F"`` with F one of the evaluated false positive rates, such as ``"tpr@0.01"``, or ``"named"``
            (number of members identified at a false positive rate of 0.1 %, or of 1 % with fewer than 1,000
            non-members; as in the verdict, 0 if chance explains as many).
        limit: The largest value that passes.
        by: One of `BY`, the value that is compared with the limit.
    """

    metric: str
    limit: float
    by: str = "estimate"

    @classmethod
    def parse(cls, text: str) -> Gate:
        """The gate that ``METRIC=LIMIT`` describes.

        Raises:
            InputError: If the text has another form, the metric is unknown, or the limit is out of range.
        """
        metric, _, limit = text.partition("=")
        known = [*_METRICS, "named", "tpr@0.1", "tpr@0.01", "tpr@0.001"]
        if metric not in known or not limit:
            raise InputError("gate", expected=f"METRIC=LIMIT with {' or '.join(known)}", got=repr(text))
        try:
            value = float(limit)
        except ValueError:
            value = float("nan")
        if metric == "named":
            if not (0 <= value < float("inf") and value == int(value)):
                raise InputError("gate named", expected="a whole number of members, such as 5", got=repr(limit))
        elif not -1 <= value < float("inf") or (value > 1 and metric != "epsilon"):
            raise InputError(f"gate {metric}", expected="a fraction, such as 0.6", got=repr(limit))
        return cls(metric, value)

    @property
    def sees_few(self) -> bool:
        """Whether it limits the identification of few members, unlike a limit on an average over all rows."""
        return self.metric in ("named", "tpr@0.01", "tpr@0.001")

    def value(self, result: AttackResult) -> float:
        """The limited figure of one attacker, or the end of its interval that `by` names.

        For ``named`` always the upper end; `worst` has the estimate and the lower end, for the best attacker only.
        """
        if self.metric == "named":
            return _most_named(result)
        if self.metric in _METRICS:
            figures = _METRICS[self.metric](result.metrics)
        else:
            bound = float(self.metric.partition("@")[2])
            rate = next(rate for rate in result.metrics.tpr_at_fpr if rate.fpr == bound)
            figures = rate.low, rate.tpr, rate.high
        return figures[("low", "estimate", "high").index(self.by)]

    def worst(self, evaluation: Evaluation) -> tuple[AttackResult, float]:
        """The attacker with the largest figure, and that figure.

        If there is a defense, only attackers on the defended target count, because it is what would be released.
        """
        here = [result for result in evaluation.attacks if result.defended == (evaluation.defense is not None)]
        found = max(here, key=self.value)
        if self.metric == "named" and self.by != "high":
            verdict = state_to_release(evaluation)
            one, by = verdict.identified, verdict.identifies
            if one is None or by is None or not verdict.identifies_beyond_chance:
                return found, 0.0
            return by, float(one.identified if self.by == "estimate" else math.floor(one.share_low * one.n_members))
        return found, self.value(found)

    def exceeded(self, evaluation: Evaluation) -> str | None:
        """A message with the attacker and figure of `worst` if it is above the limit; otherwise None."""
        worst, value = self.worst(evaluation)
        if not value > self.limit:
            return None
        state = "undefended" if evaluation.defense is None else "defended"
        what = {"low": f"the lower end of {self.metric},", "high": f"the upper end of {self.metric},"}
        figure = f"{value:.0f}" if self.metric == "named" else f"{value:.4f}"
        return (
            f"{what.get(self.by, self.metric)} {figure} is above {self.limit:g} on the {state} target: {worst.name} "
            f"({worst.knowledge}, {worst.adversary})"
        )

    def not_carried(self, results: Sequence[AttackResult]) -> str | None:
        """A message if there are too few non-members to determine this figure; otherwise None."""
        judged = min(result.metrics.n_non_members for result in results)
        if self.metric == "named":
            fpr = small_fpr(judged)
            needed = 0 if fpr is not None else round(1 / 0.01)
        else:
            needed = round(1 / float(self.metric.partition("@")[2])) if "@" in self.metric else 0
        if judged >= needed:
            return None
        return f"{self.metric} needs at least {needed:,} non-members, and there are {judged:,}"
