"""A heap of one query's best hits, the worst on top, compiled; the order is that of `dretrieve.order`.

A newcomer is compared with one number, the top; only if it is better does the heap move, log k places.

Ids are looked at for equal scores only, so that a list of ranks far larger than the caches costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit

Rows = NDArray[np.integer[Any]]


@njit(cache=True, nogil=True)
def worse(score: np.float32, passage: int, other_score: np.float32, other: int, ranks: Rows) -> bool:
    """Tell whether a hit stands behind another; ids are looked at for equal scores only."""
    if score != other_score:
        return bool(score < other_score)
    return bool(ranks[passage] < ranks[other])


@njit(cache=True, nogil=True)
def sink(scores: NDArray[np.float32], passages: Rows, ranks: Rows, size: int) -> None:
    """Let the root of a heap (the worst hit on top) sink to its place."""
    score, passage = scores[0], passages[0]
    place = 0
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        right = child + 1
        if right < size and worse(scores[right], passages[right], scores[child], passages[child], ranks):
            child = right
        if not worse(scores[child], passages[child], score, passage, ranks):
            break
        scores[place], passages[place] = scores[child], passages[child]
        place = child
    scores[place], passages[place] = score, passage


@njit(cache=True, nogil=True)
def push(
    scores: NDArray[np.float32],
    passages: Rows,
    ranks: Rows,
    size: int,
    score: np.float32,
    passage: int,
) -> int:
    """Offer a hit to the heap of the best; return its new size."""
    if size == len(scores):
        if worse(scores[0], passages[0], score, passage, ranks):
            scores[0], passages[0] = score, passage
            sink(scores, passages, ranks, size)
        return size
    place = size
    while place > 0:
        parent = (place - 1) // 2
        if not worse(score, passage, scores[parent], passages[parent], ranks):
            break
        scores[place], passages[place] = scores[parent], passages[parent]
        place = parent
    scores[place], passages[place] = score, passage
    return size + 1


@njit(cache=True, nogil=True)
def unheap(scores: NDArray[np.float32], passages: Rows, ranks: Rows, size: int) -> None:
    """Turn the heap into a list, best first."""
    for last in range(size - 1, 0, -1):
        score, passage = scores[last], passages[last]
        scores[last], passages[last] = scores[0], passages[0]
        scores[0], passages[0] = score, passage
        sink(scores, passages, ranks, last)
