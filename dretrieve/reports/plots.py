"""Figures as SVG text: the same bytes for the same numbers, readable without colour.

Lines differ by dash, marker and grey, bars by hatching. No date, no random ids are in the files.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError

# Of groups of points, told apart by eyes of every kind (Okabe and Ito 2008), each with a marker of its own.
HUES = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9")
MOST_GROUPS = 12  # with a colour and a name of their own
INK, ACCENT, PALE = "#1a1a1a", "#0b4f8a", "#d9d9d9"
TONES = (INK, ACCENT, "#6b6b6b", "#2f7fc1", "#969696")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (9, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")
MOST_IN_A_PANEL = 6
MOST_TICKS = 8  # more values than these along x get round ticks of their own
WIDEST_LEVEL = 9  # characters of a column's name that is not turned
MOST_NUMBERED = 16  # columns of a heat map with numbers in its cells
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a run's name may hold dollar signs
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "svg.fonttype": "path",
    "svg.hashsalt": "dretrieve",
    "xtick.color": INK,
    "ytick.color": INK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a plot: its name and its points, with an optional 95 % interval ([points, 2])."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    interval: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """The words around a plot."""

    title: str = ""
    x: str = ""
    y: str = ""
    log_x: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One row over two numbers, with the spread of the second."""

    name: str
    x: float
    y: float
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperPoint:
    """One row in one panel of `paper_and_ours`."""

    name: str
    paper: float | None
    ours: float | None


