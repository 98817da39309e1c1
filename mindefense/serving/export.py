"""Target and defense as one graph in a file."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from mindefense.defenses.base import Defense, SearchDefense
from mindefense.defenses.defended import DefendedModel
from mindefense.errors import InputError, OutputError
from mindefense.files import now, replacing, sha256_of_file, write_json
from mindefense.runtime import versions
from mindefense.serving.manifest import KIND, Manifest, files_of
from mindefense.targets.base import BATCH_SIZE
from mindefense.targets.cell import Network

MOST_BYTES = 2**30
"""Parameters beyond this MindSpore writes into files of their own."""


class _Bare(nn.Cell):
    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, x):
        """Log-probabilities of the model without a defense."""
        return ops.log_softmax(self.net(x), 1)


# The names of a graph's inputs are those of the arguments.


class _Alone(nn.Cell):
    def __init__(self, model: DefendedModel):
        super().__init__()
        self.model = model

    def construct(self, x):
        """Log-probabilities of a defended model that draws nothing."""
        return self.model.construct(x, x)  # the second is ignored


class _Noised(_Alone):
    def construct(self, x, noise):
        """Log-probabilities of a defended model that asks about a noised input too."""
        return self.model.construct(x, noise)


class _Drawing(_Alone):
    def construct(self, x, draws):
        """Log-probabilities of a defended model that draws numbers."""
        return self.model.construct(x, draws)


def export_guarded(
    net: nn.Cell,
    defense: Defense | None,
    path: str | os.PathLike,
    *,
    input_shape: Sequence[int],
    batch_size: int | None = BATCH_SIZE,
    prepared: str | None = None,
    amp: str = "O0",
    sources: Mapping[str, str] | None = None,
) -> Manifest:
    """Puts a model and the defense in front of it into one graph, and says beside it what the graph is.

    The graph goes to ``<path>.mindir``, the manifest to ``<path>.json``. If either cannot be written, what was there
    stays. A process that dies between the two leaves the new manifest beside the old graph, which `GuardedModel.load`
    refuses, since the manifest holds the graph's SHA-256; then export again.

    The graph's inputs are `x` and `noise` for a defense with a `noise_scale`, `x` and `draws` for one that draws, else
    `x` alone; what to feed as the second one depends on a secret key, which is in neither file. Its output is ``(N,
    C)`` float32 log-probabilities. `GuardedModel` does the feeding; ``mindspore.load`` and ``nn.GraphCell`` run the
    graph without this package.

    Args:
        net: Cell from ``(N, ...)`` float32 to ``(N, C)`` logits. It is left as it was.
        defense: What reshapes its answers; None for the bare model, to compare with.
        path: Where to, without a suffix. An earlier export is replaced, also one that is damaged or of another version.
        input_shape: Shape of one input.
        batch_size: Rows that the graph takes at a time, best a multiple of 64 (see `GuardedModel.query`); None for any
            number, which may take a multiple of the time.
        prepared: What makes the inputs of samples, in words, if they are not the samples themselves.
        amp: Precision that `net` was set to, as `Study` takes it, for the manifest; the graph computes as `net` does.
        sources: Name → SHA-256 of the files that `net` and `defense` come from, for the manifest.

    Returns:
        The manifest.

    Raises:
        InputError: If `net` does not take such inputs or does not compile, the defense is for another number of
            classes, or the parameters exceed 1 GiB.
        OutputError: If the files cannot be written, or another program's file has the manifest's name.
    """
    shape = tuple(int(size) for size in input_shape)
    if batch_size is not None and batch_size < 1:
        raise InputError("batch_size", expected="at least 1, or None for any", got=str(batch_size))
    classes = Network(net, batch_size=1).logits(np.zeros((1, *shape), np.float32)).shape[1]
    if defense is not None and defense.classes not in (None, classes):
        raise InputError(
            "defense",
            expected=f"one for {classes} classes, as the network has",
            got=f"one for {defense.classes}",
            fix="use the defense fitted for this network",
        )
    size = sum(parameter.nbytes for parameter in net.get_parameters())
    if size > MOST_BYTES:
        got = f"{size / 2**30:.1f} GiB"
        raise InputError("net", expected="parameters of at most 1 GiB, which one file holds", got=got)
    noise_scale = 0.0 if defense is None else float(defense.noise_scale)
    draws = 0 if defense is None or noise_scale else defense.draws
    shapes = [shape, *([shape] if noise_scale else []), *([(draws,)] if draws else [])]
    graph, manifest, _ = files_of(path)
    _check_free(graph, manifest)
    # On failure the manifest is what is put back, since it is small: it has to take its place first.
    with _restoring(manifest), replacing(graph) as graph_beside:
        with _in_peace(net):
            _write_graph(_joined(net, defense), [_example(batch_size, shape) for shape in shapes], graph_beside)
        described = Manifest(
            sha256=sha256_of_file(graph_beside),
            classes=classes,
            input_shape=shape,
            batch_size=batch_size,
            prepared=prepared,
            noise_scale=noise_scale,
            draws=draws,
            keeps_labels=defense is None or bool(defense.keeps_labels),
            most_passes=_most_passes(defense),
            amp=amp,
            defense=None if defense is None else defense.name,
            config={} if defense is None else defense.settings(),
            sources=dict(sources or {}),
            versions=versions(),
            created=now(),
            network=type(net).__name__,
            parameters=sum(parameter.size for parameter in net.get_parameters()),
        )
        write_json(manifest, described.as_json())
    return described


def _check_free(graph: Path, manifest: Path) -> None:
    """A study, for one, keeps JSON files too; of our own also those are replaced that nobody can read any more."""
    if not manifest.exists():
        return
    try:
        held = json.loads(manifest.read_text(encoding="utf-8"))
        is_ours = isinstance(held, dict) and held.get("kind") == KIND
    except OSError as error:
        raise OutputError(f"cannot read {manifest}: {error.strerror}", fix="choose another name") from error
    except ValueError:  # no JSON at all
        is_ours = graph.is_file()
    if not is_ours:
        raise OutputError(f"{manifest} is no manifest of a graph", fix="choose another name")


@contextlib.contextmanager
def _restoring(path: Path) -> Iterator[None]:
    """Puts a small file back as it was, or takes it away, if what is done meanwhile fails."""
    before = path.read_bytes() if path.exists() else None
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, OutputError):  # the first error is the one to tell
            if before is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != before:
                with replacing(path) as beside:
                    beside.write_bytes(before)
        raise


def _most_passes(defense: Defense | None) -> int | None:
    """The ceiling of the search inside a defense, if there is one."""
    cells = [] if defense is None else [cell for _, cell in defense.cells_and_names()]
    return next((cell.config.most_passes for cell in cells if isinstance(cell, SearchDefense)), None)


def _joined(net: nn.Cell, defense: Defense | None) -> nn.Cell:
    """The whole graph as a Cell."""
    if defense is None:
        return _Bare(net)
    model = DefendedModel(net, defense)
    return (_Noised if model.is_noised else _Drawing if defense.draws else _Alone)(model)


def _example(batch_size: int | None, shape: tuple[int, ...]) -> ms.Tensor:
    """A stand-in for an input."""
    if batch_size is None:
        return ms.Tensor(shape=[None, *shape], dtype=ms.float32)
    return ms.Tensor(np.zeros((batch_size, *shape), np.float32))


def _write_graph(cell: nn.Cell, examples: list[ms.Tensor], path: Path) -> None:
    try:
        ms.export(cell, *examples, file_name=str(path), file_format="MINDIR")
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError("net", expected="a Cell that compiles to a graph", got=said) from error


@contextlib.contextmanager
def _in_peace(net: nn.Cell) -> Iterator[None]:
    """Has `net` answer as in use, and gives it back as it was: the Cells around it give its parameters other names."""
    was_training = net.training
    names = [(parameter, parameter.name) for parameter in net.get_parameters()]
    net.set_train(False)
    try:
        yield
    finally:
        net.set_train(was_training)
        for parameter, name in names:
            parameter.name = name
