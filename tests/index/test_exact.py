"""Exact search: the same hits for any block, thread, proposer, batch, order of visits and interruption."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError
from dretrieve.index.exact import Block, ExactOptions, check_finite, search_exact
from dretrieve.index.propose import ByteProposer, EveryRow, MatrixProposer, TorchProposer
from dretrieve.index.top_k import TopK
from dretrieve.kernels import simd
from dretrieve.kernels.codes import pack_passages
from dretrieve.order import top_k
from dretrieve.scoring.dot import dot_matrix

PROPOSERS = {
    "chosen": None,
    "matrix": MatrixProposer,
    "every": lambda queries: EveryRow(),
    "torch": lambda queries: TorchProposer(queries, "cpu"),
}
if simd.has_byte_tile():
    PROPOSERS["bytes"] = ByteProposer


def make(seed: int, shape: tuple[int, int, int], kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return passages, queries and id ranks: random, integers with many ties, or copies and zeros."""
    count, queries, dim = shape
    chance = np.random.default_rng(seed)
    passages = chance.standard_normal((count, dim)).astype(np.float32)
    asked = chance.standard_normal((queries, dim)).astype(np.float32)
    if kind == "integers":
        passages, asked = np.rint(passages), np.rint(asked)
    elif kind == "copies":
        passages = passages[chance.integers(0, max(1, count // 10), count)]
        passages[chance.random(count) < 0.2] = 0
        asked[chance.random(queries) < 0.2] = 0
    if seed % 2:
        passages = passages.astype(np.float16)
    return passages, asked, chance.permutation(count).astype(np.int64)


def blocks_of(passages: np.ndarray) -> Callable[[int, int], Block]:
    return lambda start, stop: Block(start, passages[start:stop])


def hits(kept: TopK, ranks: np.ndarray) -> list[tuple[list[int], list[float]]]:
    return [(rows.tolist(), scores.tolist()) for rows, scores in kept.best_first(ranks)]


def expected(passages: np.ndarray, queries: np.ndarray, ranks: np.ndarray, k: int):
    scores = dot_matrix(queries, passages)
    best = [top_k(row, ranks, k) for row in scores]
    return [(rows.tolist(), scores[query][rows].tolist()) for query, rows in enumerate(best)]


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 500), st.integers(1, 40), st.integers(1, 24)),
    kind=st.sampled_from(["random", "integers", "copies"]),
    k=st.integers(1, 80),
    threads=st.integers(1, 4),
    first=st.sampled_from([32, 64, 160, 2048]),
    name=st.sampled_from(sorted(PROPOSERS)),
)
def test_hits_are_the_best_by_the_canonical_score(
    seed: int, shape: tuple[int, int, int], kind: str, k: int, threads: int, first: int, name: str
) -> None:
    passages, queries, ranks = make(seed, shape, kind)
    options = ExactOptions(
        threads=threads, first_block=first, largest_block=first * 2, proposer=PROPOSERS[name]
    )
    kept = TopK.empty(len(queries), min(k, len(passages)))
    search_exact(blocks_of(passages), queries, kept, ranks, (0, len(passages)), options)
    assert hits(kept, ranks) == expected(passages, queries, ranks, k)


@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(["random", "integers", "copies"]),
    cut=st.integers(0, 300),
)
def test_rows_may_be_searched_in_parts_and_in_any_order(seed: int, kind: str, cut: int) -> None:
    passages, queries, ranks = make(seed, (300, 7, 12), kind)
    kept = TopK.empty(7, 25)
    for rows in ((cut, 300), (0, cut)):
        search_exact(blocks_of(passages), queries, kept, ranks, rows)
    assert hits(kept, ranks) == expected(passages, queries, ranks, 25)


@pytest.mark.parametrize("batch", [1, 8, 13, 1000])
def test_a_query_does_not_see_its_batch(batch: int) -> None:
    passages, queries, ranks = make(4, (900, 1000, 32), "random")
    whole = expected(passages, queries[:40], ranks, 10)
    kept = TopK.empty(batch, 10)
    search_exact(blocks_of(passages), queries[:batch], kept, ranks, (0, 900), ExactOptions(threads=3))
    assert hits(kept, ranks)[:40] == whole[:batch]


