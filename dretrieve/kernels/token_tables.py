"""A query's products with all centroids, and the products of its tokens with a passage's, in bytes; compiled.

A stored token is a centroid and a residual in bytes (`dretrieve.index.token_codes.TokenCodes`), a query token
is put in bytes too, y' for y. The product of y with a stored vector v, reconstructed as c + r, is then

    y·v  =  y'·c + y'·r  ±  (|y| |v - c - r|  +  |y - y'| (|c| + |r|))

y'·c is looked up in a table made once a query, y'·r is a product in bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.codes import ROUNDING
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import SMALLEST
from dretrieve.kernels.token_lanes import add_centroids, fill_table, products, shrink_table

TABLE_ROWS = 64  # whose sums stay in the first-level cache
LARGEST_ENTRY = 32700


class Stored(NamedTuple):
    """T tokens of N passages as the loops read them; read-only but for ``extents``.

    Attributes:
        centroids: [C, 4 * steps] uint8, code + 128.
        numbers: [C] uint16, 0 … C - 1.
        codes, residuals, errors, borders, list_offsets, lists: as the index has them
            (`dretrieve.index.token_codes.TokenCodes`).
        unpacked: [256, 8 / bits] uint8, level + 128 of each number that a byte holds.
        zero: the byte that means 0 where rows of ``residuals`` are multiplied as they are; -1 where they are
            unpacked first, around 128.
        scales: what the codes of centroids and of residuals are multiplied by.
        longest: bound of |c|.
        typical: the root of the mean square of a residual's numbers.
        extents: [N, 2] float32, bounds of |v - c - r| and of |r| in a passage; NaN until it is first asked.
        dim: numbers of a vector.
    """

    centroids: NDArray[np.uint8]
    numbers: NDArray[np.uint16]
    codes: NDArray[np.uint16]
    residuals: NDArray[np.uint8]
    unpacked: NDArray[np.uint8]
    zero: int
    errors: NDArray[np.float32]
    borders: NDArray[np.int64]
    list_offsets: NDArray[np.int64]
    lists: NDArray[Any]
    scales: tuple[float, float]
    longest: float
    typical: float
    extents: NDArray[np.float32]
    dim: int


class Query(NamedTuple):
    """A query of n tokens, at least one.

    Attributes:
        width: lanes at a time, 8, 16 or 32; the tokens take as many groups of lanes as they need.
        codes: [n, 4 * steps] int8.
        scales: [n] float64, what the codes are multiplied by.
        errors: [n] float64, |y - y'|.
        lengths: [n] float64, |y|.
        exact: [n, dim] float64, y.
        weights: [n] float64, how much each token counts.
    """

    width: int
    codes: NDArray[np.int8]
    scales: NDArray[np.float64]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]
    exact: NDArray[np.float64]
    weights: NDArray[np.float64]


class Work(NamedTuple):
    """Room for one query at a time, one a thread; each array is used from its beginning, in the shape named.

    Attributes:
        lanes: [groups, steps, width, 4], the query in bytes.
        starts: [groups, 2, width], where sums of products begin, with centroids and with residuals.
        rates: [groups, 2, width], what table entries and sums of products are multiplied by.
        peaks: [groups, 2, width], the largest entry of a lane and the sum of all.
        table: [groups, C, width], y'·c.
        small: [groups, C, width], the same in one byte and in one unit for all lanes, ``unit[0]``, the
            largest of a lane being 255; a token's weight is in it.
        unit: [1].
        sums: [tokens, width] of one passage: int32 sums of products, then float32 scores.
        rows: [tokens, 4 * steps] of one passage, residuals unpacked or gathered, a byte a dimension.
        picked: [tokens] the codes of gathered tokens.
        near: [2, tokens], which are gathered.
        masks: [tokens], bits of lanes.
        best: [4, width] float32.
        bytes: [width] uint8.
        doubles: [8].
        order: [N], a number for each passage.
        stamps: [N], the lane that counted a passage last.
        found: [N] passages.
        scores: [N] of found passages.
        keys: [C] centroids of one lane.
        counted: [bins].
        dots: [tokens] float32, of one lane.
        own: [tokens] float32, the weights of these.
        top: [tokens] float32, the largest of these, their places and terms beside.
        places: [tokens] int64.
        terms: [tokens] float64.
    """

    lanes: NDArray[np.int8]
    starts: NDArray[np.int32]
    rates: NDArray[np.float32]
    peaks: NDArray[np.float32]
    table: NDArray[np.int16]
    small: NDArray[np.uint8]
    unit: NDArray[np.float64]
    sums: NDArray[np.int32]
    rows: NDArray[np.uint8]
    picked: NDArray[np.uint16]
    near: NDArray[np.int32]
    masks: NDArray[np.uint32]
    best: NDArray[np.float32]
    bytes: NDArray[np.uint8]
    doubles: NDArray[np.float64]
    order: NDArray[np.int32]
    stamps: NDArray[np.int32]
    found: NDArray[np.int32]
    scores: NDArray[np.float64]
    keys: NDArray[np.int32]
    counted: NDArray[np.int32]
    dots: NDArray[np.float32]
    own: NDArray[np.float32]
    top: NDArray[np.float32]
    places: NDArray[np.int64]
    terms: NDArray[np.float64]


class Places(NamedTuple):
    """Where a query's numbers stand: whole numbers alone, which cost nothing to hand from loop to loop.

    Attributes:
        width, groups, tokens: lanes at a time, groups of them, tokens of the query.
        steps, centroids: a quarter of the dimensions; how many centroids.
        lanes, starts, rates, table, small, sums, best, bytes: addresses of the arrays of `Work`.
        codes: address of the passages' codes.
    """

    width: int
    groups: int
    tokens: int
    steps: int
    centroids: int
    lanes: int
    starts: int
    rates: int
    table: int
    small: int
    sums: int
    best: int
    bytes: int
    codes: int


@njit(nogil=True, cache=True)
def places_of(stored: Any, query: Any, work: Any) -> Any:
    """Return the places of one query."""
    tokens = len(query.codes)
    return Places(
        query.width,
        (tokens + query.width - 1) // query.width,
        tokens,
        stored.centroids.shape[1] // 4,
        len(stored.centroids),
        work.lanes.ctypes.data,
        work.starts.ctypes.data,
        work.rates.ctypes.data,
        work.table.ctypes.data,
        work.small.ctypes.data,
        work.sums.ctypes.data,
        work.best.ctypes.data,
        work.bytes.ctypes.data,
        stored.codes.ctypes.data,
    )


@njit(nogil=True, cache=True)
def lanes_in(at: Any, group: Any) -> Any:
    """Return how many lanes of a group hold tokens."""
    return min(at.width, at.tokens - group * at.width)


@njit(nogil=True, cache=True)
def fill_tables(stored: Any, query: Any, work: Any) -> None:
    """Place the query in lanes and write both tables."""
    at = places_of(stored, query, work)
    width, size = at.width, 4 * at.steps
    peaks, totals = np.uintp(at.best + 4 * width), np.uintp(at.best + 8 * width)
    for group in range(at.groups):
        _place(stored, query, group, at.steps, work)
        first, pair = group * at.centroids, 2 * group * width
        work.best[width : 2 * width] = np.float32(-np.inf)
        work.best[2 * width : 3 * width] = 0
        lanes, starts = np.uintp(at.lanes + group * size * width), np.uintp(at.starts + 4 * pair)
        for row in range(0, at.centroids, TABLE_ROWS):
            rows = min(TABLE_ROWS, at.centroids - row)
            source = np.uintp(stored.centroids.ctypes.data + row * size)
            products(width, source, size, rows, at.steps, lanes, starts, np.uintp(at.sums))
            table = np.uintp(at.table + (first + row) * width * 2)
            fill_table(width, np.uintp(at.sums), rows, np.uintp(at.best), table, peaks, totals)
        work.peaks[pair : pair + 2 * width] = work.best[width : 3 * width]
    _shrink(at, query.weights, work.rates, work.peaks, work.best, work.unit)


@njit(nogil=True, cache=True)
def _place(stored: Any, query: Any, group: Any, steps: Any, work: Any) -> None:
    """Write the lanes of one group, where their sums begin, and what these are multiplied by."""
    width, zero = query.width, 128 if stored.zero < 0 else stored.zero
    for lane in range(width):
        token, pair = group * width + lane, 2 * group * width + lane
        real = token < len(query.codes)
        total, place = np.int64(0), (group * steps * width + lane) * 4
        for step in range(steps):
            for i in range(4):
                code = query.codes[token, 4 * step + i] if real else np.int8(0)
                work.lanes[place + i] = code
                total += np.int64(code)
            place += 4 * width
        work.starts[pair], work.starts[pair + width] = -128 * total, -zero * total
        unit, scale = 0.0, 0.0
        if real:
            scale = query.scales[token]
            unit = table_unit(query.lengths[token], query.errors[token], stored.longest)
        work.rates[pair], work.rates[pair + width] = unit, stored.scales[1] * scale
        work.best[lane] = stored.scales[0] * scale / unit if unit > 0 else 0.0


@njit(nogil=True, cache=True)
def table_unit(length: Any, error: Any, longest: Any) -> Any:
    """Return what the table's entries of a query token are multiplied by: no |y'·c| is cut off."""
    return (length + error) * longest / LARGEST_ENTRY


@njit(nogil=True, cache=True)
def _shrink(at: Any, weights: Any, rates: Any, peaks: Any, best: Any, unit: Any) -> None:
    """Write the table of bytes: the same unit for all lanes, so that entries of several can be added."""
    width, widest = at.width, 0.0
    for group in range(at.groups):
        for lane in range(lanes_in(at, group)):
            pair = 2 * group * width + lane
            above_mean = peaks[pair] - peaks[pair + width] / at.centroids
            weight = weights[group * width + lane]
            widest = max(widest, np.float64(rates[pair]) * above_mean * weight)
    unit[0] = widest / 255 if widest > 0 else 1.0
    for group in range(at.groups):
        best[: 2 * width] = 0  # gains, then shifts
        for lane in range(lanes_in(at, group)):
            pair = 2 * group * width + lane
            best[lane] = rates[pair] * weights[group * width + lane] / unit[0]
            best[width + lane] = 255 - np.float64(best[lane]) * peaks[pair]
        first = group * at.centroids * width
        gains, shifts = np.uintp(at.best), np.uintp(at.best + 4 * width)
        table, small = np.uintp(at.table + 2 * first), np.uintp(at.small + first)
        shrink_table(width, table, at.centroids, gains, shifts, small)


@njit(nogil=True, cache=True)
def unpack(stored: Any, tokens: Any, first: Any, rows: Any) -> None:
    """Write the residuals of tokens ``first + tokens[h]`` to rows [tokens, 4 * steps], a byte a number."""
    residuals, unpacked, dim = stored.residuals, stored.unpacked, stored.dim
    several = unpacked.shape[1]
    whole = dim // several
    for h in range(len(tokens)):
        token = first + tokens[h]
        if stored.zero >= 0:
            for d in range(rows.shape[1]):
                rows[h, d] = residuals[token, d]
            continue
        for i in range(whole):
            byte = residuals[token, i]
            for j in range(several):
                rows[h, i * several + j] = unpacked[byte, j]
        for d in range(whole * several, rows.shape[1]):
            rows[h, d] = unpacked[residuals[token, whole], d - whole * several] if d < dim else np.uint8(128)


@njit(nogil=True, cache=True)
def passage_rows(stored: Any, first: Any, count: Any, work: Any) -> Any:
    """Return address and stride of the residuals of consecutive tokens, a byte a dimension."""
    if stored.zero >= 0:
        stride = stored.residuals.strides[0]
        return stored.residuals.ctypes.data + first * stride, stride
    unpack(stored, np.arange(count), first, work.rows)
    return work.rows.ctypes.data, work.rows.strides[0]


@njit(nogil=True, cache=True)
def score_rows(at: Any, group: Any, rows: Any, codes: Any, count: Any) -> None:
    """Write y'·c + y'·r of some rows with one group of lanes to ``Work.sums``, the largest to ``Work.best``.

    Args:
        at: places of a query whose tables are filled; ``Work.best`` begins with what is to be exceeded.
        group: of lanes.
        rows: address and stride of the residuals.
        codes: address of the rows' centroids.
        count: of rows, at least 1.
    """
    pair, sums = 8 * group * at.width, np.uintp(at.sums)
    lanes = np.uintp(at.lanes + group * at.steps * at.width * 4)
    starts = np.uintp(at.starts + pair + 4 * at.width)
    products(at.width, np.uintp(rows[0]), rows[1], count, at.steps, lanes, starts, sums)
    table = np.uintp(at.table + group * at.centroids * at.width * 2)
    add_centroids(at.width, sums, count, np.uintp(codes), table, np.uintp(at.rates + pair), np.uintp(at.best))


@njit(nogil=True, cache=True)
def measure(stored: Any, passage: Any, work: Any) -> None:
    """Write a passage's bounds of |v - c - r| and of |r| to ``stored.extents``, unless they are there."""
    found = stored.extents[passage]
    if found[0] == found[0] and found[1] == found[1]:  # another thread may be between the two
        return
    first, stop = stored.borders[passage], stored.borders[passage + 1]
    each = stored.unpacked.shape[1] == 1
    error, square, one = np.float32(0), np.int64(0), np.zeros(1, np.int64)
    for token in range(first, stop):
        error = max(error, stored.errors[token if each else np.int64(stored.codes[token])])
        unpack(stored, one, token, work.rows)
        total, zero = np.int32(0), np.int32(128 if stored.zero < 0 else stored.zero)
        for d in range(work.rows.shape[1]):
            level = np.int32(work.rows[0, d]) - zero
            total += level * level
        square = max(square, np.int64(total))
    found[0], found[1] = error, np.sqrt(np.float64(square)) * stored.scales[1] * (1 + ROUNDING)


@njit(nogil=True, cache=True)
def lane_margin(mine: Any, off: Any, longest: Any, error: Any, length: Any) -> Any:
    """Return how far `score_rows` may be from the canonical product of a query token with a passage's.

    Args:
        mine: |y|.
        off: |y - y'|.
        longest: bound of |c|.
        error: bound of |v - c - r|.
        length: bound of |r|.
    """
    bound = mine * error + off * (longest + length) + 1.01 * table_unit(mine, off, longest)
    # the last terms: roundings to float32, of scores here and of the canonical product
    return bound + ROUNDING * (mine + off) * (longest + length + error) + SMALLEST
