"""Attackers with a bank of shadow models: LiRA, RMIA, calibration, and a classifier that is fitted on the bank.

Each asks the model under attack what it asks the models of the bank, and compares the answers for each row. The bank
also finds the threshold: each of its models in turn is attacked with the help of the others.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from mindefense.attacks.bank_questions import LOG_ODDS, LOG_PROB
from mindefense.attacks.bank_statistics import (
    InAndOut,
    calibrated,
    fitted_a,
    lira,
    rmia,
    separations,
    tell_of_each_other,
)
from mindefense.attacks.base import Attack, check_fitted
from mindefense.attacks.label_only import is_image
from mindefense.errors import InputError
from mindefense.metrics import auc, best_threshold
from mindefense.targets.bank import ShadowBank, Statistic
from mindefense.targets.base import Target
from mindefense.types import Samples

FEWEST_MODELS = 4
"""Models of a bank below which too few are left to compare with while another plays the target."""
FEWEST_OTHERS = 2
"""Models that another one is compared with, at least."""
Values = Callable[[Statistic, Samples], np.ndarray]
"""A statistic and samples → its values ``(N,)`` for the model that is attacked."""


class BankAttack(Attack):
    """Scores rows by what a model answers and what the models of a bank answer.

    `fit` takes the bank in place of a target with known members. Scores depend on no row whose membership in the
    target's training data is known, so every row may judge.

    Attributes:
        threshold_: After `fit`: the threshold of the best balanced accuracy for the models of the bank, each attacked
            with the help of those that do not tell about it.
        bank_: After `fit`: the bank.
    """

    learns_from = ("online", "offline")
    fits_scores = False

    def fit(self, bank: ShadowBank) -> BankAttack:  # type: ignore[override]
        """Finds the threshold.

        Args:
            bank: Models that the attacker trained, with a pool of rows that some were trained on and others were not.

        Raises:
            InputError: If the bank has too few models, or no pool.
        """
        if (reason := too_few_models(bank)) is not None:
            raise InputError("shadows", expected="a bank to learn from", got=reason)
        self.bank_ = bank
        self._learn()
        return self

    def _learn(self) -> None:
        scores, held = self.on_the_bank()
        self.threshold_ = best_threshold(scores, held)

    def on_the_bank(self) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the models of the bank, each attacked with the help of others: all rows of the pool, and the truth.

        Returns:
            ``(M,)`` float64 scores and ``(M,)`` bool, whether that model was trained on that row.
        """
        return self._for_each_model(self._score)

    def _for_each_model(self, of: Callable[[Values, Samples, np.ndarray], np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """A function like `_score` of every model of the bank, and whether that model was trained on the row."""
        pool = self.bank_.rows
        held = self.bank_.trained_on(pool.indices)
        others = ~tell_of_each_other(held)
        enough = np.flatnonzero(others.sum(axis=1) >= FEWEST_OTHERS)
        # The answers of a model of the bank have been measured; it is not asked again.
        found = [of(functools.partial(self._measured, number), pool, others[number]) for number in enough]
        values, truth = np.concatenate(found), held[enough].ravel()
        # A row is nothing to compare if all of the other models were trained on it, and these are left out.
        is_known = ~np.isnan(values) if values.ndim == 1 else np.ones(len(values), bool)
        return values[is_known], truth[is_known]

    def _measured(self, number: int, statistic: Statistic, samples: Samples) -> np.ndarray:
        return self.bank_.measure(statistic, samples)[number]

    def score(self, target: Target, samples: Samples) -> np.ndarray:
        """``(N,)`` float64, higher = more likely a member."""
        check_fitted(self, "bank_")
        everybody = np.ones(len(self.bank_), bool)
        # Another model of the bank in the target's place has been measured with the bank.
        measured = self.bank_.measures_of(target)
        return self._score(measured or (lambda statistic, rows: statistic(target, rows)), samples, everybody)

    def separations(self, samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """How far apart the models of the bank that were and were not trained on a row are, as this attacker sees it.

        Returns:
            See `bank_statistics.separations`; None if the attacker compares no single statistic, or no model of the
            bank was trained on these rows.
        """
        return None

    @abc.abstractmethod
    def _score(self, values: Values, samples: Samples, by: np.ndarray) -> np.ndarray:
        """Scores of a model by its statistics, calibrated by those models of the bank that `by` ``(K,)`` bool names."""

    def _in_and_out(self, statistic: Statistic, samples: Samples, by: np.ndarray) -> InAndOut:
        return self._sides(lambda rows: self.bank_.measure(statistic, rows)[by], samples, by)

    def _sides(self, of_bank: Callable[[Samples], np.ndarray], samples: Samples, by: np.ndarray) -> InAndOut:
        """The two sides of a number of each model that `by` names, ``(k, n)`` for n samples."""
        bank, pool = self.bank_, self.bank_.rows
        # The pooled deviations are those of all rows of the pool, for every row that is scored.
        like = InAndOut.of(of_bank(pool), bank.trained_on(pool.indices)[by])
        sides = InAndOut.of(of_bank(samples), bank.trained_on(samples.indices)[by], like=like)
        # No model was trained on a row of the target, so a model of the bank must be attacked without such models too.
        return sides.out_alone() if bank.is_offline else sides


def too_few_models(bank: ShadowBank) -> str | None:
    """Why attackers cannot learn from a bank, in words for the user; None if they can."""
    if len(bank) < FEWEST_MODELS:
        return f"it has {len(bank)} shadow models and needs {FEWEST_MODELS}; train more of them"
    independent = ~tell_of_each_other(bank.trained_on(bank.rows.indices))
    if independent.sum(axis=1).max() < FEWEST_OTHERS:
        return (
            f"none of its {len(bank)} shadow models has {FEWEST_OTHERS} others that were trained on rows drawn "
            "independently; train each on another random half of the rows"
        )
    return None


class LiraAttack(BankAttack):
    """The likelihood ratio attack; see `bank_statistics.lira`.

    With several statistics, one for each query about a row, the log-likelihood ratios are added up, or the ratio of the
    mean of the statistics is taken, whichever has the larger AUC on the bank.

    Args:
        name: Name of the attack.
        statistics: What Gaussians are fitted to; the log-odds of the true class in the paper.

    Attributes:
        adds_: After `fit`: whether the ratios are added up.
    """

    def __init__(self, name: str = "lira", statistics: Sequence[Statistic] = (LOG_ODDS,)):
        self.name = name
        self.asks = _asks(statistics)
        self._statistics, self.adds_ = tuple(statistics), True

    def unsupported(self, samples: Samples) -> str | None:
        """Excludes samples without the variants that the statistics need."""
        if len(self._statistics) > 1 and not is_image(samples):
            return "the samples are not images, so there is nothing to shift"
        return None

    def separations(self, samples: Samples) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """See `BankAttack.separations`; of several statistics, it is that of their mean."""
        held = self.bank_.trained_on(samples.indices)
        if self.bank_.is_offline or not held.any():
            return None
        everybody, pool = np.ones(len(self.bank_), bool), self.bank_.rows
        like = InAndOut.of(self._mean_of_bank(pool, everybody), self.bank_.trained_on(pool.indices))
        return separations(self._mean_of_bank(samples, everybody), held, like=like)

    def _learn(self) -> None:
        if len(self._statistics) > 1:
            areas = []
            for self.adds_ in (True, False):
                areas.append(auc(*self.on_the_bank()))
            self.adds_ = areas[0] >= areas[1]
        super()._learn()

    def _score(self, values: Values, samples: Samples, by: np.ndarray) -> np.ndarray:
        if self.adds_:
            each = [lira(values(one, samples), self._in_and_out(one, samples, by)) for one in self._statistics]
            return np.sum(each, axis=0)
        mean = np.mean([values(one, samples) for one in self._statistics], axis=0)
        return lira(mean, self._sides(functools.partial(self._mean_of_bank, by=by), samples, by))

    def _mean_of_bank(self, samples: Samples, by: np.ndarray) -> np.ndarray:
        return np.mean([self.bank_.measure(one, samples)[by] for one in self._statistics], axis=0)


class CalibratedAttack(BankAttack):
    """The log-odds of the true class, minus their mean over models that were not trained on the row.

    Source:
        Watson, Guo, Cormode & Sablayrolles, ICLR 2022.
    """

    name = "calibrated"

    def _score(self, values: Values, samples: Samples, by: np.ndarray) -> np.ndarray:
        return calibrated(values(LOG_ODDS, samples), self._in_and_out(LOG_ODDS, samples, by))


class RmiaAttack(BankAttack):
    """The relative membership inference attack; see `bank_statistics.rmia`.

    Args:
        gamma: By how much the ratio of a row must exceed that of a population row; 2 in the paper.

    Attributes:
        a_: After `fit`: the constant of rows that no model was trained on. Offline it is the one with the largest AUC
            on the bank; online it is fitted to the rows of the pool.
    """

    name = "rmia"
    _CONSTANTS = (0.0, 0.33, 0.67, 1.0)

    def __init__(self, gamma: float = 2.0):
        if not gamma >= 1:
            raise InputError("gamma", expected="a number of at least 1", got=repr(gamma))
        self.gamma, self.a_ = gamma, 0.0

    def _learn(self) -> None:
        if self.bank_.is_offline:
            areas = []
            for constant in self._CONSTANTS:
                self.a_ = constant
                areas.append(auc(*self.on_the_bank()))
            self.a_ = self._CONSTANTS[int(np.argmax(areas))]
        else:
            rows = self.bank_.rows
            probs = np.exp(self.bank_.measure(LOG_PROB, rows))
            self.a_ = fitted_a(probs, self.bank_.trained_on(rows.indices))
        super()._learn()

    def _score(self, values: Values, samples: Samples, by: np.ndarray) -> np.ndarray:
        bank = self.bank_
        # Without a population, a row is compared with the pool: `samples` may be members alone.
        population = bank.rows if bank.population is None else bank.population
        probs, pool_held = (
            np.exp(bank.measure(LOG_PROB, bank.rows)[by]),
            bank.trained_on(bank.rows.indices)[by],
        )
        return rmia(
            values(LOG_PROB, samples),
            bank.measure(LOG_PROB, samples)[by],
            bank.trained_on(samples.indices)[by],
            population=values(LOG_PROB, population),
            bank_on_population=bank.measure(LOG_PROB, population)[by],
            population_held=bank.trained_on(population.indices)[by],
            gamma=self.gamma,
            a=self.a_,
            is_offline=bank.is_offline,
            like=InAndOut.of(probs, pool_held, each_row=False),
        )


class BankClassifierAttack(BankAttack):
    """A classifier that learns from the models of the bank how members differ from non-members.

    Each model of the bank plays the target once. The features of a row are, for each statistic, the value, its means
    over the other models that were and were not trained on the row, the differences from both, and the spread of the
    latter. Gradient boosting learns from them whether the model was trained on the row. This is LiRA with densities
    that are learned and not assumed.

    Args:
        name: Name of the attack.
        statistics: The statistics.
        seed: Seeds the classifier.
        rounds: Rounds of boosting.
    """

    def __init__(
        self,
        name: str = "bank-confidence",
        statistics: Sequence[Statistic] = (LOG_ODDS,),
        *,
        seed: int = 0,
        rounds: int = 200,
    ):
        self.name = name
        self.asks = _asks(statistics)
        self._statistics, self._seed, self._rounds = tuple(statistics), seed, rounds

    def _learn(self) -> None:
        from sklearn.ensemble import HistGradientBoostingClassifier

        features, truth = self._for_each_model(self._features)
        classifier = HistGradientBoostingClassifier(max_iter=self._rounds, learning_rate=0.05, random_state=self._seed)
        with threadpool_limits(1):  # sums and ties of splits do not depend on the machine's cores
            self.classifier_ = classifier.fit(features, truth)
        # A membership probability above the share of members is a likelihood ratio above 1; see `prior_threshold`.
        self.threshold_ = float(truth.mean())

    def _score(self, values: Values, samples: Samples, by: np.ndarray) -> np.ndarray:
        features = self._features(values, samples, by)
        with threadpool_limits(1):
            return self.classifier_.predict_proba(features)[:, 1].astype(np.float64)

    def _features(self, values: Values, samples: Samples, by: np.ndarray) -> np.ndarray:
        columns = []
        for one in self._statistics:
            mine, bank = values(one, samples), self._in_and_out(one, samples, by)
            columns += [mine, mine - bank.mean_out, bank.mean_out, bank.std_out]
            if not self.bank_.is_offline:
                columns += [mine - bank.mean_in, bank.mean_in]
        return np.column_stack(columns)


def _asks(statistics: Sequence[Statistic]) -> str:
    """What an attacker with these statistics queries; see `Attack.asks`."""
    return "samples" if all(one.asks == "samples" for one in statistics) else "variants"
