"""What a search has found so far: appended, counted by score, cut down to what may still be a hit."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dretrieve.kernels.heap import push

BUCKETS = 2048


class Found(NamedTuple):
    """What may be a hit: passages and scores, how many of them fall into each bucket of score, and a state.

    The state holds how many are found, the bucket with the k-th best, how many are in higher ones, and k.
    """

    passages: NDArray[np.int32]
    scores: NDArray[np.float32]
    buckets: NDArray[np.int32]
    state: NDArray[np.int64]


@njit(cache=True, nogil=True)
def select(
    found: Found,
    hits: tuple[NDArray[np.int32], NDArray[np.float32]],
    ranks: NDArray[np.int32],
    least: np.float32,
) -> int:
    """Make ``hits`` a heap of the best found whose score is ``least`` or more; return how many."""
    size = 0
    for index in range(found.state[0]):
        if found.scores[index] >= least:
            size = push(hits[1], hits[0], ranks, size, found.scores[index], found.passages[index])
    return size


@njit(cache=True, nogil=True)
def make_room(
    found: Found,
    hits: tuple[NDArray[np.int32], NDArray[np.float32]],
    ranks: NDArray[np.int32],
    least: np.float32,
    room: int,
) -> None:
    """Make room for so many: reduce what has been found to what may still be a hit."""
    kept = 0
    for index in range(found.state[0]):
        if found.scores[index] >= least:
            found.passages[kept], found.scores[kept] = found.passages[index], found.scores[index]
            kept += 1
    found.state[0] = kept
    if kept + room > len(found.scores):
        kept = select(found, hits, ranks, least)
        found.passages[:kept] = hits[0][:kept]
        found.scores[:kept] = hits[1][:kept]
        found.state[0] = kept


@njit(cache=True, nogil=True)
def collect(
    found: Found,
    window: tuple[NDArray[np.float64], NDArray[np.int32]],
    count: int,
    first: int,
    least: np.float32,
    scale: float,
) -> np.float32:
    """Take a window's scores over; return the score that a later passage must reach.

    Scores fall into buckets; once k are in the buckets above, lower buckets hold no hits, and the score to
    reach is a bucket's lower edge.
    """
    sums, slots = window
    number, bucket, above, k = found.state
    for index in range(count):
        slot = slots[index]
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
    found.state[0], found.state[1], found.state[2] = number, bucket, above
    return np.float32(bucket / scale * (1.0 - 1e-6))
