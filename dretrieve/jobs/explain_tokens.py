"""The explanation ``tokens``: which query token met which passage token, with which product and salience.

Beside single pairs it says which share of the tokens of the passages that are retrieved most any query
retrieves: ALIGNER's introduction counts them, over 2,000 passages. There a token is retrieved when it is
among a query token's nearest; here when it is aligned with a token of a query that has its passage among its
hits, so that a run is enough. Of an ALIGNER whose salience is solved for, it says what the shares of passages
sum to by each solver.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import UsageError
from dretrieve.jobs.explain import Explanation
from dretrieve.jobs.explain_texts import Drawn, Part, Reading, hit_record, refuse_picture, token_batches
from dretrieve.models.aligner import Aligner
from dretrieve.models.loading import LoadedModel
from dretrieve.models.salience import exact
from dretrieve.reports.tokens_page import Judged, Met, Retrieved, tokens_data, tokens_sections
from dretrieve.runs.read import read_run
from dretrieve.scoring.alignment import DEFAULT, Alignment, parse_alignment
from dretrieve.scoring.dot import dot_matrix
from dretrieve.scoring.token_scores import token_score
from dretrieve.types import Progress, Record, Run, Side, Vectors

AT_ONCE = 256  # pairs or passages whose vectors are held at a time
HITS = 3  # shown of a run, or of the relevant passages, where --hits says nothing
MOST_RETRIEVED = 2000  # passages whose tokens are counted

Pair = tuple[Record, Record]


def explain(model: LoadedModel, reading: Reading, progress: Progress) -> Explanation:
    """Return the matches of the judged pairs of the samples, by kind of token, and of the pairs to show.

    Raises:
        UsageError: no queries; a query without a passage to show; t-SNE, which is not made.
        VerificationError: the method's score is not one of products of tokens; a run of another collection.
    """
    refuse_picture(reading, model, allowed=("--query", "--run", "--passage", "--hits"), several=True)
    if not reading.chosen:
        raise UsageError("--queries is missing: tokens of queries meet those of passages; give DIR:split")
    parts = {part.name: part for part in reading.parts}
    wanted = [
        (drawn, passage, rank)
        for drawn in reading.chosen
        for passage, rank in _wanted(drawn, parts[drawn.part], reading.config.hits or HITS)
    ]
    judged = {part.name: _judged(model, part, reading, progress) for part in reading.parts if part.pairs}
    shown = []
    pairs = [(drawn.query, passage) for drawn, passage, _ in wanted]
    for pair, (drawn, _, rank), vectors in zip(pairs, wanted, _vectors(model, pairs), strict=True):
        for record, of in zip(pair, vectors, strict=True):
            if not len(of.values):
                raise UsageError(f"{record.id} has no vector under this model, so no token of it meets one")
        shown.append(_met(model, drawn.part, pair, rank, vectors))
    run = read_run(reading.config.run) if reading.config.run is not None else None
    retrieved = _retrieved(model, parts[reading.chosen[0].part], run, reading, progress) if run else None
    score, sums = model.card.vectors.score, _sums(model, reading, progress)
    found: dict[str, Any] = {"tokens_retrieved": round(retrieved.share, 6)} if retrieved else {}
    return Explanation(
        name="tokens",
        data=tokens_data(score, judged, shown, retrieved, sums),
        sections=tokens_sections(score, judged, shown, retrieved, sums),
        found=found | ({"salience_sums": sums} if sums else {}),
    )


@torch.inference_mode()
def _sums(model: LoadedModel, reading: Reading, progress: Progress) -> dict[str, float]:
    """Return solver to the mean of Σ λ / k over the sampled passages; nothing where no λ is solved for."""
    method = model.encoder
    if not (isinstance(method, Aligner) and method.config.salience == "entropy"):
        return {}
    passages = [record for part in reading.parts for record in part.samples["passage"].records]
    found: dict[str, list[float]] = {}
    progress.start("what the salience of passages sums to", len(passages), "texts")
    for rows, batch in token_batches(model, "passage", passages):
        scores, mask = method.salience_scores(method.encoder.states(batch), "passage"), batch.mask
        for name, sums in method.gate("passage").solver_sums(scores, mask.to(scores.device)).items():
            found.setdefault(name, []).extend(sums.tolist())
        progress.advance(len(rows))
        reading.check()
    progress.finish()
    return {name: round(fmean(sums), 6) for name, sums in found.items()}


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
    rows = {record: row for row, record in enumerate(dict.fromkeys(records))}  # two sets may share an id
    vectors = encode_records(model, side, list(rows))
    return [vectors[rows[record] : rows[record] + 1] for record in records]


def _special(model: LoadedModel, side: Side, vectors: Vectors) -> NDArray[np.bool_]:
    assert vectors.tokens is not None
    return np.isin(vectors.tokens, list(model.tokenizers[side].special))


def _alignment(model: LoadedModel) -> str:
    """Return the word of the alignment; empty where the score has one way only."""
    return str(model.card.chosen(model.choices).get("alignment", ""))


def _met(model: LoadedModel, collection: str, pair: Pair, rank: int, vectors: tuple[Vectors, Vectors]) -> Met:
    (query, passage), (asked, read) = pair, vectors
    assert asked.tokens is not None
    assert read.tokens is not None
    word = _alignment(model)
    score = token_score(model.card.vectors.score, weighted=asked.weights is not None, alignment=word)
    first = np.zeros(1, dtype=np.int32)
    alignment, products = parse_alignment(word or DEFAULT), dot_matrix(asked.values, read.values)
    salience = None
    if asked.weights is not None and read.weights is not None:
        salience = asked.weights.astype(np.float64), read.weights.astype(np.float64)
    return Met(
        collection=collection,
        query=query,
        passage=passage,
        rank=rank,
        score=float(score.pairs(read, asked, np.array([0, 1]), first)[0]),
        asked=model.tokenizers["query"].pieces(asked.tokens.tolist()),
        read=model.tokenizers["passage"].pieces(read.tokens.tolist()),
        special=_special(model, "query", asked),
        products=products,
        aligned=aligned(products, alignment),
        count=_count(alignment, len(read.values)),
        alignment=word and str(alignment),
        salience=salience,
    )


def _count(alignment: Alignment, tokens: int) -> int:
    """Return with how many tokens of a passage of so many each query token is compared."""
    return int(alignment.counts(np.array([tokens]))[0])


def aligned(products: NDArray[np.float32], alignment: Alignment) -> NDArray[np.float64]:
    """Return Ã [n, m], which depends on the products [n, m] alone (equation 2 of ALIGNER)."""
    count = _count(alignment, products.shape[1])
    if alignment.epsilon:
        scores = torch.from_numpy(products.astype(np.float64))
        return exact(scores, torch.full((len(scores),), count), alignment.epsilon).numpy()
    found = np.zeros(products.shape)
    places = np.argsort(-products, axis=1, kind="stable")[:, :count]
    np.put_along_axis(found, places, 1.0, axis=1)
    return found


def _retrieved(
    model: LoadedModel, part: Part, run: Run, reading: Reading, progress: Progress
) -> Retrieved | None:
    """Return which tokens of the most retrieved passages a query of the sample retrieves; None: no hits."""
    asked, askers = _askers(run, part.samples["query"].records)
    ids = [run.passage_ids[passage] for passage in askers]
    every = sorted(zip(ids, askers.values(), strict=True), key=lambda of: (-len(of[1]), of[0]))
    most = every[:MOST_RETRIEVED]
    if not most:
        return None
    alignment = parse_alignment(_alignment(model) or DEFAULT)
    queries = encode_records(model, "query", asked)
    progress.start(f"tokens of {part.name}'s most retrieved passages", len(most), "passages")
    tokens = met = 0
    for start in range(0, len(most), AT_ONCE):
        some = most[start : start + AT_ONCE]
        passages = _each(model, "passage", [hit_record(part, name, reading.config.run) for name, _ in some])
        for (_, rows), read in zip(some, passages, strict=True):
            tokens += len(read.values)
            met += int(np.count_nonzero(_reached(queries.take(np.array(rows)), read, alignment)))
            reading.check()
        progress.advance(len(some))
    progress.finish()
    depth = max(map(int, np.diff(run.offsets)))
    return Retrieved(queries=len(asked), depth=depth, passages=len(most), tokens=tokens, met=met)


def _askers(run: Run, records: Sequence[Record]) -> tuple[list[Record], dict[int, list[int]]]:
    """Return those queries that the run has, and of each passage number of the run the rows of its askers."""
    places = {name: place for place, name in enumerate(run.query_ids)}
    asked = [record for record in records if record.id in places]
    askers: dict[int, list[int]] = {}
    for row, record in enumerate(asked):
        place = places[record.id]
        for passage in run.passages[run.offsets[place] : run.offsets[place + 1]].tolist():
            askers.setdefault(passage, []).append(row)
    return asked, askers


def _reached(queries: Vectors, read: Vectors, alignment: Alignment) -> NDArray[np.bool_]:
    """Return [m] which of a passage's tokens weigh in the score of any of these queries."""
    found = np.zeros(len(read.values), dtype=np.bool_)
    if not (len(queries.values) and len(found)):
        return found
    values = np.asarray(queries.values, dtype=np.float32)
    if queries.weights is not None:
        values = values[queries.weights > 0]
    products = values @ np.asarray(read.values, dtype=np.float32).T
    count = _count(alignment, len(found))
    places = products.argmax(axis=1) if count == 1 else products.argpartition(-count, axis=1)[:, -count:]
    found[np.ravel(places)] = True
    return found if read.weights is None else found & (read.weights > 0)
