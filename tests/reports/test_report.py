"""The report: what it says of every kind of results, that it is one harmless file, and what it refuses."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mindefense import cli
from mindefense.errors import DataError, PackageError
from mindefense.evaluation.summary import confidence_histogram, roc_points
from mindefense.metrics import roc_curve_points
from mindefense.reports import report
from mindefense.reports.appendix import not_run_by_reason
from mindefense.reports.plots import frontier_of
from mindefense.reports.report import as_html, as_markdown, comparison_page, evaluation_page, read_results, write_report
from mindefense.reports.results import SCHEMA_VERSION
from mindefense.reports.upgrade import upgraded
from mindefense.reports.wording import find, of_hundred, percent, rounded
from mindefense.types import LEVELS, Outputs

KINDS = (
    "smoke run",
    "recorded",
    "recorded alone",
    "one attack",
    "failed checks and canaries",
    "old",
    "comparison",
    "old comparison",
)
EVALUATIONS = [kind for kind in KINDS if "comparison" not in kind]
VOID = {"meta", "link", "br", "img"}
EVIL = (
    "\"><script>alert('x')</script><img src=x onerror=alert(1)><!-- --> $\\frac{ {{ 7*7 }} `|` [a](javascript:b)\n# c"
)


class Reader(HTMLParser):
    """Every element with its attributes; complains of one that is not closed."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def page_of(held):
    return (comparison_page if "contenders" in held else evaluation_page)(held, "results.json")


def written(held, out, **options):
    """The text of both files."""
    html, markdown, *_ = write_report(held, out, **options)
    return html.read_text(encoding="utf-8"), markdown.read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------ the files


@pytest.mark.parametrize("kind", KINDS)
def test_page_is_one_file_with_names_for_its_pictures(kind, kinds, tmp_path):
    html, _ = written(kinds[kind], tmp_path)
    assert len(html.encode()) < 2_000_000
    read = Reader(html)
    ids = [attrs["id"] for _, attrs in read.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in read.elements:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        for name, value in attrs.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "action", "poster", "srcset"):
                assert value.startswith("#") or value == "data:,"
                assert value[1:] in ids or value == "data:,"
            for at in re.findall(r"url\(([^)]*)\)", value or ""):
                assert at.startswith("#")
                assert at[1:] in ids
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    pictures = [attrs for tag, attrs in read.elements if tag == "svg"]
    assert pictures
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert set(attrs["aria-labelledby"].split()) <= set(ids)
    assert sum(tag == "script" for tag, _ in read.elements) == 1
    assert not re.search(r"\b(nan|inf)\b|None", read.text)


@pytest.mark.parametrize("kind", KINDS)
def test_same_results_same_bytes(kind, kinds, tmp_path):
    pairs = [write_report(kinds[kind], tmp_path / name, figures=kind == "recorded") for name in "ab"]
    assert [path.name for path in pairs[0]] == [path.name for path in pairs[1]]
    for one, two in zip(*pairs, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_same_bytes_in_another_process(recorded, tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(recorded), encoding="utf-8")
    here = written(recorded, tmp_path / "here")
    command = [sys.executable, "-m", "mindefense", "report", str(tmp_path / "results.json")]
    run = subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True)
    assert run.stdout == f"wrote {tmp_path / 'report.html'}, {tmp_path / 'report.md'}\n"
    assert run.stderr == ""
    assert tuple((tmp_path / f"report.{end}").read_text(encoding="utf-8") for end in ("html", "md")) == here


def test_thousands_of_classes_do_not_make_a_page_of_megabytes(recorded, tmp_path):
    held = copy.deepcopy(recorded)
    for slices in held["slices"]:
        part = slices["parts"][0]
        slices["parts"] = [{**part, "part": f"class {number}", "auc": number / 5000} for number in range(5000)]
    html, _ = written(held, tmp_path)
    assert len(html.encode()) < 1_000_000
    assert "Of 5,000 parts, the 300 with the highest AUC" in html
    assert "class 4999" in html
    assert "class 4600" not in html


