"""From columns in any order to a `Run`: grouped by query, sorted by the one rule, duplicates refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, quoted
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
        scores: [H] float64, finite.
        tag: the run's name.
    """

    query_ids: Sequence[str]
    passage_ids: Sequence[str]
    queries: NDArray[np.int32]
    passages: NDArray[np.int32]
    scores: NDArray[np.float64]
    tag: str


def query_offsets(queries: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return where each query's hits begin once the rows are grouped: int64 [count + 1]."""
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(queries, minlength=count), out=offsets[1:])
    return offsets


@dataclass(frozen=True, slots=True)
class Column:
    """The third of three columns, by query, the lines of each in the order of the file.

    Attributes:
        offsets: [Q + 1] where each query's begin.
        scores: [H] the numbers.
        fractions: how many are not written as whole numbers.
    """

    offsets: NDArray[np.int64]
    scores: NDArray[np.float64]
    fractions: int

    def no_rank(self) -> int | None:
        """Return the first that can be no rank: below 0 or no whole number; None if all can."""
        return _first((self.scores < 0) | (self.scores != np.floor(self.scores)))

    def not_next_rank(self) -> int | None:
        """Return the first that is not its query's next rank, counted from 1; None if all are."""
        starts = np.repeat(self.offsets[:-1], np.diff(self.offsets))
        return _first(self.scores != np.arange(1, len(self.scores) + 1) - starts)


def _first(found: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(found)) if found.any() else None


def score_of_ranks(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores that order as the ranks do: 1 / rank, or 1 / (rank + 1) where they count from 0."""
    reciprocals: NDArray[np.float64] = 1.0 / (ranks + (1.0 if len(ranks) and ranks.min() < 1 else 0.0))
    return reciprocals


def build_run(
    hits: HitColumns, *, ranks: bool = False, repeated: Callable[[int, int], DataError] | None = None
) -> Run:
    """Return the run; plain numpy, the twin of the compiled path that large files take.

    Args:
        hits: the columns.
        ranks: whether ``scores`` are ranks (then `score_of_ranks` gives the scores).
        repeated: makes the error for two file rows that name one passage for one query.

    Raises:
        DataError: a passage stands twice for a query.
    """
    offsets = query_offsets(hits.queries, len(hits.query_ids))
    scores = score_of_ranks(hits.scores) if ranks else hits.scores
    by_id = id_ranks(hits.passage_ids)[hits.passages]
    order = np.lexsort((-by_id, -scores, hits.queries))
    _refuse_repeated(hits, repeated)
    return Run(
        query_ids=hits.query_ids,
        passage_ids=hits.passage_ids,
        offsets=offsets,
        passages=hits.passages[order],
        scores=scores[order],
        tag=hits.tag,
        by_rank=ranks,
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
        raise DataError(f"passage {quoted(passage)} stands twice among the hits of query {quoted(query)}")
