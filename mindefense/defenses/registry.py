"""The list of all defenses: the names that ``--defense`` accepts, and the defenses that a comparison evaluates.

Names are checked without MindSpore; only `DefenseSpec.build` loads it.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from mindefense.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from mindefense.defenses.base import Defense
    from mindefense.defenses.classifier import DefenderClassifier

NONE = "none"


@dataclasses.dataclass(frozen=True)
class DefenseKind:
    """One defense of the list; a new defense needs a class and an entry below.

    Attributes:
        home: The module of its class, below `mindefense.defenses`.
        kind: The class; its ``name`` is recorded in its files.
        build: Makes the defense from the specification and the class.
        value: Description of its setting; None if it has none.
        shown: The setting in a list of names, such as ``"DIGITS"``.
        is_required: Whether the setting is required.
        whole: The smallest and the largest value of an integer setting; None if any number above 0 is valid.
        searches: Whether it is built on the defender's classifier and searches for each answer.
        needs_means: Whether it is built on the mean vectors of predicted classes.
        also: The class in `mindefense.defenses.baselines` that is used if there is a setting; None for the same class.
    """

    home: str
    kind: str
    build: Callable[[DefenseSpec, Any, Parts], Defense]
    value: str | None = None
    shown: str | None = None
    is_required: bool = False
    whole: tuple[int, int] | None = None
    searches: bool = False
    needs_means: bool = False

    also: str | None = None

    def load(self) -> Any:
        """Its class."""
        return _load(self.home, self.kind)


def _load(home: str, name: str) -> Any:
    return getattr(importlib.import_module(f"mindefense.defenses.{home}"), name)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The parts that defenses are built from; each is computed only if a defense needs it.

    Attributes:
        classifier: Returns the defender's classifier.
        class_means: Returns the ``(C, C)`` reference vectors per predicted class.
        classes: Number of classes C.
    """

    classifier: Callable[[], DefenderClassifier]
    class_means: Callable[[], np.ndarray]
    classes: int


def _defenmi(spec: DefenseSpec, kind: Any, parts: Parts) -> Defense:
    config = _load("defenmi", "DefenMIConfig")
    return kind(parts.classifier(), parts.class_means(), config(alignment=spec.alignment, max_steps=spec.max_steps))


def _memguard(spec: DefenseSpec, kind: Any, parts: Parts) -> Defense:
    config = _load("memguard", "MemGuardConfig")
    memguard = kind(parts.classifier(), config(alignment=spec.alignment, max_steps=spec.max_steps))
    if spec.value is None:
        return memguard
    return _load("baselines", "MemGuardBudget")(memguard, spec.value)


def _by_value(spec: DefenseSpec, kind: Any, parts: Parts) -> Defense:
    return kind(spec.value)


DEFENSES: dict[str, DefenseKind] = {
    "defenmi": DefenseKind("defenmi", "DefenMI", _defenmi, searches=True, needs_means=True),
    "memguard": DefenseKind(
        "memguard", "MemGuard", _memguard, value="an L1 budget, such as 0.3", shown="L1_BUDGET", searches=True,
        also="MemGuardBudget",
    ),
    "rounding": DefenseKind(
        "baselines", "Rounding", lambda spec, kind, parts: kind(int(spec.value or 0)),
        value="digits after the point, such as 1", shown="DIGITS", is_required=True, whole=(0, 7),
    ),
    "top-k": DefenseKind(
        "baselines", "TopK", lambda spec, kind, parts: kind(min(int(spec.value or 1), parts.classes)),
        value="how many confidences to keep, such as 3", shown="K", is_required=True, whole=(1, 10**9),
    ),
    "temperature": DefenseKind(
        "baselines", "Temperature", _by_value, value="a temperature, such as 4", shown="T", is_required=True
    ),
    "label-only": DefenseKind("baselines", "LabelOnly", lambda spec, kind, parts: kind()),
    "class-mean": DefenseKind(
        "baselines", "ClassMean", lambda spec, kind, parts: kind(parts.class_means()), needs_means=True
    ),
    "laplace": DefenseKind(
        "baselines", "LaplaceOutput", lambda spec, kind, parts: kind(spec.value, parts.classes),
        value="the scale of the noise, such as 0.1", shown="SCALE", is_required=True,
    ),
}  # fmt: skip
"""Every defense by its name for ``--defense``."""
PUBLISHED = "-published"
"""Suffix of a defense that reproduces the published program, including its departures from the paper."""
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
"""The defenses that a comparison evaluates by default."""


