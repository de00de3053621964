"""Search as the papers have it: the tokens nearest to each query token name the passages that are scored.

ALIGNER (Qian et al., 2022, section 4.1) takes 4,000 neighbours of each query token and scores all passages
that have one with all their tokens. ReAtt (Jiang et al., 2022, and its released code) takes 2,048, orders the
passages by the sum over query tokens of the largest product found, a missing one being 0, and scores the best
2,048. Where we differ: the neighbours are exact, of equal products the first ones. All tokens are compared,
as an exact search compares passages of one vector: of tokens that lie close together codes rule too few out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dretrieve.index.base import Passages
from dretrieve.index.exact import Block, ExactOptions, search_exact
from dretrieve.index.token_scan import rescore, rescore_grid
from dretrieve.index.token_search import that_count
from dretrieve.index.top_k import TopK
from dretrieve.scoring.token_scores import TokenGrid, TokenScore
from dretrieve.types import Vectors, offsets_of

QUERY_TOKENS, NEIGHBOURS_AT_ONCE = 1 << 13, 1 << 25  # 400 MB of hits


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How passages are found.

    Attributes:
        tokens: how many of the nearest each query token has.
        candidates: how many of the passages that have one are scored; None: all.
    """

    tokens: int
    candidates: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourSearch:
    """A search by neighbours.

    Attributes:
        looked: with the tokens that neighbours are looked for among.
        compared: the same passages with the tokens that a score compares.
    """

    neighbours: Neighbours
    looked: Passages
    compared: Passages
    score: TokenScore

    def search(self, asked: Vectors, queries: Vectors, kept: TopK, options: ExactOptions) -> TopK:
        """Fill ``kept`` with the best of the passages found; return it.

        ``asked`` look for neighbours, ``queries`` are scored; ``reached`` of the options is told how many
        passages each query found.
        """

        def scored(q: int, found: NDArray[np.int64]) -> None:
            rescore(self.compared, self.score, queries[q : q + 1], found, kept.part(slice(q, q + 1)))

        self._search(asked, scored, kept, options)
        kept.check_finite()
        options.after_block(self.looked.rows, kept)
        return kept

    def search_grid(
        self, asked: Vectors, queries: Vectors, kept: Sequence[TopK], grid: TokenGrid, options: ExactOptions
    ) -> None:
        """Fill ``kept`` with the best by each score of a grid: which passages are found depends on none."""

        def scored(q: int, found: NDArray[np.int64]) -> None:
            mine = [of.part(slice(q, q + 1)) for of in kept]
            rescore_grid(self.compared, grid, queries[q : q + 1], [found] * len(mine), mine)

        self._search(asked, scored, kept[0], options)
        for of in kept:
            of.check_finite()

    def _search(
        self,
        asked: Vectors,
        scored: Callable[[int, NDArray[np.int64]], None],
        kept: TopK,
        options: ExactOptions,
    ) -> None:
        """Call ``scored`` with each query that has a token and the rows found for it, rising."""
        asked, borders = that_count(asked), offsets_of(self.looked.lengths())
        assert asked.offsets is not None
        offsets, count = asked.offsets, int(borders[-1])
        present, wanted = np.flatnonzero(np.diff(offsets)), min(self.neighbours.tokens, count)
        ranks = np.arange(count - 1, -1, -1)  # of equal products the token of higher rank is kept
        most, start = max(1, min(QUERY_TOKENS, NEIGHBOURS_AT_ONCE // max(1, wanted))), 0

        def block_of(low: int, high: int) -> Block:
            row, end = (np.searchsorted(borders, [low, high], side="right") - 1).tolist()
            values = self.looked.block(row, min(end + 1, self.looked.rows)).values
            return Block(low, values[low - borders[row] : high - borders[row]])

        with ThreadPoolExecutor(options.threads) as pool:
            while start < len(present) and wanted:
                first = int(offsets[present[start]])
                fitting = int(np.searchsorted(offsets[present[start:] + 1], first + most, side="right"))
                stop = start + max(1, fitting)
                last = int(offsets[present[stop - 1] + 1])

                def after(token: int, _: TopK, start: int = start, stop: int = stop) -> None:
                    share = (start + (stop - start) * token / count) / len(present)
                    options.after_block(int(share * self.looked.rows), kept)

                how = ExactOptions(threads=options.threads, device=options.device, after_block=after)
                near = TopK.empty(last - first, wanted)
                search_exact(block_of, asked.values[first:last], near, ranks, (0, count), how)

                def visit(q: int, near: TopK = near, first: int = first) -> None:
                    mine = near.part(slice(offsets[q] - first, offsets[q + 1] - first))
                    rows, best = self._passages(mine, borders)
                    options.reached(len(rows))
                    scored(q, rows[np.sort(best)])

                list(pool.map(visit, present[start:stop].tolist()))
                start = stop

    def _passages(
        self, near: TopK, borders: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the passages of the tokens nearest to each of a query's, rising, and which are scored."""
        owners = np.searchsorted(borders, near.rows, side="right") - 1  # every heap is full
        rows, places = np.unique(owners, return_inverse=True)
        wanted = self.neighbours.candidates
        if wanted is None or wanted >= len(rows):
            return rows, np.arange(len(rows))
        largest = np.full((len(rows), len(owners)), -np.inf)
        np.maximum.at(largest, (places.reshape(owners.shape), np.arange(len(owners))[:, None]), near.scores)
        sums = np.where(np.isfinite(largest), largest, 0.0).sum(axis=1)
        return rows, np.lexsort((rows, -sums))[:wanted]
