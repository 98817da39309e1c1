"""Any number of recorded vectors behind a defense: the bytes of one go, whatever the chunks and the processes."""

import json
import tracemalloc

import numpy as np
import pytest
from bulk_vectors import KEY, LOGITS, NOISED, OTHER_KEY, PROBS, ROWS, C, N, defend, files, in_one_go
from toy_defenses import BASELINES, SEARCHES, TAME, plain_logits, toy_defense

from mindefense.confidence import softmax as probs_of
from mindefense.data.vectors import open_vectors
from mindefense.defenses import Rounding
from mindefense.defenses.driver import put_on_top
from mindefense.errors import DataError, InputError


@pytest.mark.parametrize("name", [*BASELINES, *SEARCHES])
def test_same_bytes_as_in_one_go(name, recorded, tmp_path):
    defense = {**BASELINES, **SEARCHES}[name](C)
    expected = in_one_go(defense)
    for rows in (7, ROWS, N, None) if name in BASELINES else (ROWS,):
        tally = defend(recorded, defense, tmp_path / "out", rows_at_a_time=rows)
        held = np.load(tmp_path / "out" / "defended_outputs.npy", mmap_mode="r")
        assert (held.dtype, held.shape) == (np.float32, (N, C))
        np.testing.assert_array_equal(held, expected)
        assert tally.rows == N
        assert tally.labels_changed == (expected.argmax(axis=1) != PROBS.argmax(axis=1)).sum()
        assert tally.mean_l1 == pytest.approx(np.abs(np.float64(expected) - PROBS).sum() / N, rel=1e-6)
        assert set(files(tmp_path / "out")) == {"defended_outputs.npy", "defended_outputs.json"}


def test_same_bytes_in_many_processes(tmp_path):
    logits = plain_logits(700, C)
    np.savez(tmp_path / "big.npz", probs=probs_of(logits), noised_logits=logits)
    vectors = open_vectors(tmp_path / "big.npz")
    defense = toy_defense("defenmi", "corrected", C, **TAME)
    for name, options in {"one": {"workers": 1}, "two": {"workers": 2, "rows_at_a_time": 600}}.items():
        defend(vectors, defense, tmp_path / name, **options)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("name", ["memguard", "temperature-10", "rounding-1"])
def test_logits_are_answered_as_by_a_defended_model(name, tmp_path):
    logits = LOGITS.copy()
    logits[:5], logits[:5, 0] = -3, 0.1
    logits[:5, 1] = np.nextafter(np.float32(0.1), np.float32(1))  # level as probabilities
    assert probs_of(logits)[0].argmax() == 0
    np.savez(tmp_path / "big.npz", logits=logits)
    defense = {**BASELINES, **SEARCHES}[name](C)
    defend(open_vectors(tmp_path / "big.npz"), defense, tmp_path / "out")
    clean = probs_of(logits)
    put_on_top(clean, logits.argmax(axis=1))
    held = np.load(tmp_path / "out" / "defended_outputs.npy")
    np.testing.assert_array_equal(held, in_one_go(defense, clean, logits))
    np.testing.assert_array_equal(held.argmax(axis=1), logits.argmax(axis=1))


def test_fallbacks_are_counted(recorded, tmp_path):
    defense = toy_defense("defenmi", "corrected", C, max_iterations=3)
    rounds = defense.reshape_in_detail(PROBS, NOISED, workers=1).rounds
    assert 0 < (rounds == 0).sum() < N
    assert defend(recorded, defense, tmp_path / "out").fallbacks == (rounds == 0).sum()
    assert defend(recorded, Rounding(1), tmp_path / "out").fallbacks is None


# ---------------------------------------------------------------------------------------------------------------- key


def test_the_key_decides_and_is_told_nowhere(recorded, tmp_path):
    defense = BASELINES["laplace-output-0.01"](C)
    found = {}
    for name, key in (("one", KEY), ("same", KEY), ("other", OTHER_KEY)):
        defend(recorded, defense, tmp_path / name, key=key)
        found[name] = files(tmp_path / name)
        for held in found[name].values():
            assert key not in held
            assert key.hex().encode() not in held.lower()
    assert found["one"] == found["same"]
    assert found["one"]["defended_outputs.npy"] != found["other"]["defended_outputs.npy"]
    one, other = (json.loads(found[name]["defended_outputs.json"])["key"] for name in ("one", "other"))
    assert one != other
    with pytest.raises(InputError, match=r"^--key: expected none, since rounding-1 draws nothing"):
        defend(recorded, Rounding(1), tmp_path / "plain", key=KEY)
    assert not (tmp_path / "plain").exists()


# ----------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: BASELINES["laplace-output-2"](C), InputError, ["laplace-output-2", "a key", "--key"]),
        (lambda: BASELINES["class-mean"](C + 1), InputError, ["big.npz", "7 classes", "got 6"]),
        (lambda: SEARCHES["defenmi"](C), DataError, ["noised_logits", "noised input"]),
    ],
)
def test_what_a_defense_needs(make, error, words, tmp_path):
    np.savez(tmp_path / "big.npz", probs=PROBS)
    with pytest.raises(error) as caught:
        defend(open_vectors(tmp_path / "big.npz"), make(), tmp_path / "out", key=None)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_bad_row_shows_before_the_work(tmp_path):
    probs = np.full((70_010, 2), 0.5, np.float32)
    probs[70_001, 1] = np.nan
    np.save(tmp_path / "big.npy", probs)
    with pytest.raises(DataError, match="row 70001: expected finite values, got nan in column 1"):
        defend(open_vectors(tmp_path / "big.npy"), Rounding(1), tmp_path / "out", rows_at_a_time=None)
    assert not (tmp_path / "out").exists()


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path):
    peaks = []
    for repeats in (100, 1500):
        np.save(tmp_path / "big.npy", np.tile(PROBS, (repeats, 1)))
        vectors = open_vectors(tmp_path / "big.npy")
        tracemalloc.start()
        defend(vectors, Rounding(1), tmp_path / "out", rows_at_a_time=2048, sha256="known")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 300_000  # all rows would be 1.7 MB more
