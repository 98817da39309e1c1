"""A limit on what may leak, for pipelines that must stop when a model exceeds it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from mindefense.errors import InputError
from mindefense.types import AttackResult, Evaluation, MembershipMetrics

_METRICS: dict[str, Callable[[MembershipMetrics], float]] = {
    "auc": lambda metrics: metrics.two_sided_auc,
    "accuracy": lambda metrics: metrics.balanced_accuracy,
    "advantage": lambda metrics: metrics.advantage,
    "epsilon": lambda metrics: metrics.epsilon_low,
}


@dataclasses.dataclass(frozen=True)
class Gate:
    """A limit on one figure of the strongest attacker.

    Attributes:
        metric: ``"auc"`` (two-sided), ``"accuracy"`` (balanced), ``"advantage"``, ``"epsilon"`` (the lower bound),
            or ``"tpr@F"`` with F one of the evaluated false-positive rates, such as ``"tpr@0.01"``.
        limit: The largest value that passes.
    """

    metric: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Gate:
        """The gate that ``METRIC=LIMIT`` describes.

        Raises:
            InputError: If the text is not of that form, or there is no such metric.
        """
        metric, _, limit = text.partition("=")
        known = [*_METRICS, "tpr@0.1", "tpr@0.01", "tpr@0.001"]
        if metric not in known or not limit:
            raise InputError("gate", expected=f"METRIC=LIMIT with {' or '.join(known)}", got=repr(text))
        try:
            value = float(limit)
        except ValueError:
            value = float("nan")
        if not -1 <= value < float("inf") or (value > 1 and metric != "epsilon"):
            raise InputError(f"gate {metric}", expected="a fraction, such as 0.6", got=repr(limit))
        return cls(metric, value)

    def value(self, result: AttackResult) -> float:
        """The gated figure of one attacker."""
        if self.metric in _METRICS:
            return _METRICS[self.metric](result.metrics)
        bound = float(self.metric.partition("@")[2])
        return next(rate.tpr for rate in result.metrics.tpr_at_fpr if rate.fpr == bound)

    def exceeded(self, evaluation: Evaluation) -> str | None:
        """One line that names the attacker above the limit, or None if none is.

        With a defense the defended target counts: that is what would be released.
        """
        defended = evaluation.defense is not None
        here = [result for result in evaluation.attacks if result.defended == defended]
        worst = max(here, key=self.value)
        if not self.value(worst) > self.limit:
            return None
        state = "defended" if defended else "undefended"
        return (
            f"{self.metric} {self.value(worst):.4f} is above {self.limit:g} on the {state} target: {worst.name} "
            f"({worst.knowledge}, {worst.adversary})"
        )
