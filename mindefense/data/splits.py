"""Splits: the rows of each role, as indices without data."""

from __future__ import annotations

import ast
import configparser
import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mindefense.data.numbers import check_row_numbers
from mindefense.data.seeding import generator
from mindefense.errors import DataError, InputError
from mindefense.types import LabelledData


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The rows of each role, as positions in the data set.

    All arrays are ``(n,)`` int64. `check_split` defines which roles may share rows.

    Attributes:
        target_members: Rows that the target model is trained on.
        target_non_members: Rows for the target's test accuracy.
        defender_members: Members that the defense is fitted on.
        defender_non_members: Non-members that the defense is fitted on.
        eval_members: Members that attackers are evaluated on.
        eval_non_members: Non-members that attackers are evaluated on; nothing is fitted on them.
        attacker_members: Rows that the attacker trains a shadow model on.
        attacker_non_members: Non-members of the shadow model.
        name: Name of the split.
        permutation: Origin of the order of the rows, such as ``"published"``, ``"synthetic"`` or ``"seed 0"``.
    """

    target_members: np.ndarray
    target_non_members: np.ndarray
    defender_members: np.ndarray
    defender_non_members: np.ndarray
    eval_members: np.ndarray
    eval_non_members: np.ndarray
    attacker_members: np.ndarray
    attacker_non_members: np.ndarray
    name: str
    permutation: str

    def __repr__(self) -> str:
        roles = ", ".join(
            f"{role} {len(getattr(self, f'{kind}_members')):,} + {len(getattr(self, f'{kind}_non_members')):,}"
            for role, kind in (("target", "target"), ("defender", "defender"), ("evaluation", "eval"),
                               ("attacker", "attacker"))
        )  # fmt: skip
        return f"Split({self.name!r}: members + non-members: {roles}; order {self.permutation})"


@dataclasses.dataclass(frozen=True)
class _Role:
    """The key of a role's range in DefenMI's config.ini, and the published range."""

    key: str
    start: int
    end: int


_ROLES = {
    "target_members": _Role("user_training_data_index_range", 0, 1000),
    "target_non_members": _Role("user_testing_data_index_range", 1000, 2000),
    "defender_members": _Role("defense_member_data_index_range", 0, 1000),
    "defender_non_members": _Role("defense_nonmember_data_index_range", 1000, 2000),
    "eval_members": _Role("attacker_evaluate_member_data_range", 0, 1000),
    "eval_non_members": _Role("attacker_evaluate_nonmember_data_range", 2000, 3000),
    "attacker_members": _Role("attacker_train_member_data_range", 3000, 3500),
    "attacker_non_members": _Role("attacker_train_nonmember_data_range", 4000, 4500),
}
RANGE_KEYS = tuple(role.key for role in _ROLES.values())
"""Keys of the ranges in DefenMI's config.ini."""
TUTORIAL_SAMPLES = 5000
"""Number of members, and of non-members, that MindArmour's tutorial evaluates on."""
_APART = (
    ("target_members", "target_non_members", "the target must not be tested on what it was trained on"),
    ("target_members", "defender_non_members", "the defender's non-members must not be members"),
    ("target_members", "attacker_members", "the attacker does not know the target's members"),
    ("target_members", "attacker_non_members", "the attacker does not know the target's members"),
    ("attacker_members", "attacker_non_members", "no row is both in a shadow model and left out of it"),
    *(
        ("eval_non_members", fitted, "the evaluation's non-members must not have been fitted on")
        for fitted in _ROLES
        if fitted.startswith(("target_members", "defender_", "attacker_"))
    ),
)
_OPTIONAL = (("defender_members", "defender_non_members"), ("attacker_members", "attacker_non_members"))
"""Pairs of roles that may both be empty, because not every target has a defense or a shadow model."""
_WITHIN = (("eval_members", "target_members"), ("defender_members", "target_members"))


