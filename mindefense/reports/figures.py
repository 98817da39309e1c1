"""The pictures of a report: matplotlib figures from the values of a results file, and their bytes.

Colors are roles: a page that shows the inline SVG says what each looks like, in the light and in the dark. Nothing
tells two things apart by color alone; line styles, markers and filling say the same.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

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
"""What stands in the page's style sheet as ``--ink`` and so on; the values here are those of the light."""

_WIDTH = 4.7
"""Inches of every picture: on a phone a point is then about a pixel, on a desk a little more."""
_STYLES = ((BLUE, "-"), (RED, "--"), (GREEN, "-."), (PURPLE, (0, (1, 1))))
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: smaller, searchable, in the page's own font
    "text.parse_math": False,  # names come from files; a dollar sign is a dollar sign
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
_SHOWN_CLASSES = 24
_Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of a report.

    Attributes:
        name: Of its files, and in the page; unique within a report.
        title: What it is of, in a few words.
        alt: What it shows, for those who do not see it.
        figure: The picture.
    """

    name: str
    title: str
    alt: str
    figure: Figure = dataclasses.field(repr=False)

    def inline(self) -> Markup:
        """An ``<svg>`` for a page: takes its colors and font from there, has a name, and no id of another picture."""
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
        """A file of its own; the same bytes for the same values."""
        return self._saved("svg", facecolor=background, metadata={"Date": None, "Creator": None})

    def png(self) -> bytes:
        """Likewise, about 940 pixels wide."""
        return self._saved("png", facecolor=PAPER, dpi=200, metadata={"Software": None})

    def _saved(self, kind: str, **options: Any) -> bytes:
        stream = io.BytesIO()
        with _quiet(), matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": self.name}):
            self.figure.savefig(stream, format=kind, **options)
        return stream.getvalue()


def draw_scale(states: Sequence[tuple[str, _Row]]) -> Figure:
    """How often the strongest attacker is right, before and behind the defense, between a coin and always.

    Args:
        states: Name and verdict of each.
    """
    with _canvas(0.62 + 0.4 * len(states), left=0.24, bottom=0.5 / (0.62 + 0.4 * len(states)), top=0.95) as (
        figure,
        ax,
    ):
        for y, (_, verdict) in enumerate(states):
            color, marker = ((BLUE, "o"), (RED, "D"))[y]
            low, high = verdict["strongest_low"], verdict["strongest_high"]
            middle = verdict["strongest_balanced_accuracy"]
            ax.hlines(y, 0.5, middle, color=GRID, linewidth=7)
            ax.hlines(y, low, high, color=color, linewidth=2)
            ax.plot(middle, y, marker, color=color, markersize=7)
            ax.text(min(max(high, middle) + 0.012, 0.93), y - 0.24, f"{middle:.1%}", color=INK, va="center", ha="left")
        ax.axvline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        low = min([0.5, *(verdict["strongest_low"] for _, verdict in states)])
        ax.set(xlim=(low - 0.01, 1.0), ylim=(len(states) - 0.5, -0.6), xlabel="right, of all calls (a coin: 50%)")
        ax.set_yticks(range(len(states)), [name for name, _ in states])
        ax.xaxis.set_major_formatter(FuncFormatter(_percent))
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0, labelsize=9.5)
    return figure


def draw_roc(attacks: Sequence[_Row], highlighted: Sequence[tuple[str, _Row]]) -> Figure:
    """ROC curves on logarithmic axes.

    Args:
        attacks: All attackers on one state of the target that have points.
        highlighted: Those of them to tell apart, with what to call them.
    """
    with _canvas(4.1, left=0.14, bottom=0.125) as (figure, ax):
        least = min(_least_rate(attack) for attack in attacks)
        ax.plot([least, 1], [least, 1], color=SOFT, linewidth=1, linestyle=(0, (5, 4)))
        at = (least * 10) ** 0.5 * 0.1 if least < 0.01 else least * 2
        ax.annotate(
            "a coin", (at, at), xytext=(5, -5), textcoords="offset points", rotation=45, rotation_mode="anchor",
            color=SOFT, fontsize=8.5, va="top", ha="left", transform_rotates_text=True,
        )  # fmt: skip
        chosen = [id(attack) for _, attack in highlighted]
        for attack in attacks:
            if id(attack) not in chosen:
                dashes = (0, (3, 1.5)) if attack["adversary"] == "adaptive" else "-"
                _curve(ax, attack, least, color=FAINT, linewidth=0.8, linestyle=dashes)
        for (name, attack), (color, style) in zip(highlighted, _STYLES, strict=False):
            _curve(ax, attack, least, color=color, linestyle=style, label=name)
        others = len(attacks) - len(highlighted)
        if others > 0:
            ax.plot([], [], color=FAINT, linewidth=0.8, label=f"{others} other{'s' if others > 1 else ''}")
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set(xlim=(least, 1), ylim=(least, 1.08))
        decades = [10.0**power for power in range(round(np.floor(np.log10(least))), 1) if 10.0**power >= least * 0.999]
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(FixedLocator(decades))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, linewidth=0.7)
        ax.set(xlabel="non-members falsely named (log)", ylabel="members named (log)")
        ax.legend(
            loc="lower right", handlelength=2.6, labelspacing=0.3, borderaxespad=0.3, frameon=True, framealpha=0.85,
            facecolor=PAPER, edgecolor="none", fancybox=False,
        )  # fmt: skip
    return figure


def draw_confidences(histogram: _Row, most: float) -> Figure:
    """How sure the target is of the true class, members against non-members.

    Args:
        histogram: Counts of either kind in bins of equal width.
        most: The largest share on the axis, so that two pictures can be compared.
    """
    with _canvas(3.3, left=0.165, bottom=0.155) as (figure, ax):
        members, others = shares(histogram["members"]), shares(histogram["non_members"])
        edges = np.linspace(0, 1, len(members) + 1)
        ax.stairs(members, edges, fill=True, color=BLUE, alpha=0.45, linewidth=0, label="members")
        ax.stairs(members, edges, color=BLUE, linewidth=1)
        ax.stairs(others, edges, color=RED, linestyle="--", linewidth=1.8, label="non-members", baseline=None)
        ax.set(xlim=(0, 1), ylim=(0, most * 1.08), xlabel="confidence in the true class", ylabel="share of each kind")
        ax.xaxis.set_major_formatter(FuncFormatter(_percent))
        ax.yaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, axis="y", linewidth=0.7)
        ax.legend(loc="upper center")
    return figure


def draw_tradeoff(
    contenders: Sequence[_Row], cost: Callable[[_Row], float], label: str, *, log: bool = False
) -> Figure:
    """What each defense leaves to the strongest attacker, over one of its costs, with the frontier.

    Args:
        contenders: Ways to defend, as a comparison file has them.
        cost: The cost of one.
        label: What the cost is called.
        log: Whether its axis is logarithmic.
    """
    with _canvas(4.3, left=0.155, bottom=0.12, top=0.885) as (figure, ax):
        places = {c["name"]: (cost(c), c["verdict"]["strongest_balanced_accuracy"]) for c in contenders}
        frontier = frontier_of(places)
        if log:
            ax.set_xscale("log")
        for contender in contenders:
            name = contender["name"]
            x, y = places[name]
            verdict = contender["verdict"]
            on = name in frontier
            color = (GREEN if contender["in_training"] else INK if name == "none" else BLUE) if on else FAINT
            marker = "s" if contender["in_training"] else "X" if name == "none" else "o"
            ax.vlines(x, verdict["strongest_low"], verdict["strongest_high"], color=color if on else GRID, linewidth=1)
            ax.plot(
                x, y, marker, color=color, markersize=6.5, markerfacecolor=color if on else PAPER, gid=f"tip:{name}",
                zorder=3 if on else 2,
            )  # fmt: skip
        xs, ys = zip(*(places[name] for name in frontier), strict=True)
        ax.step(xs, ys, where="post", color=BLUE, linewidth=1.2, alpha=0.7, zorder=1)
        lows = [c["verdict"]["strongest_low"] for c in contenders]
        highs = [c["verdict"]["strongest_high"] for c in contenders]
        ax.set_ylim(min([0.49, *(low - 0.01 for low in lows)]), min(1.01, max(highs) + 0.035))
        ax.margins(x=0.08)
        ax.axhline(0.5, color=SOFT, linewidth=1, linestyle=(0, (5, 4)))
        ax.text(
            0.995,
            0.503,
            "a coin",
            color=SOFT,
            fontsize=8.5,
            ha="right",
            va="bottom",
            transform=ax.get_yaxis_transform(),
        )
        for marker, color, face, name in (
            ("X", INK, INK, "undefended"),
            ("o", BLUE, BLUE, "answers reshaped"),
            ("s", GREEN, GREEN, "trained otherwise"),
            ("o", FAINT, PAPER, "leaks no less, costs more"),
        ):
            kinds = {"X": "none" in places, "s": any(c["in_training"] for c in contenders)}
            if kinds.get(marker, True):
                ax.plot([], [], marker, color=color, markerfacecolor=face, markersize=5.5, label=name)
        if log:
            ax.xaxis.set_minor_locator(NullLocator())
            low, high = ax.get_xlim()
            ticks = [tick for tick in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 50) if low <= tick <= high]
            ax.xaxis.set_major_locator(FixedLocator(ticks))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        ax.yaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, linewidth=0.7)
        ax.set(xlabel=label, ylabel="strongest attacker is right")
        ax.legend(
            loc="lower left", bbox_to_anchor=(-0.03, 1.0), ncols=2, labelspacing=0.25, handletextpad=0, columnspacing=1,
            borderaxespad=0.2,
        )  # fmt: skip
        bars = [(places[c["name"]][0], low, high) for c, low, high in zip(contenders, lows, highs, strict=True)]
        _name_points(figure, ax, {name: places[name] for name in frontier}, list(places.values()), bars)
    return figure


def draw_classes(states: Sequence[tuple[str, _Row]]) -> Figure:
    """The sharpest attacker's AUC within each class; of many classes those with the highest.

    Args:
        states: Name and slices of each state of the target.
    """
    kept = shown_classes(states)
    height = 0.85 + 0.19 * len(kept)
    with _canvas(height, left=0.2, bottom=0.47 / height, top=1 - 0.34 / height) as (figure, ax):
        places = {part: y for y, part in enumerate(kept)}
        for number, (name, slices) in enumerate(states):
            color, marker = ((BLUE, "o"), (RED, "D"))[number]
            shift = (number - (len(states) - 1) / 2) * 0.36
            parts = [part for part in slices["parts"] if part["by"] == "class" and part["part"] in places]
            parts = [part for part in parts if part["auc"] is not None]
            ys = [places[part["part"]] + shift for part in parts]
            ax.hlines(ys, [part["low"] for part in parts], [part["high"] for part in parts], color=color, linewidth=1)
            ax.plot([part["auc"] for part in parts], ys, marker, color=color, markersize=4.2, label=name,
                    markerfacecolor=color if number == 0 else PAPER)  # fmt: skip
        ax.axvline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ax.set(ylim=(len(kept) - 0.4, -0.6), xlim=(None, 1.02), xlabel="AUC within the class (a coin: 0.5)")
        ax.set_yticks(range(len(kept)), kept)
        ax.tick_params(axis="y", length=0)
        ax.grid(True, axis="x", linewidth=0.7)
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, columnspacing=1.2, handletextpad=0.1
        )
    return figure


def draw_budgets(budgets: Sequence[_Row]) -> Figure:
    """The published attacker's accuracy over the distance that answers may be moved."""
    points = sorted(budgets, key=lambda point: point["budget"])
    with _canvas(3.2, left=0.15, bottom=0.16) as (figure, ax):
        xs, ys = [point["budget"] for point in points], [point["accuracy"] for point in points]
        ax.plot(xs, ys, "o-", color=BLUE, markersize=5.5)
        for x, y in zip(xs, ys, strict=True):
            ax.annotate(f"{y:.1%}", (x, y), xytext=(3, 6), textcoords="offset points", fontsize=8.5, color=INK)
        ax.axhline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ax.set(ylim=(min([0.48, *(y - 0.02 for y in ys)]), max(ys) + 0.05), xlim=(-0.03, max(xs) * 1.12 + 0.01))
        ax.yaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, axis="y", linewidth=0.7)
        ax.set(xlabel="L1 distance that may be spent on average", ylabel="nn attacker is right")
    return figure


