"""The paper's numbers and ours as points on a line, one panel for each column of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dretrieve.reports.plots import INK, PALE, drawing, svg_text

UNITS = {"percent": "percent", "fraction": "", "number": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperPoint:
    """One row in one panel."""

    name: str
    paper: float | None
    ours: float | None


def paper_and_ours(names: Sequence[str], panels: Mapping[str, Sequence[PaperPoint]], unit: str) -> str:
    """Return the plot as SVG: an open circle for the paper, a filled one for us, joined by a line.

    Args:
        names: rows from top to bottom.
        panels: column to its points.
        unit: of the x axes.
    """
    width = min(9.0, 2.2 + 1.55 * len(panels))
    with drawing(width, 0.75 + 0.27 * len(names), columns=len(panels)) as (figure, plots):
        for plot, (title, points) in zip(plots, panels.items(), strict=True):
            for point in points:
                place = len(names) - 1 - names.index(point.name)
                if point.paper is not None and point.ours is not None:
                    plot.plot([point.paper, point.ours], [place, place], color=INK, linewidth=1.1, zorder=2)
                if point.paper is not None:
                    plot.plot(
                        point.paper,
                        place,
                        "o",
                        markersize=5.5,
                        markerfacecolor="white",
                        markeredgecolor=INK,
                        zorder=3,
                    )
                if point.ours is not None:
                    plot.plot(point.ours, place, "o", markersize=4.5, color=INK, zorder=4)
            plot.set_title(title)
            plot.set_ylim(-0.6, len(names) - 0.4)
            plot.set_yticks(range(len(names)), list(reversed(names)))
            plot.tick_params(axis="y", length=0, labelleft=plot is plots[0])
            plot.grid(axis="both", color=PALE)
            plot.set_axisbelow(True)
            plot.margins(x=0.12)
            plot.set_xlabel(UNITS[unit])
            plot.locator_params(axis="x", nbins=4)
        spoken = "; ".join(
            f"{title}: " + ", ".join(f"{p.name} {p.ours:g}" for p in points if p.ours is not None)
            for title, points in panels.items()
        )
        return svg_text(figure, spoken)
