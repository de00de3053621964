"""What the experts of a block do, as data and as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.experts import Agreement, Found, Given, Picture, mean_off_diagonal
from dretrieve.reports.html import Figure, Section
from dretrieve.reports.plots import neighbours
from dretrieve.reports.routing import experts_in_use, overlap, shares
from dretrieve.reports.routing_page import rounded, shaded_cell
from dretrieve.reports.tables import Cell, Table
from dretrieve.types import UNITS

MOST_COMPARED = 12  # experts whose likeness is shown pair by pair
LONGEST_QUERY = 160
DRAWN_BY = {"pca": "principal components", "tsne": "t-SNE"}


def experts_data(found: Found) -> dict[str, Any]:
    """Return everything as plain data."""
    texts: dict[str, dict[str, Any]] = {}
    for of in found.given:
        texts.setdefault(of.collection, {})[of.side] = given_data(of, "experts")
    data: dict[str, Any] = {
        "num_experts": found.num_experts,
        "gate": found.gate,
        "activated": found.activated,
        "texts": texts,
        "agreement": {name: _agreement_data(of) for name, of in found.agreements.items()},
        "cosine": {
            name: {
                "texts": found.texts[name],
                "mean": _number(mean_off_diagonal(of)),
                "experts": rounded(of),
            }
            for name, of in found.likeness.items()
        },
    }
    if found.given:
        data["overlap_of_sides"] = {name: _number(of) for name, of in _overlaps(found).items()}
    if found.picture is not None:
        data["picture"] = _picture_data(found.picture)
    return data


def given_data(of: Given, what: str) -> dict[str, Any]:
    """Return the shares of one side of a collection; ``what`` the texts are given to."""
    weight = of.weight / of.weight.sum()
    return {
        "counts": of.texts.tolist(),
        "shares": rounded(shares(of.texts)),
        "weights": rounded(weight),
        f"{what}_in_use": _number(float(experts_in_use(weight))),
    }


def shortened(query: str) -> str:
    """Return a query's text, cut to one line."""
    return query if len(query) <= LONGEST_QUERY else f"{query[:LONGEST_QUERY]}…"


def _agreement_data(of: Agreement) -> dict[str, Any]:
    numbers = {"agree": _number(of.agree), "chance": _number(of.chance)} if of.pairs else {}
    about = {"pairs": of.pairs, "of": of.judged, **numbers}
    return about | ({"left_out": of.unpaired} if of.unpaired else {})


def _picture_data(picture: Picture) -> dict[str, Any]:
    return {
        "collection": picture.collection,
        "query": picture.ids[0],
        "passages": list(picture.ids[1:]),
        "among": picture.among,
        "experts": None if picture.experts is None else picture.experts.tolist(),
        "relevant": [picture.ids[row] for row in picture.relevant.tolist()],
        "variance": {when: rounded(of) for when, of in picture.variance.items()},
        "points": {
            how: {when: rounded(of) for when, of in points.items()} for how, points in picture.points.items()
        },
    }


def _number(value: float) -> float:
    return round(value, 6)


def _overlaps(found: Found) -> dict[str, float]:
    """Return the overlap of the sides' weights by collection, of those with both."""
    sides: dict[str, list[NDArray[np.float64]]] = {}
    for of in found.given:
        sides.setdefault(of.collection, []).append(of.weight / of.weight.sum())
    return {name: float(overlap(*of)) for name, of in sides.items() if len(of) == len(UNITS)}


def experts_sections(found: Found) -> list[Section]:
    """Return the sections."""
    sections = [_shares(found)]
    if found.agreements:
        sections.append(_agreements(found))
    sections.append(_likeness(found))
    if found.picture is not None:
        sections.append(_pictured(found, found.picture))
    return sections


def _kept(found: Found) -> str:
    """Return in words what ``activated`` says, and what the gate leaves to say."""
    if found.gate == "uniform":
        return "Every text goes to all experts with equal weights, for their plain mean: nothing is chosen."
    every = found.activated in (0, found.num_experts)
    kept = "all" if every else str(found.activated)
    name = " (TOP-1)" if found.activated == 1 else " (ALL)" if every else ""
    said = f"activated={found.activated}{name}: a text goes to {kept} of the {found.num_experts} experts"
    if found.gate == "random":
        return (
            f"{said}, drawn by its id whatever it says; so shares of texts, and whether a query and its "
            "passage agree, are left out."
        )
    return f"{said}, by their weights." if every else f"{said}, by largest weight."


def _shares(found: Found) -> Section:
    names = list(dict.fromkeys(of.collection for of in found.given))
    tables = [_shares_in(found, name, name if len(names) > 1 else "") for name in names]
    return Section(title="Share of texts by expert, in percent", text=[_kept(found)], tables=tables)


def _shares_in(found: Found, collection: str, title: str) -> Table:
    """Return the shares in a collection: of texts by their largest weight and, of several, of the weights."""
    values: dict[str, NDArray[np.float64]] = {}
    for of in found.given:
        if of.collection == collection:
            one = found.activated == 1
            values[UNITS[of.side] if one else f"{UNITS[of.side]}: largest weight"] = shares(of.texts)
            if not one:
                values[f"{UNITS[of.side]}: mean weight"] = of.weight / of.weight.sum()
    rows: list[list[Cell]] = [
        [str(expert), *(shaded_cell(float(of[expert])) for of in values.values())]
        for expert in range(found.num_experts)
    ]
    rows.append(["in use", *(f"{float(experts_in_use(of)):.2f}" for of in values.values())])
    notes = ["in use: how many experts share the texts, exp of the entropy of their shares; 1: one has all"]
    columns = ["expert", *values]
    return Table(title=title, columns=columns, rows=rows, notes=notes, right=frozenset(range(len(columns))))


