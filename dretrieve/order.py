"""The one rule of sorting and ties: score descending, then id descending in UTF-8 bytes.

This is trec_eval's rule, so that a measure computed here and there sees the same ranking. Python
compares ``str`` by code point, which is the order of UTF-8 bytes, so no id is ever encoded to sort it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def id_ranks(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return for each id its position in ascending UTF-8 byte order (equal ids get distinct ranks)."""
    order = sorted(range(len(ids)), key=ids.__getitem__)
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[np.asarray(order, dtype=np.int64)] = np.arange(len(ids), dtype=np.int64)
    return ranks


def best_first(scores: NDArray[np.floating[Any]], ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the positions that sort one query's hits: score descending, ties by id rank descending.

    Args:
        scores: [H], finite.
        ranks: [H], the hits' `id_ranks` (over any superset of the ids).
    """
    return np.lexsort((-ranks, -scores.astype(np.float64)))


def top_k(scores: NDArray[np.floating[Any]], ranks: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the positions of the k best in order; ties at the cut obey the rule too."""
    if k <= 0:
        return np.empty(0, dtype=np.int64)
    if k < len(scores):
        threshold = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = np.flatnonzero(scores >= threshold)
        return kept[best_first(scores[kept], ranks[kept])][:k]
    return best_first(scores, ranks)
