"""Searching an index with query vectors: checks, the search, the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, VerificationError
from dretrieve.index.base import Passages, VectorIndex
from dretrieve.index.exact import ArraySource, ExactOptions, check_finite, search_exact
from dretrieve.index.token import search_tokens
from dretrieve.index.top_k import TopK
from dretrieve.order import id_ranks
from dretrieve.scoring.token_scores import token_score
from dretrieve.store.ids import IdTable
from dretrieve.types import Run, ScoreName, Vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryVectors:
    """Queries ready to search with.

    Attributes:
        ids: one per query, in the order of the run.
        vectors: of the kind of the passages'; taken as float32.
        passage_model: fingerprint of the passage side that these queries belong to.
        fingerprint: of what the vectors are a function of.
        name: for messages: a folder, or a collection and a model.
    """

    ids: Sequence[str]
    vectors: Vectors
    passage_model: str
    fingerprint: str
    name: str


def check_queries(queries: QueryVectors, passages: Passages) -> None:
    """Refuse queries that do not fit the passages.

    Raises:
        VerificationError: they come from another model, have another dim, or are of the other kind.
        DataError: a vector with NaN or infinity, or an id twice (names the query).
    """
    check_model(queries.name, queries.passage_model, passages)
    if queries.vectors.many != (passages.embeddings.vectors.kind == "many"):
        kinds = ("per token", "per passage") if queries.vectors.many else ("per query", "per token")
        raise VerificationError(
            f"the queries {queries.name} hold one vector {kinds[0]}, the passages in "
            f"{passages.embeddings.folder} one {kinds[1]}; encode both with one model"
        )
    if queries.vectors.dim != passages.dim:
        raise VerificationError(
            f"the queries {queries.name} have {queries.vectors.dim} dimensions, the passages in "
            f"{passages.embeddings.folder} have {passages.dim}; encode both with one model"
        )
    bad = check_finite(np.asarray(queries.vectors.values, dtype=np.float32))
    if bad >= 0:
        offsets = queries.vectors.offsets
        owner = bad if offsets is None else int(np.searchsorted(offsets, bad, side="right")) - 1
        raise DataError(
            f"the vector of query '{queries.ids[owner]}' in {queries.name} holds NaN or infinity; encode the "
            "queries again (--precision fp32)"
        )
    if len(set(queries.ids)) != len(queries.ids):
        twice = next(text_id for text_id, count in Counter(queries.ids).items() if count > 1)
        raise DataError(f"query id '{twice}' stands twice in {queries.name}; ids must be unique")


def check_model(name: str, passage_model: str, passages: Passages) -> None:
    """Refuse queries of another model.

    Raises:
        VerificationError: names both fingerprints and the cure.
    """
    folder, stored = passages.embeddings.folder, passages.embeddings.passage_fingerprint
    if passage_model != stored:
        raise VerificationError(
            f"the queries {name} belong to the passage side {passage_model[:12]} of a model, the passages in "
            f"{folder} were encoded by {stored[:12]}; encode both with the same model"
        )


def search_run(
    index: VectorIndex,
    queries: QueryVectors,
    kept: TopK,
    rows: tuple[int, int],
    options: ExactOptions,
) -> Run:
    """Return the run of the best passages among some rows.

    Args:
        index: what is searched.
        queries: checked by `check_queries`.
        kept: empty, or what an interrupted search left behind.
        rows: start and stop; start is where the interrupted search stopped.
        options: threads, device, what to call after each block.
    """
    index.search(queries.vectors, kept, rows, options)
    return as_run(queries.ids, kept, index.passages)


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
    offsets = np.zeros(len(kept.sizes) + 1, dtype=np.int64)
    np.cumsum(kept.sizes, out=offsets[1:])
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
    threads: int = 1,
) -> Run:
    """Return the exact run over vectors in memory: what an index over the same vectors would find.

    Args:
        query_ids: one per query.
        queries: finite; taken as float32.
        passage_ids: one per passage.
        passages: of the queries' kind; taken as stored.
        k: hits per query.
        score: ``dot``, or a name of `dretrieve.scoring.token_scores` for vectors per token.
        threads: at least 1.
    """
    ranks, rows, options = id_ranks(passage_ids), (0, len(passages)), ExactOptions(threads=threads)
    kept = TopK.empty(len(queries), min(k, len(passages)))
    if passages.many:
        by = token_score(score, weighted=passages.weights is not None)
        search_tokens(lambda start, stop: passages[start:stop], by, queries, kept, ranks, rows, options)
    else:
        source = ArraySource(np.ascontiguousarray(passages.values))
        search_exact(source, queries.values, kept, ranks, rows, options)
    offsets, found, scores = _columns(kept, ranks)
    return Run(list(query_ids), passage_ids, offsets, found.astype(np.int32), scores)
