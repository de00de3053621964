"""Vectors in bytes: what is stored, and that the stated margin holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels import codes as packed
from dretrieve.kernels.dot import score_pairs


def scores_of(vectors: np.ndarray, queries: np.ndarray) -> np.ndarray:
    rows = np.tile(np.arange(len(vectors), dtype=np.int32), len(queries))
    offsets = np.arange(len(queries) + 1) * len(vectors)
    return score_pairs(vectors, queries, offsets, rows).reshape(len(queries), len(vectors))


def unpacked(codes: packed.Codes, count: int, dim: int) -> np.ndarray:
    rows = codes.codes.transpose(0, 2, 1, 3).reshape(-1, codes.codes.shape[1] * 4).astype(np.int64) - 128
    return rows[:count, :dim] * codes.scales.ravel()[:count, None].astype(np.float64)


def around(codes: packed.Codes, vectors: np.ndarray) -> np.ndarray:
    return vectors.astype(np.float64) - codes.centre


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 70),
    dim=st.integers(1, 40),
    dtype=st.sampled_from([np.float16, np.float32]),
    scale=st.sampled_from([1.0, 1e-7, 3000.0]),
)
def test_bounds_hold(seed: int, count: int, dim: int, dtype: type, scale: float) -> None:
    chance = np.random.default_rng(seed)
    vectors = (chance.standard_normal((count, dim)) * scale).astype(dtype)
    vectors[chance.random(count) < 0.1] = 0
    vectors[:, 0] += dtype(15 * scale)  # what they have in common
    queries = chance.standard_normal((3, dim)).astype(np.float32).astype(np.float64)
    codes, asked = packed.pack_passages(vectors), packed.pack_queries(queries)
    back = unpacked(codes, count, dim)
    panels = np.arange(count) // packed.PANEL_ROWS
    slack = packed.ROUNDING * (codes.errors + codes.lengths + codes.reach)[panels]
    assert (np.linalg.norm(around(codes, vectors) - back, axis=1) <= codes.errors[panels] + slack).all()
    assert (np.linalg.norm(back, axis=1) <= codes.lengths[panels] + slack).all()
    rough = (asked.codes[:, :dim] * asked.scales[:, None]) @ back.T + (queries @ codes.centre)[:, None]
    margins = packed.margin(asked.lengths, asked.errors, codes.errors.max(), codes.lengths.max(), codes.reach)
    assert (np.abs(rough - scores_of(vectors, queries)) <= margins[:, None]).all()


def test_numbers_survive_to_a_quarter_percent() -> None:
    vectors = np.random.default_rng(1).standard_normal((64, 384)).astype(np.float32)
    codes = packed.pack_passages(vectors)
    assert np.allclose(unpacked(codes, 64, 384), around(codes, vectors), atol=np.abs(vectors).max() / 250)
    assert (codes.errors < 0.02 * np.linalg.norm(vectors, axis=1).max()).all()


def test_rows_that_fill_a_panel_up_never_match() -> None:
    codes = packed.pack_passages(np.ones((33, 4), dtype=np.float32))
    assert np.isnan(codes.scales[1, 1:]).all()
    assert not np.isnan(codes.scales[1, 0])
    assert (codes.codes[1, :, 1:] == 128).all()


@pytest.mark.parametrize("tiny", [1e-31, 1e-38, 1e-44])
def test_vectors_too_small_for_a_scale_are_all_error(tiny: float) -> None:
    vectors = np.full((1, 9), tiny, dtype=np.float32)
    codes = packed.pack_passages(vectors, np.zeros(9, dtype=np.float32))
    assert (codes.codes[0, :, 0] == 128).all()
    assert codes.errors[0] >= np.linalg.norm(vectors.astype(np.float64))


@pytest.mark.parametrize(
    ("dtype", "bits", "exponent"), [(np.float16, np.uint16, 0x7C00), (np.float32, np.uint32, 0x7F800000)]
)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_first_row_that_is_not_finite(dtype: type, bits: type, exponent: int, bad: float) -> None:
    vectors = np.random.default_rng(0).standard_normal((9, 5)).astype(dtype)
    vectors[0, 0] = np.finfo(dtype).max
    assert packed.first_not_finite(vectors.view(bits), bits(exponent)) == -1
    vectors[[4, 7], 3] = bad
    assert packed.first_not_finite(vectors.view(bits), bits(exponent)) == 4


def test_what_all_vectors_share_costs_no_precision() -> None:
    vectors = np.random.default_rng(1).standard_normal((512, 64)).astype(np.float32)
    plain = packed.pack_passages(vectors).errors.max()
    assert packed.pack_passages(vectors + np.float32(40)).errors.max() < 1.1 * plain


def test_centre_of_nothing_and_of_numbers_that_are_not() -> None:
    assert packed.centre_of(np.empty((0, 3), np.float16)).tolist() == [0, 0, 0]
    assert packed.centre_of(np.array([[np.nan, 2.0]], np.float32)).tolist() == [0, 2]
