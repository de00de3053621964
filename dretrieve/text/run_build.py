"""From columns in any order to a `Run`: grouped by query, sorted by the one rule, duplicates refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.order import id_ranks
from dretrieve.types import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class HitColumns:
    """Hits as they stand in a file.

    Attributes:
        query_ids: in order of first appearance.
        passage_ids: likewise.
        queries: [H] int32 rows of ``query_ids``.
        passages: [H] int32 rows of ``passage_ids``.
        scores: [H] float32, finite.
        tag: the run's name.
    """

    query_ids: Sequence[str]
    passage_ids: Sequence[str]
    queries: NDArray[np.int32]
    passages: NDArray[np.int32]
    scores: NDArray[np.float32]
    tag: str


def query_offsets(queries: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return where each query's hits begin once the rows are grouped: int64 [count + 1]."""
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(queries, minlength=count), out=offsets[1:])
    return offsets


def are_ranks(offsets: NDArray[np.int64], scores: NDArray[np.float32]) -> bool:
    """Return whether the third column of a three-column run holds ranks (MS MARCO) and not scores.

    It does when all are whole, no query holds one twice, and every query's smallest is 1.

    Args:
        offsets: [Q + 1] of the grouped hits.
        scores: [H] grouped by query.
    """
    if not len(scores) or scores.min() != 1 or not np.array_equal(scores, np.floor(scores)):
        return False
    held = np.flatnonzero(np.diff(offsets))
    if not bool(np.all(np.minimum.reduceat(scores, offsets[:-1][held]) == 1)):
        return False
    queries = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    order = np.lexsort((scores, queries))
    same_query = queries[order][1:] == queries[order][:-1]
    return not bool(np.any(same_query & (scores[order][1:] == scores[order][:-1])))


def build_run(
    hits: HitColumns, *, ranks: bool | None = False, repeated: Callable[[int, int], DataError] | None = None
) -> Run:
    """Return the run; plain numpy, the twin of the compiled path that large files take.

    Args:
        hits: the columns.
        ranks: whether ``scores`` are ranks (then 1 / rank is the score); None decides by `are_ranks`.
        repeated: makes the error for two file rows that name one passage for one query.

    Raises:
        DataError: a passage stands twice for a query.
    """
    offsets = query_offsets(hits.queries, len(hits.query_ids))
    scores = hits.scores
    if ranks is None:
        ranks = are_ranks(offsets, scores[np.argsort(hits.queries, kind="stable")])
    if ranks:
        scores = (1.0 / scores.astype(np.float64)).astype(np.float32)
    by_id = id_ranks(hits.passage_ids)[hits.passages]
    order = np.lexsort((-by_id, -scores.astype(np.float64), hits.queries))
    _refuse_repeated(hits, repeated)
    return Run(
        query_ids=hits.query_ids,
        passage_ids=hits.passage_ids,
        offsets=offsets,
        passages=hits.passages[order],
        scores=scores[order],
        tag=hits.tag,
    )


def _refuse_repeated(hits: HitColumns, repeated: Callable[[int, int], DataError] | None) -> None:
    keys = hits.queries.astype(np.int64) * max(len(hits.passage_ids), 1) + hits.passages
    order = np.argsort(keys, kind="stable")
    twice = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    if len(twice):
        second = int(order[twice + 1].min())
        first = int(np.flatnonzero(keys == keys[second])[0])
        if repeated is not None:
            raise repeated(first, second)
        query, passage = (
            hits.query_ids[int(hits.queries[second])],
            hits.passage_ids[int(hits.passages[second])],
        )
        raise DataError(f"passage {passage!r} stands twice among the hits of query {query!r}")
