"""The byte scan never loses one of the k best, compiled and plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels import codes as packed
from dretrieve.kernels import simd
from dretrieve.kernels.dot import score_pairs
from dretrieve.kernels.scan import kth_largest, scan, scan_numpy

needs_vnni = pytest.mark.skipif(not simd.has_byte_tile(), reason="this processor lacks AVX-512 VNNI")


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


@needs_vnni
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
    check(scan_numpy(codes, query_codes, floors, k), passages, asked, (floors, k))
    assert floors.tolist() == np.where(np.arange(queries) % 2, -np.inf, 1.0).tolist()


@needs_vnni
def test_candidates_are_few_when_scores_spread() -> None:
    passages, asked = case(1, 20_000, 25, 64, ties=False)
    passages[:, 0] *= np.linspace(1, 30, 20_000).astype(np.float16)
    asked[:, 0] = 3
    offsets, _ = scan(
        packed.pack_passages(passages), packed.pack_queries(asked), np.full(25, -np.inf), 10, 1024
    )
    assert np.diff(offsets).mean() < 500


@needs_vnni
def test_ties_beyond_the_room_are_all_found() -> None:
    passages, asked = np.ones((300, 8), dtype=np.float16), np.ones((1, 8))
    codes = packed.pack_passages(passages)
    offsets, rows = scan(codes, packed.pack_queries(asked), np.full(1, -np.inf), 3, 16)
    assert offsets.tolist() == [0, 300]
    assert rows.tolist() == list(range(300))


@needs_vnni
def test_an_unreachable_floor_leaves_nothing() -> None:
    passages, asked = case(4, 500, 13, 16, ties=False)
    offsets, rows = scan(packed.pack_passages(passages), packed.pack_queries(asked), np.full(13, 1e6), 5, 64)
    assert len(rows) == 0
    assert not offsets.any()


def test_the_trial_decides_about_the_instruction() -> None:
    assert isinstance(simd.has_byte_tile(), bool)
    if not simd.llvm.get_host_cpu_features().get("avx512vnni", False):
        assert not simd.has_byte_tile()


@given(values=st.lists(st.integers(-5, 5), min_size=1, max_size=60), data=st.data())
def test_kth_largest(values: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(values)))
    assert kth_largest(np.array(values, dtype=np.float32), k) == sorted(values, reverse=True)[k - 1]
