"""Figures as SVG text: the same bytes for the same numbers, readable without colour.

Lines differ by dash, marker and grey, bars by hatching; names stand at the lines' ends where they fit. No
date, no random ids are in the files.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError

INK, ACCENT, PALE = "#1a1a1a", "#0b4f8a", "#d9d9d9"
TONES = (INK, ACCENT, "#6b6b6b", "#2f7fc1", "#969696")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (9, 3)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "----")
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
    from_zero: bool = False


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
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    safe = about.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return text.replace("<svg ", f'<svg role="img" aria-label="{safe}" ', 1)


def lines(curves: Sequence[Line], axes: Axes, *, width: float = 6.3, height: float = 3.4) -> str:
    """Return curves over a common x axis; each is named at its right end."""
    with drawing(width, height) as (figure, (plot,)):
        for number, curve in enumerate(curves):
            tone, dash = TONES[number % len(TONES)], DASHES[number % len(DASHES)]
            marker = MARKERS[number % len(MARKERS)]
            plot.plot(
                curve.x,
                curve.y,
                color=tone,
                linestyle=dash,
                marker=marker,
                markersize=4.5,
                markerfacecolor="white",
                markeredgewidth=1.1,
                linewidth=1.4,
                clip_on=False,
                zorder=3,
            )
            if curve.interval is not None:
                plot.fill_between(
                    curve.x,
                    curve.interval[:, 0],
                    curve.interval[:, 1],
                    color=tone,
                    alpha=0.10,
                    linewidth=0,
                    zorder=1,
                )
        ticks = sorted({value for curve in curves for value in curve.x})
        if axes.log_x:
            plot.set_xscale("log")
        plot.set_xticks(ticks, [f"{value:g}" for value in ticks])
        plot.minorticks_off()
        _frame(plot, axes)
        _name_ends(plot, curves)
        return svg_text(figure, _spoken(axes, [f"{curve.name} {curve.y[-1]:.3f}" for curve in curves]))


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
        plot.set_xlim(0, max(reach, default=1.0) * 1.12)
        plot.spines["left"].set_visible(False)
        _frame(plot, axes, grid="x")
        return svg_text(figure, _spoken(axes, [f"{n} {v:.3f}" for n, v in zip(names, values, strict=True)]))


def _frame(plot: Any, axes: Axes, grid: str = "y") -> None:
    plot.grid(axis=grid, zorder=0)
    plot.set_axisbelow(True)
    if axes.title:
        plot.set_title(axes.title)
    plot.set_xlabel(axes.x)
    plot.set_ylabel(axes.y)
    if axes.from_zero:
        plot.set_ylim(bottom=0)


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
