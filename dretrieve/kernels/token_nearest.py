"""Which of all stored tokens may be the nearest to a query's tokens, by codes; compiled.

Each query token keeps the tokens whose score in bytes (`dretrieve.kernels.token_tables`) may reach the
``wanted``-th largest product; the caller computes the products of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from dretrieve.kernels import simd
from dretrieve.kernels.scan import kth_largest
from dretrieve.kernels.token_lanes import lanes_above
from dretrieve.kernels.token_tables import (
    fill_tables,
    lane_margin,
    lanes_in,
    measure,
    passage_rows,
    places_of,
    score_rows,
)

FEWEST = 1 << 10


@njit(nogil=True, cache=True)
def near_tokens(stored: Any, query: Any, wanted: Any, work: Any) -> Any:
    """Return [n, …] int64 tokens for each token of the query, and [n] how many of them are filled.

    Args:
        stored: the passages.
        query: n tokens.
        wanted: how many of the nearest are surely among them, at least 1 and at most all.
        work: of this thread.
    """
    fill_tables(stored, query, work)
    at = places_of(stored, query, work)
    error, length = _extents(stored, work)
    scores = np.empty((at.tokens, max(2 * wanted, FEWEST)), dtype=np.float32)
    tokens, counts = np.empty(scores.shape, dtype=np.int64), np.zeros(at.tokens, dtype=np.int64)
    for group in range(at.groups):
        slacks = np.empty(at.width)
        floors = work.best[at.width : 2 * at.width]
        floors[:] = np.float32(np.inf)
        for lane in range(lanes_in(at, group)):
            token = group * at.width + lane
            margin = lane_margin(query.lengths[token], query.errors[token], stored.longest, error, length)
            slacks[lane], floors[lane] = 2 * margin * (1 + 2.0**-20), np.float32(-np.inf)
        for passage in range(len(stored.borders) - 1):
            start, count = stored.borders[passage], stored.borders[passage + 1] - stored.borders[passage]
            if count == 0:
                continue
            rows = passage_rows(stored, start, count, work)
            work.best[: at.width] = np.float32(-np.inf)
            score_rows(at, group, rows, at.codes + 2 * start, count)
            places = np.uintp(at.best + 4 * at.width), np.uintp(work.masks.ctypes.data)
            lanes_above(at.width, np.uintp(at.sums), count, places[0], places[1])
            found = work.sums.view(np.float32)
            for t in range(count):
                mask = work.masks[t]
                while mask != 0:
                    lane = simd.lowest_bit(mask)
                    mask &= mask - np.uint32(1)  # clears that bit
                    token = group * at.width + lane
                    if counts[token] == scores.shape[1]:
                        floors[lane] = _compact(
                            scores[token], tokens[token], counts, token, wanted, slacks[lane]
                        )
                        if counts[token] > scores.shape[1] * 3 // 4:  # many near ties
                            scores, tokens = _wider(scores), _wider(tokens)
                    scores[token, counts[token]] = found[t * at.width + lane]
                    tokens[token, counts[token]] = start + t
                    counts[token] += 1
        for lane in range(lanes_in(at, group)):
            token = group * at.width + lane
            if counts[token] > wanted:
                _compact(scores[token], tokens[token], counts, token, wanted, slacks[lane])
    return tokens, counts


@njit(nogil=True, cache=True)
def _extents(stored: Any, work: Any) -> Any:
    """Return the largest bounds of |v - c - r| and of |r| in any passage."""
    error, length = 0.0, 0.0
    for passage in range(len(stored.borders) - 1):
        if stored.borders[passage] < stored.borders[passage + 1]:
            measure(stored, passage, work)
            error = max(error, np.float64(stored.extents[passage, 0]))
            length = max(length, np.float64(stored.extents[passage, 1]))
    return error, length


@njit(nogil=True, cache=True)
def _compact(scores: Any, tokens: Any, counts: Any, token: Any, wanted: Any, slack: Any) -> Any:
    """Drop what cannot be among the nearest; return the score from which on a token can be."""
    size = counts[token]
    floor = np.float32(np.float64(kth_largest(scores[:size].copy(), wanted)) - slack)
    kept = 0
    for h in range(size):
        if scores[h] >= floor:
            scores[kept], tokens[kept] = scores[h], tokens[h]
            kept += 1
    counts[token] = kept
    return floor


@njit(nogil=True, cache=True)
def _wider(array: Any) -> Any:
    """Return a copy with twice the room."""
    found = np.empty((array.shape[0], 2 * array.shape[1]), array.dtype)
    found[:, : array.shape[1]] = array
    return found
