"""The defender's membership classifier, which the search makes undecided."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from mindspore import nn

from mindefense.checks import check_flags, check_probs, check_same_length
from mindefense.confidence import sigmoid
from mindefense.errors import InputError
from mindefense.models.mlp import DEFENDER_WIDTHS, MLP
from mindefense.progress import Progress
from mindefense.targets.cell import forward
from mindefense.training import PUBLISHED_DEFENDER, Epoch, TrainConfig, train_classifier


class DefenderClassifier(nn.Cell):
    """Maps a sorted confidence vector to a membership logit (Jia et al. 2019, section 4.2).

    Args:
        classes: Number of classes C of the confidence vectors.
        widths: Hidden widths.
        seed: Seeds the initial weights.

    Inputs:
        - **sorted_probs** (Tensor) - ``(N, C)`` float32 confidence vectors, each row ascending.

    Outputs:
        Tensor, ``(N, 1)`` float32 membership logits; above 0 means member.

    Supported Platforms:
        ``CPU``
    """

    def __init__(self, classes: int, *, widths: Sequence[int] = DEFENDER_WIDTHS, seed: int = 0):
        super().__init__()
        self.classes = classes
        self.mlp = MLP((classes, *widths, 1), seed=seed)

    @classmethod
    def from_weights(cls, weights: Sequence[tuple[np.ndarray, np.ndarray]]) -> DefenderClassifier:
        """The classifier with these weights.

        Args:
            weights: ``(W (in, out), b (out,))`` of each dense layer, two layers or more, the last with one output.

        Raises:
            InputError: If the layers do not follow each other or the last has more than one output.
        """
        weights = [(np.asarray(w, np.float32), np.asarray(b, np.float32)) for w, b in weights]
        if len(weights) < 2 or any(w.ndim != 2 for w, _ in weights) or weights[-1][0].shape[1] != 1:
            raise InputError(
                "weights",
                expected="two or more (W (in, out), b (out,)) with one output at the end",
                got=str([(w.shape, b.shape) for w, b in weights]),
            )
        classifier = cls(weights[0][0].shape[0], widths=[w.shape[1] for w, _ in weights[:-1]])
        classifier.mlp.load_weights(weights)
        return classifier

    def construct(self, sorted_probs):
        """Membership logits of sorted confidence vectors."""
        return self.mlp(sorted_probs)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """``(W (in, out), b (out,))`` float32 of every layer."""
        return self.mlp.weights()

    def member_probability(self, probs: np.ndarray) -> np.ndarray:
        """The classifier's membership probabilities of confidence vectors.

        Args:
            probs: ``(N, C)`` confidence vectors in any order of classes.

        Returns:
            ``(N,)`` float32 in 0 … 1.
        """
        sorted_probs = np.sort(check_probs(probs, name="probs").astype(np.float32), axis=1)
        return sigmoid(forward(self, sorted_probs)[:, 0])


def fit_defender(
    probs: np.ndarray,
    is_member: np.ndarray,
    *,
    config: TrainConfig = PUBLISHED_DEFENDER,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    description: Mapping[str, Any] | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: Progress | bool | None = None,
) -> DefenderClassifier:
    """Trains the defender's classifier on the defender's samples.

    Args:
        probs: ``(N, C)`` undefended confidence vectors of the defender's samples.
        is_member: ``(N,)`` bool, which of them the target was trained on.
        config: Settings of the training; its seed also seeds the initial weights. Published: SGD with learning rate
            0.001, batches of 64, 400 epochs.
        checkpoint: Checkpoint file for the weights during training.
        resume: Continue from `checkpoint`.
        description: Added to the checkpoint's description.
        on_epoch: Called after every epoch instead of showing a progress bar.
        progress: See `train_classifier`.

    Returns:
        The trained classifier.

    Raises:
        InputError: If the arrays do not match, or members or non-members are missing.
    """
    probs, is_member = check_probs(probs, name="probs"), check_flags(is_member, name="is_member")
    check_same_length({"probs": probs, "is_member": is_member})
    if is_member.all() or not is_member.any():
        raise InputError("is_member", expected="members and non-members", got="only one kind")
    classifier = DefenderClassifier(probs.shape[1], seed=config.seed)
    train_classifier(
        classifier,
        np.sort(probs.astype(np.float32), axis=1),
        is_member,
        config,
        checkpoint=checkpoint,
        checkpoint_every=100,
        resume=resume,
        description={
            "kind": "defender",
            "architecture": {"name": "mlp", "widths": list(classifier.mlp.widths)},
            **(description or {}),
        },
        on_epoch=on_epoch,
        progress=progress,
    )
    return classifier


def classifier_parameters(layers: Sequence[tuple[np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """The layers by their names in a defense's checkpoint."""
    return {
        f"classifier.{k}.{part}": array for k, pair in enumerate(layers) for part, array in zip("Wb", pair, strict=True)
    }


def classifier_layers(parameters: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The inverse of `classifier_parameters`."""
    count = sum(name.startswith("classifier.") for name in parameters) // 2
    return [(parameters[f"classifier.{k}.W"], parameters[f"classifier.{k}.b"]) for k in range(count)]
