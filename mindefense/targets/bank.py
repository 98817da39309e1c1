"""The attacker's shadow models, and the rows that each was trained on. Needs only NumPy."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from mindefense.errors import InputError
from mindefense.targets.base import Model, Target
from mindefense.types import Samples


@dataclasses.dataclass(frozen=True)
class Statistic:
    """One number for each sample, computed from a model's answers.

    Attributes:
        name: Its name; two statistics of the same name are the same one.
        of: A model as a target and samples → ``(n,)`` float64, higher for samples that the model was trained on.
        asks: What it needs to know: the answers to the ``"samples"``, to changed samples (``"variants"``), or only the
            predicted classes of these (``"labels of variants"``). Answers to variants are not remembered, since there
            are many.
    """

    name: str
    of: Callable[[Target, Samples], np.ndarray]
    asks: str = "samples"

    def __call__(self, target: Target, samples: Samples) -> np.ndarray:
        """``(n,)`` float64 of n samples."""
        return self.of(target, samples)


class ShadowBank:
    """K ≥ 1 models that an attacker trained, all of them undefended or all behind the same defense.

    Args:
        targets: The K models as targets.
        in_training: ``(K, N)`` bool: whether the model was trained on the row of the data set.
        models: The K undefended models, to which a defense can be added; None if they are not available.
        pool: Rows that some of the models were trained on and others were not, from which attackers learn how members
            differ from non-members; None if there are none.
        population: Rows that no model was trained on and that are not judged; None if there are none.
        is_offline: Whether no model was trained on a judged row.
        labels_from: The same models in another state with the same predicted classes, whose measures of predicted
            classes are used; None if there is none.

    Raises:
        InputError: If there are no targets, or the matrix has another number of rows.

    Example:
        >>> bank = ShadowBank([Target(lambda x: np.log(x))], np.array([[True, False, True]]))
        >>> len(bank), bank.query(np.full((3, 2), 0.5, np.float32)).shape, bank.trained_on(np.array([2, 1])).tolist()
        (1, (1, 3, 2), [[True, False]])
    """

    def __init__(
        self,
        targets: Sequence[Target],
        in_training: np.ndarray,
        *,
        models: Sequence[Model] | None = None,
        pool: Samples | None = None,
        population: Samples | None = None,
        is_offline: bool = False,
        labels_from: ShadowBank | None = None,
    ):
        if not targets:
            raise InputError("shadows", expected="at least one model", got="none")
        if in_training.ndim != 2 or len(in_training) != len(targets):
            expected = f"({len(targets)}, N), a row for each model"
            raise InputError("in_training", expected=expected, got=str(in_training.shape))
        self.targets = tuple(targets)
        self.in_training = in_training
        self.models = () if models is None else tuple(models)
        self.pool, self.population, self.is_offline = pool, population, is_offline
        self._labels_from = labels_from
        self._part_of: tuple[ShadowBank, np.ndarray] | None = None
        self._measured: dict[str, list[tuple[Samples, np.ndarray]]] = {}

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, number: int) -> Target:
        """One of the models, as a target."""
        return self.targets[number]

    @property
    def rows(self) -> Samples:
        """`pool`, which must be there.

        Raises:
            InputError: If it is not.
        """
        if self.pool is None:
            raise InputError("shadows", expected="a bank with rows to learn from", got="no pool", fix="give it a pool")
        return self.pool

    def measure(self, statistic: Statistic, samples: Samples) -> np.ndarray:
        """``(K, n)`` float64: a statistic of each model for each sample, computed once for a row."""
        if self._part_of is not None:
            whole, chosen = self._part_of
            return whole.measure(statistic, samples)[chosen]
        if statistic.asks == "labels of variants" and self._labels_from is not None:
            return self._labels_from.measure(statistic, samples)
        known = self._measured.setdefault(statistic.name, [])
        for held, values in known:
            places = np.searchsorted(held.indices, samples.indices).clip(max=len(held) - 1)
            if _are_equal(held.take(places), samples):
                return values[:, places]
        with contextlib.ExitStack() as stack:
            for memory in () if statistic.asks == "samples" else (*self.models, *self.targets):
                stack.enter_context(memory.forgetting())
            values = np.stack([statistic(target, samples) for target in self.targets])
        order = np.argsort(samples.indices, kind="stable")
        known.append((samples.take(order), values[:, order]))
        return values

    def measures_of(self, target: Target) -> Callable[[Statistic, Samples], np.ndarray] | None:
        """Statistics of a model of the bank that this one is a part of, ``(n,)`` for n samples; None for others."""
        if self._part_of is None:
            return None
        whole, _ = self._part_of
        for number, one in enumerate(whole.targets):
            if one is target:
                return lambda statistic, samples: whole.measure(statistic, samples)[number]
        return None

    def behind(self, targets: Sequence[Target], *, keeps_labels: bool) -> ShadowBank:
        """The same models behind a defense.

        Args:
            targets: The K models as targets behind it.
            keeps_labels: Whether the defense keeps predicted classes.
        """
        rows = {"pool": self.pool, "population": self.population, "is_offline": self.is_offline}
        same = self if keeps_labels else None
        return ShadowBank(targets, self.in_training, models=self.models, **rows, labels_from=same)

    def take(self, chosen: np.ndarray) -> ShadowBank:
        """The bank of some of the models, which shares what was measured.

        Args:
            chosen: ``(k,)`` numbers of the models.
        """
        part = ShadowBank(
            [self.targets[number] for number in chosen],
            self.in_training[chosen],
            models=[self.models[number] for number in chosen] if self.models else None,
            pool=self.pool,
            population=self.population,
            is_offline=self.is_offline,
        )
        part._part_of = self, chosen
        return part

    def check_without(self, indices: np.ndarray, is_member: np.ndarray) -> None:
        """Refuses a bank that the target belongs to, or that was trained on just the target's members or non-members.

        Args:
            indices: ``(n,)`` positions in the data set of the evaluated rows.
            is_member: ``(n,)`` bool: whether the target was trained on them.

        Raises:
            InputError: If a model was trained on nearly the same of these rows as the target, or on nearly all others.
        """
        for number, held in enumerate(self.trained_on(indices)):
            if held.any() and not held.all() and abs(np.corrcoef(held, is_member)[0, 1]) >= _THE_TARGETS:
                raise InputError(
                    f"rows of shadow model {number}",
                    expected="a random half of the evaluated rows",
                    got="the members of the target" if (held == is_member).mean() > 0.5 else "its non-members",
                    fix="leave the target out of the bank, and train models on rows that are drawn at random",
                )

    def query(self, samples: np.ndarray) -> np.ndarray:
        """``(K, n, C)`` float32 log-probabilities of ``(n, ...)`` samples."""
        return np.stack([target.query(samples) for target in self.targets])

    def trained_on(self, indices: np.ndarray) -> np.ndarray:
        """``(K, n)`` bool: whether each model was trained on each of these rows of the data set."""
        held = np.zeros((len(self), len(indices)), bool)
        known = indices < self.in_training.shape[1]
        held[:, known] = self.in_training[:, indices[known]]
        return held


def _are_equal(one: Samples, other: Samples) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("indices", "labels", "features"))


def trained_on(rows: Sequence[np.ndarray], *, of: int = 0) -> np.ndarray:
    """``(K, N)`` bool from the training rows of K models, which are positions in a data set of at least `of` rows."""
    size = max([of, *(int(one.max()) + 1 for one in rows if len(one))])
    held = np.zeros((len(rows), size), bool)
    for line, one in zip(held, rows, strict=True):
        line[one] = True
    return held


_THE_TARGETS = 0.9
"""Correlation of a model's training rows with the target's from which it was not trained on a random half."""
LEARNED_FROM = 1000
"""Largest number of rows of an offline bank that attackers learn from; models are trained on all."""
POPULATION = 2000
"""Largest number of rows that an attack compares others with."""
_POPULATION_SHARE = 1 / 6
"""Share of the rows of an offline bank that no model is trained on."""


@dataclasses.dataclass(frozen=True, eq=False)
class BankRows:
    """Which rows a bank is about.

    Attributes:
        pool: ``(N,)`` positions in the data set of the rows that the models are trained on, each on some of them.
        population: ``(Z,)`` positions of rows that no model is trained on and that are not judged.
        size: Rows of the pool that each model is trained on.
        fillers: ``(F,)`` positions of rows that are neither in the pool nor in the population.
        more: Rows of `fillers` that each model is trained on besides, so that it has as many rows as the target.
    """

    pool: np.ndarray
    population: np.ndarray
    size: int
    fillers: np.ndarray
    more: int

    def of_models(self, count: int, *, seed: int) -> list[np.ndarray]:
        """Positions in the data set of the rows that each of `count` models is trained on; see `assign_rows`."""
        chosen = []
        for number, held in enumerate(assign_rows(len(self.pool), self.size, count, seed=seed)):
            rows = self.pool[held]
            if self.more:
                drawn = np.random.default_rng((seed, number, 1)).permutation(self.fillers)[: self.more]
                rows = np.concatenate((rows, drawn))
            chosen.append(rows)
        return chosen


def bank_rows(
    rows: int, judged: np.ndarray, members: np.ndarray, *, offline: bool, seed: int, most: int = POPULATION
) -> BankRows:
    """Chooses the rows of a bank.

    The pool of an online bank are the judged rows: the attacker knows them, but not which are members. If the target
    was trained on more rows than half of these, each model is trained on other rows besides. The pool of an offline
    bank are rows that are neither judged nor members of the target.

    Args:
        rows: Number of rows of the data set.
        judged: ``(N,)`` positions of the rows that attackers are evaluated on.
        members: ``(M,)`` positions of the rows that the target was trained on.
        offline: Whether no model is trained on a judged row.
        seed: Seed of the choice.
        most: Largest number of rows of the population.

    Raises:
        InputError: If there are too few rows for two models.
    """
    fillers = np.empty(0, np.int64)
    others = np.setdiff1d(np.arange(rows), np.union1d(judged, members))
    others = np.random.default_rng(seed).permutation(others)
    if offline:
        count = min(most, int(len(others) * _POPULATION_SHARE))
        population, pool = others[:count], others[count:]
    else:
        pool, population = judged, others[:most]
        fillers = np.setdiff1d(np.arange(rows), np.union1d(judged, population))
    size = min(len(members), len(pool) // 2)
    if size < 1:
        raise InputError(
            f"rows for {'offline' if offline else 'online'} shadow models",
            expected="rows that are neither evaluated nor members of the target" if offline else "evaluated rows",
            got=str(len(pool)),
            fix="evaluate fewer rows, or train the other kind",
        )
    return BankRows(pool, population, size, fillers, min(len(members) - size, len(fillers)))


def assign_rows(pool: int, size: int, count: int, *, seed: int) -> np.ndarray:
    """Which model of a bank is trained on which rows of a pool.

    The models come in pairs that share no row, and pairs are drawn independently of each other. Where a model takes
    half of the pool, every row is in one model of each pair, so that all rows are in as many models. More models of the
    same seed leave the first ones as they are, so that a bank can grow.

    Args:
        pool: Rows of the pool, N.
        size: Training rows of a model, at most half of the pool.
        count: Models, K.
        seed: Decides which rows.

    Returns:
        ``(K, N)`` bool with `size` rows in each line.

    Raises:
        InputError: If the pool is smaller than two models need.

    Example:
        >>> held = assign_rows(4, 2, 2, seed=0)
        >>> held.sum(axis=0).tolist(), held.sum(axis=1).tolist()
        ([1, 1, 1, 1], [2, 2])
    """
    if not 1 <= size <= pool // 2:
        raise InputError("pool", expected=f"at least {2 * size} rows, for two models of {size}", got=str(pool))
    held = np.zeros((count, pool), bool)
    for number in range(count):
        order = np.random.default_rng((seed, number // 2)).permutation(pool)
        first = number % 2 * size
        held[number, order[first : first + size]] = True
    return held