def test_figures_are_files_of_their_own(kinds, tmp_path):
    _, markdown = written(kinds["smoke run"], tmp_path, figures=True)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    stems = {"scale", "classes", "budgets", "averaging", "tradeoff-l1", "tradeoff-nll"}
    stems |= {f"{name}-{state}" for name in ("roc", "confidence", "risks") for state in ("undefended", "defended")}
    assert names == {f"{stem}.{end}" for stem in stems for end in ("svg", "png")}
    for path in (tmp_path / "figures").iterdir():
        if path.suffix == ".svg":
            assert "var(--" not in path.read_text(encoding="utf-8")
            assert ET.parse(path).getroot().tag.endswith("svg")
        else:
            assert path.read_bytes().startswith(b"\x89PNG")
    assert set(re.findall(r"\]\((figures/[^)]*)\)", markdown)) == {f"figures/{stem}.svg" for stem in stems}
    assert "figures/" not in written(kinds["smoke run"], tmp_path / "without")[1]


def test_colors_in_the_page_are_those_of_its_style(recorded):
    html = as_html(page_of(recorded))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]
    used = set(re.findall(r"var\(--(\w+)\)", html.replace(style, "")))
    assert used
    light, dark, paper = (
        re.findall(r"--(\w+): #", part) for part in re.split(r"@media \((?:prefers)|@media print", style)
    )
    for names in (light, dark, paper):
        assert used <= set(names)
    assert not re.search(r"(fill|stroke): #", html.replace(style, ""))


def contrast(one, other):
    """WCAG 2's ratio of two colors, #rrggbb."""

    def luminance(color):
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_words_stand_out_from_their_ground_in_every_scheme(recorded):
    style = re.search(r"<style>(.*?)</style>", as_html(page_of(recorded)), re.DOTALL)[1]
    tints = [int(part) for part in re.findall(r"var\(--red\) (\d+)%, var\(--paper\)", style)]
    assert tints == sorted(tints)
    assert len(tints) == 5
    for scheme in re.split(r"@media \((?:prefers)|@media print", style):
        colors = dict(re.findall(r"--(\w+): (#\w{6})", scheme))
        for word in ("ink", "soft", "blue", "bad", "mixed", "good"):
            for ground in ("paper", "tint"):
                assert contrast(colors[word], colors[ground]) >= 4.5, (word, ground)
        for mark in ("red", "green", "purple", "blue"):  # lines and points, which differ in shape too
            assert contrast(colors[mark], colors["paper"]) >= (2.6 if mark == "purple" else 3), mark
        red, paper = ([int(colors[name][at : at + 2], 16) for at in (1, 3, 5)] for name in ("red", "paper"))
        deepest = "#" + "".join(f"{round(r * tints[-1] / 100 + p * (1 - tints[-1] / 100)):02x}" for r, p in
                                zip(red, paper, strict=True))  # fmt: skip
        assert contrast(colors["ink"], deepest) >= 4.5
    assert not re.search(r"transition|animation|scroll-behavior", style)  # nothing moves, so nothing to be reduced


@pytest.mark.parametrize("kind", KINDS)
def test_heads_say_what_they_head(kind, kinds):
    for table in re.findall(r"<table.*?</table>", as_html(page_of(kinds[kind])), re.DOTALL):
        columns, rows = table.split("<tbody>")
        assert "<caption" in columns
        assert columns.count("<th ") == columns.count('scope="col"') > 1
        assert not re.search(r"<th [^>]*></th>", table)
        assert rows.count("<tr>") == rows.count("<th ") == rows.count('scope="row"') > 0


# ------------------------------------------------------------------------------------------------------------ the words

