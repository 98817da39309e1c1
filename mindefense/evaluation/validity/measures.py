"""What the checks of the rows measure: plain arrays in, plain numbers out. NumPy, and SciPy's special functions."""

from __future__ import annotations

import hashlib

import numpy as np

BETTER_THAN_CHANCE = 0.01
"""Chance of so many agreements between unrelated answers and labels, below which they are related."""
SURELY_BETTER = 0.001
"""The same where a fault is inferred from it."""
LEAST_SHARE_OF_LEAD = 0.1
"""Share of the lead over guessing on one side that the other side keeps at the least, if its labels are its own."""
CYCLE_SUPPORT = 0.8
"""Share of the classes in a cycle of columns that must be answered by the next column more often than by theirs."""
ENOUGH_BITS = 10.0
"""Binary digits of a vector, beyond those of the number of pairs, from which on equal vectors are no chance."""
FLOAT_BITS = 20.0
"""Binary digits of a float32 number that are left after logarithm and exponential."""
EMPTY = 1e-25
"""Probabilities below are zeros that a logarithm was taken of."""
PERMUTATIONS = 9999
"""Random assignments of membership; the smallest p-value is one in ten thousand."""


def guessing(truth: np.ndarray) -> float:
    """What is reached by always naming the commonest class."""
    return float(np.unique(truth, return_counts=True)[1].max() / len(truth))


def chance_of_agreement(answered: np.ndarray, truth: np.ndarray) -> float:
    """Probability of so many agreements if the answers had nothing to do with the truth (binomial).

    Each class is answered as often as it is, so naming the commonest class always is no better than chance.
    """
    from scipy.special import bdtrc  # kept out of the import of the package, as in metrics

    n = len(truth)
    top = int(max(answered.max(), truth.max())) + 1
    expected = float((np.bincount(answered, minlength=top) / n) @ (np.bincount(truth, minlength=top) / n))
    right = int((answered == truth).sum())
    return float(bdtrc(right - 1, n, min(expected, 1.0))) if right else 1.0


def upper_limit(successes: int, trials: int, risk: float) -> float:
    """Upper end of the one-sided exact interval of a share."""
    from scipy.special import betaincinv

    return 1.0 if successes == trials else float(betaincinv(successes + 1, trials - successes, 1 - risk))


def sides_at_chance(answered: np.ndarray, truth: np.ndarray, is_member: np.ndarray) -> tuple[bool, list[str]]:
    """Whether no side agrees better than by chance, and the names of sides that do not while the other side does.

    A side is named only if its rows are enough to tell: its share of agreements must be below guessing and a tenth of
    the other side's lead, even at the upper end of its interval.
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
    """Classes whose rows are consistently answered by the column of another class, in closed cycles; often none.

    The assignment of columns to classes that suits one half of the rows best is held against the other half, so rows
    that are few or answered at random move nothing. A class that is merely swallowed by another is in no cycle.
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
    """One int64 a row, equal for rows of equal bytes; among a million others by chance with 3e-8."""
    hashes = b"".join(hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows)
    return np.frombuffer(hashes, np.int64)


def telling(probs: np.ndarray) -> np.ndarray:
    """Which confidence vectors hardly come up twice by chance, whatever their largest entry.

    Counted are the binary digits of all entries but the largest: about 20 for a float32 number, the logarithm of the
    number of steps for one that was rounded to few decimals, none for zero. Vectors that one row in a hundred shares,
    and at least ten rows, are taken for coarse.
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
    """Vectors that exactly two rows share: how many of them have a row on either side, how many both on one side.

    Of chance twins no more than half are of the first kind, however differently the two sides are distributed: with
    rates a and b of a vector, ab is never above (a² + b²)/2.
    """
    _, group, size = np.unique(keys, return_inverse=True, return_counts=True)
    members = np.bincount(group, weights=is_member)
    across = int(((size == 2) & (members == 1)).sum())
    return across, int((size == 2).sum()) - across


def more_than_half(successes: int, trials: int) -> bool:
    """Whether so many of the trials are no chance if each has at most one half."""
    from scipy.special import bdtrc

    return 2 * successes > trials and float(bdtrc(successes - 1, trials, 0.5)) < SURELY_BETTER


def close_twins_in_two_classes(probs: np.ndarray, within: np.ndarray) -> int:
    """Repeats among vectors of two classes within the chosen rows, beyond those that closeness lets expect.

    The smaller entry has steps of at most 2**-24. Neighbours less than 1e-5 apart tell how many are equal by chance.
    Entries below 0.001 have too few such steps and are not counted.
    """
    smaller = np.sort(probs[within].min(axis=1))
    steps = np.diff(smaller[smaller >= 1e-3])
    by_chance = ((steps > 0) & (steps < 1e-5)).sum() * 2.0**-24 / 1e-5
    return max(0, round(float((steps == 0).sum() - by_chance)))


def balance_p_value(counts: np.ndarray) -> float:
    """Chance of so large a chi-square of a table ``(2, C)`` if membership had nothing to do with class.

    By random assignments of membership to the same rows, because the usual approximation fails for rare classes.
    """
    draws = np.random.default_rng(0).multivariate_hypergeometric(
        counts.sum(axis=0), int(counts[0].sum()), size=PERMUTATIONS, method="marginals"
    )
    expected = counts.sum(axis=0) * counts[0].sum() / counts.sum()
    # The second line of the table follows from the first, so this orders tables as chi-square does.
    observed = ((counts[0] - expected) ** 2 / expected).sum()
    return float(
        (1 + (((draws - expected) ** 2 / expected).sum(axis=1) >= observed * (1 - 1e-12)).sum()) / (1 + PERMUTATIONS)
    )
