"""How much a model leaks (membership) and how good its answers are (utility). NumPy only, nothing is drawn."""

from mindefense.metrics.identified import identified_members, small_fpr
from mindefense.metrics.intervals import (
    auc_interval,
    balanced_accuracy_interval,
    clopper_pearson,
    epsilon_lower_bound,
    tpr_interval,
)
from mindefense.metrics.levels import level_of
from mindefense.metrics.membership import (
    PUBLISHED_BUDGETS,
    budget_table,
    membership_metrics,
    precision_at_prior,
    tnr_at_fnr,
    tpr_at_fpr,
    verdict,
)
from mindefense.metrics.paired import (
    accuracy_difference,
    auc_difference,
    independent_difference,
    paired_auc_difference,
)
from mindefense.metrics.ranking import RocCurve, auc, best_threshold, roc_curve_points
from mindefense.metrics.spread import pooled_rate, spread_of
from mindefense.metrics.utility import utility_metrics

__all__ = [
    "PUBLISHED_BUDGETS",
    "RocCurve",
    "accuracy_difference",
    "auc",
    "auc_difference",
    "auc_interval",
    "balanced_accuracy_interval",
    "best_threshold",
    "budget_table",
    "clopper_pearson",
    "epsilon_lower_bound",
    "identified_members",
    "independent_difference",
    "level_of",
    "membership_metrics",
    "paired_auc_difference",
    "pooled_rate",
    "precision_at_prior",
    "roc_curve_points",
    "small_fpr",
    "spread_of",
    "tnr_at_fnr",
    "tpr_at_fpr",
    "tpr_interval",
    "utility_metrics",
    "verdict",
]
