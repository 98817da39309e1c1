"""What all defenses have in common; and DefenMI and MemGuard: a classifier, a search, a fast driver and a graph."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import save_checkpoint
from mindefense.checks import check_logits, check_probs, check_same_length
from mindefense.confidence import LOWEST_PROB, log_probs
from mindefense.defenses.classifier import DefenderClassifier, classifier_parameters
from mindefense.defenses.driver import Reshaped, Reshaper, halfway, put_on_top
from mindefense.defenses.graph import GraphSearch
from mindefense.defenses.search import ALIGNMENTS, SearchConfig
from mindefense.errors import InputError
from mindefense.targets.base import BATCH_SIZE


@dataclasses.dataclass(frozen=True)
class DefenseConfig(SearchConfig):
    """The search, and whether to repeat what the published programs do where that departs from their idea.

    Attributes:
        alignment: ``"corrected"`` compares a vector with its reference class by class and never changes a label;
            ``"published"`` gives the published outputs, departures included.
    """

    alignment: str = "corrected"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alignment not in ALIGNMENTS:
            raise InputError("alignment", expected=" or ".join(ALIGNMENTS), got=repr(self.alignment))


class Defense(nn.Cell):
    """What stands between a model and those who ask it: confidence vectors in, others out.

    A subclass defines `transform`, the formula in MindSpore's operators, and a `name`; if it is to be quick on a CPU,
    also `transform_numpy`, the same in NumPy; or overrides `reshape` and `construct`. And `settings` and
    `arrays`, if there is anything to keep in a file that ``__init__`` takes.

    Attributes:
        name: What the defense is called. Of the class, it is its name in files too; an instance may say more, such as
            ``top-3``.
        keeps_labels: Promises that the predicted class stays the predicted class.
        classes: Number of classes C that it is for; None for any.
        noise_scale: Scale b of the Laplace noise on the model's input, the logits of which the defense needs; 0 for
            none.
        draws: Secret uniform numbers that the defense needs for each query; 0 for none.
        searches: Whether it searches for each answer, which is worth the way to other processes and ranks.
        has_budget_table: Whether the published table of attack accuracy by L1 budget is about it.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **second** (Tensor) - ``(N, C)`` float32 logits of the noised input if there is a `noise_scale`; ``(N,
          draws)`` float32 numbers in (0, 1) if there are `draws`; else it is ignored.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities, at least log `LOWEST_PROB`.
    """

    name: str = "unnamed"
    keeps_labels: bool = True
    classes: int | None = None
    draws: int = 0
    searches: bool = False
    has_budget_table: bool = False

    def classifier(self) -> DefenderClassifier | None:
        """The defender's membership classifier that it is built on; None if there is none."""
        return None

    @property
    def noise_scale(self) -> float:
        """Scale b of the Laplace noise on the model's input, the logits of which the defense needs; 0 for none."""
        return 0.0

    @property
    def is_random(self) -> bool:
        """Whether the answer depends on anything but the query, and so on a secret key."""
        return self.noise_scale > 0 or self.draws > 0

    def reshape(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray | None = None,
        *,
        draws: np.ndarray | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Reshapes confidence vectors, fast: the driver for many rows on a CPU.

        A row's answer does not depend on the rows beside it.

        Args:
            clean_probs: ``(N, C)`` undefended confidence vectors in class order.
            start_logits: ``(N, C)`` logits: of the noised inputs for a defense with a `noise_scale`, else of the inputs
                themselves, for which the logarithm of `clean_probs` stands in.
            draws: ``(N, draws)`` uniform numbers in (0, 1), for a defense that draws.
            workers: Processes; None for one per available core if N is worth it, 1 to stay in this one.
            on_progress: Called with the number of rows just finished.

        Returns:
            ``(N, C)`` float32 defended confidence vectors in class order.

        Raises:
            InputError: If something that the defense needs is not given, shapes differ or do not fit the defense, rows
                of `clean_probs` do not sum to 1, `start_logits` hold NaN or infinity, or `draws` are outside (0, 1);
                or what the defense answers are no confidence vectors.
        """
        clean_probs, start_logits, draws = self._checked(clean_probs, start_logits, draws, workers)
        what, shape = self._answers, clean_probs.shape
        # A copy, since somebody else's formula may hand its own input back.
        probs = np.array(self.transform_numpy(clean_probs, start_logits, draws), np.float32)
        if probs.shape != shape:
            raise InputError(what, expected=f"shape {shape}", got=str(probs.shape))
        check_probs(probs, name=what)
        if self.keeps_labels:
            put_on_top(probs, clean_probs.argmax(axis=1))
        if on_progress is not None:
            on_progress(len(probs))
        return probs

    def transform_numpy(self, clean_probs: np.ndarray, start_logits: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """The same in NumPy, for `reshape`; here what `transform` says, batch by batch.

        Args:
            clean_probs: ``(N, C)`` float32 clean confidence vectors.
            start_logits: ``(N, C)`` float32 logits of the noised inputs for a defense with a `noise_scale`, else of the
                inputs themselves.
            draws: ``(N, draws)`` uniform numbers in (0, 1).

        Returns:
            ``(N, C)`` float32 rows that are non-negative and sum to 1. Where the predicted class is to be kept,
            `reshape` puts it on top.
        """
        logits = log_probs(clean_probs) if self.noise_scale else start_logits
        predicted = clean_probs.argmax(axis=1).astype(np.int32)
        numbers = draws if self.draws else np.zeros((len(draws), 1))
        inputs = [clean_probs, logits, predicted, start_logits, numbers.astype(np.float32)]
        answers = []
        for first in range(0, len(clean_probs), BATCH_SIZE):
            parts = [array[first : first + BATCH_SIZE] for array in inputs]
            # Filled up to one size: then a row's answer does not depend on how many are asked about.
            missing = BATCH_SIZE - len(parts[0])
            filled = [np.concatenate((part, np.repeat(part[-1:], missing, axis=0))) for part in parts]
            answers.append(self._answered(self.transform(*map(ms.Tensor, filled)), filled[0].shape)[: len(parts[0])])
        return np.concatenate(answers) if answers else clean_probs

    @property
    def _answers(self) -> str:
        return f"answers of the defense {self.name}"

    def _answered(self, answer: Any, shape: tuple[int, ...]) -> np.ndarray:
        """What somebody's `transform` gave, if it is a Tensor of this shape."""
        if not isinstance(answer, ms.Tensor):
            fix = "return from transform what MindSpore's operators make of probs"
            raise InputError(self._answers, expected="a Tensor", got=type(answer).__name__, fix=fix)
        if answer.shape != shape:
            fix = "return from transform a row for each row of probs"
            raise InputError(self._answers, expected=f"shape {shape}", got=str(answer.shape), fix=fix)
        return answer.asnumpy()

    def _checked(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray | None,
        draws: np.ndarray | None = None,
        workers: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `reshape` was given, as contiguous float32, of which sums come out the same in any company."""
        clean_probs = np.ascontiguousarray(check_probs(clean_probs, name="clean_probs"), np.float32)
        if start_logits is None:
            if self.noise_scale:
                raise InputError("start_logits", expected="the logits of the noised inputs", got="None")
            start_logits = log_probs(clean_probs)
        start_logits = np.ascontiguousarray(check_logits(start_logits, name="start_logits"), np.float32)
        for name, array in (("clean_probs", clean_probs), ("start_logits", start_logits)):
            if array.shape[1] != (self.classes or clean_probs.shape[1]):
                raise InputError(
                    name,
                    expected=f"{self.classes or clean_probs.shape[1]} columns, as the defense takes",
                    got=str(array.shape),
                    fix="use the defense fitted for this model",
                )
        if len(clean_probs) != len(start_logits):
            check_same_length({"clean_probs": clean_probs, "start_logits": start_logits})
        wanted = (len(clean_probs), self.draws)
        draws = np.zeros((len(clean_probs), 0)) if draws is None else np.asarray(draws, np.float64)
        if draws.shape != wanted:
            raise InputError("draws", expected=f"shape {wanted}", got=str(draws.shape), fix="draw for every query")
        if not ((draws > 0) & (draws < 1)).all():  # so asked, NaN is outside too
            raise InputError("draws", expected="numbers in (0, 1)", got=f"{draws.min():g} … {draws.max():g}")
        if workers is not None and workers < 1:
            raise InputError("workers", expected="at least 1", got=repr(workers))
        return clean_probs, start_logits, draws

    def construct(self, clean_logits, second):
        """Log-probabilities of the defended model."""
        clean_logits = clean_logits.astype(ms.float32)
        predicted = ops.Argmax(1)(clean_logits)
        probs = self._put_on_top(ops.softmax(clean_logits, 1), predicted)  # what rounding has made equal
        # The graph has one input besides: of the two, a defense asks for one at most.
        probs = self.transform(probs, clean_logits, predicted, second, second)
        if self.keeps_labels:
            probs = self._put_on_top(probs, predicted)
        return self._log(probs)

    def transform(self, probs, logits, predicted, noised_logits, draws):
        """The formula, in MindSpore's operators; what a subclass defines.

        Args:
            probs: ``(N, C)`` clean confidence vectors.
            logits: ``(N, C)`` logits that they are the softmax of, which may be off by a constant in each row.
            predicted: ``(N,)`` predicted classes.
            noised_logits: ``(N, C)`` logits of the noised inputs, for a defense with a `noise_scale`; others must not
                look at it.
            draws: ``(N, draws)`` uniform numbers in (0, 1), for a defense with `draws`; others must not look at it.

        Returns:
            ``(N, C)`` rows that are non-negative and sum to 1.
        """
        raise NotImplementedError

    def _put_on_top(self, probs, predicted):
        """`reshaping.put_on_top` as a graph."""
        at, at_top = self._one_hot(probs, predicted), self._one_hot(probs, ops.Argmax(1)(probs))
        own, top = ops.ReduceSum(True)(at * probs, 1), ops.ReduceMax(True)(probs, 1)
        is_behind = ops.cast(own * (1 + 1e-6) < top, ms.float32)
        probs = probs + is_behind * (top - own) * (at - at_top)
        rival = ops.ReduceMax(True)((1 - at) * probs, 1)
        return at * ops.maximum(probs, rival * (1 + 1e-6)) + (1 - at) * probs

    def _one_hot(self, vectors, positions):
        return ops.one_hot(positions, vectors.shape[1], ms.Tensor(1.0), ms.Tensor(0.0))

    def _log(self, probs):
        # A tensor: of a number, some loads of an exported graph (6 of 910 tried) have made 0, and -inf of it.
        return ops.log(ops.maximum(probs, ms.Tensor(LOWEST_PROB, ms.float32)))

    def save(self, path: str | os.PathLike, *, description: Mapping[str, Any] | None = None) -> None:
        """Writes all that the defense needs at query time to a ``.ckpt`` file, a readable ``.json`` beside it.

        Args:
            path: Ends in ``.ckpt``.
            description: Joins the file's description: what the defense was fitted on.

        Raises:
            OutputError: If it cannot be written.
        """
        save_checkpoint(path, self.arrays(), {**self.describe(), **(description or {})})

    def describe(self) -> dict[str, Any]:
        """Name and settings, as JSON holds them."""
        return {"kind": "defense", "defense": type(self).name, "config": self.settings()}

    def settings(self) -> dict[str, Any]:
        """Name → number or word: what the defense was built with, as JSON holds it."""
        return {}

    def arrays(self) -> dict[str, np.ndarray]:
        """Name → array: what the defense was built with."""
        return {}

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Defense:
        """The defense that had these `settings` and `arrays`.

        Raises:
            KeyError, TypeError, InputError: If it cannot have had them.
        """
        return cls(**settings, **arrays)


class SearchDefense(Defense):
    """A defense that searches for logits which leave the defender's classifier undecided.

    Every row of the answer is non-negative, sums to 1 and, with ``alignment="corrected"``, keeps the predicted class.

    Args:
        classifier: The defender's membership classifier.
        config: The search.
        class_mean_probs: ``(C, C)`` references per predicted class, or None for the clean vector itself.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **start_logits** (Tensor) - ``(N, C)`` float32 logits from which the search starts; ignored by a defense
          without a `noise_scale`, which starts from the clean ones.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities.
    """

    searches = True
    has_budget_table = True

    def __init__(self, classifier: DefenderClassifier, config: DefenseConfig, class_mean_probs: np.ndarray | None):
        super().__init__()
        self.classes = classifier.classes
        self.config = config
        layers = classifier.weights()
        # Kept as plain NumPy: the driver needs it so, and one set of weights is enough in the parameter list.
        # A plain SearchConfig, since the class of this one comes with MindSpore, which worker processes do without.
        plain = SearchConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(SearchConfig)})
        self.keeps_labels = config.alignment == "corrected"
        self._reshaper = Reshaper(layers, plain, class_mean_probs, self.keeps_labels)
        self.search = GraphSearch(layers, config)
        self.starts_elsewhere = self.noise_scale > 0
        self.has_means = class_mean_probs is not None
        self.class_means = ms.Tensor(class_mean_probs if self.has_means else np.zeros((1, 1), np.float32))
        self.may_be_cut = config.cuts_first_round
        self.halfway = ms.Tensor(halfway(self.classes)[None])

    @property
    def class_mean_probs(self) -> np.ndarray | None:
        """``(C, C)`` float32 references per predicted class, or None."""
        return self._reshaper.class_means

    def classifier(self) -> DefenderClassifier:
        """The defender's classifier inside."""
        return DefenderClassifier.from_weights(self._reshaper.layers)

    def reshape(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray | None = None,
        *,
        draws: np.ndarray | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """See `Defense.reshape`; the search starts from `start_logits`, in any order of classes."""
        return self.reshape_in_detail(
            clean_probs, start_logits, draws=draws, workers=workers, on_progress=on_progress
        ).probs

    def reshape_in_detail(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray | None = None,
        *,
        draws: np.ndarray | None = None,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Reshaped:
        """Like `reshape`, and tells the rounds each row passed and the steps taken."""
        clean_probs, start_logits, _ = self._checked(clean_probs, start_logits, draws, workers)
        return self._reshaper.run(clean_probs, start_logits, workers=workers, on_progress=on_progress)

    @ms.jit
    def construct(self, clean_logits, start_logits):
        """Log-probabilities of the defended model, in one graph of static shapes."""
        clean_logits = clean_logits.astype(ms.float32)
        predicted = ops.Argmax(1)(clean_logits)
        # Lifted, so that the predicted class comes last among equals.
        lift = self._one_hot(clean_logits, predicted) * (ops.abs(ops.ReduceMax(True)(clean_logits, 1)) + 1)
        order = ops.sort(clean_logits + lift, 1)[1]
        rank = ops.sort(order.astype(ms.float32), 1)[1]
        start = ops.sort(start_logits.astype(ms.float32) if self.starts_elsewhere else clean_logits, 1)[0]
        if not self.has_means:
            reference = ops.gather_elements(ops.softmax(clean_logits, 1), 1, order)
        else:
            reference = ops.gather(self.class_means, predicted, 0)
            if self.keeps_labels:
                reference = self._with_last_on_top(ops.gather_elements(reference, 1, order))
        kept, rounds = self.search(start, reference)
        if self.may_be_cut:
            instead = self._with_last_on_top(reference) if self.has_means else self.halfway
            kept = ops.select(rounds == 0, instead, kept)
        probs = ops.gather_elements(kept, 1, rank)
        if self.keeps_labels:
            probs = self._put_on_top(probs, predicted)
        return self._log(probs)

    def _with_last_on_top(self, vectors):
        """The largest element of each row swapped into the last place."""
        last = vectors[:, -1:]
        top = ops.ReduceMax(True)(vectors, 1)
        at_top = self._one_hot(vectors, ops.Argmax(1)(vectors))
        swapped = at_top * last + (1 - at_top) * vectors
        return ops.concat((swapped[:, :-1], top), 1)

    def settings(self) -> dict[str, Any]:
        """The configuration."""
        return dataclasses.asdict(self.config)

    def arrays(self) -> dict[str, np.ndarray]:
        """The classifier's layers, and the references if there are any."""
        means = {} if self.class_mean_probs is None else {"class_mean_probs": self.class_mean_probs}
        return {**classifier_parameters(self._reshaper.layers), **means}
