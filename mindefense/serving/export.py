"""Export of target and defense as one graph."""

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
"""MindSpore writes larger parameters to separate files."""


class _Bare(nn.Cell):
    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, x):
        """Log-probabilities of the model without a defense."""
        return ops.log_softmax(self.net(x), 1)


# The arguments' names become the names of the graph's inputs.


class _Alone(nn.Cell):
    def __init__(self, model: DefendedModel):
        super().__init__()
        self.model = model

    def construct(self, x):
        """Log-probabilities of a model whose defense is not randomized."""
        return self.model.construct(x, x)  # the second is ignored


class _Noised(_Alone):
    def construct(self, x, noise):
        """Log-probabilities of a model whose defense also evaluates a noised input."""
        return self.model.construct(x, noise)


class _Drawing(_Alone):
    def construct(self, x, draws):
        """Log-probabilities of a model whose defense uses uniform random numbers."""
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
    """Exports a model and its defense as one graph, and writes a manifest that describes the graph.

    The graph is written to ``<path>.mindir``, the manifest to ``<path>.json``. If either cannot be written, existing
    files stay as they are. If the process dies between the two, the new manifest is left beside the old graph.
    `GuardedModel.load` refuses this pair, since the manifest has the graph's SHA-256; then export again.

    The graph's inputs are `x` and `noise` for a defense with a `noise_scale`, `x` and `draws` for a defense with
    `draws`, and otherwise `x` alone. The second input depends on a secret key, which is in neither file. The output is
    ``(N, C)`` float32 log-probabilities. `GuardedModel` supplies the second input; ``mindspore.load`` and
    ``nn.GraphCell`` run the graph without this package.

    Args:
        net: Cell from ``(N, ...)`` float32 to ``(N, C)`` logits. It is not changed.
        defense: The defense that reshapes its answers; None for the model without a defense, for comparison.
        path: Path of the files, without a suffix. An earlier export is replaced, even if it is damaged or was written
            by another version.
        input_shape: Shape of one input.
        batch_size: Rows per call of the graph, best a multiple of 64 (see `GuardedModel.query`); None for any number,
            which may take several times as long.
        prepared: Description of the preparation of samples; None if the samples are the inputs.
        amp: Precision of `net`, as in `Study`, for the manifest; the graph has the precision of `net`.
        sources: Name → SHA-256 of the files that `net` and `defense` come from, for the manifest.

    Returns:
        The manifest.

    Raises:
        InputError: If `net` does not accept such inputs or does not compile, the defense is for another number of
            classes, or the parameters exceed 1 GiB.
        OutputError: If the files cannot be written, or a file of another program has the manifest's name.
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
    # The manifest is written first, since it is small and can be restored if writing the graph fails.
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
    """Refuses to replace other programs' JSON files, such as a study's; any earlier export may be replaced."""
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
    """Restores a small file, or removes it if it did not exist, if the block fails."""
    before = path.read_bytes() if path.exists() else None
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError, OutputError):  # the first error is the one to report
            if before is None:
                path.unlink(missing_ok=True)
            elif path.read_bytes() != before:
                with replacing(path) as beside:
                    beside.write_bytes(before)
        raise


def _most_passes(defense: Defense | None) -> int | None:
    """Largest number of passes of the defense's search; None if it does not search."""
    cells = [] if defense is None else [cell for _, cell in defense.cells_and_names()]
    return next((cell.config.most_passes for cell in cells if isinstance(cell, SearchDefense)), None)


def _joined(net: nn.Cell, defense: Defense | None) -> nn.Cell:
    """The whole graph as a Cell."""
    if defense is None:
        return _Bare(net)
    model = DefendedModel(net, defense)
    return (_Noised if model.is_noised else _Drawing if defense.draws else _Alone)(model)


def _example(batch_size: int | None, shape: tuple[int, ...]) -> ms.Tensor:
    """An example input for the compilation."""
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
    """Sets `net` to evaluation, and restores it, including its parameters' names, which the Cells around it change."""
    was_training = net.training
    names = [(parameter, parameter.name) for parameter in net.get_parameters()]
    net.set_train(False)
    try:
        yield
    finally:
        net.set_train(was_training)
        for parameter, name in names:
            parameter.name = name
