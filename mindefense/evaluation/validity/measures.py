"""Statistics of the checks of rows and labels, as functions of arrays. Needs NumPy and SciPy."""

from __future__ import annotations

import hashlib

import numpy as np

BETTER_THAN_CHANCE = 0.01
"""Significance level of the test that answers agree with labels more often than by chance."""
SURELY_BETTER = 0.001
"""Significance level of tests from which a fault is inferred."""
LEAST_SHARE_OF_LEAD = 0.1
"""Smallest margin over guessing among members, as a share of that among non-members (or vice versa), if both have the
right labels."""
CYCLE_SUPPORT = 0.8
"""Smallest share of the classes in a cycle of columns that are predicted as the next class more often than as their
own."""
ENOUGH_BITS = 10.0
"""Bits of a vector, beyond the logarithm of the number of pairs, from which on equal vectors are no coincidence."""
FLOAT_BITS = 20.0
"""Precision in bits of a float32 number after logarithm and exponential."""
EMPTY = 1e-25
"""Smaller probabilities are zeros whose logarithm was taken."""
PERMUTATIONS = 9999
"""Random assignments of membership; the smallest p-value is one in ten thousand."""


def guessing(truth: np.ndarray) -> float:
    """The accuracy of always predicting the most frequent class."""
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))


def chance_of_agreement(answered: np.ndarray, truth: np.ndarray) -> float:
    """Probability of at least this many agreements between independent predictions and labels (binomial).

    Predictions and labels keep their class frequencies, so always predicting the most frequent class counts as chance.
    """
    from scipy.special import bdtrc  # imported here to keep the import of the package fast, as in metrics

    n = len(truth)
    top = int(max(answered.max(), truth.max())) + 1
    expected = float((np.bincount(answered, minlength=top) / n) @ (np.bincount(truth, minlength=top) / n))
    right = int((answered == truth).sum())
    return float(bdtrc(right - 1, n, min(expected, 1.0))) if right else 1.0


def upper_limit(successes: int, trials: int, risk: float) -> float:
    """Upper end of the one-sided exact interval (Clopper-Pearson) of a share; `risk` is its error probability."""
    from scipy.special import betaincinv

    return 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - risk))


def sides_at_chance(answered: np.ndarray, truth: np.ndarray, is_member: np.ndarray) -> tuple[bool, list[str]]:
    """Tests whether predictions agree with labels more often than by chance, among members and among non-members.

    Returns:
        Whether neither side does; and the side that does not while the other one does. A side is named only if it has
        enough rows: the upper end of its agreement must be below guessing plus a tenth of the other side's margin.
    """
    kinds = {"members": is_member, "non-members": ~is_member}
    chance = {name: chance_of_agreement(answered[kind], truth[kind]) for name, kind in kinds.items()}
    everyone = chance_of_agreement(answered, truth)
    if min(*chance.values(), everyone) >= BETTER_THAN_CHANCE:
        return True, []
    named = []
    for name, other in (("members", "non-members"), ("non-members", "members")):
        kind = kinds[name]
        right = answered == truth
        guess = guessing(truth[kind])
        least = guess + LEAST_SHARE_OF_LEAD * (float(right[kinds[other]].mean()) - guess)
        high = upper_limit(int(right[kind].sum()), int(kind.sum()), BETTER_THAN_CHANCE)
        if chance[other] < SURELY_BETTER and chance[name] >= BETTER_THAN_CHANCE and high < least:
            named.append(name)
    return False, named


def moved_columns(answered: np.ndarray, truth: np.ndarray, n_classes: int) -> list[int]:
    """Classes whose columns are permuted, found as cycles of the best assignment of columns to classes; often none.

    The best assignment for one half of the rows is tested on the other half, so that few rows or random predictions
    give no cycle. A class that is always predicted as another one is in no cycle.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.special import bdtrc

    counted = (truth >= 0) & (truth < n_classes)
    answered, truth = answered[counted], truth[counted]
    halves = np.random.default_rng(0).permutation(len(truth)) % 2
    tables = np.zeros((2, n_classes, n_classes))
    np.add.at(tables, (halves, truth, answered), 1)
    moved, by_other, by_own = set(), 0, 0
    for half in (0, 1):
        fitted, held = tables[half], tables[1 - half]
        _, column = linear_sum_assignment(-(fitted + 0.01 * np.eye(n_classes)))
        for cycle in _cycles(column):
            sums = tables[:, cycle].sum(axis=0)
            other, own = sums[np.arange(len(cycle)), column[cycle]], sums[np.arange(len(cycle)), cycle]
            seen = sums.sum(axis=1) > 0
            if not seen.any() or (other > own)[seen].mean() < CYCLE_SUPPORT:
                continue
            moved.update(cycle.tolist())
            by_other += int(held[cycle, column[cycle]].sum())
            by_own += int(held[cycle, cycle].sum())
    if by_other <= by_own or bdtrc(by_other - 1, by_other + by_own, 0.5) >= SURELY_BETTER:
        return []
    return sorted(moved)


def _cycles(column: np.ndarray) -> list[np.ndarray]:
    seen, cycles = np.arange(len(column)) == column, []
    for first in range(len(column)):
        cycle, at = [], first
        while not seen[at]:
            seen[at] = True
            cycle.append(at)
            at = int(column[at])
        if cycle:
            cycles.append(np.array(cycle))
    return cycles


def digests(rows: np.ndarray) -> np.ndarray:
    """``(N,)`` int64 hashes of the rows' bytes; two of a million different rows collide with probability 3e-8."""
    hashes = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(hashes, np.int64)


