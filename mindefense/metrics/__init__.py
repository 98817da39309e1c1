"""How much a model gives away (membership) and what its answers are worth (utility). NumPy only, nothing is drawn."""

from mindefense.metrics.intervals import auc_interval, balanced_accuracy_interval, clopper_pearson, epsilon_lower_bound
from mindefense.metrics.membership import (
    PUBLISHED_BUDGETS,
    budget_table,
    membership_metrics,
    precision_at_prior,
    tnr_at_fnr,
    tpr_at_fpr,
    verdict,
)
from mindefense.metrics.ranking import RocCurve, auc, best_threshold, roc_curve_points
from mindefense.metrics.utility import utility_metrics

__all__ = [
    "PUBLISHED_BUDGETS",
    "RocCurve",
    "auc",
    "auc_interval",
    "balanced_accuracy_interval",
    "best_threshold",
    "budget_table",
    "clopper_pearson",
    "epsilon_lower_bound",
    "membership_metrics",
    "precision_at_prior",
    "roc_curve_points",
    "tnr_at_fnr",
    "tpr_at_fpr",
    "utility_metrics",
    "verdict",
]
