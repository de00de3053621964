"""The canonical dot product of (query, passage) pairs: compiled.

Products of float32 numbers are exact in float64. Product d goes to lane ``d mod 8``; each lane adds its
products in order of d; the lanes are added as ((0+1)+(2+3))+((4+5)+(6+7)); the sum is rounded once, to
float32. Nothing in it depends on what else is scored, so neither do its bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels import simd
from dretrieve.kernels.compiled import njit

LANES = simd.LANES
SMALLEST = 2.0**-100
"""Added to every margin: covers what float32 loses below its smallest normal number, 2^-126."""


def rounding_margin(dim: int) -> float:
    """Return how far a float32 sum of ``dim`` products may be from the canonical score, over |x| |y|.

    Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1 (any
    order of summation); the second term is the rounding of the canonical score.
    """
    assert dim < 1 << 22
    return dim * 2.0**-24 / (1 - dim * 2.0**-24) + 2.0**-23


def score_pairs(
    vectors: NDArray[Any], queries: NDArray[np.float64], offsets: NDArray[np.int64], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return [H], the canonical dot products of each query with its rows.

    Args:
        vectors: [N, dim] float16 or float32, numbers of one row beside each other; float16 is widened
            exactly.
        queries: [Q, dim] float32 numbers, already widened to float64, C-contiguous.
        offsets: [Q + 1]; query q is scored with ``rows[offsets[q]:offsets[q + 1]]``.
        rows: [H] rows of ``vectors``.
    """
    assert vectors.dtype in (np.float16, np.float32)
    assert queries.flags.c_contiguous
    assert vectors.shape[1] == queries.shape[1]
    scores = np.empty(len(rows), dtype=np.float32)
    if len(rows) == 0 or vectors.shape[1] == 0:
        scores[:] = 0
        return scores
    _score_pairs(stored_bits(vectors), queries, offsets, rows, scores)
    return scores


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only view: one compiled loop then serves mapped files and memory alike."""
    view = array.view()
    view.flags.writeable = False
    return view


def stored_bits(vectors: NDArray[Any]) -> NDArray[Any]:
    """Return, read-only, float16 as its bits in uint16 where the processor widens them, else float32."""
    if vectors.strides[1] != vectors.itemsize:
        vectors = np.ascontiguousarray(vectors)
    if vectors.dtype == np.float16:
        vectors = vectors.view(np.uint16) if simd.has_half_lanes() else vectors.astype(np.float32)
    return frozen(vectors)


@njit(nogil=True, cache=True)
def _score_pairs(vectors: Any, queries: Any, offsets: Any, rows: Any, scores: Any) -> None:
    """Score each query's rows, four at a time.

    Faster than the twin: four rows share each number of the query that is read, float16 is widened in
    registers, no product is written down, and the rows, which lie anywhere in the block, are asked for before
    they are needed.
    """
    whole, stride, base = vectors.shape[1] // 8, vectors.strides[0], vectors.ctypes.data
    lanes = np.zeros((4, 8))
    out = lanes.ctypes.data
    for q in range(len(offsets) - 1):
        query = queries[q].ctypes.data
        h = offsets[q]
        while h < offsets[q + 1]:
            count = 4 if h + 4 <= offsets[q + 1] else 1
            for ahead in range(h + 8, min(h + 12, len(rows))):
                for line in range(0, stride, simd.LINE):
                    simd.prefetch(np.uintp(base + rows[ahead] * stride + line))
            first = np.uintp(base + rows[h] * stride)
            if whole == 0:
                lanes[:] = 0
            elif count == 4:
                second = np.uintp(base + rows[h + 1] * stride)
                third = np.uintp(base + rows[h + 2] * stride)
                fourth = np.uintp(base + rows[h + 3] * stride)
                simd.double_lanes(vectors, (first, second, third, fourth), query, whole, out)
            else:
                simd.double_lanes(vectors, (first,), query, whole, out)
            for i in range(count):
                scores[h + i] = finish(lanes[i], vectors, rows[h + i], queries, q)
            h += count


@njit(nogil=True, cache=True)
def finish(lanes: Any, vectors: Any, row: Any, queries: Any, q: Any) -> Any:
    """Return the score from the lanes of the whole groups of eight: the rest, the tree, the rounding."""
    whole = vectors.shape[1] // 8 * 8
    for d in range(whole, vectors.shape[1]):
        lanes[d - whole] += np.float64(simd.widen(vectors[row, d])) * queries[q, d]
    total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    return np.float32(total) + np.float32(0)


@njit(nogil=True, cache=True)
def canonical(vectors: Any, row: Any, queries: Any, q: Any, lanes: Any) -> Any:
    """Return the score of one pair; ``vectors`` is from `stored_bits`, ``lanes`` room for eight float64."""
    whole = vectors.shape[1] // LANES
    if whole == 0:
        lanes[:] = 0
    else:
        vector = np.uintp(vectors.ctypes.data + row * vectors.strides[0])
        query = queries.ctypes.data + q * queries.strides[0]
        simd.double_lanes(vectors, (vector,), query, whole, lanes.ctypes.data)
    return finish(lanes, vectors, row, queries, q)
