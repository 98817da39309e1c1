"""Models with a defense, and the loading of defenses from files."""

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
        own: The user's own classes of defenses that the file may hold.

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
    """A model behind a defense: it maps samples to log-probabilities.

    All random numbers of the defense are a function of a secret key and the query, so that the same query gets the
    same answer. A query that differs in one bit gets other random numbers: a key does not prevent an attacker from
    averaging over similar queries.

    Args:
        net: Cell from ``(N, ...)`` float32 to ``(N, C)`` logits.
        defense: The defense that reshapes its answers.
        key: Secret key of all random numbers; None draws a new one, so that answers differ from those of another
            `DefendedModel` with the same network and defense.
        noise: ``"keyed"`` gives the same query the same answer every time. ``"fresh"`` draws new numbers each time; it
            serves to show that an attacker who averages repeated answers defeats such a defense.
        prepare: Converts the samples of `respond` to the network's inputs; None if they are the inputs.
        batch_size: Rows per batch of `respond`.
        on_rows: Called with the number of rows that the network has just processed.
        as_graph: Whether `respond` compiles the network; useful for large networks.
        spread: Distributes the work of `respond` over many ranks; None to work on this one alone.

    Inputs:
        - **x** (Tensor) - ``(N, ...)`` float32. Called from Python, the Cell draws the random numbers of the defense
          and passes them to `construct` as a second input: noise of the shape of `x` for a defense with a
          `noise_scale`; ``(N, draws)`` uniform numbers for a defense with `draws`; otherwise ``(N, 1)`` zeros. Inside
          another Cell both inputs must be passed.

    Outputs:
        Tensor, ``(N, C)`` float32 log-probabilities. The same query always gets the same answer, unless `noise` is
        ``"fresh"``. The answers of `respond` are equal to the last bit, whatever other rows are queried with them.
        The answers of the Cell are, too, in batches of one fixed size that is a multiple of 64; with other sizes the
        last digits may differ, because a CPU computes most logarithms in groups and the remaining ones singly.

    Raises:
        InputError: If `noise` has another value.

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
        """Draws the random numbers for `x` outside the graph, since they depend on a secret key, and runs the graph."""
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
        """Answers many rows at once, with the faster NumPy search.

        Args:
            samples: ``(N, ...)`` rows.
            clean_logits: ``(N, C)`` logits of the undefended network for these rows, if they are known.
            again: 0 for the first answer, k for the answer to the k-th repetition of the query. Answers differ only
                with ``noise="fresh"``.
            on_progress: Called with the number of rows just finished.

        Returns:
            ``(N, C)`` float32 log-probabilities.

        Raises:
            InputError: If there are no rows, the network does not take them, or `again` is negative.
        """
        return self._answers.respond(samples, clean_logits=clean_logits, again=again, on_progress=on_progress)
