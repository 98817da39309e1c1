"""Fast parser of text tables of small whole numbers, in blocks of bytes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from mindefense.data.files import Origin
from mindefense.errors import DataError

BLOCK = 1 << 20  # small enough for the temporaries to stay in cache
COMMA, NEWLINE, ZERO = b",\n0"
MAX_DIGITS = 3
NUMBERS = re.compile(rb"\d{1,%d}(,\d{1,%d})*" % (MAX_DIGITS, MAX_DIGITS))
IGNORED = b'" \r'  # quotes around labels, spaces after commas, carriage returns of Windows line ends


@dataclasses.dataclass(frozen=True)
class Layout:
    """The format of a line of a table.

    Attributes:
        features: Number of feature columns, F; each has a whole number ``0 … highest``.
        highest: Largest feature value, at most 255.
        label: Position of the label column; None if there is none.
        classes: Number of classes, C; labels in the file are ``1 … C``.
        header: Whether the first line has the names of the columns.
    """

    features: int
    highest: int = 1
    label: Literal["first", "last"] | None = None
    classes: int = 0
    header: bool = False

    @property
    def columns(self) -> int:
        """Number of columns of a line, including the label."""
        return self.features + (self.label is not None)


def read_table(stream: BinaryIO, file: Path, layout: Layout, origin: Origin) -> tuple[np.ndarray, np.ndarray]:
    """Reads a comma-separated table.

    Args:
        stream: The text, which is read to its end.
        file: Its file, for messages.
        layout: The format of its lines.
        origin: The data set, for messages.

    Returns:
        Features ``(N, F)`` float32 as in the file, and labels ``(N,)`` int32 counted from 0; without a label column
        the labels are ``(0,)``.

    Raises:
        DataError: If there are no rows, or a line has another format; the message has the number of the line.
    """
    table = _Table(file, layout, origin)
    if layout.header:
        table.skip_header(stream.readline(BLOCK))
    rest = b""
    while block := stream.read(BLOCK):
        lines, newline, rest = (rest + block).rpartition(b"\n")
        if newline:
            table.add(lines + newline)
        if len(rest) > BLOCK:
            raise table.error("", expected=f"{layout.columns} columns", got="an endless line")
    if rest:  # the last line has no line end
        table.add(rest + b"\n")
    if not table.features:
        raise origin.damaged(str(file), expected="at least one row", got="none")
    return np.concatenate(table.features, dtype=np.float32), np.concatenate([np.empty(0, np.int32), *table.labels])


class _Table:
    """The rows read so far, as one array per block."""

    def __init__(self, file: Path, layout: Layout, origin: Origin):
        self.features: list[np.ndarray] = []
        self.labels: list[np.ndarray] = []
        self._file, self._layout, self._origin = file, layout, origin
        self._line = 1  # number of the next line

    def error(self, where: str, *, expected: str, got: str, row: int = 0) -> DataError:
        """The error for the line that is `row` lines after the next line to add."""
        return self._origin.damaged(f"{self._file} line {self._line + row}{where}", expected=expected, got=got)

    def skip_header(self, line: bytes) -> None:
        names = line.translate(None, IGNORED + b"\n").split(b",")
        if len(names) != self._layout.columns or any(name.isdigit() for name in names):
            got = f"{len(names)} columns, {sum(name.isdigit() for name in names)} of them numbers"
            raise self.error("", expected=f"a header with {self._layout.columns} names", got=got)
        self._line += 1

    def add(self, text: bytes) -> None:
        """Adds the rows of a text of whole lines."""
        layout = self._layout
        text = text.translate(None, IGNORED)
        values = _parse(text, layout.columns)
        if values is None:
            raise self._explain(text)
        if layout.label is not None:
            column = 0 if layout.label == "first" else layout.columns - 1
            label = values[:, column]
            wrong = np.flatnonzero((label < 1) | (label > layout.classes))
            if len(wrong):
                raise self.error(
                    "", expected=f"a label 1…{layout.classes}", got=str(label[wrong[0]]), row=int(wrong[0])
                )
            self.labels.append(label.astype(np.int32) - 1)
            values = values[:, 1:] if column == 0 else values[:, :-1]
        if values.size and values.max() > layout.highest:
            row, feature = np.argwhere(values > layout.highest)[0].tolist()
            expected = "0 or 1" if layout.highest == 1 else f"0…{layout.highest}"
            raise self.error(f" feature {feature + 1}", expected=expected, got=str(values[row, feature]), row=row)
        self.features.append(values.astype(np.uint8))
        self._line += len(values)

    def _explain(self, text: bytes) -> DataError:
        """The error for the first wrong line in a text for which `_parse` returned None."""
        for row, line in enumerate(text[:-1].split(b"\n")):
            cells = line.split(b",") if line else []
            if len(cells) != self._layout.columns:
                return self.error("", expected=f"{self._layout.columns} columns", got=str(len(cells)), row=row)
            if not NUMBERS.fullmatch(line):
                column = next(i for i, cell in enumerate(cells) if not NUMBERS.fullmatch(cell))
                expected = f"a whole number of at most {MAX_DIGITS} digits"
                got = repr(cells[column][:20].decode("ascii", "backslashreplace"))
                return self.error(f" column {column + 1}", expected=expected, got=got, row=row)
        raise AssertionError("no line of the text is wrong")


def _parse(text: bytes, columns: int) -> np.ndarray | None:
    """Parses whole lines of text to ``(n, columns)`` int16; None if the text has another format."""
    raw = np.frombuffer(text, np.uint8)
    digits = raw - ZERO  # unsigned, so that other characters are above 9
    ends = np.flatnonzero(digits > 9)
    if len(ends) % columns:
        return None
    marks = raw[ends].reshape(-1, columns)
    if (marks[:, :-1] != COMMA).any() or (marks[:, -1] != NEWLINE).any():
        return None
    lengths = np.diff(ends, prepend=-1) - 1
    if lengths.min() < 1 or lengths.max() > MAX_DIGITS:
        return None
    values = digits[ends - 1].astype(np.int16)
    for place in range(2, MAX_DIGITS + 1):
        longer = np.flatnonzero(lengths >= place)
        values[longer] += digits[ends[longer] - place].astype(np.int16) * 10 ** (place - 1)
    return values.reshape(-1, columns)
