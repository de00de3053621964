"""The k best hits of many queries, kept while candidates arrive in any order, compiled.

One candidate at a time: a float32 product that may be off by a known slack says whether it can enter at all;
only then is the canonical score of `dretrieve.kernels.dot` computed and offered to the query's heap, whose
worst hit stands on top. Faster than scoring all and sorting, since nearly every candidate ends at the cheap
product, and since the vectors of coming candidates, which lie anywhere in the block, are on their way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dretrieve.kernels import simd
from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import SMALLEST, canonical
from dretrieve.kernels.heap import push

AHEAD = 8
"""Candidates whose vectors are asked for before they are needed."""


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _at_most(vectors: Any, row: Any, queries: Any, q: Any, slack: Any) -> Any:
    """Return a number that the canonical score surely does not exceed, from a float32 product."""
    total, square = np.float32(0), np.float32(0)
    for d in range(vectors.shape[1]):
        number = simd.widen(vectors[row, d])
        total += number * queries[q, d]
        square += number * number
    # the square is itself a float32 sum, off by much less than a thousandth of it
    return np.float64(total) + slack * (np.sqrt(np.float64(square)) * 1.001 + SMALLEST) + SMALLEST


@njit(nogil=True, cache=True)
def keep_best(kept: Any, ranks: Any, vectors: Any, first: Any, asked: Any, found: Any) -> None:
    """Score candidates canonically and merge them into the kept hits, in place.

    Args:
        kept: ``scores`` [Q, k], ``rows`` [Q, k] and ``sizes`` [Q] of the heaps.
        ranks: id rank of each row.
        vectors: [N, dim], the block, from `dretrieve.kernels.dot.stored_bits`.
        first: the row of its first vector.
        asked: ``wide`` and ``single`` [Q, dim], the queries in float64 and float32; ``slacks`` [Q],
            `rounding_margin` times the query's length.
        found: ``offsets`` [Q + 1] and ``rows`` [H] of the block; no row may come twice for one query.
    """
    scores, k, width = kept.scores, kept.scores.shape[1], vectors.shape[1] * vectors.itemsize
    base, stride = vectors.ctypes.data, vectors.strides[0]
    lanes = np.zeros(simd.LANES)
    for q in range(len(kept.sizes)):
        for h in range(found.offsets[q], found.offsets[q + 1]):
            if h + AHEAD < found.offsets[q + 1]:
                for line in range(0, width, simd.LINE):
                    simd.prefetch(np.uintp(base + found.rows[h + AHEAD] * stride + line))
            row, size = found.rows[h], kept.sizes[q]
            if size == k and _at_most(vectors, row, asked.single, q, asked.slacks[q]) < scores[q, 0]:
                continue
            score = canonical(vectors, row, asked.wide, q, lanes)
            kept.sizes[q] = push(scores[q], kept.rows[q], ranks, size, score, first + row)
