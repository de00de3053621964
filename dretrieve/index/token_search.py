"""Search over the codes of a token index: fast, or exact by bounds; the scores are canonical either way.

Fast: passages are ordered by cheap scores, of which the next, dearer one sees the best alone; how many is a
choice (`dretrieve.kernels.token_search.Counts`), which building the index makes on sampled queries. Exact:
all passages are scored in bytes, and those that the bound does not rule out canonically.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.token_alone import Reconstructed
from dretrieve.index.token_codes import TokenCodes
from dretrieve.index.token_prune import Pruned
from dretrieve.index.token_scan import rescore, rescore_grid, search_tokens
from dretrieve.index.top_k import TopK
from dretrieve.kernels.codes import QueryCodes, pack_queries
from dretrieve.kernels.dot import frozen, stored_bits
from dretrieve.kernels.token_lanes import MOST_LARGEST, WIDTHS
from dretrieve.kernels.token_matches import Matches, aligned_of_best, bound_passages
from dretrieve.kernels.token_search import BINS, Counts, propose, sums_of_best
from dretrieve.kernels.token_tables import TABLE_ROWS, Query, Stored, Work, fill_tables
from dretrieve.scoring.alignment import parse_alignment, score_of_sums
from dretrieve.scoring.dot import widened
from dretrieve.scoring.maxsim import maxsim_of_sums
from dretrieve.scoring.token_scores import TokenScore, grid_of
from dretrieve.types import Vectors, offsets_of

LARGEST_SCORE, SMALLEST_SCALE = 1e30, 1e-15
PRODUCTS_PER_BLOCK = 4e11  # a few seconds on one slow core, so that a signal is heard in time
TABLES_PER_BLOCK = 4  # tokens of a block beside centroids: else the tables would take most of the time
QUERIES_AT_ONCE = 32  # of a fast search, for the same
SAMPLED_TOKENS = 1 << 12
USUAL_TOKENS = 24
"""Of a query; one with fewer is looked for more widely."""
SOFT_MATCHES = 2
"""By how many of the largest, for each whole share, a soft alignment is stood for among centroids."""


@dataclass(frozen=True)
class TokenSearch:
    """What a search needs of an index of token vectors.

    Attributes:
        passages: with the tokens that have codes.
        whole: the same passages with all their tokens, where those are compared.
    """

    codes: TokenCodes
    passages: Passages
    score: TokenScore
    whole: Passages | None = None

    @property
    def compared(self) -> Passages:
        """The passages with the tokens that a score compares."""
        return self.passages if self.whole is None else self.whole

    @cached_property
    def stored(self) -> Stored:
        """The codes in the form that the loops read."""
        return stored_of(self.codes)

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """[T] how much each stored token counts; empty where all count the same."""
        salience = self.codes.salience
        return np.empty(0, np.float32) if salience is None else np.asarray(salience, np.float32)

    @cached_property
    def matches(self) -> Matches:
        """With how many of its tokens each passage takes part in the score."""
        whole = self.passages.whole if isinstance(self.passages, Pruned) else self.passages
        return matches_of(self.codes, self.score, whole, self.weights)

    @cached_property
    def aligned(self) -> float:
        """With how many of its tokens a passage takes part, for most of them: their median."""
        return float(np.median(self.matches.counts)) if len(self.matches.counts) else 1.0

    @property
    def bounded(self) -> bool:
        """Whether the codes bound the score, so that an exact search need not compare all tokens."""
        of = self.matches
        hard = of.k == 0 and not of.weighted and of.most <= MOST_LARGEST
        return hard and self.codes.bits == 8 and self.whole is None

    def by(self, score: TokenScore) -> TokenSearch:
        """Return the search by another score over the same codes."""
        found = replace(self, score=score)
        # with what was measured of the passages
        vars(found).update(stored=self.stored, weights=self.weights)
        return found

    def fits(self, queries: Vectors) -> bool:
        """Whether all products and bounds are numbers that float32 can tell apart; else search plainly."""
        if not queries.values.size:
            return True
        reach = self.stored.longest + self.stored.scales[1] * 128 * self.stored.dim**0.5
        largest = np.abs(queries.values).max(axis=1).astype(np.float64)
        scale = min([*self.stored.scales, *(largest[largest > 0] / 127)])
        return bool(reach * largest.max() * self.stored.dim < LARGEST_SCORE and scale > SMALLEST_SCALE)

    def fast(
        self,
        queries: Vectors,
        kept: TopK,
        counts: Counts,
        options: ExactOptions,
        compared: Vectors | None = None,
    ) -> TopK:
        """Fill ``kept`` with the best of the passages that `propose` finds; return it.

        ``compared`` are the tokens that are scored, where these are others than those that look for passages.
        """
        rows = self.passages.rows
        scored = queries if compared is None else compared
        by_codes = compared is None and self.whole is None and self.matches.k == 0

        def visit(query: Query, q: int, work: Work) -> None:
            fill_tables(self.stored, query, work)
            found = self._proposed(query, counts, work)
            if by_codes:
                self._keep(query, q, found, kept, work)
            else:
                mine = scored[q : q + 1], found, kept.part(slice(q, q + 1))
                rescore(self.compared, self.score, *mine)

        def after(share: float) -> None:
            options.after_block(int(share * rows), kept)

        self.over_queries(queries, visit, options.threads, after)
        kept.check_finite()
        options.after_block(rows, kept)
        return kept

    def exact(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best of some consecutive passages to ``kept``, as `search_tokens` does; return it."""
        borders, row, k = self.codes.borders, rows[0], kept.scores.shape[1]
        tokens = int(PRODUCTS_PER_BLOCK / max(1, queries.values.size))
        tokens = max(tokens, TABLES_PER_BLOCK * len(self.codes.centroids))
        while row < rows[1]:
            stop = int(np.searchsorted(borders, borders[row] + tokens, side="right")) - 1
            stop = min(max(stop, row + 1), rows[1])

            def visit(query: Query, q: int, work: Work, first: int = row, stop: int = stop) -> None:
                fill_tables(self.stored, query, work)
                near, margins = np.empty(stop - first), np.empty(stop - first)
                bound_passages(self.stored, query, self.matches, first, work, near, margins)
                if self.score.mean or self.score.alignment:
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

            self.over_queries(queries, visit, options.threads)
            row = stop
            options.after_block(row, kept)
        kept.check_finite()
        return kept

    def sure(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Return what `exact` does, in the quicker way: bounds of fewer than 8 bits rule too little out."""
        if self.bounded and self.fits(queries):
            return self.exact(queries, kept, rows, options)
        passages = self.compared
        return search_tokens(passages.block, self.score, queries, kept, passages.ranks, rows, options)

    def over_queries(
        self,
        queries: Vectors,
        visit: Callable[[Query, int, Work], None],
        threads: int,
        after: Callable[[float], None] = lambda share: None,
    ) -> None:
        """Call ``visit(query, q, work)`` for each query that has vectors; a few at a time are widened.

        Several threads visit, each with work of its own; this one calls ``after`` from time to time with the
        share of the queries visited, which may raise.
        """
        assert queries.offsets is not None
        lengths = np.diff(queries.offsets)
        present = np.flatnonzero(lengths)
        if not len(present) or not len(self.codes.codes):
            return
        size = min(QUERIES_AT_ONCE, -(-len(present) // threads))
        idle = [work_for(self.stored, int(lengths.max())) for _ in range(threads)]
        starts = range(0, len(present), size)

        def visit_some(start: int) -> int:
            work, some = idle.pop(), present[start : start + size]
            asked = Asked.of(queries.take(some))
            for place, q in enumerate(some.tolist()):
                visit(asked.query(place), q, work)
            idle.append(work)
            return start + size

        with ThreadPoolExecutor(threads) as pool:
            for stop in pool.map(visit_some, starts):  # what it raises, or `after`, cancels the rest
                after(min(1.0, stop / len(present)))

    def _proposed(self, query: Query, counts: Counts, work: Work) -> NDArray[np.int32]:
        """Return the passages to score canonically, rising, for a query whose tables are filled."""
        counts = for_tokens(counts, len(query.codes), self.aligned)
        return work.found[: propose(self.stored, query, self.matches, counts, work)].copy()

    def _keep(self, query: Query, q: int, found: NDArray[np.int32], kept: TopK, work: Work) -> None:
        """Score some passages canonically, whose query's tables are filled, and keep the best."""
        if isinstance(self.passages, Reconstructed):  # no vectors are stored
            rows = found.astype(np.int64)
            texts, every = self.passages.gather(rows), np.arange(len(rows), dtype=np.int32)
            asked = Vectors(query.exact.astype(np.float32), np.array([0, len(query.codes)]))
            scores = self.score.pairs(texts, asked, np.array([0, len(rows)]), every)
            kept.offer(q, rows, scores, self.passages.ranks)
            return
        sums, totals = np.empty(len(found)), np.empty(len(found))
        for some, vectors, starts in self._vectors(found):
            given = stored_bits(vectors), starts, frozen(found[some]), work
            if self.matches.maxsim:
                sums_of_best(self.stored, query, *given, sums[some])
            else:
                aligned_of_best(self.stored, query, self.matches, *given, (sums[some], totals[some]))
        if self.matches.maxsim:
            scores = maxsim_of_sums(sums, len(query.codes), mean=bool(self.score.mean))
        else:
            scores = score_of_sums(sums, totals)
        kept.offer(q, found.astype(np.int64), scores, self.passages.ranks)

    def _vectors(self, found: NDArray[np.int32]) -> Iterator[tuple[slice, NDArray[Any], NDArray[np.int64]]]:
        """Yield stored vectors, with which of the passages they are of, and where each begins."""
        passages, borders = self.passages, self.codes.borders
        if isinstance(passages, Pruned):
            texts = passages.gather(found.astype(np.int64))
            assert texts.offsets is not None
            yield slice(0, len(found)), texts.values, texts.offsets[:-1].copy()
            return
        for number in passages.shards_of(found):
            first = passages.start_of(number)
            values = passages.vectors(number)
            low, high = np.searchsorted(found, [first, first + len(values)])
            yield slice(low, high), values.values, borders[found[low:high]] - borders[first]


def fast_grid(
    ways: Sequence[tuple[TokenSearch, Counts | None]],
    queries: Vectors,
    compared: Vectors,
    kept: Sequence[TopK],
    options: ExactOptions,
) -> None:
    """Fill ``kept`` as searches by several alignments over the same codes do, one by one.

    Each has candidates of its own. A query's tables are made once for all, and the tokens of a passage that
    several find are read once.

    Args:
        ways: a search, and how widely it looks; None: exactly.
        queries: the tokens that look for passages.
        compared: the tokens that are scored.
        kept: hits by each of them.
        options: threads.
    """
    first, rows = ways[0][0], ways[0][0].passages.rows
    fits, fast = first.fits(queries), []
    for (by, counts), own in zip(ways, kept, strict=True):
        if counts is None or not fits:
            by.sure(compared, own, (0, rows), options)
        else:
            fast.append((by, counts, own))
    grid = grid_of([parse_alignment(by.score.alignment) for by, *_ in fast])

    def visit(query: Query, q: int, work: Work) -> None:
        fill_tables(first.stored, query, work)
        found = [by._proposed(query, counts, work) for by, counts, _ in fast]
        mine = [own.part(slice(q, q + 1)) for *_, own in fast]
        rescore_grid(first.compared, grid, compared[q : q + 1], found, mine)

    if fast:
        first.over_queries(
            queries, visit, options.threads, lambda share: options.after_block(int(share * rows), kept[0])
        )
    for *_, own in fast:
        own.check_finite()


def for_tokens(counts: Counts, tokens: int, aligned: float) -> Counts:
    """Return how widely to look for a query of so many tokens, each aligned with so many of a passage.

    The fewer products a score sums, the less their residuals' errors cancel, and the more passages stand
    before a hit when centroids alone order them. The powers were measured on NFCorpus (questions of 7
    tokens): with them top-1, top-4, 1.5 % and differentiable alignment share more than .99 of the exact ten
    hits. Sums in bytes order nearly as canonical ones do, so that few more are scored by these.
    """
    wider = max(1.0, (USUAL_TOKENS / tokens) ** 1.5 / aligned**0.5)
    return counts._replace(
        probes=math.ceil(counts.probes * wider),
        listed=math.ceil(counts.listed * wider),
        coded=math.ceil(counts.coded * wider),
        rescored=math.ceil(counts.rescored * wider ** (1 / 3)),
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries in bytes, with where the tokens of each begin."""

    codes: QueryCodes
    borders: NDArray[np.int64]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, queries: Vectors) -> Asked:
        """Return the tokens of queries that count."""
        queries = that_count(queries)
        assert queries.offsets is not None
        weights = np.ones(len(queries.values)) if queries.weights is None else queries.weights
        codes = pack_queries(widened(queries.values))
        return cls(codes, queries.offsets, np.asarray(weights, dtype=np.float64))

    def query(self, q: int) -> Query:
        """Return one of them."""
        mine = slice(int(self.borders[q]), int(self.borders[q + 1]))
        part = self.codes.part(mine)
        width = next((width for width in WIDTHS if width >= len(part.codes)), WIDTHS[-1])
        weights = self.weights[mine]
        return Query(width, part.codes, part.scales, part.errors, part.lengths, part.exact, weights)


def that_count(queries: Vectors) -> Vectors:
    """Return the queries without the tokens whose salience is 0, unless all of a query's are."""
    if queries.weights is None or (queries.weights > 0).all():
        return queries
    assert queries.offsets is not None
    owners = np.repeat(np.arange(len(queries)), np.diff(queries.offsets))
    counted = np.bincount(owners, queries.weights > 0, minlength=len(queries))
    some = np.flatnonzero((queries.weights > 0) | (counted[owners] == 0))
    borders = offsets_of(np.bincount(owners[some], minlength=len(queries)))
    return Vectors(queries.values[some], borders, queries.weights[some])


def matches_of(
    codes: TokenCodes, score: TokenScore, whole: Passages, weights: NDArray[np.float32]
) -> Matches:
    """Return with how many of its tokens each passage, whole, takes part in a score; see `TokenSearch`."""
    present, weighted = np.diff(codes.borders), codes.salience is not None
    counts, k, epsilon = np.ones_like(present), 0, 0.0
    if score.alignment:
        of = parse_alignment(score.alignment)
        k, epsilon = (of.k, of.epsilon) if of.epsilon else (0, 0.0)
        counts = np.minimum(SOFT_MATCHES * of.k, present) if k else of.counts(whole.lengths())
        counts = np.maximum(np.minimum(counts, present), 1)
    most = int(counts.max(initial=1))
    maxsim = score.mean is not None
    return Matches(frozen(counts.astype(np.int32)), most, k, epsilon, frozen(weights), weighted, maxsim)


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
        dots=np.empty(longest, np.float32),
        own=np.empty(longest, np.float32),
        top=np.empty(longest, np.float32),
        places=np.empty(longest, np.int64),
        terms=np.empty(longest),
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
