"""Texts as a figure, token by token: grey behind what matters, a line below, coloured frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dretrieve.reports.plots import HUES, INK, drawing, svg_text

COLUMNS = 96  # characters of a line
SIZE, ADVANCE = 8.0, 0.602  # of a letter, in points; of DejaVu Sans Mono, in sizes
LINE = 2.1 * SIZE
DARKEST = 0.45  # of black, so that letters on it are read


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadedText:
    """A text to draw.

    Attributes:
        name: stands before it.
        shades: 0 white to 1, one each.
        lines: below each token, as thick; 0 none.
        frames: token to the numbers of its frames, from 0; below the number of `HUES`.
    """

    name: str
    tokens: Sequence[str]
    shades: Sequence[float]
    lines: Sequence[float]
    frames: dict[int, list[int]] = field(default_factory=dict)


def shaded_texts(texts: Sequence[ShadedText], about: str) -> str:
    """Return the texts below each other as SVG.

    A frame's number stands at its corner, so that frames are told apart without colour. A token has the id
    ``token-TEXT-PLACE``, a frame ``frame-TEXT-PLACE-NUMBER``, all counted from 0.
    """
    placed = [_placed(text.tokens) for text in texts]
    heights = [1 + max(line for line, _ in places) + 1 for places in placed]  # its name, its lines
    with drawing(COLUMNS * ADVANCE * SIZE / 72, sum(heights) * LINE / 72) as (figure, (plot,)):
        figure.set_layout_engine("none")
        plot.set_position((0, 0, 1, 1))
        plot.set_axis_off()
        plot.set_xlim(0, COLUMNS)
        plot.set_ylim(sum(heights), 0)
        for number, (text, places) in enumerate(zip(texts, placed, strict=True)):
            first = sum(heights[:number])
            plot.text(0.2, first + 0.6, text.name, va="center", fontsize=SIZE, fontweight="bold", color=INK)
            for place, (line, column) in enumerate(places):
                _draw(plot, text, place, (column, first + line + 1), f"{number}-{place}")
        return svg_text(figure, about)


def _placed(tokens: Sequence[str]) -> list[tuple[int, int]]:
    """Return line and column of each token; one that is longer than a line stands alone."""
    places, line, column = [], 0, 0
    for token in tokens:
        if column and column + len(token) + 1 > COLUMNS:
            line, column = line + 1, 0
        places.append((line, column))
        column += len(token) + 1
    return places


def _draw(plot: Any, text: ShadedText, place: int, at: tuple[int, int], name: str) -> None:
    from matplotlib.patches import Rectangle

    token, (left, top) = text.tokens[place], at
    width, grey = len(token) + 0.5, str(round(1 - DARKEST * text.shades[place], 3))
    plot.add_patch(Rectangle((left, top + 0.2), width, 0.7, facecolor=grey, edgecolor="none", zorder=1))
    if thick := text.lines[place]:
        ends = [left + 0.2, left + width - 0.2]
        plot.plot(ends, [top + 0.86] * 2, color=INK, linewidth=thick, solid_capstyle="butt", zorder=2)
    for inner, number in enumerate(text.frames.get(place, ())):
        edge, room = HUES[number], 0.05 * inner
        corner, size = (left + room, top + 0.2 + room), (width - 2 * room, 0.7 - 2 * room)
        frame = Rectangle(corner, *size, facecolor="none", edgecolor=edge, linewidth=1.5, zorder=3)
        frame.set_gid(f"frame-{name}-{number}")
        plot.add_patch(frame)
        small = {"fontsize": 0.6 * SIZE, "fontweight": "bold", "va": "center", "ha": "right", "zorder": 4}
        plot.text(left + width - 0.9 * inner, top + 0.12, str(number + 1), color=edge, **small)
    letters = {"family": "DejaVu Sans Mono", "fontsize": SIZE, "va": "center", "color": INK, "zorder": 5}
    plot.text(left + 0.25, top + 0.54, token, gid=f"token-{name}", **letters)
