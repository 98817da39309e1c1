"""The evaluation of a trained model: who attacks, knowing what, before and after a defense."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.attacks.catalog import ATTACKS, Entry, Terms, chosen, entries_of
from mindefense.confidence import softmax
from mindefense.data import Split, check_split
from mindefense.defenses.base import Defense, SearchDefense
from mindefense.defenses.target import NOISES
from mindefense.errors import InputError
from mindefense.evaluation.arena import Arena
from mindefense.evaluation.conclusion import assemble, published_budgets, target_facts, utility
from mindefense.evaluation.doors import Behind, clean_doors, defended_doors
from mindefense.evaluation.doubts import doubts
from mindefense.evaluation.evidence import evidence_of
from mindefense.evaluation.facts import AskedAgain, Facts, FitRows, Training
from mindefense.evaluation.progress import Progress
from mindefense.evaluation.protocol import ADVERSARIES, KNOWLEDGE, Doors, Rows
from mindefense.files import sha256_of_file
from mindefense.runtime import versions
from mindefense.targets.base import Model
from mindefense.targets.kinds import model_of
from mindefense.types import (
    Answers,
    BudgetPoint,
    Check,
    DefenseFacts,
    Evaluation,
    Evidence,
    LabelledData,
    Samples,
    Trial,
)


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """Which attackers there are and what they know.

    Attributes:
        attacks: Their names; None for all that ask no more than a few questions about a sample.
        knowledge: ``"auditor"``, ``"shadow"`` or both.
        adversary: ``"static"``, ``"adaptive"`` or both.
        noise: ``"keyed"``: the same query gets the same answer; ``"fresh"`` shows what goes wrong otherwise.
        max_queries: Most questions about one sample, for attackers that search.
    """

    attacks: tuple[str, ...] | None = None
    knowledge: tuple[str, ...] = KNOWLEDGE
    adversary: tuple[str, ...] = ADVERSARIES
    noise: str = "keyed"
    max_queries: int = 1000

    def __post_init__(self) -> None:
        chosen(self.attacks)  # an unknown name must show before anything is computed
        for name, allowed in (("knowledge", KNOWLEDGE), ("adversary", ADVERSARIES)):
            given = getattr(self, name)
            if not given or not set(given) <= set(allowed):
                raise InputError(name, expected=" or ".join(allowed), got=repr(given))
        if self.noise not in NOISES:
            raise InputError("noise", expected=" or ".join(NOISES), got=repr(self.noise))
        if not isinstance(self.max_queries, int) or self.max_queries < 1:
            raise InputError("max_queries", expected="a whole number of at least 1", got=repr(self.max_queries))


@dataclasses.dataclass(frozen=True, eq=False)
class Ground:
    """The rows of an evaluation.

    Attributes:
        everyone: Members and non-members to judge by.
        fit: Those of them that auditors are fitted on.
        judged: The others of them.
        test: Rows on which the target's accuracy is tested.
        shadow: The shadow's members and non-members; None without a shadow.
        defender: The defender's; None if there are none.
        canaries: Mislabeled members and non-members, none of them among the others; None if there are none.
    """

    everyone: Rows
    fit: Rows
    judged: Rows
    test: Samples
    shadow: Rows | None = None
    defender: Rows | None = None
    canaries: Rows | None = None

    @classmethod
    def of(cls, data: LabelledData, split: Split, *, seed: int, fit_share: float = 0.5) -> Ground:
        """The rows that a split gives each role.

        Raises:
            InputError: If a role is without rows that it needs, or rows have two roles that they must not have.
        """
        check_split(split, len(data))

        def rows(role: str) -> Rows | None:
            members, non_members = (getattr(split, f"{role}_{kind}") for kind in ("members", "non_members"))
            return Rows(data.take(members), data.take(non_members)) if len(members) else None

        everyone = rows("eval")
        assert everyone is not None
        fit, judged = everyone.divide(seed, share=fit_share)
        test = data.take(split.target_non_members)
        return cls(everyone, fit, judged, test, shadow=rows("attacker"), defender=rows("defender"))


def evaluate(
    target: Any,
    data: LabelledData,
    split: Split,
    *,
    attacks: Sequence[str] | Mapping[str, Entry | type[Attack]] | None = None,
    own_attacks: Mapping[str, Entry | type[Attack]] | None = None,
    knowledge: Sequence[str] = KNOWLEDGE,
    adversary: Sequence[str] = ADVERSARIES,
    defense: Defense | None = None,
    shadow: Any = None,
    noise: str = "keyed",
    seed: int = 0,
    fit_share: float = 0.5,
    progress: Progress | None = None,
) -> Evaluation:
    """Attacks a trained model, without a defense and behind one.

    Auditors are fitted on known members and non-members of the target itself, shadow attackers on a model that the
    attacker trained. Static attackers do not know of the defense: they are fitted on undefended answers. Adaptive ones
    are fitted on answers from behind the same defense; the shadow's defense has the attacker's own key and noise.

    Args:
        target: The trained model: a MindSpore Cell or a PyTorch module from samples to logits, a fitted scikit-learn
            classifier, a function from samples to probabilities, or a `Network`, `TorchTarget` or `FunctionTarget`
            where more is to be said of it.
        data: The data set.
        split: Which of its rows are members of what.
        attacks: Names of attackers; None for all. Attackers by name, as `own_attacks` takes them, run alone.
        own_attacks: Attackers of your own, by the names to give them, beside those of `attacks`: classes that are made
            without arguments, or an `Entry` each.
        knowledge: ``"auditor"``, ``"shadow"`` or both.
        adversary: ``"static"``, ``"adaptive"`` or both.
        defense: What reshapes the answers; None to evaluate the undefended model alone.
        shadow: A model trained by the attacker on the split's attacker rows; None for no shadow attackers.
        noise: ``"keyed"`` or ``"fresh"``.
        seed: Decides everything that is random.
        fit_share: Share of the evaluation's rows that auditors are fitted on.
        progress: Told what happens.

    Returns:
        Every figure with the threat model it holds for; the headline is the maximum over the attackers.

    Raises:
        InputError: If an argument is unknown, or the rows or the model do not fit.
    """
    if not (defense is None or isinstance(defense, Defense)):
        got = f"the class {defense.__name__}" if isinstance(defense, type) else repr(defense)
        fix = "make one, as in Rounding(1), fit one with fit_defenmi, or load_defense(FILE)"
        raise InputError("defense", expected="a Defense", got=got, fix=fix)
    target = model_of(target)
    shadow = None if shadow is None else model_of(shadow, name="shadow")
    own = entries_of(own_attacks or {})
    if taken := [name for name in own if name in ATTACKS]:
        raise InputError("own_attacks", expected="a name that no attacker here has", got=repr(taken[0]))
    if isinstance(attacks, Mapping):
        own = {**entries_of(attacks), **own}
        names = ("gap",)
        entries = {**chosen(names), **own}
    else:
        names = None if attacks is None else (attacks,) if isinstance(attacks, str) else tuple(attacks)
        entries = {**chosen(names), **own}
    config = EvaluationConfig(names, tuple(knowledge), tuple(adversary), noise)
    ground = Ground.of(data, split, seed=seed, fit_share=fit_share)
    _check_classes(target, data, ground.everyone)
    for network in (target, *(() if shadow is None else (shadow,))):
        network.check_repeats(ground.everyone.features())
    clean = clean_doors(target, shadow)
    arena = make_arena(
        config,
        ground,
        clean,
        seed=seed,
        progress=progress,
        entries=entries,
    )
    trials = arena.undefended()
    doors = None
    if defense is not None:
        doors = defended_doors(target, shadow, defense, seed=seed, noise=noise)
        trials += arena.behind(doors)
    return report(
        trials,
        arena,
        ground,
        target,
        behind=None if defense is None or doors is None else Behind(defense, doors, noise),
        shadow=shadow,
        data=data,
        seed=seed,
        settings={
            **dataclasses.asdict(config),
            **({"own_attacks": tuple(own)} if own else {}),
            "split": split.name,
            "order": split.permutation,
            "seed": seed,
            "fit_share": fit_share,
        },
    )


def _check_classes(target: Model, data: LabelledData, everyone: Rows) -> None:
    """Refuses labels that the network has no output for, and outputs that are no classes."""
    outputs, largest = target.logits(everyone.features()).shape[1], int(everyone.labels().max())
    if largest >= outputs:
        raise InputError(
            f"{data.name} labels",
            expected=f"classes 0…{outputs - 1}, since the network has {outputs} outputs",
            got=f"up to {largest}",
            fix="of one output z a row wrap the Cell in one that answers with ops.concat((0 * z, z), 1)"
            if outputs == 1
            else "count classes from 0, and give the network that was trained on these labels",
        )
    if data.num_classes != outputs:
        got, fix = str(data.num_classes), f"say num_classes={outputs}, or give the network that belongs to the data"
        raise InputError(
            f"{data.name} num_classes", expected=f"{outputs}, as many as the network has outputs", got=got, fix=fix
        )


def make_arena(
    config: EvaluationConfig,
    ground: Ground,
    clean: Doors,
    *,
    seed: int,
    smoke: bool = False,
    progress: Progress | None = None,
    timed: Callable[[str], contextlib.AbstractContextManager[Any]] = lambda stage: contextlib.nullcontext(),
    entries: Mapping[str, Entry] | None = None,
) -> Arena:
    """The arena of an evaluation; `entries` take the place of the attackers that the configuration names.

    Raises:
        InputError: If none of the attackers that were asked for can take part, or rows of a kind are missing.
    """
    for purpose, rows in (("fit attackers on", ground.fit), ("judge attackers by", ground.judged)):
        for kind, samples in (("members", rows.members), ("non_members", rows.non_members)):
            if not len(samples):
                of = len(getattr(ground.everyone, kind))
                fix = "give more rows: 1,000 of either kind make figures worth reading"
                raise InputError(f"{kind} to {purpose}", expected="at least one", got=f"none of {of}", fix=fix)
    arena = Arena(
        chosen(config.attacks) if entries is None else entries,
        Terms(seed=seed, smoke=smoke, network_seed=seed + 3, max_queries=config.max_queries),
        clean=clean,
        fit_rows=ground.fit,
        eval_rows=ground.judged,
        everyone=ground.everyone,
        shadow_rows=ground.shadow,
        canaries=ground.canaries,
        knowledge=config.knowledge,
        adversary=config.adversary,
        progress=progress,
        timed=timed,
    )
    arena.check_somebody()
    return arena


def answers_of(clean: Doors, behind: Behind | None, everyone: Rows) -> Answers:
    """What the models say of the evaluation's rows."""
    samples = everyone.features()
    return Answers(
        labels=everyone.labels(),
        is_member=everyone.is_member(),
        indices=everyone.indices(),
        clean_probs=np.exp(clean.target.query(samples)),
        defended_probs=None if behind is None else np.exp(behind.doors.target.query(samples)),
    )