SAID = {
    "smoke run": [
        "Not measured: this was a smoke test.", "Do not quote these figures synthetic data", "Not at all: ",
        "The published attacker (nn), unaware of the defense, falls from", "with it, the best attacker is right in",
        "slightly changed queries sent 8 times: AUC", "--smoke", "learned from a shadow", "defense: defenmi",
    ],
    "recorded": [
        "behind the recorded defense", "recorded outputs answers.npz", "No predicted class changes", "600 samples",
        "recorded outputs cannot be queried again", "mindefense evaluate --outputs answers.npz --seed 0",
        "non-members members by mistake.", "of their area undefended and", "What the answers in answers.npz reveal",
    ],
    "recorded alone": [
        "Yes.", "There was no defense.", "there is no budget to spend",
        "Put a defense in front of the model, record its answers", "There is no defense to compare",
    ],
    "one attack": ["on average the strongest of 2 attackers", "max-confidence", "A stronger attacker may", "checks"],
    "failed checks and canaries": [
        "1 of 3 checks of the measurement failed.", "sample-size : There are 500 members. Figures are rough.", "FAILED",
        "wrong label",
        "What to do next? Judge by more rows.",
        "kept no points of the ROC curves", "kept no histograms", "Yes; behind the defense, somewhat.",
        "falls from 100.0% to 73.4%", "3 of 1,001 predicted classes change",
        "falls from 77.5% at a budget of 0 to 50.1%",
    ],
    "old": ["kept no points of the ROC curves", "Fresh noise averages out.", "sent 64 times"],
    "comparison": [
        "At best 100.0% falls to", "3 ways to defend", "by all costs in the table: undefended, defenmi-published",
        "behind the best of the defenses", "sample-size all; for example undefended: There are 500 members.",
        "smoke top-k=3, label-smoothing=0.3; for example top-k=3: This was a smoke test.",
        "--defenses defenmi-published,top-k=3 --training label-smoothing=0.3,dp=1", "VGG16 has batch normalization",
    ],
    "old comparison": [
        "At best 83.2% falls to 69.4%, by early-stopping=0.9.", "laplace=0.1 has the lowest figure: 79.5% (76.1–82.6%)",
        "worse predictions: undefended, weight-decay=0.005, memguard=0.1, early-stopping=0.9",
        "With early-stopping=0.9, the model's accuracy goes from 80.8% to 72.8%", "mindefense train-defender --out",
        "Yes, behind the best of the defenses too.",
        "all but weight-decay=0.005, label-smoothing=0.3; for example undefended:",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_page_says(kind, kinds, tmp_path):
    html, markdown = written(kinds[kind], tmp_path)
    text = Reader(html).text
    for words in SAID[kind]:
        assert words in text
    held = kinds[kind]
    best = held["contenders"][0]["verdict"] if "contenders" in held else held["verdict"]["undefended"]
    figure = f"{best['strongest_balanced_accuracy']:.1%}"
    interval = f"{100 * best['strongest_low']:.1f}–{100 * best['strongest_high']:.1f}%"
    for said in (text, markdown):
        assert figure in said
        assert interval in said
    questions = ["leak who was in its training data?", "How often is the best", "be trusted?", "to do next?"]
    if "contenders" in held or held["defense"] is not None:
        questions.append("cost the users")
    for question in questions:
        assert question in text
        assert question in markdown


def altered(held, before, after, *, half=0.02, attackers=(29, 63)):
    """An evaluation, or a comparison with all defenses alike, whose strongest attackers are right so often."""
    held = copy.deepcopy(held)
    verdicts = [one["verdict"] for one in held.get("contenders", ())] or list(held["verdict"].values())
    for number, verdict in enumerate(verdicts):
        figure = after if number else before
        figures = {
            "strongest_balanced_accuracy": figure,
            "strongest_low": figure - half,
            "strongest_high": figure + half,
        }
        verdict |= {**figures, "attackers": attackers[bool(number)]}
    if "contenders" in held:
        for one in held["contenders"][1:]:
            one["change"] = change(before, after, half)
    else:
        held["change"] = change(before, after, half)
    return held


@pytest.mark.parametrize(
    ("before", "after", "half", "tones", "short", "more"),
    [
        (0.83612, 0.83638, 0.02, "bad", "Nothing against the best attacker: 83.6% with it and without it.", ""),
        (0.83638, 0.83612, 0.0001, "bad", "Nothing against the best attacker: 83.6% with it and without it.", ""),
        (0.8, 0.81, 0.02, "bad", "Little or nothing against the best attacker: 80.0% to 81.0%.",
         "the figure is of the best of 63 attackers behind the defense and of 29 undefended."),
        (0.8, 0.79, 0.02, "bad", "Little or nothing against the best attacker: 80.0% to 79.0%.",
         "may explain the difference."),
        (0.7, 0.8, 0.02, "bad", "The best attacker gains: 70.0% to 80.0%.", ""),
        (0.8, 0.7, 0.02, "mixed", "The best attacker falls from 80.0% to 70.0%.", ""),
    ],
)  # fmt: skip
def test_gains_and_falls_are_those_that_can_be_told(before, after, half, tones, short, more, recorded):
    held = altered(recorded, before, after, half=half)
    held["verdict"]["defended"]["level"] = "leak"
    answer = page_of(held).answers[3]
    assert (answer.short, answer.tone) == (short, tones)
    assert any(more in text for text in answer.text)
    assert bool(more) == any("chance" in text for text in answer.text)


@pytest.mark.parametrize(
    ("before", "after", "tone", "short"),
    [
        (0.8361, 0.8360, "bad", "No defense lowers the figure of the best attacker: 83.6%."),
        (0.8, 0.81, "bad", "No defense lowers the figure of the best attacker: 80.0%."),
        (0.8, 0.79, "bad", "Little or nothing: at best from 80.0% to 79.0%, by defenmi-published."),
        (0.8, 0.7, "mixed", "At best 80.0% falls to 70.0%, by defenmi-published."),
    ],
)
def test_the_undefended_model_is_no_defense(before, after, tone, short, kinds):
    answer = page_of(altered(kinds["comparison"], before, after)).answers[3]
    assert (answer.short, answer.tone) == (short, tone)
    alike = "The same figure is reached by top-k=3, label-smoothing=0.3."
    assert (alike in " ".join(answer.text)) == (short[0] != "N")
    assert "none" not in " ".join(answer.text)
    assert ("chance" in " ".join(answer.text)) == short.startswith("Little")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (0.0, "none of 100 others"), (1e-17, "none of 100 others"), (0.003, "fewer than one of 100 others"),
        (0.21, "21 of 100 others"), (0.996, "almost all others"), (1.0, "all others"),
    ],
)  # fmt: skip
def test_shares_are_said_in_whole_people(part, said):
    assert of_hundred(part, "others") == said


