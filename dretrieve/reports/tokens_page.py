"""Which query token met which passage token, as data and as sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.experts_page import shortened
from dretrieve.reports.html import Figure, Section
from dretrieve.reports.plots import heat_map
from dretrieve.reports.routing_page import rounded
from dretrieve.reports.tables import Cell, Table
from dretrieve.types import Record

AROUND = 2  # tokens shown on each side of the one that was met
WORDS = "words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A query and a passage, token by token.

    Attributes:
        collection: its name.
        query: its record.
        passage: its record.
        rank: in the run that it comes from; 0 where it comes from none.
        score: as a search gives it.
        asked: [n] the query's tokens.
        read: [m] the passage's.
        special: [n] whether the query's token is one of those that no text holds ([CLS], [MASK], markers).
        products: [n, m].
    """

    collection: str
    query: Record
    passage: Record
    rank: int = 0
    score: float
    asked: Sequence[str]
    read: Sequence[str]
    special: NDArray[np.bool_]
    products: NDArray[np.float32]

    @property
    def places(self) -> NDArray[np.int64]:
        """[n] which passage token each query token met: of the largest product, the first."""
        found: NDArray[np.int64] = self.products.argmax(axis=1)
        return found

    @property
    def best(self) -> NDArray[np.float32]:
        """[n] the product with it."""
        found: NDArray[np.float32] = self.products.max(axis=1)
        return found


@dataclass(slots=True)
class Kind:
    """What tokens of one kind did: number, Σ of products, how many met their like, a special one."""

    tokens: int = 0
    product: float = 0.0
    same: int = 0
    special: int = 0


@dataclass(slots=True)
class Judged:
    """The judged pairs of a collection: how many are read, of how many; query tokens by kind."""

    pairs: int = 0
    judged: int = 0
    unpaired: str = ""
    kinds: dict[str, Kind] = field(default_factory=dict)

    def add(self, met: Met, read_special: NDArray[np.bool_]) -> None:
        """Count a pair; ``read_special`` [m] is of its passage."""
        self.pairs += 1
        tokens = zip(met.asked, met.special.tolist(), met.places.tolist(), met.best.tolist(), strict=True)
        for token, special, place, product in tokens:
            kind = self.kinds.setdefault(token if special else WORDS, Kind())
            kind.tokens += 1
            kind.product += product
            kind.same += met.read[place] == token
            kind.special += bool(read_special[place])


def tokens_data(score: str, judged: Mapping[str, Judged], shown: Sequence[Met]) -> dict[str, Any]:
    """Return everything as plain data; places count the passage's vectors from 0."""
    return {
        "score": score,
        "collections": {
            name: {
                "pairs": of.pairs,
                "of": of.judged,
                **({"left_out": of.unpaired} if of.unpaired else {}),
                "query_tokens": {
                    kind: {
                        "tokens": one.tokens,
                        "mean_product": round(one.product / one.tokens, 6),
                        "met_same": one.same,
                        "met_special": one.special,
                    }
                    for kind, one in of.kinds.items()
                },
            }
            for name, of in judged.items()
        },
        "pairs": [_pair_data(met) for met in shown],
    }


def _pair_data(met: Met) -> dict[str, Any]:
    tokens = zip(met.asked, rounded(met.best), met.places.tolist(), strict=True)
    return {
        "collection": met.collection,
        "query": {"id": met.query.id, "text": met.query.text},
        "passage": {"id": met.passage.id, "title": met.passage.title, "text": met.passage.text},
        **({"rank": met.rank} if met.rank else {}),
        "score": round(met.score, 6),
        "tokens": [
            {"token": token, "product": product, "met": met.read[place], "place": place}
            for token, product, place in tokens
        ],
    }


def tokens_sections(score: str, judged: Mapping[str, Judged], shown: Sequence[Met]) -> list[Section]:
    """Return the sections: judged pairs by kind of query token, then a table and a heat map a shown pair."""
    added = "added up" if score == "maxsim_sum" else "averaged"
    rule = f"Of each query token the largest product with a token of the passage counts; these are {added}."
    return [
        *([Section(title="Query tokens by kind", tables=[_kinds(judged)])] if judged else []),
        *(
            Section(
                title=_title(met),
                text=[rule, shortened(f"{met.passage.title} {met.passage.text}".strip())],
                tables=[_table(met)],
                figures=[_figure(met, number)],
            )
            for number, met in enumerate(shown, 1)
        ),
    ]


