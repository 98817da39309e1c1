"""Defends any number of recorded confidence vectors, chunk by chunk, into one file; interrupted runs can resume."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import hmac
import json
import operator
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mindefense import __version__
from mindefense.data.vectors import Block, RecordedVectors
from mindefense.defenses.base import Defense, SearchDefense
from mindefense.defenses.driver import put_on_top
from mindefense.errors import InputError, OutputError
from mindefense.files import check_writable, replacing
from mindefense.keyed_noise import KeyedDraws

OUTPUT = "defended_outputs.npy"
"""The output file. Until it is complete, its name ends in ``.part``. A JSON file beside it describes its content."""
_FREE_SPACE = "make room on the disk and go on with --resume"


@dataclasses.dataclass(frozen=True)
class Tally:
    """Counts over the rows that are defended so far.

    Attributes:
        rows: Number of rows.
        labels_changed: Number of rows whose predicted class changed.
        l1_sum: Sum of the L1 distances between vectors before and after the defense.
        fallbacks: Rows for which the search found nothing, so that they get the fallback; None for a defense without
            a search.
        rescaled: Rows that did not sum to 1 because of rounding, and were first divided by their sum.
        resumed: Rows that an earlier run had done.
    """

    rows: int = 0
    labels_changed: int = 0
    l1_sum: float = 0.0
    fallbacks: int | None = None
    rescaled: int = 0
    resumed: int = 0

    @property
    def mean_l1(self) -> float:
        """The mean L1 distance of a row."""
        return self.l1_sum / self.rows if self.rows else 0.0


def defend_vectors(
    vectors: RecordedVectors,
    defense: Defense,
    out: str | os.PathLike,
    *,
    key: bytes | None = None,
    resume: bool = False,
    rows_at_a_time: int | None = None,
    sha256: str | None = None,
    workers: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Tally:
    """Reshapes any number of recorded confidence vectors and writes them to ``defended_outputs.npy``.

    All rows are read and checked first. Then the rows are reshaped chunk by chunk. A chunk is counted in the JSON file
    only after it is written to the disk, so that an interrupted run can resume at any time. The result has the same
    bytes as that of a run without interruption.

    Args:
        vectors: The undefended answers, from `open_vectors`.
        defense: The defense that reshapes them.
        out: Folder to write to.
        key: The secret key of a randomized defense; its random numbers are a function of the key and the row.
        resume: Continue an earlier run with the same vectors, defense and key, if there is one.
        rows_at_a_time: Rows of a chunk; None for as many as take 16 MiB. The answers do not depend on it.
        sha256: The result of `RecordedVectors.check`, if it has been called; None to read and check all rows here.
        workers: Processes; see `Defense.reshape`.
        on_progress: Called with the number of rows just reshaped, those of an earlier run first.

    Returns:
        Counts over all rows, including those of an earlier run.

    Raises:
        DataError: If the file lacks data that the defense needs, has changed, or a row is not a confidence vector.
        InputError: If the number of classes is not the defense's, a key is missing, or the run to resume had other
            vectors, another defense or another key.
        OutputError: If the output cannot be written.
    """
    check_fit(vectors, defense, key)
    noised = defense.noise_scale > 0
    sha256 = sha256 or vectors.check(noised=noised)
    work = _Work(
        check_writable(out) / OUTPUT,
        (len(vectors), vectors.classes),
        {
            "mindefense": __version__,
            "rows": len(vectors),
            "classes": vectors.classes,
            # Compared before the input, since the defense determines which part of the input is read.
            "defense": {"name": defense.name, "sha256": _fingerprint(defense)},
            "key": _key_fingerprint(key) if key is not None and defense.draws else None,
            "input": {"file": vectors.file.name, "sha256": sha256},
        },
    )
    tally = work.resumed() if resume else None
    if tally is None:
        tally = work.begin(Tally(fallbacks=0 if isinstance(defense, SearchDefense) else None))
    if tally.rows and on_progress is not None:
        on_progress(tally.rows)
    if work.part.exists():
        with work.appending(tally.rows) as stream:
            for block in vectors.blocks(tally.rows, noised=noised, rows=rows_at_a_time):
                probs, more = _defended(block, vectors.is_narrowed, defense, key, workers, on_progress)
                tally = _sum(tally, more)
                work.append(stream, probs, tally)
        work.finish()
    return tally


def rows_done(out: str | os.PathLike) -> int:
    """Number of rows that an interrupted run has finished in a folder."""
    note = Path(out) / f"{OUTPUT}.part.json"
    try:
        return json.loads(note.read_text(encoding="utf-8"))["done"]["rows"]
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def check_fit(vectors: RecordedVectors, defense: Defense, key: bytes | None) -> None:
    """Checks that a defense can reshape these vectors, without reading them.

    Raises:
        DataError: If the file lacks the logits of the noised inputs that it starts from.
        InputError: If the defense was fitted for another number of classes, if it is randomized and there is no key,
            or if it is not randomized and there is one.
    """
    if defense.classes not in (None, vectors.classes):
        raise InputError(
            str(vectors.file),
            expected=f"{defense.classes} classes, as the defense takes",
            got=str(vectors.classes),
            fix="use the defense fitted for this model",
        )
    if defense.noise_scale:
        vectors.expect_noised()
    if key is not None and not defense.draws:
        raise InputError("--key", expected=f"none, since {defense.name} draws nothing", got="one", fix="leave it out")
    if defense.draws and key is None:
        fix = "its random numbers must be a secret function of each row: pass a key (--key FILE)"
        raise InputError(f"defense {defense.name}", expected="a key", got="none", fix=fix)


def _defended(
    block: Block,
    is_narrowed: bool,
    defense: Defense,
    key: bytes | None,
    workers: int | None,
    on_progress: Callable[[int], None] | None,
) -> tuple[np.ndarray, Tally]:
    """The defended vectors of these rows, and their counts."""
    clean = block.probs
    if is_narrowed:
        put_on_top(clean, block.predicted)  # restores the predicted class after ties from rounding
    draws = KeyedDraws.of(key, defense.draws)(clean) if defense.draws and key is not None else None
    given: dict[str, Any] = {"draws": draws, "workers": workers, "on_progress": on_progress}
    if isinstance(defense, SearchDefense):
        found = defense.reshape_in_detail(clean, block.start_logits, **given)
        probs, fallbacks = found.probs, int((found.rounds == 0).sum())
    else:
        probs, fallbacks = defense.reshape(clean, block.start_logits, **given), None
    return probs, Tally(
        rows=len(probs),
        labels_changed=int((probs.argmax(axis=1) != clean.argmax(axis=1)).sum()),
        l1_sum=float(np.abs(probs - clean).sum(dtype=np.float64)),
        fallbacks=fallbacks,
        rescaled=block.rescaled,
    )


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(
        one.rows + other.rows,
        one.labels_changed + other.labels_changed,
        one.l1_sum + other.l1_sum,
        None if one.fallbacks is None or other.fallbacks is None else one.fallbacks + other.fallbacks,
        one.rescaled + other.rescaled,
        one.resumed + other.resumed,
    )


class _Work:
    """The unfinished output file, and the JSON file that records its progress and origin.

    Args:
        final: The finished output file.
        shape: ``(N, C)`` of the finished output.
        origin: Input, defense and key; only a run with the same origin can be resumed.
    """

    def __init__(self, final: Path, shape: tuple[int, int], origin: dict[str, Any]):
        self.final, self.part = final, final.with_name(f"{final.name}.part")
        self._note, self._final_note = final.with_name(f"{final.name}.part.json"), final.with_suffix(".json")
        self._origin = origin
        self._row_bytes = 4 * shape[1]
        self._shape = shape
        self._header_bytes = 0

    def resumed(self) -> Tally | None:
        """The counts of an earlier run with the same origin; None if there was none.

        Raises:
            InputError: If the earlier run has another origin or cannot be resumed.
        """
        ended = not self.part.exists() and self.final.exists()
        note = self._note if self._note.exists() or not ended else self._final_note
        if not note.exists() or not (ended or self.part.exists()):
            return None
        fix = "leave out --resume to start over"
        try:
            held = json.loads(note.read_text(encoding="utf-8"))
            done = Tally(**held.pop("done"))
            if not 0 <= operator.index(done.rows) <= held["rows"]:
                raise ValueError(done.rows)
            tally = dataclasses.replace(done, resumed=done.rows)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(str(note), expected="what an earlier run wrote", got="something else", fix=fix) from error
        for name, wanted in self._origin.items():
            if _essence(held.get(name)) != _essence(wanted):
                shown = f"{name} {_shown(wanted)}"
                raise InputError(f"--resume of {self.final}", expected=shown, got=_shown(held.get(name)), fix=fix)
        if ended and tally.rows != self._shape[0]:
            return None
        path = self.final if ended else self.part
        with _writing(path), path.open("rb") as stream:
            self._header_bytes = _header_of(stream, self._shape)
        wanted = self._header_bytes + tally.rows * self._row_bytes
        size = path.stat().st_size
        if not self._header_bytes or size < wanted or (ended and size > wanted):
            raise InputError(str(path), expected=f"{tally.rows} whole rows", got="a cut or other file", fix=fix)
        if ended:
            with _writing(self._final_note):
                self._settle()
        return tally

    def begin(self, tally: Tally) -> Tally:
        """Creates an empty part."""
        with _writing(self.part):
            self._note.unlink(missing_ok=True)  # an old note must not describe the new part
            with self.part.open("wb") as stream:
                np.lib.format.write_array_header_1_0(stream, _description(self._shape))
                self._header_bytes = stream.tell()
        return tally

    @contextlib.contextmanager
    def appending(self, rows: int) -> Iterator[BinaryIO]:
        """The part, opened after its first `rows` rows; later rows were not counted and are cut off."""
        with contextlib.ExitStack() as opened:
            with _writing(self.part):
                stream = opened.enter_context(self.part.open("r+b"))
                stream.truncate(self._header_bytes + rows * self._row_bytes)
                stream.seek(0, os.SEEK_END)
            yield stream

    def append(self, stream: BinaryIO, probs: np.ndarray, tally: Tally) -> None:
        """Writes rows to the disk, and counts them afterwards."""
        with _writing(self.part):
            stream.write(probs.astype("<f4", copy=False).tobytes())
            stream.flush()
            os.fsync(stream.fileno())
        fix = "make room on the disk, or the folder writable, and go on with --resume"
        with replacing(self._note, fix=fix) as beside, beside.open("w", encoding="utf-8") as note:
            done = {name: value for name, value in dataclasses.asdict(tally).items() if name != "resumed"}
            json.dump({**self._origin, "done": done}, note, indent=2, allow_nan=False)
            note.write("\n")
            note.flush()
            os.fsync(note.fileno())

    def finish(self) -> None:
        """Renames the part to the output file."""
        with _writing(self.final):
            self._final_note.unlink(missing_ok=True)  # it describes the file that is replaced
            os.replace(self.part, self.final)
            self._settle()

    def _settle(self) -> None:
        """Renames the note like the file that it describes."""
        if self._note.exists():
            os.replace(self._note, self._final_note)


def _description(shape: tuple[int, int]) -> dict[str, Any]:
    return {"descr": "<f4", "fortran_order": False, "shape": shape}


def _header_of(stream: BinaryIO, shape: tuple[int, int]) -> int:
    """Length of the header if it is that of an array of this shape; otherwise 0."""
    try:
        np.lib.format.read_magic(stream)
        held = np.lib.format.read_array_header_1_0(stream)
    except ValueError:
        return 0
    return stream.tell() if held == (shape, False, np.dtype("<f4")) else 0


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fix = _FREE_SPACE if error.errno == errno.ENOSPC else "choose another folder, or make this one writable"
        raise OutputError(f"cannot write {path}: {error.strerror or error}", fix=fix) from error


def _fingerprint(defense: Defense) -> str:
    """SHA-256 of the defense's settings and arrays."""
    digest = hashlib.sha256(json.dumps(defense.describe(), sort_keys=True).encode())
    for name, array in sorted(defense.arrays().items()):
        digest.update(f"{name} {array.shape} {array.dtype.str}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _key_fingerprint(key: bytes) -> str:
    """Distinguishes keys without revealing them."""
    return hmac.digest(key, b"fingerprint of a key", "sha512").hex()[:32]


def _essence(held: Any) -> Any:
    """The part of an entry that must be equal: an object's digest, without its name."""
    return held.get("sha256") if isinstance(held, dict) else held


def _shown(held: Any) -> str:
    if not isinstance(held, dict):
        return str(held)
    return f"{held.get('file') or held.get('name')} (SHA-256 {str(held.get('sha256'))[:12]}…)"
