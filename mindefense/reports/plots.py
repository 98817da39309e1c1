"""Draws the pictures of a report from the values of a results file, so that they can be read without colors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import Bbox

from mindefense.reports.svg import BLUE, FAINT, GREEN, GRID, INK, PAPER, PURPLE, RED, SOFT, canvas
from mindefense.reports.wording import Row, called, percent

_STYLES = ((BLUE, "-"), (RED, "--"), (GREEN, "-."), (PURPLE, (0, (1, 1))))
_SHOWN_CLASSES = 24


def draw_scale(states: Sequence[tuple[str, Row]]) -> Figure:
    """How often the strongest attacker is right, undefended and behind the defense, from guessing (50%) to 100%.

    Args:
        states: Name and verdict of each.
    """
    with canvas(0.62 + 0.4 * len(states), left=0.24, bottom=0.5 / (0.62 + 0.4 * len(states)), top=0.95) as (
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
            ax.text(min(max(high, middle) + 0.012, 0.93), y - 0.24, percent(middle), color=INK, va="center", ha="left")
        ax.axvline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        low = min([0.5, *(verdict["strongest_low"] for _, verdict in states)])
        ax.set(
            xlim=(low - 0.01, 1.0),
            ylim=(len(states) - 0.5, -0.6),
            xlabel="share of guesses that are right (guessing: 50%)",
        )
        ax.set_yticks(range(len(states)), [name for name, _ in states])
        ax.xaxis.set_major_formatter(FuncFormatter(_percent))
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0, labelsize=9.5)
    return figure


def draw_roc(attacks: Sequence[Row], highlighted: Sequence[tuple[str, Row]]) -> Figure:
    """ROC curves on logarithmic axes.

    Args:
        attacks: All attackers on one state of the target that have points.
        highlighted: Those of them to highlight, with their names.
    """
    with canvas(4.1, left=0.14, bottom=0.125) as (figure, ax):
        least = min(_least_rate(attack) for attack in attacks)
        ax.plot([least, 1], [least, 1], color=SOFT, linewidth=1, linestyle=(0, (5, 4)))
        at = (least * 10) ** 0.5 * 0.1 if least < 0.01 else least * 2
        ax.annotate(
            "guessing", (at, at), xytext=(5, -5), textcoords="offset points", rotation=45, rotation_mode="anchor",
            color=SOFT, fontsize=8.5, va="top", ha="left", transform_rotates_text=True, zorder=3,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.85, "pad": 0.6},
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
        ax.set(xlabel="false positive rate (log)", ylabel="true positive rate (log)")
        ax.legend(
            loc="lower right", alignment="left", handlelength=2.6, labelspacing=0.3, borderaxespad=0.3, frameon=True,
            framealpha=0.85, facecolor=PAPER, edgecolor="none", fancybox=False,
        )  # fmt: skip
    return figure


def draw_confidences(histogram: Row, most: float) -> Figure:
    """Histograms of the confidence in the true class, of members and of non-members.

    Args:
        histogram: Counts of either kind in bins of equal width.
        most: The largest share on the axis, so that two pictures can be compared.
    """
    with canvas(3.3, left=0.165, bottom=0.155, top=0.91) as (figure, ax):
        members, others = shares(histogram["members"]), shares(histogram["non_members"])
        edges = np.linspace(0, 1, len(members) + 1)
        ax.stairs(members, edges, fill=True, color=BLUE, alpha=0.45, linewidth=0, label="members")
        ax.stairs(members, edges, color=BLUE, linewidth=1)
        ax.stairs(others, edges, color=RED, linestyle="--", linewidth=1.8, label="non-members", baseline=None)
        ax.set(xlim=(0, 1), ylim=(0, most * 1.08), xlabel="confidence in the true class", ylabel="share of each kind")
        ax.xaxis.set_major_formatter(FuncFormatter(_percent))
        ax.yaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, axis="y", linewidth=0.7)
        # Above the axes, at their left end: either end of them may be full of bars.
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, columnspacing=1.2)
    return figure


def draw_risks(edges: Sequence[float], share: np.ndarray, most: float) -> Figure:
    """A histogram of the separation of rows.

    Args:
        edges: Edges of the bins.
        share: Share of the rows in each bin.
        most: The largest share on the axis, so that two pictures can be compared.
    """
    with canvas(3.3, left=0.165, bottom=0.155, top=0.96) as (figure, ax):
        ax.stairs(share, edges, fill=True, color=BLUE, alpha=0.45, linewidth=0)
        ax.stairs(share, edges, color=BLUE, linewidth=1)
        label = "separation (standard deviations)"
        ax.set(xlim=(edges[0], edges[-1]), ylim=(0, most * 1.08), xlabel=label, ylabel="share of the rows")
        ax.yaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, axis="y", linewidth=0.7)
    return figure


def draw_targets(spreads: Sequence[tuple[str, Row]], label: str, *, share: bool) -> Figure:
    """One figure of attackers for every other target, and for the target itself.

    Args:
        spreads: Name and spread of each attacker.
        label: Name of the figure.
        share: Whether it is a share, shown in percent.
    """
    height = 0.85 + 0.24 * len(spreads)
    with canvas(height, left=0.4, bottom=0.47 / height, top=1 - 0.34 / height) as (figure, ax):
        for y, (_, spread) in enumerate(spreads):
            ax.hlines(y, spread["usual_low"], spread["usual_high"], color=GRID, linewidth=7)
            ax.plot(
                spread["values"], [y] * len(spread["values"]), "o", color=BLUE, markersize=4.5, markerfacecolor="none",
                label="other models" if not y else None,
            )  # fmt: skip
            ax.plot(spread["target"], y, "D", color=RED, markersize=5.5, label="this model" if not y else None)
        ax.plot([], [], color=GRID, linewidth=7, label="95% of such models")
        ax.set(ylim=(len(spreads) - 0.4, -0.6), xlabel=label)
        ax.set_yticks(range(len(spreads)), [name for name, _ in spreads])
        ax.tick_params(axis="y", length=0)
        if share:
            ax.xaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, axis="x", linewidth=0.7)
        ax.legend(
            loc="lower left", bbox_to_anchor=(-0.6, 1), ncols=3, borderaxespad=0, columnspacing=1.2, handletextpad=0.4
        )
    return figure


def draw_tradeoff(
    contenders: Sequence[Row],
    cost: Callable[[Row], float],
    label: str,
    *,
    log: bool = False,
    floor: float | None = None,
) -> Figure:
    """How often the strongest attacker is right behind each defense, over one cost, with the frontier.

    Args:
        contenders: Ways to defend, as a comparison file has them.
        cost: The cost of one.
        label: The name of the cost.
        log: Whether its axis is logarithmic.
        floor: How often the gap attack is right, if no defense here can lower that.
    """
    with canvas(4.3, left=0.155, bottom=0.12, top=0.885) as (figure, ax):
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
                x, y, marker, color=color, markersize=6.5, markerfacecolor=color if on else PAPER,
                gid=f"tip:{called(name)}", zorder=3 if on else 2,
            )  # fmt: skip
        xs, ys = zip(*(places[name] for name in frontier), strict=True)
        ax.step(xs, ys, where="post", color=BLUE, linewidth=1.2, alpha=0.7, zorder=1)
        lows = [c["verdict"]["strongest_low"] for c in contenders]
        highs = [c["verdict"]["strongest_high"] for c in contenders]
        ax.set_ylim(min([0.49, *(low - 0.01 for low in lows)]), min(1.01, max([*highs, floor or 0]) + 0.035))
        ax.margins(x=0.08)
        # The name of the floor is below it, where there are no points: the best defenses are on it.
        for height, name, dashes, up in ((0.5, "guessing", (5, 4), 1), (floor, "gap attack", (1, 2), -1)):
            if height is not None:
                ax.axhline(height, color=SOFT, linewidth=1, linestyle=(0, dashes), zorder=1)
                ax.text(0.995, height + 0.003 * up, name, color=SOFT, fontsize=8.5, ha="right",
                        va="bottom" if up > 0 else "top", transform=ax.get_yaxis_transform())  # fmt: skip
        for marker, color, face, name in (
            ("X", INK, INK, "undefended"),
            ("o", BLUE, BLUE, "answers changed"),
            ("s", GREEN, GREEN, "trained differently"),
            ("o", FAINT, PAPER, "not on the frontier"),
        ):
            kinds = {"X": "none" in places, "s": any(c["in_training"] for c in contenders)}
            if kinds.get(marker, True) and (face != PAPER or len(frontier) < len(places)):
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
        lines = [((places[c["name"]][0], low), (places[c["name"]][0], high)) for c, low, high in
                 zip(contenders, lows, highs, strict=True)]  # fmt: skip
        for (x, y), (next_x, next_y) in itertools.pairwise(places[name] for name in frontier):
            lines += [((x, y), (next_x, y)), ((next_x, next_y), (next_x, y))]
        named = {name: places[name] for name in frontier if name != "none"}  # which has its own marker
        _name_points(figure, ax, named, list(places.values()), lines)
    return figure


def draw_classes(states: Sequence[tuple[str, Row]]) -> Figure:
    """The sharpest attacker's AUC within each class; of many classes, those with the AUC furthest from 0.5.

    Args:
        states: Name and slices of each state of the target.
    """
    kept = shown_classes(states)
    height = 0.85 + 0.19 * len(kept)
    with canvas(height, left=0.2, bottom=0.47 / height, top=1 - 0.34 / height) as (figure, ax):
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
        ax.set(ylim=(len(kept) - 0.4, -0.6), xlim=(None, 1.02), xlabel="AUC within the class (guessing: 0.5)")
        ax.set_yticks(range(len(kept)), kept)
        ax.tick_params(axis="y", length=0)
        ax.grid(True, axis="x", linewidth=0.7)
        ax.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, columnspacing=1.2, handletextpad=0.1
        )
    return figure


def draw_budgets(budgets: Sequence[Row]) -> Figure:
    """The published attacker's accuracy over the L1 budget."""
    points = sorted(budgets, key=lambda point: point["budget"])
    with canvas(3.2, left=0.15, bottom=0.16) as (figure, ax):
        xs, ys = [point["budget"] for point in points], [point["accuracy"] for point in points]
        ax.plot(xs, ys, "o-", color=BLUE, markersize=5.5)
        for x, y in zip(xs, ys, strict=True):
            ax.annotate(percent(y), (x, y), xytext=(3, 6), textcoords="offset points", fontsize=8.5, color=INK)
        ax.axhline(0.5, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        ax.set(ylim=(min([0.48, *(y - 0.02 for y in ys)]), max(ys) + 0.05), xlim=(-0.03, max(xs) * 1.12 + 0.01))
        ax.yaxis.set_major_formatter(FuncFormatter(_percent))
        ax.grid(True, axis="y", linewidth=0.7)
        ax.set(xlabel="L1 budget (mean distance)", ylabel="nn attacker is right")
    return figure


def draw_averaging(lines: Mapping[str, Sequence[tuple[int, Row]]]) -> Figure:
    """AUC over the number of queries about each sample.

    Args:
        lines: Name of each line; its attackers with their numbers of queries, fewest first.
    """
    with canvas(3.2, left=0.14, bottom=0.16) as (figure, ax):
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
        ax.set(xlabel="queries about each sample", ylabel="AUC")
        ax.legend(loc="upper left", labelspacing=0.3, handlelength=2.6)
    return figure


def shares(counts: Sequence[int]) -> np.ndarray:
    """Counts as shares of their sum."""
    return np.asarray(counts) / max(sum(counts), 1)


def frontier_of(places: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names of the points on the frontier, the cheapest first; each leaks less than all cheaper points.

    Example:
        >>> frontier_of({"a": (0.0, 0.9), "b": (1.0, 0.7), "c": (2.0, 0.8)})
        ['a', 'b']
    """
    kept: list[str] = []
    for name, (_, leak) in sorted(places.items(), key=lambda item: item[1]):
        if not kept or leak < places[kept[-1]][1]:
            kept.append(name)
    return kept


def shown_classes(states: Sequence[tuple[str, Row]]) -> list[str]:
    """The classes whose AUC is furthest from 0.5 in the first state, the furthest first, at most 24."""
    parts = [part for part in states[0][1]["parts"] if part["by"] == "class" and part["auc"] is not None]
    return [part["part"] for part in sorted(parts, key=lambda part: -abs(part["auc"] - 0.5))[:_SHOWN_CLASSES]]


def _curve(
    ax: Axes, attack: Row, least: float, *, color: str, linestyle: Any, linewidth: float = 1.7, label: str = ""
) -> None:
    """The curve of one attacker, in steps: between two kept points, its true positive rate does not rise."""
    fpr = np.asarray(attack["roc"]["false_alarms"]) / attack["n_non_members"]
    tpr = np.asarray(attack["roc"]["found"]) / attack["n_members"]
    who = f"{attack['name']} ({attack['knowledge']}, {attack['adversary']})"
    ax.plot(
        np.maximum(fpr, least / 2), np.maximum(tpr, least / 2), drawstyle="steps-post", color=color,
        linestyle=linestyle, linewidth=linewidth, label=label or None, gid=f"tip:{who}",
    )  # fmt: skip


def _least_rate(attack: Row) -> float:
    """The rate of a single false positive, rounded down to a power of ten."""
    return 10.0 ** np.floor(np.log10(1 / max(attack["n_non_members"], 10)) + 1e-9)


def _name_points(
    figure: Figure,
    ax: Axes,
    points: Mapping[str, tuple[float, float]],
    others: Sequence[tuple[float, float]],
    lines: Sequence[tuple[tuple[float, float], tuple[float, float]]],
) -> None:
    """Writes names beside points, each where it covers the fewest other names, points and lines.

    Args:
        figure: The picture.
        ax: Its axes, with final limits.
        points: Names and positions.
        others: All points.
        lines: Lower left and upper right end of each vertical or horizontal line.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = ax.transData.transform(np.asarray(others, float))
    drawn = [Bbox(ax.transData.transform(line)) for line in lines]
    frame = ax.get_window_extent(renderer)
    taken: list[Bbox] = []

    def burden(box: Bbox) -> float:
        outside = box.x0 < frame.x0 or box.x1 > frame.x1 + 6 or box.y1 > frame.y1 or box.y0 < frame.y0
        covered = sum(box.overlaps(other) for other in taken)
        hidden = sum(bool(box.contains(x, y)) for x, y in pixels)
        crossed = sum(box.overlaps(line) for line in drawn)
        return 9 * outside + 9 * covered + 3 * hidden + crossed

    rings = [(turn, far) for far in (13, 22, 33, 46) for turn in range(0, 360, 20)]
    for name, place in points.items():
        leader = {"arrowstyle": "-", "color": SOFT, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 3}
        text = ax.annotate(name, place, xytext=(0, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK,
                           arrowprops=leader)  # fmt: skip
        size = Text.get_window_extent(text, renderer)  # of the name without its line, measured once: it is slow
        middle = ax.transData.transform(place)
        tried = []
        for turn, far in rings:
            offset = far * np.cos(np.radians(turn)), far * np.sin(np.radians(turn))
            side = "center" if abs(offset[0]) < far / 3 else "left" if offset[0] > 0 else "right"
            left, bottom = middle + np.multiply(offset, figure.dpi / 72)
            left -= size.width * {"left": 0.0, "center": 0.5, "right": 1.0}[side]
            box = Bbox.from_bounds(left, bottom - size.height / 2, size.width, size.height).padded(2)
            tried.append((burden(box) + far / 40, offset, side, box))
        _, offset, side, box = min(tried, key=lambda one: one[0])
        text.set(position=offset, ha=side)
        taken.append(box)


def _percent(tick: float, _: int = 0) -> str:
    return f"{tick * 100:.4g}%"
