"""The k best hits of many queries, kept while scores arrive in any order: compiled heaps.

The order is that of `dretrieve.order`: score descending, ties by id rank descending. Each query's hits
form a heap with the worst hit on top, so a newcomer is compared with one number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.dot import SMALLEST, finish, frozen, stored_bits

AHEAD = 8
"""Candidates whose vectors are asked for before they are needed."""


@njit(nogil=True, cache=True)
def _worse(score: Any, row: Any, other_score: Any, other_row: Any, ranks: Any) -> Any:
    """Return whether the first hit stands behind the second."""
    if score != other_score:
        return score < other_score
    return ranks[row] < ranks[other_row]


@njit(nogil=True, cache=True)
def _sink(scores: Any, rows: Any, size: Any, ranks: Any, score: Any, row: Any) -> None:
    """Put a hit in the place of the top and restore the heap."""
    place = 0
    while 2 * place + 1 < size:
        child = 2 * place + 1
        if child + 1 < size and _worse(scores[child + 1], rows[child + 1], scores[child], rows[child], ranks):
            child += 1
        if not _worse(scores[child], rows[child], score, row, ranks):
            break
        scores[place], rows[place] = scores[child], rows[child]
        place = child
    scores[place], rows[place] = score, row


@njit(nogil=True, cache=True)
def _rise(scores: Any, rows: Any, place: Any, ranks: Any, score: Any, row: Any) -> None:
    """Put a hit in the place behind the last and restore the heap."""
    while place > 0:
        parent = (place - 1) // 2
        if not _worse(score, row, scores[parent], rows[parent], ranks):
            break
        scores[place], rows[place] = scores[parent], rows[parent]
        place = parent
    scores[place], rows[place] = score, row


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _at_most(vectors: Any, row: Any, queries: Any, q: Any, slack: Any) -> Any:
    """Return a number that the canonical score surely does not exceed, from a float32 product."""
    total, square = np.float32(0), np.float32(0)
    for d in range(vectors.shape[1]):
        number = simd.widen(vectors[row, d])
        total += number * queries[q, d]
        square += number * number
    # the square is itself a float32 sum, off by much less than a thousandth of it
    return np.float64(total) + slack * (np.sqrt(np.float64(square)) * 1.001 + SMALLEST) + SMALLEST


@njit(nogil=True, cache=True)
def _canonical(vectors: Any, row: Any, queries: Any, q: Any, lanes: Any) -> Any:
    """Return the score of `dretrieve.kernels.dot` for one pair."""
    whole = vectors.shape[1] // simd.LANES
    if whole == 0:
        lanes[:] = 0
    else:
        vector = np.uintp(vectors.ctypes.data + row * vectors.strides[0])
        query = queries.ctypes.data + q * queries.strides[0]
        simd.double_lanes(vectors, (vector,), query, whole, lanes.ctypes.data)
    return finish(lanes, vectors, row, queries, q)


@njit(nogil=True, cache=True)
def _keep_best(
    kept: Any, ranks: Any, vectors: Any, first: Any, queries: Any, slacks: Any, found: Any
) -> None:
    scores, rows, sizes = kept
    offsets, candidates = found
    wide, single = queries
    k, width = scores.shape[1], vectors.shape[1] * vectors.itemsize
    base, stride = vectors.ctypes.data, vectors.strides[0]
    lanes = np.zeros(simd.LANES)
    for q in range(len(sizes)):
        for h in range(offsets[q], offsets[q + 1]):
            if h + AHEAD < offsets[q + 1]:
                for line in range(0, width, 64):
                    simd.prefetch(np.uintp(base + candidates[h + AHEAD] * stride + line))
            row = candidates[h]
            if sizes[q] == k and _at_most(vectors, row, single, q, slacks[q]) < scores[q, 0]:
                continue
            score = _canonical(vectors, row, wide, q, lanes)
            if sizes[q] < k:
                _rise(scores[q], rows[q], sizes[q], ranks, score, first + row)
                sizes[q] += 1
            elif _worse(scores[q, 0], rows[q, 0], score, first + row, ranks):
                _sink(scores[q], rows[q], k, ranks, score, first + row)


def keep_best(
    kept: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
    ranks: NDArray[Any],
    block: tuple[int, NDArray[Any]],
    queries: tuple[NDArray[np.float64], NDArray[np.float32]],
    slacks: NDArray[np.float64],
    found: tuple[NDArray[np.int64], NDArray[np.int32]],
) -> None:
    """Score candidates canonically and merge them into the kept hits, in place.

    A candidate whose float32 product, with all that it may be off, stays below the worst kept hit is skipped.

    Args:
        kept: scores [Q, k] float32, rows [Q, k] int64 and sizes [Q] int64 of the heaps.
        ranks: id rank of each row.
        block: the row of the first vector, and the vectors, [N, dim] float16 or float32.
        queries: [Q, dim], float32 numbers as float64 and as float32.
        slacks: [Q], `rounding_margin` times the query's length.
        found: offsets [Q + 1] and rows [H] of the block; no row may come twice for one query.
    """
    first, vectors = block
    if kept[0].shape[1] == 0 or len(found[1]) == 0:
        return
    vectors = stored_bits(vectors)
    _keep_best(kept, frozen(ranks), vectors, first, queries, slacks, found)
