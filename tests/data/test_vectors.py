"""Large files of confidence vectors: every way to store them gives the same rows, and every mistake is named."""

import gzip
import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

from mindefense.confidence import log_probs, softmax
from mindefense.data.vectors import FORMS, chunk_rows, open_vectors
from mindefense.errors import DataError

N, C = 53, 7
LOGITS = np.float32(np.random.default_rng(0).normal(size=(N, C)) * 3)
PROBS = softmax(LOGITS)
NOISED = np.float32(LOGITS + np.random.default_rng(1).laplace(0, 0.3, LOGITS.shape))


def save(folder, kind, **arrays):
    """One array as npy, or all as npz."""
    path = folder / f"big-{kind}"  # what a file is, its content tells
    with path.open("wb") as stream:
        if kind == "npy":
            np.save(stream, *arrays.values())
        else:
            {"npz": np.savez, "npz-compressed": np.savez_compressed}[kind](stream, **arrays)
    return path


def rows_of(vectors, first=0, **options):
    """All that is read, put together."""
    blocks = list(vectors.blocks(first, **options))
    starts = [block.start_logits for block in blocks]
    assert [block.first for block in blocks] == [first + (options.get("rows") or N) * k for k in range(len(blocks))]
    return (
        np.concatenate([block.probs for block in blocks]),
        None if starts[0] is None else np.concatenate(starts),
        np.concatenate([block.predicted for block in blocks]),
        sum(block.rescaled for block in blocks),
    )


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("kind", ["npy", "npz", "npz-compressed"])
def test_every_way_to_store_probabilities_gives_the_same_rows(kind, dtype, order, tmp_path):
    stored = np.asarray(PROBS, dtype, order=order)
    path = (
        save(tmp_path, kind, probs=stored, labels=np.arange(N)) if kind != "npy" else save(tmp_path, kind, probs=stored)
    )
    if (kind, order) == ("npz-compressed", "F"):
        with pytest.raises(DataError, match=r"probs: expected rows in C order, .*ascontiguousarray"):
            open_vectors(path)
        return
    vectors = open_vectors(path)
    assert (len(vectors), vectors.classes, vectors.form) == (N, C, "probs")
    expected = PROBS
    if dtype == "<f2":  # three digits, so that sums are off
        sums = stored.sum(axis=1, dtype=np.float64)
        is_off = np.abs(sums - 1) > 1e-4
        expected = np.where(is_off[:, None], stored / sums[:, None], stored).astype(np.float32)
        assert 0 < is_off.sum() < N
    for rows in (1, 10, N, 1000):
        probs, start, predicted, rescaled = rows_of(vectors, rows=rows)
        assert (probs.dtype, probs.dtype.isnative, probs.flags.c_contiguous) == (np.float32, True, True)
        np.testing.assert_array_equal(probs, expected)
        np.testing.assert_array_equal(predicted, PROBS.argmax(axis=1))
        assert start is None
        assert rescaled == (is_off.sum() if dtype == "<f2" else 0)
    np.testing.assert_array_equal(rows_of(vectors, 21, rows=10)[0], expected[21:])


@pytest.mark.parametrize("kind", ["npz", "npz-compressed"])
@pytest.mark.parametrize(("form", "names"), [(form, prefix + form) for form in FORMS for prefix in ("", "clean_")])
def test_forms(form, names, kind, tmp_path):
    held = {"probs": PROBS, "log_probs": log_probs(PROBS), "logits": LOGITS}[form]
    vectors = open_vectors(save(tmp_path, kind, W1=np.ones(3), **{names: held}, start_logits=NOISED))
    assert (vectors.form, vectors.is_narrowed) == (form, form != "probs")
    probs, start, predicted, _ = rows_of(vectors, rows=20)
    np.testing.assert_allclose(probs, PROBS, rtol=1e-5)
    np.testing.assert_array_equal(predicted, PROBS.argmax(axis=1))
    if form == "probs":
        assert start is None
    else:
        np.testing.assert_array_equal(start, held)
    np.testing.assert_array_equal(rows_of(vectors, rows=20, noised=True)[1], NOISED)
    np.testing.assert_array_equal(rows_of(vectors, 21, rows=20, noised=True)[1], NOISED[21:])


