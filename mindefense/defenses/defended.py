"""A model behind a defense, and defenses from files."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checkpoint import load_checkpoint
from mindefense.confidence import log_probs, softmax
from mindefense.defenses.base import SearchDefense
from mindefense.defenses.classifier import DefenderClassifier, classifier_layers
from mindefense.defenses.defenmi import DefenMI, DefenMIConfig
from mindefense.defenses.memguard import MemGuard, MemGuardConfig
from mindefense.defenses.reshaping import put_on_top
from mindefense.errors import CheckpointError, InputError
from mindefense.target import BATCH_SIZE, Preparation, forward


def load_defense(path: str | os.PathLike) -> SearchDefense:
    """The defense that `SearchDefense.save` wrote.

    Raises:
        CheckpointError: If the file is missing, damaged or holds something else.
    """
    checkpoint = load_checkpoint(path)
    described = checkpoint.description
    if described.get("kind") != "defense" or described.get("defense") not in ("defenmi", "memguard"):
        held = described.get("kind", "another program's parameters")
        raise CheckpointError(str(path), expected="a defense (defenmi or memguard)", got=held)
    try:
        classifier = DefenderClassifier.from_weights(classifier_layers(checkpoint.parameters))
        if described["defense"] == "memguard":
            return MemGuard(classifier, MemGuardConfig(**described["config"]))
        means = checkpoint.parameters["class_mean_probs"]
        return DefenMI(classifier, means, DefenMIConfig(**described["config"]))
    except (KeyError, TypeError, InputError) as error:
        raise CheckpointError(f"{path} does not hold a whole defense ({error})", fix="fit and save it again") from error


def keyed_laplace(features: np.ndarray, scale: float, key: bytes) -> np.ndarray:
    """Laplace noise that is a function of a secret key and the row: the same query gets the same noise.

    Fresh noise for every query could be averaged away by asking again. Each row seeds a counter-based generator
    (Philox: Salmon et al., SC 2011) with the HMAC-SHA-256 of its bytes.

    Args:
        features: ``(N, ...)`` float32 rows.
        scale: Scale b of the Laplace distribution.
        key: The secret.

    Returns:
        ``(N, ...)`` float32 noise.
    """
    noise = np.empty(features.shape, np.float32)
    # Adding 0 makes -0 and 0 one query, which they are to every network.
    for row, out in zip(np.ascontiguousarray(features, np.float32) + np.float32(0), noise, strict=True):
        digest = hmac.new(key, row.tobytes(), hashlib.sha256).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))
        out[...] = generator.laplace(0.0, scale, row.shape)
    return noise


class DefendedModel(nn.Cell):
    """A model behind a defense: samples in, log-probabilities out.

    It draws the noise of a query itself, keyed, so that the same query gets the same answer.

    Args:
        net: Cell from ``(N, ...)`` float32 to ``(N, C)`` logits.
        defense: What reshapes its answers.
        key: Secret that the noise depends on; None draws a new one, so that answers differ from those of another
            `DefendedModel` of the same parts.
        prepare: Makes the network's inputs of the samples that `respond` is asked about; None if they are the inputs.
        batch_size: Rows that `respond` gives the network at a time.
        on_rows: Called with the number of rows that just came out of the network.
        as_graph: Whether `respond` compiles the network; for large ones.

    Inputs:
        - **x** (Tensor) - ``(N, ...)`` float32. Called from Python, the Cell draws the noise and hands it to
          `construct` as a second input of the same shape; inside another Cell both must be given.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. The same query gets the same noise always; the same bytes it gets
        from `respond`, in whatever company, and from the Cell in batches of one size.

    Supported Platforms:
        ``CPU``
    """

    def __init__(
        self,
        net: nn.Cell,
        defense: SearchDefense,
        *,
        key: bytes | None = None,
        prepare: Preparation | None = None,
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
        as_graph: bool = False,
    ):
        super().__init__()
        self.net = net
        self.defense = defense
        self._key = key if key is not None else secrets.token_bytes(32)
        self._feed: dict[str, Any] = {
            "prepare": prepare,
            "batch_size": batch_size,
            "on_rows": on_rows,
            "as_graph": as_graph,
        }

    def __call__(self, x):
        """Draws the noise for `x`, which no graph can do with a secret key, and runs the graph on both."""
        noise = keyed_laplace(x.asnumpy(), self.defense.noise_scale, self._key) if self.defense.noise_scale else None
        return super().__call__(x, ms.Tensor(noise if noise is not None else np.zeros(x.shape, np.float32)))

    def construct(self, x, noise):
        """Log-probabilities of the defended model."""
        return self.defense(self.net(x), self.net(x + noise))

    def respond(
        self,
        samples: np.ndarray,
        *,
        clean_logits: np.ndarray | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """The same for many rows at once, through the fast driver.

        Args:
            samples: ``(N, ...)`` rows.
            clean_logits: ``(N, C)`` logits of the undefended network for them, if they are known already.
            on_progress: Called with the number of rows just finished.

        Returns:
            ``(N, C)`` float32 log-probabilities.
        """
        if clean_logits is None:
            clean_logits = forward(self.net, samples, **self._feed)
        start_logits = clean_logits
        if scale := self.defense.noise_scale:
            start_logits = forward(
                self.net, samples, noise=lambda inputs: keyed_laplace(inputs, scale, self._key), **self._feed
            )
        clean_probs = softmax(clean_logits)
        put_on_top(clean_probs, clean_logits.argmax(axis=1))  # what rounding has made equal
        return log_probs(self.defense.reshape(clean_probs, start_logits, on_progress=on_progress))
