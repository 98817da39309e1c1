"""An evaluation in a notebook: what is shown below a cell, the table of pandas, and one line for `repr`."""

import dataclasses
import re
import sys
from html.parser import HTMLParser

import pandas
import pytest

from mindefense.errors import InputError
from mindefense.reports.findings import answer_evaluation
from mindefense.reports.report import states_of
from mindefense.reports.results import to_json, write_results
from mindefense.reports.wording import rounded

VOID = {"br", "hr", "img", "input", "path", "use", "rect", "meta", "link"}
HOSTILE = "<script>alert('1')</script>\"&amp; $x^2$"


class Piece(HTMLParser):
    """Elements, texts, identifiers and references of a piece of HTML, which must be balanced."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.texts, self.ids, self.references, self.rows = [], [], [], [], [], []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.references += attrs.get("aria-labelledby", "").split()
        for value in attrs.values():
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
        if attrs.get("href"):
            self.references.append(attrs["href"].removeprefix("#"))
        assert not any(name.startswith("on") for name in attrs)
        assert not {"src", "srcset"} & set(attrs)  # nothing is loaded
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
            if {"td", "th"} & set(self.open):
                self.rows[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(params=["found", "found_alone"])
def evaluation_of_outputs(request):
    return request.getfixturevalue(request.param)


def test_verdicts_are_those_of_the_report(evaluation_of_outputs):
    results = to_json(evaluation_of_outputs)
    piece = Piece(evaluation_of_outputs._repr_html_())
    for answer in answer_evaluation(results, states_of(results))[:3]:
        for sentence in (answer.question, answer.short, *answer.text):
            assert sentence in piece.text
    failed = [check.name for check in evaluation_of_outputs.checks if not check.passed]
    assert f"{len(failed)} of {len(evaluation_of_outputs.checks)} checks of the measurement failed" in piece.text
    assert ", ".join(failed) in piece.text


def test_every_attacker_is_a_row_with_its_figures(evaluation_of_outputs):
    head, *rows = Piece(evaluation_of_outputs._repr_html_()).rows
    assert head[:4] == ["attacker", "learned from", "state", "accuracy"]
    seen = sorted((row[0], row[3], row[5]) for row in rows)
    assert seen == sorted(
        (result.name, rounded(result.metrics.balanced_accuracy), rounded(result.metrics.auc))
        for result in evaluation_of_outputs.attacks
    )


def test_roc_curves_are_inside_one_picture_a_state(evaluation_of_outputs):
    states = 1 if evaluation_of_outputs.defense is None else 2
    html = evaluation_of_outputs._repr_html_()
    piece = Piece(html)
    assert piece.tags.count("svg") == states
    assert piece.text.count("false positive rate (log)") == states
    # All that the pictures take from the page is defined in the piece itself.
    used = set(re.findall(r"var\((--\w+)\)", html))
    assert used
    assert used <= set(re.findall(r"(--\w+):", html))


def test_two_evaluations_in_one_page_do_not_get_into_each_others_way(found, found_alone):
    pieces = [Piece(evaluation._repr_html_()) for evaluation in (found, found_alone)]
    for piece in pieces:
        assert len(piece.ids) == len(set(piece.ids)) > 0
        assert set(piece.references) <= set(piece.ids)
        assert len(piece.references) > 2
    assert not set(pieces[0].ids) & set(pieces[1].ids)


def test_styles_hold_inside_alone(found):
    (style,) = re.findall(r"<style>(.*?)</style>", found._repr_html_(), re.DOTALL)
    rules = re.findall(r"([^{}]+)\{", re.sub(r"/\*.*?\*/", "", style))
    assert len(rules) > 10
    for rule in rules:
        assert all(".mindefense" in selector for selector in re.sub(r"\([^)]*\)", "", rule).split(",")), rule


def test_names_are_text_wherever_they_stand(found):
    def rename(result):
        return dataclasses.replace(result, name=f"{result.name} {HOSTILE}")

    verdicts = {
        state: dataclasses.replace(
            verdict, **{name: rename(getattr(verdict, name)) for name in ("strongest", "sharpest", "identifies")}
        )
        for state, verdict in (("undefended", found.undefended), ("defended", found.defended))
    }
    attacks = tuple(map(rename, found.attacks))
    checks = (dataclasses.replace(found.checks[0], name=HOSTILE, passed=False), *found.checks[1:])
    settings = {**found.settings, "outputs": HOSTILE}
    bad = dataclasses.replace(found, dataset=HOSTILE, settings=settings, attacks=attacks, checks=checks, **verdicts)
    html = bad._repr_html_()
    piece = Piece(html)
    assert "script" not in piece.tags
    assert "<script" not in html.lower()
    assert piece.text.count(HOSTILE) > len(attacks) + 5
    assert f"What the answers in {HOSTILE} reveal about the training data" in piece.text
    assert "alert(" in repr(bad)


def test_made_up_data_and_smoke_tests_say_so(found):
    marked = dataclasses.replace(found, synthetic=True, smoke=True)
    text = Piece(marked._repr_html_()).text
    assert text.count("Do not quote these figures.") == 2
    assert "SYNTHETIC DATA, SMOKE TEST" in repr(marked)
    assert "Do not quote" not in Piece(found._repr_html_()).text


def test_repr_is_a_line_with_the_verdict_and_the_strongest_attacker(found, found_alone):
    for evaluation in (found, found_alone):
        text = repr(evaluation)
        assert len(text) < 400
        assert "\n" not in text
        assert repr(evaluation.dataset) in text
        states = [("undefended", evaluation.undefended)]
        states += [("behind the recorded defense", evaluation.defended)] if evaluation.defended else []
        for name, verdict in states:
            best = verdict.strongest
            assert f"{name}: {verdict.level}, strongest {best.name} ({best.knowledge}, {best.adversary})" in text
            interval = f"{rounded(verdict.strongest_low)}–{rounded(verdict.strongest_high)}"
            assert f"balanced accuracy {rounded(best.metrics.balanced_accuracy)} ({interval})" in text
        assert ("defense" in text) == (evaluation.defended is not None)


def test_repr_rounds_as_the_tables_do(found):
    metrics = dataclasses.replace(found.undefended.strongest.metrics, balanced_accuracy=0.8075, auc=0.5)
    best = dataclasses.replace(found.undefended.strongest, metrics=metrics)
    text = repr(dataclasses.replace(found, undefended=dataclasses.replace(found.undefended, strongest=best)))
    assert "balanced accuracy 0.808 (" in text  # as a binary number it is just below
    assert "AUC 0.500" in text


def test_comparison_and_contender_are_a_line(comparison):
    text = repr(comparison)
    assert text == (
        "Comparison('location'; 4 contenders: none, defenmi-published, top-k=3, label-smoothing=0.3)"
    )  # fmt: skip
    text = repr(comparison.contenders[1])
    assert text.startswith("Contender('defenmi-published': some, strongest mindarmour-lr (auditor, adaptive), ")
    assert len(text) < 200


def test_table_has_the_columns_and_figures_of_the_csv(evaluation_of_outputs, tmp_path):
    _, path, _ = write_results(evaluation_of_outputs, tmp_path)
    held = pandas.read_csv(path, keep_default_na=False, na_values=[""], float_precision="round_trip")
    table = evaluation_of_outputs.to_pandas()
    assert list(table.columns) == list(held.columns)
    assert len(table) == len(evaluation_of_outputs.attacks)
    pandas.testing.assert_frame_equal(table, held, check_exact=True, check_dtype=False)
    assert table["knowledge"].tolist() == [result.knowledge for result in evaluation_of_outputs.attacks]


def test_a_figure_that_is_not_defined_is_missing(evaluation):
    table = evaluation.to_pandas()
    assert table["precision"].isna().tolist() == [result.metrics.precision is None for result in evaluation.attacks]
    assert table["precision"].isna().any()
    assert table["auc"].dtype == float


def test_without_pandas_one_line_says_what_to_install(found, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'pandas<3'") as caught:
        found.to_pandas()
    assert "NumPy 2" in str(caught.value)
    assert "\n" not in str(caught.value)
