"""Serving of an exported graph with its key; needs nothing else of this package."""

from __future__ import annotations

import os
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn

from mindefense.checks import check_logits, check_probs
from mindefense.errors import CheckpointError, InputError
from mindefense.files import sha256_of_file
from mindefense.keyed_noise import KEY_BYTES, KeyedDraws, KeyedNoise, read_key
from mindefense.runtime import compiled, use_device
from mindefense.serving.manifest import Manifest, files_of


class GuardedModel:
    """An exported graph with its key: it maps inputs to log-probabilities.

    Neither training nor attacks nor defenses are imported, since the graph contains the whole defense. `query` can be
    the function of a `Target`. Build it with `load`.

    Args:
        graph: The graph, ready to run.
        manifest: The graph's description.
        key: The secret key, if the defense is randomized.
    """

    def __init__(self, graph: nn.Cell, manifest: Manifest, key: bytes | None):
        self.manifest = manifest
        self._graph = graph
        self._graph_file: Path | None = None
        self._draw = None
        if key is not None and manifest.noise_scale:
            self._draw = KeyedNoise.of(key, manifest.noise_scale)
        elif key is not None:
            self._draw = KeyedDraws.of(key, manifest.draws)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike,
        key: bytes | str | os.PathLike | None = None,
        *,
        device_target: str = "auto",
        device_id: int | None = None,
    ) -> GuardedModel:
        """Loads a graph from its files and runs it once, so that it is ready to answer.

        Args:
            path: The graph's path, with or without ``.mindir``; the manifest is in the same folder.
            key: The secret key, 32 bytes, or the path of its file; None for a graph without random numbers.
            device_target: ``"CPU"``, ``"GPU"``, ``"Ascend"``, or ``"auto"`` for the first of Ascend, GPU, CPU.
            device_id: Number of the device of that kind; None for the first.

        Raises:
            CheckpointError: If a file is missing or damaged, or graph and manifest do not belong together.
            InputError: If the key is missing, unreadable or of another length, or a key is passed but not needed.
            DeviceError: If there is no such device.
        """
        graph_file, manifest_file, key_file = files_of(path)
        manifest = Manifest.read(manifest_file)
        secret = _secret(manifest, key, f"give the key, such as {key_file}")
        fix = "copy both files again, or export again"
        try:
            found = sha256_of_file(graph_file)
        except OSError as error:
            raise CheckpointError(f"no graph at {graph_file} ({error.strerror})", fix=fix) from error
        if found != manifest.sha256:
            expected, got = f"SHA-256 {manifest.sha256[:12]}…, as {manifest_file.name} says", f"{found[:12]}…"
            raise CheckpointError(str(graph_file), expected=expected, got=got, fix=fix)
        use_device(device_target, device_id=device_id)
        try:
            graph = _graph(graph_file, manifest)
        except (RuntimeError, ValueError) as error:
            said = str(error).strip().splitlines()[0]
            raise CheckpointError(str(graph_file), expected="a graph that loads", got=said, fix=fix) from error
        model = cls(graph, manifest, secret)
        model._graph_file = graph_file.resolve()  # absolute: the working folder may change
        model.query(np.zeros((1, *manifest.input_shape), np.float32))  # compiles the graph
        return model

    def query(self, x: np.ndarray) -> np.ndarray:
        """Answers queries; the same query gets the same bytes, whatever other rows are queried with it.

        This holds for a graph with a fixed batch size that is a multiple of 64. With another fixed size, the last
        digits of a logarithm may depend on the row's position in the batch, since a CPU computes most logarithms in
        groups and the remaining ones singly. Without a fixed size, the last digits of the network's logits, and thus
        the steps of a search, may depend on the number of rows in a query.

        Args:
            x: ``(N, ...)`` finite inputs, N ≥ 1, prepared as in training if the manifest has a preparation.

        Returns:
            ``(N, C)`` float32 logarithms of probabilities that sum to 1.

        Raises:
            InputError: If `x` is not such an array, or the graph's output is not valid.
        """
        x = self._checked(x)
        batch = self.manifest.batch_size or len(x)
        return np.concatenate([self._answer(x[first : first + batch], batch) for first in range(0, len(x), batch)])

    def _answer(self, x: np.ndarray, batch: int) -> np.ndarray:
        """The checked answers to at most a batch."""
        real = len(x)
        feeds = [x] if self._draw is None else [x, self._draw(x)]
        if real < batch:
            feeds = [np.concatenate((feed, np.repeat(feed[-1:], batch - real, axis=0))) for feed in feeds]
        try:
            answers = self._run(feeds)[:real]
        except (RuntimeError, ValueError, TypeError) as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise InputError("x", expected="inputs that the graph runs on", got=said) from error
        if answers.shape != (real, self.manifest.classes):
            expected = f"shape {(real, self.manifest.classes)}"
            raise InputError("answer of the graph", expected=expected, got=str(answers.shape), fix="export again")
        answers = check_logits(answers, name="answer of the graph").astype(np.float32, copy=False)
        check_probs(np.exp(answers), name="answer of the graph")
        return answers

    def _run(self, feeds: list[np.ndarray]) -> np.ndarray:
        try:
            with compiled():
                return self._graph(*map(ms.Tensor, feeds)).asnumpy()
        except RuntimeError as error:
            # If its global state has changed, MindSpore may compile a loaded graph again, which fails because of actors
            # left from the first compilation. Loading the file again makes a new graph, without them.
            if self._graph_file is None or "actor already exists" not in str(error):
                raise
            self._graph = _graph(self._graph_file, self.manifest)
            with compiled():
                return self._graph(*map(ms.Tensor, feeds)).asnumpy()

    def _checked(self, x: np.ndarray) -> np.ndarray:
        """`x` as contiguous float32."""
        manifest = self.manifest
        x = np.asarray(x)
        if x.shape[1:] != manifest.input_shape or x.ndim == 0 or not len(x):
            expected = f"shape (N, {', '.join(map(str, manifest.input_shape))}) with at least one row"
            fix = "pass x[None] for a single input" if x.shape == manifest.input_shape else None
            raise InputError("x", expected=expected, got=str(x.shape), fix=fix)
        if x.dtype.kind not in ("f" if manifest.prepared else "fiub"):
            expected = f"what {manifest.prepared} makes, float32" if manifest.prepared else "real numbers"
            raise InputError("x", expected=expected, got=str(x.dtype))
        with np.errstate(over="ignore"):  # values out of range become infinite
            x = np.ascontiguousarray(x, np.float32)
        is_finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        if not is_finite.all():
            raise InputError(f"x row {is_finite.argmin()}", expected="finite float32", got="NaN or infinity")
        return x