def test_logits_beside_probabilities_start_the_search(tmp_path):
    vectors = open_vectors(save(tmp_path, "npz", clean_probs=PROBS, clean_logits=LOGITS))
    probs, start, _, _ = rows_of(vectors, rows=20)
    np.testing.assert_array_equal(probs, PROBS)
    np.testing.assert_array_equal(start, LOGITS)


def test_logarithms_of_zero(tmp_path):
    logs = np.array([[0, -np.inf, -np.inf], [np.log(0.5), np.log(0.5), -np.inf]], np.float32)
    probs, start, _, _ = rows_of(open_vectors(save(tmp_path, "npz", log_probs=logs)), rows=2)
    np.testing.assert_allclose(probs, [[1, 0, 0], [0.5, 0.5, 0]], rtol=1e-6)
    assert np.isfinite(start).all()


@pytest.mark.parametrize("mark", [-np.inf, np.finfo(np.float32).min])
def test_masked_classes_have_a_probability_of_zero(mark, tmp_path):
    masked = LOGITS.copy()
    masked[:5, 2] = mark
    vectors = open_vectors(save(tmp_path, "npz", logits=masked, noised_logits=masked))
    probs, start, _, _ = rows_of(vectors, rows=20)
    without = np.delete(LOGITS, 2, axis=1)
    np.testing.assert_allclose(np.delete(probs[:5], 2, axis=1), softmax(without[:5]), rtol=1e-5)
    assert (probs[:5, 2] < 1e-29).all()
    np.testing.assert_array_equal(probs[5:], PROBS[5:])
    for logits in (start, rows_of(vectors, rows=20, noised=True)[1]):
        assert np.isfinite(logits).all()
        np.testing.assert_array_equal(np.delete(logits, 2, axis=1), without)


def test_rounding_below_zero(tmp_path):
    probs = softmax(LOGITS * 5)
    probs[4, probs[4].argmin()] = -3e-8
    np.testing.assert_array_equal(rows_of(open_vectors(save(tmp_path, "npy", probs=probs)))[0], np.maximum(probs, 0))


@pytest.mark.parametrize("half", [False, True])
def test_logits_of_other_rows_beside_probabilities(half, tmp_path):
    logits, probs = (values.astype(np.float16) if half else values for values in (LOGITS * 8, softmax(LOGITS * 8)))
    rows_of(open_vectors(save(tmp_path, "npz", probs=probs, logits=logits)), rows=20)
    order = np.arange(N)
    order[[30, 31]] = [31, 30]
    vectors = open_vectors(save(tmp_path, "npz", clean_probs=probs, logits=logits[order]))
    with pytest.raises(
        DataError, match=r"logits row 30: expected logits whose softmax is the row of clean_probs, got a"
    ):
        vectors.check()
    with pytest.raises(DataError, match="logits row 31"):
        rows_of(vectors, 31)


def test_predicted_classes_are_told_before_rounding(tmp_path):
    logits = np.array([[0, 1e-9, -5], [1e-9, 0, -5]])
    for name, held in (("logits", logits), ("probs", np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))):
        vectors = open_vectors(save(tmp_path, "npz", **{name: held}))
        probs, _, predicted, _ = rows_of(vectors, rows=2)
        assert probs[0, 0] == probs[0, 1]
        assert predicted.tolist() == [1, 0]
        assert vectors.is_narrowed


def npy(array):
    sink = io.BytesIO()
    np.save(sink, array, allow_pickle=True)
    return sink.getvalue()


def npz(**arrays):
    sink = io.BytesIO()
    np.savez(sink, **arrays)
    return sink.getvalue()


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def zipped(name, data, kind=zipfile.ZIP_DEFLATED):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", kind) as archive:
        archive.writestr(name, data)
    return sink.getvalue()


