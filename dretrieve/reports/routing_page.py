"""What the experts read, as sections of a page: heat maps, how alike the sides are, the experts' tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.html import Figure, Section
from dretrieve.reports.plots import heat_map
from dretrieve.reports.routing import PRIOR_TOKENS, RoutingCounts, experts_in_use, overlap, shares
from dretrieve.reports.tables import Cell, Table
from dretrieve.types import UNITS

SHOWN_TOKENS = 10
# More experts than that stand below each other, not beside.
MOST_BESIDE = 4
SHADES = " ░▒▓█"
Pieces = Callable[[Sequence[int]], list[str]]


def routing_data(counts: RoutingCounts, pieces: Pieces) -> dict[str, Any]:
    """Return everything as plain data; shares are [layer][expert]."""
    found = {
        unit: {side: shares(of[side]) for side in UNITS if side in of}
        for unit, of in (("tokens", counts.tokens), ("texts", counts.texts))
    }
    data: dict[str, Any] = {"layers": list(counts.layers), "num_experts": counts.num_experts}
    for unit, of in (("tokens", counts.tokens), ("texts", counts.texts)):
        data[unit] = {
            side: {"counts": of[side].tolist(), "shares": rounded(part)} for side, part in found[unit].items()
        }
    data["experts_in_use"] = {side: rounded(experts_in_use(of)) for side, of in found["tokens"].items()}
    if len(found["tokens"]) == len(UNITS):
        data["overlap_of_sides"] = {unit: rounded(overlap(*of.values())) for unit, of in found.items()}
    data["attracted"] = [
        [
            [
                {"token": piece, "log_odds": round(of.log_odds, 4), "count": of.count, "of": of.total}
                for of, piece in _named(counts, place, expert, pieces)
            ]
            for expert in range(counts.num_experts)
        ]
        for place in range(len(counts.layers))
    ]
    return data


def routing_sections(counts: RoutingCounts, pieces: Pieces) -> list[Section]:
    """Return the sections; a heat map stands as a table (every form) and as a figure (HTML)."""
    sides = [side for side in UNITS if side in counts.tokens]
    sections = []
    for unit, of in (("tokens", counts.tokens), ("texts", counts.texts)):
        maps = {UNITS[side]: shares(of[side]) for side in sides}
        title = f"Share of {unit} by expert, in percent"
        sections.append(
            Section(
                title=title,
                text=_about(unit),
                tables=[_shaded(maps, counts)],
                figures=[
                    Figure(
                        name=f"routing-{unit}",
                        svg=_figure(maps, counts, title),
                        caption="A row is a layer, a column an expert; white is none, black all.",
                    )
                ],
            )
        )
    if len(sides) == len(UNITS):
        sections.append(_agreement(counts))
    sections.append(_attracted(counts, pieces))
    return sections


def _about(unit: str) -> list[str]:
    if unit == "tokens":
        return ["All tokens that the encoder reads, [CLS] and [SEP] too. Layers and experts count from 0."]
    return ["A text counts for the expert that reads most of its tokens (of equal ones, the first)."]


def _shaded(maps: Mapping[str, NDArray[np.float64]], counts: RoutingCounts) -> Table:
    """Return the map in text: a shade for the eye (darker is more), the number beside it."""
    experts, layers = range(counts.num_experts), enumerate(counts.layers)
    if counts.num_experts <= MOST_BESIDE:
        columns = ["layer", *(f"{name}: expert {expert}" for name in maps for expert in experts)]
        rows = [
            [str(layer), *(shaded_cell(of[place, expert]) for of in maps.values() for expert in experts)]
            for place, layer in layers
        ]
    else:
        columns = ["layer", "expert", *maps]
        rows = [
            [
                "" if expert else str(layer),
                str(expert),
                *(shaded_cell(of[place, expert]) for of in maps.values()),
            ]
            for place, layer in layers
            for expert in experts
        ]
    return Table(columns=columns, rows=rows, right=frozenset(range(len(columns))))


def shaded_cell(share: float) -> str:
    """Return a share as a shade for the eye, darker for more, with the number in percent beside it."""
    return f"{SHADES[int(np.ceil(share * (len(SHADES) - 1)))] * 3} {100 * share:5.1f}"


def _figure(maps: Mapping[str, NDArray[np.float64]], counts: RoutingCounts, title: str) -> str:
    rows = [f"layer {layer}" for layer in counts.layers]
    few = counts.num_experts <= MOST_BESIDE
    columns = [f"expert {number}" if few else str(number) for number in range(counts.num_experts)]
    return heat_map(maps, rows, columns, title)


def _agreement(counts: RoutingCounts) -> Section:
    tokens = {side: shares(counts.tokens[side]) for side in UNITS}
    texts = {side: shares(counts.texts[side]) for side in UNITS}
    used = {side: experts_in_use(of) for side, of in tokens.items()}
    by_tokens, by_texts = overlap(*tokens.values()), overlap(*texts.values())
    rows: list[list[Cell]] = [
        [
            str(layer),
            float(by_tokens[place]),
            float(by_texts[place]),
            *(float(used[side][place]) for side in UNITS),
        ]
        for place, layer in enumerate(counts.layers)
    ]
    columns = [
        "layer",
        "overlap of tokens",
        "overlap of texts",
        *(f"in use, {name}" for name in UNITS.values()),
    ]
    notes = [
        "overlap: the smaller share of each expert, added up; 1: both sides use the experts alike, 0: each "
        "side has its own",
        "in use: how many experts share the tokens, exp of the entropy of their shares; 1: one reads all",
    ]
    table = Table(columns=columns, rows=rows, notes=notes, decimals=3, right=frozenset({0}))
    return Section(title="Agreement of queries and passages", tables=[table])


def _attracted(counts: RoutingCounts, pieces: Pieces) -> Section:
    tables = []
    for group in counts.alike():
        numbers = ", ".join(str(counts.layers[place]) for place in group)
        title = f"layer {numbers}" if len(group) == 1 else f"layers {numbers} (all alike)"
        lists = [_named(counts, group[0], expert, pieces) for expert in range(counts.num_experts)]
        for start in range(0, len(lists), MOST_BESIDE):
            shown = lists[start : start + MOST_BESIDE]
            columns = [f"expert {start + number}" for number in range(len(shown))]
            told = [
                [f"{piece}  {of.log_odds:+.2f}  {of.count:,} of {of.total:,}" for of, piece in found]
                or [_empty(counts, group[0], start + number)]
                for number, found in enumerate(shown)
            ]
            rows = [list(row) for row in zip_longest(*told, fillvalue="")]
            tables.append(Table(title=title, columns=columns, rows=rows))
    about = (
        "Log-odds of being read by the expert against those of all tokens; how often the expert read it, of "
        f"how often any did. {PRIOR_TOKENS:g} imagined readings of every token keep the rare ones near 0."
    )
    return Section(title="Tokens that each expert attracts", text=[about], tables=tables)


def _named(counts: RoutingCounts, place: int, expert: int, pieces: Pieces) -> list[tuple[Any, str]]:
    found = counts.attracted(place, expert, SHOWN_TOKENS)
    return list(zip(found, pieces([of.token for of in found]), strict=True))


def _empty(counts: RoutingCounts, place: int, expert: int) -> str:
    """Return why an expert attracts no token."""
    read = counts.by_token[place].sum(axis=1)
    if not read[expert]:
        return "(reads no token)"
    return "(reads every token)" if read[expert] == read.sum() else "(none more than others)"


def rounded(values: NDArray[np.floating[Any]]) -> list[Any]:
    """Return the numbers as lists, as they stand in JSON."""
    found: list[Any] = np.round(values, 6).tolist()
    return found
