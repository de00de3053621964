"""BM25 over postings, compiled: the exact top k of a query by MaxScore.

A posting is a passage row and a *pair*: the code of (term frequency, length byte). Pairs are few (some
thousand) and everything of a posting's score but the term's weight hangs on its pair:
``score = weight - weight / factor[pair]``, ``factor = 1 + frequency / (k1 (1 - b + b length / average))``,
in 32-bit floats as Lucene computes it; a passage's score is the 64-bit sum, cast to 32 bits.

The search is MaxScore over windows of passages (Turtle and Flood 1995; windows as in Lucene's bulk scorer):
terms stand in order of their largest possible score, descending; once k hits are known, terms at the end
whose possible scores together stay below the k-th cannot bring a new hit, so they are only added to passages
that the others found. A passage's terms are always summed in that same order, so the score does not hang on
what was skipped. The plain twin in the tests sums every posting.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.heap import push, unheap

WINDOW = 16384  # passages; their sums stay in the second-level cache
BUCKETS = 2048
_LOOKUP = 16  # postings that are read in the time of one look-up
_ROOM = 1 << 16
# Above the relative error of any 64-bit sum here, far below half a unit of a 32-bit score.
_SLACK = 1.0 + 1e-12


class Index(NamedTuple):
    """What is searched.

    Attributes:
        offsets: [T + 1] where a term's postings begin.
        passages: [P] ascending under each term.
        pairs: [P] of each posting.
        ranks: [N] id ranks of the passages.
        factors: [C] of each pair.
        strongest: [T] largest factor among each term's postings.
    """

    offsets: NDArray[np.int64]
    passages: NDArray[np.int32]
    pairs: NDArray[np.uint16]
    ranks: NDArray[np.int32]
    factors: NDArray[np.float32]
    strongest: NDArray[np.float32]


class Queries(NamedTuple):
    """Where each query's terms begin [Q + 1]; its distinct terms; their weights (repetitions times idf)."""

    offsets: NDArray[np.int64]
    terms: NDArray[np.int64]
    weights: NDArray[np.float32]


class Query(NamedTuple):
    """A query's terms, largest bound first: weights, the next and the end of their postings, what is left.

    ``rest[i]`` is what terms i and after can add at most.
    """

    weights: NDArray[np.float32]
    places: NDArray[np.int64]
    stops: NDArray[np.int64]
    rest: NDArray[np.float64]


class Scratch(NamedTuple):
    """A thread's own memory: a window's sums and the slots in use, tables of a term's scores by pair."""

    sums: NDArray[np.float64]
    slots: NDArray[np.int32]
    tables: NDArray[np.float32]


class Found(NamedTuple):
    """What may be a hit: passages and scores as they came, and how many scores fall into each bucket.

    ``state`` holds the numbers named by `COUNT` (how many are found), `BUCKET` (the one with the k-th best),
    `ABOVE` (how many stand in higher ones) and `WANTED` (k).
    """

    passages: NDArray[np.int32]
    scores: NDArray[np.float32]
    buckets: NDArray[np.int32]
    state: NDArray[np.int64]


COUNT, BUCKET, ABOVE, WANTED = 0, 1, 2, 3


@njit(cache=True, nogil=True)
def _first_at_least(passages: NDArray[np.int32], start: int, stop: int, passage: int) -> int:
    """Return the first place in ``start:stop`` whose passage is not below, by doubling steps."""
    if start >= stop or passages[start] >= passage:
        return start
    step = 1
    low = start
    while low + step < stop and passages[low + step] < passage:
        low += step
        step *= 2
    high = min(low + step, stop)
    low += 1
    while low < high:
        middle = (low + high) >> 1
        if passages[middle] < passage:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def _scan(
    index: Index,
    span: tuple[int, int],
    window: tuple[int, int],
    table: NDArray[np.float32],
    scratch: Scratch,
    count: int,
) -> tuple[int, int]:
    """Add one term's scores, given by pair, to a window's passages.

    Returns:
        The place behind the window, and how many passages have been found.
    """
    passages, pairs, sums, slots = index.passages, index.pairs, scratch.sums, scratch.slots
    place, stop = span
    first, end = window
    while place < stop:
        passage = passages[place]
        if passage >= end:
            break
        slot = passage - first
        before = sums[slot]
        after = before + table[pairs[place]]
        sums[slot] = after
        # without a branch, which would be guessed wrong: the slot is always written down, and stays only if
        # the count moves on, for a passage met for the first time
        slots[count] = slot
        count += (before == 0.0) & (after > 0.0)
        place += 1
    return place, count


