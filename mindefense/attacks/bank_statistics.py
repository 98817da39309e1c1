"""Statistics of one model's answers beside those of a bank of shadow models: functions of arrays, in NumPy.

K models are the bank, N rows are asked about, and ``held`` says which model was trained on which row. A statistic is
one number for each model and row, higher for rows that the model was trained on.
"""

from __future__ import annotations

import dataclasses

import numpy as np

_PRIOR = 8
"""Degrees of freedom with which the variance over all rows counts in the variance of each row. With 32 models and
attackers of every model of Location's bank, 4 to 16 found most, more than either variance alone."""
_NORMAL_95 = 1.959964
"""Standard deviations of a Gaussian that hold 95% of it, on either side of the mean."""
_LEAST_STD = 1e-6
_ALIKE = 0.3
"""Correlation of two models' training rows above which one of them tells about the other, with few rows."""
_BEYOND_CHANCE = 4
"""The same with many rows, in standard deviations of the correlation of independent draws, 1 / √N."""


def log_odds(log_probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The logarithm of the odds of the true class: log p_y − log Σ p_k over the other classes.

    Args:
        log_probs: ``(N, C)`` log-probabilities.
        labels: ``(N,)`` true classes.

    Returns:
        ``(N,)`` float64, computed from the other classes' probabilities, since ``1 - p_y`` has no digits left where p_y
        is nearly 1.

    Source:
        Carlini et al., S&P 2022, section IV-B ("stable" logit scaling).

    Example:
        >>> log_odds(np.log([[0.8, 0.1, 0.1]]), np.array([0])).round(4).tolist()
        [1.3863]
    """
    rows = np.arange(len(labels))
    values = log_probs.astype(np.float64)
    true = values[rows, labels]
    values[rows, labels] = -np.inf
    largest = values.max(axis=1)
    return true - (largest + np.log(np.exp(values - largest[:, None]).sum(axis=1)))


@dataclasses.dataclass(frozen=True, eq=False)
class InAndOut:
    """A statistic of the models that were trained on a row (in), and of those that were not (out).

    Attributes:
        mean_in: ``(N,)`` float64; NaN for a row that no model was trained on.
        mean_out: ``(N,)`` float64; NaN for a row that all models were trained on.
        std_in: ``(N,)`` float64 above 0.
        std_out: ``(N,)`` float64 above 0.
        pooled: Standard deviations of "in" and of "out", pooled over all rows; NaN without two models of any row.
        usual: Mean difference between "in" and "out" over all rows; 0 if it is unknown.
        is_offline: Whether the models that were trained on a row are left out.
    """

    mean_in: np.ndarray
    mean_out: np.ndarray
    std_in: np.ndarray
    std_out: np.ndarray
    pooled: tuple[float, float] = (float("nan"), float("nan"))
    usual: float = 0.0
    is_offline: bool = False

    @classmethod
    def of(
        cls, values: np.ndarray, held: np.ndarray, *, each_row: bool = True, like: InAndOut | None = None
    ) -> InAndOut:
        """Means and standard deviations of ``(K, N)`` values.

        Args:
            values: The statistic, for each model and row.
            held: ``(K, N)`` bool: which model was trained on which row.
            each_row: Whether each row has standard deviations of its own, drawn towards those over all rows, the more
                the fewer models there are; False for those over all rows.
            like: Other rows to take `pooled` and `usual` from. Rows that are scored in several parts, such as members
                and non-members, need the same ones; otherwise the parts would differ by more than their answers.
        """
        (mean_in, squares_in, n_in), (mean_out, squares_out, n_out) = (_moments(values, one) for one in (held, ~held))
        if like is None:
            pooled = _pooled(squares_in, n_in), _pooled(squares_out, n_out)
            differences = mean_in - mean_out
            usual = 0.0 if np.isnan(differences).all() else float(np.nanmean(differences))
        else:
            pooled, usual = like.pooled, like.usual
        std_in, std_out = (
            _deviations(squares, n, one, each_row=each_row)
            for squares, n, one in ((squares_in, n_in, pooled[0]), (squares_out, n_out, pooled[1]))
        )
        # A side without two models of any row takes the spread of the other side.
        std_in, std_out = (np.where(np.isnan(one), other, one) for one, other in ((std_in, std_out), (std_out, std_in)))
        std_in, std_out = (np.maximum(np.nan_to_num(std, nan=1.0), _LEAST_STD) for std in (std_in, std_out))
        return cls(mean_in, mean_out, std_in, std_out, pooled, usual)

    def out_alone(self) -> InAndOut:
        """The same, without what the models that were trained on a row say."""
        return dataclasses.replace(
            self, mean_in=np.full_like(self.mean_in, np.nan), std_in=self.std_out, is_offline=True
        )

    def filled(self) -> tuple[np.ndarray, np.ndarray]:
        """The two means, where a missing one is estimated from the other and the usual difference between them."""
        mean_in = np.where(np.isnan(self.mean_in), self.mean_out + self.usual, self.mean_in)
        return mean_in, np.where(np.isnan(self.mean_out), self.mean_in - self.usual, self.mean_out)


def _moments(values: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the chosen values of each row ``(N,)`` each: mean, NaN without values; sum of squares; and number."""
    counts = chosen.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(chosen, values, 0.0).sum(axis=0) / counts
    return mean, np.where(chosen, (values - mean) ** 2, 0.0).sum(axis=0), counts


def _pooled(squares: np.ndarray, counts: np.ndarray) -> float:
    """The standard deviation within rows; NaN if no row has two values."""
    freedom = np.maximum(counts - 1, 0).sum()
    return float(np.sqrt(squares.sum() / freedom)) if freedom else float("nan")


def _deviations(squares: np.ndarray, counts: np.ndarray, pooled: float, *, each_row: bool) -> np.ndarray:
    """``(N,)`` standard deviations of each row, drawn towards the pooled one, or the pooled one alone.

    Carlini et al. (2022, figure 9) take one or the other, depending on the number of models.

    Source:
        Gelman et al., Bayesian Data Analysis, 2013, section 2.6 (scaled inverse chi-squared prior of a variance).
    """
    if not each_row:
        return np.full(len(squares), pooled)
    return np.sqrt((squares + _PRIOR * pooled**2) / (np.maximum(counts - 1, 0) + _PRIOR))


def separations(
    values: np.ndarray, held: np.ndarray, *, like: InAndOut | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How far apart the models that were trained on a row are from those that were not, for each row.

    The separation is the difference of the two means in standard deviations, which are pooled over all rows. If both
    kinds of answers are Gaussian with that deviation, the best guess about the row is right with probability
    ``Φ(separation / 2)``.

    Args:
        values: ``(K, N)`` the statistic of the bank.
        held: ``(K, N)`` bool: which model was trained on which row.
        like: Rows to take the pooled deviations from; None for these rows.

    Returns:
        ``(N,)`` float64 separations, and the ends of their 95% intervals, all NaN for a row that all or none of the
        models were trained on. The interval of each row holds for that row alone.

    Source:
        Hedges & Olkin, Statistical Methods for Meta-Analysis, 1985, chapter 5 (standardized mean difference); with a
        deviation pooled over many rows, its standard error is that of the difference of two means.
    """
    sides = InAndOut.of(values, held, each_row=False, like=like)
    deviation = np.sqrt((sides.std_in**2 + sides.std_out**2) / 2)
    separation = (sides.mean_in - sides.mean_out) / deviation
    n_in = held.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(sides.std_in**2 / n_in + sides.std_out**2 / (len(held) - n_in)) / deviation
    error[np.isnan(separation)] = np.nan
    return separation, separation - _NORMAL_95 * error, separation + _NORMAL_95 * error


def lira(values: np.ndarray, bank: InAndOut) -> np.ndarray:
    """The likelihood ratio attack: how much likelier a value is under "in" than under "out", both Gaussian.

    Where no model was trained on any of the rows, the one-sided test is used: how far the value is above the mean of
    "out", in standard deviations. The paper's ``log Φ`` of it has the same order, and ties where it rounds to 0.

    Args:
        values: ``(N,)`` the statistic of the model under attack.
        bank: The statistic of the bank.

    Returns:
        ``(N,)`` float64, higher = more likely a member.

    Source:
        Carlini, Chien, Nasr, Song, Terzis & Tramèr, S&P 2022, algorithm 1 (online) and equation 4 (offline).
    """
    if bank.is_offline:
        return (values - bank.mean_out) / bank.std_out
    mean_in, mean_out = bank.filled()
    z_in, z_out = (values - mean_in) / bank.std_in, (values - mean_out) / bank.std_out
    return (z_out**2 - z_in**2) / 2 + np.log(bank.std_out) - np.log(bank.std_in)


def calibrated(values: np.ndarray, bank: InAndOut) -> np.ndarray:
    """The value minus the mean of models that were not trained on the row.

    Source:
        Watson, Guo, Cormode & Sablayrolles, ICLR 2022, equation 3.
    """
    return values - bank.filled()[1]


def rmia(
    log_probs: np.ndarray,
    bank: np.ndarray,
    held: np.ndarray,
    *,
    population: np.ndarray,
    bank_on_population: np.ndarray,
    population_held: np.ndarray,
    gamma: float,
    a: float,
    is_offline: bool = False,
    like: InAndOut | None = None,
) -> np.ndarray:
    """The relative test: the share of population rows whose likelihood ratio is smaller by the factor `gamma`.

    The ratio of a row is the probability of its true class under the model under attack, over its mean under models in
    general. Equal shares are ordered by the ratio itself.

    Args:
        log_probs: ``(N,)`` log-probabilities of the true class under the model under attack.
        bank: ``(K, N)`` the same under the bank.
        held: ``(K, N)`` bool: which model was trained on which row.
        population: ``(Z,)`` as `log_probs`, of the population rows.
        bank_on_population: ``(K, Z)`` likewise.
        population_held: ``(K, Z)`` bool, as `held`; all False for rows that are in no training set.
        gamma: The factor, at least 1.
        a: Models that were trained on a row are taken to answer ``a p_out + (1 - a)`` where there are none.
        is_offline: Whether models that were trained on a row are left out.
        like: Sides of the probabilities of other rows, from which a missing side is estimated; None for these rows.

    Returns:
        ``(N,)`` float64 in 0 … 1 (and a little above), higher = more likely a member.

    Source:
        Zarifzadeh, Liu & Shokri, ICML 2024, equations 2 to 4 and appendix B.2.2.
    """
    ratios_of_population = np.sort(population - _log_mean(bank_on_population, population_held, a, is_offline, like))
    ratios = log_probs - _log_mean(bank, held, a, is_offline, like)
    shares = np.searchsorted(ratios_of_population, ratios - np.log(gamma), side="right") / len(population)
    return shares + 0.5 / len(population) / (1 + np.exp(-np.clip(ratios, -500, 500)))


def _log_mean(log_probs: np.ndarray, held: np.ndarray, a: float, is_offline: bool, like: InAndOut | None) -> np.ndarray:
    """The logarithm of the mean probability of a row under models in general; see `rmia`."""
    sides = InAndOut.of(np.exp(log_probs), held, each_row=False, like=like)
    mean_out = sides.filled()[1]
    assumed = a * mean_out + (1 - a)
    mean_in = assumed if is_offline else np.where(np.isnan(sides.mean_in), assumed, sides.mean_in)
    # A probability is not below zero, which a mean that was filled may be.
    return np.log(np.maximum((mean_in + mean_out) / 2, np.finfo(np.float64).tiny))


def fitted_a(probs: np.ndarray, held: np.ndarray) -> float:
    """The constant of `rmia` that fits models that were and were not trained on a row best, by least squares.

    Args:
        probs: ``(K, N)`` probabilities of the true class.
        held: ``(K, N)`` bool: which model was trained on which row.

    Returns:
        A number in 0 … 1.
    """
    sides = InAndOut.of(probs, held, each_row=False)
    missing_in, missing_out = 1 - sides.mean_in, 1 - sides.mean_out
    both = ~np.isnan(missing_in + missing_out)
    squares = float((missing_out[both] ** 2).sum())
    return float(np.clip((missing_in[both] * missing_out[both]).sum() / squares, 0, 1)) if squares else 0.0


def tell_of_each_other(held: np.ndarray) -> np.ndarray:
    """``(K, K)`` bool: which models' training rows tell about which others', each about itself.

    A model that plays the target must not be calibrated by itself. Nor must it be by a model that was trained on just
    the rows that it was not trained on, because the others' counts would tell which rows it was trained on.

    Args:
        held: ``(K, N)`` bool: which model was trained on which row.
    """
    centered = held - held.mean(axis=1, keepdims=True)
    size = np.sqrt((centered**2).sum(axis=1))
    size[size == 0] = 1.0
    correlation = (centered / size[:, None]) @ (centered / size[:, None]).T
    # Models on disjoint parts of the pool have a small correlation if the parts are small.
    alike = min(_ALIKE, _BEYOND_CHANCE / np.sqrt(held.shape[1]))
    return (np.abs(correlation) >= alike) | np.eye(len(held), dtype=bool)
