"""Joining partial runs, each the best passages among some rows, to the run of all rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

import numpy as np

from dretrieve.errors import VerificationError
from dretrieve.order import best_first, id_ranks
from dretrieve.runs.build import one_table, used_ids
from dretrieve.store.ids import IdTable
from dretrieve.types import Run


def merge_runs(runs: Iterable[Run], k: int) -> Run:
    """Return for each query the k best hits of all runs, by the rule of ties.

    The runs, one at least, hold different passages, so no hit comes twice. Two at a time are in memory. They
    have the same queries in the same order; one without any hits may have none.

    Raises:
        VerificationError: the runs answer different queries, or a passage stands in two of them.
    """
    return reduce(lambda merged, run: _merge_two(merged, run, k), runs)


def _merge_two(first: Run, second: Run, k: int) -> Run:
    if not len(first) or not len(second):
        return first if len(first) else second
    if list(first.query_ids) != list(second.query_ids):
        ours, theirs = set(first.query_ids), set(second.query_ids)
        odd = sorted(ours ^ theirs)[:3]
        detail = f"only one has {', '.join(odd)}" if odd else "their order differs"
        raise VerificationError(
            f"the partial runs answer different queries ({detail}); search all shards with the same queries"
        )
    ids, rows = one_table(first, second)
    ranks = id_ranks(ids)
    offsets, passages, scores = [0], [np.empty(0, np.int32)], [np.empty(0, first.scores.dtype)]
    for query in range(len(first)):
        spans = [slice(int(run.offsets[query]), int(run.offsets[query + 1])) for run in (first, second)]
        found = np.concatenate([passage[span] for passage, span in zip(rows, spans, strict=True)])
        if len(np.unique(found)) < len(found):
            raise VerificationError(
                f"query '{first.query_ids[query]}' has a passage in two partial runs; they overlap: merge "
                "the runs of one set of shards"
            )
        values = np.concatenate([first.scores[spans[0]], second.scores[spans[1]]])
        best = best_first(values, ranks[found])[:k]
        passages.append(found[best])
        scores.append(values[best])
        offsets.append(offsets[-1] + len(best))
    columns = (np.asarray(offsets, dtype=np.int64), np.concatenate(passages), np.concatenate(scores))
    merged = Run(first.query_ids, ids, *columns, tag=first.tag)
    kept, kept_passages = used_ids(merged)
    return replace(merged, passage_ids=IdTable.of(kept), passages=kept_passages)
