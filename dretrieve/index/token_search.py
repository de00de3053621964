"""Search over the codes of a token index: fast, or exact by bounds; the scores are canonical either way.

Fast: passages are ordered by cheap scores, of which the next, dearer one sees the best alone; how many is a
choice (`dretrieve.kernels.token_search.Counts`), which building the index makes on sampled queries. Exact:
all passages are scored in bytes, and those that the bound does not rule out canonically.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_alone import Reconstructed
from dretrieve.index.token_codes import TokenCodes
from dretrieve.index.token_scan import search_tokens
from dretrieve.index.top_k import TopK
from dretrieve.kernels.codes import QueryCodes, pack_queries
from dretrieve.kernels.dot import frozen, stored_bits
from dretrieve.kernels.token_lanes import WIDTHS
from dretrieve.kernels.token_search import BINS, Counts, propose, sums_of_best
from dretrieve.kernels.token_tables import TABLE_ROWS, Query, Stored, Work, bound_passages, fill_tables
from dretrieve.scoring.dot import widened
from dretrieve.scoring.maxsim import maxsim_of_sums
from dretrieve.scoring.token_scores import TokenScore
from dretrieve.types import Vectors

LARGEST_SCORE, SMALLEST_SCALE = 1e30, 1e-15
PRODUCTS_PER_BLOCK = 4e11  # a few seconds on one slow core, so that a signal is heard in time
TABLES_PER_BLOCK = 4  # tokens of a block beside centroids: else the tables would take most of the time
SAMPLED_TOKENS = 1 << 12


@dataclass(frozen=True)
class TokenSearch:
    """What a search needs of an index of token vectors.

    Attributes:
        codes: of the passages.
        passages: the stored vectors and ids.
        score: a MaxSim (its ``mean`` is not None).
    """

    codes: TokenCodes
    passages: Passages
    score: TokenScore

    @cached_property
    def stored(self) -> Stored:
        """The codes in the form that the loops read."""
        return stored_of(self.codes)

    def fits(self, queries: Vectors) -> bool:
        """Whether all products and bounds are numbers that float32 can tell apart; else search plainly."""
        asked = np.abs(np.asarray(queries.values, dtype=np.float64))
        if not asked.size:
            return True
        reach = self.stored.longest + self.stored.scales[1] * 128 * self.stored.dim**0.5
        largest = asked.max(axis=1)
        scale = min([*self.stored.scales, *(largest[largest > 0] / 127)])
        return bool(reach * largest.max() * self.stored.dim < LARGEST_SCORE and scale > SMALLEST_SCALE)

    def fast(self, queries: Vectors, kept: TopK, counts: Counts, options: ExactOptions) -> TopK:
        """Fill ``kept`` with the best of the passages that `propose` finds; return it."""

        def visit(asked: _Asked, q: int, work: Work) -> None:
            query = asked.query(q)
            found = work.found[: propose(self.stored, query, counts, work)].copy()
            self._keep(query, q, found, kept, work)

        self._over_queries(queries, visit, options.threads)
        kept.check_finite()
        options.after_block(self.passages.rows, kept)
        return kept

    def exact(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best of some consecutive passages to ``kept``, as `search_tokens` does; return it."""
        borders, row, k = self.codes.borders, rows[0], kept.scores.shape[1]
        tokens = int(PRODUCTS_PER_BLOCK / max(1, queries.values.size))
        tokens = max(tokens, TABLES_PER_BLOCK * len(self.codes.centroids))
        while row < rows[1]:
            stop = int(np.searchsorted(borders, borders[row] + tokens, side="right")) - 1
            stop = min(max(stop, row + 1), rows[1])

            def visit(asked: _Asked, q: int, work: Work, first: int = row, stop: int = stop) -> None:
                query = asked.query(q)
                fill_tables(self.stored, query, work)
                near, margins = np.empty(stop - first), np.empty(stop - first)
                bound_passages(self.stored, query, first, work, near, margins)
                if self.score.mean:
                    near /= len(query.codes)
                    margins /= len(query.codes)
                places = _within(near, margins, float(kept.part(slice(q, q + 1)).floors()[0]), kept)
                if len(places) > 2 * k > 0:  # the likely ones raise the floor for the others
                    best = places[np.argpartition(near[places], len(places) - k)[-k:]]
                    self._keep(query, q, np.sort(first + best).astype(np.int32), kept, work)
                    places = np.setdiff1d(places, best, assume_unique=True)
                    floor = float(kept.part(slice(q, q + 1)).floors()[0])
                    places = places[near[places] + margins[places] >= floor]
                self._keep(query, q, (first + places).astype(np.int32), kept, work)

            self._over_queries(queries, visit, options.threads)
            row = stop
            options.after_block(row, kept)
        kept.check_finite()
        return kept

    def sure(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Return what `exact` does, in the quicker way: bounds of fewer than 8 bits rule too little out."""
        if self.codes.bits == 8 and self.fits(queries):
            return self.exact(queries, kept, rows, options)
        passages = self.passages
        return search_tokens(passages.block, self.score, queries, kept, passages.ranks, rows, options)

    def _over_queries(
        self, queries: Vectors, visit: Callable[[_Asked, int, Work], None], threads: int
    ) -> None:
        """Call ``visit(asked, q, work)`` for each query that has vectors."""
        assert queries.offsets is not None
        asked = _Asked.of(queries)
        present = np.flatnonzero(np.diff(queries.offsets))
        if not len(present) or not len(self.codes.codes):
            return

        def visit_some(some: NDArray[np.int64]) -> None:
            work = work_for(self.stored, int(np.diff(asked.borders).max()))
            for q in some.tolist():
                visit(asked, q, work)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(visit_some, np.array_split(present, threads)))

    def _keep(self, query: Query, q: int, found: NDArray[np.int32], kept: TopK, work: Work) -> None:
        """Score some passages canonically, whose query's tables are filled, and keep the best."""
        if isinstance(self.passages, Reconstructed):  # no vectors are stored
            vectors, every = (
                self.passages.gather(found.astype(np.int64)),
                np.arange(len(found), dtype=np.int32),
            )
            asked = Vectors(query.exact.astype(np.float32), np.array([0, len(query.codes)]))
            scores = self.score.pairs(vectors, asked, np.array([0, len(found)]), every)
            kept.offer(q, found.astype(np.int64), scores, self.passages.ranks)
            return
        sums, passages = np.empty(len(found), dtype=np.float64), self.passages
        for number in sorted({passages.shard_of(row) for row in found.tolist()}):
            first = passages.start_of(number)
            values = passages.vectors(number)
            low, high = np.searchsorted(found, [first, first + len(values)])
            sums_of_best(
                self.stored,
                query,
                stored_bits(values.values),
                int(self.stored.borders[first]),
                frozen(found[low:high]),
                work,
                sums[low:high],
            )
        scores = maxsim_of_sums(sums, len(query.codes), mean=bool(self.score.mean))
        kept.offer(q, found.astype(np.int64), scores, passages.ranks)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Queries in bytes, with where the tokens of each begin."""

    codes: QueryCodes
    borders: NDArray[np.int64]

    @classmethod
    def of(cls, queries: Vectors) -> _Asked:
        assert queries.offsets is not None
        return cls(pack_queries(widened(queries.values)), queries.offsets)

    def query(self, q: int) -> Query:
        """Return one of them."""
        part = self.codes.part(slice(int(self.borders[q]), int(self.borders[q + 1])))
        width = next((width for width in WIDTHS if width >= len(part.codes)), WIDTHS[-1])
        return Query(width, part.codes, part.scales, part.errors, part.lengths, part.exact)


def stored_of(codes: TokenCodes) -> Stored:
    """Return the codes of a token index in the form that the loops read."""
    count, dim = codes.centroids.shape
    largest = float(np.abs(codes.centroids).max(initial=0))
    scale = largest / 127 if largest > 0 else 1.0
    centroids = np.full((count, -(-dim // 4) * 4), 128, dtype=np.uint8)
    centroids[:, :dim] = np.rint(codes.centroids / scale) + 128
    levels = codes.levels.astype(np.int64)
    shifts = np.arange(0, 8, codes.bits)
    unpacked = (levels[np.arange(256)[:, None] >> shifts & (1 << codes.bits) - 1] + 128).astype(np.uint8)
    plain = codes.bits == 8 and dim % 4 == 0 and (np.diff(levels) == 1).all()
    some = codes.residuals[np.arange(0, len(codes.codes), max(1, len(codes.codes) // SAMPLED_TOKENS))]
    numbers = (unpacked[some].reshape(len(some), -1)[:, :dim].astype(np.float64) - 128) * codes.scale
    return Stored(
        centroids=frozen(centroids),
        numbers=frozen(np.arange(count, dtype=np.uint16)),
        codes=frozen(codes.codes),
        residuals=frozen(codes.residuals),
        unpacked=frozen(unpacked),
        zero=int(-levels[0]) if plain else -1,
        errors=frozen(codes.errors),
        borders=frozen(codes.borders),
        list_offsets=frozen(codes.list_offsets),
        lists=frozen(codes.lists),
        scales=(scale, float(codes.scale)),
        longest=float(np.linalg.norm(codes.centroids.astype(np.float64), axis=1).max(initial=0)),
        typical=float(np.sqrt(np.mean(numbers**2))) if numbers.size else 0.0,
        extents=np.full((len(codes.borders) - 1, 2), np.nan, dtype=np.float32),
        dim=dim,
    )


def work_for(stored: Stored, tokens: int) -> Work:
    """Return room for queries of up to so many tokens."""
    count, size = stored.centroids.shape
    widest = WIDTHS[-1]
    lanes = -(-tokens // widest) * widest
    longest = int(np.diff(stored.borders).max(initial=1))
    passages = len(stored.borders) - 1
    return Work(
        lanes=_aligned(lanes * size, np.int8),
        starts=np.empty(2 * lanes, np.int32),
        rates=np.empty(2 * lanes, np.float32),
        peaks=np.empty(2 * lanes, np.float32),
        table=_aligned(lanes * count, np.int16),
        small=_aligned(lanes * count, np.uint8),
        unit=np.empty(1),
        sums=_aligned(max(longest, TABLE_ROWS) * widest, np.int32),
        rows=_aligned(longest * size, np.uint8).reshape(longest, size),
        picked=np.empty(longest, np.uint16),
        near=np.empty(max(2 * longest, count), np.int32),
        masks=np.empty(longest, np.uint32),
        best=np.empty(4 * widest, np.float32),
        bytes=np.empty(widest, np.uint8),
        doubles=np.empty(8),
        order=np.empty(passages, np.int32),
        stamps=np.empty(passages, np.int32),
        found=np.empty(passages, np.int32),
        scores=np.empty(passages),
        keys=np.empty(max(count, passages), np.int32),
        counted=np.empty(max(BINS, 256 * widest), np.int32),
    )


def _aligned(count: int, kind: type) -> NDArray[Any]:
    """Return room that begins with a line of the cache, so that no row of a table lies in two."""
    room = np.empty(count * np.dtype(kind).itemsize + 64, dtype=np.uint8)
    skipped = -room.ctypes.data % 64
    return room[skipped : skipped + count * np.dtype(kind).itemsize].view(kind)


def _within(
    near: NDArray[np.float64], margins: NDArray[np.float64], floor: float, kept: TopK
) -> NDArray[np.int64]:
    """Return the places that may belong to the k best, which reach ``floor`` already."""
    k = kept.scores.shape[1]
    if len(near) > k > 0:
        floor = max(floor, float(np.partition(near - margins, len(near) - k)[len(near) - k]))
    return np.flatnonzero((near + margins >= floor) & (near > -np.inf))
