"""Fusion of a dense run with a BM25 run: weighted sums with two rules for what is missing, and ranks.

* ``linear`` with ``missing="min"``: Ma et al. 2021 and Pyserini's hybrid searcher. Both lists are cut at
  ``depth``; a passage that one of them lacks gets that list's lowest score there; the score is
  ``dense + alpha x BM25``.
* ``linear`` with ``missing="zero"``: Pyserini's ``fusion --method interpolation``; a missing score is 0.
  (Theirs is ``alpha x A + (1 - alpha) x B``; the order is that of ours with alpha' = (1 - alpha) / alpha.)
* ``rrf``: reciprocal ranks ``1 / (60 + rank)`` (Cormack et al. 2009); ranks are ours, by `dretrieve.order`,
  not the file's.

A query that one run lacks has an empty list there: what it would add is 0, so its hits keep the other list's
order. Scores are added and stored in 64 bits; ties go by `dretrieve.order`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError
from dretrieve.runs.build import one_table
from dretrieve.runs.options import FuseOptions
from dretrieve.store.ids import IdTable
from dretrieve.types import Run, offsets_of


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs over one table of ids, aligned by query: made once, fused with many weights.

    Attributes:
        query_ids: those of the dense run in its order, then those that only the BM25 run has.
        passage_ids: of all passages hit in either run; the table of both.
        runs: the dense and the BM25 run.
        rows: [Q] each query's row in the dense and in the BM25 run, -1 where it is absent.
    """

    query_ids: Sequence[str]
    passage_ids: IdTable
    runs: tuple[Run, Run]
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]

    def absent(self) -> tuple[int, int]:
        """Return how many queries the dense run lacks and how many the BM25 run lacks."""
        return int((self.rows[0] < 0).sum()), int((self.rows[1] < 0).sum())

    def passages_of(self, query: int, depth: int) -> list[str]:
        """Return the passages among the first ``depth`` of both lists of a query, each once."""
        found = [np.empty(0, np.int32)]
        for run, rows in zip(self.runs, self.rows, strict=True):
            row = int(rows[query])
            if row >= 0:
                start, stop = run.offsets[row : row + 2].tolist()
                found.append(run.passages[start : min(stop, start + depth)])
        return [self.passage_ids[passage] for passage in np.unique(np.concatenate(found)).tolist()]


def align(dense: Run, bm25: Run) -> Pair:
    """Return the two runs over one table of ids."""
    ids, (first, second) = one_table(dense, bm25)
    table = ids if isinstance(ids, IdTable) else IdTable.of(ids)
    runs = (
        replace(dense, passage_ids=table, passages=first),
        replace(bm25, passage_ids=table, passages=second),
    )
    query_ids = list(dict.fromkeys([*dense.query_ids, *bm25.query_ids]))
    row_of = [{query_id: row for row, query_id in enumerate(run.query_ids)} for run in runs]
    rows = [np.asarray([places.get(query_id, -1) for query_id in query_ids], np.int64) for places in row_of]
    return Pair(query_ids, table, runs, (rows[0], rows[1]))


def fuse(pair: Pair, options: FuseOptions, *, span: tuple[int, int] | None = None, threads: int = 1) -> Run:
    """Return the fused run.

    The result is the same for any number of threads.

    Raises:
        UsageError: a weighted score is too large for 64 bits.
    """
    from dretrieve.kernels import fuse as kernels

    start, stop = span or (0, len(pair.query_ids))
    room = np.minimum(_lengths(pair, options.depth)[start:stop], options.hits)
    offsets = offsets_of(room)
    out = kernels.Hits(offsets, np.empty(int(offsets[-1]), np.int32), np.empty(int(offsets[-1]), np.float64))
    counts = np.zeros(stop - start, dtype=np.int64)
    rows = (pair.rows[0][start:stop], pair.rows[1][start:stop])
    dense, bm25 = (kernels.Hits(run.offsets, run.passages, run.scores) for run in pair.runs)
    ids = (pair.passage_ids.data, pair.passage_ids.ends)
    longest = max(int(np.diff(run.offsets).max(initial=0)) for run in pair.runs)
    rule = kernels.Rule(
        *options.weights,
        options.method == "rrf",
        float(options.rrf_k),
        options.missing == "min",
        min(options.depth, longest),
    )

    def part(bounds: tuple[int, int]) -> None:
        kernels.fuse(rows, (dense, bm25), rule, ids, out, counts, bounds)

    with ThreadPoolExecutor(threads) as pool:
        cuts = [(stop - start) * turn // threads for turn in range(threads + 1)]
        list(pool.map(part, pairwise(cuts)))
    kept = np.arange(len(out.passages)) - np.repeat(offsets[:-1], room) < np.repeat(counts, room)
    if not np.isfinite(out.scores[kept]).all():
        raise UsageError(f"with --alpha {options.alpha:g} a fused score is too large for 64 bits; take less")
    return Run(
        query_ids=list(pair.query_ids[start:stop]),
        passage_ids=pair.passage_ids,
        offsets=offsets_of(counts),
        passages=out.passages[kept],
        scores=out.scores[kept],
    )


def _lengths(pair: Pair, depth: int) -> NDArray[np.int64]:
    """Return how many hits the two lists of each query have together, at most."""
    total = np.zeros(len(pair.query_ids), dtype=np.int64)
    for run, rows in zip(pair.runs, pair.rows, strict=True):
        lengths = np.append(np.minimum(np.diff(run.offsets), depth), 0)  # the last stands for an absent query
        total += lengths[rows]
    return total
