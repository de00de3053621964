"""The search kernel against the plain sum of all postings, where windows, look-ups and cuts are exercised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dretrieve.bm25 import max_score
from dretrieve.order import top_k


def index(passages: int, densities: list[float], seed: int) -> max_score.Index:
    """Return postings of terms that stand in these shares of the passages; a term in none has factor 1."""
    chance = np.random.default_rng(seed)
    factors = (1 + chance.uniform(0.1, 5, 40)).astype(np.float32)
    columns = [np.flatnonzero(chance.random(passages) < share).astype(np.int32) for share in densities]
    offsets = np.cumsum([0, *map(len, columns)])
    pairs = chance.integers(0, 40, int(offsets[-1])).astype(np.uint16)
    ranks = chance.permutation(passages).astype(np.int32)
    best = np.asarray([factors[pairs[a:b]].max() if b > a else 0 for a, b in itertools.pairwise(offsets)])
    strongest = np.where(best > 0, best, 1).astype(np.float32)
    return max_score.Index(offsets, np.concatenate(columns), pairs, ranks, factors, strongest)


def plain(postings: max_score.Index, weights: np.ndarray) -> np.ndarray:
    sums = np.zeros(len(postings.ranks))
    for term, weight in enumerate(weights):
        span = slice(postings.offsets[term], postings.offsets[term + 1])
        sums[postings.passages[span]] += weight - weight / postings.factors[postings.pairs[span]]
    return sums.astype(np.float32)


@pytest.mark.parametrize("k", [1, 7, 300, 60_000])
@pytest.mark.parametrize(
    "densities",
    [[0.5, 0.3], [0.0005, 0.5], [0.00005, 0.9, 0.9], [0.01] * 12, [0.0, 0.2], [1.0]],
    ids=["common", "one rare", "looked up", "many", "one empty", "everywhere"],
)
def test_hits_are_the_best_sums(densities: list[float], k: int) -> None:
    postings = index(3 * max_score.WINDOW + 17, densities, 5)
    weights = np.linspace(6, 0.5, len(densities)).astype(np.float32)
    sums = plain(postings, weights)
    hits = np.zeros((1, k), np.int32), np.zeros((1, k), np.float32)
    counts = np.zeros(1, np.int64)
    terms = np.arange(len(densities))
    queries = max_score.Queries(np.asarray([0, len(terms)]), terms, weights)
    max_score.search(queries, postings, 0, 1, *hits, counts)
    found = np.flatnonzero(sums)
    expected = found[top_k(sums[found], postings.ranks[found].astype(np.int64), k)]
    assert counts[0] == len(expected)
    assert hits[0][0, : counts[0]].tolist() == expected.tolist()
    assert hits[1][0, : counts[0]].tolist() == sums[expected].tolist()


def test_equal_scores_beyond_the_room_are_cut_by_id() -> None:
    # Every passage scores the same, so nothing falls below and what is found must be cut down by ids.
    count = 8 * max_score.WINDOW
    ranks = np.random.default_rng(1).permutation(count).astype(np.int32)
    factor = np.full(1, 2, np.float32)
    columns = np.arange(count, dtype=np.int32), np.zeros(count, np.uint16)
    postings = max_score.Index(np.asarray([0, count]), *columns, ranks, factor, factor)
    hits = np.zeros((1, 5), np.int32), np.zeros((1, 5), np.float32)
    counts = np.zeros(1, np.int64)
    query = max_score.Queries(np.asarray([0, 1]), np.zeros(1, np.int64), np.ones(1, np.float32))
    max_score.search(query, postings, 0, 1, *hits, counts)
    assert ranks[hits[0][0]].tolist() == [count - 1, count - 2, count - 3, count - 4, count - 5]
    assert hits[1][0].tolist() == [0.5] * 5


def test_a_score_at_the_upper_bound_has_a_bucket() -> None:
    found = max_score.Found(
        np.zeros(4, np.int32),
        np.zeros(4, np.float32),
        np.zeros(max_score.BUCKETS + 1, np.int32),
        np.asarray([0, 0, 0, 1]),
    )
    scale = max_score.BUCKETS / (3.0 * 1.001)
    sums, slots = np.asarray([3.0, 1.0]), np.asarray([0, 1], np.int32)
    window = max_score.Scratch(sums, slots, np.empty((0, 0), np.float32))
    least = max_score.collect(found, window, 2, 100, np.float32(0), scale)
    assert found.passages[:2].tolist() == [100, 101]
    assert 1.0 < least <= 3.0
    assert sums.tolist() == [0, 0]
