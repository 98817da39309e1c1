import hmac
import os
import pickle
import stat
import subprocess
import sys

import numpy as np
import pytest
import scipy.stats

from mindefense import keyed_noise
from mindefense.errors import InputError, OutputError
from mindefense.keyed_noise import KeyedDraws, KeyedNoise, derive_key, keyed_laplace, keyed_uniform, read_key, write_key

KEY, OTHER = b"a secret of the owner of the model", b"another secret"
ROWS = np.float32(np.random.default_rng(1).normal(size=(60, 40)))
DRAWN = {
    "noise": lambda rows, key=KEY: keyed_laplace(rows, 1.0, key),
    "draws": lambda rows, key=KEY: keyed_uniform(rows, 33, key),
}
each_kind = pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
posix = pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")


# --------------------------------------------------------------------------------------- a function of key and row

WAYS = {
    "alone": lambda draw: np.concatenate([draw(row[None]) for row in ROWS]),
    "batches": lambda draw: np.concatenate([draw(ROWS[first : first + 7]) for first in range(0, 60, 7)]),
    "reversed": lambda draw: draw(ROWS[::-1])[::-1],
    "twice": lambda draw: draw(np.repeat(ROWS, 2, axis=0))[::2],
    "column by column": lambda draw: draw(np.asfortranarray(ROWS)),
    "strided": lambda draw: draw(np.repeat(ROWS, 3, axis=1)[:, ::3]),
    "read-only": lambda draw: draw(np.frombuffer(ROWS.tobytes(), np.float32).reshape(ROWS.shape)),
    "float64": lambda draw: draw(np.float64(ROWS)),
    "other byte order": lambda draw: draw(ROWS.astype(">f4")),
    "float64 beside it": lambda draw: draw(np.float64(ROWS) * (1 + 1e-12)),
    "as images": lambda draw: draw(ROWS.reshape(60, 2, 4, 5)).reshape(60, -1),
}


@each_kind
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_same_query_same_bytes(draw, way):
    found = way(draw)
    assert found.dtype == np.float32
    assert np.ascontiguousarray(found).tobytes() == draw(ROWS).tobytes()


@each_kind
@pytest.mark.parametrize("dtype", [np.float16, np.uint8, np.int64])
def test_other_dtypes_are_the_same_query(draw, dtype):
    rows = np.abs(ROWS * 10).astype(dtype)
    np.testing.assert_array_equal(draw(rows), draw(np.float32(rows)))


@each_kind
def test_same_query_same_bytes_in_another_process(draw, request):
    kind = request.node.callspec.id
    asked = {"noise": "keyed_laplace(rows, 1.0, key)", "draws": "keyed_uniform(rows, 33, key)"}[kind]
    code = (
        "import sys, numpy as np\n"
        "from mindefense.keyed_noise import keyed_laplace, keyed_uniform\n"
        f"key, rows = {KEY!r}, np.frombuffer(sys.stdin.buffer.read(), np.float32).reshape(60, 40)[::-1]\n"
        f"sys.stdout.buffer.write({asked}.tobytes())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        input=ROWS.tobytes(),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
    )
    assert run.stdout == draw(ROWS[::-1]).tobytes()


@each_kind
def test_minus_zero_is_the_same_query(draw):
    rows = np.zeros((1, 6), np.float32)
    assert np.signbit(-rows).all()
    np.testing.assert_array_equal(draw(-rows), draw(rows))


@each_kind
def test_other_keys_give_other_numbers_everywhere(draw):
    for other in (OTHER, KEY[:-1], bytes(32)):
        assert (draw(ROWS) == draw(ROWS, other)).mean() < 1e-3


@each_kind
def test_one_flipped_bit_redraws_all(draw):
    positions = [(0, 0), (0, 31), (39, 0), (39, 31), *((feature, feature % 32) for feature in range(1, 39))]
    changed = np.repeat(ROWS[:1], len(positions), axis=0)
    for row, (feature, bit) in enumerate(positions):
        changed.view(np.uint32)[row, feature] ^= np.uint32(1 << bit)
    changed = changed[np.isfinite(changed).all(axis=1)]
    assert len(changed) > 35
    found = np.concatenate((draw(ROWS[:1]), draw(changed)))
    same = np.mean([(found[i] == found[j]).mean() for i in range(len(found)) for j in range(i)])
    assert same < 1e-4


