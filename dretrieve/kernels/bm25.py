"""BM25 over postings, compiled: the exact top k of a query.

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
from numba import njit
from numpy.typing import NDArray

from dretrieve.kernels.bm25_found import BUCKETS, Found, collect, make_room, select
from dretrieve.kernels.heap import unheap

WINDOW = 16384
_LOOKUP = 16  # postings that are read in the time of one look-up
_ROOM = 1 << 16
# Above the relative error of any 64-bit sum here, far below half a unit of a 32-bit score.
_SLACK = 1.0 + 1e-12


class Postings(NamedTuple):
    """Where a term's postings begin [T + 1]; passages [P] ascending under it; pairs [P]; id ranks [N]."""

    offsets: NDArray[np.int64]
    passages: NDArray[np.int32]
    pairs: NDArray[np.uint16]
    ranks: NDArray[np.int32]


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
    postings: Postings,
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
    passages, pairs, sums, slots = postings.passages, postings.pairs, scratch.sums, scratch.slots
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
        slots[count] = slot
        count += (before == 0.0) & (after > 0.0)
        place += 1
    return place, count


@njit(cache=True, nogil=True)
def _keep(scratch: Scratch, count: int, rest: float, least: np.float32) -> int:
    """Drop the passages of a window that cannot reach the least score any more; return how many stay."""
    kept = 0
    for index in range(count):
        slot = scratch.slots[index]
        if np.float32(scratch.sums[slot] + rest) < least:
            scratch.sums[slot] = 0.0
        else:
            scratch.slots[kept] = slot
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _add_to_found(
    postings: Postings,
    span: tuple[int, int],
    first: int,
    table: NDArray[np.float32],
    scratch: Scratch,
    count: int,
) -> None:
    """Add one term's scores to the passages found in a window, no others.

    Few passages are looked up one by one; for many, the term's postings in the window (``span``) are read.
    """
    passages, pairs, sums = postings.passages, postings.pairs, scratch.sums
    place, stop = span
    if stop - place <= _LOOKUP * count:
        for at in range(place, stop):
            slot = passages[at] - first
            before = sums[slot]
            after = before + table[pairs[at]]
            sums[slot] = after if before > 0.0 else before
        return
    for index in range(count):
        slot = scratch.slots[index]
        at = _first_at_least(passages, place, stop, first + slot)
        if at < stop and passages[at] == first + slot:
            sums[slot] += table[pairs[at]]


@njit(cache=True, nogil=True)
def _prepare(
    terms: NDArray[np.int64],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    strongest: NDArray[np.float32],
) -> Query:
    """Return the query with its terms in order of what they can add at most."""
    bounds = np.empty(len(terms), dtype=np.float64)
    for index in range(len(terms)):
        weight = weights[index]
        bounds[index] = weight - weight / strongest[terms[index]]
    order = np.argsort(-bounds, kind="mergesort")
    rest = np.zeros(len(terms) + 1, dtype=np.float64)
    for index in range(len(terms) - 1, -1, -1):
        rest[index] = (rest[index + 1] + bounds[order[index]]) * _SLACK
    return Query(weights[order], offsets[terms[order]], offsets[terms[order] + 1], rest)


@njit(cache=True, nogil=True)
def _window(
    query: Query,
    essential: int,
    window: tuple[int, int],
    postings: Postings,
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
        query.places[i], count = _scan(postings, span, window, tables[i], scratch, count)
    for i in range(essential, len(query.weights)):
        count = _keep(scratch, count, query.rest[i], least)
        if count == 0:
            break
        place = _first_at_least(postings.passages, query.places[i], query.stops[i], window[0])
        query.places[i] = _first_at_least(postings.passages, place, query.stops[i], window[1])
        _add_to_found(postings, (place, query.places[i]), window[0], tables[i], scratch, count)
    return count


@njit(cache=True, nogil=True)
def _search_one(
    query: Query,
    postings: Postings,
    factors: NDArray[np.float32],
    hits: tuple[NDArray[np.int32], NDArray[np.float32]],
    scratch: Scratch,
    found: Found,
) -> int:
    """Fill one query's hits, best first; return their number."""
    for i in range(len(query.weights)):
        weight = query.weights[i]
        for pair in range(len(factors)):
            scratch.tables[i, pair] = weight - weight / factors[pair]
    found.buckets[:] = 0
    found.state[:] = 0
    found.state[3] = len(hits[0])
    scale = BUCKETS / (query.rest[0] * 1.001 + 1e-30)
    essential, least, first = len(query.weights), np.float32(0.0), 0
    end = len(postings.ranks)
    while first < end:
        count = _window(query, essential, (first, first + WINDOW), postings, scratch, least)
        if found.state[0] + count > len(found.scores):
            make_room(found, hits, postings.ranks, least, WINDOW)
        least = collect(found, (scratch.sums, scratch.slots), count, first, least, scale)
        while essential > 0 and np.float32(query.rest[essential - 1]) < least:
            essential -= 1
        nearest = end
        for i in range(essential):
            if query.places[i] < query.stops[i]:
                nearest = min(nearest, int(postings.passages[query.places[i]]))
        first = nearest if nearest == end else nearest // WINDOW * WINDOW
    size = select(found, hits, postings.ranks, least)
    unheap(hits[1], hits[0], postings.ranks, size)
    return size


@njit(cache=True, nogil=True)
def search(
    queries: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]],
    postings: Postings,
    model: tuple[NDArray[np.float32], NDArray[np.float32]],
    hits: tuple[NDArray[np.int32], NDArray[np.float32]],
    span: tuple[int, int],
    counts: NDArray[np.int64],
) -> None:
    """Search a slice of queries; each slice may run in its own thread.

    Args:
        queries: offsets [Q + 1]; distinct term rows and their weights (repetitions times idf).
        postings: the index.
        model: factor of each pair, strongest factor of each term.
        hits: passages [Q, k] and scores [Q, k], filled from the left, best first.
        span: first and last (exclusive) query.
        counts: [Q] number of hits, filled.
    """
    offsets, terms, weights = queries
    longest = np.int64(0)
    for q in range(span[0], span[1]):
        longest = max(longest, offsets[q + 1] - offsets[q])
    scratch = Scratch(
        np.zeros(WINDOW, dtype=np.float64),
        np.empty(WINDOW + 1, dtype=np.int32),
        np.empty((longest, len(model[0])), dtype=np.float32),
    )
    room = max(_ROOM, 2 * hits[0].shape[1]) + WINDOW
    found = Found(
        np.empty(room, dtype=np.int32),
        np.empty(room, dtype=np.float32),
        np.empty(BUCKETS + 1, dtype=np.int32),
        np.empty(4, dtype=np.int64),
    )
    for q in range(span[0], span[1]):
        own = slice(offsets[q], offsets[q + 1])
        query = _prepare(terms[own], weights[own], postings.offsets, model[1])
        counts[q] = _search_one(query, postings, model[0], (hits[0][q], hits[1][q]), scratch, found)
