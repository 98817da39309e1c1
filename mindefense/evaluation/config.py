"""What a study is about."""

from __future__ import annotations

import dataclasses

from mindefense.data import LOADERS
from mindefense.defenses.base import ALIGNMENTS
from mindefense.errors import InputError

SYNTHETIC = "synthetic"
DATASETS = (SYNTHETIC, *LOADERS)
DEFENSES = ("none", "defenmi", "memguard")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What a study is about. The first stage writes it to ``study.json``; the later ones read it there.

    Attributes:
        dataset: Name of the data set, ``"synthetic"`` for the embedded one.
        data_path: Where it is; None for the synthetic one.
        split_config: A DefenMI ``config.ini`` with the ranges of the rows; None for the published ranges.
        split_section: Its section.
        defense: ``"defenmi"``, ``"memguard"`` or ``"none"``.
        alignment: ``"corrected"`` or ``"published"``.
        seed: Decides everything that is random.
        smoke: Few rows and epochs: shows that everything runs; the figures mean nothing.
    """

    dataset: str = SYNTHETIC
    data_path: str | None = None
    split_config: str | None = None
    split_section: str | None = None
    defense: str = "defenmi"
    alignment: str = "corrected"
    seed: int = 0
    smoke: bool = False

    def __post_init__(self) -> None:
        choices = (("dataset", DATASETS), ("defense", DEFENSES), ("alignment", ALIGNMENTS))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise InputError(name, expected=" or ".join(allowed), got=repr(getattr(self, name)))
        if (self.dataset == SYNTHETIC) != (self.data_path is None):
            raise InputError(
                "data_path",
                expected="a path with a named data set and none with the synthetic one",
                got=f"{self.data_path!r} with {self.dataset}",
            )
        # The upper bound is that of NumPy's legacy generator, which MindArmour draws from.
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise InputError("seed", expected="a whole number from 0 to 2**32 - 1", got=repr(self.seed))
