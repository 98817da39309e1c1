"""The level of a verdict."""

from __future__ import annotations

FALSE_ALARMS = 0.05
"""Largest probability that a verdict reports a leak for a model without one, for each of its two answers."""
OFTEN_RIGHT = 0.6
"""Smallest balanced accuracy of a leak; a lower one that is beyond chance is called some leak."""
OFTEN_IN_ORDER = 0.65
"""Smallest two-sided AUC of a leak; normal scores whose best balanced accuracy is 0.6 have the AUC 0.64."""
FEWEST_TO_CLEAR = 100
"""Smallest number of members, and of non-members, for the verdict that no leak was found."""


def level_of(*, surely: bool, shown: bool, accuracy: float, two_sided_auc: float, judged: int) -> str:
    """The level of a verdict, one of `mindefense.types.verdicts.LEVELS`.

    Args:
        surely: Whether an attacker identifies more members at a small false positive rate than chance explains.
        shown: Whether the balanced accuracy or the AUC of an attacker is beyond chance.
        accuracy: The highest balanced accuracy, 0 … 1.
        two_sided_auc: The highest two-sided AUC, 0.5 … 1.
        judged: Number of members or of non-members in the evaluation, whichever is smaller.

    Example:
        >>> level_of(surely=True, shown=False, accuracy=0.52, two_sided_auc=0.53, judged=1000)
        'leak'
        >>> level_of(surely=False, shown=False, accuracy=0.7, two_sided_auc=0.7, judged=20)
        'cannot be told'
    """
    if surely or (shown and (accuracy >= OFTEN_RIGHT or two_sided_auc >= OFTEN_IN_ORDER)):
        return "leak"
    if shown:
        return "some"
    return "none found" if judged >= FEWEST_TO_CLEAR else "cannot be told"
