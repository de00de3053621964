"""The byte scan never loses one of the k best, compiled and plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from dretrieve.kernels import codes as packed
from dretrieve.kernels import simd
from dretrieve.kernels.dot import score_pairs
from dretrieve.kernels.scan import kth_largest, scan
from tests.kernels import twins

needs_tile = pytest.mark.skipif(not simd.has_byte_tile(), reason="this processor has no AVX2")


def case(seed: int, count: int, queries: int, dim: int, ties: bool) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    if ties:
        passages = chance.integers(-1, 2, (count, dim)).astype(np.float16)
        return passages, chance.integers(-1, 2, (queries, dim)).astype(np.float64)
    passages = chance.standard_normal((count, dim)).astype(np.float16)
    return passages, chance.standard_normal((queries, dim)).astype(np.float32).astype(np.float64)


def check(found: tuple[np.ndarray, np.ndarray], passages: np.ndarray, queries: np.ndarray, limits) -> None:
    offsets, rows = found
    floors, k = limits
    everything = np.tile(np.arange(len(passages), dtype=np.int32), len(queries))
    starts = np.arange(len(queries) + 1) * len(passages)
    scores = score_pairs(passages, queries, starts, everything).reshape(len(queries), -1)
    for query in range(len(queries)):
        mine = rows[offsets[query] : offsets[query + 1]].tolist()
        assert mine == sorted(set(mine))
        kth = np.sort(scores[query])[-k] if k <= len(passages) else -np.inf
        needed = np.flatnonzero(scores[query] >= max(kth, floors[query]))
        assert set(needed.tolist()) <= set(mine)


@needs_tile
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 400),
    queries=st.integers(1, 30),
    dim=st.integers(1, 30),
    k=st.integers(1, 50),
    ties=st.booleans(),
    room=st.integers(1, 100),
)
def test_candidates_hold_all_of_the_best(
    seed: int, count: int, queries: int, dim: int, k: int, ties: bool, room: int
) -> None:
    passages, asked = case(seed, count, queries, dim, ties)
    codes, query_codes = packed.pack_passages(passages), packed.pack_queries(asked)
    floors = np.where(np.arange(queries) % 2, -np.inf, 1.0)
    check(scan(codes, query_codes, floors, k, k + room), passages, asked, (floors, k))
    check(twins.scan(codes, query_codes, floors, k), passages, asked, (floors, k))
    assert floors.tolist() == np.where(np.arange(queries) % 2, -np.inf, 1.0).tolist()


@needs_tile
def test_candidates_are_few_when_scores_spread() -> None:
    passages, asked = case(1, 20_000, 25, 64, ties=False)
    passages[:, 0] *= np.linspace(1, 30, 20_000).astype(np.float16)
    asked[:, 0] = 3
    offsets, _ = scan(
        packed.pack_passages(passages), packed.pack_queries(asked), np.full(25, -np.inf), 10, 1024
    )
    assert np.diff(offsets).mean() < 500


@needs_tile
def test_ties_beyond_the_room_are_all_found() -> None:
    passages, asked = np.ones((300, 8), dtype=np.float16), np.ones((1, 8))
    codes = packed.pack_passages(passages)
    offsets, rows = scan(codes, packed.pack_queries(asked), np.full(1, -np.inf), 3, 16)
    assert offsets.tolist() == [0, 300]
    assert rows.tolist() == list(range(300))


@needs_tile
def test_an_unreachable_floor_leaves_nothing() -> None:
    passages, asked = case(4, 500, 13, 16, ties=False)
    offsets, rows = scan(packed.pack_passages(passages), packed.pack_queries(asked), np.full(13, 1e6), 5, 64)
    assert len(rows) == 0
    assert not offsets.any()


def test_the_trial_decides_about_the_instruction() -> None:
    assert simd.byte_unit() in ("vnni", "avx2", "")
    if not simd.byte_unit():
        assert not simd.has_byte_tile()


def tile_of(count: int):
    """Return the tile of so many queries without VNNI, which every processor can run."""
    tile = simd._byte_tile(count, "avx2")

    @njit
    def run(codes, queries, starts, scales, floors, sums, masks):
        at = simd.tile_at(codes, queries, starts, scales, floors, sums, masks)
        return tile(at, queries.strides[0], len(codes))

    return run


@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("steps", [1, 5])
def test_a_tile_in_sixteen_bits_is_that_of_whole_numbers(count: int, steps: int) -> None:
    chance = np.random.default_rng(count)
    codes = chance.choice([0, 1, 128, 254, 255], (steps, simd.TILE_ROWS, 4)).astype(np.uint8)
    queries = chance.choice([-127, -3, 0, 127], (count, 4 * steps)).astype(np.int8)
    codes[:, 0], queries[0] = 255, -127
    starts = chance.integers(-9, 9, count, dtype=np.int32)
    scales, floors = chance.random(simd.TILE_ROWS, np.float32), chance.normal(0, 1e4, count)
    sums, masks = np.zeros((count, simd.TILE_ROWS), np.int32), np.zeros(count, np.uint32)
    tiled = simd.tile_queries(queries, "avx2")
    found = tile_of(count)(codes, tiled, starts, scales, floors.astype(np.float32), sums, masks)
    rows = codes.transpose(1, 0, 2).reshape(simd.TILE_ROWS, -1).astype(np.int32)
    assert np.array_equal(sums, queries.astype(np.int32) @ rows.T + starts[:, None])
    above = sums.astype(np.float32) * scales >= floors.astype(np.float32)[:, None]
    assert masks.tolist() == (above @ (1 << np.arange(simd.TILE_ROWS))).tolist()
    assert found == np.bitwise_or.reduce(masks)


@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=60), data=st.data())
def test_kth_largest(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(np.array(values, dtype=np.float32), k) == sorted(values, reverse=True)[k - 1]
