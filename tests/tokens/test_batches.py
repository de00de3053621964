from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.tokens.batches import cut_batches


@given(lengths=st.lists(st.integers(0, 60), max_size=80), budget=st.integers(1, 200))
def test_each_row_once_longest_first_within_the_budget(lengths, budget):
    sizes = np.array(lengths, dtype=np.int64)
    batches = cut_batches(sizes, budget)
    joined = [row for batch in batches for row in batch.tolist()]
    assert sorted(joined) == list(range(len(lengths)))
    assert [lengths[row] for row in joined] == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= budget


def test_equal_lengths_keep_their_order():
    assert [batch.tolist() for batch in cut_batches(np.array([5, 5, 5, 5]), 10)] == [[0, 1], [2, 3]]


@given(lengths=st.lists(st.integers(0, 60), max_size=80), budget=st.integers(40, 200))
def test_the_last_batches_halve_what_is_left_but_do_not_fall_below_the_least(lengths, budget):
    sizes = np.array(lengths, dtype=np.int64)
    batches = cut_batches(sizes, budget, 40)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    left = int(sizes.sum())
    for batch in batches:
        padded = len(batch) * sizes[batch].max()
        assert len(batch) == 1 or padded <= min(budget, max(40, left // 2))
        left -= int(sizes[batch].sum())


def test_the_end_of_a_chunk_in_smaller_and_smaller_batches():
    batches = cut_batches(np.full(64, 10), 200, 50)
    assert [len(batch) for batch in batches] == [20, 20, 12, 6, 5, 1]
