"""Usefulness of a model's answers to its users, before and after a defense."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from mindefense.checks import check_labels, check_probs, check_same_length
from mindefense.errors import InputError
from mindefense.types import UtilityMetrics

ECE_BINS = 15
"""Equal-width confidence bins of the expected calibration error, as in Guo et al. 2017."""

NLL_FLOOR = 1e-12
"""Smaller probabilities of the true class are replaced by this one, since a zero would make the mean infinite."""


def utility_metrics(probs: ArrayLike, labels: ArrayLike | None, *, clean_probs: ArrayLike) -> UtilityMetrics:
    """All measures of the usefulness of confidence vectors.

    All sums are in float64, whatever the inputs are. If several classes of a row have the largest confidence, the first
    one counts.

    - ECE: ``Σ_b (n_b / N)·|accuracy_b − mean confidence_b|`` over `ECE_BINS` bins ``((b−1)/15, b/15]`` of the largest
      confidence (Guo et al. 2017, Equation 3).
    - NLL: mean of −ln p(true class) with p at least `NLL_FLOOR`, so one sample costs at most 27.6.

    Args:
        probs: ``(N, C)`` floating, confidence vectors of the (defended) model, N ≥ 1.
        labels: ``(N,)`` integer, true classes 0 … C−1; None if they are unknown, to get only measures without them.
        clean_probs: ``(N, C)`` floating, confidence vectors of the undefended model; for an undefended model pass
            `probs` again.

    Returns:
        Fractions, a count and L1 distances (0 … 2); see `UtilityMetrics`.

    Raises:
        InputError: If shapes differ, there are no rows, a row is no confidence vector or a label is no class.

    Example:
        >>> metrics = utility_metrics([[0.5, 0.5], [0.25, 0.75]], [0, 1], clean_probs=[[1.0, 0.0], [0.75, 0.25]])
        >>> metrics.accuracy, metrics.label_changes, metrics.mean_l1, metrics.ece
        (1.0, 1, 1.0, 0.375)
    """
    probs = check_probs(probs, name="probs")
    clean_probs = check_probs(clean_probs, name="clean_probs")
    check_same_length({"probs": probs, "clean_probs": clean_probs})
    if clean_probs.shape != probs.shape:
        raise InputError("clean_probs", expected=f"shape {probs.shape}", got=str(clean_probs.shape))
    predicted = probs.argmax(axis=1)
    accuracy = ece = nll = None
    if labels is not None:
        labels = check_labels(labels, num_classes=probs.shape[1], name="labels")
        n = check_same_length({"probs": probs, "labels": labels})
        is_right = predicted == labels
        accuracy = float(is_right.mean())
        ece = _expected_calibration_error(probs.max(axis=1).astype(np.float64), is_right)
        true_probs = probs[np.arange(n), labels].astype(np.float64)
        nll = float(-np.log(np.maximum(true_probs, NLL_FLOOR)).mean())
    distances = np.abs(np.subtract(probs, clean_probs, dtype=np.float64)).sum(axis=1)
    return UtilityMetrics(
        accuracy=accuracy,
        label_changes=int((predicted != clean_probs.argmax(axis=1)).sum()),
        mean_l1=float(distances.mean()),
        median_l1=float(np.median(distances)),
        max_l1=float(distances.max()),
        ece=ece,
        nll=nll,
    )


def _expected_calibration_error(confidences: np.ndarray, is_right: np.ndarray) -> float:
    inner_edges = np.arange(1, ECE_BINS) / ECE_BINS  # no outer edges, so values just above 1 are in the last bin
    bins = np.digitize(confidences, inner_edges, right=True)
    # n_b·|accuracy_b − confidence_b| is the absolute value of a sum over bin b, which is 0 for an empty bin.
    gaps = np.bincount(bins, weights=is_right - confidences, minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(confidences))
