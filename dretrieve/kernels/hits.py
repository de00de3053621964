"""Sorting the hits of every query by the rule of `dretrieve.order`, and finding repeated ones, compiled.

The plain twin is `dretrieve.order.best_first` per query; tests compare the two. Ids are byte strings in one
array, each followed by a newline, and an array of where the newlines stand: two are compared where they lie,
and only where scores tie, so that no string is made. Most runs come sorted, which one pass over them tells.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.interning import id_start, same_bytes

Scores = NDArray[np.floating[Any]]
Columns = tuple[NDArray[np.int32], Scores]  # passages as rows of an id table, scores
Ids = tuple[NDArray[np.uint8], NDArray[np.int64]]  # bytes, newline-terminated, and where the newlines stand
FEW = 16


@njit(cache=True, nogil=True)
def larger_id(data: NDArray[np.uint8], ends: NDArray[np.int64], left: int, right: int) -> bool:
    """Return whether id ``left`` comes after id ``right`` in UTF-8 byte order."""
    first, second = id_start(ends, left), id_start(ends, right)
    while first < ends[left] and second < ends[right]:
        if data[first] != data[second]:
            return bool(data[first] > data[second])
        first += 1
        second += 1
    return bool(ends[left] - first > ends[right] - second)


@njit(cache=True, nogil=True)
def _is_before(left: int, right: int, columns: Columns, ids: Ids) -> bool:
    """Return whether hit ``left`` comes before hit ``right``: a higher score, or the larger id of a tie."""
    passages, scores = columns
    if scores[left] != scores[right]:
        return bool(scores[left] > scores[right])
    return larger_id(ids[0], ids[1], passages[left], passages[right])


@njit(cache=True, nogil=True)
def _sink(order: NDArray[np.int64], root: int, size: int, columns: Columns, ids: Ids) -> None:
    """Let the hit at ``root`` change places with its later child until no child comes after it."""
    child = 2 * root + 1
    while child < size:
        if child + 1 < size and _is_before(order[child], order[child + 1], columns, ids):
            child += 1
        if not _is_before(order[root], order[child], columns, ids):
            return
        order[root], order[child] = order[child], order[root]
        root, child = child, 2 * child + 1


@njit(cache=True, nogil=True)
def sort_rows(order: NDArray[np.int64], columns: Columns, ids: Ids) -> None:
    """Sort the hits ``order`` in place: a few by insertion, many by a heap (no memory, no bad case)."""
    count = len(order)
    if count <= FEW:
        for place in range(1, count):
            row, at = order[place], place
            while at > 0 and _is_before(row, order[at - 1], columns, ids):
                order[at] = order[at - 1]
                at -= 1
            order[at] = row
        return
    # A heap whose root is the last of all; then the root goes to the end, again and again.
    for root in range(count // 2 - 1, -1, -1):
        _sink(order, root, count, columns, ids)
    for size in range(count - 1, 0, -1):
        order[0], order[size] = order[size], order[0]
        _sink(order, 0, size, columns, ids)


@njit(cache=True, nogil=True)
def _in_order(start: int, stop: int, columns: Columns, ids: Ids) -> bool:
    for row in range(start + 1, stop):
        if _is_before(row, row - 1, columns, ids):
            return False
    return True


@njit(cache=True, nogil=True)
def sort_hits(offsets: NDArray[np.int64], columns: Columns, ids: Ids) -> None:
    """Sort the hits of each query in place.

    Args:
        offsets: [Q + 1] where each query's hits begin.
        columns: [H] passages as rows of the id table, and scores.
        ids: the table: bytes, newline-terminated, and where each id's newline stands.
    """
    passages, scores = columns
    for query in range(len(offsets) - 1):
        start, stop = offsets[query], offsets[query + 1]
        if not _in_order(start, stop, columns, ids):
            order = np.arange(start, stop)
            sort_rows(order, columns, ids)
            passages[start:stop] = passages[order]
            scores[start:stop] = scores[order]


@njit(cache=True, nogil=True)
def rank_hits(offsets: NDArray[np.int64], columns: Columns, ids: Ids, ranks: NDArray[np.int32]) -> None:
    """Write to ``ranks`` each hit's rank in its query, from 1; arguments as `sort_hits`, nothing is moved."""
    for query in range(len(offsets) - 1):
        start, stop = offsets[query], offsets[query + 1]
        order = np.arange(start, stop)
        if not _in_order(start, stop, columns, ids):
            sort_rows(order, columns, ids)
        for place in range(stop - start):
            ranks[order[place]] = place + 1


@njit(cache=True, nogil=True)
def find_repeated(
    offsets: NDArray[np.int64], hashes: NDArray[np.uint64], data: NDArray[np.uint8], ends: NDArray[np.int64]
) -> tuple[int, int]:
    """Return query and hit of the first passage that a query holds twice, or (-1, -1).

    Args:
        offsets: [Q + 1] where each query's hits begin.
        hashes: [H] of the hits' passage ids.
        data: the hits' passage ids, newline-terminated, one for each hit.
        ends: [H] where each id's newline stands.
    """
    longest = 1
    for query in range(len(offsets) - 1):
        longest = max(longest, offsets[query + 1] - offsets[query])
    size = 2
    while size < 2 * longest:
        size *= 2
    # One hash table for all queries, never emptied: what stands there of an earlier query (a hit before this
    # one's first) counts as free.
    places = np.full(size, -1, dtype=np.int64)
    last = np.uint64(size - 1)
    for query in range(len(offsets) - 1):
        start = offsets[query]
        for hit in range(start, offsets[query + 1]):
            place = hashes[hit] & last
            while places[place] >= start:
                other = places[place]
                if hashes[other] == hashes[hit]:
                    begin, first = id_start(ends, hit), id_start(ends, other)
                    if same_bytes(data, begin, ends[hit], data, first):
                        return query, int(hit)
                place = (place + np.uint64(1)) & last
            places[place] = hit
    return -1, -1
