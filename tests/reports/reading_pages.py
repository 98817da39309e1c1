"""The kinds of results that there are, and the page that the report makes of one, as tests read it."""

import re
from html.parser import HTMLParser

from mindefense.reports.report import comparison_page, evaluation_page, write_report

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
VOID = {"meta", "link", "br", "img"}


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


def change(before, after, half):
    """What a results file says of a difference on the same rows."""
    difference = {"value": before - after, "low": before - after - 2 * half, "high": before - after + 2 * half}
    return {"accuracy": difference, "auc": difference}
