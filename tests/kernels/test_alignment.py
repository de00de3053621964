"""The compiled sums over aligned tokens equal their numpy twin, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.alignment import aligned_sums
from dretrieve.types import offsets_of
from tests.kernels import twins

LENGTHS = st.lists(st.integers(1, 11), min_size=1, max_size=5)


@given(
    seed=st.integers(0, 2**32 - 1),
    passages=LENGTHS,
    queries=LENGTHS,
    dim=st.integers(1, 20),
    dtype=st.sampled_from([np.float16, np.float32]),
    whole=st.booleans(),
    soft=st.lists(st.tuples(st.integers(1, 13), st.sampled_from([1e-9, 0.01, 0.3, 50.0])), max_size=3),
)
def test_compiled_equals_numpy_bit_for_bit(seed, passages, queries, dim, dtype, whole, soft) -> None:
    chance = np.random.default_rng(seed)

    def texts(lengths, kind):
        values = chance.standard_normal((sum(lengths), dim))
        values = np.rint(values) if whole else values  # whole numbers: many products are equal
        weights = chance.random(sum(lengths)) * (chance.random(sum(lengths)) < 0.7)
        return values.astype(np.float32).astype(kind), weights.astype(np.float32), offsets_of(lengths)

    stored, asked = texts(passages, dtype), texts(queries, np.float64)
    counts = chance.integers(0, 5, len(queries))
    rows = chance.integers(0, len(passages), counts.sum()).astype(np.int32)
    widths = chance.integers(0 if soft else 1, np.array(passages)[rows] + 1)
    given = stored, asked, (offsets_of(counts), rows, widths), np.array(soft, dtype=float).reshape(-1, 2)
    for compiled, plain in zip(aligned_sums(*given), twins.aligned_sums(*given), strict=True):
        assert np.array_equal(compiled.view(np.uint64), plain.view(np.uint64))
