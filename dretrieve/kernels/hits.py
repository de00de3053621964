"""Sorting the hits of every query by the rule of `dretrieve.order`, compiled; most runs come sorted.

The plain twin is `dretrieve.order.best_first` per query; tests compare the two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def _larger_id(data: NDArray[np.uint8], ends: NDArray[np.int64], left: int, right: int) -> bool:
    """Return whether id ``left`` comes after id ``right`` in UTF-8 byte order."""
    first = ends[left - 1] + 1 if left > 0 else 0
    second = ends[right - 1] + 1 if right > 0 else 0
    while first < ends[left] and second < ends[right]:
        if data[first] != data[second]:
            return bool(data[first] > data[second])
        first += 1
        second += 1
    return bool(ends[left] - first > ends[right] - second)


@njit(cache=True, nogil=True)
def _merge(
    order: NDArray[np.int64],
    spare: NDArray[np.int64],
    bounds: tuple[int, int, int],
    columns: tuple[NDArray[np.int32], NDArray[np.floating[Any]]],
    ids: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> None:
    """Merge the sorted ``order[low:middle]`` and ``order[middle:high]`` into ``spare``."""
    low, middle, high = bounds
    passages, scores = columns
    left, right = low, middle
    for place in range(low, high):
        take_right = left >= middle
        if not take_right and right < high:
            a, b = order[left], order[right]
            if scores[a] != scores[b]:
                take_right = scores[b] > scores[a]
            else:
                take_right = _larger_id(ids[0], ids[1], passages[b], passages[a])
        if take_right:
            spare[place] = order[right]
            right += 1
        else:
            spare[place] = order[left]
            left += 1


@njit(cache=True, nogil=True)
def _in_order(
    start: int,
    stop: int,
    columns: tuple[NDArray[np.int32], NDArray[np.floating[Any]]],
    ids: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> bool:
    passages, scores = columns
    for row in range(start + 1, stop):
        if scores[row] > scores[row - 1]:
            return False
        if scores[row] == scores[row - 1] and _larger_id(ids[0], ids[1], passages[row], passages[row - 1]):
            return False
    return True


@njit(cache=True, nogil=True)
def _sort_rows(
    start: int,
    stop: int,
    columns: tuple[NDArray[np.int32], NDArray[np.floating[Any]]],
    ids: tuple[NDArray[np.uint8], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Return the rows ``start`` to ``stop`` in order: a bottom-up merge sort."""
    count = stop - start
    order = np.arange(start, stop)
    spare = np.empty(count, dtype=np.int64)
    width = 1
    while width < count:
        for low in range(0, count, 2 * width):
            bounds = (low, min(low + width, count), min(low + 2 * width, count))
            _merge(order, spare, bounds, columns, ids)
        order, spare = spare, order
        width *= 2
    return order


@njit(cache=True, nogil=True)
def sort_hits(
    offsets: NDArray[np.int64],
    passages: NDArray[np.int32],
    scores: NDArray[np.floating[Any]],
    data: NDArray[np.uint8],
    ends: NDArray[np.int64],
) -> None:
    """Sort the hits of each query in place.

    Args:
        offsets: [Q + 1] where each query's hits begin.
        passages: [H] rows of the id table.
        scores: [H].
        data: the ids, newline-terminated.
        ends: [P] where each id's newline stands.
    """
    for query in range(len(offsets) - 1):
        start, stop = offsets[query], offsets[query + 1]
        if not _in_order(start, stop, (passages, scores), (data, ends)):
            order = _sort_rows(start, stop, (passages, scores), (data, ends))
            passages[start:stop] = passages[order]
            scores[start:stop] = scores[order]


@njit(cache=True, nogil=True)
def rank_hits(
    offsets: NDArray[np.int64],
    columns: tuple[NDArray[np.int32], NDArray[np.floating[Any]]],
    ids: tuple[NDArray[np.uint8], NDArray[np.int64]],
    ranks: NDArray[np.int32],
) -> None:
    """Write to ``ranks`` each hit's rank in its query, from 1; arguments as `sort_hits`, nothing is moved."""
    for query in range(len(offsets) - 1):
        start, stop = offsets[query], offsets[query + 1]
        if _in_order(start, stop, columns, ids):
            for row in range(start, stop):
                ranks[row] = row - start + 1
        else:
            order = _sort_rows(start, stop, columns, ids)
            for place in range(stop - start):
                ranks[order[place]] = place + 1


@njit(cache=True, nogil=True)
def _same_id(data: NDArray[np.uint8], ends: NDArray[np.int64], left: int, right: int) -> bool:
    return not _larger_id(data, ends, left, right) and not _larger_id(data, ends, right, left)


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
    places = np.full(
        size, -1, dtype=np.int64
    )  # a hit below the query's first is left over: the place is free
    last = np.uint64(size - 1)
    for query in range(len(offsets) - 1):
        start = offsets[query]
        for hit in range(start, offsets[query + 1]):
            place = hashes[hit] & last
            while places[place] >= start:
                other = places[place]
                if hashes[other] == hashes[hit] and _same_id(data, ends, other, hit):
                    return query, int(hit)
                place = (place + np.uint64(1)) & last
            places[place] = hit
    return -1, -1
