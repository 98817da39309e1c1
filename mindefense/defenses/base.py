"""What DefenMI and MemGuard have in common: a classifier, a search, a fast driver, a graph and a file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.checkpoint import save_checkpoint
from mindefense.checks import check_logits, check_probs, check_same_length
from mindefense.confidence import LOWEST_PROB
from mindefense.defenses.classifier import DefenderClassifier, classifier_parameters
from mindefense.defenses.graph import GraphSearch
from mindefense.defenses.reshaping import Reshaped, Reshaper
from mindefense.defenses.search import SearchConfig
from mindefense.errors import InputError

ALIGNMENTS = ("corrected", "published")


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


class SearchDefense(nn.Cell):
    """A defense that searches for logits which leave the defender's classifier undecided.

    Every row of the answer is non-negative, sums to 1 and, with ``alignment="corrected"``, keeps the predicted class.

    Args:
        classifier: The defender's membership classifier.
        config: The search.
        class_mean_probs: ``(C, C)`` references per predicted class, or None for the clean vector itself.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **start_logits** (Tensor) - ``(N, C)`` float32 logits from which the search starts.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities.
    """

    name: ClassVar[str]

    def __init__(self, classifier: DefenderClassifier, config: DefenseConfig, class_mean_probs: np.ndarray | None):
        super().__init__()
        self.classes = classifier.classes
        self.config = config
        layers = classifier.weights()
        # Kept as plain NumPy: the driver needs it so, and one set of weights is enough in the parameter list.
        # A plain SearchConfig, since the class of this one comes with MindSpore, which worker processes do without.
        plain = SearchConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(SearchConfig)})
        self._reshaper = Reshaper(layers, plain, class_mean_probs, config.alignment == "corrected")
        self.search = GraphSearch(layers, config)
        self.aligned = self._reshaper.aligned
        self.has_means = class_mean_probs is not None
        self.class_means = ms.Tensor(class_mean_probs if self.has_means else np.zeros((1, 1), np.float32))

    @property
    def noise_scale(self) -> float:
        """Scale b of the Laplace noise on the model's input from which the search starts; 0 for none."""
        return 0.0

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
        start_logits: np.ndarray,
        *,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Reshapes confidence vectors, fast: the driver for many rows on a CPU.

        A row's answer does not depend on the rows beside it.

        Args:
            clean_probs: ``(N, C)`` undefended confidence vectors in class order.
            start_logits: ``(N, C)`` logits from which the search starts, in any order of classes.
            workers: Processes; None for one per available core if N is worth it, 1 to stay in this one.
            on_progress: Called with the number of rows just finished.

        Returns:
            ``(N, C)`` float32 defended confidence vectors in class order.

        Raises:
            InputError: If shapes differ or do not fit the classifier, rows of `clean_probs` do not sum to 1, or
                `start_logits` hold NaN or infinity.
        """
        return self.reshape_in_detail(clean_probs, start_logits, workers=workers, on_progress=on_progress).probs

    def reshape_in_detail(
        self,
        clean_probs: np.ndarray,
        start_logits: np.ndarray,
        *,
        workers: int | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> Reshaped:
        """Like `reshape`, and tells the rounds each row passed and the steps taken."""
        clean_probs = check_probs(clean_probs, name="clean_probs").astype(np.float32, copy=False)
        start_logits = check_logits(start_logits, name="start_logits").astype(np.float32, copy=False)
        for name, array in (("clean_probs", clean_probs), ("start_logits", start_logits)):
            if array.shape[1] != self.classes:
                raise InputError(
                    name,
                    expected=f"{self.classes} columns, as the defender's classifier takes",
                    got=str(array.shape),
                    fix="use the classifier fitted for this model",
                )
        if len(clean_probs) != len(start_logits):
            check_same_length({"clean_probs": clean_probs, "start_logits": start_logits})
        if workers is not None and workers < 1:
            raise InputError("workers", expected="at least 1", got=repr(workers))
        return self._reshaper.run(clean_probs, start_logits, workers=workers, on_progress=on_progress)

    @ms.jit
    def construct(self, clean_logits, start_logits):
        """Log-probabilities of the defended model, in one graph of static shapes."""
        clean_logits, start_logits = clean_logits.astype(ms.float32), start_logits.astype(ms.float32)
        predicted = ops.Argmax(1)(clean_logits)
        # Lifted, so that the predicted class comes last among equals.
        lift = self._one_hot(predicted) * (ops.abs(ops.ReduceMax(True)(clean_logits, 1)) + 1)
        order = ops.sort(clean_logits + lift, 1)[1]
        rank = ops.sort(order.astype(ms.float32), 1)[1]
        start = ops.sort(start_logits, 1)[0]
        if not self.has_means:
            reference = ops.gather_elements(ops.softmax(clean_logits, 1), 1, order)
        else:
            reference = ops.gather(self.class_means, predicted, 0)
            if self.aligned:
                reference = self._with_last_on_top(ops.gather_elements(reference, 1, order))
        kept, _ = self.search(start, reference)
        probs = ops.gather_elements(kept, 1, rank)
        if self.aligned:
            probs = self._put_on_top(probs, predicted)
        return ops.log(ops.maximum(probs, LOWEST_PROB))

    def _with_last_on_top(self, vectors):
        """The largest element of each row swapped into the last place."""
        last = vectors[:, -1:]
        top = ops.ReduceMax(True)(vectors, 1)
        at_top = self._one_hot(ops.Argmax(1)(vectors))
        swapped = at_top * last + (1 - at_top) * vectors
        return ops.concat((swapped[:, :-1], top), 1)

    def _put_on_top(self, probs, predicted):
        """Lifts the predicted class where it is not ahead by what a logarithm in float32 can still tell."""
        at = self._one_hot(predicted)
        rival = ops.ReduceMax(True)((1 - at) * probs, 1)
        return at * ops.maximum(probs, rival * (1 + 1e-6)) + (1 - at) * probs

    def _one_hot(self, positions):
        return ops.one_hot(positions, self.classes, ms.Tensor(1.0), ms.Tensor(0.0))

    def save(self, path: str | os.PathLike, *, description: Mapping[str, Any] | None = None) -> None:
        """Writes all that the defense needs at query time to a ``.ckpt`` file, a readable ``.json`` beside it.

        Args:
            path: Ends in ``.ckpt``.
            description: Joins the file's description: what the defense was fitted on.

        Raises:
            OutputError: If it cannot be written.
        """
        parameters = classifier_parameters(self._reshaper.layers)
        if self.class_mean_probs is not None:
            parameters["class_mean_probs"] = self.class_mean_probs
        save_checkpoint(path, parameters, {**self.describe(), **(description or {})})

    def describe(self) -> dict[str, Any]:
        """Name and configuration, as JSON holds them."""
        return {"kind": "defense", "defense": self.name, "config": dataclasses.asdict(self.config)}
