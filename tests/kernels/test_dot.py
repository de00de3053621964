"""The compiled canonical dot product equals its numpy twin and the exact sum, bit for bit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels import simd
from dretrieve.kernels.dot import rounding_margin, score_pairs
from tests.kernels import twins


def pairs(seed: int, dim: int, dtype: type, scale: float = 1.0):
    chance = np.random.default_rng(seed)
    vectors = (chance.standard_normal((20, dim)) * scale).astype(dtype)
    queries = chance.standard_normal((4, dim)).astype(np.float32).astype(np.float64)
    offsets = np.array([0, 3, 3, 10, 17])
    rows = chance.integers(0, 20, 17).astype(np.int32)
    return vectors, queries, offsets, rows


@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.integers(0, 70),
    dtype=st.sampled_from([np.float16, np.float32]),
    scale=st.sampled_from([1.0, 1e-6, 300.0]),
)
def test_compiled_equals_numpy_bit_for_bit(seed: int, dim: int, dtype: type, scale: float) -> None:
    given_pairs = pairs(seed, dim, dtype, scale)
    compiled, plain = score_pairs(*given_pairs), twins.score_pairs(*given_pairs)
    assert compiled.dtype == np.float32
    assert np.array_equal(compiled.view(np.uint32), plain.view(np.uint32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_score_is_the_exact_sum_rounded(dtype: type) -> None:
    vectors, queries, offsets, rows = pairs(3, 50, dtype)
    scores = score_pairs(vectors, queries, offsets, rows)
    owners = np.repeat(np.arange(4), np.diff(offsets))
    for score, query, row in zip(scores, owners, rows, strict=True):
        exact = sum(
            Fraction(float(x)) * Fraction(float(y)) for x, y in zip(vectors[row], queries[query], strict=True)
        )
        assert abs(float(score) - float(exact)) <= np.spacing(np.float32(abs(float(exact))))


def test_a_pair_does_not_see_its_neighbours() -> None:
    vectors, queries, offsets, rows = pairs(5, 33, np.float16)
    together = score_pairs(vectors, queries, offsets, rows)
    owners = np.repeat(np.arange(4), np.diff(offsets))
    for place, (query, row) in enumerate(zip(owners, rows, strict=True)):
        alone = score_pairs(vectors, queries[query : query + 1], np.array([0, 1]), np.array([row], np.int32))
        assert alone[0] == together[place]


def test_without_hardware_halves_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    given_pairs = pairs(7, 21, np.float16)
    before = score_pairs(*given_pairs)
    monkeypatch.setattr(simd, "has_half_lanes", lambda: False)
    assert np.array_equal(score_pairs(*given_pairs), before)


def test_strided_rows_and_columns_are_read_rightly() -> None:
    vectors, queries, offsets, rows = pairs(9, 24, np.float32)
    wide = np.zeros((40, 48), dtype=np.float32)
    wide[::2, ::2] = vectors
    assert np.array_equal(
        score_pairs(wide[::2, ::2], queries, offsets, rows), score_pairs(*pairs(9, 24, np.float32))
    )


def test_negative_zero_never_appears() -> None:
    vectors = np.full((1, 3), -1e-30, dtype=np.float32)
    queries = np.full((1, 3), 1e-30, dtype=np.float32).astype(np.float64)
    for score in (score_pairs, twins.score_pairs):
        value = score(vectors, queries, np.array([0, 1]), np.array([0], np.int32))
        assert value[0] == 0
        assert not np.signbit(value[0])


@given(seed=st.integers(0, 2**32 - 1), dim=st.integers(1, 300))
def test_float32_products_stay_within_the_margin(seed: int, dim: int) -> None:
    vectors, queries, offsets, rows = pairs(seed, dim, np.float32)
    scores = score_pairs(vectors, queries, offsets, rows)
    owners = np.repeat(np.arange(4), np.diff(offsets))
    rough = np.einsum("hd,hd->h", vectors[rows], queries[owners].astype(np.float32))
    lengths = np.linalg.norm(vectors[rows].astype(np.float64), axis=1) * np.linalg.norm(
        queries[owners], axis=1
    )
    assert (np.abs(rough - scores) <= rounding_margin(dim) * lengths).all()