def test_a_figure_is_rounded_alike_in_tables_and_sentences(recorded):
    for number in (count / 10_000 for count in range(10_001)):
        assert 100 * Decimal(rounded(number)) == Decimal(percent(number).removesuffix("%")), number
    held = altered(recorded, 0.8075, 0.5005)
    best = find(held["attacks"], held["verdict"]["undefended"]["strongest"], defended=False)
    best |= {"balanced_accuracy": 0.8075, "balanced_accuracy_low": 0.7885}
    markdown = as_markdown(page_of(held))
    assert "| **0.808** | 0.789–" in markdown
    assert "right in 80.8% of its guesses (95% interval 78.8–82.8%" in markdown


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


def change(before, after, half):
    """What a results file says of a difference on the same rows."""
    difference = {"value": before - after, "low": before - after - 2 * half, "high": before - after + 2 * half}
    return {"accuracy": difference, "auc": difference}


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


def test_who_was_left_out_is_named_once_for_each_reason():
    left = [
        {"name": name, "knowledge": knowledge, "reason": reason}
        for name, knowledge, reason in (
            ("nn", "shadow", "no shadow"), ("label-noise", "auditor", "bits"), ("label-noise", "shadow", "bits"),
            ("nsh", "shadow", "no shadow"), ("dp=1", "training", "norms"),
        )
    ]  # fmt: skip
    assert not_run_by_reason(left) == [
        ("no shadow", "nn, nsh (learned from a shadow)"),
        ("bits", "label-noise (learned from the target or a shadow)"),
        ("norms", "dp=1"),
    ]


def test_only_threat_models_of_somebody_there_are_spelled_out(kinds):
    said = {kind: {name for name, _ in page_of(kinds[kind]).threats} for kind in ("smoke run", "recorded alone")}
    everybody = {
        "member",
        "learned from nothing",
        "learned from the target",
        "learned from a shadow",
        "unaware",
        "adapts",
    }
    assert said["smoke run"] == {*everybody, "learned from an online bank", "keyed noise"}
    assert said["recorded alone"] == everybody - {"learned from a shadow", "adapts"}


@pytest.mark.parametrize(("mark", "tone"), [("synthetic", "bad"), ("smoke", "bad"), (None, "good")])
def test_made_up_figures_are_not_to_be_trusted(mark, tone, recorded):
    held = copy.deepcopy(recorded)
    held["checks"] = [{**check, "passed": True} for check in held["checks"]]
    if mark is not None:
        held[mark] = True
    (trust,) = [answer for answer in page_of(held).answers if answer.question.endswith("be trusted?")]
    assert trust.tone == tone


def test_smoke_test_is_neither_good_nor_bad_news(kinds):
    assert [answer.tone for answer in page_of(kinds["smoke run"]).answers] == [
        "mixed",
        "plain",
        "plain",
        "plain",
        "bad",
        "plain",
        "plain",
    ]


