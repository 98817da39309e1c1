"""The attack network with one branch for the confidences and one for the true label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mindspore import nn, ops

from mindefense.errors import InputError
from mindefense.models.mlp import MLP

CONFIDENCE_WIDTHS = (1024, 512, 64)
"""Widths of the branch of the confidences (Nasr et al. 2018, section 5.1)."""
LABEL_WIDTHS = (512, 64)
"""Widths of the branch of the one-hot true label."""
JOINT_WIDTHS = (256, 64)
"""Hidden widths after both branches."""


class NSH(nn.Cell):
    """The black-box attack network of Nasr, Shokri & Houmansadr; returns a logit.

    One branch for the confidences, one for the one-hot true label, and layers over both, all dense with ReLU between
    them (CCS 2018, "Machine Learning with Membership Privacy using Adversarial Regularization", section 5.1; IEEE
    S&P 2019, section III). It consists of three `MLP`, each with its own initial weights.

    Args:
        classes: Number of classes C, at least 1.
        seed: Seeds the initial weights.

    Inputs:
        - **x** (Tensor) - ``(N, 2C)`` float32: confidences in the order of the classes, then the one-hot label.

    Outputs:
        Tensor, ``(N, 1)`` float32 membership logits.

    Raises:
        InputError: If there is no class.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np, mindspore as ms
        >>> NSH(30)(ms.Tensor(np.zeros((2, 60), np.float32))).shape
        (2, 1)
    """

    def __init__(self, classes: int, *, seed: int = 0):
        super().__init__()
        if classes < 1:
            raise InputError("classes", expected="at least 1", got=repr(classes))
        self.classes = int(classes)
        of_confidence, of_label, of_joint = (int(s) for s in np.random.SeedSequence(seed).generate_state(3))
        self.confidence = MLP((self.classes, *CONFIDENCE_WIDTHS), seed=of_confidence)
        self.label = MLP((self.classes, *LABEL_WIDTHS), seed=of_label)
        self.joint = MLP((CONFIDENCE_WIDTHS[-1] + LABEL_WIDTHS[-1], *JOINT_WIDTHS, 1), seed=of_joint)

    def construct(self, x):
        """The membership logits of `x`."""
        branches = (self.confidence(x[:, : self.classes]), self.label(x[:, self.classes :]))
        return self.joint(ops.relu(ops.concat(branches, 1)))

    @property
    def branches(self) -> tuple[int, int]:
        """Number of layers of each of the two branches, which come first in `weights`."""
        return len(self.confidence.layers), len(self.label.layers)

    def weights(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """``(W (in, out), b (out,))`` float32 of every layer, copied: confidences, label, then both together."""
        return [layer for part in (self.confidence, self.label, self.joint) for layer in part.weights()]

    def load_weights(self, weights: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Sets ``(W (in, out), b (out,))`` of every layer, in the order of `weights`.

        Raises:
            InputError: If the number of layers or a shape does not fit this network.
        """
        first, second = self.branches
        self.confidence.load_weights(weights[:first])
        self.label.load_weights(weights[first : first + second])
        self.joint.load_weights(weights[first + second :])


def nsh_inputs(probs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The inputs of `NSH`: confidences beside the one-hot true labels, both times √C.

    With this factor a one-hot row has the mean square 1, for which the initialization is designed. Without it, plain
    descent makes no progress in the first several hundred epochs.

    Args:
        probs: ``(N, C)`` confidence vectors.
        labels: ``(N,)`` true labels.

    Returns:
        ``(N, 2C)`` float32.
    """
    one_hot = np.arange(probs.shape[1]) == labels[:, None]
    return (np.concatenate((probs, one_hot), axis=1) * np.sqrt(probs.shape[1])).astype(np.float32)
