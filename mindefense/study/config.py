"""Settings of a study."""

from __future__ import annotations

import dataclasses
from typing import Any

from mindefense.data import read_row_numbers
from mindefense.data.registry import DATASETS as _DATASETS
from mindefense.defenses.registry import NONE, DefenseSpec
from mindefense.defenses.search import ALIGNMENTS
from mindefense.errors import InputError
from mindefense.study.registry import IMAGES, MODELS, TABLES
from mindefense.training.accounting import LARGEST_EPSILON

SYNTHETIC = "synthetic"
DATASETS = (SYNTHETIC, *_DATASETS)
_DATASETS_OF = {TABLES: tuple(name for name in DATASETS if name != "cifar100"), IMAGES: ("cifar100", SYNTHETIC)}
DATASETS_FOR = {model: _DATASETS_OF[spec.samples] for model, spec in MODELS.items()}
"""The data sets that each target model can be trained on. The synthetic one resembles Location or CIFAR-100."""
_SETTINGS_OF = {
    TABLES: ("split_config", "split_section"),
    IMAGES: ("image_size", "width_multiplier", "members", "num_samples", "augment", "parity"),
}
"""Settings that apply to only one kind of samples."""
AMP_LEVELS = ("O0", "O2")
"""Levels of MindSpore's mixed precision at which target and shadow model can be queried."""
TUTORIAL_IMAGE_SIZE = 224
_SMOKE = {"image_size": 32, "width_multiplier": 0.125, "members": 300, "num_samples": 150}


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """Settings of a study. The first stage writes them to ``study.json``; later stages read them from there.

    Attributes:
        dataset: Name of the data set, ``"synthetic"`` for the embedded one.
        data_path: Path of its file or folder; None for the synthetic one.
        split_config: A DefenMI ``config.ini`` with the ranges of the rows; None for the published ranges.
        split_section: Section of that file; None for the name of the data set.
        defense: ``"none"``, or ``NAME`` or ``NAME=VALUE`` in the format of `DefenseSpec.parse`.
        alignment: ``"corrected"`` or ``"published"``.
        max_steps: Largest number of steps of the defense's search per row; None for the published limit.
        seed: Seed of everything that is random, 0 … 2**32 - 1.
        smoke: Whether to run a smoke test with few rows and epochs, whose figures have no meaning.
        model: ``"mlp"`` for tables, ``"vgg16"`` for images.
        epochs: Epochs of the target's training; None for the published number.
        learning_rate: Its learning rate; None for the published one.
        schedule: ``"step"`` or ``"cosine"``; None for the published one.
        warmup_epochs: Number of first epochs over which the learning rate rises; None for the published number.
        until_accuracy: Training accuracy, 0 … 1, after which the training ends; None to train for all epochs.
        weight_decay: L2 penalty of its weights; None for the published one.
        label_smoothing: Share of each label that is spread over all classes in training; None for the published one.
        epsilon: ε of differentially private training (DP-SGD), with δ = 1 / members²; None for plain training. Only for
            MLPs. Unless given, learning rate, epochs and batch size are then others than the published ones.
        shadows: Shadow models of the online bank; half as many, if at least 4, are in the offline bank. 0 for no
            banks; None for 8, 4 in a smoke test, and 0 with images, whose models take long to train.
        canaries: Number of the evaluation's members, and of its non-members, that get a wrong label and are reported
            separately; None for none.
        batch_size: Batch size of the training of target and shadow model, and of queries with images; at least 1.
        image_size: Images only: height and width in pixels to which they are resized; None for the tutorial's 224.
        width_multiplier: Images only: share of the published channels and widths.
        members: Images only: number of first rows of the training part that the target is trained on, or a file that
            lists its rows (`read_row_numbers`); None for all rows.
        num_samples: Images only: number of members, and of non-members, to evaluate attackers on; None for 5,000, or
            all if there are fewer.
        augment: Images only: whether to train on random crops and flips.
        parity: Images only: whether to randomly crop and flip the evaluation's members, but not the non-members, as
            MindArmour's tutorial does. An attacker may then detect the crops instead of the membership.

    Raises:
        InputError: If a setting is out of range, or does not apply to the model.
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
    epsilon: float | None = None
    canaries: int | None = None
    shadows: int | None = None
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
                expected="a path for a named data set, none for the synthetic one",
                got=f"{self.data_path!r} with {self.dataset}",
            )
        # The upper bound is that of NumPy's legacy generator, which MindArmour draws from.
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise InputError("seed", expected="a whole number from 0 to 2**32 - 1", got=repr(self.seed))
        if not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise InputError("batch_size", expected="a whole number of at least 1", got=repr(self.batch_size))
        if self.epsilon is not None:
            if not 0 < self.epsilon <= LARGEST_EPSILON:
                expected = f"a number above 0 and at most {LARGEST_EPSILON:g}"
                raise InputError("epsilon", expected=expected, got=repr(self.epsilon))
            if self.until_accuracy is not None:
                expected = (
                    "None for private training, because the number of epochs would reveal information on the rows"
                )
                raise InputError("until_accuracy", expected=expected, got=repr(self.until_accuracy))
            if self.samples == IMAGES:
                fix = "its batch normalization mixes the rows of a batch, so that no row has a gradient of its own"
                raise InputError("epsilon", expected="model mlp", got=f"model {self.model}", fix=fix)
        if self.shadows is not None and (
            not isinstance(self.shadows, int) or not (self.shadows == 0 or self.shadows >= 4)
        ):
            raise InputError("shadows", expected="0, or at least 4 models", got=repr(self.shadows))
        mistaken = {name: kind for kind, names in _SETTINGS_OF.items() if kind != self.samples for name in names}
        for field in dataclasses.fields(self):
            if field.name in mistaken and getattr(self, field.name) != field.default:
                right = " or ".join(model for model, spec in MODELS.items() if spec.samples == mistaken[field.name])
                raise InputError(field.name, expected=f"only with model {right}", got=f"model {self.model}")

    @property
    def samples(self) -> str:
        """The kind of the model's inputs: ``"tables"`` or ``"images"``."""
        return MODELS[self.model].samples

    @property
    def pixels(self) -> int:
        """Height and width of the resized images: `image_size`, or the tutorial's 224."""
        return TUTORIAL_IMAGE_SIZE if self.image_size is None else self.image_size

    def parse_defense(self, name: str | None = None) -> DefenseSpec:
        """A defense with the study's alignment and budget of steps, unless its name has others.

        Args:
            name: In the format of `DefenseSpec.parse`; None for the study's own defense.

        Raises:
            InputError: If the defense is unknown, or ``"none"``.
        """
        name = self.defense if name is None else name
        return DefenseSpec.parse(name, alignment=self.alignment, max_steps=self.max_steps)

    def bank_sizes(self, shadows: int | None = None) -> dict[str, int]:
        """Number of models of the ``"online"`` and of the ``"offline"`` bank.

        Args:
            shadows: Models of the online bank, in place of the attribute.
        """
        wanted = self.shadows if shadows is None else shadows
        if wanted is None:
            wanted = 0 if self.samples == IMAGES else 4 if self.smoke else 8
        return {"online": wanted, "offline": wanted // 2 if wanted // 2 >= 4 else 0}

    @property
    def needs_defender(self) -> bool:
        """Whether the defense needs the defender's classifier."""
        return self.defense != NONE and self.parse_defense().searches


def smoke_sizes(described: dict[str, Any], *, pre_trained: bool) -> dict[str, Any]:
    """The settings of a study, with small defaults for a smoke test on images.

    Args:
        described: Settings of `StudyConfig` that the user gave; they are not changed.
        pre_trained: Whether the target comes from a checkpoint, which determines image size, width and members.
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
