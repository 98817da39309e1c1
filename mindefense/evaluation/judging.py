"""Evaluates a fitted attack on rows."""

from __future__ import annotations

import numpy as np

from mindefense.attacks.base import Attack, scores_of
from mindefense.errors import InputError
from mindefense.evaluation.scenario import Rows
from mindefense.metrics import membership_metrics, tpr_at_fpr
from mindefense.metrics.identified import SMALL_FPRS
from mindefense.targets.base import Target
from mindefense.types import AttackResult, RatesByAll, Trial


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
    ranks_all: bool = True,
) -> Trial:
    """Evaluates a fitted attack on rows.

    An attack whose scores do not depend on the rows it was fitted on also ranks all rows of the evaluation. With more
    rows, the test for identified members has more power.

    Args:
        attack: The attack.
        target: The target that it queries.
        rows: The samples that it is evaluated on, all of them in `everyone`.
        everyone: The evaluation's rows.
        name: Name of the attack in the result.
        knowledge: Its knowledge; copied to the result.
        adversary: ``"static"`` or ``"adaptive"``; copied to the result.
        defended: Whether `target` has a defense; copied to the result.
        ranks_all: Whether it may rank all rows; False if the defense treats some of them differently.

    Raises:
        InputError: If the attack does not return one number per sample, or has no threshold.
    """
    scores = np.concatenate([scores_of(attack, target, samples, name) for samples in (rows.members, rows.non_members)])
    if not hasattr(attack, "threshold_"):
        if attack.needs_fit:
            expected, fix = (
                "threshold_ after fit",
                "set it in fit, or derive the attack from ScoreAttack, whose fit sets it",
            )
        else:  # it is never fitted
            expected = "threshold_, since its needs_fit is False"
            fix = "set it on the class or in __init__, or declare needs_fit = True and set it in fit"
        raise InputError(f"attack {name}", expected=expected, got="none", fix=fix)
    is_member = rows.is_member()
    ranked = by_all = None
    if ranks_all and not attack.fits_scores and len(everyone) > len(rows):
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
