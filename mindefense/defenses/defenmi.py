"""DefenMI (Shen & Jiang, Information Processing & Management 2025)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mindefense.checks import check_logits, check_probs
from mindefense.confidence import softmax
from mindefense.data.splits import Split
from mindefense.defenses.base import DefenseConfig, SearchDefense
from mindefense.defenses.classifier import DefenderClassifier, classifier_layers, fit_defender
from mindefense.errors import InputError
from mindefense.progress import Progress
from mindefense.targets.base import InputTransform
from mindefense.targets.cell import Network
from mindefense.targets.kinds import model_of
from mindefense.training import PUBLISHED_DEFENDER, Epoch, TrainConfig
from mindefense.types import LabelledData


@dataclasses.dataclass(frozen=True)
class DefenMIConfig(DefenseConfig):
    """Settings of DefenMI: weights up to 1e4 in six rounds, starting from the logits of a noised input.

    Attributes:
        delta: Sensitivity Δ of one input feature; the Laplace noise has scale Δ/ε.
        epsilon: ε of one input feature. It does not hold for the whole input vector: this is no ε-DP mechanism.
    """

    delta: float = 1.0
    epsilon: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("delta", "epsilon"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(name, expected="a finite number above 0", got=repr(getattr(self, name)))


class DefenMI(SearchDefense):
    """Moves each confidence vector until the defender's classifier is undecided, towards its class's mean vector.

    Shen & Jiang 2025; ``docs/algorithm.md`` describes the published program, and where it departs from the paper.

    Args:
        classifier: The defender's membership classifier.
        class_mean_probs: ``(C, C)``; row k is the reference vector for predicted class k, in class order.
        config: The search, the noise, and ``alignment``.

    Inputs:
        - **clean_logits** (Tensor) - ``(N, C)`` float32 logits of the undefended model.
        - **start_logits** (Tensor) - ``(N, C)`` float32 logits of the noised input.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. Rows of probabilities are non-negative and sum to 1; with
        ``alignment="corrected"`` they keep the predicted class.

    Raises:
        InputError: If `class_mean_probs` are not ``(C, C)`` confidence vectors.

    Supported Platforms:
        ``CPU``
    """

    name = "defenmi"
    config: DefenMIConfig

    def __init__(
        self, classifier: DefenderClassifier, class_mean_probs: np.ndarray, config: DefenMIConfig | None = None
    ):
        means = check_probs(class_mean_probs, name="class_mean_probs").astype(np.float32)
        wanted = (classifier.classes, classifier.classes)
        if means.shape != wanted:
            raise InputError("class_mean_probs", expected=f"shape {wanted}", got=str(means.shape))
        super().__init__(classifier, config or DefenMIConfig(), means)

    @property
    def noise_scale(self) -> float:
        """Scale Δ/ε of the Laplace noise on every feature of the model's input."""
        return self.config.delta / self.config.epsilon

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> DefenMI:
        """The defense with these `settings` and `arrays`."""
        classifier = DefenderClassifier.from_weights(classifier_layers(dict(arrays)))
        return cls(classifier, arrays["class_mean_probs"], DefenMIConfig(**settings))


def class_mean_probs(logits: np.ndarray) -> np.ndarray:
    """The reference vectors of DefenMI: for each predicted class the softmax of the mean logits.

    The published program computes them from the samples that it defends. Here they are computed from the defender's
    samples, so that the answer to a query does not depend on other queries.

    Args:
        logits: ``(N, C)`` logits of the defender's samples.

    Returns:
        ``(C, C)`` float32, row k for predicted class k. The logits of a class that is never predicted are the mean of
        the rows' largest logits at its own position, and the mean of all other logits elsewhere.

    Raises:
        InputError: If the logits are not finite or there is no row.
    """
    logits = check_logits(logits, name="logits").astype(np.float64)
    if not len(logits):
        raise InputError("logits", expected="at least one row", got="none")
    ascending = np.sort(logits, axis=1)
    classes = logits.shape[1]
    means = np.full((classes, classes), ascending[:, :-1].mean() if classes > 1 else 0.0)
    np.fill_diagonal(means, ascending[:, -1].mean())
    predicted = logits.argmax(axis=1)
    for k in np.unique(predicted):
        means[k] = logits[predicted == k].mean(axis=0)
    return softmax(means)


def fit_defenmi(
    target: Any,
    data: LabelledData,
    split: Split,
    *,
    config: DefenMIConfig | None = None,
    train: TrainConfig = PUBLISHED_DEFENDER,
    prepare: InputTransform | None = None,
    checkpoint: str | os.PathLike | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: Progress | bool | None = None,
) -> DefenMI:
    """Fits DefenMI to a trained model: the defender's classifier and the class means, on the defender's rows alone.

    Args:
        target: The trained model, as `evaluate` takes it: a Cell from rows of `data` (as `prepare` makes them) to
            logits, a PyTorch module, a scikit-learn classifier, a function, or a `Network` or the like.
        data: The data set.
        split: The split, which has the defender's rows.
        config: The search and the noise.
        train: Training of the classifier; its seed seeds all random numbers.
        prepare: Converts rows to a Cell's inputs, such as an `ImageTransform`; None if the rows are the inputs, or
            the target has its own preparation.
        checkpoint: Checkpoint file of the classifier during training, or None.
        on_epoch: Called after every epoch instead of showing a progress bar.
        progress: See `train_classifier`.

    Returns:
        The fitted defense.

    Raises:
        InputError: If the split leaves the defender no rows, or the network does not take them.
    """
    if not len(split.defender_non_members):
        fix = "give the defender some rows; in from_datasets set defender_share above 0"
        raise InputError(f"split {split.name} defender_non_members", expected="at least one row", got="none", fix=fix)
    members, non_members = data.take(split.defender_members), data.take(split.defender_non_members)
    samples = np.concatenate((members.features, non_members.features))
    network = model_of(target) if prepare is None else Network(target, prepare=prepare)
    network.check_repeats(samples)
    logits = network.logits(samples)
    is_member = np.arange(len(logits)) < len(members)
    classifier = fit_defender(
        softmax(logits), is_member, config=train, checkpoint=checkpoint, on_epoch=on_epoch, progress=progress
    )
    return DefenMI(classifier, class_mean_probs(logits), config)