@each_kind
def test_neighbors_are_independent(draw):
    rows = np.repeat(ROWS, 2, axis=0)
    rows.view(np.uint32)[1::2, 3] ^= np.uint32(1)  # the last bit of one feature
    one, other = np.split(np.stack(np.split(draw(rows), 60)), 2, axis=1)
    numbers = scipy.stats.rankdata(one), scipy.stats.rankdata(other)  # ranks, for the tails are heavy
    assert abs(np.corrcoef(*numbers)[0, 1]) < 4 / np.sqrt(one.size)


@each_kind
@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (1, 1), (4,)])
def test_odd_shapes(draw, shape):
    found = draw(np.ones(shape, np.float32))
    assert len(found) == shape[0]
    assert np.isfinite(found).all()


# ------------------------------------------------------------------------------------------------ the distributions


@pytest.mark.parametrize("scale", [1 / 3, 1.0, 20.0])
def test_noise_is_laplace(scale):
    rows = np.float32(np.random.default_rng(2).normal(size=(400, 50)))
    noise = keyed_laplace(rows, scale, KEY)
    assert (noise.shape, noise.dtype) == (rows.shape, np.float32)
    over_rows = [scipy.stats.kstest(column, "laplace", args=(0, scale)).pvalue for column in noise.T]
    over_features = [scipy.stats.kstest(row, "laplace", args=(0, scale)).pvalue for row in noise]
    assert scipy.stats.kstest(noise.ravel(), "laplace", args=(0, scale)).pvalue > 1e-3
    for found in (over_rows, over_features):  # of many tests some p-values are small, and all together are uniform
        assert min(found) > 1e-3 / len(found)
        assert scipy.stats.kstest(found, "uniform").pvalue > 1e-3
    for wrong in (scale * 1.1, scale / 1.1):  # it can tell
        assert scipy.stats.kstest(noise.ravel(), "laplace", args=(0, wrong)).pvalue < 1e-4


def test_noise_has_no_pattern():
    noise = keyed_laplace(np.float32(np.random.default_rng(3).normal(size=(400, 50))), 1.0, KEY)
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.03
    np.testing.assert_allclose(keyed_laplace(ROWS, 2.0, KEY), 2 * keyed_laplace(ROWS, 1.0, KEY), rtol=1e-6)


def test_draws_are_uniform():
    numbers = keyed_uniform(np.float32(np.random.default_rng(1).normal(size=(400, 5))), 50, KEY)
    assert (numbers.shape, numbers.dtype) == ((400, 50), np.float32)
    assert scipy.stats.kstest(numbers.ravel(), "uniform").pvalue > 1e-3
    assert scipy.stats.kstest(numbers.ravel() * 0.97, "uniform").pvalue < 1e-6
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.03
    np.testing.assert_array_equal(np.float64(numbers) * 2**24 % 2, 1)  # so 1 - u is a number of the same kind


def numpys(rows, draw):
    """What NumPy's own distributions give on the same stream: what was stored before stays as it is."""
    found = []
    for row in rows:
        digest = hmac.new(KEY, row.tobytes(), "sha256").digest()
        found.append(draw(np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))))
    return np.stack(found)


@pytest.mark.parametrize("scale", [1 / 3, 20.0])
def test_noise_is_that_of_numpy(scale):
    rows = np.float32(np.random.default_rng(4).normal(size=(300, 111)))  # more numbers than one block holds
    expected = numpys(rows, lambda generator: generator.laplace(0, scale, 400))[:, :111].astype(np.float32)
    found = keyed_laplace(rows, scale, KEY)
    assert (found != expected).mean() < 1e-4
    np.testing.assert_allclose(found, expected, rtol=2e-7)


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_draws_are_those_of_numpy(count):
    expected = numpys(ROWS, lambda generator: (2 * generator.integers(2**23, size=count) + 1) * 2.0**-24)
    np.testing.assert_array_equal(keyed_uniform(ROWS, count, KEY), expected)


@pytest.mark.parametrize(("raw", "low", "high"), [(0, -38, -36), (2**64 - 1, 36, 38), (2**63, 0, 0), (2**11, -37, -35)])
def test_the_ends_of_the_stream_are_finite(raw, low, high, monkeypatch):
    monkeypatch.setattr(keyed_noise, "_raw", lambda rows, count, key: np.full((len(rows), count), raw, np.uint64))
    noise = keyed_laplace(ROWS[:2], 1.0, KEY)
    assert ((noise >= low) & (noise <= high)).all()


