"""The compiled sum of best dots equals its numpy twin and the exact value, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels import simd
from dretrieve.kernels.maxsim import near_sums_of_best, sums_of_best
from dretrieve.types import offsets_of
from tests.kernels import twins

LENGTHS = st.lists(st.integers(1, 11), min_size=1, max_size=5)


def pairs(seed: int, passages: list[int], queries: list[int], dim: int, dtype: type):
    chance = np.random.default_rng(seed)
    values = chance.standard_normal((sum(passages), dim)).astype(dtype)
    asked = chance.standard_normal((sum(queries), dim)).astype(np.float32).astype(np.float64)
    counts = chance.integers(0, 5, len(queries))
    rows = chance.integers(0, len(passages), counts.sum()).astype(np.int32)
    return values, offsets_of(passages), asked, offsets_of(queries), offsets_of(counts), rows


@given(
    seed=st.integers(0, 2**32 - 1),
    passages=LENGTHS,
    queries=LENGTHS,
    dim=st.integers(1, 40),
    dtype=st.sampled_from([np.float16, np.float32]),
)
def test_compiled_equals_numpy_bit_for_bit(seed, passages, queries, dim, dtype) -> None:
    texts = pairs(seed, passages, queries, dim, dtype)
    compiled, plain = sums_of_best(*texts), twins.sums_of_best(*texts)
    assert np.array_equal(compiled.view(np.uint64), plain.view(np.uint64))


@given(seed=st.integers(0, 2**32 - 1), passages=LENGTHS, queries=LENGTHS)
def test_a_table_of_dots_gives_the_sum_of_the_best(seed, passages, queries) -> None:
    products = np.random.default_rng(seed).standard_normal((sum(passages), sum(queries))).astype(np.float32)
    borders, query_borders = offsets_of(passages), offsets_of(queries)
    best = np.maximum.reduceat(products, borders[:-1], axis=0).astype(np.float64)
    wanted = np.add.reduceat(best, query_borders[:-1], axis=1).T
    np.testing.assert_allclose(near_sums_of_best(products, borders, query_borders), wanted, rtol=1e-13)


def test_without_hardware_halves_the_bits_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pairs(7, [3, 9, 1], [4, 2], 21, np.float16)
    before = sums_of_best(*texts)
    monkeypatch.setattr(simd, "has_half_lanes", lambda: False)
    assert np.array_equal(sums_of_best(*texts), before)


def test_a_pair_does_not_see_its_neighbours() -> None:
    values, borders, queries, query_borders, offsets, rows = pairs(5, [3, 9, 5], [4, 2, 7], 33, np.float16)
    together = sums_of_best(values, borders, queries, query_borders, offsets, rows)
    owners = np.repeat(np.arange(3), np.diff(offsets))
    for place, (q, row) in enumerate(zip(owners, rows, strict=True)):
        tokens, asked = slice(borders[row], borders[row + 1]), slice(query_borders[q], query_borders[q + 1])
        alone = sums_of_best(
            values[tokens],
            np.array([0, tokens.stop - tokens.start]),
            queries[asked],
            np.array([0, asked.stop - asked.start]),
            np.array([0, 1]),
            np.zeros(1, np.int32),
        )
        assert alone[0] == together[place]
