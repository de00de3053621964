"""Joining partial runs, each the best passages among some rows, to the run of all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import VerificationError
from dretrieve.order import id_ranks
from dretrieve.store.ids import IdTable
from dretrieve.types import Run


def merge_runs(runs: Iterable[Run], k: int) -> Run:
    """Return for each query the k best hits of all runs, by the rule of ties.

    The runs hold different passages, so no hit comes twice. Two runs at a time are in memory.

    Args:
        runs: with the same queries in the same order; a run without any hits may have none.
        k: hits per query.

    Raises:
        VerificationError: the runs answer different queries, or a passage stands in two of them.
    """
    merged: Run | None = None
    for run in runs:
        merged = run if merged is None or not len(merged) else _merge_two(merged, run, k)
    if merged is None:
        raise VerificationError("there are no partial runs to merge")
    return merged


def _merge_two(first: Run, second: Run, k: int) -> Run:
    if not len(second):
        return first
    if list(first.query_ids) != list(second.query_ids):
        ours, theirs = set(first.query_ids), set(second.query_ids)
        odd = sorted(ours ^ theirs)[:3]
        detail = f"only one has {', '.join(odd)}" if odd else "their order differs"
        raise VerificationError(
            f"the partial runs answer different queries ({detail}); search all shards with the same queries"
        )
    ids, rows = _one_table(first, second)
    ranks = id_ranks(ids)
    offsets, passages, scores = [0], [], []
    for query in range(len(first)):
        spans = [slice(int(run.offsets[query]), int(run.offsets[query + 1])) for run in (first, second)]
        found = np.concatenate([rows[0][first.passages[spans[0]]], rows[1][second.passages[spans[1]]]])
        values = np.concatenate([first.scores[spans[0]], second.scores[spans[1]]])
        best = np.lexsort((-ranks[found], -values.astype(np.float64)))[:k]
        if len(np.unique(found)) < len(found):
            raise VerificationError(
                f"query '{first.query_ids[query]}' has a passage in two partial runs; they overlap: merge "
                "the runs of one set of shards"
            )
        passages.append(found[best].astype(np.int32))
        scores.append(values[best])
        offsets.append(offsets[-1] + len(best))
    return _compacted(first, ids, (np.asarray(offsets, dtype=np.int64), passages, scores))


def _one_table(first: Run, second: Run) -> tuple[Sequence[str], tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the ids of both runs, each once, and where each run's passages stand among them."""
    places: dict[str, int] = {}
    rows = tuple(
        np.fromiter(
            (places.setdefault(text_id, len(places)) for text_id in run.passage_ids),
            dtype=np.int64,
            count=len(run.passage_ids),
        )
        for run in (first, second)
    )
    return list(places), (rows[0], rows[1])


def _compacted(
    like: Run,
    ids: Sequence[str],
    columns: tuple[NDArray[np.int64], list[NDArray[np.int32]], list[NDArray[np.floating[Any]]]],
) -> Run:
    """Return a run whose table holds only the ids that are still hit."""
    offsets, passages, scores = columns
    used, rows = np.unique(np.concatenate(passages), return_inverse=True)
    return Run(
        query_ids=like.query_ids,
        passage_ids=IdTable.of(ids[row] for row in used.tolist()),
        offsets=offsets,
        passages=rows.astype(np.int32),
        scores=np.concatenate(scores),
        tag=like.tag,
    )
