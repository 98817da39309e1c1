"""Types of what an evaluation concludes: its checks, its verdict, and the ruling of a policy."""

from __future__ import annotations

import dataclasses

from mindefense.types.metrics import IdentifiedMembers
from mindefense.types.trials import AttackResult

LEVELS = ("leak", "some", "none found", "cannot be told")
"""Levels of a verdict. Leak: members are identified almost surely, or the best attacker's figures are high. Some: the
best attacker is slightly but significantly better than chance. None found: no attacker is. Cannot be told: no attacker
is, but there are too few rows, or a failed check may hide a leak."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One check of whether an evaluation can be trusted.

    Attributes:
        name: Its name, for example ``"sample-size"``.
        passed: Whether it gives no reason for doubt.
        found: One sentence on the facts, with figures.
        meaning: One sentence on their consequence for the figures; empty if it passed.
        advice: One sentence on what to do; empty if it passed.
    """

    name: str
    passed: bool
    found: str
    meaning: str = ""
    advice: str = ""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict over all attackers on one state of the target, undefended or defended.

    All intervals have a confidence of 95 % for all figures of all attackers together (Bonferroni), because the best
    attacker is selected afterwards.

    Attributes:
        tutorial_rule: Whether some attacker has balanced accuracy, precision (for equal numbers of members and
            non-members) and recall all above 0.6: the rule of MindArmour's tutorial.
        strongest: The attacker with the highest balanced accuracy, with any knowledge.
        strongest_low: Lower end of the interval of its balanced accuracy.
        strongest_high: Upper end of that interval.
        sharpest: The attacker with the highest two-sided AUC.
        sharpest_low: Lower end of the interval of its `auc`.
        sharpest_high: Upper end of that interval.
        attackers: Number of attackers.
        gap_accuracy: Balanced accuracy of the gap attack, which no defense that preserves the predicted class can
            lower; None if true classes are unknown.
        level: One of `LEVELS`.
        identifies: The attacker that identifies the largest share of the members, by the lower bound; None if there are
            too few non-members.
        identified: The members that it identifies, with a one-sided lower bound on their share.
        identifies_beyond_chance: Whether some attacker identifies more members than chance explains.
        shown_by: The attacker whose balanced accuracy or AUC has the interval furthest from chance; None if all
            intervals contain chance.
        shown_figure: The figure of `shown_by` with that interval: ``"balanced accuracy"`` or ``"AUC"``.
        shown_low: Lower end of that interval.
        shown_high: Upper end of that interval.
        untold_by: If `level` is ``"cannot be told"``, the reason: ``"few rows"``, or the name of the failed check that
            may hide a leak; otherwise None.
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
        """Whether attackers identify members, or classify samples correctly, more often than chance explains."""
        return self.level in LEVELS[:2]


@dataclasses.dataclass(frozen=True)
class LimitFound:
    """A limit of a policy, and the value that was compared with it.

    Attributes:
        metric: The limited figure, for example ``"auc"``, ``"tpr@0.001"`` or ``"named"``.
        by: The compared value: ``"estimate"``, or the end ``"low"`` or ``"high"`` of its interval.
        limit: The largest value that passes.
        value: The largest value of all attackers.
        attack: The attacker with that value.
        exceeded: Whether the value is above the limit.
    """

    metric: str
    by: str
    limit: float
    value: float
    attack: AttackResult
    exceeded: bool


@dataclasses.dataclass(frozen=True)
class Ruling:
    """Whether a model complies with a policy.

    Attributes:
        policy: Name of the policy.
        outcome: ``"FAIL"`` if a limit is exceeded; otherwise ``"INCONCLUSIVE"`` if a leak may have been missed, and
            ``"PASS"`` if not.
        limits: All limits with the compared values.
        reasons: The reasons why a leak may have been missed; empty for ``"PASS"``.
    """

    policy: str
    outcome: str
    limits: tuple[LimitFound, ...]
    reasons: tuple[str, ...]
