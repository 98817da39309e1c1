"""Simple defenses that reshape one confidence vector at a time: what DefenMI and MemGuard have to be better than."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops

from mindefense.checks import check_probs
from mindefense.confidence import softmax
from mindefense.defenses.base import Defense
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.defenses.memguard import MemGuard
from mindefense.defenses.search import check_first_round
from mindefense.errors import InputError

_MOST_DIGITS = 7
"""Decimal digits that float32 holds."""


class LabelOnly(Defense):
    """All confidence on the predicted class.

    Shokri et al. 2017 (Section VIII) with the top class alone, which Choquette-Choo et al. (ICML 2021) attack.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities of one-hot rows, at least log `LOWEST_PROB`.

    Supported Platforms:
        ``CPU``
    """

    name = "label-only"

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """See `Defense.transform_numpy`."""
        return np.eye(clean_probs.shape[1], dtype=np.float32)[clean_probs.argmax(axis=1)]

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """See `Defense.transform`."""
        return self._one_hot(probs, predicted)


class ClassMean(Defense):
    """One fixed vector for each predicted class: it tells no more than the label, and looks like a confidence vector.

    DefenMI's references (Shen & Jiang 2025) without the search; the least that a defense can reveal that keeps labels.

    Args:
        class_means: ``(C, C)`` confidence vectors, row k for predicted class k in class order, such as
            `mindefense.defenses.class_mean_probs` finds. Where the largest element of row k is not at k, the two are
            swapped.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. Rows of probabilities are non-negative, sum to 1 and keep the
        predicted class.

    Raises:
        InputError: If `class_means` are not ``(C, C)`` confidence vectors.

    Supported Platforms:
        ``CPU``
    """

    name = "class-mean"

    def __init__(self, class_means: np.ndarray):
        super().__init__()
        means = np.array(check_probs(class_means, name="class_means"), np.float32)
        self.classes = means.shape[1]
        if means.shape != (self.classes, self.classes):
            raise InputError("class_means", expected="shape (C, C)", got=str(means.shape))
        own = np.arange(self.classes)
        top = means.argmax(axis=1)
        means[own, top], means[own, own] = means[own, own], means[own, top]
        self._class_means = means
        self.means = ms.Tensor(means)

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """See `Defense.transform_numpy`."""
        return self._class_means[clean_probs.argmax(axis=1)]

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """See `Defense.transform`."""
        return ops.gather(self.means, predicted, 0)

    def arrays(self) -> dict[str, np.ndarray]:
        """The vectors, the largest element of each in its class's place."""
        return {"class_means": self._class_means}


class Rounding(Defense):
    """Confidences rounded to a few decimal digits.

    Shokri, Stronati, Song & Shmatikov 2017, Section VIII, "coarsen precision". What rounding has left is divided by
    its sum, since rows must sum to 1; where all is rounded to 0, so far as the digits tell all classes are equal, and
    so they are in the answer. The predicted class is lifted by 1e-6 of itself where rounding has made it level with
    another.

    Args:
        digits: Decimal digits kept, 0 … 7.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`. Rows of probabilities are
        non-negative, sum to 1 and keep the predicted class.

    Raises:
        InputError: If `digits` is no such number.

    Supported Platforms:
        ``CPU``
    """

    name = "rounding"

    def __init__(self, digits: int):
        super().__init__()
        self.digits = _whole("digits", digits, 0, _MOST_DIGITS)
        self.name = f"{Rounding.name}-{digits}"
        self._scale = 10.0**digits
        self.round = ops.Rint()

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """See `Defense.transform_numpy`."""
        return _shares(np.rint(clean_probs.astype(np.float64) * self._scale))

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """See `Defense.transform`."""
        return _graph_shares(self.round(probs * self._scale))

    def settings(self) -> dict[str, Any]:
        """The digits."""
        return {"digits": self.digits}


