"""Defenses and ways to train by name: what a text stands for, what it is written as, and what is built of it."""

import numpy as np
import pytest

from mindefense.attacks.registry import ATTACKS
from mindefense.defenses.baselines import (
    ClassMean,
    LabelOnly,
    LaplaceOutput,
    MemGuardBudget,
    Rounding,
    Temperature,
    TopK,
)
from mindefense.defenses.classifier import DefenderClassifier
from mindefense.defenses.defenmi import DefenMI
from mindefense.defenses.memguard import MemGuard, MemGuardConfig
from mindefense.defenses.registry import LINEUP, TRAINING_LINEUP, DefenseSpec, TrainingSpec, parse_lineup
from mindefense.errors import InputError

CLASSES = 4
MEANS = np.full((CLASSES, CLASSES), 0.1, np.float32) + 0.6 * np.eye(CLASSES, dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("defenmi", DefenseSpec("defenmi")),
        ("defenmi-published", DefenseSpec("defenmi", None, "published")),
        ("memguard", DefenseSpec("memguard")),
        ("memguard=0.3", DefenseSpec("memguard", 0.3)),
        ("memguard-published=0.3", DefenseSpec("memguard", 0.3, "published")),
        ("rounding=1", DefenseSpec("rounding", 1.0)),
        ("top-k=3", DefenseSpec("top-k", 3.0)),
        ("temperature=2.5", DefenseSpec("temperature", 2.5)),
        ("laplace=0.1", DefenseSpec("laplace", 0.1)),
        ("label-only", DefenseSpec("label-only")),
        ("class-mean", DefenseSpec("class-mean")),
    ],
)
def test_name_and_value_are_read_and_written_alike(text, spec):
    assert DefenseSpec.parse(text) == spec
    assert str(spec) == text
    assert spec.searches == text.startswith(("defenmi", "memguard"))


def test_alignment_holds_unless_the_name_says_so():
    for text, says in (("defenmi", "defenmi-published"), ("memguard=1", "memguard-published=1")):
        assert str(DefenseSpec.parse(text, alignment="published")) == says
        assert DefenseSpec.parse(says, alignment="corrected").alignment == "published"
    assert str(DefenseSpec.parse("top-k=3", alignment="published")) == "top-k=3"  # there is but one of it


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "defenmi or memguard"),
        ("DefenMI", "got 'DefenMI'"),
        ("=3", "got '=3'"),
        ("top-k-published=3", "got 'top-k-published=3'"),
        ("defenmi-published-published", "got"),
        ("defenmi=1", "no value"),
        ("defenmi=", "no value"),
        ("label-only=1", "no value"),
        ("class-mean=0", "no value"),
        ("rounding", "rounding= and digits after the point"),
        ("top-k", "top-k= and how many"),
        ("temperature", "temperature= and a temperature"),
        ("laplace", "laplace= and the scale"),
        ("rounding=8", "such as 1: a whole number from 0 to 7, got '8'"),
        ("top-k=0", "such as 3: a whole number from 1 to 1,000,000,000, got '0'"),
        ("top-k=", "how many confidences"),
        ("top-k=three", "got 'three'"),
        ("memguard=", "an L1 budget"),
        ("laplace=0.1=2", "the scale of the noise"),
    ],
)
def test_other_texts_are_refused_in_one_line(text, says):
    with pytest.raises(InputError, match=says) as caught:
        DefenseSpec.parse(text)
    assert "\n" not in str(caught.value)


def built(text, classes=CLASSES):
    """The defense, and what it asked for."""
    asked = []

    def classifier():
        asked.append("classifier")
        return DefenderClassifier(classes)

    def means():
        asked.append("means")
        return MEANS

    return DefenseSpec.parse(text).build(classifier, means, classes), asked


@pytest.mark.parametrize(
    ("text", "kind", "needs"),
    [
        ("defenmi", DefenMI, ["classifier", "means"]),
        ("defenmi-published", DefenMI, ["classifier", "means"]),
        ("memguard", MemGuard, ["classifier"]),
        ("memguard-published=0.3", MemGuardBudget, ["classifier"]),
        ("rounding=1", Rounding, []),
        ("top-k=3", TopK, []),
        ("temperature=4", Temperature, []),
        ("laplace=0.1", LaplaceOutput, []),
        ("class-mean", ClassMean, ["means"]),
        ("label-only", LabelOnly, []),
    ],
)
def test_what_is_built_asks_for_no_more_than_it_needs(text, kind, needs):
    defense, asked = built(text)
    assert type(defense) is kind
    assert asked == needs


