"""Differences of figures with intervals: of the same rows and of others, against simulation and closed forms."""

import numpy as np
import pytest

from mindefense.metrics import independent_difference, paired_auc_difference


def test_paired_auc_difference_holds_its_level_and_sees_small_changes():
    rng, wrong, seen = np.random.default_rng(5), 0, 0
    is_member = np.arange(400) % 2 == 0
    for _ in range(300):
        common = rng.normal(0, 1, 400) + 0.5 * is_member
        old, new = (common + rng.normal(0, 0.4, 400) for _ in range(2))
        wrong += not (found := paired_auc_difference(is_member, old, new)).low <= 0 <= found.high
        seen += paired_auc_difference(is_member, old, new + 0.4 * is_member).low > 0
    assert 4 <= wrong <= 27  # 15 expected
    assert seen > 290


def test_independent_difference_is_the_closed_form_for_symmetric_intervals():
    found = independent_difference((0.6, 0.55, 0.65), (0.7, 0.66, 0.74))
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.1 - np.hypot(0.04, 0.05), 0.1 + np.hypot(0.04, 0.05)))
    wider = independent_difference((0.6, 0.55, 0.65), (0.7, 0.66, 0.74), confidence=0.99)
    assert (wider.value - wider.low) / (found.value - found.low) == pytest.approx(2.5758 / 1.95996, rel=1e-3)
