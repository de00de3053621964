"""Which domains' prefixes queries read, as data and as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.experts import Given
from dretrieve.reports.experts_page import given_data, shortened
from dretrieve.reports.html import Figure, Section
from dretrieve.reports.plots import Axes, bars, heat_map
from dretrieve.reports.routing import experts_in_use
from dretrieve.reports.routing_page import rounded, shaded_cell
from dretrieve.reports.tables import Cell, Table
from dretrieve.types import Record

BAR = 30  # characters of a weight of 1


@dataclass(frozen=True, slots=True)
class Weighed:
    """A query, and its weights b [N]; with a router that reads each layer, their mean over the layers."""

    collection: str
    query: Record
    weights: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the queries read.

    Attributes:
        read: the domains that a query may read.
        top_k: how many of them it keeps, of the routing topk.
        given: of each collection's queries.
        queries: those that are shown one by one.
    """

    domains: Sequence[str]
    routing: str
    read: Sequence[str]
    top_k: int
    router: str
    given: Sequence[Given]
    queries: Sequence[Weighed]


def domains_data(found: Found) -> dict[str, Any]:
    """Return everything as plain data; weights in the order of ``domains``."""
    queries: dict[str, list[dict[str, Any]]] = {}
    for of in found.queries:
        said = {"id": of.query.id, "text": of.query.text, "weights": rounded(of.weights)}
        queries.setdefault(of.collection, []).append(said)
    return {
        "domains": list(found.domains),
        "routing": found.routing,
        "read": list(found.read),
        **({"top_k": found.top_k} if found.routing == "topk" else {}),
        "router": found.router,
        "collections": {
            of.collection: {"queries": int(of.texts.sum()), **given_data(of, "domains")} for of in found.given
        },
        "queries": queries,
    }


def domains_sections(found: Found) -> list[Section]:
    """Return the sections; heat map and bars stand as tables (every form) and as figures (HTML)."""
    means = {of.collection: of.weight / of.weight.sum() for of in found.given}
    title = "Mean weight of each domain by collection, in percent"
    columns = ["collection", "queries", *found.domains, "in use"]
    rows: list[list[Cell]] = [
        [of.collection, f"{int(of.texts.sum()):,}", *map(shaded_cell, mean), f"{experts_in_use(mean):.2f}"]
        for of, mean in zip(found.given, means.values(), strict=True)
    ]
    note = "in use: how many domains share the weight, exp of the entropy of the means; 1: one has all"
    table = Table(columns=columns, rows=rows, notes=[note], right=frozenset(range(1, len(columns))))
    svg = heat_map({"": np.stack(list(means.values()))}, list(means), found.domains, title)
    caption = "A row is a collection, a column a domain; white is none, black all."
    figure = Figure(name="domains", svg=svg, caption=caption)
    return [
        Section(title=title, text=_routed(found), tables=[table], figures=[figure]),
        Section(
            title="Weights of single queries, in percent",
            tables=[_bars(found, of) for of in found.queries],
            figures=[_drawn(found, of, number) for number, of in enumerate(found.queries, 1)],
        ),
    ]


def _routed(found: Found) -> list[str]:
    """Return in words how the weights come about."""
    names = " and ".join(filter(None, (", ".join(found.read[:-1]), found.read[-1])))
    several = len(found.read) > 1
    said: Mapping[str, str] = {
        "prior": f"a softmax of the router over the domains that were given, {names}; the others get nothing"
        if several
        else f"all of it goes to the domain that was given, {names}, whatever the query says",
        "uniform": f"equal for {names}, whatever the query says",
        "topk": f"a softmax of the router over a query's {found.top_k} best of {names}",
        "soft": f"a softmax of the router over {names}",
    }
    text = [f"routing={found.routing}: a query's weight is {said[found.routing]}."]
    if found.router == "layer" and several and found.routing != "uniform":
        text.append("The router reads each layer's input; weights are means over the layers.")
    return [*text, "Passages read the general prefix alone, and are not looked at."]


def _bars(found: Found, of: Weighed) -> Table:
    rows: list[list[Cell]] = [
        [name, f"{100 * weight:.1f}", "█" * round(BAR * weight)]
        for name, weight in zip(found.domains, of.weights.tolist(), strict=True)
    ]
    title = f"{of.collection}, {of.query.id}: {shortened(of.query.text)}"
    return Table(title=title, columns=["domain", "weight", ""], rows=rows, right=frozenset({1}))


def _drawn(found: Found, of: Weighed, number: int) -> Figure:
    about = f"{of.collection}, query {of.query.id}"
    svg = bars(found.domains, of.weights.tolist(), Axes(title=about, x="weight", y=""))
    return Figure(name=f"query-{number}", svg=svg, caption=f"{about}: {shortened(of.query.text)}")