class TopK(Defense):
    """The k largest confidences, divided by their sum; 0 for all other classes.

    Shokri, Stronati, Song & Shmatikov 2017, Section VIII, "restrict the prediction vector to top k classes". Of equal
    confidences that of the lowest class comes first.

    Args:
        k: How many; C and more keep the vector as it is.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`. Rows of probabilities are
        non-negative, sum to 1 and keep the predicted class.

    Raises:
        InputError: If `k` is no whole number above 0.

    Supported Platforms:
        ``CPU``
    """

    name = "top-k"

    def __init__(self, k: int):
        super().__init__()
        self.k = _whole("k", k, 1)
        self.name = f"top-{k}"

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """See `Defense.transform_numpy`."""
        k = min(self.k, clean_probs.shape[1])
        least = np.partition(clean_probs, -k, axis=1)[:, -k, None]
        above, level = clean_probs > least, clean_probs == least
        room = k - above.sum(axis=1, keepdims=True)
        kept = above | (level & (np.cumsum(level, axis=1) <= room))
        return _shares(np.where(kept, clean_probs, 0).astype(np.float64))

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """See `Defense.transform`."""
        k = min(self.k, probs.shape[1])
        least = ops.sort(probs, 1)[0][:, probs.shape[1] - k : probs.shape[1] - k + 1]
        above, level = ops.cast(probs > least, ms.float32), ops.cast(probs == least, ms.float32)
        room = k - ops.ReduceSum(True)(above, 1)
        kept = above + level * ops.cast(ops.cumsum(level, 1) <= room, ms.float32)
        return _graph_shares(kept * probs)

    def settings(self) -> dict[str, Any]:
        """The number k."""
        return {"k": self.k}


class Temperature(Defense):
    """The softmax of the logits divided by a temperature: the higher, the more alike all confidences.

    Shokri, Stronati, Song & Shmatikov 2017, Section VIII, "increase entropy of the prediction vector".

    Args:
        temperature: T; 1 keeps the vector as it is, below 1 makes it more confident.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`. Rows of probabilities are
        non-negative, sum to 1 and keep the predicted class.

    Raises:
        InputError: If `temperature` is no finite number above 0.

    Supported Platforms:
        ``CPU``
    """

    name = "temperature"

    def __init__(self, temperature: float):
        super().__init__()
        self.temperature = _number("temperature", temperature, lambda value: value > 0, "above 0")
        self.name = f"{Temperature.name}-{temperature:g}"

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """See `Defense.transform_numpy`."""
        return softmax(start_logits.astype(np.float64) / self.temperature)

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """See `Defense.transform`."""
        # Shifted first, so that a small temperature finds nothing to overflow.
        return ops.softmax((logits - ops.ReduceMax(True)(logits, 1)) / self.temperature, 1)

    def settings(self) -> dict[str, Any]:
        """The temperature."""
        return {"temperature": self.temperature}


class LaplaceOutput(Defense):
    """Laplace noise on the confidences, cut off at 0 and divided by the sum.

    The Laplace mechanism (Dwork, McSherry, Nissim & Smith, TCC 2006) on a model's answer. Where nothing is left above
    0, all classes are equal: the clean vector in its place would be told without any noise. It says nothing of
    differential privacy for the training data. The predicted class may change.

    Args:
        scale: Scale b of the noise.
        classes: Number of classes C, which is how many numbers it draws for a query.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **draws** (Tensor) - ``(N, C)`` float32 uniform numbers in (0, 1).

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`. Rows of probabilities are non-negative
        and sum to 1.

    Raises:
        InputError: If `scale` is no finite number above 0 or `classes` no whole one.

    Supported Platforms:
        ``CPU``
    """

    name = "laplace-output"
    keeps_labels = False

    def __init__(self, scale: float, classes: int):
        super().__init__()
        self.scale = _number("scale", scale, lambda value: value > 0, "above 0")
        self.classes = self.draws = _whole("classes", classes, 1)
        self.name = f"{LaplaceOutput.name}-{scale:g}"

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """See `Defense.transform_numpy`."""
        # Inverse of the distribution function, with the nearer end's distance inside the logarithm.
        noise = np.sign(0.5 - draws) * self.scale * np.log(2 * np.minimum(draws, 1 - draws))
        return _shares(np.maximum(clean_probs + noise, 0))

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """See `Defense.transform`."""
        noise = ops.sign(0.5 - draws) * self.scale * ops.log(2 * ops.minimum(draws, 1 - draws))
        return _graph_shares(ops.maximum(probs + noise, 0.0))

    def settings(self) -> dict[str, Any]:
        """The scale and the number of classes."""
        return {"scale": self.scale, "classes": self.classes}