@pytest.mark.parametrize(
    ("levels", "short"),
    [
        (("leak", "leak"), "Yes, behind the defense too."),
        (("leak", "some"), "Yes; behind the defense, somewhat."),
        (("leak", "none found"), "Yes; behind the defense, no leak was found."),
        (("some", "some"), "Somewhat, behind the defense too."),
        (("some", "leak"), "Somewhat; behind the defense, yes."),
        (("none found", "none found"), "These attackers found no leak, behind the defense or without it."),
        (("cannot be told", "cannot be told"), "This cannot be told from these rows."),
        (("cannot be told", None), "This cannot be told from these rows."),
        (("leak", None), "Yes."),
    ],
)
def test_first_answer(levels, short, kinds):
    held = copy.deepcopy(kinds["recorded alone" if levels[1] is None else "recorded"])
    for state, level in zip(("undefended", "defended"), levels, strict=True):
        if level is not None:
            held["verdict"][state]["level"] = level
    assert page_of(held).answers[0].short == short


def test_a_verdict_names_what_is_beyond_chance_even_if_it_is_not_the_strongest(kinds):
    held = copy.deepcopy(kinds["recorded alone"])
    gap = {"name": "gap", "knowledge": "none", "adversary": "static"}
    held["verdict"]["undefended"] |= {
        "level": "some", "identifies_beyond_chance": False, "shown_by": gap, "shown_figure": "balanced accuracy",
        "shown_low": 0.512, "shown_high": 0.561, "tutorial_rule": False,
    }  # fmt: skip
    answers = page_of(held).answers
    assert "the balanced accuracy of gap is beyond chance (0.5): its 95% interval is 0.512–0.561" in answers[0].text[0]
    assert "not met undefended" in answers[0].points[0][1]
    assert answers[1].short.startswith("No more than chance explains")


def test_with_few_non_members_nothing_is_said_of_small_rates(kinds):
    held = copy.deepcopy(kinds["recorded alone"])
    held["verdict"]["undefended"] |= {"identifies": None, "identified": None, "identifies_beyond_chance": False}
    answer = page_of(held).answers[1]
    assert answer.short == "That cannot be told: there are too few non-members."


def test_the_floor_of_defenses_that_keep_classes_is_the_undefended_gap(kinds):
    held = copy.deepcopy(kinds["recorded"])
    held["defense"] |= {"keeps_labels": False, "label_changes": 256}
    held["verdict"]["undefended"]["gap_accuracy"], held["verdict"]["defended"]["gap_accuracy"] = 0.52, 0.648
    held["verdict"]["defended"]["level"] = "leak"
    step = next(answer for answer in page_of(held).answers if answer.question == "What to do next?")
    said = " ".join([step.short, *step.text])
    gap = "The gap attack alone is right in 52.0% of its guesses"
    assert f"{gap}, and no defense that keeps the predicted classes lowers that" in said
    assert "64.8%" not in said


def test_shares_at_different_rates_are_told_apart(kinds):
    held = copy.deepcopy(kinds["recorded"])
    for state, fpr in (("undefended", 0.001), ("defended", 0.01)):
        verdict = held["verdict"][state]
        verdict["identified"] |= {"fpr": fpr, "identified": 40, "share": 0.04, "share_low": 0.03}
        verdict["identifies_beyond_chance"] = True
    answers = page_of(held).answers
    assert answers[1].short == (
        "At least 3.0% (at a false positive rate of 0.1%) undefended; at least 3.0% (at a false positive rate of 1%) "
        "behind the defense."
    )
    said = " ".join(text for answer in answers for text in answer.text)
    assert "At different rates, the two numbers cannot be compared." in said
    held["verdict"]["defended"]["identified"]["fpr"] = 0.001
    answers = page_of(held).answers
    assert answers[1].short == "At least 3.0% undefended; at least 3.0% behind the defense."
    assert "cannot be compared" not in " ".join(text for answer in answers for text in answer.text)


