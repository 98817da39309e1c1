"""Helpers of several checks: masks of members and non-members, and the wording of numbers and lists."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEAR_CHANCE = 0.05
"""Largest distance from 0.5 of a balanced accuracy or AUC that counts as chance."""


def sides_of(is_member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The masks of the members and of the non-members."""
    return is_member, ~is_member


def in_a_list(said: Sequence[str], most: int = 3) -> str:
    """The first `most` findings, and the number of further ones."""
    more = [f"{len(said) - most} more likewise"] if len(said) > most else []
    return "; ".join([*said[:most], *more])


def counted(count: int, noun: str) -> str:
    """A count with its noun, in the plural unless the count is 1."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