def published_split(data: LabelledData, *, seed: int = 0, scale: float = 1.0) -> Split:
    """The split of the MemGuard and DefenMI experiments on Location.

    Half-open ranges of the permutation: target 0–1000, its test 1000–2000; defender 0–1000 and 1000–2000; evaluation
    0–1000 and 2000–3000; attacker 3000–3500 and 4000–4500. The first range of a role has its members.

    Args:
        data: A data set of at least 4,500 rows. Its `order` is the permutation; without one, a seeded one is used.
        seed: Seed of that permutation, a whole number ≥ 0; unused if `data` has an `order`.
        scale: Share of each range to take from its start, in (0, 1]; for smoke tests.

    Raises:
        InputError: If there are too few rows, or `seed` or `scale` is invalid.

    Source:
        Jia et al., "MemGuard", 2019, section 5.1; github.com/tryIcatch/DefenMI, ``config.ini``.
    """
    if not 0 < scale <= 1:
        raise InputError("scale", expected="a fraction in (0, 1]", got=repr(scale))
    needed = max(role.end for role in _ROLES.values())
    if len(data) < needed:
        raise InputError(
            f"published split of {data.name}",
            expected=f"at least {needed:,} rows",
            got=f"{len(data):,}",
            fix="use split_from_config with ranges that fit",
        )
    ranges = {
        name: (role.start, role.start + max(1, round(scale * (role.end - role.start)))) for name, role in _ROLES.items()
    }
    return _split(ranges, data, seed, "published" if scale == 1 else f"published × {scale:g}")


def split_from_config(path: str | os.PathLike[str], section: str, data: LabelledData, *, seed: int = 0) -> Split:
    """The split in a section of a DefenMI ``config.ini``.

    Args:
        path: The file. Each role has a key such as ``user_training_data_index_range`` with a value such as
            ``{"start":"0","end":"1000"}``: the range ``start … end-1`` of the permutation. Other keys are ignored.
        section: Name of the section, and of the split.
        data: The data set. Its `order` is the permutation; without one, a seeded one is used.
        seed: Seed of that permutation, a whole number ≥ 0; unused if `data` has an `order`.

    Raises:
        DataError: If the file cannot be read or lacks a key, or a range is invalid or outside the data.
        InputError: If there is no such section, ranges overlap that must not, or `seed` is invalid.
    """
    path = Path(path)
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise DataError(f"configuration {path}", expected="a readable ini file", got=str(error)) from error
    if not config.has_section(section):
        raise InputError("section", expected=f"one of {', '.join(config.sections())} in {path}", got=repr(section))
    ranges = {
        name: _range(config[section], role.key, f"{path} [{section}] {role.key}", len(data))
        for name, role in _ROLES.items()
    }
    return _split(ranges, data, seed, section)


def _range(section: Mapping[str, str], key: str, what: str, rows: int) -> tuple[int, int]:
    expected = f'{{"start":"A","end":"B"}} with 0 ≤ A < B ≤ {rows}'
    if key not in section:
        raise DataError(what, expected=expected, got="no such key", fix="add it to the section")
    try:
        value = ast.literal_eval(section[key])
        start, end = int(value["start"]), int(value["end"])
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        raise DataError(what, expected=expected, got=section[key] or "nothing") from None
    if not 0 <= start < end <= rows:
        raise DataError(what, expected=expected, got=section[key], fix=f"the data set has {rows:,} rows")
    return start, end


def _split(ranges: Mapping[str, tuple[int, int]], data: LabelledData, seed: int, name: str) -> Split:
    if data.order is None:
        order, permutation = generator(seed).permutation(len(data)), f"seed {seed}"
    else:
        order, permutation = data.order, "synthetic" if data.synthetic else "published"
    rows = {role: np.asarray(order[start:end], np.int64) for role, (start, end) in ranges.items()}
    split = Split(**rows, name=name, permutation=permutation)
    check_split(split, len(data))
    return split