@pytest.mark.parametrize("text", ["defenmi", "memguard"])
def test_published_programs_are_built_by_their_names(text):
    for end, alignment in (("", "corrected"), ("-published", "published")):
        assert built(text + end)[0].config.alignment == alignment


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("rounding=2", {"digits": 2}),
        ("top-k=2", {"k": 2}),
        ("top-k=9", {"k": 4}),  # there are no more classes
        ("temperature=4", {"temperature": 4.0}),
        ("laplace=0.1", {"scale": 0.1, "classes": 4}),
    ],
)
def test_value_arrives(text, settings):
    assert built(text)[0].settings() == settings


def test_budget_of_memguard_arrives():
    assert built("memguard=0.3")[0].budget == 0.3


@pytest.mark.parametrize("text", ["memguard=0.5@299", "memguard=2@20"])
def test_an_l1_budget_would_tell_rows_cut_short_in_the_clear(text):
    with pytest.raises(InputError, match=r"^max_steps with an L1 budget of memguard: expected at least"):
        DefenseSpec.parse(text)
    with pytest.raises(InputError, match=r"^max_steps with an L1 budget of memguard: expected at least"):
        MemGuardBudget(MemGuard(DefenderClassifier(3), MemGuardConfig(max_steps=20)), 0.5)
    assert DefenseSpec.parse("memguard=0.5@300").max_steps == 300


def test_a_comparison_keeps_to_the_budget_of_its_study():
    specs = parse_lineup(["defenmi", "defenmi@150", "rounding=1"], max_steps=300)
    assert [str(spec) for spec in specs] == ["defenmi@300", "defenmi@150", "rounding=1"]


@pytest.mark.parametrize(
    "text",
    [
        "rounding=1.5",
        "top-k=2.5",
        "top-k=0",
        "rounding=-1",
        "temperature=0",
        "temperature=nan",
        "laplace=-1",
        "memguard=-0.1",
        "top-k=nan",
        "top-k=inf",
    ],
)
def test_values_out_of_range_are_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        built(text)
    assert "\n" not in str(caught.value)


def test_lineup_is_read_written_and_built():
    specs = parse_lineup(LINEUP)
    assert tuple(map(str, specs)) == LINEUP
    assert len(set(specs)) == len(LINEUP)
    for name in LINEUP:
        built(name)


@pytest.mark.parametrize(
    ("names", "twice"),
    [
        (["top-k=3", "label-only", "top-k=3.0"], "top-k=3 twice"),
        (["defenmi", "defenmi-published", "defenmi"], "defenmi twice"),
    ],
)
def test_nobody_is_put_up_twice(names, twice):
    with pytest.raises(InputError, match=twice):
        parse_lineup(names)
    assert [str(spec) for spec in parse_lineup(names[:2])] == names[:2]


def test_lineup_refuses_what_is_no_defense():
    with pytest.raises(InputError, match="'nothing'"):
        parse_lineup(["top-k=3", "nothing"])


# ------------------------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("early-stopping=0.9", {"until_accuracy": 0.9}),
        ("weight-decay=0.005", {"weight_decay": 0.005}),
        ("label-smoothing=0.3", {"label_smoothing": 0.3}),
        ("dp=1", {"epsilon": 1.0}),
        ("dp-mindarmour=1", {}),
    ],
)
def test_ways_to_train_change_their_setting(text, settings):
    spec = TrainingSpec.parse(text)
    assert spec.settings == settings
    assert str(spec) == text
    assert spec.is_private == text.startswith("dp-mindarmour")


@pytest.mark.parametrize("name", [setting for way in TRAINING_LINEUP for setting in TrainingSpec.parse(way).settings])
def test_settings_of_ways_to_train_are_settings_of_a_study(name):
    import dataclasses

    from mindefense.study import StudyConfig

    assert name in {field.name for field in dataclasses.fields(StudyConfig)}


@pytest.mark.parametrize("text", ["", "dp", "dp=", "dp=much", "early-stopping", "dropout=0.5", "=1", "0.5"])
def test_other_ways_to_train_are_refused_in_one_line(text):
    with pytest.raises(InputError, match=r"NAME=VALUE with early-stopping .* or dp") as caught:
        TrainingSpec.parse(text)
    assert repr(text) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_fit_the_tables_of_the_console():
    # The longest ones that tests/reports/test_console.py holds against 80 columns.
    assert max(map(len, ATTACKS)) <= len("modified-entropy-per-class")
    assert max(map(len, (*LINEUP, *(f"{way}*" for way in TRAINING_LINEUP)))) <= len("memguard-published=0.35")
