"""Which query token met which passage token, as data and as sections of a page.

Of ALIGNER (Qian et al., Multi-Vector Retrieval as Sparse Alignment, 2022) what Tables 4 and 5 show: saliences
with the most salient query tokens and what these are aligned with, alignments of several tokens by rank; and
the share of tokens that any query retrieves, which the introduction has for ColBERT.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.reports.experts_page import shortened
from dretrieve.reports.html import Figure, Section
from dretrieve.reports.plots import heat_map
from dretrieve.reports.routing_page import SHADES, rounded
from dretrieve.reports.shaded_text import ShadedText, shaded_texts
from dretrieve.reports.tables import Cell, Table
from dretrieve.types import Record

AROUND = 2  # tokens shown on each side of the one that was met
WORDS = "words"
RANKS = 4  # passage tokens that are named for each query token of an alignment
FRAMED = 3  # query tokens of highest salience
SHARES = {50: "*", 20: "**"}  # percent of a text's tokens, of highest salience, and their mark
PAPER = "ALIGNER's authors: 12.8 %, of the 2,000 most retrieved passages of MS MARCO, by ColBERT."


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """A query and a passage, token by token.

    Attributes:
        rank: in the run that it comes from; 0 where it comes from none.
        score: as a search gives it.
        asked: [n] the query's tokens.
        read: [m] the passage's.
        special: [n] whether the query's token is one of those that no text holds ([CLS], [MASK], markers).
        products: [n, m].
        aligned: [n, m] by which share each query token is compared with each of the passage's, in 0 to 1.
        count: with how many; of soft shares what they sum to.
        alignment: its word; empty where the score has one way only.
        salience: of the query's tokens [n] and of the passage's [m]; None where they have none.
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
    aligned: NDArray[np.float64]
    count: int = 1
    alignment: str = ""
    salience: tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]]] | None = None

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

    @property
    def parts(self) -> NDArray[np.float64]:
        """[n] what each query token adds to the sum that is divided: of A, salience included, times S."""
        weighted = self.aligned if self.salience is None else self.aligned * np.outer(*self.salience)
        found: NDArray[np.float64] = (weighted * self.products).sum(axis=1)
        return found

    @property
    def ranked(self) -> NDArray[np.int64]:
        """[n, m] the passage's tokens by falling product; equal ones in their order."""
        found: NDArray[np.int64] = np.argsort(-self.products, axis=1, kind="stable")
        return found

    @property
    def framed(self) -> dict[int, list[int]]:
        """The query tokens of highest salience, the highest first, to the passage tokens they align with."""
        if self.salience is None:
            return {}
        salient = [row for row in _by_salience(self.salience[0])[:FRAMED].tolist() if self.salience[0][row]]
        return {row: self.ranked[row, : self.count].tolist() for row in salient}


@dataclass(slots=True)
class Kind:
    """Tokens of one kind: number, Σ of products, Σ of parts, how many met their like, a special one."""

    tokens: int = 0
    product: float = 0.0
    part: float = 0.0
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
        each = (met.special.tolist(), met.places.tolist(), met.best.tolist(), met.parts.tolist())
        for token, special, place, product, part in zip(met.asked, *each, strict=True):
            kind = self.kinds.setdefault(token if special else WORDS, Kind())
            kind.tokens += 1
            kind.product += product
            kind.part += part
            kind.same += met.read[place] == token
            kind.special += bool(read_special[place])


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieved:
    """What queries took of the tokens of the passages that most of them have among their hits.

    Attributes:
        depth: hits of a query at most.
        tokens: that these hold.
        met: of these, aligned with a token of a query that has the passage among its hits.
    """

    queries: int
    depth: int
    passages: int
    tokens: int
    met: int

    @property
    def share(self) -> float:
        """Of the tokens those met."""
        return self.met / max(1, self.tokens)


