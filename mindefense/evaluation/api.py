"""Evaluation of a trained model: `evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mindefense.attacks.base import Attack
from mindefense.attacks.registry import AttackContext, AttackSpec
from mindefense.data import Split
from mindefense.defenses.base import Defense
from mindefense.errors import InputError
from mindefense.evaluation.attackers import ADVERSARIES, BANKS, KNOWLEDGE, attackers_of, names_of
from mindefense.evaluation.config import EvaluationConfig
from mindefense.evaluation.other_targets import check_others
from mindefense.evaluation.runner import AttackRunner
from mindefense.evaluation.scenario import EvaluationSets, Rows, Scenario
from mindefense.evaluation.summary import Subject, answers_of, summarize
from mindefense.progress import Progress, progress_of
from mindefense.targets.bank import ShadowBank
from mindefense.targets.base import Model
from mindefense.targets.kinds import ClassifierTarget, model_of
from mindefense.types import Evaluation, LabelledData


def evaluate(
    target: Any,
    data: LabelledData,
    split: Split,
    *,
    attacks: Sequence[str] | Mapping[str, AttackSpec | type[Attack]] | None = None,
    own_attacks: Mapping[str, AttackSpec | type[Attack]] | None = None,
    knowledge: Sequence[str] = KNOWLEDGE,
    adversary: Sequence[str] = ADVERSARIES,
    defense: Defense | None = None,
    shadow: Any = None,
    shadows: ShadowBank | Sequence[ShadowBank] = (),
    noise: str = "keyed",
    seed: int = 0,
    fit_share: float = 0.5,
    max_queries: int = 1000,
    targets: int = 0,
    progress: Progress | bool | None = None,
) -> Evaluation:
    """Attacks a trained model, without a defense and, if one is given, with it.

    Auditors are fitted on known members and non-members of the target itself, shadow attackers on a model that the
    attacker trained. Static attackers do not know of the defense and are fitted on undefended answers. Adaptive
    attackers are fitted on answers that the same defense has reshaped; for the shadow model, the defense has the
    attacker's own key and noise.

    Args:
        target: The trained model: a MindSpore Cell or a PyTorch module from samples to logits, a fitted scikit-learn
            classifier, or a function from samples to probabilities. `Network`, `TorchTarget` and `FunctionTarget` take
            further settings.
        data: The data set.
        split: The rows of each role, such as the target's members and non-members.
        attacks: Names of attackers; None for all. If a mapping in the format of `own_attacks` is given, only its
            attackers and the gap attack are run.
        own_attacks: User-defined attackers by name, in addition to `attacks`: classes whose constructor needs no
            arguments, or `AttackSpec` objects.
        knowledge: ``"auditor"``, ``"shadow"`` or both.
        adversary: ``"static"``, ``"adaptive"`` or both.
        defense: The defense that reshapes the answers; None to evaluate only the undefended model.
        shadow: A model that the attacker trained on the split's attacker rows; None for no shadow attackers.
        shadows: A bank of shadow models from `train_shadows`, or an online and an offline one, for the attackers that
            find the most; without a bank these do not run.
        noise: ``"keyed"`` or ``"fresh"``; see `EvaluationConfig`.
        seed: Seed of everything that is random.
        fit_share: Share of the evaluation's rows that auditors are fitted on, 0 … 1.
        max_queries: Largest number of queries per sample, for attackers that search.
        targets: Number of models of the online bank in `shadows` that are attacked in the target's place, each with
            the help of the others; 0 for none. Shows whether the target leaks as much as other models that were trained
            in the same way.
        progress: True for a progress display, False for none, None for one on a terminal or in a notebook; or an object
            with the methods ``stage`` and ``say``.

    Returns:
        The figures of every attacker with its threat model, and a verdict: the maximum over the attackers.

    Raises:
        InputError: If an argument is invalid, or the rows, the labels or the model do not match.
    """
    if not (defense is None or isinstance(defense, Defense)):
        got = f"the class {defense.__name__}" if isinstance(defense, type) else repr(defense)
        fix = "make one, as in Rounding(1), fit one with fit_defenmi, or load_defense(FILE)"
        raise InputError("defense", expected="a Defense", got=got, fix=fix)
    config = EvaluationConfig(names_of(attacks), tuple(knowledge), tuple(adversary), noise, max_queries, targets)
    runner, subject = prepared(
        target, data, split, config,
        attacks=attacks, own_attacks=own_attacks, shadow=shadow, shadows=shadows, seed=seed, fit_share=fit_share,
        progress=progress,
    )  # fmt: skip
    check_others(runner, targets)
    undefended = runner.undefended
    trials, scenario = runner.run(), undefended
    if defense is not None:
        scenario = undefended.behind(defense, seed=seed, noise=noise)
        trials += runner.run(scenario)
    return summarize(runner, scenario, trials, answers_of(undefended, scenario), subject, targets=targets)


def prepared(
    target: Any,
    data: LabelledData,
    split: Split,
    config: EvaluationConfig,
    *,
    attacks: Sequence[str] | Mapping[str, AttackSpec | type[Attack]] | None,
    own_attacks: Mapping[str, AttackSpec | type[Attack]] | None,
    shadow: Any,
    seed: int,
    fit_share: float,
    progress: Progress | bool | None,
    shadows: ShadowBank | Sequence[ShadowBank] = (),
) -> tuple[AttackRunner, Subject]:
    """The runner of the attackers and the description of the evaluation; arguments as in `evaluate` and `config`."""
    model = model_of(target)
    shadow = None if shadow is None else model_of(shadow, name="shadow")
    config = dataclasses.replace(config, attacks=names_of(attacks))
    context = AttackContext(seed=seed, max_queries=config.max_queries)
    attackers = attackers_of(
        attacks, own_attacks, context=context, knowledge=config.knowledge, adversary=config.adversary
    )
    sets = EvaluationSets.of(data, split, seed=seed, fit_share=fit_share)
    _ask(model, sets.everyone.features(), progress)
    _check_classes(model, data, sets.everyone)
    for one in (model, *(() if shadow is None else (shadow,))):
        one.check_repeats(sets.everyone.features())
    banks = _by_kind(shadows)
    for bank in banks.values():
        _check_like(model, bank, sets.everyone)
    runner = AttackRunner(attackers, Scenario.undefended(model, sets, shadow=shadow, banks=banks), progress=progress)
    runner.participants.check_somebody()
    own = [*(attacks if isinstance(attacks, Mapping) else ()), *(own_attacks or ())]
    settings = {
        **dataclasses.asdict(config),
        **({"own_attacks": tuple(own)} if own else {}),
        "split": split.name,
        "order": split.permutation,
        "seed": seed,
        "fit_share": fit_share,
        **({"shadows": {kind: len(bank) for kind, bank in banks.items()}} if banks else {}),
    }
    digests = {"data": data.fingerprint}
    subject = Subject(dataset=data.name, synthetic=data.synthetic, seed=seed, settings=settings, digests=digests)
    return runner, subject


def _by_kind(shadows: ShadowBank | Sequence[ShadowBank]) -> dict[str, ShadowBank]:
    """Banks by kind; at most one of each."""
    banks = [shadows] if isinstance(shadows, ShadowBank) else list(shadows)
    if wrong := [bank for bank in banks if not isinstance(bank, ShadowBank)]:
        got = type(wrong[0]).__name__
        raise InputError("shadows", expected="a ShadowBank", got=got, fix="train one with train_shadows")
    kinds = [BANKS[bank.is_offline] for bank in banks]
    if len(set(kinds)) < len(kinds):
        raise InputError("shadows", expected="one online and one offline bank at most", got=" and ".join(kinds))
    return dict(zip(kinds, banks, strict=True))


def _check_like(model: Model, bank: ShadowBank, everyone: Rows) -> None:
    """Refuses shadow models of another number of classes, and online ones that were trained on none of the rows."""
    one = everyone.features()[:1]
    classes, of_bank = model.logits(one).shape[1], bank[0].query(one).shape[1]
    if classes != of_bank:
        raise InputError("classes of the shadow models", expected=f"{classes}, those of the target", got=str(of_bank))
    held = bank.trained_on(everyone.indices())
    if bank.is_offline and held.any():
        expected, got = "none that is evaluated", f"{held.any(axis=0).sum()} of these"
        raise InputError("rows of the offline bank", expected=expected, got=got, fix="train it with this split")
    if not bank.is_offline and not held.any():
        raise InputError(
            "rows of the online bank", expected="evaluated ones", got="none", fix="train it with this split"
        )


def _ask(model: Model, samples: np.ndarray, progress: Progress | bool | None) -> None:
    """Queries a model, which stores its answers, and shows the progress."""
    on_rows, new = model.on_rows, model.new(samples)
    if not new:
        return
    with progress_of(progress).stage("ask target", new) as advance:

        def count(rows: int) -> None:
            advance(rows, "")
            if on_rows is not None:
                on_rows(rows)

        model.on_rows = count
        try:
            model.logits(samples)
        finally:
            model.on_rows = on_rows
        advance(0, f"{new} samples")


def _check_classes(target: Model, data: LabelledData, everyone: Rows) -> None:
    """Raises InputError if labels or `num_classes` do not match the number of the network's outputs."""
    outputs, largest = target.logits(everyone.features()).shape[1], int(everyone.labels().max())
    if isinstance(target, ClassifierTarget) and outputs != data.num_classes:
        fix = "fit it on rows of every class, or give a function that appends a column of zeros for each missing class"
        if outputs > data.num_classes:
            fix = f"set num_classes={outputs}, or give the classifier that was fitted on these data"
        raise InputError(
            f"classes of the {target.kind}",
            expected=f"{data.num_classes}, the number of classes of {data.name}",
            got=str(outputs),
            fix=fix,
        )
    if largest >= outputs:
        raise InputError(
            f"{data.name} labels",
            expected=f"classes 0…{outputs - 1}, since the network has {outputs} outputs",
            got=f"up to {largest}",
            fix="if the Cell has one output z per row, wrap it in a Cell that returns ops.concat((0 * z, z), 1)"
            if outputs == 1
            else "count classes from 0, and give the network that was trained on these labels",
        )
    if data.num_classes != outputs:
        got, fix = str(data.num_classes), f"set num_classes={outputs}, or give the network trained on these data"
        raise InputError(
            f"{data.name} num_classes", expected=f"{outputs}, the number of the network's outputs", got=got, fix=fix
        )
