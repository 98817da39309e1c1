"""The only door an attacker has to a model: samples in, log-probabilities out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checks import check_logits
from mindefense.confidence import log_softmax
from mindefense.errors import InputError

BATCH_SIZE = 64
"""Rows that a network is given at a time."""


def forward(net: nn.Cell, features: np.ndarray, *, batch_size: int = BATCH_SIZE) -> np.ndarray:
    """Logits of all rows, batch by batch.

    Args:
        net: Cell from ``(n, ...)`` float32 to ``(n, C)`` logits.
        features: ``(N, ...)`` rows.
        batch_size: Rows a batch; the last batch is filled up, so that the network sees one shape and a row's logits
            do not depend on how many rows are asked about.

    Returns:
        ``(N, C)`` float32 logits.

    Raises:
        InputError: If `net` does not take such rows, or answers with NaN or another shape.
    """
    n = len(features)
    if not n:
        raise InputError("features", expected="at least one row", got="none")
    batch = batch_size
    was_training = net.training
    net.set_train(False)
    logits = []
    try:
        for first in range(0, n, batch):
            rows = features[first : first + batch].astype(np.float32, copy=False)
            missing = batch - len(rows)
            if missing:
                rows = np.concatenate((rows, np.repeat(rows[-1:], missing, axis=0)))
            logits.append(net(ms.Tensor(rows)).asnumpy()[: batch - missing])
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(
            "features",
            expected="rows that the network takes",
            got=f"shape {features.shape} and {str(error).strip().splitlines()[0]}",
            fix="give the network that belongs to this data set",
        ) from error
    finally:
        net.set_train(was_training)
    return check_logits(np.concatenate(logits), name="logits of the network").astype(np.float32, copy=False)


class Target:
    """A model that answers queries, counts them, and gives the same sample the same answer.

    Args:
        respond: ``(N, ...)`` float32 rows → ``(N, C)`` float32 log-probabilities.

    Attributes:
        queries: Rows that reached the model; what was asked before is answered from memory and not counted.
    """

    def __init__(self, respond: Callable[[np.ndarray], np.ndarray]):
        self._respond = respond
        self._answers: dict[bytes, np.ndarray] = {}
        self.queries = 0

    @classmethod
    def from_cell(cls, net: nn.Cell, *, batch_size: int = BATCH_SIZE) -> Target:
        """The target that a Cell from rows to logits (or log-probabilities) is."""
        return cls(lambda features: log_softmax(forward(net, features, batch_size=batch_size)))

    def query(self, features: np.ndarray) -> np.ndarray:
        """Log-probabilities ``(N, C)`` float32 of rows ``(N, ...)``.

        Raises:
            InputError: If there are no rows, or the model does not take them.
        """
        if not len(features):
            raise InputError("features", expected="at least one row", got="none")
        keys = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in np.ascontiguousarray(features)]
        new = {key: position for position, key in enumerate(keys) if key not in self._answers}
        if new:
            answers = self._respond(features[list(new.values())])
            self._answers.update(zip(new, answers, strict=True))
            self.queries += len(new)
        return np.stack([self._answers[key] for key in keys])
