"""Which tokens of each text have the largest weights: compiled.

One text at a time, by selection and not by sorting, since a search asks for a few texts of a query.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.kernels.compiled import njit
from dretrieve.kernels.dot import frozen
from dretrieve.kernels.scan import kth_largest


def mark_largest(
    weights: NDArray[np.float32], borders: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return [T], which tokens are among the largest of their text; of equals the first.

    Args:
        weights: [T], finite.
        borders: [N + 1]; text p has ``weights[borders[p]:borders[p + 1]]``.
        counts: [N], how many of each text are marked, at most all.
    """
    marks = np.zeros(len(weights), dtype=np.bool_)
    _mark_largest(frozen(weights), frozen(borders), frozen(counts), marks)
    return marks


@njit(nogil=True, cache=True)
def _mark_largest(weights: Any, borders: Any, counts: Any, marks: Any) -> None:
    for text in range(len(counts)):
        start, stop, left = borders[text], borders[text + 1], counts[text]
        if left == 0:
            continue
        last = kth_largest(weights[start:stop].copy(), left)
        for token in range(start, stop):
            if weights[token] > last:
                marks[token] = True
                left -= 1
        for token in range(start, stop):
            if left > 0 and weights[token] == last:
                marks[token] = True
                left -= 1
