"""The dot product of a query and a passage: the one score of every one-vector method.

A run holds these very numbers. They depend on nothing but the two stored vectors: not on the batch, the
block, the shard or the thread (see `dretrieve.kernels.dot` for the order of summation). Queries are
rounded to float32 first, passages are taken as stored (float16 or float32).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.dot import score_pairs


def widened(queries: NDArray[Any]) -> NDArray[np.float64]:
    """Return the queries, [Q, dim], as float32 numbers in float64, the form that `dot_pairs` takes."""
    return np.ascontiguousarray(np.asarray(queries, dtype=np.float32), dtype=np.float64)


def dot_pairs(
    vectors: NDArray[Any], queries: NDArray[np.float64], offsets: NDArray[np.int64], rows: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Return [H] scores: query q with the rows ``rows[offsets[q]:offsets[q + 1]]`` of ``vectors``.

    Args:
        vectors: [N, dim] float16 or float32.
        queries: [Q, dim] from `widened`.
        offsets: [Q + 1] int64.
        rows: [H] int32.
    """
    return score_pairs(vectors, queries, offsets, rows)


def dot_matrix(queries: NDArray[Any], vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Return [Q, N], the score of every query with every passage; for small sets.

    Args:
        queries: [Q, dim].
        vectors: [N, dim] float16 or float32.
    """
    count = len(vectors)
    offsets = np.arange(len(queries) + 1, dtype=np.int64) * count
    rows = np.tile(np.arange(count, dtype=np.int32), len(queries))
    return dot_pairs(vectors, widened(queries), offsets, rows).reshape(len(queries), count)
