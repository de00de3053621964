"""An exhaustive scan in bytes that finds every passage whose score may reach a floor.

A row whose byte score plus the margin of `dretrieve.kernels.codes` stays below the floor cannot belong to
the k best, and is dropped without its stored vector having been read. The caller scores the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.codes import PANEL_ROWS, ROUNDING, Codes, QueryCodes, margin
from dretrieve.kernels.dot import frozen

PIECE_BYTES = 1 << 18
"""Bytes of codes that are visited for all queries before the next: half of a small second-level cache."""


def scan(
    codes: Codes, queries: QueryCodes, floors: NDArray[np.float64], k: int, capacity: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the rows of one block that may belong to each query's k best.

    Args:
        codes: the block, N rows.
        queries: Q queries.
        floors: [Q], a score that k hits outside the block already reach, or minus infinity.
        k: at least 1.
        capacity: places for candidates per query, more than k. Queries with more candidates than fit (many
            near ties) are scanned again with more room.

    Returns:
        offsets [Q + 1] and rows [H]; the rows of query q, ascending, are ``rows[offsets[q]:offsets[q + 1]]``.
    """
    num_queries, num_rows = len(queries.codes), int(np.count_nonzero(~np.isnan(codes.scales)))
    rows = np.empty((num_queries, capacity), dtype=np.int32)
    scores = np.empty((num_queries, capacity), dtype=np.float32)
    counts = np.zeros(num_queries, dtype=np.int64)
    shifted = floors - queries.exact @ codes.centre.astype(np.float64)
    stored = (frozen(codes.codes), frozen(codes.scales), frozen(codes.errors), frozen(codes.lengths))
    passages = (*stored, codes.reach)
    asked = (queries.codes, queries.starts, 1 / queries.scales, queries.errors, queries.lengths)
    _scan(passages, asked, shifted, k, (rows, scores, counts))
    full = np.flatnonzero(counts < 0)
    again = np.empty(0, dtype=np.int32)
    if len(full):
        room = num_rows + 1 if num_rows < 8 * capacity else 8 * capacity
        spread, again = scan(codes, queries.part(full), floors[full], k, room)
        counts[full] = np.diff(spread)
    offsets = np.zeros(num_queries + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    flat = np.empty(int(offsets[-1]), dtype=np.int32)
    place = 0
    for q in range(num_queries):
        if place < len(full) and full[place] == q:
            flat[offsets[q] : offsets[q + 1]] = again[spread[place] : spread[place + 1]]
            place += 1
        else:
            flat[offsets[q] : offsets[q + 1]] = rows[q, : counts[q]]
    return offsets, flat


def scan_numpy(
    codes: Codes, queries: QueryCodes, floors: NDArray[np.float64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return candidates as `scan` does, from the whole matrix of byte scores: a superset of the k best."""
    panels, steps = codes.codes.shape[:2]
    rows = codes.codes.transpose(0, 2, 1, 3).reshape(panels * PANEL_ROWS, steps * 4).astype(np.int64) - 128
    scales = codes.scales.ravel().astype(np.float64)
    scores = (queries.codes.astype(np.int64) @ rows.T) * scales * queries.scales[:, None]
    worst = float(codes.errors.max(initial=0)), float(codes.lengths.max(initial=0))
    margins = margin(queries, *worst, codes.reach)
    real = ~np.isnan(scales)
    lowest = floors - queries.exact @ codes.centre.astype(np.float64)
    if np.count_nonzero(real) >= k:
        lowest = np.maximum(lowest, np.sort(scores[:, real], axis=1)[:, -k] - margins)
    found = real & (scores + margins[:, None] >= lowest[:, None])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(found.sum(axis=1))])
    return offsets, np.nonzero(found)[1].astype(np.int32)


@njit(nogil=True, cache=True)
def _scan(passages: Any, queries: Any, floors: Any, k: Any, found: Any) -> None:
    """Visit the block in pieces that stay in the second-level cache, queries in groups, panels in order."""
    codes, _, errors, lengths, reach = passages
    num_queries, counts = len(floors), found[2]
    margins, error, length = np.zeros(num_queries), 0.0, 0.0
    piece = max(1, PIECE_BYTES // max(1, codes.shape[1] * PANEL_ROWS * 4))
    sums = np.empty((12, PANEL_ROWS), dtype=np.int32)
    masks = np.empty(12, dtype=np.uint32)
    for start in range(0, len(codes), piece):
        panels = (start, min(start + piece, len(codes)))
        # the worst of all panels visited so far, so that later, longer vectors do not blur earlier ones
        error = max(error, errors[panels[0] : panels[1]].max())
        length = max(length, lengths[panels[0] : panels[1]].max())
        for i in range(num_queries):
            margins[i] = _slack(queries, i, error, length, reach)
        q = 0
        while q < num_queries:
            size = 12 if q + 12 <= num_queries else (4 if q + 4 <= num_queries else 1)
            _scan_piece(passages, queries, panels, (q, size), (sums, masks), (floors, margins, k), found)
            q += size
    for q in range(num_queries):
        if counts[q] >= k:
            _compact(q, floors, margins[q], k, found)


@njit(nogil=True, cache=True)
def _slack(queries: Any, q: Any, error: Any, length: Any, reach: Any) -> Any:
    """Return `margin` for one query."""
    rounding = ROUNDING * (length + error + reach) * queries[4][q]
    return error * queries[4][q] + length * queries[3][q] + rounding


@njit(nogil=True, cache=True)
def _scan_piece(
    passages: Any, queries: Any, panels: Any, group: Any, hits: Any, limits: Any, found: Any
) -> None:
    codes, row_scales, errors, lengths, reach = passages
    query_codes, starts, scales, _, _ = queries
    q, size = group
    lowest = np.empty(12, dtype=np.float32)
    bases = (codes.ctypes.data, row_scales.ctypes.data)
    strides = (codes.strides[0], row_scales.strides[0])
    mine = (query_codes.ctypes.data + q * query_codes.strides[0], starts.ctypes.data + q * starts.strides[0])
    out = (lowest.ctypes.data, hits[0].ctypes.data, hits[1].ctypes.data)
    width, steps = query_codes.shape[1], codes.shape[1]
    for panel in range(panels[0], panels[1]):
        for i in range(size):
            # the smallest sum * row scale with which a row of the panel may reach the floor
            slack = _slack(queries, q + i, errors[panel], lengths[panel], reach)
            lowest[i] = np.float32((limits[0][q + i] - slack) * scales[q + i])
        at = (
            np.uintp(bases[0] + panel * strides[0]),
            np.uintp(mine[0]),
            np.uintp(mine[1]),
            np.uintp(bases[1] + panel * strides[1]),
            np.uintp(out[0]),
            np.uintp(out[1]),
            np.uintp(out[2]),
        )
        if size == 12:
            any_found = simd.byte_tile_12(at, width, steps)
        elif size == 4:
            any_found = simd.byte_tile_4(at, width, steps)
        else:
            any_found = simd.byte_tile_1(at, width, steps)
        if any_found != 0:
            _collect(passages, scales, panel, group, hits, limits, found)


@njit(nogil=True, cache=True)
def _collect(passages: Any, scales: Any, panel: Any, group: Any, hits: Any, limits: Any, found: Any) -> None:
    """Append the rows whose bits are set; a full list is compacted, one that stays full is given up."""
    sums, masks = hits
    floors, margins, k = limits
    rows, scores, counts = found
    for i in range(group[1]):
        q, mask = group[0] + i, masks[i]
        while mask != 0 and counts[q] >= 0:
            place = simd.lowest_bit(mask)
            mask &= mask - np.uint32(1)
            rows[q, counts[q]] = panel * PANEL_ROWS + place
            scores[q, counts[q]] = sums[i, place] * np.float64(passages[1][panel, place]) / scales[q]
            counts[q] += 1
            if counts[q] == rows.shape[1]:
                _compact(q, floors, margins[q], k, found)
                if counts[q] > rows.shape[1] * 3 // 4:
                    counts[q], floors[q] = -1, np.inf


@njit(nogil=True, cache=True)
def _kth_largest(values: Any, k: Any) -> Any:
    """Return the k-th largest number (k from 1) by Hoare's selection; ``values`` is shuffled about."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if k - 1 <= right:
            high = right
        elif k - 1 >= left:
            low = left
        else:
            break
    return values[k - 1]


@njit(nogil=True, cache=True)
def _compact(q: Any, floors: Any, slack: Any, k: Any, found: Any) -> None:
    """Raise the query's floor to what k candidates surely reach; drop those that surely stay below it."""
    rows, scores, counts = found
    size = counts[q]
    floors[q] = max(floors[q], _kth_largest(scores[q, :size].copy(), k) - slack)
    kept = 0
    for h in range(size):
        if scores[q, h] + slack >= floors[q]:
            rows[q, kept], scores[q, kept] = rows[q, h], scores[q, h]
            kept += 1
    counts[q] = kept
