"""Parts of a run: the first hits, without the query's own passage, only judged passages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dretrieve.runs.hashed_ids import HashedIds
from dretrieve.store.ids import IdTable
from dretrieve.types import Run

CHUNK = 1 << 18  # hits looked at together, to stay in the processor's cache
MANY = 1 << 20  # hits; below it, importing numba would take longer than the search


def keep_hits(run: Run, kept: NDArray[np.bool_]) -> Run:
    """Return the run with the hits where ``kept`` ([H]) is true; every query stays."""
    before = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum(kept, out=before[1:])
    return replace(run, offsets=before[run.offsets], passages=run.passages[kept], scores=run.scores[kept])


def hit_ranks(run: Run) -> NDArray[np.int64]:
    """Return each hit's rank in its query, from 1: [H]."""
    starts = np.repeat(run.offsets[:-1], np.diff(run.offsets))
    return np.arange(len(run.passages), dtype=np.int64) - starts + 1


def first_hits(run: Run, depth: int) -> Run:
    """Return the run with at most ``depth`` hits for each query (trec_eval's ``-M``)."""
    if not len(run.passages) or int(np.diff(run.offsets).max()) <= depth:
        return run
    return keep_hits(run, hit_ranks(run) <= depth)


def self_hits(run: Run) -> NDArray[np.int64]:
    """Return the hits whose passage id is the query id, in order."""
    hits, places = hits_of(run, run.query_ids)
    kept: NDArray[np.int64] = hits[places == queries_of(run, hits)]
    return kept


def drop_self(run: Run) -> Run:
    """Return the run without hits whose passage id equals the query id (BEIR's rule, for ArguAna)."""
    kept = np.ones(len(run.passages), dtype=np.bool_)
    kept[self_hits(run)] = False
    return keep_hits(run, kept)


def queries_of(run: Run, hits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the query (its position in the run) of each of ``hits``."""
    after: NDArray[np.int64] = np.searchsorted(run.offsets, hits, side="right")
    return after - 1


def hits_of(run: Run, ids: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the hits, in order, whose passage id stands in ``ids`` (distinct), and where it stands."""
    places = places_of(run, ids)
    hits, found = [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for start in range(0, len(run.passages), CHUNK):
        some = places[run.passages[start : start + CHUNK]]
        here = np.flatnonzero(some >= 0)
        hits.append(here + start)
        found.append(some[here])
    return np.concatenate(hits), np.concatenate(found)


def rows_of(run: Run, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the row of each id in ``run.passage_ids``, -1 where no hit has it: [len(ids)].

    For runs whose passages have one row each.
    """
    unique = {text_id: place for place, text_id in enumerate(dict.fromkeys(ids))}
    places = places_of(run, list(unique))
    rows = np.full(len(unique), -1, dtype=np.int64)
    held = np.flatnonzero(places >= 0)
    rows[places[held]] = held
    return rows[[unique[text_id] for text_id in ids]] if len(ids) else rows


def places_of(run: Run, ids: Sequence[str]) -> NDArray[np.int32]:
    """Return for each row of ``run.passage_ids`` where its id stands in ``ids``, -1 if it does not: [P].

    Args:
        run: rows that no hit names may be -1 whatever their id.
        ids: distinct.
    """
    table = run.passage_ids
    if isinstance(table, HashedIds) or (isinstance(table, IdTable) and len(run.passages) > MANY):
        return _places_compiled(table, ids)
    wanted = {text_id: place for place, text_id in enumerate(ids)}
    places = np.full(max(len(run.passage_ids), 1), -1, dtype=np.int32)
    for row in np.unique(run.passages).tolist():
        places[row] = wanted.get(run.passage_ids[row], -1)
    return places


def _places_compiled(table: IdTable, ids: Sequence[str]) -> NDArray[np.int32]:
    from dretrieve.kernels.interning import find_all, hash_all
    from dretrieve.runs.scan import interned_ids

    if isinstance(table, HashedIds):
        hashes = table.hashes
    else:
        hashes = np.empty(len(table), dtype=np.uint64)
        hash_all(table.data, table.ends, hashes)
    places = np.empty(len(table), dtype=np.int32)
    find_all(interned_ids(ids), table.data, table.ends, hashes, places)
    return places
