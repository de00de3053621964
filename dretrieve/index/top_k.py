"""The best hits of a search so far, and the queries in the forms that scoring takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve import order
from dretrieve.errors import DataError
from dretrieve.kernels.dot import frozen, rounding_margin, stored_bits
from dretrieve.kernels.top_k import keep_best
from dretrieve.scoring.dot import widened


class Found(NamedTuple):
    """Candidates of Q queries: query q has ``rows[offsets[q]:offsets[q + 1]]`` of a block, each once."""

    offsets: NDArray[np.int64]
    rows: NDArray[np.int32]


class Asked(NamedTuple):
    """Queries in the forms that scoring takes.

    Attributes:
        wide: [Q, dim] float32 numbers as float64.
        single: the same as float32.
        slacks: [Q], how far a float32 product may be off, over the passage's length.
    """

    wide: NDArray[np.float64]
    single: NDArray[np.float32]
    slacks: NDArray[np.float64]

    @classmethod
    def of(cls, queries: NDArray[Any]) -> Asked:
        """Return [Q, dim] queries in all forms."""
        wide = widened(queries)
        slacks = np.linalg.norm(wide, axis=1) * rounding_margin(wide.shape[1])
        return cls(wide, wide.astype(np.float32), slacks)

    def part(self, queries: slice) -> Asked:
        """Return some of them."""
        return Asked(self.wide[queries], self.single[queries], self.slacks[queries])


class TopK(NamedTuple):
    """The best hits of Q queries so far, at most k each, as heaps.

    Attributes:
        scores: [Q, k] float32.
        rows: [Q, k] int64 passage rows.
        sizes: [Q] int64, how many places of each heap are filled.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def empty(cls, num_queries: int, k: int) -> TopK:
        """Return heaps without hits."""
        return cls(
            np.full((num_queries, k), -np.inf, dtype=np.float32),
            np.full((num_queries, k), -1, dtype=np.int64),
            np.zeros(num_queries, dtype=np.int64),
        )

    def part(self, queries: slice) -> TopK:
        """Return a view of some queries."""
        return TopK(self.scores[queries], self.rows[queries], self.sizes[queries])

    def take(self, other: TopK) -> None:
        """Become a copy of as many heaps of the same width."""
        self.scores[:], self.rows[:], self.sizes[:] = other

    def floors(self) -> NDArray[np.float64]:
        """Return [Q], the k-th best score, or minus infinity where there are fewer than k hits."""
        full = self.sizes == self.scores.shape[1]
        return np.where(full, self.scores[:, 0].astype(np.float64), -np.inf)

    def add(
        self, ranks: NDArray[np.int64], first: int, vectors: NDArray[Any], asked: Asked, found: Found
    ) -> None:
        """Score candidates of a block and keep those that are good enough; none may have been added before.

        Args:
            ranks: of all passages.
            first: row of the block's first vector.
            vectors: the block, [N, dim] float16 or float32.
            asked: as many queries as heaps.
            found: the candidates.
        """
        if self.scores.shape[1] and len(found.rows):
            keep_best(self, frozen(ranks), stored_bits(vectors), first, asked, found)

    def offer(
        self, query: int, rows: NDArray[np.int64], scores: NDArray[np.float32], ranks: NDArray[np.int64]
    ) -> None:
        """Keep the best of a query's hits and of others with canonical scores; none may be there already."""
        size = self.sizes[query]
        rows = np.concatenate([self.rows[query, :size], rows])
        scores = np.concatenate([self.scores[query, :size], scores])
        # ascending, so that the worst stands on top as in every heap
        best = order.top_k(scores, np.asarray(ranks[rows]), self.scores.shape[1])[::-1]
        self.sizes[query] = len(best)
        self.rows[query, : len(best)], self.scores[query, : len(best)] = rows[best], scores[best]

    def check_finite(self) -> None:
        """Refuse hits whose scores are no float32 numbers.

        Raises:
            DataError: there is one.
        """
        filled = np.arange(self.scores.shape[1]) < self.sizes[:, None]
        if not np.isfinite(self.scores[filled]).all():
            raise DataError("a score is too large for float32; normalise the vectors (numbers below 1e18)")

    def best_first(self, ranks: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Yield rows and scores of each query, sorted by the rule of ties."""
        for size, rows, scores in zip(self.sizes.tolist(), self.rows, self.scores, strict=True):
            placed = order.best_first(scores[:size], np.asarray(ranks[rows[:size]]))
            yield rows[:size][placed], scores[:size][placed]
