"""An exhaustive scan in bytes that finds every passage whose score may reach a floor.

A row whose byte score plus the margin of `dretrieve.kernels.codes` stays below the floor cannot belong to
the k best, and is dropped without its stored vector having been read. The caller scores the rest.

The loop multiplies a tile of 32 rows (a panel, four numbers of each row beside each other) by 12 queries at
once and gets a bit for each row that may reach the query's floor. Faster than the matrix of all byte scores
(its twin in numpy): a quarter of the bytes of float32, sums that never leave the registers, and nothing is
written down but the few rows whose bit is set. Floors rise as hits are found, so later panels pass quickly.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.codes import PANEL_ROWS, Codes, QueryCodes, margin
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import frozen
from dretrieve.types import offsets_of

PIECE_BYTES = 1 << 18
"""Bytes of codes that are visited for all queries before the next: half of a small second-level cache."""


class _Panels(NamedTuple):
    """A block of passages: the arrays of `Codes`, and |c|."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]
    reach: float


class _Asked(NamedTuple):
    """Queries: the arrays of `QueryCodes`, codes as tiles take them, the scales inverted."""

    codes: NDArray[Any]
    starts: NDArray[np.int32]
    inverses: NDArray[np.float64]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]


class _Found(NamedTuple):
    """What may belong to the k best.

    Attributes:
        rows: [Q, capacity].
        scores: [Q, capacity], by bytes.
        counts: [Q] places that are filled; -1 where there were more than fit.
        floors: [Q] what k hits surely reach, raised on the way.
        margins: [Q] how far the scores found so far may be off.
        k: how many hits are wanted.
    """

    rows: NDArray[np.int32]
    scores: NDArray[np.float32]
    counts: NDArray[np.int64]
    floors: NDArray[np.float64]
    margins: NDArray[np.float64]
    k: int


class _Tile(NamedTuple):
    """What one tile gives: sums [12, 32] of byte products, a bit a row in masks [12], against lowest [12]."""

    sums: NDArray[np.int32]
    masks: NDArray[np.uint32]
    lowest: NDArray[np.float32]


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
    stored = (frozen(codes.codes), frozen(codes.scales), frozen(codes.errors), frozen(codes.lengths))
    tiled = simd.tile_queries(queries.codes)
    asked = _Asked(tiled, queries.starts, 1 / queries.scales, queries.errors, queries.lengths)
    found = _Found(
        rows=np.empty((num_queries, capacity), dtype=np.int32),
        scores=np.empty((num_queries, capacity), dtype=np.float32),
        counts=np.zeros(num_queries, dtype=np.int64),
        floors=floors - queries.exact @ codes.centre.astype(np.float64),  # without c·y, as the byte scores
        margins=np.zeros(num_queries),
        k=k,
    )
    _scan(_Panels(*stored, codes.reach), asked, found)
    parts = [row[:count] for row, count in zip(found.rows, found.counts.tolist(), strict=True)]
    full = np.flatnonzero(found.counts < 0)
    if len(full):
        room = num_rows + 1 if num_rows < 8 * capacity else 8 * capacity
        again, rows = scan(codes, queries.part(full), floors[full], k, room)
        for place, q in enumerate(full.tolist()):
            parts[q] = rows[again[place] : again[place + 1]]
    empty = np.empty(0, dtype=np.int32)
    return offsets_of(np.array([len(part) for part in parts], np.int64)), np.concatenate([empty, *parts])


