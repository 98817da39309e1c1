"""An exported graph and a key, and nothing else: what answers strangers."""

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
    """What `export_guarded` wrote, with its key: inputs in, log-probabilities out.

    Neither training nor attacks nor defenses are imported; all that the defense does is in the graph. `query` serves as
    what a `Target` asks. Build it with `load`.

    Args:
        graph: The graph, ready to run.
        manifest: What it is.
        key: The secret, if something is drawn.
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
        """A graph from its files, ready to answer: it has been run once.

        Args:
            path: The graph's name, with or without ``.mindir``; the manifest lies beside it.
            key: The secret, 32 bytes, or the path of the file that holds it; None for a graph that nothing is drawn
                for.
            device_target: ``"CPU"``, ``"GPU"``, ``"Ascend"``, or ``"auto"`` for the first of Ascend, GPU, CPU.
            device_id: Which device of that kind; None for the first.

        Raises:
            CheckpointError: If a file is missing or damaged, or graph and manifest do not belong together.
            InputError: If the key is missing, unreadable or of another length, or one is given where none is needed.
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
        model._graph_file = graph_file.resolve()  # it may be loaded again from another working folder
        model.query(np.zeros((1, *manifest.input_shape), np.float32))  # the first stranger need not wait
        return model

    def query(self, x: np.ndarray) -> np.ndarray:
        """Answers queries; the same query with the same bytes, in whatever company.

        That holds for a graph of fixed batch size, a multiple of 64. With another size a row's place in the batch may
        show in the last digits of a logarithm, since a CPU takes several at a time and the rest one by one; with no
        fixed size, the number of rows asked about together may show in the last digits of the network's logits, and so
        in the steps of a search.

        Args:
            x: ``(N, ...)`` inputs, N ≥ 1, finite. Prepared as training prepared them, if the manifest says so.

        Returns:
            ``(N, C)`` float32 log-probabilities, of rows that sum to 1.

        Raises:
            InputError: If `x` is not such an array, or what the graph says of it is not fit to be an answer.
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
            # When its global state has changed, MindSpore may compile a loaded graph anew, and then stumbles over what
            # is left of the first time. The same file, loaded afresh, is another graph to it.
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
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite
            x = np.ascontiguousarray(x, np.float32)
        is_finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        if not is_finite.all():
            raise InputError(f"x row {is_finite.argmin()}", expected="finite float32", got="NaN or infinity")
        return x


def _graph(file: Path, manifest: Manifest) -> nn.Cell:
    """The graph of a file, ready to be asked."""
    graph = nn.GraphCell(ms.load(str(file)))
    if manifest.batch_size is None:
        drawn = manifest.input_shape if manifest.noise_scale else (manifest.draws,)
        shapes = [manifest.input_shape, *([drawn] if manifest.is_random else [])]
        graph.set_inputs(*(ms.Tensor(shape=[None, *shape], dtype=ms.float32) for shape in shapes))
    return graph


def _secret(manifest: Manifest, key: bytes | str | os.PathLike | None, fix: str) -> bytes | None:
    """The key, which is there exactly when something is drawn."""
    if not manifest.is_random:
        if key is not None:
            name = manifest.defense or "the bare model"
            raise InputError("key", expected=f"none, for {name} draws nothing", got="one", fix="leave it out")
        return None
    if key is None:
        expected = f"the secret that {manifest.inputs[1]} is drawn with"
        raise InputError("key", expected=expected, got="none", fix=fix)
    if not isinstance(key, (bytes, bytearray, memoryview)):
        return read_key(key)
    secret = bytes(key)
    if len(secret) != KEY_BYTES:  # such as the digits in a key's file, which would give other noise
        fix = "pass the path of the key's file, not what it holds"
        raise InputError("key", expected=f"{KEY_BYTES} bytes, or a path", got=f"{len(secret)} bytes", fix=fix)
    return secret
