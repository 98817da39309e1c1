"""`load_location` on files written here: good ones in every form, and every way to be wrong."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mindefense.data import load_location
from mindefense.data import location as location_module
from mindefense.errors import DataError

ROWS, FEATURES, CLASSES = 5010, 446, 30
DATA = os.environ.get("MINDEFENSE_DATA")


@pytest.fixture(scope="session")
def table():
    rng = np.random.default_rng(0)
    features = (rng.random((ROWS, FEATURES)) < 0.12).astype(np.int8)
    labels = rng.permutation(np.arange(ROWS) % CLASSES + 1)
    return features, labels


@pytest.fixture(scope="session")
def lines(table):
    features, labels = table
    rows = np.full((ROWS, 2 * FEATURES), ord(","), np.uint8)
    rows[:, 1::2] = features + ord("0")
    return [b'"%d"%s' % (label, row.tobytes()) for label, row in zip(labels, rows, strict=True)]


@pytest.fixture(scope="session")
def text(lines):
    return b"\n".join(lines) + b"\n"


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


def regular(name, content):
    return name, content, tarfile.REGTYPE


def check(data, table):
    features, labels = table
    assert data.name == "location"
    assert not data.synthetic
    assert data.num_classes == CLASSES
    assert (data.features.dtype, data.labels.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(data.features, features)
    np.testing.assert_array_equal(data.labels, labels - 1)


def refusal(path) -> str:
    with pytest.raises(DataError) as caught:
        load_location(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


FORMS = {
    "tgz": ("dataset_location.tgz", lambda text: tar_bytes(regular("bangkok", text))),
    "tgz with a folder": ("dataset_location.tgz", lambda text: tar_bytes(regular("./x/bangkok", text))),
    "tgz with more": ("dataset_location.tgz", lambda text: tar_bytes(regular("a", b"1"), regular("bangkok", text))),
    "tar": ("dataset_location.tgz", lambda text: tar_bytes(regular("bangkok", text), zipped=False)),
    "text": ("bangkok", lambda text: text),
    "text gzipped": ("bangkok", lambda text: gzip.compress(text, 1)),
    "Windows line ends": ("bangkok", lambda text: text.replace(b"\n", b"\r\n")),
    "no quotes": ("bangkok", lambda text: text.replace(b'"', b"")),
    "no last line end": ("bangkok", lambda text: text[:-1]),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_data(form, tmp_path, text, table):
    name, write = FORMS[form]
    (tmp_path / name).write_bytes(write(text))
    data = load_location(tmp_path)
    check(data, table)
    assert data.order is None


def test_a_file_may_have_any_name(tmp_path, text, table):
    (tmp_path / "mine.txt").write_bytes(text)
    check(load_location(str(tmp_path / "mine.txt")), table)


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
@pytest.mark.parametrize("label_shape", [(ROWS,), (ROWS, 1)])
def test_npz(dtype, label_shape, tmp_path, table):
    features, labels = table
    np.savez(tmp_path / "data_complete.npz", x=features.astype(dtype), y=labels.reshape(label_shape).astype(dtype))
    check(load_location(tmp_path), table)


@pytest.mark.parametrize("form", ["npy", "npz", "npy of floats"])
def test_order(form, tmp_path, text):
    order = np.random.default_rng(1).permutation(ROWS)
    (tmp_path / "bangkok").write_bytes(text)
    if form == "npz":
        np.savez(tmp_path / "shuffle_index.npz", x=order)
    else:
        np.save(tmp_path / "shuffle_index.npy", order if form == "npy" else order.astype(float))
    for path in (tmp_path, tmp_path / "bangkok"):
        data = load_location(path)
        assert data.order is not None
        assert data.order.dtype == np.int64
        np.testing.assert_array_equal(data.order, order)


@pytest.mark.parametrize("made", [True, False])
def test_missing_file_names_the_accepted_ones_and_the_remedy(made, tmp_path):
    path = tmp_path / "nowhere"
    if made:
        path.mkdir()
    message = refusal(path)
    for part in (str(path), "dataset_location.tgz", "bangkok", "data_complete.npz", "mindefense download location"):
        assert part in message


def replaced(lines, number, line):
    return b"\n".join([*lines[: number - 1], line, *lines[number:]]) + b"\n"


# Line numbers in the first block of the parser and in the last.
@pytest.mark.parametrize("number", [2, ROWS])
@pytest.mark.parametrize(
    ("change", "where", "expected", "got"),
    [
        (lambda line: line + b",0", "", "447 columns", "448"),
        (lambda line: line[:-2], "", "447 columns", "446"),
        (lambda line: line + b"," + line, "", "447 columns", "894"),
        (lambda line: b"", "", "447 columns", "0"),
        (lambda line: b'"31"' + line[line.index(b",") :], "", "a label 1…30", "31"),
        (lambda line: b'"0"' + line[line.index(b",") :], "", "a label 1…30", "0"),
        (lambda line: line[:-1] + b"2", " feature 446", "0 or 1", "2"),
        (lambda line: line[:-1] + b"256", " feature 446", "0 or 1", "256"),
        (lambda line: line[:-1] + b"-1", " column 447", "a whole number", "'-1'"),
        (lambda line: line[:-1] + b"0.5", " column 447", "a whole number", "'0.5'"),
        (lambda line: line[:-1] + b"1000", " column 447", "a whole number", "'1000'"),
        (lambda line: line[:-1], " column 447", "a whole number", "''"),
        (lambda line: line.replace(b",", b";"), "", "447 columns", "1"),
    ],
)
def test_bad_line_is_named(number, change, where, expected, got, tmp_path, lines):
    (tmp_path / "bangkok").write_bytes(replaced(lines, number, change(lines[number - 1])))
    message = refusal(tmp_path)
    assert f"bangkok line {number}{where}: expected {expected}" in message
    assert f"got {got};" in message


@pytest.mark.parametrize(
    ("cut", "got"),
    [(lambda text: text[: text.rindex(b"\n", 0, -1) + 1], "5,009"), (lambda text: text + text[:900], "5,011")],
)
def test_wrong_number_of_rows(cut, got, tmp_path, text):
    text = cut(text)
    (tmp_path / "bangkok").write_bytes(text if got == "5,009" else text[: text.rindex(b"\n") + 1])
    assert f"expected 5,010 rows, got {got}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", ": expected at least one row, got none"),
        (b"\n", " line 1: expected 447 columns, got 0"),
        (b"\0" * 5000, " line 1: expected 447 columns, got 1"),
        (b"x" * (3 << 20), " line 1: expected 447 columns, got an endless line"),
        (b"<html>\n</html>\n", " line 1: expected 447 columns, got 1"),
        (b"1," * 446 + b"\xff", " line 1 column 447: expected a whole number"),
    ],
)
def test_something_else_entirely(content, says, tmp_path):
    (tmp_path / "bangkok").write_bytes(content)
    assert f"bangkok{says}" in refusal(tmp_path)


HOSTILE = {
    "climbs out": (regular("../bangkok", b"1"), "an unsafe name"),
    "climbs out from within": (regular("a/../../bangkok", b"1"), "an unsafe name"),
    "absolute": (regular("/tmp/bangkok", b"1"), "an unsafe name"),
    "symbolic link": (("bangkok", "/etc/passwd", tarfile.SYMTYPE), "a link or special file"),
    "hard link": (("bangkok", "other", tarfile.LNKTYPE), "a link or special file"),
    "pipe": (("bangkok", "", tarfile.FIFOTYPE), "a link or special file"),
    "device": (("bangkok", "", tarfile.CHRTYPE), "a link or special file"),
    "folder": (("bangkok", "", tarfile.DIRTYPE), "got bangkok"),
    "other member": (regular("tokyo", b"1"), "got tokyo"),
}


@pytest.mark.parametrize("form", HOSTILE)
def test_hostile_archive_is_refused_and_writes_nothing(form, tmp_path):
    entry, got = HOSTILE[form]
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "dataset_location.tgz").write_bytes(tar_bytes(entry))
    message = refusal(inner)
    assert got in message
    assert "dataset_location.tgz" in message
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["dataset_location.tgz", "inner"]


def test_link_is_not_followed_to_a_good_member(tmp_path, text):
    archive = tar_bytes(("bangkok", "other", tarfile.SYMTYPE), regular("other", text))
    (tmp_path / "dataset_location.tgz").write_bytes(archive)
    assert "a link" in refusal(tmp_path)


def test_sparse_member_is_refused(tmp_path):
    archive = bytearray(tar_bytes(regular("bangkok", b""), zipped=False))
    archive[156:157] = tarfile.GNUTYPE_SPARSE
    archive[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(archive[:512]))[0]
    (tmp_path / "dataset_location.tgz").write_bytes(archive)
    assert "special file" in refusal(tmp_path)


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.9, 0.9999])
def test_cut_archive_is_refused(share, tmp_path, text):
    whole = tar_bytes(regular("bangkok", text))
    (tmp_path / "dataset_location.tgz").write_bytes(whole[: max(3, int(share * len(whole)))])
    message = refusal(tmp_path)
    assert "dataset_location.tgz: expected a readable file, got a damaged or truncated one" in message
    assert "mindefense download location" in message


def test_cut_plain_tar_is_refused(tmp_path, text):
    (tmp_path / "x.tar").write_bytes(tar_bytes(regular("bangkok", text), zipped=False)[:100_000])
    refusal(tmp_path / "x.tar")


@pytest.mark.parametrize(
    "entries",
    [[regular("bangkok", b"\0" * 200_000)], [regular("ballast", b"\0" * 200_000), regular("bangkok", b"1")]],
)
def test_archive_that_unpacks_to_too_much_is_refused(entries, tmp_path, monkeypatch):
    monkeypatch.setattr(location_module, "LIMIT", 100_000)
    (tmp_path / "dataset_location.tgz").write_bytes(tar_bytes(*entries))
    assert "at most 100,000 bytes" in refusal(tmp_path)


def test_pickled_npz_is_refused_and_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    trap = np.array([Trap()], dtype=object)
    np.savez(tmp_path / "data_complete.npz", x=trap, y=trap)
    assert "no pickled objects" in refusal(tmp_path)
    assert not (tmp_path / "sprung").exists()


def bad_npz(table, case):
    features, labels = table
    if case == "no y":
        return {"x": features}
    if case == "columns":
        return {"x": features[:, 1:], "y": labels}
    if case == "rows":
        return {"x": features[1:], "y": labels[1:]}
    if case == "lengths":
        return {"x": features, "y": labels[1:]}
    if case == "not binary":
        features = features.astype(float)
        features[7, 3] = 0.5
        return {"x": features, "y": labels}
    if case == "NaN":
        features = features.astype(float)
        features[7, 3] = np.nan
        return {"x": features, "y": labels}
    if case == "label":
        return {"x": features, "y": np.where(np.arange(ROWS) == 9, 31, labels)}
    if case == "label from 0":
        return {"x": features, "y": labels - 1}
    if case == "fraction":
        return {"x": features, "y": labels + 0.5}
    return {"x": np.array(["0", "1"]), "y": labels}


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("no y", "expected arrays x, y, got x.npy"),
        ("columns", "(5010, 445)"),
        ("rows", "got 5,009"),
        ("lengths", "y (5009,)"),
        ("not binary", "array x row 7: expected 0 or 1, got 0.5"),
        ("NaN", "array x row 7: expected 0 or 1, got nan"),
        ("label", "array y row 9: expected a label 1…30, got 31"),
        ("label from 0", "expected a label 1…30, got 0"),
        ("fraction", "expected a label 1…30"),
        ("text", "got type <U"),
    ],
)
def test_bad_npz_is_refused(case, says, tmp_path, table):
    np.savez(tmp_path / "data_complete.npz", **bad_npz(table, case))
    assert says in refusal(tmp_path)


def test_damaged_npz_is_refused(tmp_path, table, monkeypatch):
    path = tmp_path / "data_complete.npz"
    np.savez_compressed(path, x=table[0], y=table[1])
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:200] + b"\xff" * 50 + whole[250:], b"PK\x03\x04"):
        path.write_bytes(damaged)
        assert "expected a readable npz file" in refusal(tmp_path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"junk")
        archive.writestr("y.npy", b"junk")
    assert "an array of numbers" in refusal(tmp_path)
    path.write_bytes(whole)
    monkeypatch.setattr(location_module, "LIMIT", 100_000)
    assert "at most 100,000 bytes per array" in refusal(tmp_path)


@pytest.mark.skipif(not DATA, reason="MINDEFENSE_DATA is not set: no real Location to test with")
def test_the_real_one():
    data = load_location(Path(str(DATA)) / "location")
    assert data.features.shape == (ROWS, FEATURES)
    assert int(data.features.sum()) == 269_047
    assert data.labels[0] == 12
    counts = np.bincount(data.labels)
    assert (len(counts), counts.min(), counts.max()) == (CLASSES, 97, 308)
    assert data.order is not None
    assert data.order[:5].tolist() == [875, 1454, 159, 4332, 2891]
