"""The list of all attacks, with one sentence about each.

The class of an attack says what it may be fitted on and which samples it supports; see `Attack`. An attack's module
is imported when the attack is made, so that reading the list imports none of them.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mindefense.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from mindefense.attacks.base import Attack
    from mindefense.training import TrainConfig

SMOKE_EPOCHS = 8


@dataclasses.dataclass(frozen=True)
class AttackContext:
    """Settings that attacks are made with.

    Attributes:
        seed: Seeds all random numbers.
        smoke: Whether the run is a smoke test, for which small attacks suffice.
        max_queries: Largest number of queries per sample, for attacks that search.
    """

    seed: int = 0
    smoke: bool = False
    max_queries: int = 1000


@dataclasses.dataclass(frozen=True)
class AttackSpec:
    """One attack of the list, or a user's own.

    Attributes:
        make: Makes the attack, unfitted.
        looks_at: One sentence on the information that it uses.
        kind: Group of attacks that find leaks which other groups miss. If no attack of a kind takes part, the result
            may be too low. None for attacks whose leaks another kind also finds.
        on_request: Whether it takes part only if it is named, since it needs thousands of queries per sample.
    """

    make: Callable[[AttackContext], Attack]
    looks_at: str = "A user-defined attacker."
    kind: str | None = None
    on_request: bool = False


def select(names: Sequence[str] | None) -> dict[str, AttackSpec]:
    """The attacks with these names; None for all but those on request. The gap attack is always included.

    Raises:
        InputError: If a name is unknown.
    """
    if names is None:
        return {name: spec for name, spec in ATTACKS.items() if not spec.on_request}
    if unknown := [name for name in names if name not in ATTACKS]:
        near = did_you_mean(unknown[0], ATTACKS)
        raise InputError("attacks", expected=", ".join(ATTACKS), got=repr(unknown[0]), fix=near)
    return {name: spec for name, spec in ATTACKS.items() if name in names or name == "gap"}


def resolve(own: Mapping[str, AttackSpec | type[Attack]]) -> dict[str, AttackSpec]:
    """A user's own attacks by name; a class without constructor arguments is turned into an `AttackSpec`.

    Raises:
        InputError: If a value is neither a class nor an `AttackSpec`, or a name is not valid.
    """
    from mindefense.attacks.base import Attack

    if not isinstance(own, Mapping):
        raise InputError("own_attacks", expected='attackers by name, such as {"mine": Mine}', got=type(own).__name__)
    specs = {}
    for name, value in own.items():
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or "|" in name:
            raise InputError("name of an attack", expected="a word in one line, without |", got=repr(name))
        if isinstance(value, type) and issubclass(value, Attack):
            _check_made_alone(name, value)
            value = AttackSpec(lambda context, kind=value: kind())
        if not isinstance(value, AttackSpec):
            expected = "a subclass of mindefense.Attack, or AttackSpec(lambda context: an instance)"
            got = getattr(value, "__name__", type(value).__name__)
            raise InputError(f"attack {name}", expected=expected, got=got)
        specs[name] = value
    return specs


def _check_made_alone(name: str, kind: type[Attack]) -> None:
    """Raises InputError if ``kind()`` cannot make an attack; makes none."""
    if missing := sorted(getattr(kind, "__abstractmethods__", ())):
        fix = "derive it from ScoreAttack, which has fit, or define both"
        raise InputError(f"attack {name}", expected="fit and score", got=f"no {' and no '.join(missing)}", fix=fix)
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        fix = f"pass AttackSpec(lambda context: {kind.__name__}(…)) with these arguments"
        expected = "a class without required arguments"
        raise InputError(f"attack {name}", expected=expected, got=f"{kind.__name__}, {error}", fix=fix) from error


def _load(home: str, name: str) -> Any:
    return getattr(importlib.import_module(f"mindefense.attacks.{home}"), name)


def _plain(home: str, kind: str, **settings: Any) -> Callable[[AttackContext], Attack]:
    """A maker of an attack that does not depend on the context."""
    return lambda context: _load(home, kind)(**settings)


def _seeded(home: str, kind: str, *given: Any) -> Callable[[AttackContext], Attack]:
    return lambda context: _load(home, kind)(*given, seed=context.seed)


def _network(kind: str, training: str) -> Callable[[AttackContext], Attack]:
    def make(context: AttackContext) -> Attack:
        config: TrainConfig = _load("neural", training)
        epochs = SMOKE_EPOCHS if context.smoke else config.epochs
        # A study's other networks use the seeds up to seed + 2.
        return _load("neural", kind)(dataclasses.replace(config, seed=context.seed + 3, epochs=epochs))

    return make


def _mindarmour(method: str) -> Callable[[AttackContext], Attack]:
    def make(context: AttackContext) -> Attack:
        kind = _load("mindarmour", "MindArmourAttack")
        if not context.smoke:
            return kind(method, seed=context.seed)
        small = {name: values[:1] for name, values in _load("mindarmour", "METHODS")[method].items()}
        return kind(method, seed=context.seed, grid=small, n_jobs=1)

    return make


def _label_lira(context: AttackContext) -> Attack:
    return _load("bank", "LiraAttack")("lira-label", [_load("bank_questions", "correct_share")(context.seed)])


def _lira_augmented(context: AttackContext) -> Attack:
    return _load("bank", "LiraAttack")("lira-augmented", _load("bank_questions", "log_odds_of_views")())


def _bank_classifier(name: str, *, confidences: bool, labels: bool) -> Callable[[AttackContext], Attack]:
    def make(context: AttackContext) -> Attack:
        statistics = [_load("bank_questions", "LOG_ODDS")] if confidences else []
        statistics += [_load("bank_questions", "correct_share")(context.seed)] if labels else []
        rounds = 10 if context.smoke else 200
        return _load("bank", "BankClassifierAttack")(name, statistics, seed=context.seed, rounds=rounds)

    return make


def _averaging(repeats: int, perturbation: float = 0.0) -> Callable[[AttackContext], Attack]:
    def make(context: AttackContext) -> Attack:
        return _load("averaging", "AveragingAttack")(
            lambda: _load("classifier", "ClassifierAttack")("label", seed=context.seed),
            repeats=2 + repeats // 64 if context.smoke else repeats,
            perturbation=perturbation,
            seed=context.seed,
        )

    return make


_TRUE_CLASS, _CLASSIFIERS = "thresholds on the true class", "classifiers that see the true class"
_LABEL_ONLY, _REPEATED = "label-only", "repeated queries"
_BANK, _BANK_LABEL = "a bank of shadow models", "a bank of shadow models, label-only"
_EACH_CLASS = "A threshold for each true class."
_CONFIDENCE = "The confidence in the true class, against one threshold."
_ENTROPY = "How evenly the confidences are spread, against one threshold; the true class is not needed."
_MODIFIED = "How evenly the confidences are spread, counting for the true class and against the others."

ATTACKS: Mapping[str, AttackSpec] = {
    "gap": AttackSpec(
        _plain("metric", "GapAttack"),
        "Whether the prediction is correct. No defense that keeps the predicted classes can lower it.",
    ),
    "confidence": AttackSpec(_plain("metric", "ConfidenceAttack"), _CONFIDENCE, _TRUE_CLASS),
    "confidence-per-class": AttackSpec(
        _plain("metric", "ConfidenceAttack", per_class=True), f"{_CONFIDENCE} {_EACH_CLASS}", _TRUE_CLASS
    ),
    "max-confidence": AttackSpec(
        _plain("metric", "MaxConfidenceAttack"),
        "The largest confidence, against one threshold; the true class is not needed.",
    ),
    "entropy": AttackSpec(_plain("metric", "EntropyAttack"), _ENTROPY),
    "entropy-per-class": AttackSpec(_plain("metric", "EntropyAttack", per_class=True), f"{_ENTROPY} {_EACH_CLASS}"),
    "modified-entropy": AttackSpec(_plain("metric", "ModifiedEntropyAttack"), _MODIFIED, _TRUE_CLASS),
    "modified-entropy-per-class": AttackSpec(
        _plain("metric", "ModifiedEntropyAttack", per_class=True), f"{_MODIFIED} {_EACH_CLASS}", _TRUE_CLASS
    ),
    "loss": AttackSpec(
        _plain("metric", "LossAttack"),
        "How far the model is from the true class (the loss), against the mean loss of known members.",
        _TRUE_CLASS,
    ),
    "mindarmour-lr": AttackSpec(
        _mindarmour("lr"), "All confidences and the loss, by MindArmour's logistic regression.", _CLASSIFIERS
    ),
    "mindarmour-knn": AttackSpec(
        _mindarmour("knn"), "All confidences and the loss, by MindArmour's nearest neighbors.", _CLASSIFIERS
    ),
    "mindarmour-mlp": AttackSpec(
        _mindarmour("mlp"), "All confidences and the loss, by MindArmour's small network.", _CLASSIFIERS
    ),
    "mindarmour-rf": AttackSpec(
        _mindarmour("rf"), "All confidences and the loss, by MindArmour's random forest.", _CLASSIFIERS
    ),
    "salem-top3": AttackSpec(
        _seeded("classifier", "ClassifierAttack", "top3"),
        "The three largest confidences, by a classifier; the true class is not needed.",
    ),
    "shokri-label": AttackSpec(
        _seeded("classifier", "ClassifierAttack", "label"),
        "The sorted confidences and where the true class stands among them, by a classifier.",
        _CLASSIFIERS,
    ),
    "stacked": AttackSpec(
        _seeded("stacked", "StackedAttack"),
        "All confidences, beginning with the true class, sorted, and by class, by four classifiers.",
        _CLASSIFIERS,
    ),
    "nn": AttackSpec(
        _network("NeuralAttack", "PUBLISHED_ATTACK"),
        "The sorted confidences, by the network of the MemGuard and DefenMI papers; the true class is not needed.",
    ),
    "nsh": AttackSpec(
        _network("NSHAttack", "NSH_TRAINING"),
        "The confidences and the true class, by a network of two branches.",
        _CLASSIFIERS,
    ),
    "label-noise": AttackSpec(
        _seeded("label_only", "NoiseRobustnessAttack"),
        "Predicted classes alone: whether they stay the same under noise on the sample.",
        _LABEL_ONLY,
    ),
    "label-flips": AttackSpec(
        _seeded("label_only", "BitFlipAttack"),
        "Predicted classes alone: whether they stay the same when bits of the sample are flipped.",
        _LABEL_ONLY,
    ),
    "label-shifts": AttackSpec(
        _plain("label_only", "ShiftAttack"),
        "Predicted classes alone: whether they stay the same when the image is shifted or mirrored.",
        _LABEL_ONLY,
    ),
    "lira": AttackSpec(
        _plain("bank", "LiraAttack"),
        "The log-odds of the true class, and how likely they are for shadow models with and without the sample.",
        _BANK,
    ),
    "lira-augmented": AttackSpec(
        _lira_augmented,
        "The log-odds of an image, of shifted ones and of its mirror image, compared with shadow models likewise.",
    ),
    "rmia": AttackSpec(
        _plain("bank", "RmiaAttack"),
        "The confidence in the true class over its mean in shadow models, compared with that of other samples.",
    ),
    "calibrated": AttackSpec(
        _plain("bank", "CalibratedAttack"),
        "The log-odds of the true class, minus their mean in shadow models without the sample.",
    ),
    "lira-label": AttackSpec(
        _label_lira,
        "Predicted classes of changed samples alone, compared with those of shadow models with and without the sample.",
        _BANK_LABEL,
    ),
    "bank-confidence": AttackSpec(
        _bank_classifier("bank-confidence", confidences=True, labels=False),
        "The log-odds of the true class beside those of shadow models, by a classifier fitted on the shadow models.",
        _BANK,
    ),
    "bank-label": AttackSpec(
        _bank_classifier("bank-label", confidences=False, labels=True),
        "Predicted classes of changed samples alone beside those of shadow models, by a classifier likewise.",
        _BANK_LABEL,
    ),
    "bank": AttackSpec(
        _bank_classifier("bank", confidences=True, labels=True),
        "Confidences and predicted classes of changed samples beside those of shadow models, by a classifier likewise.",
        _BANK,
    ),
    "averaging-8": AttackSpec(_averaging(8), "The mean of 8 answers to the same question.", _REPEATED),
    "averaging-64": AttackSpec(_averaging(64), "The mean of 64 answers to the same question.", _REPEATED),
    # Of noise of 1e-3, 1e-2 and 0.1, the last is the strongest on Location; it also measures the answer's robustness.
    "averaging-8-perturbed": AttackSpec(
        _averaging(8, 0.1), "The mean of 8 answers to slightly changed questions.", _REPEATED
    ),
    "boundary-distance": AttackSpec(
        lambda context: _load("boundary", "BoundaryDistanceAttack")(max_queries=context.max_queries, seed=context.seed),
        "Predicted classes alone: how far the sample is from the border of its class.",
        _LABEL_ONLY,
        on_request=True,
    ),
}
"""Every attack by name, cheapest first."""


def kinds() -> dict[str, tuple[str, ...]]:
    """Attacks by kind, in the order of `ATTACKS`."""
    found: dict[str, tuple[str, ...]] = {}
    for name, spec in ATTACKS.items():
        if spec.kind is not None:
            found[spec.kind] = (*found.get(spec.kind, ()), name)
    return found