@dataclasses.dataclass(frozen=True)
class DefenseSpec:
    """A defense and its settings.

    Attributes:
        name: Name of the defense.
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
        """The defense that ``NAME`` or ``NAME=VALUE`` names.

        Args:
            text: The text of the command line. For DefenMI and MemGuard, ``-published`` after the name selects that
                alignment, and ``@300`` at the end limits the search to 300 steps.
            alignment: The alignment if the name has no suffix.
            max_steps: The budget if the text has none.

        Raises:
            InputError: If there is no such defense, or its value is missing, not allowed or not a number.
        """
        from mindefense.defenses.search import SearchConfig, check_first_round  # imported here, since it needs NumPy

        searching = [known for known, kind in DEFENSES.items() if kind.searches]
        named, at, steps = text.partition("@")
        name, equals, value = named.partition("=")
        if name.endswith(PUBLISHED) and name.removesuffix(PUBLISHED) in searching:
            name, alignment = name.removesuffix(PUBLISHED), "published"
        if name not in DEFENSES:
            near = did_you_mean(name, DEFENSES)
            raise InputError("defense", expected=" or ".join(DEFENSES), got=repr(text), fix=near)
        kind = DEFENSES[name]
        if at and not (kind.searches and steps.isdecimal()):
            fix = f"{' or '.join(searching)}, such as {searching[0]}@300"
            raise InputError(f"defense {name}", expected=f"@STEPS, a whole number, with {fix}", got=repr(text))
        max_steps = SearchConfig(max_steps=int(steps) if at else max_steps).max_steps  # raises if invalid
        wanted = kind.value
        if equals and wanted is None:
            raise InputError(f"defense {name}", expected="no value", got=repr(text))
        if not equals and kind.is_required:
            raise InputError(f"defense {name}", expected=f"{name}= and {wanted}", got=repr(text))
        number = _number(value) if equals else None
        if equals and number is None:
            raise InputError(f"defense {name}", expected=str(wanted), got=repr(value))
        if number is not None:
            least, most = kind.whole or (0, math.inf)
            fits = least <= number <= most and (number > 0 if kind.whole is None else number == int(number))
            if not fits and not (name == "memguard" and number == 0):
                rule = "a number above 0" if kind.whole is None else f"a whole number from {least} to {most:,}"
                raise InputError(f"defense {name}", expected=f"{wanted}: {rule}", got=repr(value))
        if name == "memguard" and number is not None:
            check_first_round(SearchConfig(max_steps=max_steps))
        return cls(name, number, alignment, max_steps)

    @classmethod
    def parse_unfitted(cls, text: str) -> DefenseSpec:
        """Like `parse`, for a defense of recorded answers, whose model is not available.

        Raises:
            InputError: See `parse`, and if it has to be fitted to a model.
        """
        spec = cls.parse(text)
        if spec.needs_fitting:
            names = ", ".join(name for name in DEFENSES if not cls(name).needs_fitting)
            fix = f"run a study with --defense {spec}, which writes defense.ckpt, or use Defense.save in Python"
            raise InputError(f"defense {spec}", expected=f"the .ckpt of one, or {names}", got="a name alone", fix=fix)
        return spec

    @property
    def searches(self) -> bool:
        """Whether it needs the defender's classifier."""
        return DEFENSES[self.name].searches

    @property
    def needs_fitting(self) -> bool:
        """Whether it has to be fitted to a model."""
        return self.searches or DEFENSES[self.name].needs_means

    def __str__(self) -> str:
        published = PUBLISHED if self.alignment == "published" and self.searches else ""
        budget = "" if self.max_steps is None or not self.searches else f"@{self.max_steps}"
        return f"{self.name}{published}" + ("" if self.value is None else f"={self.value:g}") + budget

    def build_unfitted(self, classes: int) -> Defense:
        """Builds the defense for C `classes`, if it needs no fitting."""
        return self.build(_unasked, _unasked, classes)

    def build(
        self, classifier: Callable[[], DefenderClassifier], class_means: Callable[[], np.ndarray], classes: int
    ) -> Defense:
        """Builds the defense.

        Args:
            classifier: Returns the defender's classifier; called only if it is needed.
            class_means: Returns the ``(C, C)`` reference vectors per predicted class; called only if they are needed.
            classes: Number of classes C.

        Raises:
            InputError: If the value is out of range.
        """
        kind = DEFENSES[self.name]
        return kind.build(self, kind.load(), Parts(classifier, class_means, classes))


