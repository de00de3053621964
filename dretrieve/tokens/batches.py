"""Batches by tokens: texts of like length together, as many as a budget of tokens holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def cut_batches(lengths: NDArray[np.int64], budget: int, least: int | None = None) -> list[NDArray[np.int64]]:
    """Return the rows of a chunk in batches, longest texts first.

    A pure function of its arguments: equal lengths keep the order of their rows. Every batch, padded to its
    longest text, has at most ``budget`` tokens, or is a single text. With ``least`` the last batches become
    smaller, each at most half of what is left: workers that share the batches end at nearly the same time.

    Args:
        lengths: [R] tokens per row.
        budget: tokens per batch, padding included; at least 1.
        least: no batch is made smaller than this for the sake of the end; None: none is.

    Returns:
        arrays of rows; together each row once.
    """
    assert budget >= 1
    order = np.argsort(-lengths, kind="stable")
    left = int(lengths.sum())
    batches = []
    start = 0
    while start < len(order):
        tokens = budget if least is None else min(budget, max(least, left // 2))
        rows = max(1, tokens // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + rows])
        left -= int(lengths[batches[-1]].sum())
        start += rows
    return batches
