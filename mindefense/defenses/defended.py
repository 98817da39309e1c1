"""A model behind a defense, and defenses from files."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Sequence

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checkpoint import load_checkpoint
from mindefense.defenses.base import Defense
from mindefense.defenses.registry import classes
from mindefense.defenses.target import DefendedAnswers
from mindefense.errors import CheckpointError, InputError
from mindefense.targets.base import BATCH_SIZE, Executor, InputTransform
from mindefense.targets.cell import Network

DEFENSES = classes()
"""All defenses by the names that files give them."""


def load_defense(path: str | os.PathLike, *, own: Sequence[type[Defense]] = ()) -> Defense:
    """The defense that `Defense.save` wrote.

    Args:
        path: The file.
        own: Classes of defenses from outside that it may hold, beside those of this package.

    Raises:
        CheckpointError: If the file is missing, damaged or holds something else.
    """
    checkpoint = load_checkpoint(path)
    described = checkpoint.description
    known = {**DEFENSES, **{kind.name: kind for kind in own}}
    kind = known.get(described.get("defense", ""))
    if described.get("kind") != "defense" or kind is None:
        held = described.get("defense") or described.get("kind", "another program's parameters")
        raise CheckpointError(str(path), expected=f"a defense ({', '.join(known)})", got=held)
    try:
        return kind.restore(described["config"], checkpoint.parameters)
    except (KeyError, TypeError, InputError) as error:
        raise CheckpointError(f"{path} does not hold a whole defense ({error})", fix="fit and save it again") from error


class DefendedModel(nn.Cell):
    """A model behind a defense: samples in, log-probabilities out.

    It draws the noise of a query, and whatever else the defense needs, itself and keyed, so that the same query gets
    the same answer. A query that differs in one bit is another one: keys do not stop who averages over neighbors.

    Args:
        net: Cell from ``(N, ...)`` float32 to ``(N, C)`` logits.
        defense: What reshapes its answers.
        key: Secret that all that is drawn depends on; None draws a new one, so that answers differ from those of
            another `DefendedModel` of the same parts.
        noise: ``"keyed"`` answers the same query the same way always. ``"fresh"`` draws anew each time: it is here to
            show that an attacker who asks again and takes the mean undoes the defense.
        prepare: Makes the network's inputs of the samples that `respond` is asked about; None if they are the inputs.
        batch_size: Rows that `respond` gives the network at a time.
        on_rows: Called with the number of rows that just came out of the network.
        as_graph: Whether `respond` compiles the network; for large ones.
        spread: Has `respond` work on many ranks; None to work here alone.

    Inputs:
        - **x** (Tensor) - ``(N, ...)`` float32. Called from Python, the Cell draws what the defense needs and hands it
          to `construct` as a second input: noise of the shape of `x` for a defense with a `noise_scale`; ``(N,
          draws)`` uniform numbers for one that draws; ``(N, 1)`` zeros else. Inside another Cell both must be given.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. The same query gets the same answer always, unless `noise` is
        ``"fresh"``; the same bytes from `respond`, in whatever company, and from the Cell in batches of one size that
        is a multiple of 64: a CPU takes several logarithms at a time and the rest one by one, which shows in the last
        digits.

    Raises:
        InputError: If `noise` is neither.

    Supported Platforms:
        ``CPU``
    """

    def __init__(
        self,
        net: nn.Cell,
        defense: Defense,
        *,
        key: bytes | None = None,
        noise: str = "keyed",
        prepare: InputTransform | None = None,
        batch_size: int = BATCH_SIZE,
        on_rows: Callable[[int], None] | None = None,
        as_graph: bool = False,
        spread: Executor | None = None,
    ):
        super().__init__()
        network = Network(
            net, prepare=prepare, batch_size=batch_size, on_rows=on_rows, as_graph=as_graph, spread=spread
        )
        key = key if key is not None else secrets.token_bytes(32)
        self._answers = DefendedAnswers(network, defense, key=key, noise=noise)
        self.net = net
        self.defense = defense
        self.is_noised = defense.noise_scale > 0
        self._calls = itertools.count()

    def __call__(self, x):
        """Draws for `x`, which no graph can do with a secret key, and runs the graph on both."""
        again = next(self._calls)
        if self.is_noised:
            second = self._answers.noise(again)(x.asnumpy())
        elif self.defense.draws:
            second = self._answers.draws(again)(x.asnumpy())
        else:
            second = np.zeros((len(x), 1), np.float32)
        return super().__call__(x, ms.Tensor(second))

    def construct(self, x, second):
        """Log-probabilities of the defended model."""
        if self.is_noised:
            second = self.net(x + second)
        return self.defense(self.net(x), second)

    def respond(
        self,
        samples: np.ndarray,
        *,
        clean_logits: np.ndarray | None = None,
        again: int = 0,
        on_progress: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """The same for many rows at once, through the fast driver.

        Args:
            samples: ``(N, ...)`` rows.
            clean_logits: ``(N, C)`` logits of the undefended network for them, if they are known already.
            again: 0 for the first answer, k for the answer when the same is asked for the k-th time more. Answers
                differ with ``noise="fresh"`` only.
            on_progress: Called with the number of rows just finished.

        Returns:
            ``(N, C)`` float32 log-probabilities.

        Raises:
            InputError: If there are no rows, the network does not take them, or `again` is negative.
        """
        return self._answers.respond(samples, clean_logits=clean_logits, again=again, on_progress=on_progress)
