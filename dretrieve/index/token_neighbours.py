"""Search as the papers have it: the tokens nearest to each query token name the passages that are scored.

ALIGNER (Qian et al., 2022, section 4.1) takes 4,000 neighbours of each query token and scores all passages
that have one with all their tokens. ReAtt (Jiang et al., 2022, and its released code) takes 2,048, orders the
passages by the sum over query tokens of the largest product found, a missing one being 0, and scores the best
2,048. Where we differ: the neighbours are exact, of equal products the first ones.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_scan import rescore
from dretrieve.index.token_search import Asked, TokenSearch, that_count
from dretrieve.index.top_k import TopK
from dretrieve.kernels.token_nearest import near_tokens
from dretrieve.kernels.token_tables import Work
from dretrieve.scoring.dot import dot_pairs, widened
from dretrieve.scoring.token_scores import TokenScore
from dretrieve.types import Vectors, offsets_of


@dataclass(frozen=True, slots=True)
class Neighbours:
    """How passages are found.

    Attributes:
        tokens: how many of the nearest each query token has.
        candidates: how many of the passages that have one are scored; None: all.
    """

    tokens: int
    candidates: int | None = None


class Hits(NamedTuple):
    """The nearest tokens to each token of a query: [H] which they are, whose neighbour, their products."""

    tokens: NDArray[np.int64]
    owners: NDArray[np.int64]
    dots: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeighbourSearch:
    """A search by neighbours.

    Attributes:
        neighbours: how passages are found.
        looked: with the tokens that neighbours are looked for among.
        by_codes: over the codes of these; None where there are none.
        compared: the same passages with the tokens that a score compares.
        score: what compares two texts.
    """

    neighbours: Neighbours
    looked: Passages
    by_codes: TokenSearch | None
    compared: Passages
    score: TokenScore

    def search(self, asked: Vectors, queries: Vectors, kept: TopK, options: ExactOptions) -> TopK:
        """Fill ``kept`` with the best of the passages found; return it.

        Args:
            asked: the tokens that look for neighbours.
            queries: the tokens that are scored.
            kept: hits.
            options: threads; ``reached`` is told how many passages each query found.
        """
        borders = offsets_of(self.looked.lengths())

        def keep(q: int, hits: Hits) -> None:
            rows, best = self._passages(hits, borders)
            options.reached(len(rows))
            mine = queries[q : q + 1], rows[np.sort(best)], kept.part(slice(q, q + 1))
            rescore(self.compared, self.score, *mine)

        if self.by_codes is not None and self.by_codes.fits(asked):
            self._by_codes(self.by_codes, asked, borders, keep, options.threads)
        else:
            self._plainly(that_count(asked), keep, options.threads)
        kept.check_finite()
        options.after_block(self.looked.rows, kept)
        return kept

    def _by_codes(
        self,
        search: TokenSearch,
        asked: Vectors,
        borders: NDArray[np.int64],
        keep: Callable[[int, Hits], None],
        threads: int,
    ) -> None:
        wanted = min(self.neighbours.tokens, int(borders[-1]))

        def visit(of: Asked, q: int, work: Work) -> None:
            query = of.query(q)
            near, counts = near_tokens(search.stored, query, wanted, work)
            tokens = np.concatenate([row[:count] for row, count in zip(near, counts.tolist(), strict=True)])
            every, places = np.unique(tokens, return_inverse=True)
            vectors = self._vectors(every, borders)
            keep(q, _nearest(vectors, query.exact, offsets_of(counts), places, every, wanted))

        search.over_queries(asked, visit, threads)

    def _plainly(self, asked: Vectors, keep: Callable[[int, Hits], None], threads: int) -> None:
        """Compare all tokens, which are held in memory."""
        values = self.looked.gather(np.arange(self.looked.rows)).values
        every = np.arange(len(values))
        assert asked.offsets is not None
        offsets = asked.offsets

        def visit(q: int) -> None:
            query = widened(asked.values[offsets[q] : offsets[q + 1]])
            ends, places = np.arange(len(query) + 1) * len(every), np.tile(every, len(query))
            keep(q, _nearest(values, query, ends, places, every, min(self.neighbours.tokens, len(every))))

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(visit, np.flatnonzero(np.diff(offsets)).tolist()))

    def _vectors(self, tokens: NDArray[np.int64], borders: NDArray[np.int64]) -> NDArray[Any]:
        """Return the stored vectors of rising tokens."""
        owners = np.searchsorted(borders, tokens, side="right") - 1
        rows, places = np.unique(owners, return_inverse=True)
        texts = self.looked.gather(rows)
        assert texts.offsets is not None
        return np.asarray(texts.values[texts.offsets[places] + tokens - borders[owners]])

    def _passages(
        self, hits: Hits, borders: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the passages that have a hit, rising, and which of them are scored."""
        owners = np.searchsorted(borders, hits.tokens, side="right") - 1
        rows, places = np.unique(owners, return_inverse=True)
        wanted = self.neighbours.candidates
        if wanted is None or wanted >= len(rows):
            return rows, np.arange(len(rows))
        largest = np.full((len(rows), int(hits.owners.max()) + 1), -np.inf)
        np.maximum.at(largest, (places, hits.owners), hits.dots)
        sums = np.where(np.isfinite(largest), largest, 0.0).sum(axis=1)
        return rows, np.lexsort((rows, -sums))[:wanted]


def _nearest(
    vectors: NDArray[Any],
    query: NDArray[np.float64],
    offsets: NDArray[np.int64],
    places: NDArray[np.int64],
    tokens: NDArray[np.int64],
    wanted: int,
) -> Hits:
    """Return the ``wanted`` nearest of each query token, of some of all tokens.

    Args:
        vectors: [M, dim].
        query: [n, dim] from `widened`.
        offsets: [n + 1]; query token i is compared with ``places[offsets[i]:offsets[i + 1]]``.
        places: among the vectors.
        tokens: [M], rising, which of all they are.
        wanted: at most as many as each is compared with.
    """
    dots = dot_pairs(vectors, query, offsets, places.astype(np.int32))
    owners = np.repeat(np.arange(len(query)), np.diff(offsets))
    order = np.lexsort((places, -dots, owners))
    first = order[np.arange(len(order)) - offsets[owners] < wanted]
    return Hits(tokens[places[first]], owners[first], dots[first])
