"""Numbers of rows in files: what is read, and the one line that comes of anything else."""

import numpy as np
import pytest

from mindefense.data import read_row_numbers
from mindefense.errors import DataError, InputError

TEXTS = {
    "lines": b"40\n7\n12\n",
    "no line end": b"40\n7\n12",
    "lines of Windows": b"40\r\n7\r\n12\r\n",
    "a byte-order mark": b"\xef\xbb\xbf40\n7\n12\n",
    "blanks": b" 40\n7 \n\t12\n\n\n",
    "leading zeros": b"040\n007\n012\n",
}


@pytest.mark.parametrize("suffix", [".txt", ".csv"])
@pytest.mark.parametrize("name", TEXTS)
def test_text_with_a_number_a_line(name, suffix, tmp_path):
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(TEXTS[name])
    numbers = read_row_numbers(path, rows=41)
    assert (numbers.tolist(), numbers.dtype) == ([7, 12, 40], np.int64)
    assert read_row_numbers(str(path)).tolist() == [7, 12, 40]


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64, ">i4"])
def test_an_array_of_integers(dtype, tmp_path):
    np.save(tmp_path / "rows.npy", np.array([40, 7, 12], dtype))
    numbers = read_row_numbers(tmp_path / "rows.npy", rows=41)
    assert (numbers.tolist(), numbers.dtype) == ([7, 12, 40], np.int64)


WRONG_TEXTS = {
    "nothing": (b"", "expected integers (n,), the numbers of rows, got none"),
    "empty lines alone": (b"\n\n", "got none"),
    "a header": (
        b"index\n3\n",
        "line 1: expected one whole number of at least 0, the number of a row, got 'index'; le",
    ),
    "a float": (b"3\n4.0\n", "line 2: expected one whole number of at least 0, the number of a row, got '4.0'"),
    "an exponent": (b"1e3\n", "line 1: expected one whole number of at least 0, the number of a row, got '1e3'"),
    "a negative": (b"3\n5\n-1\n", "line 3: expected one whole number of at least 0, the number of a row, got '-1'"),
    "two columns": (b"3,1\n4,0\n", "line 1: expected one whole number of at least 0, the number of a row, got '3,1'"),
    "a gap": (b"3\n\n4\n", "line 2: expected one whole number of at least 0, the number of a row, got an empty line"),
    "digits of another script": ("3\n\u0664\n".encode(), "line 2: expected one whole number"),
    "more digits than an int64 has": (b"9" * 30, "line 1: expected one whole number"),
    "twice": (b"3\n5\n9\n5\n3\n", "line 4: expected each row once, got 5, which line 2 has too"),
    "out of range": (b"3\n50\n99\n", "line 2: expected a row number 0 … 49, got 50; count rows from 0"),
    "far out of range": (b"3\n4\n99\n", "line 3: expected a row number 0 … 49, got 99"),
    "no text": (b"\xff\xfe3\x00", "expected text with one row number per line"),
}


@pytest.mark.parametrize("name", WRONG_TEXTS)
def test_text_that_lists_no_rows_is_refused_with_one_line(name, tmp_path):
    text, words = WRONG_TEXTS[name]
    path = tmp_path / "rows.txt"
    path.write_bytes(text)
    with pytest.raises(DataError) as caught:
        read_row_numbers(path, rows=50)
    said = str(caught.value)
    assert said.startswith(str(path))
    assert words in said
    assert "\n" not in said


WRONG_ARRAYS = {
    "floats": (np.array([1.0, 2.0]), "expected integers (n,), the numbers of rows, got float64 of shape (2,)"),
    "a mask": (np.ones(50, bool), "got bool of shape (50,); for a mask, give np.flatnonzero(mask)"),
    "a column": (np.array([[1], [2]]), "got int64 of shape (2, 1)"),
    "one number": (np.array(3), "got int64 of shape ()"),
    "nothing": (np.array([], np.int64), "got none"),
    "a negative": (np.array([3, -2]), "position 1: expected a row number 0 … 49, got -2"),
    "twice": (np.array([3, 8, 3]), "position 2: expected each row once, got 3, which position 0 has too"),
    "out of range": (np.array([3, 50]), "position 1: expected a row number 0 … 49, got 50; count rows from 0"),
    "more than an int64 holds": (np.array([2**63], np.uint64), "position 0: expected a row number 0 … 49, got 9223"),
    "pickled objects": (np.array([{}], object), "expected an array of integers, no pickled objects"),
}


@pytest.mark.parametrize("name", WRONG_ARRAYS)
def test_an_array_that_lists_no_rows_is_refused_with_one_line(name, tmp_path):
    array, words = WRONG_ARRAYS[name]
    np.save(tmp_path / "rows.npy", array, allow_pickle=True)
    with pytest.raises(DataError) as caught:
        read_row_numbers(tmp_path / "rows.npy", rows=50)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_of_these(tmp_path):
    (tmp_path / "rows.npy").write_bytes(b"3\n4\n")
    with pytest.raises(DataError, match=r"rows\.npy: expected an array of integers, no pickled objects, got "):
        read_row_numbers(tmp_path / "rows.npy")
    with pytest.raises(DataError, match=r"none\.csv: expected a file with row numbers, got No such file"):
        read_row_numbers(tmp_path / "none.csv")
    with pytest.raises(InputError, match=r"expected one that ends in \.txt, \.csv, \.npy, got rows\.json"):
        read_row_numbers("rows.json")
