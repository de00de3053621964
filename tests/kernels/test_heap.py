"""The heap of the best hits against sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.heap import push, unheap
from dretrieve.order import top_k


@given(
    scores=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.5]), max_size=40),
    k=st.integers(1, 12),
    seed=st.integers(0, 9),
)
def test_the_best_come_out_in_order(scores: list[float], k: int, seed: int) -> None:
    values = np.asarray(scores, dtype=np.float32)
    ranks = np.random.default_rng(seed).permutation(len(values)).astype(np.int32)
    kept, passages = np.zeros(k, np.float32), np.zeros(k, np.int32)
    size = 0
    for passage, score in enumerate(values):
        size = push(kept, passages, ranks, size, score, passage)
    unheap(kept, passages, ranks, size)
    expected = top_k(values, ranks.astype(np.int64), k)
    assert passages[:size].tolist() == expected.tolist()
    assert kept[:size].tolist() == values[expected].tolist()