def test_verdicts_of_older_files_are_those_of_their_figures(kinds):
    held = copy.deepcopy(kinds["recorded"])
    old = copy.deepcopy(held)
    old["schema_version"] = 4
    del old["change"]
    new = {"level", "identifies", "identified", "identifies_beyond_chance", "shown_by", "shown_figure", "shown_low",
           "shown_high", "tutorial_rule"}  # fmt: skip
    for verdict in old["verdict"].values():
        verdict["leaks"] = verdict["tutorial_rule"]
        for name in new:
            del verdict[name]
    again = upgraded(old)
    assert set(again["verdict"]["undefended"]) == set(held["verdict"]["undefended"])
    for state, verdict in held["verdict"].items():
        found = again["verdict"][state]
        for name in ("level", "tutorial_rule", "identifies_beyond_chance"):
            assert found[name] == verdict[name], (state, name)
        # An older file has the rows of the table alone, not all rows for attackers whose scores are fitted to none.
        attack = next(
            one
            for one in held["attacks"]
            if one["defended"] == (state == "defended") and one | found["identifies"] == one
        )
        rate = next(rate for rate in attack["tpr_at_fpr"] if rate["fpr"] == found["identified"]["fpr"])
        assert found["identified"]["identified"] == round(rate["tpr"] * attack["n_members"])
    assert upgraded(again) == again


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


# ----------------------------------------------------------------------------------------------------- names from files


