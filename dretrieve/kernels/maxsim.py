"""The best dot product of each query token, added over a query's tokens: compiled.

Canonical dots, which have a twin in numpy, are taken one pair of texts at a time: for every query token the
loop goes once over the passage's token vectors, which stand beside each other in memory, and keeps the
largest product; the largest are added in float64 in the order of the query's tokens. Faster than the twin
because no table of products is written down, four passage tokens share each number of the query that is
read, and float16 is widened in registers. Where a table of near products stands already, only tokens that
may be the best by it are looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import canonical, finish, frozen, stored_bits

Near = tuple[NDArray[np.float32], NDArray[np.float64]]
"""[T, S] dots of all passages' tokens with all queries', which may be off, and [S] how far below another dot
one may stand there that is larger canonically, with room for that distance's own rounding to float32."""


def sums_of_best(
    values: NDArray[Any],
    borders: NDArray[np.int64],
    queries: NDArray[np.float64],
    query_borders: NDArray[np.int64],
    offsets: NDArray[np.int64],
    rows: NDArray[np.int32],
    near: Near | None = None,
) -> NDArray[np.float64]:
    """Return [H], for each query with its passages the sum of the best dots of the query's tokens.

    Args:
        values: [T, dim] float16 or float32 token vectors of the passages, one passage after another.
        borders: [N + 1]; passage p has ``values[borders[p]:borders[p + 1]]``, at least one.
        queries: [S, dim] token vectors of the queries: float32 numbers as float64, C-contiguous.
        query_borders: [Q + 1], the same for queries.
        offsets: [Q + 1]; query q is scored with ``rows[offsets[q]:offsets[q + 1]]``.
        rows: [H] passages.
        near: changes no bit.
    """
    assert queries.flags.c_contiguous
    assert values.shape[1] == queries.shape[1] > 0
    sums = np.empty(len(rows), dtype=np.float64)
    _sums_of_best(
        stored_bits(values),
        frozen(borders),
        queries,
        frozen(query_borders),
        frozen(offsets),
        frozen(rows),
        frozen_near(near),
        sums,
    )
    return sums


def frozen_near(near: Near | None) -> Near:
    """Return it as the compiled loops take it; an empty table where there is none."""
    if near is None:
        near = np.empty((0, 0), dtype=np.float32), np.empty(0)
    return frozen(near[0]), frozen(near[1])


@njit(nogil=True, cache=True)
def _sums_of_best(
    values: Any, borders: Any, queries: Any, query_borders: Any, offsets: Any, rows: Any, near: Any, sums: Any
) -> None:
    lanes, dots = np.zeros((4, simd.LANES)), np.empty(longest(borders), dtype=np.float32)
    best, floors = np.empty((2, longest(query_borders)), dtype=np.float32)
    for q in range(len(offsets) - 1):
        first = query_borders[q]
        tokens = query_borders[q + 1] - first
        for h in range(offsets[q], offsets[q + 1]):
            if len(near[0]):
                start, stop = borders[rows[h]], borders[rows[h] + 1]
                _best_of_few(values, queries, near, (start, stop), (first, tokens), lanes[0], (best, floors))
            else:
                for token in range(tokens):
                    count = token_dots(values, borders, rows[h], queries, first + token, lanes, dots)
                    best[token] = -np.inf
                    for i in range(count):
                        best[token] = max(best[token], dots[i])
            total = 0.0
            for token in range(tokens):
                total += np.float64(best[token])
            sums[h] = total


@njit(nogil=True, cache=True)
def _best_of_few(values: Any, queries: Any, near: Any, rows: Any, asked: Any, lanes: Any, found: Any) -> None:
    """Put each query token's best canonical dot with some rows into the first of ``found``."""
    table, slack = near
    (start, stop), (first, tokens), (best, floors) = rows, asked, found
    best[:tokens] = -np.inf
    for row in range(start, stop):
        for s in range(tokens):
            best[s] = max(best[s], table[row, first + s])
    for s in range(tokens):
        floors[s] = np.float64(best[s]) - slack[first + s]
        best[s] = -np.inf
    for row in range(start, stop):
        some = False
        for s in range(tokens):
            some |= table[row, first + s] >= floors[s]
        if some:
            for s in range(tokens):
                if table[row, first + s] >= floors[s]:
                    best[s] = max(best[s], canonical(values, row, queries, first + s, lanes))


@njit(nogil=True, cache=True)
def longest(borders: Any) -> Any:
    """Return the most tokens that a text has."""
    most = 0
    for text in range(len(borders) - 1):
        most = max(most, borders[text + 1] - borders[text])
    return most


@njit(nogil=True, cache=True)
def token_dots(values: Any, borders: Any, text: Any, queries: Any, token: Any, lanes: Any, dots: Any) -> Any:
    """Put the canonical dots of one query token with a passage's into ``dots``; return how many they are."""
    start, stop = borders[text], borders[text + 1]
    whole, stride = values.shape[1] // simd.LANES, values.strides[0]
    query, out = queries[token].ctypes.data, lanes.ctypes.data
    row = start
    while row < stop:
        count = 4 if row + 4 <= stop else 1
        first = np.uintp(values.ctypes.data + row * stride)
        if whole == 0:
            lanes[:] = 0
        elif count == 4:
            second, third, fourth = first + stride, first + 2 * stride, first + 3 * stride
            rows = (first, np.uintp(second), np.uintp(third), np.uintp(fourth))
            simd.double_lanes(values, rows, query, whole, out)
        else:
            simd.double_lanes(values, (first,), query, whole, out)
        for i in range(count):
            dots[row - start + i] = finish(lanes[i], values, row + i, queries, token)
        row += count
    return stop - start


def near_sums_of_best(
    products: NDArray[np.float32], borders: NDArray[np.int64], query_borders: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return [Q, N], for each query and passage the sum of the best dots of the query's tokens.

    Args:
        products: [T, S] finite: the dots of the passages' tokens with all queries', one's beside each other.
        borders: [N + 1]; passage p has ``products[borders[p]:borders[p + 1]]``, at least one.
        query_borders: [Q + 1], the same for the columns of queries.
    """
    found = np.empty((len(query_borders) - 1, len(borders) - 1), dtype=np.float64)
    _near_sums_of_best(products, frozen(borders), frozen(query_borders), found)
    return found


@njit(nogil=True, cache=True)
def _near_sums_of_best(products: Any, borders: Any, query_borders: Any, found: Any) -> None:
    best = np.empty(products.shape[1], dtype=np.float32)
    for p in range(len(borders) - 1):
        best[:] = products[borders[p]]
        for token in range(borders[p] + 1, borders[p + 1]):
            dots = products[token]
            for s in range(len(best)):
                best[s] = max(best[s], dots[s])
        for q in range(len(query_borders) - 1):
            total = 0.0
            for s in range(query_borders[q], query_borders[q + 1]):
                total += np.float64(best[s])
            found[q, p] = total
