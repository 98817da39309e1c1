"""CIFAR-100: every published form of it, every way to be wrong, and made-up data in its shape."""

import codecs
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import os
import pickle
import struct
import tarfile
import threading
import tracemalloc

import numpy as np
import pytest

from mindefense.data import SOURCES, cifar100, download, load_cifar100, load_dataset, make_cifar_like
from mindefense.errors import DataError, InputError
from mindefense.types import LabelledData

TRAIN, TEST = 30, 20
ARCHIVE = "cifar-100-binary.tar.gz"
REMEDY = "mindefense download cifar100"


@pytest.fixture(scope="module")
def made():
    return make_cifar_like(3, train=TRAIN, test=TEST)


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


# Binary records


@pytest.mark.parametrize("block", [1, 7, 256])
@pytest.mark.parametrize(
    "layout",
    ["{part}.bin", "{part}/{part}.bin", "cifar-100-binary/{part}.bin", "cifar-100-binary/{part}/{part}.bin"],
)
def test_every_layout_gives_the_same_data(layout, block, tmp_path, made, monkeypatch):
    monkeypatch.setattr(cifar100, "BLOCK", block * 3074)
    check(load_dataset("cifar100", str(write_binary(tmp_path, made, layout))), made)


def test_one_record_each_is_enough(tmp_path):
    made = make_cifar_like(1, train=1, test=1)
    check(load_cifar100(write_binary(tmp_path, made)), made)


def test_pixels_are_where_the_format_says(tmp_path):
    for part, fine in (("train", 99), ("test", 0)):
        record = bytearray(3074)
        record[0], record[1] = 19, fine
        record[2 + 1024 * 2 + 32 * 5 + 7] = 200  # blue, row 5, column 7
        (tmp_path / f"{part}.bin").write_bytes(record)
    data = load_cifar100(tmp_path)
    assert data.labels.tolist() == [99, 0]
    assert np.argwhere(data.features).tolist() == [[0, 2, 5, 7], [1, 2, 5, 7]]


def test_the_nearest_layout_counts(tmp_path, made):
    other = make_cifar_like(4, train=3, test=2)
    write_binary(tmp_path, other, "cifar-100-binary/{part}.bin")
    write_binary(tmp_path, made, "{part}/{part}.bin")
    check(load_cifar100(tmp_path), made)
    write_binary(tmp_path, other)
    check(load_cifar100(tmp_path), other)


@pytest.mark.parametrize("missing", ["train", "test"])
@pytest.mark.parametrize("layout", ["{part}.bin", "{part}/{part}.bin", "cifar-100-binary/{part}.bin", "{part}"])
def test_missing_part_is_named_with_the_places(layout, missing, tmp_path, made):
    write = write_pickles if layout == "{part}" else functools.partial(write_binary, layout=layout)
    gone = write(tmp_path, made) / layout.format(part=missing)
    gone.unlink()
    message = refusal(tmp_path)
    assert message.startswith(f"cifar100 {missing} part: expected {gone} to go with")
    places = ["cifar-100-python/{part}"] if layout == "{part}" else ["{part}/{part}.bin", "cifar-100-binary/{part}.bin"]
    for place in places:
        assert str(tmp_path / place.format(part=missing)) in message.partition("looked for")[2]


def test_half_a_layout_is_not_passed_over(tmp_path, made):
    write_binary(tmp_path, made, "{part}/{part}.bin")
    (tmp_path / "train.bin").write_bytes(records_of(made, "train"))
    assert f"expected {tmp_path / 'test.bin'}" in refusal(tmp_path)


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_there_says_what_would_do(exists, tmp_path):
    path = tmp_path / "data"
    if exists:
        path.mkdir()
    message = refusal(path)
    for part in (str(path), ARCHIVE, "train.bin", "test/test.bin", "folder without" if exists else "nothing of that"):
        assert part in message


