"""Shares as a map of grey cells, numbers in them: rows by columns, panels side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.plots import INK, drawing, svg_text

MOST_WITH_NUMBERS = 16
DARK = 0.5


def heat_map(
    panels: Mapping[str, NDArray[np.float64]], rows: Sequence[str], columns: Sequence[str], about: str
) -> str:
    """Return the map as SVG: white is 0, black is 1.

    Args:
        panels: title to shares [rows, columns], drawn from left to right.
        rows: names from top to bottom.
        columns: names from left to right.
        about: what the shares are, for the text that is spoken.
    """
    from matplotlib.patches import Rectangle

    cell = 0.62 if len(columns) <= MOST_WITH_NUMBERS else 0.16
    width = min(12.0, 1.1 + len(panels) * (0.3 + cell * len(columns)))
    with drawing(width, 0.95 + 0.34 * len(rows), columns=len(panels)) as (figure, plots):
        for plot, (title, values) in zip(plots, panels.items(), strict=True):
            for (row, column), value in np.ndenumerate(values):
                tone = str(round(1.0 - float(value), 3))
                place = (column - 0.5, row - 0.5)
                plot.add_patch(Rectangle(place, 1, 1, facecolor=tone, edgecolor=INK, linewidth=0.6))
                if len(columns) <= MOST_WITH_NUMBERS:
                    colour = "white" if value > DARK else INK
                    plot.text(column, row, f"{100 * value:.0f}", ha="center", va="center", color=colour)
            plot.set_xlim(-0.5, len(columns) - 0.5)
            plot.set_ylim(len(rows) - 0.5, -0.5)
            every = max(1, len(columns) // MOST_WITH_NUMBERS)
            plot.set_xticks(range(0, len(columns), every), list(columns[::every]))
            plot.set_yticks(range(len(rows)), list(rows))
            plot.tick_params(length=0, labelleft=plot is plots[0])
            plot.set_title(title)
            for spine in plot.spines.values():
                spine.set_visible(False)
        return svg_text(figure, f"{about}: {'; '.join(_spoken(panels, rows, columns))}")


def _spoken(
    panels: Mapping[str, NDArray[np.float64]], rows: Sequence[str], columns: Sequence[str]
) -> list[str]:
    found = []
    for title, values in panels.items():
        for row, name in zip(values, rows, strict=True):
            parts = (
                f"{column} {100 * value:.0f} percent" for column, value in zip(columns, row, strict=True)
            )
            found.append(f"{title}, {name}: {', '.join(parts)}")
    return found
