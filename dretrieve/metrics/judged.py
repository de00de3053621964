"""A run joined with judgements: all that any measure needs, in a few short arrays.

Every measure here is a function of the *judged* hits, the number of hits and the judgements. So of seven
million hits only the judged ones are kept, with their ranks, and measures are sums over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.runs.locate import Located, locate
from dretrieve.types import Qrels, Run

Values = NDArray[np.float64]  # [Q], one of each query


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The queries of the qrels, and what the run found for them.

    Attributes:
        query_ids: [Q] as in the qrels.
        retrieved: [Q] int64, hits of the query; 0 where the run lacks it.
        query: [J] int64, the query of each judged hit; hits are ordered by query, then rank.
        rank: [J] int64, from 1.
        grade: [J] int32.
        qrel_query: [N] int64, the query of each judgement.
        qrel_grade: [N] int32, by query, the highest first.
    """

    query_ids: Sequence[str]
    retrieved: NDArray[np.int64]
    query: NDArray[np.int64]
    rank: NDArray[np.int64]
    grade: NDArray[np.int32]
    qrel_query: NDArray[np.int64]
    qrel_grade: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.query_ids)

    def relevant_hits(self, rel: int, k: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return query and rank of the hits of grade ``rel`` or better within the first ``k``."""
        kept = self.grade >= rel
        if k is not None:
            kept &= self.rank <= k
        return self.query[kept], self.rank[kept]

    def num_relevant(self, rel: int) -> Values:
        """Return how many judgements of each query have grade ``rel`` or better: [Q]."""
        return self.sums(self.qrel_query[self.qrel_grade >= rel])

    def sums(self, query: NDArray[np.int64], weights: NDArray[np.float64] | None = None) -> Values:
        """Return the sum of ``weights`` (1 each if None) by query, added in the order given: [Q]."""
        return np.bincount(query, weights=weights, minlength=len(self)).astype(np.float64)


def ratio(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quotient, 0 where the denominator is 0 (trec_eval's rule for queries without relevant)."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def count_in_group(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the position of each element among equal neighbours, from 1; ``group`` is sorted."""
    if not len(group):
        return np.empty(0, dtype=np.int64)
    starts = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]]))
    lengths = np.diff(np.append(starts, len(group)))
    return np.arange(len(group), dtype=np.int64) - np.repeat(starts, lengths) + 1


def grades_of(located: Located, qrels: Qrels) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return for each located hit the query of the qrels (-1 if none judged it) and the grade.

    Args:
        located: its ids begin with the qrels' passages.
        qrels: the judgements.
    """
    position = {query_id: row for row, query_id in enumerate(qrels.query_ids)}
    of_run = np.asarray([position.get(query_id, -1) for query_id in located.query_ids], dtype=np.int64)
    query = of_run[located.query] if len(located) else located.query
    width = len(qrels.passage_ids)
    qrel_query = np.repeat(np.arange(len(qrels), dtype=np.int64), np.diff(qrels.offsets))
    keys = qrel_query * width + qrels.passages
    order = np.argsort(keys)
    wanted = np.where((query >= 0) & (located.place < width), query * width + located.place, -1)
    places = np.minimum(np.searchsorted(keys, wanted, sorter=order), max(len(keys) - 1, 0))
    if not len(keys):
        return np.full(len(query), -1, dtype=np.int64), np.zeros(len(query), dtype=np.int32)
    judged = keys[order[places]] == wanted
    return np.where(judged, query, -1), np.where(judged, qrels.grades[order[places]], 0).astype(np.int32)


def judge(run: Run | Located, qrels: Qrels) -> Judged:
    """Return the run joined with the judgements; queries of the run that have none are left out."""
    located = run if isinstance(run, Located) else locate(run, qrels.passage_ids)
    query, grade = grades_of(located, qrels)
    judged = np.flatnonzero(query >= 0)
    query, rank, grade = query[judged], located.rank[judged], grade[judged]
    order = np.lexsort((rank, query))
    qrel_query = np.repeat(np.arange(len(qrels), dtype=np.int64), np.diff(qrels.offsets))
    best_first = np.lexsort((-qrels.grades.astype(np.int64), qrel_query))
    lengths = dict(zip(located.query_ids, located.lengths.tolist(), strict=True))
    retrieved = [lengths.get(query_id, 0) for query_id in qrels.query_ids]
    return Judged(
        query_ids=qrels.query_ids,
        retrieved=np.asarray(retrieved, dtype=np.int64),
        query=query[order],
        rank=rank[order],
        grade=grade[order],
        qrel_query=qrel_query[best_first],
        qrel_grade=qrels.grades[best_first],
    )
