"""CIFAR-100 for tests: the files of both of its releases, and what is said of a wrong one."""

import struct

import numpy as np
import pytest

from mindefense.data import load_cifar100
from mindefense.errors import DataError

TRAIN, TEST = 30, 20
ARCHIVE = "cifar-100-binary.tar.gz"
REMEDY = "mindefense download cifar100"


def records_of(data, part):
    """The binary file of a part; coarse labels are made up too."""
    labels = data.labels[data.parts[part]]
    pixels = data.features[data.parts[part]].reshape(len(labels), -1)
    return np.column_stack([labels // 5, labels, pixels]).astype(np.uint8).tobytes()


def write_binary(folder, data, layout="{part}.bin"):
    """Writes a data set like CIFAR-100 as binary records and returns the folder."""
    for part in data.parts:
        file = folder / layout.format(part=part)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(records_of(data, part))
    return folder


def check(data, made):
    assert (data.name, data.num_classes, data.synthetic, data.order) == ("cifar100", 100, False, None)
    assert (data.features.dtype, data.labels.dtype) == (np.uint8, np.int32)
    assert data.features.flags.c_contiguous
    assert data.parts == made.parts
    np.testing.assert_array_equal(data.features, made.features)
    np.testing.assert_array_equal(data.labels, made.labels)


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        load_cifar100(path)
    message = str(caught.value)
    assert "\n" not in message
    assert REMEDY in message
    return message


def fields_of(data, part):
    labels = data.labels[data.parts[part]]
    return {
        b"filenames": [b"image_%06d.png" % row for row in range(len(labels))],
        b"batch_label": b"testing batch 1 of 1",
        b"fine_labels": labels.tolist(),
        b"coarse_labels": (labels // 5).tolist(),
        b"data": data.features[data.parts[part]].reshape(len(labels), -1),
    }


class Python2:
    """Writes what Python 2's cPickle writes in protocol 2: text as byte strings, everything memorised once."""

    def __init__(self, room="numpy.core.multiarray", by_column=False):
        self.out, self.memo, self.room, self.by_column = bytearray(b"\x80\x02"), 0, room, by_column

    def put(self):
        self.memo += 1
        self.out += b"q%c" % self.memo if self.memo < 256 else b"r" + struct.pack("<I", self.memo)

    def write(self, value):
        if isinstance(value, bytes):
            short = len(value) < 256
            self.out += b"U%c" % len(value) if short else b"T" + struct.pack("<i", len(value))
            self.out += value
            self.put()
        elif value is None or isinstance(value, bool):
            self.out += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, int):
            self.out += b"K%c" % value if 0 <= value < 256 else b"J" + struct.pack("<i", value)
        elif isinstance(value, list):
            self.out += b"]"
            self.put()
            self.many(value, b"e")
        elif isinstance(value, tuple):
            self.out += b"(" if len(value) > 3 else b""
            for each in value:
                self.write(each)
            self.out += b"t" if len(value) > 3 else b"%c" % (0x84 + len(value))
            self.put()
        elif isinstance(value, dict):
            self.out += b"}"
            self.put()
            self.many([each for item in value.items() for each in item], b"u")
        else:
            self.array(value)

    def many(self, values, end):
        self.out += b"("
        for value in values:
            self.write(value)
        self.out += end

    def named(self, module, name):
        self.out += f"c{module}\n{name}\n".encode()
        self.put()

    def array(self, array):
        self.named(self.room, "_reconstruct")
        self.named("numpy", "ndarray")
        self.write((0,))
        self.write(b"b")
        self.out += b"\x87"
        self.put()
        self.out += b"R"
        self.put()
        self.out += b"("
        for value in (1, array.shape):
            self.write(value)
        self.named("numpy", "dtype")
        self.write((b"u1", 0, 1))
        self.out += b"R"
        self.put()
        self.write((3, b"|", None, None, None, -1, -1, 0))
        self.out += b"b"
        self.write(self.by_column)
        self.write(array.tobytes("F" if self.by_column else "C"))
        self.out += b"tb"


def python2(value, **options):
    writer = Python2(**options)
    writer.write(value)
    return bytes(writer.out + b".")


def write_pickles(folder, data, form=python2):
    folder.mkdir(parents=True, exist_ok=True)
    for part in data.parts:
        (folder / part).write_bytes(form(fields_of(data, part)))
    return folder
