"""The tables and pictures of the report, and what pictures are made of."""

import copy
import re

import numpy as np
import pytest
from reading_pages import KINDS, change, page_of

from mindefense.evaluation.summary import confidence_histogram, roc_points
from mindefense.metrics import roc_curve_points
from mindefense.reports.plots import frontier_of
from mindefense.reports.report import as_html
from mindefense.reports.results import SCHEMA_VERSION
from mindefense.types import Outputs

EVALUATIONS = [kind for kind in KINDS if "comparison" not in kind]


@pytest.mark.parametrize("kind", EVALUATIONS)
def test_every_attacker_is_in_the_table_and_explained(kind, kinds):
    page = page_of(kinds[kind])
    sheet = next(sheet for sheet in page.sheets if sheet.anchor == "attackers")
    rows = sorted((row[0].text, row[3].sort) for row in sheet.rows)
    assert rows == sorted((attack["name"], attack["balanced_accuracy"]) for attack in kinds[kind]["attacks"])
    figures = [row[3].sort for row in sheet.rows]
    assert figures == sorted(figures, reverse=True)
    assert sum(row[0].strong for row in sheet.rows) == 1 + (kinds[kind]["defense"] is not None)
    explained = dict(page.attackers)
    assert set(explained) == {attack["name"] for attack in kinds[kind]["attacks"]}
    assert "A user-defined attacker." not in explained.values()


def test_failed_checks_come_first_and_in_full(kinds):
    held = kinds["failed checks and canaries"]
    page = page_of(held)
    sheet = next(sheet for sheet in page.sheets if sheet.anchor == "checks")
    assert [row[0].text for row in sheet.rows] == ["FAILED", "passed", "passed"]
    assert sheet.rows[0][2].text == "There are 500 members. Figures are rough. Judge by more rows."
    assert page.answers[-1].tone == "mixed"


def test_every_attacker_meets_every_defense_in_the_matrix(stored_comparison):
    contenders = stored_comparison["contenders"]
    sheet = next(sheet for sheet in page_of(stored_comparison).sheets if sheet.anchor == "matrix")
    assert sheet.columns[3:5] == ("undefended#", "defenmi#")
    assert sheet.columns[-1] == "label-smoothing=0.3 *#"
    names = {"the target": "auditor", "a shadow": "shadow", "nothing": "none", "yes": "adaptive", "no": "static"}
    seen = {}
    for name, learned, knows, *cells in sheet.rows:
        for number, cell in enumerate(cells):
            seen[number, name.text, names[learned.text], names[knows.text]] = cell
    assert len(seen) == len(sheet.rows) * len(contenders)
    for number, contender in enumerate(contenders):
        strongest = contender["verdict"]["strongest"]
        for attack in contender["attacks"]:
            cell = seen.pop((number, attack["name"], attack["knowledge"], attack["adversary"]))
            assert cell.sort == attack["balanced_accuracy"]
            assert cell.text == f"{attack['balanced_accuracy']:.3f}"
            is_strongest = all(attack[key] == strongest[key] for key in ("name", "knowledge", "adversary"))
            assert cell.strong == is_strongest
            assert (cell.tint == 0) == (cell.sort < 0.55)
            assert (cell.tint == 5) == (cell.sort >= 0.8)
    assert {cell.text for cell in seen.values()} == {"–"}
    highest = [max(cell.sort or 0 for cell in row[3:]) for row in sheet.rows]
    assert highest == sorted(highest, reverse=True)


def bargain(held, *, leaks=(0.8, 0.7), half=0.02, **defense):
    """The trade-off plate of an evaluation with these figures."""
    held = copy.deepcopy(held)
    held["defense"] |= defense
    for state, leak in zip(("undefended", "defended"), leaks, strict=True):
        figures = {"strongest_balanced_accuracy": leak, "strongest_low": leak - half, "strongest_high": leak + half}
        held["verdict"][state] |= {**figures, "gap_accuracy": 0.61}
    held["change"] = change(*leaks, half)
    return next(plate for plate in page_of(held).plates if plate.anchor == "tradeoff")


@pytest.mark.parametrize(
    ("figures", "said", "unsaid", "frontier"),
    [
        ({}, "with it, the best attacker is right in 70.0% of its guesses instead of 80.0%.", "chance",
         "undefended, recorded"),
        ({"half": 0.06}, "instead of 80.0%, a difference that chance may explain.", "does not help", ""),
        ({"leaks": (0.7, 0.8)},
         "that does not help: the best attacker is right in 80.0% of its guesses, undefended in 70.0%.",
         "chance", "undefended"),
        ({"keeps_labels": True}, "lowers the figure of the gap attack, 61.0%.", "chance", "undefended, recorded"),
        ({"keeps_labels": False}, "instead of 80.0%.", "gap attack", "undefended, recorded"),
    ],
)  # fmt: skip
def test_one_defense_is_weighed_against_none(figures, said, unsaid, frontier, recorded):
    plate = bargain(recorded, **figures)
    assert said in plate.sentence
    assert unsaid not in plate.sentence
    assert [picture.name for picture in plate.pictures] == ["tradeoff-l1", "tradeoff-nll"]
    alt = plate.pictures[0].alt
    on = re.sub(r" \([^)]*\)", "", alt[alt.index("On the frontier: ") + 17 : -1])
    assert on == frontier or not frontier
    assert ("gap attack" in str(plate.pictures[0].inline())) == (figures.get("keeps_labels") is not False)


def test_a_defense_that_changes_nothing_is_not_drawn(recorded):
    plate = bargain(recorded, leaks=(0.7, 0.7), mean_l1=0.0)
    assert (plate.pictures, "neither an answer nor the figure of the best attacker" in plate.sentence) == ((), True)


