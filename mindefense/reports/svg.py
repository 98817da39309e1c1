"""A picture of a report: matplotlib's figure, its colors and fonts, and its bytes, inline or in a file.

Colors are roles: the page that shows the inline SVG defines the color of each role, for the light and the dark scheme.
Two things never differ by color alone; line styles, markers or filling differ too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT, GRID, FAINT, PAPER = "#1d2127", "#5b6470", "#e1e5ea", "#a7afb9", "#ffffff"
BLUE, RED, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"  # Okabe and Ito, color-blind-safe
ROLES = {
    "ink": INK,
    "soft": SOFT,
    "grid": GRID,
    "faint": FAINT,
    "paper": PAPER,
    "blue": BLUE,
    "red": RED,
    "green": GREEN,
    "purple": PURPLE,
}
"""Variables of the page's style sheet, ``--ink`` and so on, with the values of the light scheme."""

_WIDTH = 4.7
"""Width of every picture in inches: a point is then about a pixel on a phone, and a little more on a desktop."""
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's own font
    "text.parse_math": False,  # names come from files, and may contain a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": FAINT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "grid.color": GRID,
    "hatch.color": RED,
    "lines.linewidth": 1.7,
    "figure.facecolor": "none",
}


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes:
        name: Name of its files and of its element in the page; unique within a report.
        title: A short title.
        alt: A description for readers who cannot see it.
        figure: The picture.
    """

    name: str
    title: str
    alt: str
    figure: Figure = dataclasses.field(repr=False)

    def inline(self) -> Markup:
        """An ``<svg>`` for a page: has the page's colors and font, a title, and no id of another picture."""
        with _quiet():
            text = self.svg("none").decode()
        text = text[text.index("<svg") :]
        text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
        text = re.sub(r'<g id="tip:([^"]*)">', r"<g><title>\1</title>", text)
        used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
        text = re.sub(r' id="([^"]*)"', lambda at: f' id="{self.name}-{at[1]}"' if at[1] in used else "", text)
        text = text.replace("xlink:href", "href")
        text = re.sub(r'(url\(|href=")#', rf"\1#{self.name}-", text)
        text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
        text = re.sub(r"(font: )([0-9.]+px) [^;\"]+", r"font-size: \2", text)
        for role, color in ROLES.items():
            text = text.replace(color, f"var(--{role})")
        box = re.search(r'viewBox="[^"]*"', text)
        assert box is not None
        head = (
            f'<svg {box[0]} role="img" aria-labelledby="{self.name}-title {self.name}-alt">'
            f'<title id="{self.name}-title">{escape(self.title)}</title>'
            f'<desc id="{self.name}-alt">{escape(self.alt)}</desc>'
        )
        text = re.sub(r"\s*\n\s*", "\n", text[text.index(">") + 1 :])
        return Markup(head + text.strip())

    def svg(self, background: str = PAPER) -> bytes:
        """The picture as an SVG file; the same values give the same bytes."""
        return self._saved("svg", facecolor=background, metadata={"Date": None, "Creator": None})

    def png(self) -> bytes:
        """The picture as a PNG file, about 940 pixels wide; the same values give the same bytes."""
        return self._saved("png", facecolor=PAPER, dpi=200, metadata={"Software": None})

    def _saved(self, kind: str, **options: Any) -> bytes:
        stream = io.BytesIO()
        with _quiet(), matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": self.name}):
            self.figure.savefig(stream, format=kind, **options)
        return stream.getvalue()


@contextlib.contextmanager
def canvas(height: float, *, left: float, bottom: float, top: float = 0.975) -> Iterator[tuple[Figure, Axes]]:
    """A figure of `height` inches in the common width and style, with margins as shares of it."""
    with _quiet(), matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, height))
        figure.subplots_adjust(left=left, bottom=bottom, right=0.95, top=top)
        yield figure, figure.subplots()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppresses warnings about characters that matplotlib's font lacks: the page uses its own fonts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield
