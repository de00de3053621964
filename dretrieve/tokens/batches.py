"""Batches by tokens: texts of like length together, as many as a budget of tokens holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cut_batches(lengths: NDArray[np.int64], budget: int) -> list[NDArray[np.int64]]:
    """Return the rows of a chunk in batches, longest texts first.

    A pure function of its arguments: equal lengths keep the order of their rows. Every batch, padded to its
    longest text, has at most ``budget`` tokens, or is a single text.

    Args:
        lengths: [R] tokens per row.
        budget: tokens per batch, padding included; at least 1.

    Returns:
        arrays of rows; together each row once.
    """
    assert budget >= 1
    order = np.argsort(-lengths, kind="stable")
    batches = []
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        start += rows
    return batches
