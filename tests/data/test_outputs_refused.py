"""Recorded outputs: one line for whatever is wrong."""

import codecs
import contextlib
import importlib
import re
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import (
    INDEX,
    IS_FIT,
    IS_MEMBER,
    LABELS,
    LOGITS,
    SPLIT,
    C,
    N,
    assert_as_recorded,
    basics,
    changed,
    everything,
    in_form,
    refusal,
    table_of,
    write,
    write_csv,
    write_npz,
)

from mindefense.data.outputs import load_outputs
from mindefense.errors import MindefenseError

REFUSED = {
    "no outputs": (basics(logits=None), "one of logits, log_probs, probs, got none of them; save with np.savez"),
    "two forms": (
        basics(probs=in_form("probs", LOGITS)),
        "expected one of logits, probs, got 2 of them; save only logits",
    ),
    "probs and logits of other rows": (
        basics(probs=in_form("probs", LOGITS[[0, 1, 3, 2, *range(4, N)]])),
        "logits row 2: expected logits whose softmax is the row of probs, got a probability that differs by 0",
    ),
    "two forms of which one is no number": (
        basics(probs=changed(in_form("probs", LOGITS), (5, 1), np.nan)),
        "probs row 5: expected finite values",
    ),
    "two defended": (
        basics(defended_probs=in_form("probs", LOGITS), defended_logits=LOGITS),
        "expected one of defended_logits, defended_probs, got 2 of them; save only defended_logits",
    ),
    "no is_member": (basics(is_member=None), "is_member: expected one value per row, got no such array"),
    "typo": (basics(lables=LABELS), "unknown array 'lables'; did you mean labels"),
    "capitals": (basics(Logits=LOGITS), "unknown array 'Logits'; did you mean logits"),
    "typo of a defended one": (basics(defended_prob=LOGITS), "'defended_prob'; did you mean defended_probs"),
    "stranger": (basics(zzz=LABELS), "unknown array 'zzz'; save with np.savez"),
    "arr_0": ({"arr_0": LOGITS}, "unknown array 'arr_0'; save with np.savez"),
    "logits called probs": (basics(logits=None, probs=LOGITS), "probs row 0: .*; apply softmax first"),
    "probs called logits": (
        basics(logits=in_form("probs", LOGITS)),
        "logits: expected values from before softmax, got rows ≥ 0 that sum to 1; save them as probs",
    ),
    "defended probs called logits": (
        basics(defended_logits=in_form("probs", LOGITS)),
        "defended_logits: expected .*; save them as defended_probs",
    ),
    "log_probs called probs": (
        basics(logits=None, probs=in_form("log_probs", LOGITS)),
        "probs row 0: .*log-probabilities: apply exp first",
    ),
    "logits called log_probs": (
        basics(logits=None, log_probs=LOGITS),
        r"exp\(log_probs\) row 0: expected a sum of 1, .*; these look like logits: save them as logits",
    ),
    "per cent": (basics(logits=None, probs=100 * in_form("probs", LOGITS)), "probs row 0: .* per cent: divide by 100"),
    "per cent called logits": (
        basics(logits=100 * in_form("probs", LOGITS)),
        "logits: expected values from before softmax, got rows ≥ 0 that sum to 100; these are per cent: divide by 100",
    ),
    "per cent called log_probs": (
        basics(logits=None, log_probs=100 * in_form("probs", LOGITS)),
        "log_probs.* row 0: .*; these are per cent: divide by 100 and save them as probs",
    ),
    "probs called log_probs": (
        basics(defended_log_probs=in_form("probs", LOGITS)),
        r"exp\(defended_log_probs\) row 0: .*; these are probabilities: save them as defended_probs",
    ),
    "base 10": (
        basics(logits=None, log_probs=np.log10(in_form("probs", LOGITS))),
        r"row 0: expected a sum of 1, .*; these are base-10 logarithms: multiply by np\.log\(10\)",
    ),
    "base 2": (
        basics(logits=None, log_probs=np.log2(in_form("probs", LOGITS))),
        r"row 0: expected a sum of 1, .*; these are base-2 logarithms: multiply by np\.log\(2\)",
    ),
    "sigmoids": (
        basics(logits=None, probs=1 / (1 + np.exp(-LOGITS))),
        r"probs row 0: expected a sum of 1, .*; these look like independent sigmoids, .*np\.log\(p / \(1 - p\)\)",
    ),
    "sigmoids called logits": (
        basics(defended_logits=1 / (1 + np.exp(-LOGITS))),
        r"defended_logits: expected values from before softmax, got values from 0 to 1; .* save defended_logits=np.log",
    ),
    "logarithms of sigmoids": (
        basics(logits=None, log_probs=-np.log1p(np.exp(-LOGITS))),
        r"row 0: .*; these look like independent sigmoids, .*x - np\.log\(-np\.expm1\(x\)\)",
    ),
    "a request that failed": (
        basics(logits=None, probs=changed(in_form("probs", LOGITS), 7, 0)),
        "probs row 7: expected a sum of 1, got a sum of 0; 47 of 48 rows are valid: find out what is wrong",
    ),
    "probs called logits, and a request that failed": (
        basics(logits=changed(in_form("probs", LOGITS), 7, 0)),
        r"logits: .* got 47 of 48 rows ≥ 0 that sum to 1, not row 7; save them as probs",
    ),
    "probs called logits, and logits": (
        basics(logits=changed(in_form("probs", LOGITS), [11, 30], [3, -2, 0, 1, 9])),
        r"logits: .* got 46 of 48 rows ≥ 0 that sum to 1, not row 11; save them as probs",
    ),
    "top classes only": (
        basics(logits=None, probs=changed(np.full((N, C), 0.2), (7, 0), 0.1)),
        "probs row 7: expected a sum of 1, got a sum of 0.9; keep all classes, with six digits or more",
    ),
    "negative probability": (
        basics(logits=None, probs=changed(np.full((N, C), 0.2), 7, [-0.2, 0.3, 0.3, 0.3, 0.3])),
        "probs row 7: expected values ≥ 0",
    ),
    "NaN": (
        basics(logits=changed(LOGITS, (9, 2), np.nan)),
        "logits row 9: expected finite values, got nan in column 2",
    ),
    "infinity": (basics(logits=changed(LOGITS, (9, 2), np.inf)), "logits row 9: expected finite values, got inf"),
    "all classes masked": (
        basics(logits=changed(LOGITS, 9, -np.inf)),
        "logits row 9: expected a finite value for at least one class, got -inf for every class; record this row",
    ),
    "all classes masked with a number": (
        basics(logits=changed(LOGITS, 9, np.finfo(np.float32).min)),
        r"logits row 9: expected a finite value for at least one class, got -3.4e\+38",
    ),
    "masked beside NaN": (
        basics(logits=changed(LOGITS, 9, [0, -np.inf, np.nan, 1, 2])),
        "logits row 9: expected finite values, got nan in column 2",
    ),
    "NaN probability": (
        basics(logits=None, probs=changed(in_form("probs", LOGITS), (9, 2), np.nan)),
        "probs row 9: expected finite values, got nan",
    ),
    "huge": (
        basics(logits=changed(LOGITS.astype(np.float64), (9, 2), 1e200)),
        r"logits row 9: expected sizes up to 1e\+30, got 1e\+200",
    ),
    "integers as logits": (basics(logits=LABELS[:, None] * np.ones(C, int)), r"logits: .*\.astype\(np\.float32\)"),
    "one sigmoid": (basics(logits=None, probs=np.full(N, 0.5)), r"probs: expected shape .*np\.stack\(\[1 - p, p\]"),
    "one column": (basics(logits=None, probs=np.ones((N, 1))), r"probs: expected shape .*np\.stack\(\[1 - p, p\]"),
    "one logit": (basics(logits=LOGITS[:, :1]), r"logits: expected shape .*z, save logits=np\.stack\(\[0 \* z, z\]"),
    "top probability of two classes": (  # labels of two classes, but not what a sigmoid says of class 1
        basics(logits=None, probs=np.linspace(0.5, 1, N)[:, None], labels=LABELS % 2),
        r"probs: expected shape .* got \(48, 1\); for one sigmoid p, save probs=np\.stack\(\[1 - p, p\], axis=1\)",
    ),
    "sigmoid called logits": (
        basics(logits=np.linspace(0, 1, N)[:, None], labels=LABELS % 2),
        r"logits: expected shape .* got \(48, 1\)",
    ),
    "one number": (basics(logits=np.float64(1)), r"logits: expected shape \(N, C\)"),
    "no rows": (basics(logits=np.zeros((0, C))), "logits: expected at least one row"),
    "labels from 1": (basics(labels=LABELS + 1), f"labels row .* 0 … 4, got {C}; count classes from 0"),
    "label too large": (basics(labels=changed(LABELS, 3, 9)), "labels row 3: expected a class 0 … 4, got 9"),
    "label below 0": (basics(labels=changed(LABELS, 3, -1)), "labels row 3: expected a class 0 … 4, got -1"),
    "multi-label": (
        basics(labels=changed(np.eye(C, dtype=int)[LABELS], 6, [1, 0, 1, 0, 1])),
        r"labels row 6: expected one class per sample, got 3; for a multi-label model with logits z, evaluate one",
    ),
    "multi-label, no class": (
        basics(labels=changed(np.eye(C)[LABELS], 6, 0)),
        r"labels row 6: expected one class per sample, got 0; for a multi-label",
    ),
    "smoothed labels": (
        basics(labels=0.9 * np.eye(C)[LABELS] + 0.02),
        r"labels row 0: expected one class per sample, got \[0\.\d.*; save the class numbers from before smoothing",
    ),
    "one-hot": (basics(labels=np.eye(C)[LABELS]), r"labels: .*save labels\.argmax\(axis=1\)"),
    "labels as a column": (basics(labels=LABELS[:, None]), r"labels: .*apply \.ravel\(\)"),
    "floating labels": (basics(labels=LABELS.astype(float)), r"labels: expected integers, .*\.astype\(np\.int32\)"),
    "too few labels": (basics(labels=LABELS[:-1]), "labels: expected one row for each of the 48 of logits, got 47"),
    "too few flags": (basics(is_member=IS_MEMBER[:-1]), "is_member: expected one row for each of the 48 of logits"),
    "too few parts": (basics(split=SPLIT[:-1]), "split: expected one row for each of the 48 of logits, got 47"),
    "too few indices": (basics(index=INDEX[:-1]), "index: expected one row for each of the 48 of logits, got 47"),
    "other shape behind": (
        basics(defended_logits=LOGITS[:, 1:]),
        r"defended_logits: expected the shape of logits \(48, 5\), got \(48, 4\)",
    ),
    "flags of ±1": (basics(is_member=np.where(IS_MEMBER, 1, -1)), "is_member: expected bool, got int64; pass"),
    "floating flags": (basics(is_member=IS_MEMBER.astype(float)), "is_member: expected bool, got float64; pass"),
    "flags as words": (basics(is_member=IS_MEMBER.astype(str)), "is_member: expected bool"),
    "members only": (
        basics(is_member=np.ones(N, bool)),
        "at least 20 non-members, got 0; add rows that the model was not trained on",
    ),
    "no members": (
        basics(is_member=np.zeros(N, bool)),
        "at least 20 members, got 0; add rows that the model was trained on",
    ),
    "too small": ({name: array[:38] for name, array in basics().items()}, "at least 20 members, got 19"),
    "nobody to fit on": (basics(split=np.full(N, "eval")), "at least 10 members to fit on, got 0; add rows"),
    "nobody to judge on": (basics(split=np.full(N, "fit")), "at least 10 members to evaluate on, got 0; add rows"),
    "split by membership": (
        basics(split=np.where(IS_MEMBER, "fit", "eval")),
        "at least 10 non-members to fit on, got 0",
    ),
    "other part": (basics(split=changed(SPLIT.astype("U5"), 4, "train")), "split row 4: expected fit or eval, got 'tr"),
    "split as flags": (basics(split=IS_FIT), r"split: expected text \(N,\), got bool \(48,\); save np\.where\(is_fit"),
    "index twice": (
        basics(index=changed(INDEX, 40, INDEX[3])),
        f"index: expected no sample both as member and as non-member, got 1 as both: {INDEX[3]}; remove them from the",
    ),
    "index starts again": (
        basics(index=np.arange(N) // 2),
        "index: .* got 24 as both: 0, 1, 2, …; .* if non-members are numbered from 0 again, continue the numbers",
    ),
    "member twice": (
        basics(index=changed(INDEX, 40, INDEX[4])),
        f"index row 40: expected every sample once, got {INDEX[4]} again; record each sample once",
    ),
    "fractional index": (basics(index=INDEX + 0.5), r"index: expected integers .*; save index\.astype\(np\.int64\)"),
    "objects": (
        basics(labels=LABELS.astype(object)),
        r"labels: expected numbers or text, got Python objects; save np\.array\(labels\.tolist\(\)\)\.astype\(np\.int",
    ),
    "words as objects": (basics(split=SPLIT.astype(object)), r"split: .*Python objects; save .*\.astype\(str\)"),
    "answers as objects": (basics(logits=LOGITS.astype(object)), r"logits: .*objects; .*\.astype\(np\.float32\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_arrays_are_refused(name, tmp_path):
    held, expected = REFUSED[name]
    assert re.search(expected, refusal(write_npz(tmp_path, held)))


def put(row, column, text):
    """Replaces one cell of a table; `row` counts lines from 1."""

    def change(table):
        table[row - 1][column if isinstance(column, int) else table[0].index(column)] = text
        return table

    return change


def keep(*columns):
    return lambda table: [[cell for cell, name in zip(row, table[0], strict=True) if name in columns] for row in table]


def with_logits(values):
    """The table with other logits."""
    return lambda table: table_of({**everything(), "logits": values})


REFUSED_TABLES = {
    "probs called logits, and a request that failed": (
        with_logits(changed(in_form("probs", LOGITS), 19, 0)),
        "logits: expected .* got 47 of 48 rows ≥ 0 that sum to 1, not line 21; save them as probs",
    ),
    "unknown column": (put(1, "logit_2", "logits_2"), "unknown column 'logits_2'; did you mean logit_2"),
    "no underscore": (put(1, "logit_0", "logit0"), "unknown column 'logit0'; did you mean logit_0"),
    "labels": (put(1, "label", "labels"), "unknown column 'labels'; did you mean label"),
    "stranger": (put(1, "label", "zzz"), "unknown column 'zzz'; start with the line logit_0"),
    "twice with zeros": (
        put(1, "logit_1", "logit_00"),
        "column logit_00: expected each name once, got two of this name",
    ),
    "unnamed index": (put(1, "index", ""), "unknown column ''"),
    "unnamed first": (put(1, 0, ""), r"column 1: expected a name, got none; save with df\.to_csv\(file, index=False\)"),
    "gap": (put(1, "logit_1", "logit_7"), "column logit_1: expected classes numbered from 0 without gaps"),
    "twice": (put(1, "index", "label"), "column label: expected each name once, got two of this name; leave one out"),
    "no flag column": (keep("logit_0", "logit_1", "label"), "is_member: expected one .*; start with the line logit_0"),
    "no outputs": (keep("label", "is_member"), "expected one of logits, .*; start with the line logit_0"),
    "no rows": (lambda table: table[:1], "line 2: expected at least one row, got none"),
    "no header": (lambda table: table[1:], "unknown column"),
    "empty header": (lambda table: [[], *table], "line 1: expected the names of the columns, got an empty line"),
    "cell missing": (lambda table: [*table[:20], table[20][:-1], *table[21:]], "line 21: expected 14 columns, got 13"),
    "cell too many": (lambda table: [*table[:20], [*table[20], "1"], *table[21:]], "line 21: expected 14 columns, got"),
    "comma at the end": (lambda table: [table[0], *([*row, ""] for row in table[1:])], "line 2: expected 14 .* got 15"),
    "no number": (put(21, "logit_3", "x"), "logit_3 line 21: expected a number, got 'x'"),
    "empty cell": (put(21, "logit_3", ""), "logit_3 line 21: expected a number, got ''"),
    "digits apart": (put(21, "logit_3", "1_0"), "logit_3 line 21: expected a number, got '1_0'"),
    "NaN": (put(21, "logit_3", "nan"), "logits line 21: expected finite values, got nan in column 3"),
    "NaN behind an empty line": (
        lambda table: [*table[:9], [], *put(21, "logit_3", "nan")(table)[9:]],
        "logits line 22: expected finite values",
    ),
    "no flag": (put(21, "is_member", "maybe"), "is_member line 21: expected 0 or 1 or false or true, got 'maybe'"),
    "a flag like a message": (put(21, "is_member", "a row 999"), "is_member line 21: .* got 'a row 999'"),
    "flag of 0.5": (put(21, "is_member", "0.5"), "is_member line 21: expected 0 or 1 or false or true, got '0.5'"),
    "flag of 2": (put(21, "is_member", "2"), "is_member line 21: expected 0 or 1 or false or true, got '2'"),
    "no part": (put(21, "split", "train"), "split line 21: expected fit or eval, got 'train'"),
    "fractional label": (put(21, "label", "1.5"), r"labels line 21: expected a whole number below 2\*\*53, got 1\.5"),
    "no label there": (put(21, "label", "nan"), "labels line 21: expected a whole number"),
    "label too large": (put(21, "label", "5"), "labels line 21: expected a class 0 … 4, got 5; count classes from 0"),
    "index beyond": (put(21, "index", "1e17"), "index line 21: expected a whole number below"),
    "index twice": (put(21, "index", str(INDEX[1])), "index line 21: expected every sample once"),
    "member and not": (
        put(21, "index", str(INDEX[0])),
        f"index: expected no sample both as member .* as both: {INDEX[0]}",
    ),
    "semicolons": (lambda table: [[";".join(row)] for row in table], "line 1: expected commas .* got semicolons"),
    "tabs": (lambda table: [["\t".join(row)] for row in table], "line 1: expected commas .* got tabs; save with sep"),
}


@pytest.mark.parametrize("name", REFUSED_TABLES)
def test_bad_tables_are_refused(name, tmp_path):
    change, expected = REFUSED_TABLES[name]
    assert re.search(expected, refusal(write_csv(tmp_path, change(table_of(everything())))))


OTHER_FILES = {
    "npy": (b"\x93NUMPY\x01\x00", "a single array"),
    "text in UTF-16": (codecs.BOM_UTF16_LE + "label,is_member\n".encode("utf-16-le"), "text in UTF-8, got something"),
    "pickle": (b"\x80\x04\x95\x00\x00", "an npz file, or text in UTF-8"),
    "empty": (b"", "line 1: expected the names of the columns, got an empty line; start with"),
}


@pytest.mark.parametrize("name", OTHER_FILES)
def test_other_files_are_refused(name, tmp_path):
    content, expected = OTHER_FILES[name]
    (tmp_path / "outputs.bin").write_bytes(content)
    assert expected in refusal(tmp_path / "outputs.bin")


@pytest.mark.parametrize("ending", ["xz", "gz", "bz2", "npz.xz"])
def test_a_plain_table_under_the_name_of_a_packed_one(ending, tmp_path):
    path = write_csv(tmp_path, table_of(everything())).rename(tmp_path / f"outputs.csv.{ending}")
    assert_as_recorded(load_outputs(path))


@pytest.mark.parametrize(
    ("module", "program"), [("gzip", "gunzip"), ("bz2", "bunzip2"), ("lzma", "unxz"), ("zipfile", "unzip")]
)
def test_a_packed_table_is_to_be_unpacked(module, program, tmp_path):
    table, packed = write_csv(tmp_path, table_of(everything())), tmp_path / "packed.csv"
    if module == "zipfile":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.write(table, "outputs.csv")
    else:
        packed.write_bytes(importlib.import_module(module).compress(table.read_bytes()))
    assert refusal(packed).endswith(f"got a compressed file; unpack it with {program}")


def test_missing_file_and_folder(tmp_path):
    assert "got no such file; save with np.savez" in refusal(tmp_path / "none.npz")
    assert "got a folder" in refusal(tmp_path)


def test_a_later_line_in_another_encoding(tmp_path):
    path = write_csv(tmp_path, table_of(everything()))
    path.write_bytes(path.read_bytes().replace(b"\neval", b"\n\xe9val").replace(b",eval,", b",\xe9val,", 1))
    refusal(path)


def test_cut_files_are_refused(tmp_path):
    whole = write_npz(tmp_path, everything()).read_bytes()
    for length in (0, 1, 3, 40, 200, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        assert "expected a readable npz file" in refusal(tmp_path / "cut.npz")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["npz", "csv"]), where=st.floats(0, 1), flip=st.integers(1, 255))
def test_damage_is_refused_or_harmless(kind, where, flip, tmp_path):
    path = write(tmp_path, everything(), kind)
    content = bytearray(path.read_bytes())
    content[int(where * (len(content) - 1))] ^= flip
    path.write_bytes(content)
    with contextlib.suppress(MindefenseError):
        outputs = load_outputs(path)
        assert np.isfinite(outputs.log_probs).all()
        if kind == "npz":  # zip files hold checksums of their arrays
            assert_as_recorded(outputs)