# ------------------------------------------------------------------------------------------------------ the objects


def test_noise_and_draws_are_streams_of_their_own():
    keys = [derive_key(KEY, purpose, again=again) for purpose in ("noise", "draws") for again in (0, 1, 2)]
    assert len(set(keys)) == 6
    assert keys[0] == KEY
    np.testing.assert_array_equal(KeyedNoise.of(KEY, 2.0)(ROWS), keyed_laplace(ROWS, 2.0, KEY))
    np.testing.assert_array_equal(KeyedDraws.of(KEY, 3, again=1)(ROWS), keyed_uniform(ROWS, 3, keys[4]))


@pytest.mark.parametrize("drawing", [KeyedNoise(KEY, 0.5), KeyedDraws(KEY, 3)])
def test_drawing_travels_and_hides_its_key(drawing):
    there = pickle.loads(pickle.dumps(drawing))
    assert there == drawing
    np.testing.assert_array_equal(there(ROWS), drawing(ROWS))
    for shown in (repr(drawing), str(drawing), f"{[drawing]}"):
        assert "secret" not in shown
        assert KEY.hex() not in shown
    with pytest.raises(AttributeError):
        drawing.key = OTHER


# ---------------------------------------------------------------------------------------------------------- the file


def test_key_file(tmp_path):
    path = tmp_path / "new" / "guarded.key"
    key = write_key(path)
    assert len(key) == 32
    assert path.read_text() == key.hex() + "\n"
    assert read_key(path) == key
    assert write_key(tmp_path / "other.key") != key


@posix
def test_key_file_is_its_owners_from_the_first_moment(tmp_path, monkeypatch):
    modes, open_file = [], os.open

    def watch(path, flags, mode=0o777, **rest):
        descriptor = open_file(path, flags, mode, **rest)
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watch)
    before = os.umask(0)
    try:
        write_key(tmp_path / "k")
    finally:
        os.umask(before)
    assert modes == [0o600]
    assert stat.S_IMODE((tmp_path / "k").stat().st_mode) == 0o600


def test_key_is_never_replaced(tmp_path):
    key = write_key(tmp_path / "k")
    with pytest.raises(OutputError, match=r"there is already a key in .*k; use it, .* answers may change") as caught:
        write_key(tmp_path / "k")
    assert key.hex() not in str(caught.value)
    assert read_key(tmp_path / "k") == key


def test_key_that_comes_into_being_meanwhile(tmp_path, monkeypatch):
    write_key(tmp_path / "k")
    answers = iter([False, True])
    monkeypatch.setattr("pathlib.Path.exists", lambda path: next(answers))
    with pytest.raises(OutputError, match="already"):
        write_key(tmp_path / "k")


def test_key_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*; choose a writable folder"):
        write_key(tmp_path / "file" / "k")


def test_full_disk_leaves_no_key(tmp_path, monkeypatch):
    class Full:
        def __init__(self, descriptor, *_, **__):
            os.close(descriptor)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return False

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(keyed_noise, "open", Full, raising=False)
    with pytest.raises(OutputError, match="No space left on device; choose"):
        write_key(tmp_path / "k")
    assert list(tmp_path.iterdir()) == []


BAD = {
    "empty": b"",
    "short": b"ab" * 31 + b"a\n",
    "long": b"ab" * 33,
    "not hexadecimal": b"ab" * 31 + b"xy",
    "blanks within": b"ab" * 15 + b"    " + b"ab" * 15,
    "binary": bytes(range(128, 160)),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_file_without_a_key(tmp_path, content):
    path = tmp_path / "k"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(
        InputError, match=r"key .*k: expected 64 hexadecimal digits, got something else; give"
    ) as caught:
        read_key(path)
    assert "abab" not in str(caught.value)


@pytest.mark.parametrize("path", ["missing", "."])
def test_key_that_is_not_there(tmp_path, path):
    with pytest.raises(InputError, match=r"expected a file, got .*; give your key file, or make one: python -c"):
        read_key(tmp_path / path)


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_key_that_others_may_read(tmp_path, mode):
    key = write_key(tmp_path / "k")
    (tmp_path / "k").chmod(mode)
    with pytest.raises(InputError, match=rf"got mode {mode:04o}; chmod 600 .*k$") as caught:
        read_key(tmp_path / "k")
    assert key.hex() not in str(caught.value)
    (tmp_path / "k").chmod(0o400)
    assert read_key(tmp_path / "k") == key