def poisoned(value):
    """The same with every text in it followed by something nasty, but for words that mean something to the report."""
    kept = {"none", "auditor", "shadow", "static", "adaptive", "class", "gap", *LEVELS}
    if isinstance(value, dict):
        return {key: poisoned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [poisoned(inner) for inner in value]
    return value + EVIL if isinstance(value, str) and value not in kept else value


@pytest.mark.parametrize("kind", ["smoke run", "recorded", "comparison"])
def test_names_from_files_are_text_and_nothing_else(kind, kinds, tmp_path):
    held = poisoned(kinds[kind])
    html, markdown = written(held, tmp_path, figures=True)
    read, clean = Reader(html), Reader(as_html(page_of(kinds[kind])))
    harmless = {tag for tag, _ in clean.elements}
    assert {tag for tag, _ in read.elements} <= harmless
    assert sum(tag == "script" for tag, _ in read.elements) == 1
    assert {name for _, attrs in read.elements for name in attrs} <= {n for _, attrs in clean.elements for n in attrs}
    assert "alert('x')" in read.text
    assert "{{ 7*7 }}" in read.text
    outside_code = "\n".join(line for line in markdown.splitlines() if not line.startswith("    "))
    assert "<" not in outside_code
    assert not re.search(r"(?<!\\)\]\(javascript", outside_code)
    for path in (tmp_path / "figures").glob("*.svg"):
        assert {"script", "img"}.isdisjoint(element.tag.rpartition("}")[2] for element in ET.parse(path).iter())
    for command in page_of(held).commands:
        assert shlex.split(command)[0] == "mindefense"


def test_script_is_the_one_that_the_page_allows(recorded):
    import base64
    import hashlib

    html = as_html(page_of(recorded))
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html


# ---------------------------------------------------------------------------------------------------- to get this again


@pytest.mark.parametrize("kind", ["smoke run", "recorded", "old", "old comparison", "comparison"])
def test_commands_are_ones_that_the_command_line_takes(kind, kinds):
    held = kinds[kind]
    commands = [shlex.split(command) for command in page_of(held).commands]
    assert commands
    for command in commands:
        args = vars(cli.build_parser().parse_args(command[1:]))
        for name, value in args.items():
            settings = held["settings"]
            if name in settings and command[1] in ("run", "train") and settings["dataset"] != "synthetic":
                known = settings[name]
                if name in ("knowledge", "adversary"):
                    known = known[0] if len(known) == 1 else "all" if name == "knowledge" else "both"
                if (name, known) != ("width_multiplier", 1.0):  # what it is if nothing is said
                    assert value == (tuple(known) if isinstance(known, list) else known)


def test_smoke_run_is_made_again_with_its_own_settings(kinds):
    (command,) = page_of(kinds["smoke run"]).commands
    args = vars(cli.build_parser().parse_args(shlex.split(command)[1:]))
    assert (args["smoke"], args["seed"], args["data_path"], args["defense"]) == (True, 0, None, "defenmi")


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


# ---------------------------------------------------------------------------------------------------------- the command

REFUSED = {
    "nothing": (None, ["cannot read", "No such file", "results.json or comparison.json"]),
    "no JSON": ("{", ["cannot read", "it is not JSON"]),
    "deep JSON": ("[" * 100_000, ["it is not JSON"]),
    "another file": ('{"schema_version": 4}', ["holds no results", "give results.json"]),
    "a list": ("[1]", ["holds no results"]),
    "before all": ('{"schema_version": 2, "attacks": []}', ["from 3 to", "got 2", "evaluate again"]),
    "from later": ('{"schema_version": 99, "attacks": []}', ["got 99", "update mindefense"]),
    "without a version": ('{"attacks": []}', ["got None"]),
    "damaged": ('{"schema_version": 5, "attacks": []}', ["is damaged: $ has no 'warnings'", "evaluate again"]),
    "damaged and old": ('{"schema_version": 4, "attacks": []}', ["is damaged", "no 'verdict'", "evaluate again"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_a_result_is_refused_in_one_line(name, tmp_path, capsys):
    text, words = REFUSED[name]
    path = tmp_path / "in" / "results.json"
    path.parent.mkdir()
    if text is not None:
        path.write_text(text, encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    for word in words:
        assert word in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ({"attacks": 1}, r"\$\.attacks is 1, not array"),
        ({"attacks": [{}]}, r"\$\.attacks\[0\] has no 'name'"),
        ({"verdict": None}, r"\$\.verdict is None, not object"),
        ({"checks": [1]}, r"\$\.checks\[0\] is 1, not object"),
        ({"settings": []}, r"\$\.settings is \[\], not object"),
        ({"seed": -1}, r"\$\.seed is -1, not at least 0"),
        ({"evidence": {}}, r"\$\.evidence has no 'created'"),
    ],
)
def test_damage_inside_is_one_line_too(damage, fault, recorded, tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({**recorded, **damage}), encoding="utf-8")
    with pytest.raises(DataError, match=rf"r\.json is damaged: {fault}; evaluate again$"):
        read_results(tmp_path / "r.json")


def test_what_a_later_version_adds_is_no_damage(recorded, tmp_path):
    held = {**recorded, "more": 1, "settings": {**recorded["settings"], "more": [2]}}
    (tmp_path / "r.json").write_text(json.dumps(held), encoding="utf-8")
    assert read_results(tmp_path / "r.json") == held


@pytest.mark.parametrize("error", [KeyError("auc"), TypeError("x"), AttributeError("x"), ValueError("x"), OSError("x")])
@pytest.mark.parametrize("at", ["evaluation_page", "as_markdown"])
def test_a_mistake_of_ours_is_not_blamed_on_the_file(at, error, recorded, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(report, at, fail)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recorded), encoding="utf-8")
    assert cli.main(["report", str(path)]) == 1
    out, err = capsys.readouterr()
    said = f"no page can be made of mine.json ({type(error).__name__}: {error}); this is a bug of mindefense"
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert "please report it with the file" in err
    assert "damaged" not in err
    assert cli.main(["report", str(path), "--json"]) == 1
    held = json.loads(capsys.readouterr().out)
    assert held["exit_code"] == 1
    assert said in held["error"]
    with pytest.raises(PackageError) as caught:
        cli.main(["report", str(path), "--debug"])
    assert caught.value.__cause__ is error
    assert [file.name for file in tmp_path.iterdir()] == ["mine.json"]


def test_command_puts_files_beside_or_where_told(recorded, kinds, tmp_path, capsys):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(recorded), encoding="utf-8")
    assert cli.main(["report", str(path)]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {"mine.json", "report.html", "report.md"}
    assert "Made from mine.json alone" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "new"), "--figures"]) == 0
    assert {file.name for file in (tmp_path / "new").iterdir()} == {"report.html", "report.md", "figures"}
    path.write_text(json.dumps(kinds["old comparison"]), encoding="utf-8")
    assert cli.main(["report", str(path), "--out", str(tmp_path / "c")]) == 0
    assert {file.name for file in (tmp_path / "c").iterdir()} == {"comparison.html", "comparison.md"}
    assert capsys.readouterr().out.count("wrote ") == 3


def test_a_run_leaves_the_report_that_its_results_make(smoke_run, tmp_path):
    made = write_report(read_results(smoke_run / "results.json"), tmp_path)
    for path in made:
        assert path.read_bytes() == (smoke_run / path.name).read_bytes()


def test_report_needs_no_mindspore():
    code = (
        "import sys, mindefense.reports.report; sys.exit(bool({'mindspore', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent).returncode == 0