@njit(nogil=True, cache=True)
def _scan(passages: Any, asked: Any, found: Any) -> None:
    """Visit the block in pieces that stay in the second-level cache, queries in groups, panels in order."""
    num_queries, error, length = len(found.floors), 0.0, 0.0
    piece = max(1, PIECE_BYTES // max(1, passages.codes.shape[1] * PANEL_ROWS * 4))
    tile = _Tile(
        np.empty((12, PANEL_ROWS), dtype=np.int32),
        np.empty(12, dtype=np.uint32),
        np.empty(12, dtype=np.float32),
    )
    for start in range(0, len(passages.codes), piece):
        stop = min(start + piece, len(passages.codes))
        # the worst of all panels visited so far, so that later, longer vectors do not blur earlier ones
        error = max(error, passages.errors[start:stop].max())
        length = max(length, passages.lengths[start:stop].max())
        for q in range(num_queries):
            found.margins[q] = margin(asked.lengths[q], asked.errors[q], error, length, passages.reach)
        q = 0
        while q < num_queries:
            size = 12 if q + 12 <= num_queries else (4 if q + 4 <= num_queries else 1)
            _scan_piece(passages, start, stop, asked, q, size, tile, found)
            q += size
    for q in range(num_queries):
        if found.counts[q] >= found.k:
            _compact(q, found)


@njit(nogil=True, cache=True)
def _scan_piece(
    passages: Any, start: Any, stop: Any, asked: Any, q: Any, size: Any, tile: Any, found: Any
) -> None:
    """Multiply the panels ``start`` to ``stop`` by ``size`` queries from q on; collect what passes."""
    stride, steps = asked.codes.strides[0], passages.codes.shape[1]
    codes, query_starts = asked.codes[q].ctypes.data, asked.starts[q:].ctypes.data
    panels, panel_bytes = passages.codes.ctypes.data, passages.codes.strides[0]
    scales, scale_bytes = passages.scales.ctypes.data, passages.scales.strides[0]
    for panel in range(start, stop):
        for i in range(size):
            # the smallest sum * row scale with which a row of the panel may reach the floor
            worst = passages.errors[panel], passages.lengths[panel], passages.reach
            slack = margin(asked.lengths[q + i], asked.errors[q + i], *worst)
            tile.lowest[i] = np.float32((found.floors[q + i] - slack) * asked.inverses[q + i])
        at = (
            np.uintp(panels + panel * panel_bytes),
            np.uintp(codes),
            np.uintp(query_starts),
            np.uintp(scales + panel * scale_bytes),
            np.uintp(tile.lowest.ctypes.data),
            np.uintp(tile.sums.ctypes.data),
            np.uintp(tile.masks.ctypes.data),
        )
        if size == 12:
            any_found = simd.byte_tile_12(at, stride, steps)
        elif size == 4:
            any_found = simd.byte_tile_4(at, stride, steps)
        else:
            any_found = simd.byte_tile_1(at, stride, steps)
        if any_found != 0:
            _collect(passages, panel, asked, q, size, tile, found)


@njit(nogil=True, cache=True)
def _collect(passages: Any, panel: Any, asked: Any, first: Any, size: Any, tile: Any, found: Any) -> None:
    """Append the rows whose bits are set; a full list is compacted, one that stays full is given up."""
    counts, capacity = found.counts, found.rows.shape[1]
    for i in range(size):
        q, mask = first + i, tile.masks[i]
        while mask != 0 and counts[q] >= 0:
            place = simd.lowest_bit(mask)
            mask &= mask - np.uint32(1)  # clears that bit
            score = tile.sums[i, place] * np.float64(passages.scales[panel, place]) / asked.inverses[q]
            found.rows[q, counts[q]] = panel * PANEL_ROWS + place
            found.scores[q, counts[q]] = score
            counts[q] += 1
            if counts[q] == capacity:
                _compact(q, found)
                if counts[q] > capacity * 3 // 4:
                    counts[q], found.floors[q] = -1, np.inf


@njit(nogil=True, cache=True)
def kth_largest(values: Any, k: Any) -> Any:
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
def _compact(q: Any, found: Any) -> None:
    """Raise the query's floor to what k candidates surely reach; drop those that surely stay below it."""
    rows, scores, size, slack = found.rows[q], found.scores[q], found.counts[q], found.margins[q]
    found.floors[q] = max(found.floors[q], kth_largest(scores[:size].copy(), found.k) - slack)
    kept = 0
    for h in range(size):
        if scores[h] + slack >= found.floors[q]:
            rows[kept], scores[kept] = rows[h], scores[h]
            kept += 1
    found.counts[q] = kept
