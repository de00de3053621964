"""Exact search of token vectors without an index, in blocks.

Of each block of passages a matrix product says which may belong to a query's k best (`TokenScore.near`), the
canonical score decides (`TokenScore.pairs`). A text without vectors has no score: such a passage is never
found and such a query finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.propose import within_margin
from dretrieve.index.top_k import TopK
from dretrieve.scoring.maxsim import products_of
from dretrieve.scoring.token_scores import TokenGrid, TokenScore
from dretrieve.types import Vectors, offsets_of

BLOCK_ROWS = 1 << 14
# A thread holds one table of dots, query tokens by passage tokens: 64 MiB of float32.
QUERY_TOKENS, PASSAGE_TOKENS = 1 << 10, 1 << 14
RESCORED_AT_ONCE = 1 << 8
LOOKED = 32  # tokens of a query: of no more all canonical products of a grid are cheaper than a look
PRODUCTS_PER_BLOCK = 1e11  # a few seconds on one slow core, so that a signal is heard in time
Rows = tuple[NDArray[np.int64], Vectors]  # of some passages, and they


def search_tokens(
    block_of: Callable[[int, int], Vectors],
    score: TokenScore,
    queries: Vectors,
    kept: TopK,
    ranks: NDArray[np.int64],
    rows: tuple[int, int],
    options: ExactOptions,
) -> TopK:
    """Add the best passages of a range of rows to ``kept`` and return it.

    The result is a function of the vectors, the ids' order and k alone (see `search_exact`).

    Args:
        block_of: ``block_of(start, stop)`` returns the vectors of those passages or of fewer, at least one.
        score: what compares two texts.
        queries: finite; taken as float32.
        kept: hits of other rows; k is the width of its heaps.
        ranks: id rank of each passage.
        rows: start and stop (exclusive).
        options: threads, and what is called after each block.

    Raises:
        DataError: a score leaves float32.
    """
    grid = TokenGrid(lambda *texts: [score.near(*texts)], lambda *pairs: score.pairs(*pairs)[None])
    search_grid(block_of, grid, queries, [kept], ranks, rows, options)
    return kept


def search_grid(
    block_of: Callable[[int, int], Vectors],
    grid: TokenGrid,
    queries: Vectors,
    kept: Sequence[TopK],
    ranks: NDArray[np.int64],
    rows: tuple[int, int],
    options: ExactOptions,
) -> None:
    """Add the best passages by each score of a grid to the hits kept for it; see `search_tokens`."""
    groups = _groups(queries)
    limit = int(PRODUCTS_PER_BLOCK / max(1, len(queries.values) * queries.dim))
    row = rows[0]
    with ThreadPoolExecutor(options.threads) as pool:
        while row < rows[1]:
            block = block_of(row, min(row + BLOCK_ROWS, rows[1]))
            block = block[: _fitting(block, 0, min(PASSAGE_TOKENS, limit))]
            here = np.arange(row, row + len(block)), block
            every = np.ones((len(kept), len(block)), np.bool_)

            def visit(group: slice, here: Rows = here, every: NDArray[np.bool_] = every) -> None:
                _offer(grid, here, queries[group], [of.part(group) for of in kept], ranks, every)

            list(pool.map(visit, groups))
            row += len(block)
            options.after_block(row, kept[0])
    for of in kept:
        of.check_finite()


def rescore(
    passages: Passages, score: TokenScore, query: Vectors, found: NDArray[np.integer[Any]], kept: TopK
) -> None:
    """Score some passages canonically and keep the best.

    The query has a token at least, and so has each passage found; their rows rise.
    """
    k = kept.scores.shape[1]
    for start in range(0, len(found), RESCORED_AT_ONCE):
        rows = found[start : start + RESCORED_AT_ONCE].astype(np.int64)
        texts = passages.gather(rows)
        offsets, places = np.array([0, len(rows)]), np.arange(len(rows), dtype=np.int32)
        products = None if score.soft else products_of(texts, query)
        if len(found) > 2 * k and not score.soft:  # else a look that rules some out is no cheaper
            offsets, places = within_margin(*score.near(texts, query, products), kept.floors(), k)
        scores = score.pairs(texts, query, offsets, places, products)
        kept.offer(0, rows[places], scores, passages.ranks)


def rescore_grid(
    passages: Passages,
    grid: TokenGrid,
    query: Vectors,
    found: Sequence[NDArray[np.integer[Any]]],
    kept: Sequence[TopK],
) -> None:
    """Score what was found for each score of a grid, reading a passage's tokens once; see `rescore`."""
    every = np.unique(np.concatenate(found)).astype(np.int64)
    found_for = np.stack([np.isin(every, of, assume_unique=True) for of in found])
    look = len(query.values) > LOOKED
    for start in range(0, len(every), RESCORED_AT_ONCE):
        some = slice(start, start + RESCORED_AT_ONCE)
        block = every[some], passages.gather(every[some])
        _offer(grid, block, query, kept, passages.ranks, found_for[:, some], look=look)


