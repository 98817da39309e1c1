"""Defenses by name: what ``--defense top-k=3`` stands for, and which ones a comparison evaluates.

Names are checked without MindSpore, which only `DefenseSpec.build` loads.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from mindefense.defenses.search import SearchConfig, check_first_round
from mindefense.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from mindefense.defenses.base import Defense
    from mindefense.defenses.classifier import DefenderClassifier

NONE = "none"
_VALUES: dict[str, str | None] = {
    "defenmi": None,
    "memguard": "an L1 budget, such as 0.3",
    "rounding": "digits after the point, such as 1",
    "top-k": "how many confidences to keep, such as 3",
    "temperature": "a temperature, such as 4",
    "label-only": None,
    "class-mean": None,
    "laplace": "the scale of the noise, such as 0.1",
}
_SEARCHING = ("defenmi", "memguard")
_REQUIRED = ("rounding", "top-k", "temperature", "laplace")
_WHOLE = {"rounding": (0, 7), "top-k": (1, 10**9)}
"""Whole values, with the least and the largest."""
PUBLISHED = "-published"
"""Ends the name of a defense that repeats the published program where it departs from its idea."""
LINEUP = (
    "defenmi",
    "defenmi-published",
    "memguard",
    "memguard=0.7",
    "memguard=0.5",
    "memguard=0.3",
    "memguard=0.1",
    "rounding=1",
    "top-k=3",
    "top-k=1",
    "temperature=4",
    "laplace=0.1",
    "class-mean",
    "label-only",
)
"""What a comparison evaluates by default."""


@dataclasses.dataclass(frozen=True)
class DefenseSpec:
    """A defense and its settings.

    Attributes:
        name: What defends.
        value: Its setting, or None.
        alignment: ``"corrected"``, or ``"published"`` for DefenMI and MemGuard.
        max_steps: DefenMI and MemGuard: the budget of the search for one row, see ``SearchConfig``.
    """

    name: str
    value: float | None = None
    alignment: str = "corrected"
    max_steps: int | None = None

    @classmethod
    def parse(cls, text: str, *, alignment: str = "corrected", max_steps: int | None = None) -> DefenseSpec:
        """The defense that ``NAME`` or ``NAME=VALUE`` stands for.

        Args:
            text: As the command line has it; for DefenMI and MemGuard ``-published`` after the name stands for that
                alignment, and ``@300`` at the end for a search of at most so many steps.
            alignment: Unless the name says so.
            max_steps: Unless the text says so.

        Raises:
            InputError: If there is no such defense, or its value is missing, out of place or no number.
        """
        named, at, steps = text.partition("@")
        name, equals, value = named.partition("=")
        if name.endswith(PUBLISHED) and name.removesuffix(PUBLISHED) in _SEARCHING:
            name, alignment = name.removesuffix(PUBLISHED), "published"
        if name not in _VALUES:
            raise InputError("defense", expected=" or ".join(_VALUES), got=repr(text), fix=did_you_mean(name, _VALUES))
        if at and not (name in _SEARCHING and steps.isdecimal()):
            fix = f"{' or '.join(_SEARCHING)}, such as {_SEARCHING[0]}@300"
            raise InputError(f"defense {name}", expected=f"@STEPS, a whole number, with {fix}", got=repr(text))
        max_steps = SearchConfig(max_steps=int(steps) if at else max_steps).max_steps  # refuses what is no budget
        wanted = _VALUES[name]
        if equals and wanted is None:
            raise InputError(f"defense {name}", expected="no value", got=repr(text))
        if not equals and name in _REQUIRED:
            raise InputError(f"defense {name}", expected=f"{name}= and {wanted}", got=repr(text))
        number = _number(value) if equals else None
        if equals and number is None:
            raise InputError(f"defense {name}", expected=str(wanted), got=repr(value))
        if number is not None:
            least, most = _WHOLE.get(name, (0, math.inf))
            fits = least <= number <= most and (number == int(number) if name in _WHOLE else number > 0)
            if not fits and not (name == "memguard" and number == 0):
                kind = f"a whole number from {least} to {most:,}" if name in _WHOLE else "a number above 0"
                raise InputError(f"defense {name}", expected=f"{wanted}: {kind}", got=repr(value))
        if name == "memguard" and number is not None:
            check_first_round(SearchConfig(max_steps=max_steps))
        return cls(name, number, alignment, max_steps)

    @classmethod
    def parse_unfitted(cls, text: str) -> DefenseSpec:
        """The same, for a defense of recorded answers, without the model.

        Raises:
            InputError: See `parse`, and if it has to be fitted to a model.
        """
        spec = cls.parse(text)
        if spec.needs_fitting:
            names = ", ".join(name for name in _VALUES if not cls(name).needs_fitting)
            fix = f"a study run with --defense {spec} leaves it as defense.ckpt, and Defense.save writes it in Python"
            raise InputError(f"defense {spec}", expected=f"the .ckpt of one, or {names}", got="a name alone", fix=fix)
        return spec

    @property
    def searches(self) -> bool:
        """Whether it needs the defender's classifier."""
        return self.name in _SEARCHING

    @property
    def needs_fitting(self) -> bool:
        """Whether it needs to know the model that it stands before."""
        return self.searches or self.name == "class-mean"

    def __str__(self) -> str:
        published = PUBLISHED if self.alignment == "published" and self.searches else ""
        budget = "" if self.max_steps is None or not self.searches else f"@{self.max_steps}"
        return f"{self.name}{published}" + ("" if self.value is None else f"={self.value:g}") + budget

    def build_unfitted(self, classes: int) -> Defense:
        """The defense itself, if it needs no fitting, for C `classes`."""
        return self.build(_unasked, _unasked, classes)

    def build(
        self, classifier: Callable[[], DefenderClassifier], class_means: Callable[[], np.ndarray], classes: int
    ) -> Defense:
        """The defense itself.

        Args:
            classifier: Gives the defender's classifier; asked only if it is needed.
            class_means: Gives the ``(C, C)`` reference vectors per predicted class; likewise.
            classes: Number of classes C.

        Raises:
            InputError: If the value is out of range.
        """
        from mindefense.defenses import baselines
        from mindefense.defenses.defenmi import DefenMI, DefenMIConfig
        from mindefense.defenses.memguard import MemGuard, MemGuardConfig

        if self.name == "defenmi":
            config = DefenMIConfig(alignment=self.alignment, max_steps=self.max_steps)
            return DefenMI(classifier(), class_means(), config)
        if self.name == "memguard":
            memguard = MemGuard(classifier(), MemGuardConfig(alignment=self.alignment, max_steps=self.max_steps))
            return memguard if self.value is None else baselines.MemGuardBudget(memguard, self.value)
        if self.name == "class-mean":
            return baselines.ClassMean(class_means())
        if self.name == "label-only":
            return baselines.LabelOnly()
        assert self.value is not None
        if self.name == "rounding":
            return baselines.Rounding(int(self.value))
        if self.name == "top-k":
            return baselines.TopK(min(int(self.value), classes))
        if self.name == "temperature":
            return baselines.Temperature(self.value)
        return baselines.LaplaceOutput(self.value, classes)


