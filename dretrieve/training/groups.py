"""Rows of a step cut into groups of like length, so that little is spent on padding.

The rows (both sides together where one encoder serves both) are sorted by length; the cuts minimise
``sum(rows * longest) + overhead * groups``, the cost of a forward in padded tokens plus a constant per
group. Padding a DPR step to its longest passage costs 1.5 to 2.5 times the tokens that this costs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CPU_OVERHEAD = 192
GPU_OVERHEAD = 16384  # a GPU is done with so many tokens while the kernels of one more group are launched


def length_groups(
    lengths: NDArray[np.int64], *, overhead: int, budget: int | None = None
) -> list[NDArray[np.int64]]:
    """Return the groups as row positions, longest rows first; every row stands in exactly one.

    Args:
        lengths: [N] real tokens per row, at least 1.
        overhead: cost of one more group, in tokens.
        budget: no group has more padded tokens than that (a single longer row is a group of its own).
    """
    if len(lengths) == 0:
        return []
    order = np.argsort(-lengths, kind="stable")
    distinct, counts = np.unique(-lengths, return_counts=True)
    groups = []
    for start, stop in _best_cuts(-distinct, counts, overhead, budget):
        rows = order[start:stop]
        longest = int(lengths[rows[0]])
        parts = 1 if budget is None else -(-len(rows) // max(1, budget // longest))
        groups += [part for part in np.array_split(rows, parts) if len(part)]
    return groups


def _best_cuts(
    distinct: NDArray[np.int64], counts: NDArray[np.int64], overhead: int, budget: int | None
) -> list[tuple[int, int]]:
    """Return row ranges by dynamic programming over the distinct lengths (descending)."""
    ends = np.concatenate([[0], np.cumsum(counts)])
    best = np.zeros(len(distinct) + 1)
    previous = np.zeros(len(distinct) + 1, dtype=np.int64)
    for stop in range(1, len(distinct) + 1):
        padded = (ends[stop] - ends[:stop]) * distinct[:stop]
        groups = np.ones(stop) if budget is None else np.ceil(padded / budget)
        total = best[:stop] + padded + overhead * groups
        previous[stop] = int(np.argmin(total))
        best[stop] = total[previous[stop]]
    ranges = []
    stop = len(distinct)
    while stop > 0:
        start = int(previous[stop])
        ranges.append((int(ends[start]), int(ends[stop])))
        stop = start
    return ranges[::-1]
