"""Recorded outputs: the same numbers out of every form and file."""

import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from recordings import (
    DEFENDED,
    INDEX,
    IS_MEMBER,
    LABELS,
    LOGITS,
    RNG,
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

from mindefense.checks import check_probs
from mindefense.confidence import log_softmax
from mindefense.data.outputs import load_outputs


@pytest.mark.parametrize("kind", ["npz", "csv"])
@pytest.mark.parametrize("form", ["logits", "log_probs", "probs"])
def test_the_same_numbers_out_of_every_form(form, kind, tmp_path):
    outputs = load_outputs(write(tmp_path, everything(form), kind))
    assert outputs.name == f"outputs.{kind}"
    assert_as_recorded(outputs, form=form)


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_what_is_optional_may_be_missing(kind, tmp_path):
    outputs = load_outputs(write(tmp_path, basics(), kind))
    assert (outputs.split, outputs.defended_log_probs) == (None, None)
    np.testing.assert_array_equal(outputs.indices, np.arange(N))


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_true_classes_may_be_unknown(kind, tmp_path):
    held = everything()
    del held["labels"]
    outputs = load_outputs(write(tmp_path, held, kind))
    assert outputs.labels is None
    assert len(outputs) == N
    np.testing.assert_array_equal(outputs.is_member, IS_MEMBER)
    np.testing.assert_allclose(outputs.log_probs, log_softmax(LOGITS), rtol=1e-6, atol=1e-6)


def test_the_defended_answers_may_be_of_another_form(tmp_path):
    held = basics(defended_probs=in_form("probs", DEFENDED), split=SPLIT, index=INDEX)
    assert_as_recorded(load_outputs(write_npz(tmp_path, held)))


AS_GOOD = {
    "bytes as labels": {"labels": LABELS.astype(np.uint8)},
    "integers as flags": {"is_member": IS_MEMBER.astype(np.int64)},
    "bytes as flags": {"is_member": IS_MEMBER.astype(np.uint8)},
    "float64": {"logits": LOGITS.astype(np.float64)},
    "columns first": {"logits": np.asfortranarray(LOGITS)},
    "short index": {"index": INDEX.astype(np.int16)},
}


@pytest.mark.parametrize("name", AS_GOOD)
def test_types_that_are_as_good(name, tmp_path):
    assert_as_recorded(load_outputs(write_npz(tmp_path, {**everything(), **AS_GOOD[name]})))


def test_a_compressed_file_under_any_name(tmp_path):
    np.savez_compressed(tmp_path / "outputs.npz", **everything())
    (tmp_path / "outputs.npz").rename(tmp_path / "outputs.csv")
    assert_as_recorded(load_outputs(str(tmp_path / "outputs.csv")))


def reordered(table):
    order = np.random.default_rng(0).permutation(len(table[0]))
    return [[row[k] for k in order] for row in table]


def reworded(table, column, words):
    place = table[0].index(column)
    return [table[0], *([*row[:place], words[row[place]], *row[place + 1 :]] for row in table[1:])]


TABLES = {
    "columns in any order": (reordered, {}),
    "byte order mark": (list, {"encoding": "utf-8-sig"}),
    "line ends of Windows": (list, {"end": "\r\n"}),
    "1.0 and 0.0": (lambda table: reworded(table, "is_member", {"True": "1.0", "False": "0.0"}), {}),
    "leading zeros": (
        lambda table: [[re.sub(r"_(\d)$", r"_0\1", name) for name in table[0]], *table[1:]],
        {},
    ),
    "0 and 1": (lambda table: reworded(table, "is_member", {"True": "1", "False": "0"}), {}),
    "lower case": (lambda table: reworded(table, "is_member", {"True": "true", "False": "false"}), {}),
    "blanks": (lambda table: [[f" {cell} " for cell in row] for row in table], {}),
    "quotes": (lambda table: [[f'"{cell}"' for cell in row] for row in table], {}),
    "empty lines": (lambda table: [*table[:3], [], *table[3:], [], []], {}),
    "whole numbers with a point": (
        lambda table: reworded(table, "label", {str(k): f"{k}.0" for k in range(C)}),
        {},
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_as_people_write_them(name, tmp_path):
    change, how = TABLES[name]
    assert_as_recorded(load_outputs(write_csv(tmp_path, change(table_of(everything())), **how)))


def test_the_last_line_may_lack_its_end(tmp_path):
    path = write_csv(tmp_path, table_of(everything()))
    path.write_bytes(path.read_bytes()[:-1])
    assert_as_recorded(load_outputs(path))


# Rounded confidence vectors


@pytest.mark.parametrize("form", ["probs", "log_probs"])
def test_half_precision_is_rescaled_and_said(form, tmp_path):
    logits = np.log(RNG.dirichlet(np.ones(C), N) + 1e-3).astype(np.float32)
    half = in_form(form, logits).astype(np.float16)
    half[:, 0] += np.float16(0.002) if form == "probs" else np.float16(0.004)
    outputs = load_outputs(write_npz(tmp_path, basics(logits=None, **{form: half})))
    check_probs(np.exp(outputs.log_probs), name="probs")
    np.testing.assert_allclose(np.exp(outputs.log_probs), in_form("probs", logits), atol=5e-3)
    assert re.fullmatch(
        form + r": sums of rows were up to 0\.00\d+ away from 1; each row was divided by its sum", outputs.note
    )


def test_rounded_columns_are_rescaled_and_said(tmp_path):
    table = table_of(basics(logits=None, probs=in_form("probs", LOGITS / 8)), precision="%.3f")
    outputs = load_outputs(write_csv(tmp_path, table))
    check_probs(np.exp(outputs.log_probs), name="probs")
    assert outputs.note.startswith("probs: sums of rows were up to 0.00")


def test_both_notes_are_kept(tmp_path):
    rounded = in_form("probs", LOGITS / 8).round(3)
    outputs = load_outputs(write_npz(tmp_path, basics(logits=None, probs=rounded, defended_probs=rounded)))
    assert outputs.note.startswith("probs: sums")
    assert "; defended_probs: sums" in outputs.note


@pytest.mark.parametrize("given", ["probs", "log_probs"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_zero_probabilities_stay_finite_and_certainty_is_noted(given, dtype, tmp_path):
    probs = np.eye(C, dtype=dtype)[LABELS]
    with np.errstate(divide="ignore"):
        values = probs if given == "probs" else np.log(probs)
    outputs = load_outputs(write_npz(tmp_path, basics(logits=None, **{given: values})))
    np.testing.assert_allclose(outputs.log_probs, np.where(probs, 0, np.log(1e-30)), rtol=1e-6)
    assert outputs.note == f"{given}: {N} of {N} rows have a probability of exactly 1; logits would distinguish them"


def test_certainty_beyond_float32_is_kept(tmp_path):
    sure = np.zeros((N, 2))
    sure[:, 0] = np.linspace(20, 60, N)
    outputs = load_outputs(write_npz(tmp_path, basics(logits=sure, labels=LABELS % 2)))
    assert len(np.unique(outputs.log_probs[:, 1])) == N
    assert outputs.note is None


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(logits=arrays(np.float64, (N, 3), elements=st.floats(-1e3, 1e3, width=32)))
def test_any_logits_become_confidence_vectors(logits, tmp_path):
    logits[::2, 0] = -1.0  # whatever else comes, neither confidence vectors nor sigmoids
    outputs = load_outputs(write_npz(tmp_path, basics(logits=logits, labels=LABELS % 3)))
    check_probs(np.exp(outputs.log_probs), name="probs")
    np.testing.assert_allclose(
        np.diff(outputs.log_probs, axis=1), np.diff(logits, axis=1), rtol=1e-5, atol=1e-3 * np.abs(logits).max() / 1e2
    )
    again = load_outputs(write_npz(tmp_path, basics(logits=None, log_probs=outputs.log_probs, labels=LABELS % 3)))
    np.testing.assert_allclose(again.log_probs, outputs.log_probs, rtol=1e-5, atol=1e-5)


# Values that mean something else, and are taken


@pytest.mark.parametrize("form", ["logits", "log_probs"])
@pytest.mark.parametrize("mark", [-np.inf, np.finfo(np.float32).min])
def test_a_masked_class_is_a_probability_of_zero(form, mark, tmp_path):
    logits = LOGITS.astype(np.float64)
    logits[:, 1] = -200  # finite, but less likely than anything that float32 tells
    without = changed(logits, (slice(None, 20), 3), -1e4)
    values = np.float32(changed(in_form(form, without), (slice(None, 20), 3), mark))
    outputs = load_outputs(write_npz(tmp_path, basics(**{"logits": None, form: values})))
    np.testing.assert_allclose(np.exp(outputs.log_probs), in_form("probs", without), atol=1e-6)
    assert np.isfinite(outputs.log_probs).all()
    assert (outputs.log_probs[:20, 3] <= outputs.log_probs[:20].min(axis=1) + 1e-4).all()
    assert (outputs.log_probs[:20, 3] <= np.log(1e-30)).all()


def test_masked_classes_in_a_table(tmp_path):
    table = table_of(basics(logits=changed(LOGITS, (slice(None), 2), -np.inf)))
    assert table[1][2] == "-inf"
    outputs = load_outputs(write_csv(tmp_path, table))
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(outputs.log_probs[:, kept], log_softmax(LOGITS[:, kept]), rtol=1e-5, atol=1e-5)


def test_rounding_below_zero_is_set_to_zero_and_noted(tmp_path):
    probs = in_form("probs", changed(LOGITS, (slice(3), 0), -40))
    rows = np.arange(3)
    probs[rows, probs[rows].argmin(axis=1)] = [-1e-9, -2e-7, -1e-12]
    outputs = load_outputs(write_npz(tmp_path, basics(logits=None, probs=probs)))
    assert outputs.note == "probs: 3 values just below 0 (rounding) were set to 0"
    np.testing.assert_allclose(np.exp(outputs.log_probs), np.maximum(probs, 0), atol=1e-6)
    refused = write_npz(tmp_path, basics(logits=None, probs=changed(probs, (5, 0), -1e-3)))
    assert "probs row 5: expected values ≥ 0, got a minimum of -0.001" in refusal(refused)


BINARY = np.random.default_rng(8).normal(size=(N, 1)) * 3


@pytest.mark.parametrize("form", ["logits", "log_probs", "probs"])
def test_one_column_of_a_binary_model_is_class_1(form, tmp_path):
    sigmoid = 1 / (1 + np.exp(-BINARY))
    values = {"logits": BINARY, "log_probs": np.log(sigmoid), "probs": sigmoid}[form]
    held = basics(**{"logits": None, "labels": LABELS % 2, form: values, f"defended_{form}": values[::-1]})
    outputs = load_outputs(write_npz(tmp_path, held))
    np.testing.assert_allclose(np.exp(outputs.log_probs[:, 1:]), sigmoid, rtol=1e-5)
    np.testing.assert_allclose(np.exp(outputs.log_probs).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(outputs.defended_log_probs, outputs.log_probs[::-1])
    what = "logit" if form == "logits" else "probability"
    assert outputs.note.startswith(
        f"{form}: the one column was taken as the {what} of class 1 of two classes; defended_"
    )


@pytest.mark.parametrize(("form", "variable"), [("logits", "z"), ("log_probs", "x"), ("probs", "p")])
def test_the_advice_for_one_output_works(form, variable, tmp_path):
    sigmoid = 1 / (1 + np.exp(-BINARY))
    values = {"logits": BINARY, "log_probs": np.log(sigmoid), "probs": sigmoid}[form]
    labels = changed(LABELS % 2, 0, 2)  # so that a column may mean anything
    said = refusal(write_npz(tmp_path, basics(**{"logits": None, "labels": labels, form: values})))
    name, expression, before = re.search(r"save (\w+)=(np\.stack.*) after (.*)$", said).groups()
    scope = {"np": np, variable: values}
    exec(before, scope)
    held = basics(**{"logits": None, "labels": LABELS % 2, name: eval(expression, scope)})
    np.testing.assert_allclose(np.exp(load_outputs(write_npz(tmp_path, held)).log_probs[:, 1:]), sigmoid, rtol=1e-5)


@pytest.mark.parametrize(("form", "variable"), [("probs", "p"), ("logits", "p"), ("log_probs", "x")])
def test_the_advice_for_sigmoids_works(form, variable, tmp_path):
    sigmoids = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    sigmoids[3, 1] = 1.0  # as float32 rounds what is sure
    values = np.log(sigmoids) if form == "log_probs" else sigmoids
    said = refusal(write_npz(tmp_path, basics(**{"logits": None, form: values})))
    expression, before = re.search(r"((?:np\.log|x - np).*) after (. = .*?\))(?:;|$)", said).groups()
    scope = {"np": np, variable: values}
    exec(before, scope)
    outputs = load_outputs(write_npz(tmp_path, basics(logits=eval(expression, scope))))
    others = np.arange(N) != 3
    np.testing.assert_allclose(outputs.log_probs[others], log_softmax(LOGITS)[others], rtol=1e-4, atol=1e-4)
    assert outputs.log_probs[3].argmax() == 1


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("logit", "for one logit z, write logit_0 = 0 and logit_1 = z"),
        ("prob", "for one sigmoid p, write prob_0 = 1 - p and prob_1 = p"),
    ],
)
def test_one_column_of_a_table(column, words, tmp_path):
    table = table_of(basics(**{"logits": None, "labels": LABELS % 2, f"{column}s": BINARY}))
    assert f"{column}_0" in table[0]
    assert f"column {column}_1: expected two classes or more, got one column; {words}" in refusal(
        write_csv(tmp_path, table)
    )