WIDE = npy(PROBS)
# What the file holds → words of the one line.
BAD_FILES = {
    "empty": (b"", ["npy or npz", "something else", "np.savez"]),
    "packed": (gzip.compress(npz(probs=PROBS)), ["npy or npz", "compressed file", "gunzip"]),
    "one logit": (npz(clean_logits=np.ones((3, 1))), ["(3, 1)", "clean_logits=np.stack([0 * z, z], axis=1)"]),
    "text": (b"prob_0,prob_1\n", ["npy or npz", "something else"]),
    "no answers": (npz(labels=np.arange(3)), ["one of probs, log_probs, logits", "none of them"]),
    "two forms": (npz(probs=PROBS, log_probs=PROBS), ["one of probs, log_probs", "2 of them"]),
    "one form twice": (npz(probs=PROBS, clean_probs=PROBS), ["probs and clean_probs", "both"]),
    "integers": (npy(np.ones((3, 2), int)), ["floating-point", "int64", "astype"]),
    "objects": (npy(np.full((3, 2), None)), ["floating-point", "Python objects"]),
    "one dimension": (npy(np.ones(3)), ["(N, C)", "(3,)", "1 - p"]),
    "one class": (npy(np.ones((3, 1))), ["(N, C)", "(3, 1)", "1 - p"]),
    "no row": (npy(np.ones((0, 4))), ["N ≥ 1", "(0, 4)"]),
    "other rows": (npz(probs=PROBS, noised_logits=NOISED[:-1]), ["noised_logits", "(53, 7)", "(52, 7)"]),
    "cut array": (WIDE[:-1], ["bytes", "truncated"]),
    "cut header": (WIDE[:40], ["damaged or truncated"]),
    "cut archive": (npz(probs=PROBS)[:-30], ["damaged or truncated"]),
    "cut member": (zipped("probs.npy", WIDE[:-1]), ["probs", "bytes", "truncated"]),
    "no array inside": (zipped("probs.npy", b"PK"), ["damaged or truncated"]),
    "later version": (WIDE[:6] + b"\3" + WIDE[7:], ["numbers", "npy version (3, 0)"]),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_file_is_named_at_once(name, tmp_path):
    content, words = BAD_FILES[name]
    path = tmp_path / "big.npz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_vectors(path)
    assert "\n" not in str(caught.value)
    for word in (*words, "big.npz"):
        assert word in str(caught.value)


@pytest.mark.parametrize(("name", "word"), [("nothing", "no such file"), ("folder", "a folder")])
def test_no_file(name, word, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=word):
        open_vectors(tmp_path / name)


def test_damage_inside_a_compressed_file_is_noticed(tmp_path):
    held = zipped("probs.npy", npy(np.tile(PROBS, (50, 1))))
    (tmp_path / "big").write_bytes(flipped(held, len(held) // 2))
    with pytest.raises(DataError, match=r"big: .*(damaged or truncated|row \d+)"):
        open_vectors(tmp_path / "big").check()


# Array → what row 70,001 is made → words of the one line.
BAD_ROWS = [
    ("probs", [np.nan, 1], ["probs row 70001", "finite"]),
    ("probs", [0.4, 0.4], ["probs row 70001", "sum of 1"]),
    ("probs", [1.5, -0.5], ["probs row 70001", "≥ 0"]),
    ("log_probs", [np.nan, -1], ["log_probs row 70001", "finite"]),
    ("log_probs", [np.log(0.4)] * 2, ["exp(log_probs) row 70001", "sum of 1"]),
    ("logits", [np.inf, 0], ["logits row 70001", "finite"]),
    ("logits", [1e31, 0], ["logits row 70001", "1e+30"]),
    ("noised_logits", [0, np.nan], ["noised_logits row 70001", "finite"]),
]


@pytest.mark.parametrize(("name", "values", "words"), BAD_ROWS)
def test_bad_row_is_named_by_its_number_in_the_file(name, values, words, tmp_path):
    arrays = {"probs": np.full((70_010, 2), 0.5, np.float32)}
    arrays["log_probs"], arrays["logits"] = np.log(arrays["probs"]), np.log(arrays["probs"])
    arrays["noised_logits"] = arrays["logits"].copy()
    arrays[name][70_001] = values
    form = name if name in FORMS else "probs"
    path = save(tmp_path, "npz", **{form: arrays[form], "noised_logits": arrays["noised_logits"]})
    with pytest.raises(DataError) as caught:
        open_vectors(path).check(noised=name == "noised_logits")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"logits": PROBS}, ["before softmax", "save them as probs"]),
        ({"probs": LOGITS}, ["row 0", "apply softmax first"]),
        ({"probs": log_probs(PROBS)}, ["row 0", "apply exp first"]),
        ({"probs": 100 * PROBS}, ["row 0", "per cent: divide by 100"]),
        ({"logits": 100 * PROBS}, ["before softmax", "per cent", "100 and save them as probs"]),
        ({"clean_logits": np.vstack([PROBS, 0 * PROBS[:1]])}, ["53 of 54 rows", "row 53", "save them as clean_probs"]),
        ({"probs": 1 / (1 + np.exp(-LOGITS))}, ["row 0", "independent sigmoids"]),
        ({"logits": 1 / (1 + np.exp(-LOGITS))}, ["before softmax", "independent sigmoids"]),
        ({"log_probs": np.log10(PROBS)}, ["exp(log_probs) row 0", "base-10 logarithms"]),
        ({"log_probs": LOGITS}, ["exp(log_probs) row 0", "save them as logits"]),
    ],
)
def test_mixed_up_forms(arrays, words, tmp_path):
    with pytest.raises(DataError) as caught:
        open_vectors(save(tmp_path, "npz", **arrays)).check()
    for word in words:
        assert word in str(caught.value)


