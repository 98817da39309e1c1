"""Attacks on models of a bank in the target's place: whether the target leaks as much as models trained like it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mindefense.attacks.bank_statistics import tell_of_each_other
from mindefense.errors import InputError
from mindefense.evaluation.runner import AttackRunner
from mindefense.metrics import pooled_rate, spread_of
from mindefense.targets.bank import ShadowBank
from mindefense.types import AttackResult, OtherTargets, OverTargets, Trial

FEWEST_FOR_TARGETS = 8
"""Models of a bank below which the target seems to leak more, being attacked with two models more than others."""
FEWEST_TARGETS = 5
"""Targets below which the interval for one further model is so wide that almost every target is within it."""
POOLED_FPR = 1e-4
_FPRS = (0.01, 0.001)
_Key = tuple[str, str, str, bool]


def check_targets(targets: int, models: int) -> None:
    """Raises InputError if a bank has too few models to attack this many in the target's place.

    Args:
        targets: Number of models to attack; 0 for none.
        models: Number of models of the online bank that attackers use.
    """
    if targets and targets < FEWEST_TARGETS:
        raise InputError("targets", expected=f"0, or at least {FEWEST_TARGETS}", got=str(targets))
    if targets and models < max(targets, FEWEST_FOR_TARGETS):
        raise InputError(
            "targets",
            expected=f"at most {models}, the models of the online bank"
            if models >= FEWEST_FOR_TARGETS
            else f"an online bank of at least {FEWEST_FOR_TARGETS} models",
            got=str(targets) if models >= FEWEST_FOR_TARGETS else f"{models} models",
            fix=f"train more with --shadows {max(targets, FEWEST_FOR_TARGETS)}"
            if models
            else f"train one with --shadows {max(targets, FEWEST_FOR_TARGETS)}, for attackers that learn from it "
            "(--knowledge online or all)",
        )


def check_others(runner: AttackRunner, targets: int) -> None:
    """`check_targets` for the bank of a runner; to be called before anything is attacked."""
    bank = runner.undefended.banks.get("online")
    check_targets(targets, 0 if bank is None else len(_divided(runner, bank)))


def _divided(runner: AttackRunner, bank: ShadowBank) -> np.ndarray:
    """Numbers of the models that were trained on some of the evaluated rows, but not on all."""
    held = bank.trained_on(runner.undefended.sets.everyone.indices())
    return np.flatnonzero(held.any(axis=1) & ~held.all(axis=1))


def attack_others(runner: AttackRunner, trials: Sequence[Trial], targets: int) -> OtherTargets:
    """Attacks models of the online bank as the target was attacked, each with the help of the others.

    The others do not include the model that was trained on the other half of the rows: it would reveal which rows the
    attacked model was trained on.

    Args:
        runner: The runner that attacked the target.
        trials: The trials on the target.
        targets: Number of models to attack, from the first on.

    Raises:
        InputError: If the bank has too few models.
    """
    check_others(runner, targets)
    bank = runner.undefended.banks["online"]
    alike = tell_of_each_other(bank.trained_on(bank.rows.indices))
    found: dict[_Key, list[Trial]] = {}
    with runner.progress.stage("attack other targets", targets) as advance:
        for done, number in enumerate(_divided(runner, bank)[:targets].tolist(), 1):
            for trial in runner.with_target(number, np.flatnonzero(~alike[number])):
                found.setdefault(_key(trial.result), []).append(trial)
            advance(1, f"{done} of {targets}")
    of_target = {_key(trial.result): trial for trial in trials}
    attackers = [
        _over(of_target[key].result, those, runner.attackers.context.seed)
        for key, those in found.items()
        if key in of_target and len(those) == targets
    ]
    compared = {attacker.name for attacker in attackers}
    if missing := sorted({key[0] for key in of_target} - compared):
        runner.progress.say(
            f"not on other targets, since too few of their models are independent: {', '.join(missing)}"
        )
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