def test_more_hits_than_passages_gives_all_of_them() -> None:
    passages, queries, ranks = make(2, (5, 2, 4), "random")
    kept = search_exact(blocks_of(passages), queries, TopK.empty(2, 9), ranks, (0, 5))
    assert kept.sizes.tolist() == [5, 5]
    assert hits(kept, ranks) == expected(passages, queries, ranks, 9)


def test_no_passages_and_no_queries_are_legal() -> None:
    source = blocks_of(np.empty((0, 4), dtype=np.float16))
    none = np.empty(0, dtype=np.int64)
    assert search_exact(source, np.ones((2, 4)), TopK.empty(2, 0), none, (0, 0)).sizes.tolist() == [0, 0]
    some = blocks_of(np.ones((3, 4), dtype=np.float16))
    coded = Block(0, np.ones((3, 4), np.float16), pack_passages(np.ones((3, 4), np.float16)))
    for source in (some, lambda *rows: coded):
        options = ExactOptions(threads=2)
        found = search_exact(source, np.ones((0, 4)), TopK.empty(0, 2), np.arange(3), (0, 3), options)
        assert len(found.sizes) == 0


@pytest.mark.parametrize("queries", [1, 30])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_passages_that_are_not_numbers_are_refused_by_row(queries: int, bad: float) -> None:
    passages = np.ones((200, 4), dtype=np.float16)
    passages[150, 2] = bad
    with pytest.raises(DataError, match=r"vector 150 of the passages .* NaN or infinity"):
        search_exact(
            blocks_of(passages), np.ones((queries, 4)), TopK.empty(queries, 3), np.arange(200), (0, 200)
        )


def test_a_score_beyond_float32_is_refused() -> None:
    passages = np.full((3, 4), 1e30, dtype=np.float32)
    with pytest.raises(DataError, match="too large for float32"):
        search_exact(blocks_of(passages), np.full((1, 4), 1e30), TopK.empty(1, 2), np.arange(3), (0, 3))


def test_torch_loses_no_passage_whose_product_overflows() -> None:
    """In float32 infinity less infinity; the canonical score is 0, and the best."""
    proposer = TorchProposer(np.full((1, 2), 1e20), "cpu")
    block = proposer.load(np.array([[1e20, -1e20], [-1, 0]], dtype=np.float32), None, lambda *words: [])
    assert 0 in proposer.find(block, slice(0, 1), np.array([-np.inf]), 1).rows


def test_check_finite_names_the_first_row() -> None:
    vectors = np.zeros((4, 3), dtype=np.float32)
    assert check_finite(vectors) == -1
    vectors[2, 1] = np.nan
    assert check_finite(vectors) == 2
    assert check_finite(np.empty((0, 3), np.float16)) == -1


def test_blocks_are_told_and_never_reach_past_the_end() -> None:
    told: list[int] = []
    passages, queries, ranks = make(6, (1000, 3, 8), "random")
    options = ExactOptions(first_block=64, largest_block=256, after_block=lambda row, kept: told.append(row))
    search_exact(blocks_of(passages), queries, TopK.empty(3, 5), ranks, (0, 1000), options)
    assert told == [64, 192, 448, 704, 960, 1000]


@pytest.mark.gpu
@pytest.mark.parametrize("half", [True, False])
def test_gpu_gives_the_hits_of_the_cpu(half: bool) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    passages, queries, ranks = make(8, (50_000, 300, 96), "random")
    passages = passages.astype(np.float16 if half else np.float32)
    found = []
    for device in ("cpu", "cuda"):
        kept = TopK.empty(300, 100)
        options = ExactOptions(threads=2, device=device)
        search_exact(blocks_of(passages), queries, kept, ranks, (0, 50_000), options)
        found.append(hits(kept, ranks))
    assert found[0] == found[1]


def test_a_gpu_that_is_not_there_is_named() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(PreconditionError, match="torch sees no GPU here; use --device cpu"):
        TorchProposer(np.ones((1, 4)), "cuda")
