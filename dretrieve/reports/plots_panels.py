"""Many curves as panels side by side, few in each; rows as points over two numbers. No colour is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dretrieve.reports.plots import DASHES, INK, MARKERS, TONES, Axes, Line, drawing, svg_text

MOST_IN_A_PANEL = 6
MOST_TICKS = 8  # more values than these along x get round ticks of their own


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """One row over two numbers, with the spread of the second."""

    name: str
    x: float
    y: float
    spread: float = 0.0


def panels(curves: Sequence[Line], axes: Axes) -> str:
    """Return the curves as SVG: at most `MOST_IN_A_PANEL` in a panel, all panels over the same axes.

    Args:
        curves: in the order of their table; an interval is drawn as a band.
        axes: the words, the same for every panel; the title is only spoken.
    """
    parts = _parts(curves)
    width = min(10.0, 1.0 + 3.4 * len(parts))
    values = [value for curve in curves for value in curve.y]
    values += [value for curve in curves if curve.interval is not None for value in curve.interval.ravel()]
    low, high = min(values), max(values)
    room = 0.04 * ((high - low) or 1.0)
    height = 2.9 + 0.19 * len(parts[0])
    with drawing(width, height, columns=len(parts)) as (figure, plots):
        for plot, part in zip(plots, parts, strict=True):
            for number, curve in enumerate(part):
                _draw(plot, number, curve)
            plot.set_ylim(low - room, high + room)
            _frame(plot, axes, sorted({value for curve in curves for value in curve.x}))
            plot.tick_params(axis="y", labelleft=plot is plots[0])
            _legend(plot)
        plots[0].set_ylabel(axes.y)
        spoken = "; ".join(f"{curve.name} {curve.y[-1]:.3f}" for curve in curves)
        return svg_text(figure, f"{axes.title or axes.y}: {spoken}")


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
                markeredgewidth=1.2,
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
        spoken = "; ".join(f"{point.name} {point.x:g} {point.y:.3g}" for point in points)
        return svg_text(figure, f"{axes.title or axes.y}: {spoken}")


def _parts(curves: Sequence[Line]) -> list[Sequence[Line]]:
    """Return the curves cut into panels of about equal size."""
    count = math.ceil(len(curves) / MOST_IN_A_PANEL)
    size = math.ceil(len(curves) / count)
    return [curves[start : start + size] for start in range(0, len(curves), size)]


def _draw(plot: Any, number: int, curve: Line) -> None:
    tone = TONES[number % len(TONES)]
    plot.plot(
        curve.x,
        curve.y,
        color=tone,
        linestyle=DASHES[number % len(DASHES)],
        marker=MARKERS[number % len(MARKERS)],
        markersize=4.2,
        markerfacecolor="white",
        markeredgewidth=1.0,
        markevery=max(1, len(curve.x) // 10),
        linewidth=1.3,
        label=curve.name,
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


def _legend(plot: Any) -> None:
    plot.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -0.17),
        frameon=False,
        fontsize=8,
        handlelength=4.2,
        borderpad=0,
    )
