"""Which attackers there are: what each may be fitted on, which samples it takes, and how it is made."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mindefense.attacks.averaging import AveragingAttack
from mindefense.attacks.base import Attack
from mindefense.attacks.boundary import BoundaryDistanceAttack
from mindefense.attacks.classifier import ClassifierAttack
from mindefense.attacks.label_only import BitFlipAttack, NoiseRobustnessAttack, ShiftAttack
from mindefense.attacks.metric import (
    ConfidenceAttack,
    EntropyAttack,
    GapAttack,
    LossAttack,
    MaxConfidenceAttack,
    ModifiedEntropyAttack,
)
from mindefense.attacks.mindarmour import METHODS, MindArmourAttack
from mindefense.attacks.neural import NSH_TRAINING, NeuralAttack, NSHAttack
from mindefense.attacks.stacked import StackedAttack
from mindefense.errors import InputError
from mindefense.training import PUBLISHED_ATTACK, TrainConfig
from mindefense.types import Samples

SMOKE_EPOCHS = 8
NEEDS_ASKING = ("boundary-distance",)
"""Attackers that only take part when they are named, since they ask thousands of questions about a sample."""


@dataclasses.dataclass(frozen=True)
class Terms:
    """What attackers are made with.

    Attributes:
        seed: Decides everything that is random.
        smoke: Whether small ones will do.
        network_seed: Seeds the attack networks.
        max_queries: Most questions about one sample, for attackers that search.
    """

    seed: int = 0
    smoke: bool = False
    network_seed: int = 3
    max_queries: int = 1000


@dataclasses.dataclass(frozen=True)
class Entry:
    """How an attacker takes part in an evaluation.

    Attributes:
        make: Makes it, unfitted.
        knowledge: ``"auditor"``, ``"shadow"``, or both: what it may be fitted on; nothing for one that fits nothing.
        asks: ``"samples"``, or ``"variants"`` if it asks about changed samples too.
        obstacle: Why it cannot attack such samples, or None if it can.
        needs_noise: Whether it only has a point where answers depend on noise.
        needs_labels: Whether it looks at the true classes, which recorded outputs may lack.
        most: It is fitted on and judged by at most so many of either kind; None for all.
    """

    make: Callable[[Terms], Attack]
    knowledge: tuple[str, ...] = ("auditor", "shadow")
    asks: str = "samples"
    obstacle: Callable[[Samples], str | None] = lambda samples: None
    needs_noise: bool = False
    needs_labels: bool = True
    most: int | None = None


def chosen(names: Sequence[str] | None) -> dict[str, Entry]:
    """The attackers of these names; None for all but those in `NEEDS_ASKING`. The gap attack is always among them.

    Raises:
        InputError: If there is no attacker of a name.
    """
    if names is None:
        return {name: entry for name, entry in ATTACKS.items() if name not in NEEDS_ASKING}
    if unknown := [name for name in names if name not in ATTACKS]:
        raise InputError("attacks", expected=", ".join(ATTACKS), got=repr(unknown[0]))
    return {name: entry for name, entry in ATTACKS.items() if name in names or name == "gap"}


def entries_of(own: Mapping[str, Entry | type[Attack]]) -> dict[str, Entry]:
    """Attackers from outside, by name; a class that is made without arguments stands for an `Entry` that makes it.

    Raises:
        InputError: If one is neither, or its name is none.
    """
    if not isinstance(own, Mapping):
        raise InputError("own_attacks", expected='attackers by name, such as {"mine": Mine}', got=type(own).__name__)
    entries = {}
    for name, value in own.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or "|" in name:
            raise InputError("name of an attack", expected="a word in one line, without |", got=repr(name))
        if isinstance(value, type) and issubclass(value, Attack):
            _check_made_alone(name, value)
            value = Entry(functools.partial(_made, value))
        if not isinstance(value, Entry):
            expected = "a subclass of mindefense.attacks.Attack, or Entry(lambda terms: an instance)"
            got = getattr(value, "__name__", type(value).__name__)
            raise InputError(f"attack {name}", expected=expected, got=got)
        entries[name] = value
    return entries


def _check_made_alone(name: str, kind: type[Attack]) -> None:
    """Whether ``kind()`` makes one, found out without making it."""
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        fix = "build on ScoreAttack, which has fit, or write both"
        raise InputError(f"attack {name}", expected="fit and score", got=f"no {' and no '.join(missing)}", fix=fix)
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        fix = f"give Entry(lambda terms: {kind.__name__}(…)), which fills them in"
        expected = "a class that is made without arguments"
        raise InputError(f"attack {name}", expected=expected, got=f"{kind.__name__}, {error}", fix=fix) from error


def _made(kind: Callable[[], Attack], terms: Terms) -> Attack:
    return kind()


def is_image(samples: Samples) -> bool:
    """Whether the samples are bytes of images ``(N, channels, height, width)``."""
    return samples.features.dtype == np.uint8 and samples.features.ndim == 4


def is_binary(samples: Samples) -> bool:
    """Whether the samples are vectors of noughts and ones."""
    features = samples.features
    return features.ndim == 2 and features.dtype.kind == "f" and bool(((features == 0) | (features == 1)).all())


def _only_binary(samples: Samples) -> str | None:
    return None if is_binary(samples) else "the features are not all 0 or 1, so there are no bits to flip"


def _only_real(samples: Samples) -> str | None:
    if is_image(samples):
        return "the samples are images; label-shifts is the one for them"
    return "the features are all 0 or 1; label-flips is the one for them" if is_binary(samples) else None


def _only_images(samples: Samples) -> str | None:
    return None if is_image(samples) else "the samples are not images, so there is nothing to shift"


def _network(published: TrainConfig, terms: Terms) -> TrainConfig:
    epochs = SMOKE_EPOCHS if terms.smoke else published.epochs
    return dataclasses.replace(published, seed=terms.network_seed, epochs=epochs)


def _mindarmour(terms: Terms, method: str) -> Attack:
    if not terms.smoke:
        return MindArmourAttack(method, seed=terms.seed)
    small = {name: values[:1] for name, values in METHODS[method].items()}
    return MindArmourAttack(method, seed=terms.seed, grid=small, n_jobs=1)


def _averaging(terms: Terms, repeats: int, perturbation: float) -> Attack:
    return AveragingAttack(
        lambda: ClassifierAttack("label", seed=terms.seed),
        repeats=2 + repeats // 64 if terms.smoke else repeats,
        perturbation=perturbation,
        seed=terms.seed,
    )


def _per_class(name: str, attack: type, *, needs_labels: bool = True) -> dict[str, Entry]:
    entry = Entry(lambda terms: attack(), needs_labels=needs_labels)
    return {name: entry, f"{name}-per-class": Entry(lambda terms: attack(per_class=True))}


ATTACKS: Mapping[str, Entry] = {
    "gap": Entry(lambda terms: GapAttack(), knowledge=()),
    **_per_class("confidence", ConfidenceAttack),
    "max-confidence": Entry(lambda terms: MaxConfidenceAttack(), needs_labels=False),
    **_per_class("entropy", EntropyAttack, needs_labels=False),
    **_per_class("modified-entropy", ModifiedEntropyAttack),
    "loss": Entry(lambda terms: LossAttack()),
    **{
        f"mindarmour-{method}": Entry(functools.partial(_mindarmour, method=method), knowledge=("auditor",))
        for method in METHODS
    },
    "salem-top3": Entry(lambda terms: ClassifierAttack("top3", seed=terms.seed), needs_labels=False),
    "shokri-label": Entry(lambda terms: ClassifierAttack("label", seed=terms.seed)),
    "stacked": Entry(lambda terms: StackedAttack(seed=terms.seed)),
    "nn": Entry(
        lambda terms: NeuralAttack(_network(PUBLISHED_ATTACK, terms)), knowledge=("shadow",), needs_labels=False
    ),
    "nsh": Entry(lambda terms: NSHAttack(_network(NSH_TRAINING, terms)), knowledge=("shadow",)),
    "label-noise": Entry(lambda terms: NoiseRobustnessAttack(seed=terms.seed), asks="variants", obstacle=_only_real),
    "label-flips": Entry(lambda terms: BitFlipAttack(seed=terms.seed), asks="variants", obstacle=_only_binary),
    # Five more passes an image, which at 224 pixels are hours for some thousands of them.
    "label-shifts": Entry(lambda terms: ShiftAttack(), asks="variants", obstacle=_only_images, most=500),
    **{
        f"averaging-{repeats}{'-perturbed' if perturbation else ''}": Entry(
            functools.partial(_averaging, repeats=repeats, perturbation=perturbation),
            knowledge=("auditor",),
            asks="variants",
            needs_noise=True,
            most=500,
        )
        # Of 1e-3, 1e-2 and 0.1, the last gains most on Location; it also measures how well an answer stands changes.
        for repeats, perturbation in ((8, 0.0), (64, 0.0), (8, 0.1))
    },
    "boundary-distance": Entry(
        lambda terms: BoundaryDistanceAttack(max_queries=terms.max_queries, seed=terms.seed),
        knowledge=("auditor",),
        asks="variants",
        most=100,
    ),
}
"""Every attacker by name, the cheapest first."""

KINDS: Mapping[str, tuple[str, ...]] = {
    "thresholds on the true class": (
        *("confidence", "confidence-per-class", "modified-entropy", "modified-entropy-per-class", "loss"),
    ),
    "classifiers that see the true class": (
        *(f"mindarmour-{method}" for method in METHODS),
        *("shokri-label", "stacked", "nsh"),
    ),
    "label-only": ("label-noise", "label-flips", "label-shifts", "boundary-distance"),
    "repeated queries": tuple(name for name, entry in ATTACKS.items() if entry.needs_noise),
}
"""Attackers that find what those of other kinds do not; a result without one of the kinds may be too low."""