@contextmanager
def drawing(width: float, height: float, columns: int = 1) -> Iterator[tuple[Any, list[Any]]]:
    """Yield a figure and its axes (side by side, sharing the rows), in our style whatever the user's is.

    Raises:
        PreconditionError: matplotlib is not installed.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise PreconditionError("plots need matplotlib; install it: pip install matplotlib") from None
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure, list(figure.subplots(1, columns, squeeze=False)[0])


def svg_text(figure: Any, about: str) -> str:
    """Return the SVG element without prologue, scaled to its container, with a text for screen readers."""
    buffer = io.StringIO()
    # `savefig` would draw it twice, once to lay it out; so it is laid out while it is drawn.
    figure.canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    safe = about.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{safe}" ', 1)


def lines(curves: Sequence[Line], axes: Axes) -> str:
    """Return a few curves over a common x axis; each is named at its right end."""
    with drawing(6.3, 3.4) as (figure, (plot,)):
        for number, curve in enumerate(curves):
            _draw(plot, number, curve)
        _frame(plot, axes, _all_x(curves))
        plot.set_ylabel(axes.y)
        _name_ends(plot, curves)
        return svg_text(figure, _spoken(axes, _ends(curves)))


def panels(curves: Sequence[Line], axes: Axes) -> str:
    """Return many curves: at most `MOST_IN_A_PANEL` in a panel with its legend, all over the same axes.

    The axes are the same for every panel; their title is only spoken. An interval is drawn as a band.
    """
    size = math.ceil(len(curves) / math.ceil(len(curves) / MOST_IN_A_PANEL))
    parts = [curves[start : start + size] for start in range(0, len(curves), size)]
    bands = [curve.interval.ravel() for curve in curves if curve.interval is not None]
    values = np.concatenate([*(curve.y for curve in curves), *bands])
    room = 0.04 * (float(np.ptp(values)) or 1.0)
    width, height = min(10.0, 1.0 + 3.4 * len(parts)), 2.9 + 0.19 * size
    with drawing(width, height, columns=len(parts)) as (figure, plots):
        for plot, part in zip(plots, parts, strict=True):
            for number, curve in enumerate(part):
                _draw(plot, number, curve)
            plot.set_ylim(values.min() - room, values.max() + room)
            _frame(plot, axes, _all_x(curves))
            plot.tick_params(axis="y", labelleft=plot is plots[0])
            below = (-0.02, -0.17)
            plot.legend(loc="upper left", bbox_to_anchor=below, frameon=False, fontsize=8, handlelength=4.2)
        plots[0].set_ylabel(axes.y)
        return svg_text(figure, _spoken(axes, _ends(curves)))


def dots(points: Sequence[Dot], axes: Axes) -> str:
    """Return rows as points, each with a marker of its own, whiskers for the spread."""
    with drawing(6.3, 3.2 + 0.12 * len(points)) as (figure, (plot,)):
        for number, point in enumerate(points):
            plot.errorbar(
                [point.x],
                [point.y],
                yerr=[point.spread] if point.spread else None,
                fmt=MARKERS[number % len(MARKERS)],
                color=INK,
                # Every second round of markers is filled: rows differ without colour.
                markerfacecolor="white" if (number // len(MARKERS)) % 2 == 0 else INK,
                markersize=6.5,
                elinewidth=1.0,
                capsize=3,
                label=point.name,
                zorder=3,
            )
        _frame(plot, axes, [])
        plot.grid(axis="x", zorder=0)
        plot.set_ylabel(axes.y)
        plot.margins(x=0.12, y=0.12)
        plot.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
        return svg_text(
            figure, _spoken(axes, [f"{point.name} {point.x:g} {point.y:.3g}" for point in points])
        )


def bars(
    names: Sequence[str], values: Sequence[float], axes: Axes, intervals: NDArray[np.float64] | None = None
) -> str:
    """Return one horizontal bar for each row, the first at the top, its value written at its end.

    Args:
        names: [rows].
        values: [rows].
        axes: ``x`` names what is measured.
        intervals: [rows, 2], drawn as whiskers.
    """
    height = 0.55 + 0.42 * len(names)
    with drawing(6.3, height) as (figure, (plot,)):
        places = np.arange(len(names))[::-1]
        for place, value, number in zip(places, values, range(len(names)), strict=True):
            plot.barh(
                place,
                value,
                height=0.62,
                color="white",
                edgecolor=INK,
                linewidth=0.9,
                zorder=2,
                hatch=HATCHES[number % len(HATCHES)],
            )
        reach = list(values)
        if intervals is not None:
            below, above = np.array(values) - intervals[:, 0], intervals[:, 1] - np.array(values)
            plot.errorbar(
                values,
                places,
                xerr=np.maximum(0, [below, above]),
                fmt="none",
                ecolor=ACCENT,
                elinewidth=1.6,
                capsize=3,
                zorder=4,
            )
            reach = intervals[:, 1].tolist()
        room = 0.015 * max(reach, default=1.0)
        for place, value, end in zip(places, values, reach, strict=True):
            plot.text(max(value, end) + room, place, f"{value:.3f}", va="center", ha="left", zorder=5)
        plot.set_yticks(places, names)
        plot.tick_params(axis="y", length=0)
        plot.set_xlim(min([0, *values]) * 1.12, max(reach, default=1.0) * 1.12)
        plot.spines["left"].set_visible(False)
        plot.grid(axis="x", zorder=0)
        plot.set_axisbelow(True)
        plot.set_xlabel(axes.x)
        return svg_text(figure, _spoken(axes, [f"{n} {v:.3f}" for n, v in zip(names, values, strict=True)]))


def heat_map(
    panels: Mapping[str, NDArray[np.float64]], rows: Sequence[str], columns: Sequence[str], about: str
) -> str:
    """Return the map as SVG: white is 0, black is 1.

    The panels hold [rows, columns]; ``about`` is what the shares are, for the text that is spoken.
    """
    from matplotlib.patches import Rectangle

    cell = 0.62 if len(columns) <= MOST_NUMBERED else 0.16
    width = min(12.0, 1.1 + len(panels) * (0.3 + cell * len(columns)))
    with drawing(width, 0.95 + 0.34 * len(rows), columns=len(panels)) as (figure, plots):
        for plot, (title, values) in zip(plots, panels.items(), strict=True):
            for (row, column), value in np.ndenumerate(values):
                tone = str(round(1.0 - float(value), 3))
                place = (column - 0.5, row - 0.5)
                plot.add_patch(Rectangle(place, 1, 1, facecolor=tone, edgecolor=INK, linewidth=0.6))
                if len(columns) <= MOST_NUMBERED:
                    colour = "white" if value > 0.5 else INK
                    plot.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour)
            plot.set_xlim(-0.5, len(columns) - 0.5)
            plot.set_ylim(len(rows) - 0.5, -0.5)
            every = max(1, len(columns) // MOST_NUMBERED)
            turned = {"rotation": 30, "ha": "right"} if max(map(len, columns)) > WIDEST_LEVEL else {}
            plot.set_xticks(range(0, len(columns), every), list(columns[::every]), **turned)
            plot.set_yticks(range(len(rows)), list(rows))
            plot.tick_params(length=0, labelleft=plot is plots[0])
            plot.set_title(title)
            for spine in plot.spines.values():
                spine.set_visible(False)
        spoken = [
            f"{title}, {name}: "
            + ", ".join(
                f"{column} {100 * value:.0f} percent" for column, value in zip(columns, row, strict=True)
            )
            for title, values in panels.items()
            for row, name in zip(values, rows, strict=True)
        ]
        return svg_text(figure, f"{about}: {'; '.join(spoken)}")


def neighbours(
    panels: Mapping[str, NDArray[np.float64]],
    groups: Mapping[str, NDArray[np.int64]],
    marked: NDArray[np.int64],
    about: str,
) -> str:
    """Return a query among its passages in two dimensions, panels from left to right.

    Each group has a colour and a marker; beyond the `MOST_GROUPS` largest they share one. Groups of points
    have the ids ``points-PANEL-GROUP``, both counted from 0.

    Args:
        panels: title to points [N, 2], the query's first.
        groups: name to rows, without the query's.
        marked: rows of the relevant passages, which get a ring.
        about: what is drawn, for the text that is spoken.
    """
    largest = sorted(groups, key=lambda name: -len(groups[name]))[:MOST_GROUPS]
    rest = next((name for name in groups if name not in largest), None)
    with drawing(7.2, 4.0, columns=len(panels)) as (figure, plots):
        for panel, (plot, (title, points)) in enumerate(zip(plots, panels.items(), strict=True)):
            for number, (name, rows) in enumerate(groups.items()):
                own = name in largest
                plot.plot(
                    *points[rows].T,
                    linestyle="",
                    color=HUES[number % len(HUES)] if own else PALE,
                    marker=MARKERS[number % len(MARKERS)] if own else ".",
                    markersize=3.6,
                    markeredgewidth=0,
                    alpha=0.75,
                    label=name if own else "others" if name == rest else None,
                    gid=f"points-{panel}-{number}",
                    zorder=3 if own else 2,
                )
            edge = {"linestyle": "", "markeredgecolor": INK, "markeredgewidth": 1.0}
            if len(marked):
                ring = {"marker": "o", "markersize": 7.5, "markerfacecolor": "none", "label": "relevant"}
                plot.plot(*points[marked].T, gid=f"relevant-{panel}", zorder=4, **edge, **ring)
            star = {"marker": "*", "markersize": 12, "markerfacecolor": "white", "label": "the query"}
            plot.plot(*points[:1].T, gid=f"query-{panel}", zorder=5, **edge, **star)
            plot.set_title(title)
            plot.set_aspect("equal", adjustable="datalim")
            plot.set_xticks([])
            plot.set_yticks([])
        handles, names = plots[-1].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(7, len(names)), frameon=False)
        spoken = ", ".join(f"{name}: {len(rows)}" for name, rows in groups.items())
        return svg_text(figure, f"{about}; {spoken}")


def paper_and_ours(names: Sequence[str], panels: Mapping[str, Sequence[PaperPoint]], unit: str) -> str:
    """Return the plot as SVG: an open circle for the paper, a filled one for us, joined by a line."""
    width = min(9.0, 2.2 + 1.55 * len(panels))
    with drawing(width, 0.75 + 0.27 * len(names), columns=len(panels)) as (figure, plots):
        rows = {name: len(names) - 1 - place for place, name in enumerate(names)}
        for plot, (title, points) in zip(plots, panels.items(), strict=True):
            paper = {rows[point.name]: point.paper for point in points if point.paper is not None}
            ours = {rows[point.name]: point.ours for point in points if point.ours is not None}
            both = [row for row in paper if row in ours]
            ends = ([at[row] for row in both] for at in (paper, ours))
            plot.hlines(both, *ends, color=INK, linewidth=1.1, zorder=2)
            face = {"color": INK, "markersize": 5.5, "markerfacecolor": "white"}
            plot.plot(list(paper.values()), list(paper), "o", **face, zorder=3)
            plot.plot(list(ours.values()), list(ours), "o", color=INK, markersize=4.5, zorder=4)
            plot.set_title(title)
            plot.set_ylim(-0.6, len(names) - 0.4)
            plot.set_yticks(range(len(names)), list(reversed(names)))
            plot.tick_params(axis="y", length=0, labelleft=plot is plots[0])
            plot.grid(axis="both", color=PALE)
            plot.set_axisbelow(True)
            plot.margins(x=0.12)
            plot.set_xlabel("percent" if unit == "percent" else "")
            plot.locator_params(axis="x", nbins=4)
        spoken = "; ".join(
            f"{title}: " + ", ".join(f"{p.name} {p.ours:g}" for p in points if p.ours is not None)
            for title, points in panels.items()
        )
        return svg_text(figure, spoken)


def _draw(plot: Any, number: int, curve: Line) -> None:
    """Draw a curve with the dash, marker and grey of its number; an interval as a band."""
    tone = TONES[number % len(TONES)]
    plot.plot(
        curve.x,
        curve.y,
        color=tone,
        linestyle=DASHES[number % len(DASHES)],
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.2,
        markerfacecolor="white",
        markevery=max(1, len(curve.x) // 10),
        linewidth=1.3,
        label=curve.name,
        clip_on=False,
        zorder=3,
    )
    if curve.interval is not None:
        low, high = curve.interval[:, 0], curve.interval[:, 1]
        plot.fill_between(curve.x, low, high, color=tone, alpha=0.12, linewidth=0, zorder=1)


def _frame(plot: Any, axes: Axes, ticks: Sequence[float]) -> None:
    plot.grid(axis="y", zorder=0)
    plot.set_axisbelow(True)
    plot.set_xlabel(axes.x)
    if axes.log_x:
        plot.set_xscale("log")
    if axes.log_x or 0 < len(ticks) <= MOST_TICKS:
        plot.set_xticks(ticks, [f"{value:g}" for value in ticks])
        plot.minorticks_off()


def _all_x(curves: Sequence[Line]) -> list[float]:
    return sorted({value for curve in curves for value in curve.x})


def _ends(curves: Sequence[Line]) -> list[str]:
    return [f"{curve.name} {curve.y[-1]:.3f}" for curve in curves]


def _name_ends(plot: Any, curves: Sequence[Line]) -> None:
    """Write each name beside its line's last point, moved up or down until none touches another."""
    low, high = plot.get_ylim()
    step = (high - low) * 0.062
    order = sorted(range(len(curves)), key=lambda number: curves[number].y[-1])
    heights = {}
    before = -np.inf
    for number in order:
        before = heights[number] = max(curves[number].y[-1], before + step)
    spill = max(heights.values(), default=0.0) - high
    for number in reversed(order):
        heights[number] = min(heights[number], high) if spill > 0 else heights[number]
        high = heights[number] - step
    for number, curve in enumerate(curves):
        place = (curve.x[-1], heights[number])
        plot.annotate(
            curve.name,
            place,
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            color=TONES[number % len(TONES)],
            annotation_clip=False,
        )


def _spoken(axes: Axes, parts: Sequence[str]) -> str:
    return f"{axes.title or axes.y or axes.x}: {'; '.join(parts)}"


def recall_points(measures: Sequence[str]) -> Mapping[str, list[tuple[int, str]]]:
    """Return family to its (k, measure) by k, of families with three cutoffs or more: ``R@1 R@5 R@10``."""
    families: dict[str, list[tuple[int, str]]] = {}
    for name in measures:
        found = re.fullmatch(r"(top|[A-Za-z]+(?:\([^)]*\))?@)(\d+)", name)
        if found:
            families.setdefault(found[1].rstrip("@"), []).append((int(found[2]), name))
    return {family: sorted(points) for family, points in families.items() if len(points) >= 3}
