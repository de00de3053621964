"""Vectors in bytes, and how far a score in bytes may be from the canonical one.

What all vectors of a collection have in common, a centre c, is taken off first: it would use up the range
of a byte, and it moves all scores of a query by the same c·y. The rest x - c is stored as
``x' = scale * code`` with codes in -127 … 127, in panels of 32 rows, together with the largest distance
|x - c - x'| and the largest length |x'| of the panel. A query y becomes y' likewise, without a centre. Then

    |x·y - (c·y + x'·y')|  <=  |x - c - x'| |y|  +  |x'| |y - y'|

The byte products are sums of integers, exact whatever the order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import stored_bits

PANEL_ROWS = simd.TILE_ROWS
ROUNDING = 2.0**-20
"""Relative slack over every bound: covers the float32 roundings of scales, scores and the final score."""
LARGEST_CENTRE = 1e18


@dataclass(frozen=True, slots=True)
class Codes:
    """Passages in bytes, P panels of 32 rows; the last panel is filled up with rows that never match.

    Attributes:
        codes: [P, steps, 32, 4] uint8, ``code + 128``; steps = ceil(dim / 4).
        scales: [P, 32] float32; NaN for rows that only fill the panel up.
        errors: [P] float64, the panel's largest |x - c - x'|, but for what `ROUNDING` covers.
        lengths: [P] float64, the panel's largest |x'|.
        centre: [dim] float32, c.
    """

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]
    centre: NDArray[np.float32]

    def __getitem__(self, rows: slice) -> Codes:
        """Return the panels of those rows, the first of which begins one."""
        part = slice(rows.start // PANEL_ROWS, -(-rows.stop // PANEL_ROWS))
        return Codes(self.codes[part], self.scales[part], self.errors[part], self.lengths[part], self.centre)

    @property
    def reach(self) -> float:
        """|c|."""
        return float(np.linalg.norm(self.centre.astype(np.float64)))


@dataclass(frozen=True, slots=True)
class QueryCodes:
    """Queries in bytes.

    Attributes:
        codes: [Q, 4 * steps] int8.
        starts: [Q] int32, minus 128 times the sum of the codes: undoes the passages' offset.
        scales: [Q] float64.
        errors: [Q] float64, |y - y'|.
        lengths: [Q] float64, |y|.
        exact: [Q, dim] float64, y.
    """

    codes: NDArray[np.int8]
    starts: NDArray[np.int32]
    scales: NDArray[np.float64]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]
    exact: NDArray[np.float64]

    def part(self, chosen: slice | NDArray[np.int64]) -> QueryCodes:
        """Return some of the queries."""
        return QueryCodes(*(getattr(self, name)[chosen] for name in QueryCodes.__slots__))


def centre_of(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean of the first vectors of [N, dim]; zeros where there is none that float32 can take."""
    some = vectors[:4096].astype(np.float32)
    if not len(some):
        return np.zeros(vectors.shape[1], dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = some.mean(axis=0)
    return np.where(np.abs(mean) < LARGEST_CENTRE, mean, np.float32(0))


def empty_codes(count: int, centre: NDArray[np.float32]) -> Codes:
    """Return room for the bytes of ``count`` vectors; rows that are never packed match nothing."""
    panels, steps = -(-count // PANEL_ROWS), -(-len(centre) // 4)
    return Codes(
        np.full((panels, steps, PANEL_ROWS, 4), 128, dtype=np.uint8),
        np.full((panels, PANEL_ROWS), np.nan, dtype=np.float32),
        np.zeros(panels, dtype=np.float64),
        np.zeros(panels, dtype=np.float64),
        centre,
    )


def pack_into(codes: Codes, vectors: NDArray[Any]) -> None:
    """Fill fresh codes with finite vectors, [N, dim] float16 or float32."""
    words = codes.codes.view(np.uint32)[..., 0]
    _pack(stored_bits(vectors), codes.centre, words, codes.scales, codes.errors, codes.lengths)


def pack_passages(vectors: NDArray[Any], centre: NDArray[np.float32] | None = None) -> Codes:
    """Return finite vectors, [N, dim] float16 or float32, in bytes; without a centre around their own."""
    codes = empty_codes(len(vectors), centre_of(vectors) if centre is None else centre)
    pack_into(codes, vectors)
    return codes


def pack_queries(queries: NDArray[np.float64]) -> QueryCodes:
    """Return finite queries, [Q, dim] float64, in bytes."""
    count, dim = queries.shape
    largest = np.abs(queries).max(axis=1, initial=0.0)
    scales = np.where(largest > 0, largest / 127, 1.0)
    codes = np.zeros((count, -(-dim // 4) * 4), dtype=np.int8)
    codes[:, :dim] = np.rint(queries / scales[:, None])
    starts = (-128 * codes.astype(np.int32).sum(axis=1)).astype(np.int32)
    errors = np.linalg.norm(queries - codes[:, :dim] * scales[:, None], axis=1)
    return QueryCodes(codes, starts, scales, errors, np.linalg.norm(queries, axis=1), queries)


@njit(nogil=True, cache=True)
def margin(lengths: Any, errors: Any, error: Any, length: Any, reach: Any) -> Any:
    """Return how far ``c·y + x'·y'`` may be from the canonical score.

    Args:
        lengths: |y| of a query, or of several.
        errors: |y - y'|.
        error: the largest |x - c - x'| of the passages.
        length: their largest |x'|.
        reach: |c|.
    """
    return error * lengths + length * errors + ROUNDING * (length + error + reach) * lengths


@njit(nogil=True, cache=True)
def first_not_finite(vectors: Any, exponent: Any) -> Any:
    """Return the first row that holds NaN or infinity, or -1.

    Args:
        vectors: [N, dim] the numbers' bits as unsigned integers.
        exponent: the bits of infinity.
    """
    for row in range(len(vectors)):
        found = False
        for d in range(vectors.shape[1]):
            found |= (vectors[row, d] & exponent) == exponent
        if found:
            return row
    return -1


@njit(nogil=True, cache=True, fastmath={"nnan", "ninf", "nsz", "reassoc", "contract"})
def _pack(vectors: Any, centre: Any, words: Any, scales: Any, errors: Any, lengths: Any) -> None:
    """Turn one vector after the other into bytes, and note how far the panel's worst is off.

    The vector stays in the first-level cache for all three passes over it (largest number, codes and errors,
    placing), where numpy would write a matrix of float32 for each. Four codes of a row make a word: ``words``
    [P, steps, 32] is the panel as the scan reads it, step by step for all its rows.
    """
    dim = vectors.shape[1]
    vector = np.zeros(dim, dtype=np.float32)
    codes = np.full(words.shape[1] * 4, 128, dtype=np.uint8)
    fours = codes.view(np.uint32)
    slack = 1 + ROUNDING + dim * 2.0**-23
    for row in range(len(vectors)):
        panel, place = row // PANEL_ROWS, row % PANEL_ROWS
        largest = np.float32(0)
        for d in range(dim):
            vector[d] = simd.widen(vectors[row, d]) - centre[d]
            largest = max(largest, abs(vector[d]))
        scale, inverse = np.float32(1), np.float32(0)
        if largest > np.float32(1e-30):
            scale = largest / np.float32(127)
            inverse = np.float32(1) / scale
        # in units of the scale, so that no square leaves the range of float32
        error, length = np.float32(0), np.float32(0)
        for d in range(dim):
            exact = vector[d] * inverse
            code = np.int32(exact + np.float32(128.5))  # cutting a positive number off rounds it
            codes[d] = np.uint8(code)
            back = np.float32(code - np.int32(128))
            error += (exact - back) * (exact - back)
            length += back * back
        for step in range(words.shape[1]):
            words[panel, step, place] = fours[step]
        scales[panel, place] = scale
        distance = np.float64(scale) * np.sqrt(np.float64(error))
        if inverse == 0:  # too small for a reciprocal: all codes are zero, the whole vector is its error
            distance = np.float64(largest) * np.sqrt(np.float64(dim))
        errors[panel] = max(errors[panel], distance * slack)
        lengths[panel] = max(lengths[panel], np.float64(scale) * np.sqrt(np.float64(length)) * slack)
