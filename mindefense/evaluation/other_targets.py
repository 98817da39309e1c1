"""Attacks on models of a bank in the target's place: whether the target leaks as much as models trained like it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindefense.attacks.bank import FEWEST_MODELS
from mindefense.attacks.bank_statistics import tell_of_each_other
from mindefense.errors import InputError
from mindefense.evaluation.runner import AttackRunner
from mindefense.metrics import pooled_rate, spread_of
from mindefense.types import AttackResult, OtherTargets, OverTargets, Trial

FEWEST_FOR_TARGETS = FEWEST_MODELS + 2
"""Models of a bank of which one can be attacked by the others without the one that was trained on the other rows."""
POOLED_FPR = 1e-4
_FPRS = (0.01, 0.001)
_Key = tuple[str, str, str, bool]


def check_targets(targets: int, models: int) -> None:
    """Raises InputError if a bank has too few models to attack this many in the target's place.

    Args:
        targets: Number of models to attack; 0 for none.
        models: Number of models of the online bank.
    """
    if targets and models < max(targets, FEWEST_FOR_TARGETS):
        raise InputError(
            "targets",
            expected=f"at most {models}, the models of the online bank"
            if models >= FEWEST_FOR_TARGETS
            else f"an online bank of at least {FEWEST_FOR_TARGETS} models",
            got=str(targets) if models >= FEWEST_FOR_TARGETS else f"{models} models",
            fix=f"train more with --shadows {max(targets, FEWEST_FOR_TARGETS)}, or attack fewer",
        )


def attack_others(runner: AttackRunner, trials: Sequence[Trial], targets: int) -> OtherTargets:
    """Attacks models of the online bank as the target was attacked, each with the help of the others.

    The others do not include the model whose training rows are those that this model was not trained on, since it
    would tell which these are.

    Args:
        runner: The runner that attacked the target.
        trials: The trials on the target.
        targets: Number of models to attack, from the first on.

    Raises:
        InputError: If the bank has too few models.
    """
    bank = runner.undefended.banks.get("online")
    check_targets(targets, 0 if bank is None else len(bank))
    assert bank is not None
    alike = tell_of_each_other(bank.trained_on(bank.rows.indices))
    found: dict[_Key, list[Trial]] = {}
    with runner.progress.stage("attack other targets", targets) as advance:
        for number in range(targets):
            for trial in runner.with_target(number, np.flatnonzero(~alike[number])):
                found.setdefault(_key(trial.result), []).append(trial)
            advance(1, f"{number + 1} of {targets}")
    of_target = {_key(trial.result): trial for trial in trials}
    attackers = [
        _over(of_target[key].result, those, runner.attackers.context.seed)
        for key, those in found.items()
        if key in of_target and len(those) == targets
    ]
    return OtherTargets(targets, len(bank), tuple(attackers))


def _key(result: AttackResult) -> _Key:
    return result.name, result.knowledge, result.adversary, result.defended


def _over(of_target: AttackResult, trials: Sequence[Trial], seed: int) -> OverTargets:
    figures = [_figures(trial.result) for trial in trials]
    spreads = tuple(
        spread_of(name, value, [one[name] for one in figures]) for name, value in _figures(of_target).items()
    )
    pooled = pooled_rate(
        [trial.scores for trial in trials], [trial.is_member for trial in trials], fpr=POOLED_FPR, seed=seed
    )
    return OverTargets(*_key(of_target), spreads, pooled)


def _figures(result: AttackResult) -> dict[str, float]:
    metrics = result.metrics
    rates = {rate.fpr: rate.tpr for rate in metrics.tpr_at_fpr}
    return {
        "balanced_accuracy": metrics.balanced_accuracy,
        "auc": metrics.auc,
        **{f"tpr_at_fpr_{fpr:g}": rates[fpr] for fpr in _FPRS},
    }
