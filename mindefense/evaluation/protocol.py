"""Who knows what: fits attackers on what they may see and scores them on what they may not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.errors import InputError
from mindefense.metrics import membership_metrics, verdict
from mindefense.target import Target
from mindefense.types import AttackResult, Samples, Verdict

KNOWLEDGE = ("none", "auditor", "shadow")


@dataclasses.dataclass(frozen=True)
class Doors:
    """The ways into one model.

    Attributes:
        clean: The undefended model.
        defended: The same model behind the defense, or None if there is none.
    """

    clean: Target
    defended: Target | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Samples of both kinds.

    Attributes:
        members: Trained on.
        non_members: Not trained on.
    """

    members: Samples
    non_members: Samples

    def divide(self, seed: int, *, share: float = 0.5) -> tuple[Rows, Rows]:
        """Rows to fit on and rows to judge on, drawn once and by index, so that no row is in both.

        Args:
            seed: Decides which row goes where.
            share: Share of either kind to fit on.
        """
        rng = np.random.default_rng(seed)
        pairs = []
        for samples in (self.members, self.non_members):
            order = rng.permutation(len(samples))
            border = int(len(samples) * share + 1e-9)
            pairs.append((samples.take(order[:border]), samples.take(order[border:])))
        (fit_members, eval_members), (fit_non_members, eval_non_members) = pairs
        return Rows(fit_members, fit_non_members), Rows(eval_members, eval_non_members)

    def features(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.features, self.non_members.features))

    def labels(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.labels, self.non_members.labels))

    def is_member(self) -> np.ndarray:
        """``(N,)`` bool, in the order of `features`."""
        return np.arange(len(self.members) + len(self.non_members)) < len(self.members)


def evaluate_attack(
    make: Callable[[], Attack], *, knowledge: str, fit_on: Doors, fit_rows: Rows, target: Doors, eval_rows: Rows
) -> tuple[list[AttackResult], dict[str, Attack]]:
    """Fits one attack as a static and as an adaptive adversary, and scores it before and after the defense.

    Args:
        make: Makes an unfitted attack.
        knowledge: ``"auditor"``, ``"shadow"`` or, for attacks that fit nothing, ``"none"``; named in the results.
        fit_on: The model on which the attacker knows who is a member: the target itself or a shadow.
        fit_rows: The samples of which the attacker knows.
        target: The model under attack.
        eval_rows: The samples on which the attack is judged; none of them may be among `fit_rows`.

    Returns:
        The results (undefended; defended static; defended adaptive, as far as they apply) and the fitted attacks by
        adversary.

    Raises:
        InputError: If the threat model is unknown or not one for this attack, or the rows to fit on and to judge on
            overlap, for an attack that fits.
    """
    if knowledge not in KNOWLEDGE:
        raise InputError("knowledge", expected=" or ".join(KNOWLEDGE), got=repr(knowledge))
    static = make()
    if static.needs_fit == (knowledge == "none"):
        wanted = "auditor or shadow, since it fits" if static.needs_fit else "none, since it fits nothing"
        raise InputError(f"knowledge of {static.name}", expected=wanted, got=repr(knowledge))
    if static.needs_fit:
        _check_disjoint(fit_rows, eval_rows)
    static.fit(fit_on.clean, fit_rows.members, fit_rows.non_members)
    fitted = {"static": static}
    results = [_judge(static, target.clean, eval_rows, knowledge, "static", defended=False)]
    if target.defended is not None:
        results.append(_judge(static, target.defended, eval_rows, knowledge, "static", defended=True))
        if static.needs_fit and fit_on.defended is not None:
            fitted["adaptive"] = make().fit(fit_on.defended, fit_rows.members, fit_rows.non_members)
            results.append(
                _judge(fitted["adaptive"], target.defended, eval_rows, knowledge, "adaptive", defended=True)
            )
    return results, fitted


def conclude(results: Sequence[AttackResult], *, defended: bool) -> Verdict:
    """The verdict over all attackers on the undefended or the defended target.

    Raises:
        InputError: If there are no such results, or the gap attack is not among them.
    """
    here = [result for result in results if result.defended == defended]
    gap = [result.metrics.balanced_accuracy for result in here if result.name == "gap"]
    if not gap:
        raise InputError("results", expected="the gap attack among the attackers", got="none")
    strongest = max(here, key=lambda result: result.metrics.balanced_accuracy)
    return Verdict(any(verdict(result.metrics) for result in here), strongest, gap[0])


def _judge(
    attack: Attack, target: Target, rows: Rows, knowledge: str, adversary: str, *, defended: bool
) -> AttackResult:
    scores = np.concatenate((attack.score(target, rows.members), attack.score(target, rows.non_members)))
    is_member = np.arange(len(scores)) < len(rows.members)
    metrics = membership_metrics(scores, is_member, threshold=attack.threshold_)
    return AttackResult(str(attack.name), knowledge, adversary, defended, metrics)


def _check_disjoint(fit: Rows, judged: Rows) -> None:
    seen = np.concatenate((fit.members.indices, fit.non_members.indices))
    asked = np.concatenate((judged.members.indices, judged.non_members.indices))
    shared = np.intersect1d(seen, asked)
    if shared.size:
        raise InputError(
            "eval_rows",
            expected="samples that the attack is not fitted on",
            got=f"{shared.size} of {asked.size} that it is, the first is row {shared[0]}",
            fix="split the rows by index before anything is fitted",
        )
