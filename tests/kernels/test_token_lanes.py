"""Loops with a lane per query token give what numpy gives, with the instruction for bytes and without."""

from __future__ import annotations

import numpy as np
import pytest
from numba import njit

from dretrieve.kernels import token_lanes
from dretrieve.kernels.token_lanes import (
    TILE,
    WIDTHS,
    add_centroids,
    codes_above,
    fill_table,
    lanes_above,
    products,
    shrink_table,
    soft_of_scores,
    top_of_codes,
    top_of_scores,
)

_plain_row, _plain_tile = (token_lanes._products_of(rows, vnni=False) for rows in (1, TILE))


@njit
def plain(width, rows, stride, count, steps, lanes, starts, out):
    for row in range(count):
        source, place = np.uintp(rows + row * stride), np.uintp(out + 4 * width * row)
        if row + TILE <= count:
            _plain_tile(width, source, stride, steps, lanes, starts, place)
        else:
            _plain_row(width, source, stride, steps, lanes, starts, place)


@njit
def others(width, codes, table16, table8, sums, work, masks, chosen, counts):
    """Call every other loop once; ``work`` is [8, width] float32, ``masks`` uint32, ``chosen`` int32."""
    at, row, count = work.ctypes.data, 4 * width, len(codes)
    bytes8, codes_at = np.uintp(masks.ctypes.data), np.uintp(codes.ctypes.data)
    counts[0] = top_of_codes(width, 1, codes_at, count, np.uintp(table8.ctypes.data), bytes8)
    counts[1] = codes_above(
        width, codes_at, count, np.uintp(table8.ctypes.data), bytes8, np.uintp(chosen.ctypes.data)
    )
    places = np.uintp(sums.ctypes.data), np.uintp(table16.ctypes.data)
    add_centroids(width, places[0], count, codes_at, places[1], np.uintp(at), np.uintp(at + 2 * row))
    lanes_above(width, places[0], count, np.uintp(at + 3 * row), bytes8)


@njit
def tables(width, sums, table16, table8, work):
    at, row = work.ctypes.data, 4 * work.shape[1]
    places = np.uintp(table16.ctypes.data), np.uintp(table8.ctypes.data)
    first = np.uintp(at), np.uintp(at + row), np.uintp(at + 2 * row), np.uintp(at + 3 * row)
    fill_table(width, np.uintp(sums.ctypes.data), len(sums), first[0], places[0], first[1], first[2])
    shrink_table(width, places[0], len(sums), first[3], np.uintp(at + 4 * row), places[1])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [1, 7, 8, 21])
def test_products_in_bytes_are_whole_numbers_with_the_instruction_and_without(width: int, count: int) -> None:
    chance, steps = np.random.default_rng(count), 5
    rows = chance.integers(0, 256, (count, 4 * steps), dtype=np.uint8)
    lanes = chance.integers(-128, 128, (steps, width, 4), dtype=np.int8)
    rows[0], lanes[:, 0] = 255, -128
    starts = chance.integers(-1000, 1000, width, dtype=np.int32)
    expected = starts + rows.astype(np.int64) @ lanes.transpose(0, 2, 1).reshape(-1, width).astype(np.int64)
    for way in (products, plain):
        found = np.zeros((count, width), np.int32)
        places = (np.uintp(array.ctypes.data) for array in (rows, lanes, starts, found))
        source, lanes_at, starts_at, out = places
        way(width, source, 4 * steps, count, steps, lanes_at, starts_at, out)
        assert np.array_equal(found, expected)


@njit
def largest_ones(width, wanted, codes, table, scores, lasts, sums, soft):
    places = np.uintp(codes.ctypes.data), np.uintp(table.ctypes.data), np.uintp(scores.ctypes.data)
    total = top_of_codes(width, wanted, places[0], len(codes), places[1], np.uintp(lasts.ctypes.data))
    if wanted > 1:
        top_of_scores(width, wanted, places[2], len(scores), np.uintp(sums.ctypes.data))
    soft_of_scores(width, places[2], len(scores), np.uintp(soft.ctypes.data))
    return total


