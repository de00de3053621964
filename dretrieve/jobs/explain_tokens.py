"""The explanation ``tokens``: which query token met which passage token, with which product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import UsageError
from dretrieve.jobs.explain import Explanation
from dretrieve.jobs.explain_texts import Drawn, Part, Reading, refuse_picture
from dretrieve.models.loading import LoadedModel
from dretrieve.reports.tokens_page import Judged, Met, tokens_data, tokens_sections
from dretrieve.scoring.dot import dot_matrix
from dretrieve.scoring.token_scores import token_score
from dretrieve.types import Progress, Record, Side, Vectors

AT_ONCE = 256  # pairs whose vectors are held at a time
HITS = 3  # shown of a run, or of the relevant passages, where --hits says nothing

Pair = tuple[Record, Record]


def explain(model: LoadedModel, reading: Reading, progress: Progress) -> Explanation:
    """Return the matches of the judged pairs of the samples, by kind of token, and of the pairs to show.

    Raises:
        UsageError: no queries; a query without a passage to show; t-SNE, which is not made.
        VerificationError: the method's score is not one of products of tokens.
    """
    refuse_picture(reading, model, allowed=("--query", "--run", "--passage", "--hits"))
    drawn = reading.drawn
    if drawn is None:
        raise UsageError("--queries is missing: tokens of queries meet those of passages; give DIR:split")
    parts = {part.name: part for part in reading.parts}
    wanted = _wanted(drawn, parts[drawn.part], reading.hits or HITS)
    judged = {part.name: _judged(model, part, reading, progress) for part in reading.parts if part.pairs}
    shown = []
    pairs = [(drawn.query, passage) for passage, _ in wanted]
    for pair, (_, rank), vectors in zip(pairs, wanted, _vectors(model, pairs), strict=True):
        for record, of in zip(pair, vectors, strict=True):
            if not len(of.values):
                raise UsageError(f"{record.id} has no vector under this model, so no token of it meets one")
        shown.append(_met(model, drawn.part, pair, rank, vectors))
    score = model.card.vectors.score
    data, sections = tokens_data(score, judged, shown), tokens_sections(score, judged, shown)
    return Explanation(name="tokens", data=data, sections=sections)


def _wanted(drawn: Drawn, part: Part, hits: int) -> list[tuple[Record, int]]:
    """Return the passages to show with their ranks: named ones, hits, else relevant ones."""
    found = [(record, 0) for record in drawn.passages]
    found += [(record, rank) for rank, record in enumerate(drawn.hits[:hits], 1)]
    if not found:
        known = {of.id: of for of in (*part.samples["passage"].records, *part.beside)}
        found = [(known[name], 0) for name in sorted(drawn.relevant) if name in known][:hits]
    if not found:
        raise UsageError(
            f"query {drawn.query.id} has no relevant passage to be shown with; name some with --passage, or "
            "give a --run"
        )
    return found


def _judged(model: LoadedModel, part: Part, reading: Reading, progress: Progress) -> Judged:
    """Return what the tokens of the collection's judged pairs did."""
    found = Judged(judged=part.judged, unpaired=part.unpaired)
    queries = {of.id: of for of in part.samples["query"].records}
    passages = {of.id: of for of in (*part.samples["passage"].records, *part.beside)}
    pairs = [(queries[query], passages[passage]) for query, passage in part.pairs]
    progress.start(f"tokens of {part.name}'s judged pairs", len(pairs), "pairs")
    for pair, vectors in zip(pairs, _vectors(model, pairs), strict=True):
        if all(len(of.values) for of in vectors):
            found.add(_met(model, part.name, pair, 0, vectors), _special(model, "passage", vectors[1]))
        progress.advance(1)
        reading.check()
    progress.finish()
    return found


def _vectors(model: LoadedModel, pairs: Sequence[Pair]) -> Iterator[tuple[Vectors, Vectors]]:
    """Yield the vectors of each pair's texts as ``encode`` stores them."""
    for start in range(0, len(pairs), AT_ONCE):
        queries, passages = zip(*pairs[start : start + AT_ONCE], strict=True)
        yield from zip(_each(model, "query", queries), _each(model, "passage", passages), strict=True)


def _each(model: LoadedModel, side: Side, records: Sequence[Record]) -> list[Vectors]:
    """Return the vectors of each text; one that stands twice is encoded once."""
    every = {record.id: record for record in records}
    rows = {name: row for row, name in enumerate(every)}
    vectors = encode_records(model, side, list(every.values()))
    return [vectors[rows[record.id] : rows[record.id] + 1] for record in records]


def _special(model: LoadedModel, side: Side, vectors: Vectors) -> NDArray[np.bool_]:
    assert vectors.tokens is not None
    return np.isin(vectors.tokens, list(model.tokenizers[side].special))


def _met(model: LoadedModel, collection: str, pair: Pair, rank: int, vectors: tuple[Vectors, Vectors]) -> Met:
    (query, passage), (asked, read) = pair, vectors
    assert asked.tokens is not None
    assert read.tokens is not None
    score = token_score(model.card.vectors.score, weighted=asked.weights is not None)
    first = np.zeros(1, dtype=np.int32)
    return Met(
        collection=collection,
        query=query,
        passage=passage,
        rank=rank,
        score=float(score.pairs(read, asked, np.array([0, 1]), first)[0]),
        asked=model.tokenizers["query"].pieces(asked.tokens.tolist()),
        read=model.tokenizers["passage"].pieces(read.tokens.tolist()),
        special=_special(model, "query", asked),
        products=dot_matrix(asked.values, read.values),
    )
