"""Searching an index with query vectors: checks, the search, the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, VerificationError
from dretrieve.index.base import Passages
from dretrieve.index.exact import Block, ExactOptions, check_finite, search_exact
from dretrieve.index.token_scan import search_tokens
from dretrieve.index.top_k import TopK
from dretrieve.order import id_ranks
from dretrieve.scoring.token_scores import token_score
from dretrieve.store.ids import IdTable
from dretrieve.types import Run, ScoreName, Vectors, offsets_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """Queries before their vectors are at hand: enough to know whether the run stands already.

    Attributes:
        ids: one per query, in the order of the run.
        passage_model: fingerprint of the passage side that these queries belong to.
        fingerprint: of what the vectors are a function of.
        name: for messages: a folder, or a collection and a model.
        load: returns the vectors, of the kind of the passages'; taken as float32.
        texts: ``DIR:split`` with the queries' texts, where it is known and there.
        query_model: fingerprint of the query side that made them; None where vectors came without it.
        extra: what finds that model's card again (a packaged name, inference choices), for the manifest.
    """

    ids: Sequence[str]
    passage_model: str
    fingerprint: str
    name: str
    load: Callable[[], Vectors]
    texts: str | None = None
    query_model: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def check_model(queries: Queries, passages: Passages) -> None:
    """Refuse queries of another model.

    Raises:
        VerificationError: names both fingerprints and the cure.
    """
    folder, stored = passages.embeddings.folder, passages.embeddings.passage_fingerprint
    if queries.passage_model != stored:
        made = passages.embeddings.extra.get("inference") or {}  # one model's two heads are two sides too
        chosen = "".join(f" and --set {name}={value}" for name, value in made.items())
        raise VerificationError(
            f"the queries {queries.name} belong to the passage side {queries.passage_model[:12]} of a model, "
            f"the passages in {folder} were encoded by {stored[:12]}; encode both with the same model{chosen}"
        )


def check_queries(queries: Queries, vectors: Vectors, passages: Passages) -> None:
    """Refuse query vectors that do not fit the passages.

    Raises:
        VerificationError: they have another dim, or are of the other kind.
        DataError: a vector with NaN or infinity, or an id twice (names the query).
    """
    folder = passages.embeddings.folder
    if vectors.many != (passages.embeddings.vectors.kind == "many"):
        mine, theirs = ("per token", "per passage") if vectors.many else ("per query", "per token")
        raise VerificationError(
            f"the queries {queries.name} hold one vector {mine}, the passages in {folder} one {theirs}; "
            "encode both with one model"
        )
    if vectors.dim != passages.dim:
        raise VerificationError(
            f"the queries {queries.name} have {vectors.dim} dimensions, the passages in {folder} have "
            f"{passages.dim}; encode both with one model"
        )
    bad = check_finite(vectors.values)
    if bad >= 0:
        owner = (
            bad if vectors.offsets is None else int(np.searchsorted(vectors.offsets, bad, side="right")) - 1
        )
        raise DataError(
            f"the vector of query '{queries.ids[owner]}' in {queries.name} holds NaN or infinity; encode the "
            "queries again (--precision fp32)"
        )
    if len(set(queries.ids)) != len(queries.ids):
        twice = next(text_id for text_id, count in Counter(queries.ids).items() if count > 1)
        raise DataError(f"query id '{twice}' stands twice in {queries.name}; ids must be unique")


def as_run(query_ids: Sequence[str], kept: TopK, passages: Passages) -> Run:
    """Return the hits as a run: sorted by the rule of ties, with a table of the ids that were hit."""
    offsets, rows, scores = _columns(kept, passages.ranks)
    used, places = np.unique(rows, return_inverse=True)
    return Run(
        query_ids=list(query_ids),
        passage_ids=IdTable.of(passages.ids(used)),
        offsets=offsets,
        passages=places.astype(np.int32),
        scores=scores,
    )


def _columns(
    kept: TopK, ranks: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    offsets = offsets_of(kept.sizes)
    rows = np.empty(int(offsets[-1]), dtype=np.int64)
    scores = np.empty(int(offsets[-1]), dtype=np.float32)
    for query, (found, values) in enumerate(kept.best_first(ranks)):
        rows[offsets[query] : offsets[query + 1]] = found
        scores[offsets[query] : offsets[query + 1]] = values
    return offsets, rows, scores


def search_in_memory(
    query_ids: Sequence[str],
    queries: Vectors,
    passage_ids: Sequence[str],
    passages: Vectors,
    k: int,
    *,
    score: ScoreName = "dot",
    alignment: str = "",
    threads: int = 1,
) -> Run:
    """Return the exact run over vectors in memory: what an index over the same vectors would find.

    The queries are finite and taken as float32, the passages as stored. ``score`` is ``dot``, or a name of
    `dretrieve.scoring.token_scores` for vectors per token.
    """
    ranks, rows, options = id_ranks(passage_ids), (0, len(passages)), ExactOptions(threads=threads)
    kept = TopK.empty(len(queries), min(k, len(passages)))
    if passages.many:
        by = token_score(score, weighted=passages.weights is not None, alignment=alignment)
        search_tokens(lambda start, stop: passages[start:stop], by, queries, kept, ranks, rows, options)
    else:
        values = np.ascontiguousarray(passages.values)

        def block_of(start: int, stop: int) -> Block:
            return Block(start, values[start:stop])

        search_exact(block_of, queries.values, kept, ranks, rows, options)
    offsets, found, scores = _columns(kept, ranks)
    return Run(list(query_ids), passage_ids, offsets, found.astype(np.int32), scores)


def joined(parts: Sequence[Run]) -> Run:
    """Return the runs of consecutive queries as one; each may have a table of ids of its own."""
    if not parts:
        return Run([], [], offsets_of(np.empty(0, np.int64)), np.empty(0, np.int32), np.empty(0, np.float32))
    table, passages = parts[0].passage_ids, [part.passages for part in parts]
    if any(part.passage_ids is not table for part in parts):
        places: dict[str, int] = {}
        for number, part in enumerate(parts):
            own = [places.setdefault(passage_id, len(places)) for passage_id in part.passage_ids]
            passages[number] = np.asarray(own, dtype=np.int32)[part.passages]
        table = list(places)
    return Run(
        query_ids=[query_id for part in parts for query_id in part.query_ids],
        passage_ids=table,
        offsets=offsets_of(np.concatenate([np.diff(part.offsets) for part in parts])),
        passages=np.concatenate(passages),
        scores=np.concatenate([part.scores for part in parts]),
    )
