"""Converts user-defined `mindspore.dataset` pipelines, or arrays, to the data and split of an evaluation."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mindefense.checks import check_labels
from mindefense.data.outputs import FEWEST
from mindefense.data.seeding import generator
from mindefense.data.splits import Split, check_split
from mindefense.errors import DataError, InputError
from mindefense.types import LabelledData

Source = Any
"""A `mindspore.dataset`, an iterable of dictionaries, or a pair of arrays."""
MOST_SHARED = 0.01
"""Largest share of rows, of the smaller kind, that are both members and non-members; published data have a few."""
_READ_AGAIN = 64
"""Number of rows that are read twice, to check that the pipeline repeats them."""
_LARGEST_LABEL = np.iinfo(np.int32).max
_LONGEST_REASON = 300
"""Largest number of characters of a pipeline's error message."""
_MAKE_BATCHES = ("BatchDataset", "PaddedBatchDataset", "BucketBatchByLengthDataset")


def from_datasets(
    members: Source,
    non_members: Source,
    *,
    columns: tuple[str, str] = ("image", "label"),
    num_classes: int | None = None,
    name: str = "your data",
    seed: int = 0,
    defender_share: float = 0.5,
    batched: bool | None = None,
    synthetic: bool = False,
) -> tuple[LabelledData, Split]:
    """Reads the members and non-members of a model, and splits them into roles.

    **If a row is on the wrong side, the evaluation may miss a leak.** Members must be all rows that the model was
    trained on, or a random sample of them. Non-members must not have been used in training or in the selection of an
    epoch. Both must pass through the same operations: those of training, without random ones such as crops and flips.
    A few rows are read a second time, and a pipeline that returns other bytes is rejected. A source that can only be
    read once is not checked. The order of rows does not matter, so a pipeline may shuffle.

    Of equal rows, for example from ``dataset.repeat``, only the first is used, even if their labels differ; otherwise
    an attacker could be fitted on a row and evaluated on its duplicate. The name of the split has their number.

    The roles are those of `parts_split` for a target that was trained on all of the training part. Both kinds are
    shuffled with `seed`. A share `defender_share` of the non-members is for fitting a defense. The others are for
    evaluating attackers, and for testing the target's accuracy. For each of the two purposes there are as many members
    as non-members, or all members if there are fewer. The same members may serve both, because the owner of a model may
    fit its defense on the members that it protects. There are no rows for a shadow model; to train one, create a
    `Split` yourself.

    All rows are stored in memory, for a short time twice: uint8 images take one byte per pixel and channel, other
    values four bytes. If the data are too large, give a part, such as ``dataset.take(5000)``.

    Args:
        members: Rows that the model was trained on: a `mindspore.dataset`, batched or not; an iterable of dictionaries,
            such as its ``create_dict_iterator()``; or a pair of arrays ``(images, labels)``.
        non_members: Rows that it was not trained on, of one of these types.
        columns: Names of the two columns. Images have the same shape ``(...)`` and are uint8 or other real numbers,
            which become float32. Labels are class numbers from 0, scalars or of shape ``(1,)``, or one-hot rows
            ``(C,)``. Other columns are ignored.
        num_classes: Number of classes C, which is the number of the model's outputs; None for the length of one-hot
            rows, or one more than the largest label.
        name: Name of the data in results.
        seed: Seed of the shuffling, a whole number ≥ 0.
        defender_share: Share of the non-members for the defender, in [0, 1); 0 if no defense is fitted, so that more
            rows are left for the evaluation.
        batched: Whether each item has many rows; None to detect it. Required if a user-defined generator makes the
            batches, and for dictionaries of ambiguous shapes.
        synthetic: Whether the rows are synthetic; every report then says so.

    Returns:
        The data, members first, each kind in the order in which it was read; and the split.

    Raises:
        DataError: If a source cannot be read, lacks a column, is empty, or has rows of different shapes, NaN, invalid
            labels, items that may be one row or many, or other rows when it is read again.
        InputError: If there are too few rows for the roles, labels are not below `num_classes`, rows are in both
            sources, or an argument is invalid.
    """
    if len(columns) != 2 or isinstance(columns, str):
        raise InputError("columns", expected='two names, such as ("image", "label")', got=repr(columns))
    if not isinstance(defender_share, numbers.Real) or not 0 <= defender_share < 1:
        raise InputError("defender_share", expected="a fraction in [0, 1)", got=repr(defender_share))
    if num_classes is not None and not (isinstance(num_classes, numbers.Integral) and num_classes > 0):
        raise InputError("num_classes", expected="a whole number above 0", got=repr(num_classes))
    inside, outside = (_read(source, what, columns, batched) for source, what in
                       ((members, "members"), (non_members, "non_members")))  # fmt: skip
    for what, one, other in (
        ("shape", inside.images.shape[1:], outside.images.shape[1:]),
        ("dtype", inside.images.dtype, outside.images.dtype),
        ("length of one-hot labels", inside.width, outside.width),
    ):
        if one != other:
            fix = "pass both through the same operations"
            raise InputError("members and non_members", expected=f"one {what}", got=f"{one} and {other}", fix=fix)
    if num_classes is None:
        num_classes = inside.width or int(max(inside.labels.max(), outside.labels.max())) + 1
    for what, kind in (("members", inside), ("non_members", outside)):
        check_labels(kind.labels, num_classes=num_classes, name=f"labels of {what}")
    _check_apart(inside, outside)
    data = LabelledData(
        name,
        np.concatenate((inside.images, outside.images)),
        np.concatenate((inside.labels, outside.labels)).astype(np.int32),
        num_classes,
        synthetic=synthetic,
    )
    repeated = inside.repeated + outside.repeated
    split = _split(len(inside.images), len(outside.images), repeated, seed=seed, defender_share=defender_share)
    return data, split


