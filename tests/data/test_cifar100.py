"""CIFAR-100: every published form of it and every way to be wrong; of pickles in test_cifar100_pickles.py."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
import tracemalloc

import numpy as np
import pytest
from cifar100_files import ARCHIVE, TEST, TRAIN, check, records_of, refusal, write_binary, write_pickles

from mindefense.data import SOURCES, cifar100, download, load_cifar100, load_dataset, make_cifar_like
from mindefense.errors import DataError
from mindefense.types import LabelledData

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
    for part in (str(path), ARCHIVE, "train.bin", "test/test.bin", "folder without" if exists else "no such file"):
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
    assert "a damaged or truncated one" in refusal(tmp_path)


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