def top_shares(salience: NDArray[np.floating[Any]]) -> list[int]:
    """Return of each token the least of `SHARES` that an index or a question cut to it holds; 0: none."""
    found = np.zeros(len(salience), dtype=np.int64)
    for percent in SHARES:
        found[_by_salience(salience)[: max(1, len(salience) * percent // 100)]] = percent
    shares: list[int] = found.tolist()
    return shares


def _by_salience(salience: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    return np.argsort(-salience, kind="stable")


def tokens_data(
    score: str,
    judged: Mapping[str, Judged],
    shown: Sequence[Met],
    retrieved: Retrieved | None = None,
    sums: Mapping[str, float] | None = None,
) -> dict[str, Any]:
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
        **({"retrieved": {**asdict(retrieved), "share": round(retrieved.share, 6)}} if retrieved else {}),
        **({"salience_sums": dict(sums)} if sums else {}),
    }


def _pair_data(met: Met) -> dict[str, Any]:
    tokens: list[dict[str, Any]] = [
        {"token": token, "product": product, "met": met.read[place], "place": place}
        for token, product, place in zip(met.asked, rounded(met.best), met.places.tolist(), strict=True)
    ]
    if met.alignment:
        for row, (token, places) in enumerate(zip(tokens, met.ranked[:, :RANKS].tolist(), strict=True)):
            token["aligned"] = [
                {"rank": rank, "token": met.read[place], "place": place, "product": product}
                for rank, (place, product) in enumerate(
                    zip(places, rounded(met.products[row, places]), strict=True), 1
                )
            ]
    salient: dict[str, Any] = {}
    if met.salience is not None:
        asked, read = met.salience
        for token, value, share in zip(tokens, rounded(asked), top_shares(asked), strict=True):
            token |= {"salience": value, "top_percent": share or None}
        salient["passage_tokens"] = [
            {"token": token, "salience": value, "top_percent": share or None}
            for token, value, share in zip(met.read, rounded(read), top_shares(read), strict=True)
        ]
        salient["most_salient"] = [
            {"token": met.asked[row], "place": row, "aligned": places} for row, places in met.framed.items()
        ]
    return {
        "collection": met.collection,
        "query": {"id": met.query.id, "text": met.query.text},
        "passage": {"id": met.passage.id, "title": met.passage.title, "text": met.passage.text},
        **({"rank": met.rank} if met.rank else {}),
        "score": round(met.score, 6),
        **({"alignment": met.alignment} if met.alignment else {}),
        "tokens": tokens,
        **salient,
    }


def tokens_sections(
    score: str,
    judged: Mapping[str, Judged],
    shown: Sequence[Met],
    retrieved: Retrieved | None = None,
    sums: Mapping[str, float] | None = None,
) -> list[Section]:
    """Return the sections: judged pairs by kind of query token, what is true of all, then the shown pairs.

    ``sums`` lead from solver to Σ λ / k (`models.salience.Salience.solver_sums`); nothing where no λ is
    solved for.
    """
    return [
        *([Section(title="Query tokens by kind", tables=[_kinds(judged)])] if judged else []),
        *([Section(title="Tokens that any query retrieves", text=_said(retrieved))] if retrieved else []),
        *([Section(title="What the shares of salience sum to", tables=[_summed(sums)])] if sums else []),
        *(_pair(score, met, number) for number, met in enumerate(shown, 1)),
    ]


def _said(of: Retrieved) -> list[str]:
    return [
        f"The {of.passages:,} passages that most of {of.queries:,} queries have among their hits, at most "
        f"{of.depth:,}, hold {of.tokens:,} tokens. Of these {of.met:,}, {100 * of.share:.1f} %, are aligned "
        "with a token of a query that has their passage.",
        PAPER,
    ]


def _summed(sums: Mapping[str, float]) -> Table:
    rows = [(name, 100 * value) for name, value in sums.items()]
    return Table(columns=["solver and steps", "percent of k, mean over passages"], rows=rows, decimals=1)


def _pair(score: str, met: Met, number: int) -> Section:
    """Return a table and a heat map; of an alignment its ranks, of saliences the texts in shades."""
    passage = shortened(f"{met.passage.title} {met.passage.text}".strip())
    text, figures = [_rule(score, met), passage], [_figure(met, number)]
    if met.salience is not None:
        text = [_rule(score, met), *_starred(met)]
        figures.insert(0, _shaded(met, number))
    tables = [_table(met), *([_ranks(met)] if met.alignment else [])]
    place = f", rank {met.rank}" if met.rank else ""
    title = f"{met.query.id} with {met.passage.id}{place}: score {met.score:.4f}"
    return Section(title=title, text=text, tables=tables, figures=figures)


def _rule(score: str, met: Met) -> str:
    """Return in words how the score comes about."""
    added = "added up" if score == "maxsim_sum" else "averaged"
    weighed = "" if met.salience is None else ", each weighed by the salience of both tokens"
    which = "the largest product with a token of the passage counts"
    if met.alignment.startswith("da,"):
        which = f"all products with tokens of the passage count, in shares that sum to {met.count}"
    elif met.count > 1:
        which = f"the {met.count:,} largest products with tokens of the passage count"
    by = f" (alignment {met.alignment})" if met.alignment else ""
    return f"Of each query token {which}{by}; these are {added}{weighed}."


def _starred(met: Met) -> list[str]:
    """Return both texts, before each token a shade for its salience, behind it a mark for its share."""
    assert met.salience is not None
    said = []
    for name, tokens, salience in zip(("Query", "Passage"), (met.asked, met.read), met.salience, strict=True):
        each = zip(tokens, _shades(salience), top_shares(salience), strict=True)
        steps = len(SHADES) - 1
        words = [f"{SHADES[int(np.ceil(of * steps))]}{token}{SHARES.get(top, '')}" for token, of, top in each]
        said.append(f"{name}: {' '.join(words)}")
    marks = ", ".join(f"{mark} the {percent} %" for percent, mark in reversed(SHARES.items()))
    return [*said, f"Before a token its salience, a full block the text's highest; {marks} most salient."]


def _shades(salience: NDArray[np.floating[Any]]) -> list[float]:
    """Return saliences as shares of the text's highest."""
    wide = salience.astype(np.float64)
    found: list[float] = (wide / (wide.max() or 1.0)).tolist()
    return found


def _shaded(met: Met, number: int) -> Figure:
    """Return both texts in greys, the most salient query tokens and what they align with in frames."""
    assert met.salience is not None
    frames: tuple[dict[int, list[int]], dict[int, list[int]]] = {}, {}
    for colour, (row, places) in enumerate(met.framed.items()):
        frames[0][row] = [colour]
        for place in places:
            frames[1].setdefault(place, []).append(colour)
    lines = {0: 0.0, 50: 0.6, 20: 1.8}
    names, sides = (met.query.id, met.passage.id), (met.asked, met.read)
    texts = [
        ShadedText(
            name=name,
            tokens=tokens,
            shades=_shades(salience),
            lines=[lines[percent] for percent in top_shares(salience)],
            frames=framed,
        )
        for name, tokens, salience, framed in zip(names, sides, met.salience, frames, strict=True)
    ]
    told = "; ".join(
        f"{met.asked[row]} with {', '.join(met.read[place] for place in places)}"
        for row, places in met.framed.items()
    )
    caption = (
        "Salience: grey, the darkest is the text's highest; a thick line below the 20 % most salient tokens, "
        f"a thin one below the 50 %. Frames: the {len(met.framed)} most salient query tokens and the passage "
        "tokens that each is aligned with."
    )
    about = f"the most salient tokens of {names[0]} with those of {names[1]}: {told}"
    return Figure(name=f"salience-{number}", svg=shaded_texts(texts, about), caption=caption)


def _ranks(met: Met) -> Table:
    """Return of each query token the passage tokens with the largest products, by rank."""
    places = met.ranked[:, :RANKS]
    rows: list[list[Cell]] = [
        [token, *(f"{met.read[place]} {met.products[row, place]:.3f}" for place in places[row].tolist())]
        for row, token in enumerate(met.asked)
    ]
    return Table(
        title="Passage tokens by rank: the first k are compared by top-k",
        columns=["query token", *(f"rank {rank + 1}" for rank in range(places.shape[1]))],
        rows=rows,
    )


def _kinds(judged: Mapping[str, Judged]) -> Table:
    rows: list[list[Cell]] = []
    for name, of in judged.items():
        total = sum(kind.part for kind in of.kinds.values())
        rows += [
            [
                name,
                kind,
                one.tokens,
                f"{one.product / one.tokens:.3f}",
                _percent(one.part, total),
                _percent(one.same, one.tokens),
                _percent(one.special, one.tokens),
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


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _filling(met: Met) -> dict[str, list[int]]:
    """Return the rows of special tokens that stand several times: a query is filled up with them."""
    rows: dict[str, list[int]] = {}
    for row in np.flatnonzero(met.special).tolist():
        rows.setdefault(met.asked[row], []).append(row)
    return {token: of for token, of in rows.items() if len(of) > 1}


def _table(met: Met) -> Table:
    """Return a row for each query token, and one for all of a kind that fills it up."""
    filling, best, parts, places = _filling(met), met.best.astype(np.float64), met.parts, met.places
    rows: list[list[Cell]] = []
    total = float(parts.sum())
    salience, marks = met.salience, dict[tuple[int, int], str]()
    tops = [] if salience is None else [top_shares(of) for of in salience]
    for row, token in enumerate(met.asked):
        if token in filling:
            continue
        place = int(places[row])
        own, others = list[str](), list[str]()
        if salience is not None:
            own, others = [f"{salience[0][row]:.3f}"], [f"{salience[1][place]:.3f}"]
            for column, top in ((1, tops[0][row]), (5, tops[1][place])):
                marks[len(rows), column] = f"{SHARES.get(top, ''):<2}"
        shares = [f"{best[row]:.3f}", _percent(parts[row], total)]
        rows.append([token, *own, *shares, met.read[place], *others, _around(met.read, place)])
    for token, of in filling.items():
        names = [met.read[place] for place in dict.fromkeys(places[of].tolist())]
        shares = [f"{float(best[of].sum()):.3f}", _percent(float(parts[of].sum()), total)]
        blank = [""] if tops else []
        first, second = [f"{len(names)} tokens", shortened(" ".join(names))] if names[1:] else [names[0], ""]
        rows.append([f"{len(of)} × {token}", *blank, *shares, first, *blank, second])
    own, others = (["salience"], ["its salience"]) if tops else ([], [])
    columns = ["query token", *own, "product", "of the score", "passage token", *others, "where it stands"]
    return Table(
        title=f"{met.collection}, {met.query.id}: {shortened(met.query.text)}",
        columns=columns,
        rows=rows,
        right=frozenset({1, 2, 3, 5} if tops else {1, 2}),
        marks=marks,
    )


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
