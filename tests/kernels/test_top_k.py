"""Heaps keep the k best by the rule of ties, whatever the order of arrival."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.index.top_k import Asked, Found, TopK
from dretrieve.order import top_k
from dretrieve.scoring.dot import dot_matrix


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 120),
    queries=st.integers(1, 5),
    k=st.integers(1, 40),
    dim=st.sampled_from([1, 2, 7, 8, 19]),
    ties=st.booleans(),
)
def test_same_hits_in_any_order_of_arrival(
    seed: int, count: int, queries: int, k: int, dim: int, ties: bool
) -> None:
    chance = np.random.default_rng(seed)
    passages = chance.standard_normal((count, dim)).astype(np.float32)
    asked = chance.standard_normal((queries, dim)).astype(np.float32)
    if ties:
        passages, asked = np.sign(passages), np.sign(asked)
    ranks = chance.permutation(count).astype(np.int64)
    kept = TopK.empty(queries, k)
    cuts = sorted({0, count, *chance.integers(0, count + 1, 3).tolist()})
    blocks = list(pairwise(cuts))
    chance.shuffle(blocks)
    for start, stop in blocks:
        rows = np.tile(chance.permutation(stop - start).astype(np.int32), queries)
        offsets = np.arange(queries + 1) * (stop - start)
        kept.add(ranks, start, passages[start:stop], Asked.of(asked), Found(offsets, rows))
    scores = dot_matrix(asked, passages)
    for query, (rows, values) in enumerate(kept.best_first(ranks)):
        expected = top_k(scores[query], ranks, k)
        assert rows.tolist() == expected.tolist()
        assert values.tolist() == scores[query][expected].tolist()


def test_floor_is_the_worst_kept_score_once_the_heap_is_full() -> None:
    kept = TopK.empty(1, 2)
    passages = np.array([[3.0], [1.0], [2.0]], dtype=np.float32)
    asked = Asked.of(np.ones((1, 1)))
    kept.add(np.arange(3), 0, passages, asked, Found(np.array([0, 1]), np.array([0], np.int32)))
    assert kept.floors().tolist() == [-np.inf]
    kept.add(np.arange(3), 0, passages, asked, Found(np.array([0, 2]), np.array([1, 2], np.int32)))
    assert kept.floors().tolist() == [2.0]


def test_vanishing_and_huge_vectors_are_not_skipped() -> None:
    passages = np.array([[1e-25], [3e-25], [2e-25], [1e19], [3e19]], dtype=np.float32)
    for scale in (1e-20, 1.0):
        kept = TopK.empty(1, 1)
        for row in range(3):
            found = Found(np.array([0, 1]), np.array([row], np.int32))
            kept.add(np.arange(5), 0, passages, Asked.of(np.full((1, 1), scale)), found)
        assert kept.rows[0, 0] == 1 or kept.scores[0, 0] == 0
    kept = TopK.empty(1, 1)
    for row in (3, 4, 0):
        found = Found(np.array([0, 1]), np.array([row], np.int32))
        kept.add(np.arange(5), 0, passages, Asked.of(np.ones((1, 1))), found)
    assert kept.rows[0, 0] == 4
