from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as some

from dretrieve.training.pieces import length_groups


def cost(lengths, groups, overhead):
    return sum(len(group) * lengths[group].max() + overhead for group in groups)


@given(
    some.lists(some.integers(1, 40), max_size=40), some.integers(0, 200), some.sampled_from([None, 30, 100])
)
def test_every_row_once_and_like_lengths_together(lengths, overhead, budget):
    lengths = np.asarray(lengths, dtype=np.int64)
    groups = length_groups(lengths, overhead=overhead, budget=budget)
    rows = [row for group in groups for row in group.tolist()]
    assert sorted(rows) == list(range(len(lengths)))
    ordered = lengths[rows]
    assert (np.diff(ordered) <= 0).all()
    if budget is not None:
        assert all(len(group) == 1 or len(group) * lengths[group].max() <= budget for group in groups)


@given(some.lists(some.integers(1, 6), min_size=1, max_size=8), some.integers(0, 12))
def test_no_other_cut_is_cheaper(lengths, overhead):
    lengths = np.asarray(lengths, dtype=np.int64)
    ordered = np.sort(lengths)[::-1]
    found = cost(lengths, length_groups(lengths, overhead=overhead), overhead)
    for cuts in range(2 ** (len(lengths) - 1)):
        borders = [0, *(row + 1 for row in range(len(lengths) - 1) if cuts >> row & 1), len(lengths)]
        parts = [np.arange(a, b) for a, b in itertools.pairwise(borders)]
        assert found <= cost(ordered, parts, overhead)


def test_overhead_decides_between_one_group_and_many():
    lengths = np.asarray([100, 10, 10, 10], dtype=np.int64)
    assert len(length_groups(lengths, overhead=1)) == 2
    assert len(length_groups(lengths, overhead=1000)) == 1
    assert length_groups(np.empty(0, dtype=np.int64), overhead=1) == []