def _groups(queries: Vectors) -> list[slice]:
    """Return consecutive queries with at most `QUERY_TOKENS` together, or one alone."""
    groups, start = [], 0
    while start < len(queries):
        stop = _fitting(queries, start, QUERY_TOKENS)
        groups.append(slice(start, stop))
        start = stop
    return groups


def _fitting(texts: Vectors, start: int, tokens: int) -> int:
    """Return the end of the texts from ``start`` on that have at most so many tokens; one at least."""
    assert texts.offsets is not None
    stop = int(np.searchsorted(texts.offsets, texts.offsets[start] + tokens, side="right")) - 1
    return min(max(stop, start + 1), len(texts))


def _offer(
    grid: TokenGrid,
    block: Rows,
    queries: Vectors,
    kept: Sequence[TopK],
    ranks: NDArray[np.int64],
    found_for: NDArray[np.bool_],
    *,
    look: bool = True,
) -> None:
    """Add the best of some passages to the hits of a few queries.

    Args:
        grid: scores.
        block: the passages' rows, and they.
        queries: few.
        kept: their hits by each score.
        ranks: id rank of each passage.
        found_for: [S, N] by which scores each may be a hit.
        look: whether products in float32 first rule some out.
    """
    numbers, passages = block
    k = kept[0].scores.shape[1]
    asked, present = _with_vectors(queries), _with_vectors(passages)
    if not (len(asked) and len(present) and k):
        return
    queries = queries if len(asked) == len(queries) else queries.take(asked)
    passages = passages if len(present) == len(passages) else passages.take(present)
    products = products_of(passages, queries) if look else None
    wanted = np.zeros((len(kept), len(queries), len(passages)), dtype=np.bool_)
    for number, (near, margins) in enumerate(grid.near(passages, queries, products)):
        near[:, ~found_for[number, present]] = -np.inf
        offsets, found = within_margin(near, margins, kept[number].floors()[asked], k)
        wanted[number, np.repeat(np.arange(len(queries)), np.diff(offsets)), found] = True
    wanted &= found_for[:, None, present]
    together = wanted.any(axis=0)  # canonical dots are made once, whichever score asks for them
    offsets, found = offsets_of(np.count_nonzero(together, axis=1)), np.nonzero(together)[1].astype(np.int32)
    every = grid.pairs(passages, queries, offsets, found, products)
    for mask, own, scores in zip(wanted, kept, every, strict=True):
        mine = mask[together]
        for place in np.flatnonzero(mask.any(axis=1)).tolist():
            hits = np.flatnonzero(mine[offsets[place] : offsets[place + 1]]) + offsets[place]
            own.offer(int(asked[place]), numbers[present[found[hits]]], scores[hits], ranks)


def _with_vectors(texts: Vectors) -> NDArray[np.int64]:
    assert texts.offsets is not None
    return np.flatnonzero(np.diff(texts.offsets))