def _agreements(found: Found) -> Section:
    overlaps = _overlaps(found)
    rows: list[list[Cell]] = [
        [name, f"{of.pairs:,} of {of.judged:,}", of.agree, of.chance, of.agree - of.chance, overlaps[name]]
        for name, of in found.agreements.items()
        if of.pairs
    ]
    text = [f"{name}: {of.unpaired}." for name, of in found.agreements.items() if of.unpaired]
    columns = ["collection", "pairs", "one expert", "by chance", "difference", "overlap"]
    notes = [
        "one expert: the share of pairs of a query and a relevant passage that have one expert (the largest "
        "weight's)",
        "by chance: what it would be if both drew independently, each expert as often as in these pairs",
        "overlap: the smaller share of each expert in all texts, added up; 1: both sides use them alike",
    ]
    tables = (
        [Table(columns=columns, rows=rows, notes=notes, decimals=3, right=frozenset({1}))] if rows else []
    )
    return Section(title="Agreement of queries and their relevant passages", text=text, tables=tables)


def _likeness(found: Found) -> Section:
    tables, text = [], ["The mean over texts of the cosine of two experts' outputs; 1: they do the same."]
    for name, matrix in found.likeness.items():
        title = "" if name == "both" else f"the block of the {name}"
        pairs = matrix[np.triu_indices(len(matrix), 1)]
        about = (
            f"over {found.texts[name]:,} texts and all pairs of experts: mean {mean_off_diagonal(matrix):.3f}"
        )
        notes = [f"{about}, least {pairs.min():.3f}, most {pairs.max():.3f}"]
        if found.num_experts > MOST_COMPARED:
            text.append(f"{title}: {notes[0]}.".removeprefix(": "))
            continue
        rows: list[list[Cell]] = [
            [
                str(one),
                *(float(matrix[one, other]) if other > one else None for other in range(1, len(matrix))),
            ]
            for one in range(len(matrix) - 1)
        ]
        columns = ["expert", *(str(other) for other in range(1, len(matrix)))]
        tables.append(
            Table(title=title, columns=columns, rows=rows, notes=notes, decimals=3, right=frozenset({0}))
        )
    return Section(title="Likeness of the experts", text=text, tables=tables)


def _pictured(found: Found, picture: Picture) -> Section:
    count = len(picture.ids) - 1
    text = [
        f"Query {picture.ids[0]} of {picture.collection}: {shortened(picture.text)}",
        f"With its {count:,} best passages {picture.among}.",
    ]
    groups = {"passages": np.arange(1, count + 1)}
    tables = []
    if picture.experts is not None:
        chosen = picture.experts[1:]
        groups = {
            f"expert {expert}": 1 + np.flatnonzero(chosen == expert) for expert in np.unique(chosen).tolist()
        }
        text[0] += f" (expert {picture.experts[0]})"
        tables.append(_best(found, picture))
    if set(picture.points) == {"pca"}:
        text.append("By principal components; --tsne draws it by t-SNE too.")
    figures = [_figure(picture, how, groups) for how in picture.points]
    return Section(title="A query and its best passages", text=text, tables=tables, figures=figures)


def _best(found: Found, picture: Picture) -> Table:
    """Return how many of the best passages each expert has, beside its share of all that were sampled."""
    assert picture.experts is not None
    counts = np.bincount(picture.experts[1:], minlength=found.num_experts)
    marked = np.bincount(picture.experts[picture.relevant], minlength=found.num_experts)
    every = [
        shares(of.texts) for of in found.given if (of.collection, of.side) == (picture.collection, "passage")
    ]
    columns = ["expert", "best passages", "relevant", "their share", *["of all passages"] * len(every)]
    parts = (shares(counts), *every)
    rows: list[list[Cell]] = [
        [
            str(expert),
            int(counts[expert]),
            int(marked[expert]),
            *(shaded_cell(float(of[expert])) for of in parts),
        ]
        for expert in range(found.num_experts)
    ]
    return Table(columns=columns, rows=rows, right=frozenset(range(len(columns))))


def _figure(picture: Picture, how: str, groups: Mapping[str, NDArray[np.int64]]) -> Figure:
    panels = {}
    for when, points in picture.points[how].items():
        seen = f" ({100 * picture.variance[when].sum():.0f} % of the variance)" if how == "pca" else ""
        panels[f"{when} the experts{seen}"] = points
    about = f"Query {picture.ids[0]} and its best passages by {DRAWN_BY[how]}"
    caption = (
        f"By {DRAWN_BY[how]}, before and after the experts, each panel in directions of its own. Star: the "
        "query; rings: passages that are relevant to it; colour and shape: the expert of largest weight."
    )
    if picture.experts is None:
        caption = caption.replace("; colour and shape: the expert of largest weight", "")
    svg = neighbours(panels, groups, picture.relevant, about)
    return Figure(name=f"experts-{how}", svg=svg, caption=caption)