def classes() -> dict[str, type[Defense]]:
    """All defenses by their names in files."""
    found = [kind.load() for kind in DEFENSES.values()]
    found += [_load("baselines", kind.also) for kind in DEFENSES.values() if kind.also is not None]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: kind.name)}


def names_in_words() -> str:
    """The names that ``--defense`` accepts, with their settings."""
    names = [NONE]
    for name, kind in DEFENSES.items():
        if not kind.is_required:
            names.append(name)
        if kind.searches:
            names.append(f"{name}@STEPS")
        if kind.shown is not None:
            names.append(f"{name}={kind.shown}")
    return ", ".join(names)


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
    """The ways of training of a comparison, each once.

    Raises:
        InputError: If one is unknown or named twice.
    """
    return _each_once("training", tuple(TrainingSpec.parse(name) for name in names))


def parse_lineup(names: Sequence[str], *, max_steps: int | None = None) -> tuple[DefenseSpec, ...]:
    """The defenses of a comparison, each once.

    Args:
        names: Names for `DefenseSpec.parse`.
        max_steps: Budget of defenses that search, unless their names have another.

    Raises:
        InputError: If one is unknown or named twice.
    """
    return _each_once("defenses", tuple(DefenseSpec.parse(name, max_steps=max_steps) for name in names))


def _each_once(what: str, specs: tuple) -> tuple:
    if twice := [str(spec) for k, spec in enumerate(specs) if spec in specs[:k]]:
        raise InputError(what, expected="each once", got=f"{twice[0]} twice")
    return specs


_TRAINING = {
    "early-stopping": "until_accuracy",
    "weight-decay": "weight_decay",
    "label-smoothing": "label_smoothing",
    "dp": "epsilon",
}
_SHARES = ("early-stopping", "label-smoothing")
TRAINING_LINEUP = ("early-stopping=0.9", "weight-decay=0.005", "label-smoothing=0.3", "dp=8")
"""Ways of training that a comparison can evaluate."""


@dataclasses.dataclass(frozen=True)
class TrainingSpec:
    """A way of training the target that reduces its leakage.

    Attributes:
        name: ``"early-stopping"`` (the value is the training accuracy at which it ends), ``"weight-decay"``,
            ``"label-smoothing"``, ``"dp"`` (the value is the ε of differentially private training), or
            ``"dp-mindarmour"`` (that of MindArmour, which only runs on GPU and Ascend; the value is the noise
            multiplier).
        value: Its setting.
    """

    name: str
    value: float

    @classmethod
    def parse(cls, text: str) -> TrainingSpec:
        """The way of training that ``NAME=VALUE`` names.

        Raises:
            InputError: If there is no such way, or its value is not a number.
        """
        name, _, value = text.partition("=")
        known, number = [*_TRAINING, "dp-mindarmour"], _number(value)
        if name not in known or number is None or number <= 0 or (number > 1 and name in _SHARES):
            expected = f"NAME=VALUE with {' or '.join(known)} and a number above 0; shares up to 1"
            raise InputError("training", expected=expected, got=repr(text))
        return cls(name, number)

    @property
    def is_private(self) -> bool:
        """Whether it is the differentially private training of MindArmour."""
        return self.name == "dp-mindarmour"

    @property
    def settings(self) -> dict[str, float]:
        """The settings that it changes in a study's configuration."""
        return {} if self.is_private else {_TRAINING[self.name]: self.value}

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}"