def _split(members: int, non_members: int, repeated: int, *, seed: int, defender_share: float) -> Split:
    """The roles of the rows of data whose members come first; see `from_datasets`."""
    for_defender = round(non_members * defender_share)
    judged = non_members - for_defender
    for what, rows, fewest in (
        ("members", members, 2 * FEWEST),
        ("non_members to evaluate on", judged, 2 * FEWEST),
        ("non_members for the defender", for_defender, FEWEST if defender_share else 0),
    ):
        if rows < fewest:
            fix = "give more rows: useful figures need about 1,000 members and 2,000 non-members"
            got = f"{rows}, not counting {repeated:,} repeated ones" if repeated else str(rows)
            raise InputError(what, expected=f"at least {fewest}", got=got, fix=fix)
    left_out = f", {repeated:,} repeated row{'s' * (repeated > 1)} left out" if repeated else ""
    rng = generator(seed)
    inside = rng.permutation(members)
    judging, defending = np.split(members + rng.permutation(non_members), [judged])
    nobody = np.empty(0, np.int64)
    split = Split(
        target_members=inside,
        target_non_members=judging,
        defender_members=inside[: len(defending)],
        defender_non_members=defending[:members],
        eval_members=inside[: len(judging)],
        eval_non_members=judging,
        attacker_members=nobody,
        attacker_non_members=nobody,
        name=f"{members:,} members, {non_members:,} non-members, {for_defender:,} of them the defender's{left_out}",
        permutation=f"seed {seed}",
    )
    check_split(split, members + non_members)
    return split


@dataclasses.dataclass(frozen=True, eq=False)
class _Kind:
    """The different rows of a source.

    Attributes:
        images: ``(N, ...)`` uint8 or float32.
        labels: ``(N,)`` int64 class numbers.
        width: Length of one-hot labels; None for class numbers.
        digests: Digest of each image.
        repeated: Number of repeated rows that were left out.
    """

    images: np.ndarray
    labels: np.ndarray
    width: int | None
    digests: list[bytes]
    repeated: int


def _check_apart(inside: _Kind, outside: _Kind) -> None:
    """Raises InputError if too many non-members are also members."""
    known = set(inside.digests)
    shared = sum(digest in known for digest in outside.digests)
    if shared > MOST_SHARED * min(len(known), len(outside.digests)):
        raise InputError(
            "non_members",
            expected="rows that the model was not trained on",
            got=f"{shared:,} of {len(outside.digests):,} that are also among the {len(known):,} members",
            fix="leave those out, because they hide a leak",
        )


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in images]


# ---------------------------------------------------------------------- reading


def _read(source: Source, what: str, columns: tuple[str, str], batched: bool | None) -> _Kind:
    items, again = _epochs(source, what, columns)
    first = list(_parts(items, source, what, columns, batched))
    if not any(len(images) for images, _ in first):
        fix = "check what the pipeline filters out; an evaluation needs members and non-members"
        raise DataError(what, expected="at least one row", got="none", fix=fix)
    images, labels = (np.concatenate(column) for column in zip(*first, strict=True))
    classes, width = _classes(labels, what)
    digests = _digests(images)
    if again is not None:
        _check_lasting(_parts(again, source, what, columns, batched), set(digests), what)
    first_seen: dict[bytes, int] = {}
    for row, digest in enumerate(digests):
        first_seen.setdefault(digest, row)
    repeated = len(digests) - len(first_seen)
    if repeated:
        kept = list(first_seen.values())
        images, classes, digests = images[kept], classes[kept], [digests[row] for row in kept]
    return _Kind(images, classes, width, digests, repeated)


