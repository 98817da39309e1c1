"""Types of arguments: each function converts one word of the command line, or says what was expected.

Nothing here imports MindSpore, so that a mistake is reported at once.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from mindefense.attacks.registry import ATTACKS
from mindefense.errors import DataError, InputError, did_you_mean


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas."""
    listed = tuple(name.strip() for name in text.split(",") if name.strip())
    if not listed:
        raise argparse.ArgumentTypeError(f"expected names with commas between them, got {text!r}")
    return listed


def attacks(text: str) -> tuple[str, ...]:
    """Names of attackers."""
    listed = names(text)
    if unknown := [name for name in listed if name not in ATTACKS]:
        near = did_you_mean(unknown[0], ATTACKS)
        said = f"expected {', '.join(ATTACKS)}, got {unknown[0]!r}" + (f"; {near}" if near else "")
        raise argparse.ArgumentTypeError(said)
    return listed


def defense(text: str) -> str:
    """The name of a defense, or none."""
    from mindefense.defenses.registry import NONE, DefenseSpec

    if text != NONE:
        _checked(DefenseSpec.parse, text)
    return text


def fitted_defense(text: str) -> str:
    """The file of a defense, or the name of one."""
    from mindefense.defenses.registry import DefenseSpec

    if not text.endswith(".ckpt"):
        _checked(DefenseSpec.parse, text)
    return text


def lineup(text: str) -> tuple[str, ...]:
    """Names of defenses, each once."""
    from mindefense.defenses.registry import parse_lineup

    listed = names(text)
    _checked(parse_lineup, listed)
    return listed


def ways(text: str) -> tuple[str, ...]:
    """Ways of training."""
    from mindefense.defenses.registry import parse_ways

    listed = names(text)
    _checked(parse_ways, listed)
    return listed


def gate(text: str):
    """A limit on a figure."""
    from mindefense.evaluation.gate import Gate

    return _checked(Gate.parse, text)


def policy(text: str):
    """Limits, required attackers and the smallest number of rows, from a file."""
    from mindefense.evaluation.policy import Policy

    read = _checked(Policy.read, text)
    if unknown := [name for name in read.attackers if name not in ATTACKS]:
        near = did_you_mean(unknown[0], ATTACKS)
        said = f"policy {read.name} [require] attackers: expected {', '.join(ATTACKS)}, got {unknown[0]!r}"
        raise argparse.ArgumentTypeError(said + (f"; {near}" if near else ""))
    return read


def _checked(parse: Callable, given):
    """The result of `parse`; its error becomes argparse's."""
    try:
        return parse(given)
    except (InputError, DataError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def whole(text: str) -> int:
    """An integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)


def batch(text: str) -> int | None:
    """An integer of at least 1; None for any."""
    return None if text == "dynamic" else positive(text)


def file_format(text: str) -> str:
    """The only format that can hold a search."""
    if text != "MINDIR":
        raise argparse.ArgumentTypeError(f"expected MINDIR (other formats cannot hold loops), got {text!r}")
    return text


def steps(text: str) -> int:
    """An integer of at least 2: the starting point counts as one step."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 2, got {text!r}")
    return int(text)


def positive(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return int(text)


def members(text: str) -> int | str:
    """The number of rows from the first one on, or a file that lists their numbers."""
    from mindefense.data.numbers import SUFFIXES, read_row_numbers

    if text.isdecimal() and int(text):
        return int(text)
    if not text.endswith(SUFFIXES):
        expected = f"a whole number of at least 1, or a file of row numbers ({', '.join(SUFFIXES)})"
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    _checked(read_row_numbers, text)
    return text


def above_0(text: str) -> float:
    """A finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def fraction(text: str) -> float:
    """A number in (0, 1]."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1, got {text!r}")
    return number


def seed(text: str) -> int:
    """An integer below 2**32, which NumPy's legacy generator also accepts; MindArmour uses that generator."""
    seed = whole(text)
    if seed >= 2**32:
        raise argparse.ArgumentTypeError(f"expected a whole number below 2**32, got {text}")
    return seed
