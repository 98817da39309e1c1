"""The report's page: one harmless file with the same bytes each time, whose colors and tables anybody can read."""

import copy
import json
import os
import re
import shlex
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from reading_pages import KINDS, Reader, page_of, written

from mindefense.reports.report import as_html, read_results, write_report
from mindefense.types import LEVELS

EVIL = (
    "\"><script>alert('x')</script><img src=x onerror=alert(1)><!-- --> $\\frac{ {{ 7*7 }} `|` [a](javascript:b)\n# c"
)


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


def test_a_run_leaves_the_report_that_its_results_make(smoke_run, tmp_path):
    made = write_report(read_results(smoke_run / "results.json"), tmp_path)
    for path in made:
        assert path.read_bytes() == (smoke_run / path.name).read_bytes()


def test_report_needs_no_mindspore():
    code = (
        "import sys, mindefense.reports.report; sys.exit(bool({'mindspore', 'matplotlib.pyplot'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent).returncode == 0