@njit(cache=True, nogil=True)
def _keep(scratch: Scratch, count: int, rest: float, least: np.float32) -> int:
    """Drop the passages of a window that cannot reach the least score any more; return how many stay."""
    kept = 0
    for i in range(count):
        slot = scratch.slots[i]
        if np.float32(scratch.sums[slot] + rest) < least:
            scratch.sums[slot] = 0.0
        else:
            scratch.slots[kept] = slot
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _add_to_found(
    index: Index,
    span: tuple[int, int],
    first: int,
    table: NDArray[np.float32],
    scratch: Scratch,
    count: int,
) -> None:
    """Add one term's scores to the passages found in a window, no others.

    Few passages are looked up one by one; for many, the term's postings in the window (``span``) are read.
    """
    passages, pairs, sums = index.passages, index.pairs, scratch.sums
    place, stop = span
    if stop - place <= _LOOKUP * count:
        for at in range(place, stop):
            slot = passages[at] - first
            before = sums[slot]
            after = before + table[pairs[at]]
            sums[slot] = after if before > 0.0 else before
        return
    for i in range(count):
        slot = scratch.slots[i]
        at = _first_at_least(passages, place, stop, first + slot)
        if at < stop and passages[at] == first + slot:
            sums[slot] += table[pairs[at]]


@njit(cache=True, nogil=True)
def _prepare(terms: NDArray[np.int64], weights: NDArray[np.float32], index: Index) -> Query:
    """Return the query with its terms in order of what they can add at most."""
    bounds = np.empty(len(terms), dtype=np.float64)
    for i in range(len(terms)):
        weight = weights[i]
        bounds[i] = weight - weight / index.strongest[terms[i]]
    order = np.argsort(-bounds, kind="mergesort")
    rest = np.zeros(len(terms) + 1, dtype=np.float64)
    for i in range(len(terms) - 1, -1, -1):
        rest[i] = (rest[i + 1] + bounds[order[i]]) * _SLACK
    return Query(weights[order], index.offsets[terms[order]], index.offsets[terms[order] + 1], rest)


@njit(cache=True, nogil=True)
def _window(
    query: Query,
    essential: int,
    window: tuple[int, int],
    index: Index,
    scratch: Scratch,
    least: np.float32,
) -> int:
    """Sum a window: the first ``essential`` terms find passages, the others are added to what they found.

    Returns:
        How many passages stand in the scratch memory.
    """
    count = 0
    tables = scratch.tables
    for i in range(essential):
        span = (query.places[i], query.stops[i])
        query.places[i], count = _scan(index, span, window, tables[i], scratch, count)
    for i in range(essential, len(query.weights)):
        count = _keep(scratch, count, query.rest[i], least)
        if count == 0:
            break
        place = _first_at_least(index.passages, query.places[i], query.stops[i], window[0])
        query.places[i] = _first_at_least(index.passages, place, query.stops[i], window[1])
        _add_to_found(index, (place, query.places[i]), window[0], tables[i], scratch, count)
    return count


@njit(cache=True, nogil=True)
def select(
    found: Found,
    passages: NDArray[np.int32],
    scores: NDArray[np.float32],
    ranks: NDArray[np.int32],
    least: np.float32,
) -> int:
    """Fill passages and scores with a heap of the best found that reach ``least``; return how many."""
    size = 0
    for i in range(found.state[COUNT]):
        if found.scores[i] >= least:
            size = push(scores, passages, ranks, size, found.scores[i], found.passages[i])
    return size


@njit(cache=True, nogil=True)
def make_room(
    found: Found,
    passages: NDArray[np.int32],
    scores: NDArray[np.float32],
    ranks: NDArray[np.int32],
    least: np.float32,
    room: int,
) -> None:
    """Make room for so many: reduce what has been found to what may still be a hit."""
    kept = 0
    for i in range(found.state[COUNT]):
        if found.scores[i] >= least:
            found.passages[kept], found.scores[kept] = found.passages[i], found.scores[i]
            kept += 1
    found.state[COUNT] = kept
    if kept + room > len(found.scores):
        kept = select(found, passages, scores, ranks, least)
        found.passages[:kept] = passages[:kept]
        found.scores[:kept] = scores[:kept]
        found.state[COUNT] = kept


