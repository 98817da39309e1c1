"""Who is asked, in which state, on which rows: one target, undefended or behind one defense, and the attacker's models.

A `Scenario` is all that attackers are run on. Every kind of evaluation (a model, a study, recorded outputs, a
comparison of defenses) builds scenarios, and then goes the same way.
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
"""Rows of either kind that a defended model is asked about once more, to see whether its answers stay."""


@dataclasses.dataclass(frozen=True, eq=False)
class Rows:
    """Samples of both kinds.

    Attributes:
        members: Trained on.
        non_members: Not trained on.
    """

    members: Samples
    non_members: Samples

    def __len__(self) -> int:
        return len(self.members) + len(self.non_members)

    def divide(self, seed: int, *, share: float = 0.5) -> tuple[Rows, Rows]:
        """Rows to fit on and rows to judge on, drawn once and by index, so that no row is in both.

        The draw is made within membership and class. Otherwise a class with more members among the rows fitted on has
        fewer among those judged, and an attacker that sees the class is wrong more often than chance. A class with as
        many members as non-members keeps as many of either in both parts: where its share is no whole number, members
        and non-members are rounded alike.

        Args:
            seed: Decides which row goes where.
            share: Share of either kind to fit on.
        """
        rng = np.random.default_rng(seed)
        classes = np.unique(self.labels())
        precedence = rng.permutation(len(classes))  # of the classes whose shares are rounded; one for both kinds
        pairs = []
        for samples in (self.members, self.non_members):
            order = rng.permutation(len(samples))
            column = np.searchsorted(classes, samples.labels[order])
            counts = np.bincount(column, minlength=len(classes))
            quotas = _quotas(counts, share, precedence)
            by_class = np.argsort(column, kind="stable")
            place = np.empty(len(order), np.int64)  # of each row among those of its class, in the order drawn
            place[by_class] = np.arange(len(order)) - (np.cumsum(counts) - counts)[column[by_class]]
            is_fit = place < quotas[column]
            pairs.append((samples.take(order[is_fit]), samples.take(order[~is_fit])))
        (fit_members, eval_members), (fit_non_members, eval_non_members) = pairs
        return Rows(fit_members, fit_non_members), Rows(eval_members, eval_non_members)

    def first(self, count: int | None) -> Rows:
        """At most the first `count` of either kind; None for all."""
        return Rows(*(samples.take(np.arange(len(samples))[:count]) for samples in (self.members, self.non_members)))

    def features(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.features, self.non_members.features))

    def labels(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.labels, self.non_members.labels))

    def indices(self) -> np.ndarray:
        """Of the members, then of the non-members."""
        return np.concatenate((self.members.indices, self.non_members.indices))

    def is_member(self) -> np.ndarray:
        """``(N,)`` bool, in the order of `features`."""
        return np.arange(len(self.members) + len(self.non_members)) < len(self.members)


def _quotas(counts: np.ndarray, share: float, precedence: np.ndarray) -> np.ndarray:
    """How many rows of each class to fit on: the share of each, rounded so that their sum is the share of all rows.

    The largest remainders are rounded up (Hamilton's method); among equal ones, `precedence` decides.
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
        everyone: Members and non-members of the target, by which attackers that are not fitted on any are judged.
        known: Those of them that an auditor is fitted on.
        judged: The others of them, by which auditors are judged.
        test: Rows on which the target's accuracy is tested; None if there are none.
        shadow: Members and non-members of the attacker's models; None without one.
        defender: The defender's; None if there are none.
        canaries: Mislabeled members and non-members, none of them among the others; None if there are none.
        labelled: Whether the samples' labels are true classes.
        treated_alike: Whether members and non-members went through the same transforms; None if unknown.
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

    @classmethod
    def of(cls, data: LabelledData, split: Split, *, seed: int, fit_share: float = 0.5) -> EvaluationSets:
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
        known, judged = everyone.divide(seed, share=fit_share)
        test = data.take(split.target_non_members)
        return cls(everyone, known, judged, test=test, shadow=rows("attacker"), defender=rows("defender"))

    def check(self) -> None:
        """Raises InputError if there are no rows to fit or evaluate on, or rows to fit and to evaluate on overlap."""
        for purpose, rows in (("fit attackers on", self.known), ("judge attackers by", self.judged)):
            for kind in ("members", "non_members"):
                if not len(getattr(rows, kind)):
                    of = len(getattr(self.everyone, kind))
                    fix = "give more rows: 1,000 of either kind make figures worth reading"
                    raise InputError(f"{kind} to {purpose}", expected="at least one", got=f"none of {of}", fix=fix)
        check_disjoint(self.known, self.judged)
        if self.shadow is not None:
            check_disjoint(self.shadow, self.everyone)
        if self.canaries is not None:
            for rows in (self.everyone, self.known, *([] if self.shadow is None else [self.shadow])):
                check_disjoint(rows, self.canaries)


def check_disjoint(fit: Rows, judged: Rows) -> None:
    """Raises InputError if an attack would be judged by a row that it was fitted on."""
    asked = judged.indices()
    shared = np.intersect1d(fit.indices(), asked)
    if shared.size:
        raise InputError(
            "eval_rows",
            expected="samples that the attack is not fitted on",
            got=f"{shared.size} of {asked.size} that it is, the first is row {shared[0]}",
            fix="split the rows by index before anything is fitted",
        )


@dataclasses.dataclass(frozen=True)
class DefendedBy:
    """The defense of a scenario.

    Attributes:
        defense: The defense; None if only its answers were recorded.
        noise: ``"keyed"`` or ``"fresh"``; ``"unknown"`` if answers were recorded.
        knows: Whether it was fitted on the rows that auditors know. No attacker is then evaluated on these rows,
            because the defense treats them differently from others.
    """

    defense: Defense | None
    noise: str
    knows: bool = False

    @property
    def is_random(self) -> bool:
        """Whether answers depend on secret noise, so that asking again, or nearly the same, may tell more."""
        return self.defense is not None and self.defense.is_random


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """One state of one target, as attackers find it.

    Attributes:
        target: The model under attack.
        sets: The rows.
        shadows: The attacker's own models in the same state, each behind the same defense with a key of the attacker's
            own; None if there are none.
        banks: The attacker's banks of shadow models in the same state, likewise, by what they were trained on:
            ``"online"`` on half of the judged rows each, ``"offline"`` on none of them.
        defense: What stands in front of them; None if they are undefended.
        model: The undefended model behind `target`, for defenders and reports: what they ask is no attacker's query.
            None for recorded outputs.
        answers_variants: Whether changed samples are answered; recorded outputs cannot.
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
        """A model as it is, and the attacker's own: a shadow trained on the members of ``sets.shadow``, and banks."""
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
        """The same models behind a defense, each with a key of its own.

        The keys come from the seed, so that an evaluation can be repeated; a served model draws its key at random.

        Args:
            defense: What reshapes the answers.
            seed: Seeds the keys.
            noise: ``"keyed"`` or ``"fresh"``.
            knows: Whether the defense was fitted on the rows that auditors know.
            on_progress: Called with the number of rows that were just reshaped.
        """
        from mindefense.defenses.target import defended_target

        def door(model: Model, role: str) -> Target:
            key = hashlib.sha256(f"{role} {seed}".encode()).digest()
            return defended_target(model, defense, key=key, noise=noise, on_progress=on_progress)

        assert self.model is not None

        def bank_behind(bank: ShadowBank, role: str) -> ShadowBank:
            roles = [role if not number else f"{role} {number}" for number in range(len(bank))]
            targets = [door(model, name) for model, name in zip(bank.models, roles, strict=True)]
            return bank.behind(targets, keeps_labels=defense.keeps_labels)

        return dataclasses.replace(
            self,
            target=door(self.model, "target"),
            shadows=None if self.shadows is None else bank_behind(self.shadows, "shadow"),
            banks={kind: bank_behind(bank, kind) for kind, bank in self.banks.items()},
            defense=DefendedBy(defense, noise, knows),
        )

    def answers_differing(self, *, seed: int) -> tuple[int, int]:
        """Of how many rows the answer differed when the defended model was asked again, and of how many it was.

        Args:
            seed: As given to `behind`.
        """
        assert self.defense is not None
        assert self.defense.defense is not None
        rows = self.sets.everyone.first(_ASKED_AGAIN).features()
        before = self.target.query(rows)
        if self.target.varies:
            again = self.target.query(rows, again=1)
        else:
            # The target remembers; a second one of the same model, with the same key, does not.
            same = dataclasses.replace(self, shadows=None, banks={})
            again = same.behind(self.defense.defense, seed=seed, noise=self.defense.noise).target.query(rows)
        return int((before != again).any(axis=1).sum()), len(rows)