def _epochs(source: Source, what: str, columns: tuple[str, str]) -> tuple[Iterable[Any], Iterable[Any] | None]:
    """The items of a source, and the same items a second time; None if it can be read only once."""
    if isinstance(source, tuple):
        if len(source) != 2:
            raise DataError(what, expected="a pair (images, labels)", got=f"a tuple of {len(source)}")
        return [dict(zip(columns, source, strict=True))], None
    if hasattr(source, "create_dict_iterator"):
        # One iterator for both epochs, because with a fixed seed every new iterator repeats the same crops and flips.
        try:
            both = source.create_dict_iterator(num_epochs=2, output_numpy=True)
        except Exception as error:  # user-defined functions are called here, and may raise anything
            raise _unreadable(what, error) from error
        return both, both
    if not isinstance(source, Iterable):
        expected = "a mindspore.dataset, dictionaries, or a pair of arrays (images, labels)"
        raise DataError(what, expected=expected, got=type(source).__name__)
    return source, None if isinstance(source, Iterator) else source


def _parts(
    items: Iterable[Any], source: Source, what: str, columns: tuple[str, str], batched: bool | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images ``(n, ...)`` and labels ``(n, ...)`` of each item."""
    rows, shapes = 0, None
    for item in _told(items, what):
        image, label = _cells(item, what, columns)
        if batched is None:  # decided by the first item for all
            batched = _holds_many(source, image, label, what)
        if not batched:
            image, label = image[None], label[None]
        if not image.ndim or image.shape[:1] != label.shape[:1]:
            expected = f"equal numbers of {columns[1]} and {columns[0]}"
            got, fix = f"shapes {label.shape} and {image.shape}", "set batched=False if an item is one row"
            raise DataError(f"{what} row {rows}", expected=expected, got=got, fix=fix)
        shapes = shapes or (image.shape[1:], label.shape[1:])
        if shapes != (image.shape[1:], label.shape[1:]):
            expected, got = (
                f"shapes {shapes[0]} and {shapes[1]} as in the rows before",
                f"{image.shape[1:]} and {label.shape[1:]}",
            )
            raise DataError(f"{what} row {rows}", expected=expected, got=got, fix="resize all images to one size")
        yield _numbers(image, what, columns[0], rows), label
        rows += len(image)


def _told(items: Iterable[Any], what: str) -> Iterator[Any]:
    """Yields the items; an error in the pipeline becomes a DataError of one line."""
    try:
        yield from items
    except Exception as error:  # user-defined functions are called here, and may raise anything
        raise _unreadable(what, error) from error


def _cells(item: Any, what: str, columns: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(item, Mapping):
        expected = f"rows with the columns {' and '.join(columns)}"
        fix = "give the dataset itself, or its create_dict_iterator()"
        raise DataError(what, expected=expected, got=type(item).__name__, fix=fix)
    for column in columns:
        if column not in item:
            fix = f'name the existing columns, such as columns=("{next(iter(item), "image")}", …)'
            raise DataError(what, expected=f"a column {column}", got=", ".join(map(str, item)) or "none", fix=fix)
    image, label = (item[column] for column in columns)
    return _as_array(image, f"{what} {columns[0]}"), _as_array(label, f"{what} {columns[1]}")


def _as_array(cell: Any, what: str) -> np.ndarray:
    try:
        return np.asarray(cell.asnumpy() if hasattr(cell, "asnumpy") else cell)
    except ValueError as error:
        got, fix = f"{type(cell).__name__} of uneven rows", "make all rows of one length"
        raise DataError(what, expected="an array", got=got, fix=fix) from error


def _holds_many(source: Source, image: np.ndarray, label: np.ndarray, what: str) -> bool:
    """Whether an item is a batch."""
    if isinstance(source, tuple):
        return True
    if not label.ndim:
        return False
    pipeline = getattr(source, "dataset", source)  # an iterator has its dataset as attribute
    if hasattr(pipeline, "children"):
        return any(kind.__name__ in _MAKE_BATCHES for node in _nodes(pipeline) for kind in type(node).__mro__)
    if label.ndim > 1 or image.shape[:1] != label.shape or label.dtype.kind not in "biuf":
        return label.ndim > 1
    # Either a batch of images with one label each, or one image with as many channels as its one-hot label has entries.
    if len(label) == 1 or np.isin(label, (0, 1)).all():
        raise DataError(
            f"{what} row 0",
            expected="one row or a batch",
            got=f"shapes {image.shape} and {label.shape}, which may be either",
            fix="set batched=False if each item is one row, batched=True if it has many",
        )
    return bool((label == label.round()).all())  # a smoothed label is not a batch of class numbers


def _nodes(pipeline: Any) -> Iterator[Any]:
    yield pipeline
    for node in pipeline.children:
        yield from _nodes(node)


def _numbers(images: np.ndarray, what: str, column: str, rows: int) -> np.ndarray:
    """A copy of the images as uint8 or float32."""
    if images.dtype.kind not in "iufb":
        fix = "decode images, and convert text to numbers, in the pipeline"
        raise DataError(f"{what} {column}", expected="numbers", got=str(images.dtype), fix=fix)
    if images.dtype == np.uint8 or not len(images):  # without rows, the check below fails
        return np.array(images, order="C")
    with np.errstate(over="ignore"):
        images = np.array(images, np.float32, order="C")
    is_bad = ~np.isfinite(images).all(axis=tuple(range(1, images.ndim)))
    if is_bad.any():
        row = int(is_bad.argmax())
        got = str(images[row][~np.isfinite(images[row])][0])
        raise DataError(f"{what} {column} row {rows + row}", expected="finite float32 numbers", got=got)
    return images


def _classes(labels: np.ndarray, what: str) -> tuple[np.ndarray, int | None]:
    """``(N,)`` int64 class numbers, and the length of one-hot rows; None for class numbers."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype == np.bool_:
        labels = labels.astype(np.uint8)
    expected = "class numbers from 0, or one-hot rows"
    if labels.dtype.kind not in "iuf" or labels.ndim not in (1, 2):
        raise DataError(f"labels of {what}", expected=expected, got=f"{labels.dtype} of shape {labels.shape[1:]}")
    width = labels.shape[1] if labels.ndim == 2 else None
    if width is None:
        is_right = (labels >= 0) & (labels == np.floor(labels))  # False for NaN
    else:
        is_right = ((labels == 0) | (labels == 1)).all(axis=1) & (labels.sum(axis=1) == 1)
    if width is None and is_right.all() and (is_large := labels > _LARGEST_LABEL).any():
        row, expected = int(is_large.argmax()), f"class numbers up to {_LARGEST_LABEL}"
        fix = "count classes from 0"
        raise DataError(f"labels of {what} row {row}", expected=expected, got=f"{labels[row]:.0f}", fix=fix)
    if not is_right.all():
        row = int(is_right.argmin())
        fix = "use labels from before smoothing and mixup" if width else "count classes from 0"
        if width and labels.dtype.kind in "iu":
            fix = "set batched=True if each item has many rows"
        got = np.array2string(labels[row], precision=3, threshold=8, edgeitems=3)
        raise DataError(f"labels of {what} row {row}", expected=expected, got=got, fix=fix)
    return (labels if width is None else labels.argmax(axis=1)).astype(np.int64), width


def _check_lasting(parts: Iterator[tuple[np.ndarray, np.ndarray]], known: set[bytes], what: str) -> None:
    """Raises DataError if some rows differ when they are read again; a pipeline that fails then is not checked."""
    try:
        seen = list(itertools.islice((digest for images, _ in parts for digest in _digests(images)), _READ_AGAIN))
    except DataError:
        return
    if strange := sum(digest not in known for digest in seen):
        raise DataError(
            what,
            expected="the same rows whenever they are read",
            got=f"{strange} of {len(seen)} rows that differ the second time",
            fix="leave out random crops, flips and noise, and any shuffle before take",
        )


def _unreadable(what: str, error: Exception) -> DataError:
    """Shortens an error of a pipeline to one line; MindSpore's errors have dozens of lines under headings.

    The last line of the Python call stack has the error of a user-defined function; the first line of the pipeline's
    error message has that of a MindSpore operation.
    """
    said: dict[str, list[str]] = {"": []}
    heading = ""
    for line in filter(None, (line.strip() for line in str(error).splitlines())):
        if line.startswith("- ") and line.endswith(":"):
            heading = line.strip("- :")
        elif line.strip("-"):
            said.setdefault(heading, []).append(line)
    if of_the_user := said.get("Python Call Stack"):
        reason = of_the_user[-1]
    elif of_mindspore := said.get("Dataset Pipeline Error Message"):
        reason = " ".join(of_mindspore[:2] if of_mindspore[0].endswith(":") else of_mindspore[:1])
    else:
        reason = (said[""] or [type(error).__name__])[0]
    return DataError(f"{what} cannot be read: {reason.removeprefix('[ERROR] ')[:_LONGEST_REASON]}")