@njit(cache=True, nogil=True)
def collect(
    found: Found,
    scratch: Scratch,
    count: int,
    first: int,
    least: np.float32,
    scale: float,
) -> np.float32:
    """Take a window's scores over; return the score that a later passage must reach.

    Scores fall into buckets; once k are in the buckets above, lower buckets hold no hits, and the score to
    reach is a bucket's lower edge.
    """
    sums, slots = scratch.sums, scratch.slots
    number, bucket, above, k = found.state
    for i in range(count):
        slot = slots[i]
        score = np.float32(sums[slot])
        sums[slot] = 0.0
        if score >= least:
            found.passages[number] = first + slot
            found.scores[number] = score
            number += 1
            own = int(score * scale)
            found.buckets[own] += 1
            above += own > bucket
    while above >= k:
        bucket += 1
        above -= found.buckets[bucket]
    found.state[COUNT], found.state[BUCKET], found.state[ABOVE] = number, bucket, above
    return np.float32(bucket / scale * (1.0 - 1e-6))


@njit(cache=True, nogil=True)
def _search_one(
    query: Query,
    index: Index,
    passages: NDArray[np.int32],
    scores: NDArray[np.float32],
    scratch: Scratch,
    found: Found,
) -> int:
    """Fill one query's hits, best first; return their number."""
    for i in range(len(query.weights)):
        weight = query.weights[i]
        for pair in range(len(index.factors)):
            scratch.tables[i, pair] = weight - weight / index.factors[pair]
    found.buckets[:] = 0
    found.state[:] = 0
    found.state[WANTED] = len(scores)
    scale = BUCKETS / (query.rest[0] * 1.001 + 1e-30)
    essential, least, first = len(query.weights), np.float32(0.0), 0
    end = len(index.ranks)
    while first < end:
        count = _window(query, essential, (first, first + WINDOW), index, scratch, least)
        if found.state[COUNT] + count > len(found.scores):
            make_room(found, passages, scores, index.ranks, least, WINDOW)
        least = collect(found, scratch, count, first, least, scale)
        # the last terms that together stay below the k-th best find nothing new any more
        while essential > 0 and np.float32(query.rest[essential - 1]) < least:
            essential -= 1
        # windows in which no essential term stands are jumped over
        nearest = end
        for i in range(essential):
            if query.places[i] < query.stops[i]:
                nearest = min(nearest, int(index.passages[query.places[i]]))
        first = nearest if nearest == end else nearest // WINDOW * WINDOW
    size = select(found, passages, scores, index.ranks, least)
    unheap(scores, passages, index.ranks, size)
    return size


@njit(cache=True, nogil=True)
def search(
    queries: Queries,
    index: Index,
    start: int,
    stop: int,
    passages: NDArray[np.int32],
    scores: NDArray[np.float32],
    counts: NDArray[np.int64],
) -> None:
    """Search a slice of queries; each slice may run in its own thread.

    Args:
        queries: all of them.
        index: what is searched.
        start: first query.
        stop: last query (exclusive).
        passages: [Q, k], filled from the left, best first.
        scores: [Q, k], the same.
        counts: [Q] number of hits, filled.
    """
    offsets = queries.offsets
    longest = np.int64(0)
    for q in range(start, stop):
        longest = max(longest, offsets[q + 1] - offsets[q])
    scratch = Scratch(
        np.zeros(WINDOW, dtype=np.float64),
        np.empty(WINDOW + 1, dtype=np.int32),
        np.empty((longest, len(index.factors)), dtype=np.float32),
    )
    room = max(_ROOM, 2 * scores.shape[1]) + WINDOW
    found = Found(
        np.empty(room, dtype=np.int32),
        np.empty(room, dtype=np.float32),
        np.empty(BUCKETS + 1, dtype=np.int32),
        np.empty(4, dtype=np.int64),
    )
    for q in range(start, stop):
        own = slice(offsets[q], offsets[q + 1])
        query = _prepare(queries.terms[own], queries.weights[own], index)
        counts[q] = _search_one(query, index, passages[q], scores[q], scratch, found)