def _unasked() -> NoReturn:
    raise AssertionError("a defense that needs no fitting asks for nothing")


def _number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_ways(names: Sequence[str]) -> tuple[TrainingSpec, ...]:
    """The ways to train of a comparison, each once.

    Raises:
        InputError: If one is unknown or named twice.
    """
    return _each_once("training", tuple(TrainingSpec.parse(name) for name in names))


def parse_lineup(names: Sequence[str], *, max_steps: int | None = None) -> tuple[DefenseSpec, ...]:
    """The defenses of a comparison, each once.

    Args:
        names: As `DefenseSpec.parse` takes them.
        max_steps: Budget of those that search, unless their names say another.

    Raises:
        InputError: If one is unknown or named twice.
    """
    return _each_once("defenses", tuple(DefenseSpec.parse(name, max_steps=max_steps) for name in names))


def _each_once(what: str, specs: tuple) -> tuple:
    if twice := [str(spec) for k, spec in enumerate(specs) if spec in specs[:k]]:
        raise InputError(what, expected="each once", got=f"{twice[0]} twice")
    return specs


_TRAINING = {"early-stopping": "until_accuracy", "weight-decay": "weight_decay", "label-smoothing": "label_smoothing"}
_SHARES = ("early-stopping", "label-smoothing")
TRAINING_LINEUP = ("early-stopping=0.9", "weight-decay=0.005", "label-smoothing=0.3", "dp=1")
"""Ways to train that a comparison may be told to try."""


@dataclasses.dataclass(frozen=True)
class TrainingSpec:
    """A way to train the target so that it leaks less.

    Attributes:
        name: ``"early-stopping"`` (the value is the training accuracy at which it ends), ``"weight-decay"``,
            ``"label-smoothing"`` or ``"dp"`` (the value is the noise multiplier of differentially private descent).
        value: Its setting.
    """

    name: str
    value: float

    @classmethod
    def parse(cls, text: str) -> TrainingSpec:
        """The way to train that ``NAME=VALUE`` stands for.

        Raises:
            InputError: If there is no such way, or its value is no number.
        """
        name, _, value = text.partition("=")
        known, number = [*_TRAINING, "dp"], _number(value)
        if name not in known or number is None or number <= 0 or (number > 1 and name in _SHARES):
            expected = f"NAME=VALUE with {' or '.join(known)} and a number above 0; shares up to 1"
            raise InputError("training", expected=expected, got=repr(text))
        return cls(name, number)

    @property
    def is_private(self) -> bool:
        """Whether it is differentially private."""
        return self.name == "dp"

    @property
    def settings(self) -> dict[str, float]:
        """What it changes in a study's configuration."""
        return {} if self.is_private else {_TRAINING[self.name]: self.value}

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}"