def check_split(split: Split, rows: int) -> None:
    """Checks that a split observes the protocol of the evaluation.

    The evaluation's non-members must not share a row with anything that is fitted, and the attacker's rows must not be
    target members. The members of evaluation and defender must be target members. They may be the same, because the
    defender works for the target's owner and knows its members.

    Args:
        split: The split.
        rows: Number of rows of the data set, N.

    Raises:
        InputError: If a role is empty, repeats a row or has a row outside ``0 … N-1``, or two roles overlap that must
            not.
    """
    taken: dict[str, np.ndarray] = {}
    left_out = {role for pair in _OPTIONAL if not any(len(getattr(split, role)) for role in pair) for role in pair}
    for role in _ROLES:
        indices = np.asarray(getattr(split, role))
        if role in left_out:
            taken[role] = np.empty(0, np.int64)
            continue
        taken[role] = np.unique(indices)
        if indices.ndim != 1 or indices.dtype.kind not in "iu" or not len(indices):
            got = f"{indices.dtype} {indices.shape}" if indices.size else "none"
            raise InputError(f"split {split.name} {role}", expected="at least one index, (n,) integers", got=got)
        if len(taken[role]) != len(indices):
            got = f"{len(indices) - len(taken[role])} repeated"
            raise InputError(f"split {split.name} {role}", expected="each row once", got=got)
        if taken[role][0] < 0 or taken[role][-1] >= rows:
            got = f"{taken[role][0]}…{taken[role][-1]}"
            raise InputError(f"split {split.name} {role}", expected=f"indices 0…{rows - 1}", got=got)
    for one, other, reason in _APART:
        shared = len(np.intersect1d(taken[one], taken[other], assume_unique=True))
        if shared:
            what = f"split {split.name} {one} and {other}"
            raise InputError(what, expected="no row in common", got=f"{shared} in common", fix=reason)
    for inner, outer in _WITHIN:
        outside = len(np.setdiff1d(taken[inner], taken[outer], assume_unique=True))
        if outside:
            what = f"split {split.name} {inner}"
            raise InputError(what, expected=f"rows of {outer} only", got=f"{outside} others")


def parts_split(
    data: LabelledData, *, members: int | np.ndarray | None = None, num_samples: int | None = None
) -> Split:
    """The split of a data set that is published in a training and a test part, such as CIFAR-100.

    Rows are taken from the start of a part, as in MindArmour's tutorial:

    - Target: the first `members` rows of the training part, or the listed rows.
    - Evaluation: the first `num_samples` of these, and of the test part. Rows of the training part are no non-members
      here, because they have often been used to select an epoch.
    - Defender: as non-members the next rows of the training part, at most as many as the target's members; or the rest
      of the test part if the target was trained on all of the training part. An equal number of members.
    - Attacker: the rest of the training part, divided into halves.

    Args:
        data: A data set with the parts ``"train"`` and ``"test"``.
        members: Rows that the target was trained on: a number from the start of the training part, or ``(n,)`` integer
            positions in it; None for all of it.
        num_samples: Number of members, and of non-members, to evaluate on; None for 5,000, or all if there are fewer,
            or half of the test part if the defender would otherwise have no rows.

    Returns:
        The split, without rows for defender or attacker if none are left.

    Raises:
        InputError: If the data lack one of the parts, or have too few rows.
        DataError: If a position is outside the training part or repeated.
    """
    if data.parts is None or not {"train", "test"} <= set(data.parts):
        raise InputError(f"{data.name} parts", expected="train and test", got=str(data.parts and list(data.parts)))
    train, test = (np.arange(data.parts[name].start, data.parts[name].stop) for name in ("train", "test"))
    if isinstance(members, np.ndarray):
        listed = check_row_numbers(members, rows=len(train), name="members")
        target, rest, first = train[listed], np.delete(train, listed), ""
    else:
        _check_count("members", members, len(train), f"the training part has {len(train):,} rows")
        target, rest = np.split(train, [len(train) if members is None else members])
        first = "first "
    most = min(len(target), len(test))
    _check_count("num_samples", num_samples, most, f"there are {len(target):,} members and {len(test):,} test rows")
    judged = min(most, TUTORIAL_SAMPLES) if num_samples is None else num_samples
    if num_samples is None and not len(rest) and judged == len(test) > 1:
        judged //= 2
    unseen = (test[judged:] if not len(rest) else rest)[: len(target)]
    attacker = rest[len(unseen) :]
    middle = len(attacker) // 2
    nobody = np.empty(0, np.int64)
    split = Split(
        target_members=target,
        target_non_members=test[:judged],
        defender_members=target[: len(unseen)],
        defender_non_members=unseen,
        eval_members=target[:judged],
        eval_non_members=test[:judged],
        attacker_members=attacker[:middle] if middle else nobody,
        attacker_non_members=attacker[middle:] if middle else nobody,
        name=f"{first}{len(target):,} of train, first {judged:,} of each judged",
        permutation="as published" if not data.synthetic else "synthetic",
    )
    check_split(split, len(data))
    return split


def _check_count(name: str, count: int | None, most: int, there: str) -> None:
    if count is not None and not (isinstance(count, (int, np.integer)) and 1 <= count <= most):
        raise InputError(name, expected=f"a whole number from 1 to {most:,}", got=repr(count), fix=there)