def _kinds(judged: Mapping[str, Judged]) -> Table:
    rows: list[list[Cell]] = []
    for name, of in judged.items():
        total = sum(kind.product for kind in of.kinds.values())
        rows += [
            [
                name,
                kind,
                one.tokens,
                f"{one.product / one.tokens:.3f}",
                *(_percent(part, whole) for part, whole in _shares(one, total)),
            ]
            for kind, one in of.kinds.items()
        ]
    return Table(
        title="Judged pairs of a query and a relevant passage",
        columns=[
            *("collection", "query token", "vectors", "mean product", "of the score", "met its like"),
            "met a special one",
        ],
        rows=rows,
        notes=[
            f"{name}: {of.pairs:,} of {of.judged:,} judged pairs{f'; {of.unpaired}' if of.unpaired else ''}"
            for name, of in judged.items()
        ],
        right=frozenset(range(2, 7)),
    )


def _shares(one: Kind, total: float) -> list[tuple[float, float]]:
    return [(one.product, total), (one.same, one.tokens), (one.special, one.tokens)]


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _title(met: Met) -> str:
    place = f", rank {met.rank}" if met.rank else ""
    return f"{met.query.id} with {met.passage.id}{place}: score {met.score:.4f}"


def _filling(met: Met) -> dict[str, list[int]]:
    """Return the rows of special tokens that stand several times: a query is filled up with them."""
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(met.special).tolist():
        rows.setdefault(met.asked[row], []).append(row)
    return {token: of for token, of in rows.items() if len(of) > 1}


def _table(met: Met) -> Table:
    """Return a row for each query token, and one for all of a kind that fills it up."""
    filling, best, places = _filling(met), met.best.astype(np.float64), met.places
    rows: list[list[Cell]] = []
    total = float(best.sum())
    for row, token in enumerate(met.asked):
        if token in filling:
            continue
        shares = [f"{best[row]:.3f}", _percent(best[row], total)]
        rows.append([token, *shares, met.read[places[row]], _around(met.read, int(places[row]))])
    for token, of in filling.items():
        sum_of = float(best[of].sum())
        names = [met.read[place] for place in dict.fromkeys(places[of].tolist())]
        shares = [f"{sum_of:.3f}", _percent(sum_of, total)]
        rows.append([f"{len(of)} × {token}", *shares, *_several(names)])
    return Table(
        title=f"{met.collection}, {met.query.id}: {shortened(met.query.text)}",
        columns=["query token", "product", "of the score", "passage token", "where it stands"],
        rows=rows,
        right=frozenset({1, 2}),
    )


def _several(names: Sequence[str]) -> list[str]:
    return [names[0], ""] if len(names) == 1 else [f"{len(names)} tokens", shortened(" ".join(names))]


def _around(read: Sequence[str], place: int) -> str:
    before, behind = read[max(0, place - AROUND) : place], read[place + 1 : place + 1 + AROUND]
    return " ".join([*before, f"«{read[place]}»", *behind])


def _figure(met: Met, number: int) -> Figure:
    filling = _filling(met)
    rows = [row for row, token in enumerate(met.asked) if token not in filling]
    columns = np.unique(met.places[rows])
    largest = max(1.0, float(met.products.max()))
    shades = np.clip(met.products[rows][:, columns].astype(np.float64) / largest, 0, 1)
    names = [met.asked[row] for row in rows], [met.read[column] for column in columns.tolist()]
    svg = heat_map({"": shades}, *names, f"products of {met.query.id} with {met.passage.id}")
    of_largest = "" if largest == 1 else f", in percent of the largest, {largest:.3f}"
    caption = (
        f"{met.query.id} (rows) with the tokens of {met.passage.id} that it met (columns): products times "
        f"100{of_largest}; white is 0 and less."
    )
    return Figure(name=f"pair-{number}", svg=svg, caption=caption)