def report(
    trials: Sequence[Trial],
    arena: Arena,
    ground: Ground,
    target: Model,
    *,
    behind: Behind | None,
    shadow: Model | None,
    data: LabelledData,
    seed: int,
    settings: dict[str, object],
    smoke: bool = False,
    treated_alike: bool = True,
    trainings: Mapping[str, Training] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """The evaluation that the trials make.

    Args:
        trials: All trials.
        arena: Where they were held.
        ground: The rows.
        target: The trained model.
        behind: The defense in front of it, or None.
        shadow: The attacker's model, or None.
        data: The data set.
        seed: Decided everything that was random.
        settings: What was chosen.
        smoke: Whether the figures mean nothing.
        treated_alike: Whether members and non-members went through the same transforms.
        trainings: How the trainings went, by network.
        checkpoint: The file that the target came from; None if there is none.
    """
    answers = answers_of(arena.clean, behind, ground.everyone)
    shadow_accuracy = accuracy_of_shadow(shadow, ground)
    facts = target_facts(answers, test_accuracy=accuracy(target, ground.test), queries=arena.clean.target.queries)
    return assemble(
        trials,
        answers,
        dataset=data.name,
        synthetic=data.synthetic,
        smoke=smoke,
        seed=seed,
        settings=settings,
        versions=versions(),
        target=facts,
        shadow_accuracy=shadow_accuracy,
        defense=None if behind is None else defense_facts(behind, answers, target, ground.defender),
        not_run=arena.left_out(noised=behind is not None and behind.doors.noised),
        budgets=() if behind is None else _budgets(behind, trials, answers),
        checks=look_for_doubts(
            trials,
            answers,
            ground,
            target,
            behind=behind,
            shadow_accuracy=shadow_accuracy,
            data=data,
            seed=seed,
            smoke=smoke,
            treated_alike=treated_alike,
            trainings={**arena.trainings, **(trainings or {})},
            not_asked=arena.not_asked(noised=behind is not None and behind.doors.noised),
        ),
        canaries=arena.on_canaries,
        evidence=network_evidence(answers, target, data, checkpoint=checkpoint),
    )


def network_evidence(
    answers: Answers, target: Model, data: LabelledData, *, checkpoint: str | os.PathLike[str] | None = None
) -> Evidence:
    """What the evaluation of a network is about; arguments as of `report`."""
    return evidence_of(
        answers,
        network=target.kind,
        parameters=target.parameters(),
        digests={
            "checkpoint": None if checkpoint is None else sha256_of_file(Path(checkpoint)),
            "parameters": target.digest(),
            "data": data.fingerprint,
        },
    )


def defense_facts(behind: Behind, answers: Answers, target: Model, defender: Rows | None) -> DefenseFacts:
    """The defense and what it costs."""
    undefended, defended = utility(answers)
    told = None
    classifier = _classifier(behind.defense)
    if classifier is not None and defender is not None:
        called = classifier.member_probability(softmax(target.logits(defender.features()))) > 0.5
        told = float((called == defender.is_member()).mean())
    return DefenseFacts(
        name=behind.defense.name,
        config=behind.defense.describe()["config"],
        noise=behind.noise if behind.doors.noised else "none",
        keeps_labels=behind.defense.keeps_labels,
        classifier_accuracy=told,
        undefended=undefended,
        defended=defended,
        queries=behind.doors.target.queries,
    )


def accuracy_of_shadow(shadow: Model | None, ground: Ground) -> tuple[float, float] | None:
    """The shadow's accuracy on its own training rows and on others; None without a shadow."""
    if shadow is None or ground.shadow is None:
        return None
    return accuracy(shadow, ground.shadow.members), accuracy(shadow, ground.shadow.non_members)


def accuracy(network: Model, samples: Samples) -> float:
    """Share of the samples that a network classifies correctly."""
    return float((network.logits(samples.features).argmax(axis=1) == samples.labels).mean())


def look_for_doubts(
    trials: Sequence[Trial],
    answers: Answers,
    ground: Ground,
    target: Model,
    *,
    behind: Behind | None,
    shadow_accuracy: tuple[float, float] | None,
    data: LabelledData,
    seed: int,
    smoke: bool = False,
    treated_alike: bool = True,
    trainings: Mapping[str, Training] | None = None,
    not_asked: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Check, ...]:
    """Every doubt that the evaluation of a model can look into; arguments as of `report` and `Facts`."""
    again = None
    if behind is not None and behind.defense.is_random:
        differing, rows = behind.answers_differing(target, ground.everyone, seed=seed)
        averaged = any(trial.result.name.startswith("averaging") for trial in trials)
        again = AskedAgain(rows=rows, differing=differing, fresh_noise=behind.noise == "fresh", averaged=averaged)
    known = {"auditor": ground.fit} | ({} if ground.shadow is None else {"shadow": ground.shadow})
    facts = Facts(
        trials=trials,
        answers=answers,
        features=ground.everyone.features(),
        fitted_on={name: FitRows(indices=rows.indices(), features=rows.features()) for name, rows in known.items()},
        treated_alike=treated_alike,
        keeps_labels=None if behind is None else behind.defense.keeps_labels,
        trainings=trainings or {},
        shadow_accuracy=shadow_accuracy,
        asked_again=again,
        synthetic=data.synthetic,
        smoke=smoke,
        not_asked=not_asked,
    )
    return doubts(facts)


def _classifier(defense: Defense):
    return defense.classifier() if isinstance(defense, SearchDefense) else None


def _budgets(behind: Behind, trials: Sequence[Trial], answers: Answers) -> tuple[BudgetPoint, ...]:
    classifier = _classifier(behind.defense)
    if classifier is None or answers.defended_probs is None:
        return ()
    return published_budgets(
        trials,
        answers,
        g_clean=classifier.member_probability(answers.clean_probs),
        g_defended=classifier.member_probability(answers.defended_probs),
    )