def _graph(file: Path, manifest: Manifest) -> nn.Cell:
    """The graph of a file, ready to run."""
    graph = nn.GraphCell(ms.load(str(file)))
    if manifest.batch_size is None:
        drawn = manifest.input_shape if manifest.noise_scale else (manifest.draws,)
        shapes = [manifest.input_shape, *([drawn] if manifest.is_random else [])]
        graph.set_inputs(*(ms.Tensor(shape=[None, *shape], dtype=ms.float32) for shape in shapes))
    return graph


def _secret(manifest: Manifest, key: bytes | str | os.PathLike | None, fix: str) -> bytes | None:
    """The key; None exactly if the graph has no random numbers."""
    if not manifest.is_random:
        if key is not None:
            name = manifest.defense or "the bare model"
            raise InputError("key", expected=f"none, since {name} draws nothing", got="one", fix="leave it out")
        return None
    if key is None:
        expected = f"the secret that {manifest.inputs[1]} is drawn with"
        raise InputError("key", expected=expected, got="none", fix=fix)
    if not isinstance(key, (bytes, bytearray, memoryview)):
        return read_key(key)
    secret = bytes(key)
    if len(secret) != KEY_BYTES:  # such as the hexadecimal text of a key's file
        fix = "pass the path of the key's file, not its content"
        raise InputError("key", expected=f"{KEY_BYTES} bytes, or a path", got=f"{len(secret)} bytes", fix=fix)
    return secret
