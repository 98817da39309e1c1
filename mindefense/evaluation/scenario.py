"""Scenarios: one target, undefended or behind one defense, with the attacker's models and the rows.

Every kind of evaluation (of a model, a study, recorded outputs, or several defenses) builds scenarios and runs the
attackers on them in the same way.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mindefense.data import Split, check_split
from mindefense.errors import InputError
from mindefense.targets.bank import ShadowBank, trained_on
from mindefense.targets.base import Model, Target, clean_target
from mindefense.types import LabelledData, Samples

if TYPE_CHECKING:
    from mindefense.defenses.base import Defense

_ASKED_AGAIN = 64
"""Number of members, and of non-members, that a defended model is queried with twice, to compare the answers."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Members and non-members of one model.

    Attributes:
        members: Samples that the model was trained on.
        non_members: Samples that it was not trained on.
    """

    members: Samples
    non_members: Samples

    def __len__(self) -> int:
        return len(self.members) + len(self.non_members)

    def divide(self, seed: int, *, share: float = 0.5) -> tuple[Rows, Rows]:
        """Divides the rows at random into rows to fit attackers on and rows to evaluate them on.

        The draw is stratified by membership and class. Otherwise a class with more members in the first part would
        have fewer in the second, and an attacker that uses the class would do worse than chance. A class with equal
        numbers of members and non-members has equal numbers in both parts, because both are rounded alike.

        Args:
            seed: Seed of the draw.
            share: Share of the members, and of the non-members, to fit on, 0 … 1.

        Returns:
            The rows to fit on and the rows to evaluate on, without a common row.
        """
        rng = np.random.default_rng(seed)
        classes = np.unique(self.labels())
        precedence = rng.permutation(len(classes))  # of the classes in rounding; the same for both kinds
        pairs = []
        for samples in (self.members, self.non_members):
            order = rng.permutation(len(samples))
            column = np.searchsorted(classes, samples.labels[order])
            counts = np.bincount(column, minlength=len(classes))
            quotas = _quotas(counts, share, precedence)
            by_class = np.argsort(column, kind="stable")
            place = np.empty(len(order), np.int64)  # rank of each row within its class, in the order drawn
            place[by_class] = np.arange(len(order)) - (np.cumsum(counts) - counts)[column[by_class]]
            is_fit = place < quotas[column]
            pairs.append((samples.take(order[is_fit]), samples.take(order[~is_fit])))
        (fit_members, eval_members), (fit_non_members, eval_non_members) = pairs
        return Rows(fit_members, fit_non_members), Rows(eval_members, eval_non_members)

    def first(self, count: int | None) -> Rows:
        """The first `count` members and the first `count` non-members; None for all."""
        return Rows(*(samples.take(np.arange(len(samples))[:count]) for samples in (self.members, self.non_members)))

    def by_membership(self, held: np.ndarray) -> Rows:
        """The same rows as members and non-members of another model.

        Args:
            held: ``(N,)`` bool in the order of `features`: whether that model was trained on the row.
        """
        both = Samples(self.features(), self.labels(), self.indices())
        return Rows(both.take(np.flatnonzero(held)), both.take(np.flatnonzero(~held)))

    def features(self) -> np.ndarray:
        """``(N, ...)`` features of the members, then of the non-members."""
        return np.concatenate((self.members.features, self.non_members.features))

    def labels(self) -> np.ndarray:
        """``(N,)`` labels, in the order of `features`."""
        return np.concatenate((self.members.labels, self.non_members.labels))

    def indices(self) -> np.ndarray:
        """``(N,)`` positions in the data set, in the order of `features`."""
        return np.concatenate((self.members.indices, self.non_members.indices))

    def is_member(self) -> np.ndarray:
        """``(N,)`` bool, in the order of `features`."""
        return np.arange(len(self.members) + len(self.non_members)) < len(self.members)


def _quotas(counts: np.ndarray, share: float, precedence: np.ndarray) -> np.ndarray:
    """Number of rows of each class to fit on: `share` of each, rounded so that the sum is `share` of all rows.

    The largest remainders are rounded up (Hamilton's method); `precedence` decides between equal ones.
    """
    wanted = counts * share
    quotas = np.floor(wanted + 1e-9).astype(np.int64)
    left = int(counts.sum() * share + 1e-9) - int(quotas.sum())
    remainders = np.round(wanted - quotas, 9)
    quotas[np.lexsort((precedence, -remainders))[:left]] += 1
    return quotas


@dataclasses.dataclass(frozen=True, eq=False)
class EvaluationSets:
    """The rows of an evaluation.

    Attributes:
        everyone: Members and non-members of the target. Attackers that are not fitted on any are evaluated on all.
        known: The part of `everyone` that auditors are fitted on.
        judged: The rest of `everyone`, on which auditors are evaluated.
        test: Rows for the target's test accuracy; None if there are none.
        shadow: Members and non-members of the shadow model; None without one.
        defender: Members and non-members that defenses are fitted on; None if there are none.
        canaries: Mislabeled members and non-members, in no other set; None if there are none.
        labelled: Whether the samples' labels are true classes.
        treated_alike: Whether members and non-members went through the same transforms; None if unknown.
        target_rows: Number of rows that the target was trained on; None if unknown.
    """

    everyone: Rows
    known: Rows
    judged: Rows
    test: Samples | None = None
    shadow: Rows | None = None
    defender: Rows | None = None
    canaries: Rows | None = None
    labelled: bool = True
    treated_alike: bool | None = True
    target_rows: int | None = None

    @classmethod
    def of(cls, data: LabelledData, split: Split, *, seed: int, fit_share: float = 0.5) -> EvaluationSets:
        """The rows that a split gives each role.

        Raises:
            InputError: If a role lacks rows that it needs, or a row has two roles that exclude each other.
        """
        check_split(split, len(data))

        def rows(role: str) -> Rows | None:
            members, non_members = (getattr(split, f"{role}_{kind}") for kind in ("members", "non_members"))
            return Rows(data.take(members), data.take(non_members)) if len(members) else None

        everyone = rows("eval")
        assert everyone is not None
        known, judged = everyone.divide(seed, share=fit_share)
        test = data.take(split.target_non_members)
        return cls(
            everyone, known, judged,
            test=test, shadow=rows("attacker"), defender=rows("defender"), target_rows=len(split.target_members),
        )  # fmt: skip

    def by_membership(self, held: np.ndarray, *, seed: int, keep_division: bool = False) -> EvaluationSets:
        """The same rows, for a model that was trained on others of them.

        Args:
            held: ``(N,)`` bool in the order of ``everyone.indices()``: whether it was trained on the row.
            seed: Seed of the division into `known` and `judged`.
            keep_division: Whether the division stays as it is, since a defense was fitted on `known`.
        """
        everyone = self.everyone.by_membership(held)
        if keep_division:
            places = {index: place for place, index in enumerate(self.everyone.indices().tolist())}
            known, judged = (
                rows.by_membership(held[[places[index] for index in rows.indices().tolist()]])
                for rows in (self.known, self.judged)
            )
        else:
            known, judged = everyone.divide(seed, share=len(self.known) / len(self.everyone))
        return dataclasses.replace(
            self, everyone=everyone, known=known, judged=judged, canaries=None, test=None, defender=None
        )

    def check(self) -> None:
        """Raises InputError if there are no rows to fit or evaluate on, or if these overlap."""
        for purpose, rows in (("fit attackers on", self.known), ("evaluate attackers on", self.judged)):
            for kind in ("members", "non_members"):
                if not len(getattr(rows, kind)):
                    of = len(getattr(self.everyone, kind))
                    fix = "give more rows: useful figures need about 1,000 members and 1,000 non-members"
                    raise InputError(f"{kind} to {purpose}", expected="at least one", got=f"none of {of}", fix=fix)
        check_disjoint(self.known, self.judged)
        if self.shadow is not None:
            check_disjoint(self.shadow, self.everyone)
        if self.canaries is not None:
            for rows in (self.everyone, self.known, *([] if self.shadow is None else [self.shadow])):
                check_disjoint(rows, self.canaries)


def check_disjoint(fit: Rows, judged: Rows) -> None:
    """Raises InputError if an attack would be evaluated on a row that it was fitted on."""
    asked = judged.indices()
    shared = np.intersect1d(fit.indices(), asked)
    if shared.size:
        raise InputError(
            "eval_rows",
            expected="samples that the attack is not fitted on",
            got=f"{shared.size} of {asked.size} that it is fitted on, the first is row {shared[0]}",
            fix="split the rows by index before anything is fitted",
        )


@dataclasses.dataclass(frozen=True)
class DefendedBy:
    """The defense of a scenario.

    Attributes:
        defense: The defense; None if only its answers were recorded.
        noise: ``"keyed"`` or ``"fresh"``; ``"unknown"`` if only its answers were recorded.
        knows: Whether it was fitted on the rows that auditors are fitted on. Then no attacker is evaluated on these
            rows, because the defense treats them differently from others.
    """

    defense: Defense | None
    noise: str
    knows: bool = False

    @property
    def is_random(self) -> bool:
        """Whether answers depend on secret noise, so that repeated or similar queries may reveal more."""
        return self.defense is not None and self.defense.is_random


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """One state of one target, undefended or defended, that attackers are run on.

    Attributes:
        target: The model under attack.
        sets: The rows.
        shadows: The attacker's shadow models, in the same state: behind the same defense, with the attacker's own key;
            None if there are none.
        banks: The attacker's banks of shadow models, in the same state. The models of ``"online"`` were each trained
            on half of the evaluated rows, those of ``"offline"`` on none of them.
        defense: The defense of all these models; None if they are undefended.
        model: The undefended model of `target`, for defenders and reports, whose queries are not counted as the
            attacker's.
        answers_variants: Whether changed samples can be queried; False for recorded outputs.
    """

    target: Target
    sets: EvaluationSets
    shadows: ShadowBank | None = None
    banks: Mapping[str, ShadowBank] = dataclasses.field(default_factory=dict)
    defense: DefendedBy | None = None
    model: Model | None = None
    answers_variants: bool = True

    @classmethod
    def undefended(
        cls,
        model: Model,
        sets: EvaluationSets,
        *,
        shadow: Model | None = None,
        banks: Mapping[str, ShadowBank] | None = None,
    ) -> Scenario:
        """The undefended scenario of a model.

        Args:
            model: The model under attack.
            sets: The rows.
            shadow: A shadow model trained on the members of ``sets.shadow``; None if there is none.
            banks: Banks of shadow models by kind.
        """
        shadows = None
        if shadow is not None:
            held = np.empty(0, np.int64) if sets.shadow is None else sets.shadow.members.indices
            shadows = ShadowBank([clean_target(shadow)], trained_on([held]), models=[shadow])
        return cls(clean_target(model), sets, shadows, dict(banks or {}), model=model)

    def behind(
        self,
        defense: Defense,
        *,
        seed: int,
        noise: str = "keyed",
        knows: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> Scenario:
        """The same models behind a defense, each with its own key.

        The keys are derived from the seed, so that an evaluation can be repeated; a served model has a random key.

        Args:
            defense: The defense that reshapes the answers.
            seed: Seed of the keys.
            noise: ``"keyed"`` or ``"fresh"``; see `EvaluationConfig`.
            knows: Whether the defense was fitted on the rows that auditors are fitted on.
            on_progress: Called with the number of rows that were just reshaped.
        """
        from mindefense.defenses.target import defended_target

        def defended(model: Model, role: str) -> Target:
            key = hashlib.sha256(f"{role} {seed}".encode()).digest()
            return defended_target(model, defense, key=key, noise=noise, on_progress=on_progress)

        assert self.model is not None

        def bank_behind(bank: ShadowBank, role: str) -> ShadowBank:
            if not bank.models:
                expected, fix = "the models themselves, to defend them", "give ShadowBank(…, models=)"
                raise InputError("shadows", expected=expected, got="their answers alone", fix=fix)
            roles = [role if not number else f"{role} {number}" for number in range(len(bank))]
            targets = [defended(model, name) for model, name in zip(bank.models, roles, strict=True)]
            return bank.behind(targets, keeps_labels=defense.keeps_labels)

        return dataclasses.replace(
            self,
            target=defended(self.model, "target"),
            shadows=None if self.shadows is None else bank_behind(self.shadows, "shadow"),
            banks={kind: bank_behind(bank, kind) for kind, bank in self.banks.items()},
            defense=DefendedBy(defense, noise, knows),
        )

    def with_target(self, number: int, others: np.ndarray, sets: EvaluationSets) -> Scenario:
        """The scenario with a model of the online bank in the target's place.

        Args:
            number: The model's number in the bank.
            others: ``(k,)`` numbers of the models that remain in the bank.
            sets: The rows, by their membership in that model's training data.
        """
        bank = self.banks["online"]
        return dataclasses.replace(
            self,
            target=bank[number],
            model=bank.models[number] if bank.models else None,
            sets=sets,
            banks={**self.banks, "online": bank.take(others)},
        )

    def answers_differing(self, *, seed: int) -> tuple[int, int]:
        """Sends the same queries twice to the defended model.

        Args:
            seed: As given to `behind`.

        Returns:
            The number of rows whose two answers differ, and the number of rows queried.
        """
        assert self.defense is not None
        assert self.defense.defense is not None
        rows = self.sets.everyone.first(_ASKED_AGAIN).features()
        before = self.target.query(rows)
        if self.target.varies:
            again = self.target.query(rows, again=1)
        else:
            # The target stores its answers. A second target of the same model and key has to compute them again.
            same = dataclasses.replace(self, shadows=None, banks={})
            again = same.behind(self.defense.defense, seed=seed, noise=self.defense.noise).target.query(rows)
        return int((before != again).any(axis=1).sum()), len(rows)