def draw_averaging(lines: Mapping[str, Sequence[tuple[int, _Row]]]) -> Figure:
    """AUC over how often the attacker asks about the same sample.

    Args:
        lines: By what to call it, each attacker with the number of questions, fewest first.
    """
    with _canvas(3.2, left=0.14, bottom=0.16) as (figure, ax):
        for number, (name, points) in enumerate(lines.items()):
            color, style = _STYLES[number % len(_STYLES)]
            xs = np.array([asked for asked, _ in points]) * 1.05 ** (number - (len(lines) - 1) / 2)
            metrics = [attack for _, attack in points]
            ax.vlines(xs, [m["auc_low"] for m in metrics], [m["auc_high"] for m in metrics], color=color, linewidth=1)
            ax.plot(xs, [m["auc"] for m in metrics], "oDs^"[number % 4], linestyle=style, color=color, markersize=5.5,
                    label=name)  # fmt: skip
        every = sorted({asked for points in lines.values() for asked, _ in points})
        highs = [attack["auc_high"] for points in lines.values() for _, attack in points]
        lows = [attack["auc_low"] for points in lines.values() for _, attack in points]
        ax.set_xscale("log", base=2)
        ax.set(
            xlim=(every[0] / 1.3, every[-1] * 1.3), ylim=(min([0.48, *(low - 0.02 for low in lows)]), max(highs) + 0.16)
        )
        ax.xaxis.set_major_locator(FixedLocator(every))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda tick, _: f"{tick:g}"))
        ax.axhline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ax.grid(True, axis="y", linewidth=0.7)
        ax.set(xlabel="questions about each sample", ylabel="AUC")
        ax.legend(loc="upper left", labelspacing=0.3, handlelength=2.6)
    return figure


