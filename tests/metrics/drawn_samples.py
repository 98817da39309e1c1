"""Scores of members and non-members for the tests of what is computed from them."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

reproducible = settings(max_examples=20, deadline=None, derandomize=True, database=None)


@st.composite
def scored_samples(draw, elements=None):
    """Scores with many ties, and at least one member and one non-member."""
    elements = st.integers(-4, 4).map(float) if elements is None else elements
    is_member = draw(st.lists(st.booleans(), min_size=2, max_size=30).filter(lambda flags: 0 < sum(flags) < len(flags)))
    scores = draw(st.lists(elements, min_size=len(is_member), max_size=len(is_member)))
    return np.array(scores), np.array(is_member)


def random_samples(seed, n=400, ties=False):
    rng = np.random.default_rng(seed)
    is_member = rng.random(n) < 0.4
    scores = rng.normal(is_member * 0.8)
    return (scores.round(1) if ties else scores), is_member
