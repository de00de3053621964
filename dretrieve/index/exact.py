"""Exact search: the k best passages by the canonical score, block by block in bounded memory.

Of each block a `Proposer` names the candidates, `dretrieve.scoring.dot` scores them, heaps keep the best.
The result is a function of the vectors, the ids' order and k alone: block sizes, threads, devices,
interruptions and the order of blocks change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.index.propose import ByteProposer, EveryRow, Proposer, proposer_for
from dretrieve.index.top_k import Asked, Found, TopK
from dretrieve.kernels.codes import PANEL_ROWS, Codes, first_not_finite
from dretrieve.kernels.dot import frozen

FIRST_BLOCK = 2048
LARGEST_BLOCK = 1 << 14
FEW_QUERIES = 8
QUERIES_AT_ONCE = 504
ACCELERATOR_QUERIES = 4096


@dataclass(frozen=True, slots=True)
class Block:
    """Some consecutive passages: the row of the first, [N, dim] vectors, their bytes if stored."""

    first: int
    vectors: NDArray[Any]
    codes: Codes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactOptions:
    """How an exact search runs; none of it changes the result.

    Attributes:
        threads: at least 1.
        device: ``cpu``, or where torch multiplies: ``cuda``, ``cuda:1`` …
        first_block: passages in the first block; later ones double up to ``largest_block``.
        largest_block: passages in the largest; None chooses by the number of queries.
        after_block: called with the row behind each finished block and the hits so far; where queries are
            searched in turn, with their share of the rows.
        proposer: makes the proposer from the queries, instead of the fastest for the device.
        reached: called with how many passages a query found, where it looks for its tokens' neighbours.
    """

    threads: int = 1
    device: str = "cpu"
    first_block: int = FIRST_BLOCK
    largest_block: int | None = None
    after_block: Callable[[int, TopK], None] = lambda row, kept: None
    proposer: Callable[[NDArray[np.float64]], Proposer] | None = None
    reached: Callable[[int], None] = lambda passages: None


def search_exact(
    block_of: Callable[[int, int], Block],
    queries: NDArray[Any],
    kept: TopK,
    ranks: NDArray[np.int64],
    rows: tuple[int, int],
    options: ExactOptions | None = None,
) -> TopK:
    """Add the best passages of a range of rows to ``kept`` and return it.

    Args:
        block_of: ``block_of(start, stop)`` returns those passages or fewer, at least one; ``start < stop``.
        queries: [Q, dim], finite; taken as float32.
        kept: hits of other rows (`TopK.empty` at first); k is the width of its heaps, at least 1.
        ranks: id ranks of all passages (`dretrieve.order.id_ranks`).
        rows: start and stop (exclusive).
        options: threads, device, blocks.

    Raises:
        DataError: a passage vector holds NaN or infinity (names its row), or a score leaves float32.
    """
    options = options or ExactOptions()
    asked = Asked.of(queries)
    assert len(asked.wide) == len(kept.sizes)
    make = options.proposer or (lambda wide: proposer_for(wide, options.device))
    with ThreadPoolExecutor(options.threads) as pool:
        search = _Search(asked, kept, ranks, make(asked.wide), options, pool)
        row, size, largest = (
            rows[0],
            _panels(options.first_block),
            _panels(_largest_block(options, len(queries))),
        )
        while row < rows[1]:
            block = block_of(row, min(row + size, rows[1]))
            search.visit(block)
            row += len(block.vectors)
            size = min(2 * size, largest)
            options.after_block(row, kept)
    kept.check_finite()
    return kept


def _panels(rows: int) -> int:
    """Return the rows rounded down to whole panels, at least one."""
    return max(PANEL_ROWS, rows // PANEL_ROWS * PANEL_ROWS)


def _largest_block(options: ExactOptions, num_queries: int) -> int:
    """Return the largest block: one that stays in the third-level cache, unless a few queries fly through."""
    if options.largest_block is not None:
        return options.largest_block
    few = num_queries <= FEW_QUERIES or options.device != "cpu"
    return LARGEST_BLOCK * 8 if few else LARGEST_BLOCK


@dataclass(frozen=True, slots=True)
class _Search:
    """One search while it runs."""

    queries: Asked
    kept: TopK
    ranks: NDArray[np.int64]
    proposer: Proposer
    options: ExactOptions
    pool: ThreadPoolExecutor

    def visit(self, block: Block) -> None:
        """Add the best of one block."""
        self._check(block)
        count, rows, threads = len(self.kept.sizes), len(block.vectors), self.options.threads
        proposer, chosen = self.proposer, self.options.proposer is None and self.options.device == "cpu"
        packed = block.codes is not None and isinstance(proposer, ByteProposer)
        if chosen and count <= FEW_QUERIES and not packed:
            proposer = EveryRow()
        loaded = proposer.load(block.vectors, block.codes, self._spread)
        if count >= 12 * threads or threads == 1:
            most = QUERIES_AT_ONCE if self.options.device == "cpu" else ACCELERATOR_QUERIES
            step = min(most, -(-count // threads // 12) * 12)

            def visit_queries(start: int, stop: int) -> None:
                queries = slice(start, stop)
                self._add(block, queries, proposer.find(loaded, queries, self._floors(queries), self._k))

            self._spread(visit_queries, count, step)
            return
        step = -(-rows // threads // PANEL_ROWS) * PANEL_ROWS
        queries, floors = slice(0, count), self._floors(slice(0, count))

        def find(start: int, stop: int) -> tuple[int, int, Found]:
            return start, stop, proposer.find(loaded[start:stop], queries, floors, self._k)

        for start, stop, found in self._spread(find, rows, step):
            self._add(Block(block.first + start, block.vectors[start:stop]), queries, found)

    @property
    def _k(self) -> int:
        return int(self.kept.scores.shape[1])

    def _floors(self, queries: slice) -> NDArray[np.float64]:
        return self.kept.part(queries).floors()

    def _add(self, block: Block, queries: slice, found: Found) -> None:
        asked = self.queries.part(queries)
        self.kept.part(queries).add(self.ranks, block.first, block.vectors, asked, found)

    def _spread(self, work: Callable[[int, int], Any], total: int, step: int) -> list[Any]:
        starts = range(0, total, max(1, step))
        return list(self.pool.map(lambda start: work(start, min(start + step, total)), starts))

    def _check(self, block: Block) -> None:
        """Refuse NaN and infinity; vectors whose codes are stored were checked when they were made."""
        if block.codes is not None:
            return

        def first_bad(start: int, stop: int) -> int:
            row = check_finite(block.vectors[start:stop])
            return row if row < 0 else row + start

        bad = [row for row in self._spread(first_bad, len(block.vectors), 8192) if row >= 0]
        if bad:
            raise DataError(
                f"vector {block.first + bad[0]} of the passages (counted from 0) has NaN or infinity; encode "
                "the passages again"
            )


def check_finite(vectors: NDArray[Any]) -> int:
    """Return the first row of [N, dim] float16 or float32 that holds NaN or infinity, or -1."""
    if vectors.size == 0:
        return -1
    half = vectors.dtype == np.float16
    bits = np.ascontiguousarray(vectors).view(np.uint16 if half else np.uint32)
    return int(first_not_finite(frozen(bits), np.uint16(0x7C00) if half else np.uint32(0x7F800000)))