def shares(counts: Sequence[int]) -> np.ndarray:
    """Counts as shares of their sum."""
    return np.asarray(counts) / max(sum(counts), 1)


def frontier_of(places: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of those that nobody beats in cost without leaking more, the cheapest first.

    Example:
        >>> frontier_of({"a": (0.0, 0.9), "b": (1.0, 0.7), "c": (2.0, 0.8)})
        ['a', 'b']
    """
    kept: list[str] = []
    for name, (_, leak) in sorted(places.items(), key=lambda item: item[1]):
        if not kept or leak < places[kept[-1]][1]:
            kept.append(name)
    return kept


def shown_classes(states: Sequence[tuple[str, _Row]]) -> list[str]:
    """The classes whose AUC is highest in the first state, highest first, at most 24."""
    parts = [part for part in states[0][1]["parts"] if part["by"] == "class" and part["auc"] is not None]
    return [part["part"] for part in sorted(parts, key=lambda part: -part["auc"])[:_SHOWN_CLASSES]]


@contextlib.contextmanager
def _canvas(height: float, *, left: float, bottom: float, top: float = 0.975) -> Iterator[tuple[Figure, Axes]]:
    with _quiet(), matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, height))
        figure.subplots_adjust(left=left, bottom=bottom, right=0.95, top=top)
        yield figure, figure.subplots()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Names in scripts that matplotlib's font lacks are no news: the page has fonts of its own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        yield


def _curve(
    ax: Axes, attack: _Row, least: float, *, color: str, linestyle: Any, linewidth: float = 1.7, label: str = ""
) -> None:
    """One attacker: from one kept point to the next it finds no more, so the curve is a staircase."""
    fpr = np.asarray(attack["roc"]["false_alarms"]) / attack["n_non_members"]
    tpr = np.asarray(attack["roc"]["found"]) / attack["n_members"]
    who = f"{attack['name']} ({attack['knowledge']}, {attack['adversary']})"
    ax.plot(
        np.maximum(fpr, least / 2), np.maximum(tpr, least / 2), drawstyle="steps-post", color=color,
        linestyle=linestyle, linewidth=linewidth, label=label or None, gid=f"tip:{who}",
    )  # fmt: skip


def _least_rate(attack: _Row) -> float:
    """The rate of a single false alarm, down to a whole power of ten."""
    return 10.0 ** np.floor(np.log10(1 / max(attack["n_non_members"], 10)) + 1e-9)


def _name_points(
    figure: Figure,
    ax: Axes,
    points: Mapping[str, tuple[float, float]],
    others: Sequence[tuple[float, float]],
    bars: Sequence[tuple[float, float, float]],
) -> None:
    """Writes names beside points, each where it covers least of other names, points and bars.

    Args:
        figure: The picture.
        ax: Its axes, with limits that stay.
        points: What to name, and where it is.
        others: All points.
        bars: Horizontal place, lower and upper end of each interval.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = ax.transData.transform(np.asarray(others, float))
    lines = [ax.transData.transform([(x, low), (x, high)]) for x, low, high in bars]
    frame = ax.get_window_extent(renderer)
    taken: list[Any] = []

    def extent(text: Annotation):
        text.update_positions(renderer)
        return Text.get_window_extent(text, renderer).padded(2)  # without its line

    rings = [(turn, far) for far in (13, 22, 33, 46) for turn in range(0, 360, 20)]
    for name, place in points.items():

        def write(turn: int, far: int, name: str = name, place: tuple[float, float] = place):
            x, y = far * np.cos(np.radians(turn)), far * np.sin(np.radians(turn))
            side = "center" if abs(x) < far / 3 else "left" if x > 0 else "right"
            leader = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}
            return ax.annotate(name, place, xytext=(x, y), textcoords="offset points", ha=side, va="center",
                               fontsize=8.5, color=INK, arrowprops=leader)  # fmt: skip

        def burden(turn: int, far: int) -> float:
            text = write(turn, far)
            box = extent(text)
            text.remove()
            outside = box.x0 < frame.x0 or box.x1 > frame.x1 + 6 or box.y1 > frame.y1 or box.y0 < frame.y0
            covered = sum(box.overlaps(other) for other in taken)
            hidden = sum(bool(box.contains(x, y)) for x, y in pixels)
            crossed = sum(
                box.x0 < line[0, 0] < box.x1 and box.y0 < line[1, 1] and line[0, 1] < box.y1 for line in lines
            )
            return 9 * outside + 9 * covered + 3 * hidden + crossed + far / 40

        text = write(*min(rings, key=lambda ring: burden(*ring)))
        taken.append(extent(text))


def _percent(tick: float, _: int = 0) -> str:
    return f"{tick * 100:.4g}%"
