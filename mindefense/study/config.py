"""What a study is about."""

from __future__ import annotations

import dataclasses
from typing import Any

from mindefense.data import read_row_numbers
from mindefense.data.registry import DATASETS as _DATASETS
from mindefense.defenses.registry import NONE, DefenseSpec
from mindefense.defenses.search import ALIGNMENTS
from mindefense.errors import InputError
from mindefense.study.registry import IMAGES, MODELS, TABLES

SYNTHETIC = "synthetic"
DATASETS = (SYNTHETIC, *_DATASETS)
_DATASETS_OF = {TABLES: tuple(name for name in DATASETS if name != "cifar100"), IMAGES: ("cifar100", SYNTHETIC)}
DATASETS_FOR = {model: _DATASETS_OF[spec.samples] for model, spec in MODELS.items()}
"""Each target model with the data sets it is for; the synthetic one comes in the likeness of either."""
_SETTINGS_OF = {
    TABLES: ("split_config", "split_section"),
    IMAGES: ("image_size", "width_multiplier", "members", "num_samples", "augment", "parity"),
}
"""Settings that mean something for one kind of samples alone."""
AMP_LEVELS = ("O0", "O2")
"""Levels of MindSpore's mixed precision that target and shadow can be asked at."""
TUTORIAL_IMAGE_SIZE = 224
_SMOKE = {"image_size": 32, "width_multiplier": 0.125, "members": 300, "num_samples": 150}


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """What a study is about. The first stage writes it to ``study.json``; the later ones read it there.

    Attributes:
        dataset: Name of the data set, ``"synthetic"`` for the embedded one.
        data_path: Where it is; None for the synthetic one.
        split_config: A DefenMI ``config.ini`` with the ranges of the rows; None for the published ranges.
        split_section: Its section.
        defense: ``"none"``, or ``NAME`` or ``NAME=VALUE`` as `DefenseSpec.parse` takes it.
        alignment: ``"corrected"`` or ``"published"``.
        max_steps: The most steps of the defense's search for one row; None for what the published program allows.
        seed: Decides everything that is random.
        smoke: Few rows and epochs: shows that everything runs; the figures mean nothing.
        model: ``"mlp"`` for tables, ``"vgg16"`` for images.
        epochs: Epochs of the target's training; None for the published number.
        learning_rate: Its learning rate; None for the published one.
        schedule: ``"step"`` or ``"cosine"``; None for the published one.
        warmup_epochs: Epochs over which the learning rate rises at first; None for the published number.
        until_accuracy: End the training after the first epoch with this share of rows classified correctly.
        weight_decay: L2 penalty of its weights; None for the published one.
        label_smoothing: Share of the labels that is spread over all classes in training.
        canaries: So many of the members to judge by, and of the non-members, get a wrong label and are reported
            apart; None for none.
        batch_size: Samples that target and shadow are trained on at a time; images are asked about as many at a time.
        image_size: Images only: height and width that they are resized to; None for the tutorial's 224.
        width_multiplier: Images only: share of the published channels and widths.
        members: Images only: the target is trained on the first so many rows of the training part, or on those that
            this file lists (`read_row_numbers`); None for all.
        num_samples: Images only: members and non-members to judge attackers by, of each as many; None for 5,000 or
            as many as there are.
        augment: Images only: train on random crops and flips.
        parity: Images only: crop and flip the evaluation's members, and only these, at random, as MindArmour's
            tutorial does. An attacker can then tell them by that.
    """

    dataset: str = SYNTHETIC
    data_path: str | None = None
    split_config: str | None = None
    split_section: str | None = None
    defense: str = "defenmi"
    alignment: str = "corrected"
    max_steps: int | None = None
    seed: int = 0
    smoke: bool = False
    model: str = "mlp"
    epochs: int | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    warmup_epochs: int | None = None
    until_accuracy: float | None = None
    weight_decay: float | None = None
    label_smoothing: float | None = None
    canaries: int | None = None
    batch_size: int = 64
    image_size: int | None = None
    width_multiplier: float = 1.0
    members: int | str | None = None
    num_samples: int | None = None
    augment: bool = False
    parity: bool = False

    def __post_init__(self) -> None:
        choices = (
            ("dataset", DATASETS),
            ("alignment", ALIGNMENTS),
            ("model", tuple(MODELS)),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise InputError(name, expected=" or ".join(allowed), got=repr(getattr(self, name)))
        if self.defense != NONE:
            self.parse_defense()
        if self.dataset not in DATASETS_FOR[self.model]:
            fitting = " or ".join(model for model, datasets in DATASETS_FOR.items() if self.dataset in datasets)
            raise InputError(f"model for {self.dataset}", expected=fitting, got=repr(self.model))
        if (self.dataset == SYNTHETIC) != (self.data_path is None):
            raise InputError(
                "data_path",
                expected="a path with a named data set and none with the synthetic one",
                got=f"{self.data_path!r} with {self.dataset}",
            )
        # The upper bound is that of NumPy's legacy generator, which MindArmour draws from.
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise InputError("seed", expected="a whole number from 0 to 2**32 - 1", got=repr(self.seed))
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InputError("batch_size", expected="a whole number of at least 1", got=repr(self.batch_size))
        mistaken = {name: kind for kind, names in _SETTINGS_OF.items() if kind != self.samples for name in names}
        for field in dataclasses.fields(self):
            if field.name in mistaken and getattr(self, field.name) != field.default:
                right = " or ".join(model for model, spec in MODELS.items() if spec.samples == mistaken[field.name])
                raise InputError(field.name, expected=f"only with model {right}", got=f"it with {self.model}")

    @property
    def samples(self) -> str:
        """What the model takes: ``"tables"`` or ``"images"``."""
        return MODELS[self.model].samples

    @property
    def pixels(self) -> int:
        """`image_size`, or the tutorial's."""
        return TUTORIAL_IMAGE_SIZE if self.image_size is None else self.image_size

    def parse_defense(self, name: str | None = None) -> DefenseSpec:
        """A defense with the study's alignment and budget of steps, unless its name says others.

        Args:
            name: As `DefenseSpec.parse` takes it; None for the study's own.

        Raises:
            InputError: If there is no such defense; ``"none"`` is none either.
        """
        name = self.defense if name is None else name
        return DefenseSpec.parse(name, alignment=self.alignment, max_steps=self.max_steps)

    @property
    def needs_defender(self) -> bool:
        """Whether the defense is built on a classifier of the defender's."""
        return self.defense != NONE and self.parse_defense().searches


def smoke_sizes(described: dict[str, Any], *, pre_trained: bool) -> dict[str, Any]:
    """Settings of `StudyConfig` with those that make a smoke test of images small, where the user gave none.

    A checkpoint decides on size, width and members itself.
    """
    model = MODELS.get(str(described.get("model")))
    if not described.get("smoke") or model is None or model.samples != IMAGES:
        return described
    small = {"num_samples": _SMOKE["num_samples"]} if pre_trained else _SMOKE
    chosen = {**small, **described}
    members = chosen.get("members")
    if isinstance(members, str):
        members = len(read_row_numbers(members))
    if "num_samples" not in described and members is not None:
        chosen["num_samples"] = min(chosen["num_samples"], members)
    return chosen
