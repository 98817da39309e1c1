"""Types of the figures of attackers on other targets: models of a bank in the target's place."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Spread:
    """One figure of an attacker, for the target and for each of T other targets.

    Attributes:
        figure: Name of the figure: ``"balanced_accuracy"``, ``"auc"``, ``"tpr_at_fpr_0.01"`` or ``"tpr_at_fpr_0.001"``.
        target: The figure for the target itself.
        values: ``(T,)`` the figures for the other targets.
        mean: Their mean.
        low: Lower end of the mean's 95% interval.
        high: Upper end of the mean's 95% interval.
        deviation: Their standard deviation.
        usual_low: Lower end of the interval that holds the figure of one further model with a probability of 95%.
        usual_high: Upper end of that interval.
    """

    figure: str
    target: float
    values: tuple[float, ...]
    mean: float
    low: float
    high: float
    deviation: float
    usual_low: float
    usual_high: float

    @property
    def place(self) -> str:
        """Where the target's figure lies: ``"above"``, ``"within"`` or ``"below"`` what is usual."""
        return "above" if self.target > self.usual_high else "below" if self.target < self.usual_low else "within"


@dataclasses.dataclass(frozen=True)
class PooledRate:
    """The true positive rate at a small false positive rate, over the rows of all other targets together.

    Attributes:
        fpr: The false positive rate, which one threshold for all targets must not exceed.
        tpr: The true positive rate.
        low: Lower end of its 95% interval, a bootstrap over targets.
        high: Upper end of that interval.
        n_members: Number of members of all targets; a row counts once for each target.
        n_non_members: Number of non-members of all targets.
    """

    fpr: float
    tpr: float
    low: float
    high: float
    n_members: int
    n_non_members: int


@dataclasses.dataclass(frozen=True)
class OverTargets:
    """The figures of one attacker over other targets.

    Attributes:
        name: Name of the attacker; see `AttackResult`, also for the next three.
        knowledge: What it learned from.
        adversary: ``"static"`` or ``"adaptive"``.
        defended: Whether the targets were defended.
        spreads: Its figures.
        pooled: The true positive rate at a false positive rate of 0.01%; None with fewer than 10,000 non-members or 10
            targets.
    """

    name: str
    knowledge: str
    adversary: str
    defended: bool
    spreads: tuple[Spread, ...]
    pooled: PooledRate | None

    def spread(self, figure: str) -> Spread:
        """The spread of a figure."""
        return next(one for one in self.spreads if one.figure == figure)


@dataclasses.dataclass(frozen=True)
class OtherTargets:
    """The attacks on models of the online bank, each in the target's place and attacked with the help of the others.

    Attributes:
        targets: Number of models that were attacked, T.
        models: Number of models of the bank.
        attackers: The figures of each attacker that took part.
    """

    targets: int
    models: int
    attackers: tuple[OverTargets, ...]