BROKEN = {
    "empty": (lambda raw: b"", "whole records of 3,074 bytes, got 0 bytes;"),
    "truncated": (lambda raw: raw[:-1], f"got {TEST * 3074 - 1:,} bytes;"),
    "too long": (lambda raw: raw + b"\0", f"got {TEST * 3074 + 1:,} bytes;"),
    "less than a record": (lambda raw: raw[:3073], "got 3,073 bytes, which is 1 records of CIFAR-10;"),
    "CIFAR-10": (lambda raw: b"\x1e" * 3073 * 700, "which is 700 records of CIFAR-10;"),
    "web page": (lambda raw: b"<html>\n" * 100, "got 700 bytes;"),
    "foreign": (
        lambda raw: b"\xff" * 3074 * 2,
        "record 1: expected a coarse label 0…19 and a fine label 0…99, got 255",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("part", ["train", "test"])
def test_broken_file_is_refused(case, part, tmp_path, made):
    change, says = BROKEN[case]
    file = write_binary(tmp_path, made) / f"{part}.bin"
    file.write_bytes(change(records_of(made, "test")))
    message = refusal(tmp_path)
    assert message.startswith(str(file))
    assert says in message


@pytest.mark.parametrize("row", [0, 8, TRAIN - 1])
@pytest.mark.parametrize(("byte", "value"), [(0, 20), (1, 100), (1, 255)])
def test_bad_label_is_named(byte, value, row, tmp_path, made, monkeypatch):
    monkeypatch.setattr(cifar100, "BLOCK", 4 * 3074)
    raw = bytearray(records_of(write_binary(tmp_path, made) and made, "train"))
    raw[3074 * row + byte] = value
    if row == 8:  # only the first one is told
        raw[3074 * 20 + byte] = 254
    (tmp_path / "train.bin").write_bytes(raw)
    labels = raw[3074 * row], raw[3074 * row + 1]
    assert f"train.bin record {row + 1}: expected a coarse label 0…19 and" in (message := refusal(tmp_path))
    assert f"got {labels[0]} and {labels[1]};" in message


def test_unreadable_and_huge_files(tmp_path, made, monkeypatch):
    write_binary(tmp_path, made)
    monkeypatch.setattr(cifar100, "LIMIT", TRAIN * 3074 - 1)
    assert "at most 92,219 bytes" in refusal(tmp_path)
    monkeypatch.setattr(cifar100, "LIMIT", TRAIN * 3074)
    load_cifar100(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match="no permission"):
        load_cifar100(tmp_path)


@pytest.mark.parametrize("form", ["binary", "archive", "pickle"])
def test_memory(form, tmp_path):
    data = many()
    path = {"binary": write_binary, "archive": write_archive, "pickle": write_pickles}[form](tmp_path, data)
    del data
    tracemalloc.start()
    try:
        loaded = load_cifar100(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.2 * loaded.features.nbytes + 4 * cifar100.BLOCK


def many():
    """More rows than memory is held for by the way."""
    rng = np.random.default_rng(0)
    features = np.broadcast_to(rng.integers(0, 256, (3, 32, 32), np.uint8), (6_000, 3, 32, 32))
    labels = np.zeros(len(features), np.int32)
    return LabelledData("many", features, labels, 100, parts={"train": range(5_000), "test": range(5_000, 6_000)})


# Archives


def regular(name, content):
    return name, content, tarfile.REGTYPE


def tar_bytes(*entries, zipped=True):
    """A tar of (name, content or link target, type)."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        for name, content, kind in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.linkname = content
                archive.addfile(info)
    return gzip.compress(sink.getvalue(), 1) if zipped else sink.getvalue()


def published(data):
    """The members of the published archive, in its order."""
    return (
        ("cifar-100-binary", "", tarfile.DIRTYPE),
        regular("cifar-100-binary/fine_label_names.txt", b"apple\n"),
        regular("cifar-100-binary/train.bin", records_of(data, "train")),
        regular("cifar-100-binary/test.bin", records_of(data, "test")),
    )


def write_archive(folder, data):
    (folder / ARCHIVE).write_bytes(tar_bytes(*published(data)))
    return folder


@pytest.mark.parametrize("given", ["folder", "file"])
@pytest.mark.parametrize("form", ["published", "other order", "flat", "not zipped"])
def test_archive(form, given, tmp_path, made):
    members = {
        "other order": published(made)[::-1],
        "flat": [regular(f"{part}.bin", records_of(made, part)) for part in made.parts],
    }.get(form, published(made))
    file = tmp_path / (ARCHIVE if given == "folder" else "mine")
    file.write_bytes(tar_bytes(*members, zipped=form != "not zipped"))
    check(load_cifar100(tmp_path if given == "folder" else file), made)
    assert list(tmp_path.iterdir()) == [file]


def test_files_go_before_the_archive_and_the_archive_before_pickles(tmp_path, made):
    write_pickles(tmp_path, make_cifar_like(4, train=3, test=2))
    check(load_cifar100(write_archive(tmp_path, made)), made)
    other = make_cifar_like(5, train=3, test=2)
    check(load_cifar100(write_binary(tmp_path, other, "cifar-100-binary/{part}.bin")), other)


UNSAFE = {
    "climbs out": (lambda raw: [regular("../train.bin", raw)], "an unsafe name"),
    "absolute": (lambda raw: [regular("/cifar-100-binary/train.bin", raw)], "an unsafe name"),
    "symbolic link": (lambda raw: [("x/train.bin", "x/other", tarfile.SYMTYPE), regular("x/other", raw)], "a link"),
    "hard link": (lambda raw: [regular("x/other", raw), ("x/train.bin", "x/other", tarfile.LNKTYPE)], "a link"),
    "device": (lambda raw: [("x/train.bin", "", tarfile.CHRTYPE)], "special file"),
    "no train part": (lambda raw: [], "expected an archive with train.bin, got cifar-100-binary/test.bin"),
    "too long": (lambda raw: [regular("ballast", b"\0" * (3 << 20)), regular("train.bin", raw)], "at most 2,097,152"),
}


@pytest.mark.parametrize("case", UNSAFE)
def test_unsafe_archive_is_refused(case, tmp_path, made, monkeypatch):
    monkeypatch.setattr(cifar100, "LIMIT", 1 << 21)
    entries, says = UNSAFE[case]
    content = tar_bytes(*entries(records_of(made, "train")), published(made)[-1])
    (tmp_path / ARCHIVE).write_bytes(content)
    message = refusal(tmp_path)
    assert says in message
    assert ARCHIVE in message


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_cut_archive_is_refused(share, tmp_path, made):
    whole = tar_bytes(*published(made))
    (tmp_path / ARCHIVE).write_bytes(whole[: int(share * len(whole))])
    assert "a damaged or cut one" in refusal(tmp_path)


def test_broken_member_is_named(tmp_path, made):
    cut = regular("cifar-100-binary/test.bin", records_of(made, "test")[:-5])
    (tmp_path / ARCHIVE).write_bytes(tar_bytes(*published(made)[:-1], cut))
    assert f"{ARCHIVE} member test.bin: expected one or more whole records" in refusal(tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_part_is_not_taken_for_both(pack, tmp_path, made):
    for name in ("train.bin", ARCHIVE):
        (tmp_path / name).write_bytes(pack(records_of(made, "train")))
        assert f"expected a folder with train.bin and test.bin, or {ARCHIVE}" in refusal(tmp_path / name)


def test_packed_python_release_is_refused(tmp_path):
    file = tmp_path / "cifar-100-python.tar.gz"
    file.write_bytes(tar_bytes(regular("cifar-100-python/train", b"x")))
    assert "unpack it, or use the binary release" in refusal(tmp_path)
    assert "got cifar-100-python/train" in refusal(file)


def test_download_then_load(tmp_path, made, monkeypatch):
    served, to = tmp_path / "served", tmp_path / "new" / "to"
    served.mkdir()
    content = (write_archive(served, made) / ARCHIVE).read_bytes()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    assert SOURCES["cifar100"].size == 168_513_733  # more than it would be called another file
    monkeypatch.setenv("no_proxy", "*")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(served))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/{ARCHIVE}"
            with pytest.raises(DataError, match="expected md5 03b5dce01913d631647c71ecec9e9cb8, got"):
                download("cifar100", to, url=url)
            assert [entry.name for entry in tmp_path.iterdir()] == ["served"]
            digest = hashlib.md5(content).hexdigest()
            right = dataclasses.replace(SOURCES["cifar100"], digest=digest, size=len(content))
            monkeypatch.setitem(SOURCES, "cifar100", right)
            assert download("cifar100", to, url=url) == to / ARCHIVE
        finally:
            server.shutdown()
            thread.join()
    check(load_cifar100(to), made)


# The Python release


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


def python3(value):
    return pickle.dumps(value, protocol=2)


FORMS = {
    "Python 2": python2,
    "Python 2, by column": functools.partial(python2, by_column=True),
    "Python 2, NumPy 2": functools.partial(python2, room="numpy._core.multiarray"),
    "Python 3": python3,
    "Python 3, NumPy 1": lambda value: python3(value).replace(b"cnumpy._core.multi", b"cnumpy.core.multi"),
    "Python 3, NumPy 2": lambda value: python3(value).replace(b"cnumpy.core.multi", b"cnumpy._core.multi"),
    "Python 3, by column": lambda value: python3({**value, b"data": np.asfortranarray(value[b"data"])}),
}


def write_pickles(folder, data, form=python2):
    folder.mkdir(parents=True, exist_ok=True)
    for part in data.parts:
        (folder / part).write_bytes(form(fields_of(data, part)))
    return folder


def test_the_tests_write_what_pickle_reads(made):
    if np.lib.NumpyVersion(np.__version__) >= "2.0.0":
        pytest.skip("NumPy 2 warns of the old name of its module")
    for form in (python2, FORMS["Python 2, by column"]):
        held = pickle.loads(form(fields_of(made, "test")), encoding="bytes")
        np.testing.assert_array_equal(held.pop(b"data"), (expected := fields_of(made, "test")).pop(b"data"))
        assert held == expected


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("folder", [".", "cifar-100-python"])
def test_pickles_give_the_same_data(folder, form, tmp_path, made):
    write_pickles(tmp_path / folder, made, FORMS[form])
    check(load_cifar100(tmp_path), made)


def test_pickles_of_many_rows(tmp_path):
    made = make_cifar_like(6, train=700, test=300)  # more than a byte counts
    check(load_cifar100(write_pickles(tmp_path, made)), made)


class Calls:
    """Pickles to a call."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.parts


def harmful(name, value):
    """A pickle that calls a function by a name that may mean another module here."""
    return python3(Calls(os.getenv, value)).replace(b"cos\ngetenv\n", name)


DTYPE = np.dtype("u1").__reduce__()[0]
RECONSTRUCT, (NDARRAY, EMPTY, CODE) = np.zeros((1, 3072), np.uint8).__reduce__()[:2]
STATE = (3, "|", None, None, None, -1, -1, 0)


def array_of(dtype, raw=b"\0" * 3072, shape=(1, 3072), reconstruct=(NDARRAY, EMPTY, CODE)):
    return Calls(RECONSTRUCT, *reconstruct, state=(1, shape, dtype, False, raw))


UINT8 = Calls(DTYPE, "u1", False, True, state=STATE)
HOSTILE = {
    "os.system": (lambda trap: harmful(b"cposix\nsystem\n", f"touch {trap}"), "asks for 'posix' 'system'"),
    "subprocess": (lambda trap: harmful(b"csubprocess\ngetoutput\n", f"touch {trap}"), "'subprocess' 'getoutput'"),
    "builtins.eval": (lambda trap: harmful(b"cbuiltins\neval\n", f"open({str(trap)!r}, 'w')"), "'builtins' 'eval'"),
    "__builtin__.eval": (lambda trap: harmful(b"c__builtin__\neval\n", f"open({str(trap)!r}, 'w')"), "'__builtin__'"),
    "old call": (lambda trap: b"(S'touch %s'\niposix\nsystem\n." % str(trap).encode(), "instruction STRING"),
    "other of the same module": (lambda trap: harmful(b"cnumpy\nload\n", str(trap)), "asks for 'numpy' 'load'"),
    "inside of the allowed": (lambda trap: harmful(b"cnumpy\nndarray.tofile\n", str(trap)), "'ndarray.tofile'"),
    "newer protocol": (lambda trap: pickle.dumps({b"data": 1}, 4), "instruction FRAME"),
    "older protocol": (lambda trap: pickle.dumps({b"data": 1}, 0), "instruction"),
    "persistent": (lambda trap: b"\x80\x02K\x01Q.", "instruction BINPERSID"),
    "registered": (lambda trap: b"\x80\x02\x82\x01.", "instruction EXT1"),
    "endless memory": (lambda trap: b"\x80\x02}r\xff\xff\xff\x7f.", "place 2147483647 in the memory"),
    "endless text": (lambda trap: b"\x80\x02T\xff\xff\xff\x7fabc.", "something else"),
    "objects": (lambda trap: python3({b"data": np.array([[Calls(os.mkdir, str(trap))]], object)}), "other than uint8"),
    "floats": (lambda trap: python3({b"data": np.zeros((1, 3072))}), "a type other than uint8"),
    "structure": (
        lambda trap: python3(array_of(Calls(DTYPE, "u1", False, True, state=(3, "|", None, ("a",), {}, 8, 1, 0)))),
        "a type other than uint8",
    ),
    "type in another way": (lambda trap: python3(array_of("O")), "an array of a type other than uint8"),
    "no bytes": (lambda trap: python3(array_of(UINT8, raw=[1] * 3072)), "an array of a type other than uint8"),
    "wide": (lambda trap: python3(array_of(UINT8, shape=(2, 1536))), "another shape"),
    "cut": (lambda trap: python3(array_of(UINT8, raw=b"\0" * 3071)), "another shape"),
    "too much": (lambda trap: python3(array_of(UINT8, raw=b"\0" * 3073)), "another shape"),
    "claims more": (lambda trap: python3(array_of(UINT8, shape=(1 << 40, 3072))), "another shape"),
    "negative": (lambda trap: python3(array_of(UINT8, shape=(-1, 3072))), "another shape"),
    "array of another kind": (lambda trap: python3(array_of(UINT8, reconstruct=(DTYPE, (0,), b"b"))), "in another way"),
    "array not empty": (lambda trap: python3(array_of(UINT8, reconstruct=(NDARRAY, (9,), b"b"))), "in another way"),
    "codec rot13": (lambda trap: python3(Calls(codecs.encode, "abc", "rot13")), "other than latin1"),
    "codec zip": (lambda trap: python3(Calls(codecs.encode, b"abc", "zip")), "other than latin1"),
    "codec by default": (lambda trap: python3(Calls(codecs.encode, "abc")), "other than latin1"),
    "not latin1": (lambda trap: python3(Calls(codecs.encode, "€", "latin1")), "something else"),
    "change of a function": (lambda trap: b"\x80\x02c_codecs\nencode\n}U\x05_callK\x01sb.", "something that has none"),
    "slots of a function": (lambda trap: b"\x80\x02c_codecs\nencode\nN}U\x05_callK\x01s\x86b.", "that has none"),
    "change of a class": (lambda trap: b"\x80\x02cnumpy\nndarray\n}U\x01xK\x01sb.", "something that has none"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pickle_is_refused_and_not_run(case, tmp_path, made):
    make, says = HOSTILE[case]
    part = ("train", "test")[len(case) % 2]
    trap = tmp_path / "sprung"
    file = write_pickles(tmp_path / "data", made) / part
    file.write_bytes(make(trap))
    message = refusal(tmp_path / "data")
    assert message.startswith(f"{file}: expected a file of CIFAR-100's Python release, got something else")
    assert says in message
    assert "use the binary release" in message
    assert not trap.exists()
    check(load_cifar100(write_pickles(tmp_path / "good", made, python3)), made)  # nothing was changed for later


def test_traps_would_spring(tmp_path):
    """The pickles above are real: without this loader they do what they are for."""
    for case in ("os.system", "subprocess", "builtins.eval", "old call", "objects"):
        trap = tmp_path / "sprung"
        held = pickle.loads(HOSTILE[case][0](trap))
        assert trap.exists(), case
        getattr(held, "close", lambda: None)()
        trap.rmdir() if trap.is_dir() else trap.unlink()


FIELDS = {
    "no dictionary": lambda fields: [fields],
    "no data": lambda fields: fields.pop(b"data"),
    "CIFAR-10": lambda fields: {b"data": fields[b"data"], b"labels": fields[b"fine_labels"]},
    "no fine labels": lambda fields: {key: value for key, value in fields.items() if key != b"fine_labels"},
    "no coarse labels": lambda fields: {key: value for key, value in fields.items() if key != b"coarse_labels"},
    "data as bytes": lambda fields: {**fields, b"data": b"\0" * 3072 * TEST},
    "no rows": lambda fields: {b"data": fields[b"data"][:0], b"fine_labels": [], b"coarse_labels": []},
    "fewer labels": lambda fields: {**fields, b"fine_labels": fields[b"fine_labels"][1:]},
    "fewer coarse labels": lambda fields: {**fields, b"coarse_labels": fields[b"coarse_labels"][1:]},
    "labels of other kinds": lambda fields: {**fields, b"fine_labels": [b"1"] * TEST},
    "flags": lambda fields: {**fields, b"fine_labels": [True] * TEST},
    "negative labels": lambda fields: {**fields, b"fine_labels": [-1] * TEST},
    "huge labels": lambda fields: {**fields, b"coarse_labels": [1 << 30] * TEST},
    "labels as text": lambda fields: {**fields, b"fine_labels": b"1" * TEST},
}


@pytest.mark.parametrize("case", FIELDS)
@pytest.mark.parametrize("form", [python2, python3])
def test_pickle_of_something_else_is_refused(form, case, tmp_path, made):
    fields = FIELDS[case](fields_of(made, "test"))
    (write_pickles(tmp_path, made) / "test").write_bytes(form(fields))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / 'test'}: expected a file of CIFAR-100's Python release")
    assert "use the binary release" in message


@pytest.mark.parametrize(("key", "value"), [(b"fine_labels", 100), (b"coarse_labels", 20)])
def test_bad_label_in_a_pickle_is_named(key, value, tmp_path, made):
    fields = fields_of(made, "train")
    fields[key][7] = value
    (write_pickles(tmp_path, made) / "train").write_bytes(python2(fields))
    message = refusal(tmp_path)
    assert "train row 8: expected a coarse label 0…19 and a fine label 0…99" in message
    assert f"got {fields[b'coarse_labels'][7]} and {fields[b'fine_labels'][7]};" in message


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("form", [python2, python3])
def test_cut_pickle_is_refused(form, share, tmp_path, made):
    file = write_pickles(tmp_path, made, form) / "train"
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])
    assert "got something else" in refusal(tmp_path)


def test_huge_pickle_is_not_read(tmp_path, made, monkeypatch):
    size = (write_pickles(tmp_path, made) / "train").stat().st_size
    monkeypatch.setattr(cifar100, "LIMIT", size - 1)
    assert f"expected at most {size - 1:,} bytes, got {size:,}" in refusal(tmp_path)
    monkeypatch.setattr(cifar100, "LIMIT", size)
    check(load_cifar100(tmp_path), made)


# The real one


def test_every_record_is_mindspores(data_root, tmp_path):
    from mindspore import dataset

    real = data_root / "cifar-100-binary"
    if not (real / "test.bin").is_file():
        pytest.skip(f"{real / 'test.bin'} is missing: no real CIFAR-100 to compare with")
    (tmp_path / "test.bin").symlink_to(real / "test.bin")
    (tmp_path / "train.bin").write_bytes((real / "test.bin").read_bytes()[: 3074 * 2])
    data = load_cifar100(tmp_path)
    assert data.parts == {"train": range(2), "test": range(2, 10_002)}
    test = data.take(np.arange(10_002)[data.parts["test"].start :])
    np.testing.assert_array_equal(data.features[:2], test.features[:2])

    theirs = dataset.Cifar100Dataset(str(real), usage="test", shuffle=False, num_parallel_workers=1).batch(2000)
    seen = 0
    for batch in theirs.create_dict_iterator(num_epochs=1, output_numpy=True):
        rows = slice(seen, seen + len(batch["image"]))
        np.testing.assert_array_equal(test.features[rows], batch["image"].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(test.labels[rows], batch["fine_label"].reshape(-1))
        seen = rows.stop
    assert seen == 10_000
    assert np.bincount(test.labels).tolist() == [100] * 100


# Parts of a data set


def tiny(**changes):
    given = {"features": np.zeros((5, 2), np.float32), "labels": np.zeros(5, np.int32), "num_classes": 1, **changes}
    return LabelledData("tiny", **given)


@pytest.mark.parametrize(
    "rows",
    [range(6), range(-1, 2), range(3, 3), range(4, 2), range(0, 4, 2), range(4, 0, -1), (0, 5), slice(0, 5), None],
)
def test_parts_must_be_ranges_of_rows(rows):
    with pytest.raises(InputError, match=r"tiny part test: expected a range of one or more rows within 0…4, got"):
        tiny(parts={"train": range(2), "test": rows})


def test_parts_may_be_all_rows():
    assert tiny(parts={"all": range(5)}).parts == {"all": range(5)}
    assert tiny().parts is None


def test_fingerprint_tells_borders_apart():
    # Of the data set without parts, as it was before there were any.
    assert tiny().fingerprint == "1fe8af4a69288e777e4a008f9cfa20a63edc05874548f3d5dc7d42b6a974474e"
    borders = [{"a": range(2), "b": range(2, 5)}, {"a": range(3), "b": range(3, 5)}, {"c": range(2), "b": range(2, 5)}]
    prints = [tiny(parts=parts).fingerprint for parts in (None, {}, *borders)]
    assert len(set(prints)) == len(prints)
    assert tiny(parts=dict(reversed(borders[0].items()))).fingerprint == prints[2]


# Made-up images


def test_made_up_images_are_of_the_kind(made):
    assert (made.name, made.synthetic, made.num_classes, made.order) == ("cifar100-like", True, 100, None)
    assert (made.features.shape, made.features.dtype) == ((TRAIN + TEST, 3, 32, 32), np.uint8)
    assert made.labels.dtype == np.int32
    assert made.parts == {"train": range(TRAIN), "test": range(TRAIN, TRAIN + TEST)}
    assert 120 < made.features.mean() < 136
    assert 35 < made.features.std() < 55
    assert 0.001 < np.isin(made.features, (0, 255)).mean() < 0.02  # cut off at the ends, not wrapped around


def test_made_up_classes_are_balanced():
    made = make_cifar_like(train=25, test=10, classes=10)
    assert set(np.bincount(made.labels[:25], minlength=10)) == {2, 3}
    assert set(np.bincount(made.labels[25:], minlength=10)) == {1}


@pytest.mark.parametrize("seed", [0, 1])
def test_made_up_classes_can_be_learned_and_images_by_heart(seed):
    made = make_cifar_like(seed)
    images = made.features.reshape(len(made), -1).astype(np.float32)
    train, test = (np.arange(len(made))[rows.start : rows.stop] for rows in made.parts.values())
    means = np.stack([images[train][made.labels[train] == label].mean(0) for label in range(100)])
    nearest = (0.5 * (means**2).sum(1) - images @ means.T).argmin(1)
    hits = nearest == made.labels
    assert hits[train].all()
    assert 0.5 < hits[test].mean() < 0.8
    # Slow waves: neighbours are alike, as far as the noise on each pixel lets them.
    assert np.corrcoef(made.features[..., 1:].ravel(), made.features[..., :-1].ravel())[0, 1] > 0.6


def test_made_up_images_are_a_function_of_the_seed():
    prints = [make_cifar_like(seed, train=5, test=5).fingerprint for seed in (0, 0, 1)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize("bad", [{"train": 0}, {"test": -1}, {"classes": 0}, {"train": 1.5}, {"seed": -1}])
def test_made_up_images_of_impossible_numbers(bad):
    with pytest.raises(InputError, match=f"{next(iter(bad))}: expected a whole number"):
        make_cifar_like(**bad)
