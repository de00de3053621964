from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dretrieve.errors import DataError
from dretrieve.training.plan import Plan, SetShare

SHARES = [SetShare(name="nq", examples=100), SetShare(name="wq", examples=23, weight=4.0)]


def test_a_batch_is_a_function_of_seed_and_step():
    forwards = [Plan(SHARES, 10, 7).draw(step) for step in range(60)]
    plan = Plan(SHARES, 10, 7)
    for step in reversed(range(60)):
        draw = plan.draw(step)
        assert draw.set_index == forwards[step].set_index
        np.testing.assert_array_equal(draw.rows, forwards[step].rows)
    other = Plan(SHARES, 10, 8)
    assert any((other.draw(step).rows != forwards[step].rows).any() for step in range(3))


def test_every_pass_over_a_set_shows_each_example_at_most_once():
    plan = Plan([SetShare(name="one", examples=47)], 10, 1)
    for epoch in range(5):
        rows = np.concatenate([plan.draw(epoch * 4 + step).rows for step in range(4)])
        assert len(set(rows.tolist())) == 40
    left_out = [
        set(range(47)) - {row for step in range(4) for row in plan.draw(e * 4 + step).rows.tolist()}
        for e in (0, 1)
    ]
    assert left_out[0] != left_out[1]


def test_weights_multiply_the_batches_of_a_set():
    plan = Plan(SHARES, 10, 3)
    assert plan.steps_per_epoch == 10 + 8
    counts = Counter(plan.draw(step).set_index for step in range(18))
    assert counts == {0: 10, 1: 8}
    turns = [plan.draw(step).turn for step in range(18) if plan.draw(step).set_index == 1]
    assert turns == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_sets_of_an_epoch_are_shuffled_each_time():
    plan = Plan(SHARES, 10, 3)
    orders = [[plan.draw(epoch * 18 + step).set_index for step in range(18)] for epoch in range(2)]
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_a_set_smaller_than_a_batch_is_refused_by_name():
    with pytest.raises(DataError, match=r"set wq has 23 usable examples, fewer than one batch of 24"):
        Plan(SHARES, 24, 0)


@given(some.integers(1, 12), some.integers(12, 60), some.integers(0, 200), some.integers(0, 9))
@settings(max_examples=60)
def test_rows_are_in_range_and_distinct(batch, examples, step, seed):
    rows = Plan([SetShare(name="s", examples=examples)], batch, seed).draw(step).rows
    assert len(rows) == len(set(rows.tolist())) == batch
    assert rows.min() >= 0
    assert rows.max() < examples
