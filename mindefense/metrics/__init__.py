"""How much a model gives away (membership) and what its answers are worth (utility). NumPy only, nothing is drawn."""

from mindefense.metrics.membership import (
    PUBLISHED_BUDGETS,
    RocCurve,
    auc,
    best_threshold,
    budget_table,
    clopper_pearson,
    membership_metrics,
    roc_curve_points,
    tpr_at_fpr,
    verdict,
)
from mindefense.metrics.utility import utility_metrics

__all__ = [
    "PUBLISHED_BUDGETS",
    "RocCurve",
    "auc",
    "best_threshold",
    "budget_table",
    "clopper_pearson",
    "membership_metrics",
    "roc_curve_points",
    "tpr_at_fpr",
    "utility_metrics",
    "verdict",
]
