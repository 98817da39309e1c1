"""What docs/outputs.md shows of frameworks makes the file that it describes."""

import re
import types

import brought
import numpy as np
import pytest
from brought import CLASSES, FEATURES, MEMBERS, WEIGHTS
from pages import page

from mindefense.attacks.registry import ATTACKS, AttackContext
from mindefense.confidence import log_softmax
from mindefense.data import answers, outputs, outputs_files
from mindefense.data.outputs import load_outputs

PAGE = page("docs/outputs.md")
TORCH, KERAS, SCIKIT_LEARN, MINDSPORE = (block.text for block in PAGE.under("How to save it"))
IN_ORDER = np.arange(len(FEATURES))


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Runs a snippet with what a reader has → what it recorded, and the names that are there after it."""

    def run(snippet, bring):
        monkeypatch.chdir(tmp_path)
        reader = types.SimpleNamespace(names={}, patch=monkeypatch)
        bring(reader)
        exec(snippet, reader.names)
        return load_outputs("outputs.npz"), reader.names

    return run


def assert_is(recorded, log_probs, order):
    np.testing.assert_allclose(recorded.log_probs, log_probs[order], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(recorded.labels, CLASSES[order])
    np.testing.assert_array_equal(recorded.is_member, order < MEMBERS)


@pytest.mark.parametrize("snippet", [TORCH, KERAS, SCIKIT_LEARN, MINDSPORE])
def test_every_snippet_is_a_few_lines(snippet):
    assert len(snippet.strip().splitlines()) <= 8


@pytest.mark.parametrize(("snippet", "bring"), [(KERAS, brought.of_keras), (MINDSPORE, brought.of_mindspore)])
def test_rows_in_their_order(snippet, bring, record):
    recorded, _ = record(snippet, bring)
    assert_is(recorded, log_softmax(FEATURES @ WEIGHTS), IN_ORDER)


def test_pytorch_with_loaders_that_shuffle(record):
    recorded, names = record(TORCH, brought.of_torch)
    assert (names["order"] != IN_ORDER).any()
    assert_is(recorded, log_softmax(FEATURES @ WEIGHTS), names["order"])


def test_scikit_learn_with_classes_that_have_names(record):
    recorded, names = record(SCIKIT_LEARN, brought.of_scikit_learn)
    assert_is(recorded, np.log(np.maximum(names["model"].predict_proba(FEATURES), 1e-30)), IN_ORDER)
    correct = recorded.log_probs.argmax(axis=1) == recorded.labels
    assert correct[recorded.is_member].mean() > 0.9, "labels must be the columns' classes"


def test_scikit_learn_with_classes_that_training_never_saw(record):
    def bring(reader):
        brought.of_scikit_learn(reader)
        others = reader.names["y_others"].astype("<U5")
        others[:40], others[40:70] = "birch", "yew"  # between the others in the alphabet, and after them
        reader.names["y_others"] = others

    recorded, names = record(SCIKIT_LEARN, bring)
    classes = np.array(["ash", "birch", "elm", "oak", "yew"])
    np.testing.assert_array_equal(classes[recorded.labels], np.concatenate([names["y_members"], names["y_others"]]))
    probs = np.exp(recorded.log_probs)
    np.testing.assert_allclose(probs[:, [0, 2, 3]], names["model"].predict_proba(FEATURES), atol=1e-6)
    assert (probs[:, [1, 4]] < 1e-29).all()
    is_strange = np.isin(recorded.labels, [1, 4])
    assert is_strange.sum() == 70
    assert not (recorded.log_probs.argmax(axis=1) == recorded.labels)[is_strange].any()


def test_the_table_lists_every_array_and_column():
    table = "".join(line for line in PAGE.text.splitlines() if line.startswith("|"))
    for name in (*outputs_files.MATRICES, *outputs_files.COLUMNS, *outputs_files.COLUMNS.values()):
        assert f"`{name}`" in table
    for column in re.findall(r"`(\w+_0)[ `]", table):
        assert outputs_files.NUMBERED.fullmatch(column)


CONVERSIONS = re.findall(r"^\| [^|]+ \| `(\w+)=([^`]+)`(?: after `(\w) = ([^`]+)`)?", PAGE.text, re.MULTILINE)


@pytest.mark.parametrize(("name", "expression", "variable", "before"), CONVERSIONS)
def test_conversions_of_other_values(name, expression, variable, before, tmp_path):
    logits = FEATURES @ WEIGHTS
    probs = np.exp(log_softmax(logits))
    binary = logits[:, 1:2] - logits[:, :1]
    given = {
        "np.stack([0 * z, z], axis=1)": (binary, np.hstack([0 * binary, binary])),
        "np.stack([1 - p, p], axis=1)": (1 / (1 + np.exp(-binary)), np.hstack([0 * binary, binary])),
        "np.log(p / (1 - p))": (1 / (1 + np.exp(-logits)), logits),
        "x / 100": (100 * probs, logits),
        "x * np.log(10)": (np.log10(probs), logits),
    }
    values, meant = given[expression]
    scope = {"np": np, variable or "x": values}
    if before:
        scope[variable] = eval(before, scope)
    saved = eval(expression, scope)
    np.savez(tmp_path / "outputs.npz", **{name: saved}, labels=CLASSES % 2, is_member=IN_ORDER < MEMBERS)
    recorded = load_outputs(tmp_path / "outputs.npz")
    np.testing.assert_allclose(recorded.log_probs, log_softmax(meant), rtol=1e-3, atol=1e-4)


def test_every_conversion_was_run():
    assert len(CONVERSIONS) == 5


def test_who_runs_without_true_classes():
    said = PAGE.text.partition("### Without true classes")[2].partition("###")[0]
    made = {name: spec.make(AttackContext()) for name, spec in ATTACKS.items()}
    names = {name for name, attack in made.items() if not attack.needs_labels and "auditor" in attack.learns_from}
    assert names == set(re.findall(r"`([a-z0-9-]+)`", said)) - {"labels", "null", "labels-match"}


def test_the_figures_are_the_loader_s():
    numbers = f"At least {2 * outputs.FEWEST} members and {2 * outputs.FEWEST} non-members, or {outputs.FEWEST} of each"
    assert numbers in PAGE.text
    assert f"up to {answers.ROUNDED_SUM:g} away from 1" in PAGE.text
    assert f"down to −{answers.JUST_BELOW:f}" in PAGE.text