def test_missing_logits_of_the_noised_input(tmp_path):
    vectors = open_vectors(save(tmp_path, "npz", logits=LOGITS))
    for ask in (vectors.expect_noised, lambda: next(vectors.blocks(noised=True)), lambda: vectors.check(noised=True)):
        with pytest.raises(DataError, match=r"array noised_logits.*none.*noised input"):
            ask()


@pytest.mark.parametrize("how", ["written to", "replaced", "removed"])
def test_a_file_that_changes_is_noticed(how, tmp_path):
    path = save(tmp_path, "npy", probs=PROBS)
    blocks = open_vectors(path).blocks(rows=10)
    next(blocks)
    if how == "written to":
        with path.open("r+b") as stream:
            stream.seek(-1, os.SEEK_END)
            stream.write(b"\0")
        os.utime(path, ns=(1, 1))
    elif how == "replaced":
        about = path.stat()
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
        other.replace(path)
    else:
        path.unlink()
    with pytest.raises(DataError, match=r"change while it was read|readable file"):
        next(blocks)


def test_check_tells_numbers_apart_and_not_files(tmp_path):
    found = set()
    for kind, arrays in [
        ("npy", {"probs": PROBS}),
        ("npz", {"probs": PROBS}),
        ("npz", {"clean_probs": PROBS.astype(">f4"), "labels": np.arange(9)}),
        ("npz-compressed", {"probs": PROBS}),
        ("npz", {"probs": np.asfortranarray(PROBS)}),
    ]:
        found.add(open_vectors(save(tmp_path, kind, **arrays)).check())
    assert len(found) == 1
    other = PROBS.copy()
    other[-1, -1] = np.nextafter(other[-1, -1], np.float32(1))
    wide = PROBS.astype(np.float64)  # in which classes may differ that float32 makes level
    for arrays in ({"probs": other}, {"probs": PROBS[:-1]}, {"probs": wide}, {"probs": PROBS, "logits": LOGITS}):
        found.add(open_vectors(save(tmp_path, "npz", **arrays)).check())
    vectors = open_vectors(save(tmp_path, "npz", probs=PROBS, noised_logits=NOISED))
    done = []
    found.add(vectors.check(noised=True, on_progress=done.append))
    assert (len(found), sum(done)) == (6, N)


@pytest.mark.parametrize(
    ("classes", "rows"),
    [(2, 65536), (64, 65536), (65, 32768), (100, 32768), (1000, 4096), (2**22, 1), (2**30, 1)],
)
def test_chunks_are_powers_of_two_that_fit(classes, rows):
    assert chunk_rows(classes) == rows


@pytest.mark.parametrize("kind", ["npy", "npz", "npz-compressed"])
def test_memory_does_not_grow_with_the_number_of_rows(kind, tmp_path):
    peaks = []
    for repeats in (100, 2000):
        vectors = open_vectors(save(tmp_path, kind, probs=np.tile(PROBS, (repeats, 1))))
        tracemalloc.start()
        for _ in vectors.blocks(rows=1024):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000  # 2.8 MB more would be all rows
    assert peaks[1] < 600_000
