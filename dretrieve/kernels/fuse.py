"""Joining the hits of two runs, compiled: one pass over each query's two lists, then a sort of their union.

Passages are rows of one table, so that "seen before" is one look at an array (`Scratch.held`) that is never
emptied: it holds the query that saw a row last. The plain twin, by dictionaries, stands in the tests.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.hits import Ids, sort_rows


class Hits(NamedTuple):
    """A run: where each query's hits begin [Q + 1], passages as rows of the common table, scores."""

    offsets: NDArray[np.int64]
    passages: NDArray[np.int32]
    scores: NDArray[np.floating[Any]]


class Rule(NamedTuple):
    """How two scores become one.

    ``first`` and ``second`` multiply the scores; with ``by_rank`` the reciprocal of ``constant`` + rank
    stands for a score; with ``fill`` a missing score is its list's lowest, else 0; ``depth`` cuts both lists.
    """

    first: float
    second: float
    by_rank: bool
    constant: float
    fill: bool
    depth: int


class Scratch(NamedTuple):
    """A thread's memory: who held a passage last, in which slot; the union's passages and totals."""

    held: NDArray[np.int32]
    slots: NDArray[np.int32]
    passages: NDArray[np.int32]
    totals: NDArray[np.float64]


@njit(cache=True, nogil=True)
def _bounds(hits: Hits, row: int, depth: int) -> tuple[int, int]:
    if row < 0:
        return 0, 0
    return hits.offsets[row], min(hits.offsets[row + 1], hits.offsets[row] + depth)


@njit(cache=True, nogil=True)
def _worth(rank: int, score: np.floating[Any], weight: float, rule: Rule) -> float:
    """Return what a hit at a rank (from 0) adds."""
    if rule.by_rank:
        return 1.0 / (rule.constant + rank + 1.0)
    return weight * np.float64(score)


@njit(cache=True, nogil=True)
def _low(hits: Hits, bounds: tuple[int, int], weight: float, rule: Rule) -> float:
    """Return what a passage that the list lacks gets from it."""
    if rule.by_rank or not rule.fill or bounds[1] == bounds[0]:
        return 0.0
    return weight * np.float64(hits.scores[bounds[1] - 1])


@njit(cache=True, nogil=True)
def _union(query: int, rows: tuple[int, int], runs: tuple[Hits, Hits], rule: Rule, scratch: Scratch) -> int:
    """Put a query's passages and totals into the scratch memory; return their number."""
    first, second = runs
    left, right = _bounds(first, rows[0], rule.depth), _bounds(second, rows[1], rule.depth)
    low_left, low_right = _low(first, left, rule.first, rule), _low(second, right, rule.second, rule)
    size = 0
    # The first list fills the slots in order; a passage of the second adds to its slot or opens a new one.
    for at in range(left[0], left[1]):
        passage = first.passages[at]
        scratch.held[passage], scratch.slots[passage] = query, size
        scratch.passages[size] = passage
        scratch.totals[size] = _worth(size, first.scores[at], rule.first, rule) + low_right
        size += 1
    for at in range(right[0], right[1]):
        passage = second.passages[at]
        worth = _worth(at - right[0], second.scores[at], rule.second, rule)
        if scratch.held[passage] == query:
            slot = scratch.slots[passage]
            scratch.totals[slot] = _worth(slot, first.scores[left[0] + slot], rule.first, rule) + worth
        else:
            scratch.passages[size] = passage
            scratch.totals[size] = low_left + worth
            size += 1
    return size


@njit(cache=True, nogil=True)
def _keys(totals: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Return numbers that sort the totals rounded to 32 bits, best first; the lower half is the slot."""
    scores = totals.astype(np.float32) + np.float32(0)  # -0 and 0 are equal
    words = scores.view(np.uint32)
    keys = np.empty(len(totals), dtype=np.uint64)
    # The bits of a negative float grow as it falls, as wanted; those of a positive one are turned over, but
    # for the upper one, whose 0 puts it before. Sorting whole numbers is faster than sorting rows by scores.
    for slot in range(len(totals)):
        word = words[slot]
        high = np.uint64(word) if word >> np.uint32(31) else np.uint64(~word & np.uint32(0x7FFFFFFF))
        keys[slot] = high << np.uint64(32) | np.uint64(slot)
    keys.sort()
    return keys


@njit(cache=True, nogil=True)
def _write(size: int, scratch: Scratch, out: Hits, ids: Ids, start: int, room: int) -> int:
    """Write the best of the union, ties by id descending, as many as fit; return their number."""
    keys = _keys(scratch.totals[:size])
    passages = np.empty(size, dtype=np.int32)
    scores = np.empty(size, dtype=np.float64)
    end = 0
    while end < size and end < room:
        begin = end
        # All that are equal in 32 bits; 64 bits and ids decide among them.
        while end < size and keys[end] >> np.uint64(32) == keys[begin] >> np.uint64(32):
            slot = np.int64(keys[end] & np.uint64(0xFFFFFFFF))
            passages[end], scores[end] = scratch.passages[slot], scratch.totals[slot]
            end += 1
        if end - begin > 1:
            order = np.arange(begin, end)
            sort_rows(order, (passages, scores), ids)
            passages[begin:end] = passages[order]
            scores[begin:end] = scores[order]
    kept = min(end, room)
    out.passages[start : start + kept] = passages[:kept]
    out.scores[start : start + kept] = scores[:kept]
    return kept


@njit(cache=True, nogil=True)
def fuse(
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    runs: tuple[Hits, Hits],
    rule: Rule,
    ids: Ids,
    out: Hits,
    counts: NDArray[np.int64],
    span: tuple[int, int],
) -> None:
    """Fuse a slice of the queries; slices may run in threads of their own.

    Args:
        rows: [Q] row of each query in the first and in the second run, -1 where it is absent.
        runs: both runs; a passage stands once per query.
        rule: how.
        ids: the common id table, newline-terminated, and where each id ends.
        out: room for each query's hits, filled from the left.
        counts: [Q] hits written.
        span: first and last (exclusive) query.
    """
    scratch = Scratch(
        np.full(len(ids[1]), -1, dtype=np.int32),
        np.zeros(len(ids[1]), dtype=np.int32),
        np.empty(2 * rule.depth, dtype=np.int32),
        np.empty(2 * rule.depth, dtype=np.float64),
    )
    for q in range(span[0], span[1]):
        size = _union(q, (rows[0][q], rows[1][q]), runs, rule, scratch)
        counts[q] = _write(size, scratch, out, ids, out.offsets[q], out.offsets[q + 1] - out.offsets[q])
