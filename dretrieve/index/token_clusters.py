"""Where the centroids of a token index come from: k-means over a fixed sample of the token vectors.

Two levels: the sample is cut into cells, each cell into centroids in proportion to its tokens, and a vector
looks for its nearest centroid in the `PROBES` nearest cells alone. Vectors and centroids are rounded to whole
numbers whose products sum to less than 2^24, which float32 holds exactly: a product of matrices then has the
same bits whatever the library, the order of summation, the block and the threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.index.base import Passages
from dretrieve.kernels.residuals import Coding, add_rows
from dretrieve.store.npy import map_array
from dretrieve.types import offsets_of

ARRAYS = ("centroids", "coarse", "cells", "levels", "scales")
MOST, LARGEST = 127, 1 << 24
PROBES = 4
TOKENS_PER_CENTROID, SAMPLED_PER_CENTROID = {1: 72, 2: 72, 4: 16, 8: 16}, 24
SAMPLED_FOR_CELLS, SAMPLED_FOR_LEVELS = 1 << 16, 1 << 13
CELL_TURNS, CENTROID_TURNS = 8, 6
ROWS_AT_ONCE = 1 << 12
BINS = 1 << 12


def centroids_for(tokens: int, bits: int) -> int:
    """Return how many centroids so many tokens get: a power of two, at most one for 16 tokens.

    16,384 from 262,144 tokens on, 32,768 from 4.2 million on: the scores of all centroids must stay in the
    second-level cache. With 1 and 2 bits at most one for 72, so that they weigh less than 2 bytes a token.
    """
    most = 1 << 15 if tokens >= 1 << 22 else 1 << 14
    return min(most, 1 << max(0, (tokens // TOKENS_PER_CENTROID[bits]).bit_length() - 1))


@dataclass(frozen=True)
class Clusters:
    """Centroids, and what residuals are rounded to.

    Attributes:
        centroids: [C, dim] int8, cell after cell.
        coarse: [G, dim] int8, the middles of the cells.
        cells: [G + 1] int64; cell g has the centroids ``cells[g]`` to ``cells[g + 1]``.
        levels: [2 ** bits] int8, rising.
        scales: float32: what centroids, levels and middles are multiplied by; the unit to which vectors are
            rounded before their nearest centroid is looked for.
    """

    centroids: NDArray[np.int8]
    coarse: NDArray[np.int8]
    cells: NDArray[np.int64]
    levels: NDArray[np.int8]
    scales: NDArray[np.float32]

    @classmethod
    def open(cls, folder: Path) -> Clusters:
        """Return those in a folder whose manifest was verified."""
        return cls(*(np.array(map_array(folder / f"{name}.npy")) for name in ARRAYS))

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return int(self.centroids.shape[1])

    @property
    def bits(self) -> int:
        """Of a residual's code."""
        return len(self.levels).bit_length() - 1

    @cached_property
    def coding(self) -> Coding:
        """How residuals are coded: each to the nearest level."""
        steps = self.levels.astype(np.float32) * self.scales[1]
        cuts = ((steps[1:].astype(np.float64) + steps[:-1]) / 2).astype(np.float32)
        return Coding(self.centroids.astype(np.float32) * self.scales[0], steps, cuts, self.bits)

    @cached_property
    def _matrices(self) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        ratio = float(self.scales[0]) / float(self.scales[3])
        fine = [_matrix(self.centroids[start:stop], ratio) for start, stop in self._spans()]
        return _matrix(self.coarse, float(self.scales[2]) / float(self.scales[3])), fine

    def _spans(self) -> Iterator[tuple[int, int]]:
        return zip(self.cells[:-1].tolist(), self.cells[1:].tolist(), strict=True)

    def nearest(self, values: NDArray[Any]) -> NDArray[np.uint16]:
        """Return [n], a vector's nearest centroid among those of its nearest cells; of equals the first."""
        rows = _rounded(values, float(self.scales[3]))
        coarse, fine = self._matrices
        near = [self._near_cells(rows[some] @ coarse) for some in _blocks(len(rows))]
        best = np.full(len(rows), -np.inf, np.float32)
        found = np.zeros(len(rows), np.uint16)
        cells_first = np.concatenate(near).T.ravel()  # np.nonzero of two dimensions is far slower
        cell_of, row_of = np.divmod(np.flatnonzero(cells_first), max(1, len(rows)))
        borders = np.searchsorted(cell_of, np.arange(len(fine) + 1)).tolist()
        for cell, (start, _) in enumerate(self._spans()):
            some = row_of[borders[cell] : borders[cell + 1]]
            if not len(some) or not fine[cell].shape[1]:
                continue
            scores = rows[some] @ fine[cell]
            top = scores.argmax(axis=1)
            value = np.take_along_axis(scores, top[:, None], axis=1)[:, 0]
            better = value > best[some]
            some = some[better]
            best[some], found[some] = value[better], top[better] + start
        return found

    def _near_cells(self, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Return [n, G], which cells a vector looks into: its best, and all that are as good as the last."""
        filled = np.diff(self.cells) > 0
        scores[:, ~filled] = -np.inf
        cells = scores.shape[1]
        if cells <= PROBES:
            return np.broadcast_to(filled, scores.shape)
        last = np.partition(scores, cells - PROBES, axis=1)[:, cells - PROBES]
        return (scores >= last[:, None]) & filled


def learn(
    passages: Passages, bits: int, threads: int, checked: Callable[[], None] = lambda: None
) -> Clusters:
    """Return the centroids and levels for these passages, a function of their vectors and ``bits`` alone.

    The passages have a token at least; ``bits`` is 1, 2, 4 or 8.

    Raises:
        DataError: a vector holds NaN or infinity.
    """
    tokens = num_tokens(passages)
    count = centroids_for(tokens, bits)
    sampled = sample(passages, tokens, min(tokens, count * SAMPLED_PER_CENTROID))
    if not np.isfinite(sampled).all():
        raise DataError(f"{passages.embeddings.folder} holds NaN or infinity; encode the passages again")
    few = sampled[_spread(len(sampled), min(len(sampled), SAMPLED_FOR_LEVELS))].astype(np.float32)
    limit = _limit(passages.dim)
    unit = float(np.float32(_positive(float(np.quantile(np.abs(few), 0.9999)) / limit)))
    points = np.empty(sampled.shape, np.int8)
    for some in _blocks(len(points)):
        points[some] = _rounded(sampled[some], unit)[:, :-1]
    del sampled
    checked()
    means, middles, cells = _two_levels(points, count, threads, checked)
    (centroids, scale), (coarse, coarse_scale) = _in_bytes(means), _in_bytes(middles)
    scales = np.array([scale * unit, 1, coarse_scale * unit, unit], np.float32)
    found = Clusters(centroids, coarse, cells, np.zeros(2, np.int8), scales)
    levels, step = _levels(few - found.coding.centroids[found.nearest(few)], bits)
    scales = np.array([scales[0], step, *scales[2:]], np.float32)
    return Clusters(centroids, coarse, cells, levels, scales)


def num_tokens(passages: Passages) -> int:
    """Return how many token vectors the passages have together."""
    return int(passages.lengths().sum())


def sample(passages: Passages, tokens: int, count: int) -> NDArray[Any]:
    """Return [count, dim], tokens spread evenly over all."""
    wanted, first, row, parts = _spread(tokens, count), 0, 0, []
    while row < passages.rows:
        block = passages.block(row, passages.rows)
        low, high = np.searchsorted(wanted, [first, first + len(block.values)])
        parts.append(block.values[wanted[low:high] - first])
        first, row = first + len(block.values), row + len(block)
    return np.concatenate(parts)


def _blocks(rows: int) -> list[slice]:
    """Return slices, one at least, of as many rows as are multiplied at once."""
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, max(1, rows), ROWS_AT_ONCE)]


def _spread(total: int, count: int) -> NDArray[np.int64]:
    return np.arange(count, dtype=np.int64) * total // count


def _limit(dim: int) -> int:
    """Return the largest whole number of a rounded vector, so that product and half a square stay exact."""
    return max(1, min(MOST, LARGEST // (MOST * dim * 3 // 2)))


def _rounded(values: NDArray[Any], unit: float) -> NDArray[np.float32]:
    """Return [n, dim + 1], the vectors in whole units and a one, by which half a centroid's square enters."""
    limit = _limit(values.shape[1])
    rows = np.ones((len(values), values.shape[1] + 1), np.float32)
    np.multiply(values, np.float32(1 / unit), out=rows[:, :-1], dtype=np.float32)
    np.rint(rows, out=rows)
    return np.clip(rows, -limit, limit, out=rows)


def _matrix(centroids: NDArray[np.int8], ratio: float) -> NDArray[np.float32]:
    """Return [dim + 1, n]: its product with `_rounded` grows as the distance to the centroid falls."""
    wide = centroids.astype(np.float64)
    return np.vstack([wide.T, -np.rint((wide * wide).sum(axis=1) * ratio / 2)]).astype(np.float32)


def _in_bytes(means: NDArray[np.float64]) -> tuple[NDArray[np.int8], float]:
    """Return means as bytes, and what these are multiplied by."""
    scale = _positive(float(np.abs(means).max(initial=0)) / MOST)
    return np.rint(means / scale).astype(np.int8), scale


def _two_levels(
    points: NDArray[np.int8], count: int, threads: int, checked: Callable[[], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return [count, dim] centroids cell by cell, [G, dim] middles, [G + 1] where the cells begin."""
    num_cells = 1 << (count.bit_length() // 2)
    few = points[_spread(len(points), min(len(points), SAMPLED_FOR_CELLS))]
    middles = _kmeans(few, num_cells, CELL_TURNS)
    checked()
    with ThreadPoolExecutor(threads) as pool:
        matrix = _matrix(*_in_bytes(middles))
        blocks = pool.map(lambda some: _nearest(_rounded(points[some], 1.0), matrix), _blocks(len(points)))
        owners = np.concatenate(list(blocks))
        checked()
        members, sizes = np.argsort(owners, kind="stable"), np.bincount(owners, minlength=num_cells)
        borders, cells = offsets_of(sizes), offsets_of(_shared_out(sizes, count))

        def fit(cell: int) -> NDArray[np.float64]:
            mine = points[members[borders[cell] : borders[cell + 1]]]
            return _kmeans(mine, int(cells[cell + 1] - cells[cell]), CENTROID_TURNS)

        means = np.concatenate(list(pool.map(fit, range(num_cells))))
    checked()
    return means, middles, cells


def _shared_out(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return how many of ``count`` centroids each cell gets: by its size, the largest remainders first."""
    total = int(sizes.sum())
    found, rest = sizes * count // total, sizes * count % total
    found[np.argsort(-rest, kind="stable")[: count - int(found.sum())]] += 1
    return found


def _kmeans(points: NDArray[np.int8], count: int, turns: int) -> NDArray[np.float64]:
    """Return [count, dim] means after some turns of Lloyd's algorithm from points spread evenly."""
    means, rows = points[_spread(len(points), count)].astype(np.float64), _rounded(points, 1.0)
    for _ in range(turns if count else 0):
        matrix = _matrix(*_in_bytes(means))
        owners = np.concatenate([_nearest(rows[some], matrix) for some in _blocks(len(rows))])
        sizes = np.bincount(owners, minlength=count)
        sums = add_rows(points, owners, count)
        means = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], means)
    return means


def _nearest(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray((rows @ matrix).argmax(axis=1))


def _levels(residuals: NDArray[np.float32], bits: int) -> tuple[NDArray[np.int8], float]:
    """Return [2 ** bits] levels in bytes, and what these are multiplied by.

    8 bits: of equal distance, over all but one residual of ten thousand. Fewer: Lloyd's of the residuals'
    histogram (S. P. Lloyd, Least squares quantization in PCM, 1982, section IV).
    """
    if bits == 8:
        scale = _positive(float(np.quantile(np.abs(residuals), 0.9999)) / MOST)
        return np.arange(-MOST - 1, MOST + 1).astype(np.int8), scale
    reach = _positive(float(np.abs(residuals).max()))
    counts, edges = np.histogram(residuals, BINS, (-reach, reach))
    middles = (edges[1:] + edges[:-1]) / 2
    below, weight = np.append(0, np.cumsum(counts)), np.append(0, np.cumsum(counts * middles))
    share = (np.arange(1 << bits) + 0.5) / (1 << bits)
    levels = middles[np.minimum(np.searchsorted(below[1:], share * below[-1]), BINS - 1)]
    for _ in range(40):
        cuts = np.searchsorted(middles, (levels[1:] + levels[:-1]) / 2)
        borders = np.concatenate([[0], cuts, [BINS]])
        held = np.diff(below[borders])
        levels = np.where(held > 0, np.diff(weight[borders]) / np.maximum(held, 1), levels)
    (found, scale) = _in_bytes(levels)
    return np.sort(found), scale


def _positive(scale: float) -> float:
    """Return the scale, or 1 where all numbers are zero, or too small for float32 to divide by."""
    return scale if scale > 1e-30 else 1.0