@pytest.mark.parametrize("kind", ["smoke run", "recorded", "recorded alone"])
def test_roc_curves_on_logarithmic_axes_come_first(kind, kinds):
    page = page_of(kinds[kind])
    assert page.plates[0].anchor == "roc"
    assert page.plates[0].pictures
    for picture in page.plates[0].pictures:
        (ax,) = picture.figure.axes
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


@pytest.mark.parametrize("kind", ["smoke run", "recorded", "old comparison"])
def test_legends_are_flush_left_and_cover_no_bar(kind, kinds):
    legends = 0
    for picture in page_of(kinds[kind]).pictures:
        picture.png()  # only what is drawn has a place
        (ax,) = picture.figure.axes
        if (legend := ax.get_legend()) is None:
            continue
        legends += 1
        frame = ax.get_window_extent()
        starts = [round(text.get_window_extent().x0) for text in legend.get_texts()]
        columns = 1 if picture.name.startswith(("roc", "averaging")) else 2
        assert len(set(starts)) <= columns, picture.name  # below each other, texts begin at one place
        if legend.get_window_extent().y0 >= frame.y1 - 1:  # above the axes, at their left end
            assert abs(legend.get_window_extent().x0 - frame.x0) < 0.05 * frame.width, picture.name
        assert not picture.name.startswith("confidence") or legend.get_window_extent().y0 >= frame.y1 - 1
    assert legends >= 2


@pytest.mark.parametrize("kind", ["recorded alone", "one attack", "smoke run"])
def test_what_has_no_picture_is_said_in_one_place(kind, kinds):
    page = page_of(kinds[kind])
    missing = [plate.heading for plate in page.plates if not plate.pictures]
    html = as_html(page)
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings.count("Pictures that could not be made") == bool(missing)
    assert not set(missing) & set(headings)
    for plate in page.plates:
        assert html.count(f'href="#{plate.anchor}"') == bool(plate.pictures)


@pytest.mark.parametrize("low", [0.4, 0.6])
def test_a_class_that_leaks_by_chance_is_said_to(low, recorded):
    held = copy.deepcopy(recorded)
    for part in held["slices"][0]["parts"]:
        part |= {"auc": 1.0, "low": low, "high": 1.0}
    (plate,) = [plate for plate in page_of(held).plates if plate.anchor == "classes"]
    assert ("though chance may explain it with so few samples" in plate.sentence) == (low < 0.5)


@pytest.mark.parametrize(
    ("places", "frontier"),
    [
        ({"a": (0, 0.9)}, ["a"]),
        ({"b": (1, 0.8), "a": (0, 0.9)}, ["a", "b"]),
        ({"a": (0, 0.9), "b": (1, 0.9), "c": (2, 0.7)}, ["a", "c"]),
        ({"a": (1, 0.7), "b": (1, 0.8), "c": (2, 0.75)}, ["a"]),
    ],
)
def test_frontier(places, frontier):
    assert frontier_of(places) == frontier


# -------------------------------------------------------------------------------------------- what pictures are made of


@pytest.mark.parametrize("n", [5, 200, 3000])
@pytest.mark.parametrize("values", [2, 40, None])
def test_kept_points_are_few_and_on_the_curve(n, values):
    rng = np.random.default_rng(n)
    is_member = rng.random(2 * n) < 0.5
    is_member[:2] = True, False
    scores = rng.normal(size=2 * n) + is_member if values is None else rng.integers(0, values, 2 * n).astype(float)
    kept = roc_points(scores, is_member)
    fpr, tpr, _ = roc_curve_points(scores, is_member)
    members, others = int(is_member.sum()), int((~is_member).sum())
    best = {}
    for false_alarms, found in zip(np.rint(fpr * others).astype(int), np.rint(tpr * members).astype(int), strict=True):
        best[int(false_alarms)] = int(found)  # the last of equals is the highest
    points = dict(zip(kept.false_alarms, kept.found, strict=True))
    assert len(points) == len(kept.found) <= 100
    assert points == {false_alarms: best[false_alarms] for false_alarms in points}
    assert {false_alarms for false_alarms in best if false_alarms <= 30} <= set(points)
    assert points[others] == members
    assert list(points) == sorted(points)


def test_histogram_counts_everybody_once():
    probs = np.array([[1.0, 0.0], [0.5, 0.5], [0.04, 0.96], [0.96, 0.04]], np.float32)
    answers = Outputs(np.zeros(4, int), np.array([True, True, False, False]), np.arange(4), probs, probs[::-1])
    clean = confidence_histogram(answers, defended=False)
    assert (clean.members[10], clean.members[19], sum(clean.members)) == (1, 1, 2)
    assert (clean.non_members[0], clean.non_members[19], sum(clean.non_members)) == (1, 1, 2)
    defended = confidence_histogram(answers, defended=True)
    assert (defended.members, defended.defended) == (clean.non_members, True)


def test_files_hold_what_pictures_are_made_of(kinds):
    for kind in ("smoke run", "recorded", "one attack"):
        held = kinds[kind]
        assert held["schema_version"] == SCHEMA_VERSION
        for attack in held["attacks"]:
            assert attack["roc"]["found"][-1] == attack["n_members"]
            assert attack["roc"]["false_alarms"][-1] == attack["n_non_members"]
        gap = held["attacks"][0]
        for histogram in held["confidences"]:
            assert sum(histogram["members"]) == gap["n_members"]
            assert sum(histogram["non_members"]) == gap["n_non_members"]
        assert len(held["confidences"]) == 1 + (held["defense"] is not None)