class MemGuardBudget(Defense):
    """MemGuard with its second phase, which answers at random with its vector f′ or the clean vector f.

    Jia et al. 2019, Section 4.3: with probability ``p = min(ε / ‖f − f′‖₁, 1)`` the answer is f′, which keeps the
    expected L1 distortion of every vector within the budget ε; p is 0 where f′ does not bring the defender's g nearer
    to 0.5, as in `mindefense.metrics.budget_table`. The choice is a secret function of the query, so that asking again
    shows nothing new.

    Args:
        memguard: The first phase.
        budget: ε; 0 answers with clean vectors, 2 is the largest distance there is.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **draws** (Tensor) - ``(N, 1)`` float32 uniform numbers in (0, 1): f′ where below p.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. Rows of probabilities are non-negative and sum to 1; with
        ``alignment="corrected"`` they keep the predicted class.

    Raises:
        InputError: If `budget` is no finite number ≥ 0, or the first phase may be cut short in its first round.

    Supported Platforms:
        ``CPU``
    """

    name = "memguard-budget"
    draws = 1
    searches = True

    def classifier(self) -> DefenderClassifier:
        """The defender's classifier of the first phase."""
        return self.memguard.classifier()

    def __init__(self, memguard: MemGuard, budget: float):
        super().__init__()
        check_first_round(memguard.config)
        self.memguard = memguard
        self.budget = _number("budget", budget, lambda value: value >= 0, "≥ 0")
        self.name = f"{MemGuardBudget.name}-{budget:g}"
        self.classes = memguard.classes
        self.keeps_labels = memguard.keeps_labels

    def reshape(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray | None = None,
        *,
        draws: np.ndarray | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """See `Defense.reshape`."""
        clean_probs, start_logits, draws = self._checked(clean_probs, start_logits, draws, workers)
        moved = self.memguard.reshape(clean_probs, start_logits, workers=workers, on_progress=on_progress)
        if not len(moved):
            return moved
        distance = np.abs(clean_probs.astype(np.float64) - moved).sum(axis=1)
        g = self.memguard.classifier().member_probability
        is_useful = np.abs(g(moved) - 0.5) < np.abs(g(clean_probs) - 0.5)
        # u < ε / distance, without a division by nothing.
        return np.where((is_useful & (draws[:, 0] * distance < self.budget))[:, None], moved, clean_probs)

    def construct(self, clean_logits, draws):
        """Log-probabilities of the defended model."""
        clean_logits = clean_logits.astype(ms.float32)
        clean = self._put_on_top(ops.softmax(clean_logits, 1), ops.Argmax(1)(clean_logits))
        moved = ops.exp(self.memguard(clean_logits, draws))
        distance = ops.ReduceSum(True)(ops.abs(clean - moved), 1)
        is_useful = ops.cast(self._decided(moved) < self._decided(clean), ms.float32)
        told = is_useful * ops.cast(draws * distance < self.budget, ms.float32)
        return self._log(told * moved + (1 - told) * clean)

    def _decided(self, probs):
        """How far the classifier's answer is from 0.5."""
        x = ops.sort(probs, 1)[0]
        for layer in self.memguard.search.hidden:
            x = ops.relu(layer(x))
        return ops.abs(ops.sigmoid(self.memguard.search.last(x)) - 0.5)

    def settings(self) -> dict[str, Any]:
        """The budget and MemGuard's own."""
        return {"budget": self.budget, **self.memguard.settings()}

    def arrays(self) -> dict[str, np.ndarray]:
        """MemGuard's own."""
        return self.memguard.arrays()

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> MemGuardBudget:
        """The defense that had these `settings` and `arrays`."""
        search = {name: value for name, value in settings.items() if name != "budget"}
        return cls(MemGuard.restore(search, arrays), settings["budget"])


def _shares(amounts: np.ndarray) -> np.ndarray:
    """Float64 rows of amounts ≥ 0 divided by their sums, as float32; equal parts where there is nothing to divide."""
    total = amounts.sum(axis=1, keepdims=True)
    is_empty = total == 0
    return ((amounts + is_empty / amounts.shape[1]) / (total + is_empty)).astype(np.float32)


def _graph_shares(amounts):
    """`_shares` as a graph."""
    total = ops.ReduceSum(True)(amounts, 1)
    is_empty = ops.cast(total == 0, ms.float32)
    return (amounts + is_empty / amounts.shape[1]) / (total + is_empty)


def _number(name: str, value: float, is_right: Callable[[float], bool], expected: str) -> float:
    if not isinstance(value, numbers.Real) or not is_right(value) or value == math.inf:
        raise InputError(name, expected=f"a finite number {expected}", got=repr(value))
    return float(value)


def _whole(name: str, value: int, least: int, most: int | None = None) -> int:
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or value < least or (most is not None and value > most):
        expected = f"a whole number ≥ {least}" if most is None else f"a whole number {least} … {most}"
        raise InputError(name, expected=expected, got=repr(value))
    return int(value)