@pytest.mark.parametrize("width", WIDTHS)
def test_the_largest_of_each_lane_are_numpys(width: int) -> None:
    chance, centroids, count = np.random.default_rng(width), 50, 30
    table = aligned((centroids, width), np.uint8)
    table[:] = chance.integers(0, 256, table.shape)
    codes = chance.integers(0, centroids, count).astype(np.uint16)
    scores = chance.standard_normal((count, width)).astype(np.float32)
    scores[3], scores[5] = scores[1], scores[1]
    falling, rows = -np.sort(-scores, axis=0), -np.sort(-table[codes].astype(np.int64), axis=0)
    for wanted in range(1, token_lanes.MOST_LARGEST + 1):
        lasts, sums = np.zeros(width, np.uint8), np.zeros((2, width), np.float32)
        soft = np.stack([scores.max(axis=0), np.full(width, 3.0, np.float32)])
        total = largest_ones(width, wanted, codes, table, scores, lasts, sums, soft)
        assert total == rows[:wanted].sum()
        assert np.array_equal(lasts, rows[wanted - 1])
        if wanted > 1:
            assert np.allclose(sums[0], falling[:wanted].sum(axis=0), atol=1e-5)
            assert np.array_equal(sums[1], falling[wanted - 1])
        shares = 2.0 ** (3.0 * (scores.astype(np.float64) - scores.max(axis=0)))
        assert np.allclose(soft[0], (shares * scores).sum(axis=0) / shares.sum(axis=0), atol=3e-3)


def aligned(shape: tuple[int, ...], kind: type) -> np.ndarray:
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    room = np.zeros(size + 64, np.uint8)
    skipped = -room.ctypes.data % 64
    return room[skipped : skipped + size].view(kind).reshape(shape)


@pytest.mark.parametrize("width", WIDTHS)
def test_look_ups_and_masks_are_numpys(width: int) -> None:
    chance, centroids, count = np.random.default_rng(width), 50, 30
    table16, table8 = aligned((centroids, width), np.int16), aligned((centroids, width), np.uint8)
    table16[:] = chance.integers(-32700, 32700, table16.shape)
    table8[:] = chance.integers(0, 256, table8.shape)
    codes = chance.integers(0, centroids, count).astype(np.uint16)
    sums = chance.integers(-(2**20), 2**20, (count, width)).astype(np.int32)
    work = chance.standard_normal((4, width)).astype(np.float32)
    work[2], work[3] = -np.inf, 0
    scores = work[0] * table16[codes].astype(np.float32) + work[1] * sums.astype(np.float32)
    masks, chosen, counts = np.zeros(64, np.uint32), np.zeros(count, np.int32), np.zeros(2, np.int64)
    others(width, codes, table16, table8, sums, work, masks, chosen, counts)
    best = table8[codes].max(axis=0)
    assert counts[0] == best.sum()
    near = np.flatnonzero((table8[codes] >= best).any(axis=1))
    assert chosen[: counts[1]].tolist() == near.tolist()
    assert np.array_equal(sums.view(np.float32), scores)
    assert np.array_equal(work[2], scores.max(axis=0))
    bits = (scores >= 0) @ (1 << np.arange(width, dtype=np.int64))
    assert np.array_equal(masks[:count], bits)


@pytest.mark.parametrize("width", WIDTHS)
def test_tables_are_numpys(width: int) -> None:
    chance, count = np.random.default_rng(width), 40
    sums = chance.integers(-(2**20), 2**20, (count, width)).astype(np.int32)
    table16, table8 = aligned((count, width), np.int16), aligned((count, width), np.uint8)
    work = np.zeros((5, width), np.float32)
    work[0], work[1], work[3], work[4] = 0.03, -np.inf, 0.005, 100
    tables(width, sums, table16, table8, work)
    expected = (sums.astype(np.float32) * np.float32(0.03)).astype(np.int16)
    assert np.array_equal(table16, expected)
    assert np.array_equal(work[1], expected.max(axis=0))
    assert np.allclose(work[2], expected.sum(axis=0, dtype=np.int64), rtol=1e-5)
    small = expected.astype(np.float32) * np.float32(0.005) + np.float32(100)
    assert np.array_equal(table8, np.clip(small, 0, 255).astype(np.uint8))
