"""The data of a study, and which rows have which role."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mindefense.data import (
    Split,
    load_dataset,
    make_cifar_like,
    make_location_like,
    parts_split,
    published_split,
    read_row_numbers,
    split_from_config,
)
from mindefense.defenses.registry import DefenseSpec
from mindefense.errors import DataError, InputError
from mindefense.evaluation.scenario import EvaluationSets, Rows
from mindefense.images import augmented
from mindefense.study.canaries import plant
from mindefense.study.config import IMAGES, SYNTHETIC, TABLES, StudyConfig
from mindefense.types import LabelledData

_SMOKE_SCALE = 0.2
_TUTORIAL_SEED = 1
"""Seed of the random crops and flips of members of the tutorial."""


class StudyRows:
    """The data set of a study, split into roles.

    Args:
        config: Settings of the study.
        data: The data set, without canaries.

    Attributes:
        data: The data set, with canaries if there are any.
        split: The rows of each role.
        canaries: Mislabeled rows that are not among the evaluation's rows; None if there are none.

    Raises:
        InputError: If the data have too few rows for the split.
        DataError: If the ranges of the rows cannot be read.
    """

    def __init__(self, config: StudyConfig, data: LabelledData):
        self.config, self.data, self.split = config, data, split_data(config, data)
        self.canaries: Rows | None = None
        if config.canaries:
            self.data, self.split, self.canaries = plant(data, self.split, config.canaries, seed=config.seed)
        self._of: dict[str, Rows] = {}

    def indices(self, role: str) -> np.ndarray:
        """Positions of a role's members, then of its non-members, in the data set."""
        return np.concatenate(self._split_of(role))

    def of(self, role: str) -> Rows:
        """The members and non-members of ``"target"``, ``"defender"``, ``"attacker"`` or ``"eval"``.

        Raises:
            InputError: If the split has no rows for that role.
        """
        if role not in self._of:
            self._of[role] = self._take(role)
        return self._of[role]

    def sets(self, *, fit_share: float, has_shadow: bool) -> EvaluationSets:
        """The rows of an evaluation.

        Args:
            fit_share: Share of them that auditors are fitted on, 0 … 1.
            has_shadow: Whether the attacker trains a shadow model.
        """
        everyone = self.of("eval")
        known, judged = everyone.divide(self.config.seed, share=fit_share)
        return EvaluationSets(
            everyone,
            known,
            judged,
            test=self.of("target").non_members,
            shadow=self.of("attacker") if has_shadow else None,
            defender=self.of("defender") if len(self.split.defender_members) else None,
            canaries=self.canaries,
            treated_alike=not self.config.parity,
            target_rows=len(self.split.target_members),
        )

    def _split_of(self, role: str) -> tuple[np.ndarray, np.ndarray]:
        return getattr(self.split, f"{role}_members"), getattr(self.split, f"{role}_non_members")

    def _take(self, role: str) -> Rows:
        members, non_members = self._split_of(role)
        if not len(members):
            raise InputError(
                f"rows for the {role}",
                expected="some that are neither the target's members nor evaluated",
                got=f"none in the split {self.split.name}",
                fix="evaluate on fewer with --num_samples, or do without the defense or the shadow model",
            )
        rows = Rows(self.data.take(members), self.data.take(non_members))
        if role == "eval" and self.config.parity:
            varied = augmented(rows.members.features, seed=_TUTORIAL_SEED)
            rows = Rows(dataclasses.replace(rows.members, features=varied), rows.non_members)
        return rows


def means_role(spec: DefenseSpec) -> str:
    """The role whose rows determine a defense's class means; the published program uses the rows that it defends."""
    return "eval" if (spec.name, spec.alignment) == ("defenmi", "published") else "defender"


def load_data(config: StudyConfig) -> LabelledData:
    """The study's data set.

    Raises:
        DataError: If it is missing, damaged, or of a kind that the model cannot take.
    """
    if config.dataset == SYNTHETIC:
        return _SYNTHETIC[config.samples](config.seed)
    assert config.data_path is not None
    data = load_dataset(config.dataset, config.data_path)
    if config.samples == TABLES and data.features.ndim != 2:
        raise DataError(f"{data.name} features", expected="shape (N, features)", got=str(data.features.shape))
    return data


def split_data(config: StudyConfig, data: LabelledData) -> Split:
    """The rows of each role.

    Raises:
        InputError: If the data have too few rows.
        DataError: If the ranges of the rows cannot be read.
    """
    return _SPLITS[config.samples](config, data)


def roles_in_words(config: StudyConfig, data: LabelledData, split: Split) -> tuple[str, ...]:
    """Two sentences on which rows of images are members and non-members."""
    assert data.parts is not None
    all_rows, target, judged = len(data.parts["train"]), len(split.target_members), len(split.eval_members)
    train, test = "the training part", "the test part"
    if not data.synthetic:
        train, test = f"{train} (train.bin)", f"{test} (test.bin)"
    members = f"all {target:,} rows of {train}" if target == all_rows else f"the first {target:,} rows of {train}"
    if isinstance(config.members, str):
        members = f"the {target:,} rows of {train} that {Path(config.members).name} lists"
    others = f"non-members: rows of {test}; the first {judged:,} are judged"
    if rest := all_rows - target:
        others += f"; the other {rest:,} rows of {train} are not, a defense is fitted on them"
    return f"members: {members}; the first {judged:,} of them are judged", others


def _split_of_tables(config: StudyConfig, data: LabelledData) -> Split:
    if config.split_config is not None:
        section = config.split_section or config.dataset
        split = split_from_config(config.split_config, section, data, seed=config.seed)
    else:
        split = published_split(data, seed=config.seed)
    if not config.smoke:
        return split
    roles = {name: rows for name, rows in vars(split).items() if isinstance(rows, np.ndarray)}
    few = {name: rows[: max(1, round(_SMOKE_SCALE * len(rows)))] for name, rows in roles.items()}
    return dataclasses.replace(split, name=f"{split.name} × {_SMOKE_SCALE:g}", **few)


def _split_of_images(config: StudyConfig, data: LabelledData) -> Split:
    members = config.members
    if isinstance(members, str):
        members = read_row_numbers(members, rows=None if data.parts is None else len(data.parts["train"]))
    split = parts_split(data, members=members, num_samples=config.num_samples)
    few = len(split.eval_members) if config.smoke else None
    return dataclasses.replace(
        split,
        defender_members=split.defender_members[:few],
        defender_non_members=split.defender_non_members[:few],
    )


_SPLITS: dict[str, Callable[[StudyConfig, LabelledData], Split]] = {TABLES: _split_of_tables, IMAGES: _split_of_images}
_SYNTHETIC: dict[str, Callable[[int], LabelledData]] = {
    TABLES: lambda seed: make_location_like(seed),
    IMAGES: lambda seed: make_cifar_like(seed, train=600, test=300),
}
