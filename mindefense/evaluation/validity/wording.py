"""What several checks use: members and the others, numbers and lists in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEAR_CHANCE = 0.05
"""How far from 0.5 the balanced accuracy of an attacker that does no better than chance may be."""


def sides_of(is_member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are members, and which are not."""
    return is_member, ~is_member


def in_a_list(said: Sequence[str], most: int = 3) -> str:
    """The first few of many findings, and how many more there are."""
    more = [f"{len(said) - most} more do alike"] if len(said) > most else []
    return "; ".join([*said[:most], *more])


def counted(count: int, noun: str) -> str:
    """How many of something, the noun in the plural where it has to be."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def sentence(text: str) -> str:
    """The text with a capital letter and a full stop."""
    return text[:1].upper() + text[1:] + "."