def telling(probs: np.ndarray) -> np.ndarray:
    """Mask ``(N,)`` bool of the confidence vectors that are unlikely to occur twice by chance.

    The criterion is the number of bits in all entries except the largest: about 20 for a float32 number, the logarithm
    of the number of steps for a number rounded to few decimals, 0 for zero. Vectors shared by more than ten rows, and
    more than one in a hundred, never qualify.
    """
    bits = np.full(probs.shape, FLOAT_BITS)
    for decimals in (6, 5, 4, 3, 2, 1):
        steps = probs * 10.0**decimals
        rounded = np.abs(steps - np.rint(steps)) < np.maximum(1e-3, 1e-6 * steps)
        rounded &= (np.rint(steps) > 0) | (probs < EMPTY)
        is_grid = rounded.mean() > 0.99  # a property of the recording and not of one entry
        if is_grid:
            bits = np.log2(np.maximum(np.rint(steps), 1.0))
    bits[probs < EMPTY] = 0.0
    np.put_along_axis(bits, probs.argmax(axis=1)[:, None], 0.0, axis=1)
    enough = bits.sum(axis=1) >= 2 * np.log2(len(probs)) + ENOUGH_BITS
    _, group, size = np.unique(digests(probs), return_inverse=True, return_counts=True)
    return enough & (size[group] <= max(10, 0.01 * len(probs)))


def lone_twins(keys: np.ndarray, is_member: np.ndarray) -> tuple[int, int]:
    """Numbers of vectors shared by exactly two rows: of a member and a non-member, and of two rows of the same side.

    At most half of the chance pairs are of the first kind, for any distributions of members and non-members: if a
    vector has the rates a and b, then ab ≤ (a² + b²)/2.
    """
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    members = np.bincount(group, weights=is_member)
    across = int(((size == 2) & (members == 1)).sum())
    return across, int((size == 2).sum()) - across


def more_than_half(successes: int, trials: int) -> bool:
    """Whether the success probability is significantly above one half (binomial test)."""
    from scipy.special import bdtrc

    return 2 * successes > trials and float(bdtrc(successes - 1, trials, 0.5)) < SURELY_BETTER


def close_twins_in_two_classes(probs: np.ndarray, within: np.ndarray) -> int:
    """Number of repeated vectors of two classes within the chosen rows, minus the number expected by chance.

    The smaller entry is a multiple of at most 2**-24. The number of neighbors less than 1e-5 apart gives the expected
    number of equal ones. Entries below 0.001 are not counted.
    """
    smaller = np.sort(probs[within].min(axis=1))
    steps = np.diff(smaller[smaller >= 1e-3])
    by_chance = ((steps > 0) & (steps < 1e-5)).sum() * 2.0**-24 / 1e-5
    return max(0, round(float((steps == 0).sum() - by_chance)))


def balance_p_value(counts: np.ndarray) -> float:
    """P-value of the chi-square test that membership and class are independent, for a table of counts ``(2, C)``.

    It is computed by random permutations of membership, because the usual approximation fails for rare classes.
    """
    draws = np.random.default_rng(0).multivariate_hypergeometric(
        counts.sum(axis=0), int(counts[0].sum()), size=PERMUTATIONS, method="marginals"
    )
    expected = counts.sum(axis=0) * counts[0].sum() / counts.sum()
    # The first row of the table determines the second, so this sum orders tables as chi-square does.
    observed = ((counts[0] - expected) ** 2 / expected).sum()
    return float(
        (1 + (((draws - expected) ** 2 / expected).sum(axis=1) >= observed * (1 - 1e-12)).sum()) / (1 + PERMUTATIONS)
    )
