"""Counting who read what: by hand on small batches, and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.reports.routing import RoutingCounts, experts_in_use, overlap, shares

# Two layers, three texts of 3, 2 and 1 tokens; the second layer sends each text to one expert.
EXPERTS = np.array([[[0, 1, 1], [0, 1, -1], [1, -1, -1]], [[1, 1, 1], [0, 0, -1], [1, -1, -1]]])
IDS = np.array([[2, 5, 5], [2, 3, 0], [5, 0, 0]])


def counted(side="query"):
    counts = RoutingCounts((2, 5), 2, 6)
    counts.add(side, EXPERTS, IDS)
    return counts


def test_a_batch_counted_by_hand():
    counts = counted()
    assert counts.tokens["query"].tolist() == [[2, 4], [2, 4]]
    # Layer 2: the text of one token each way goes to the first expert, padding counts nowhere.
    assert counts.texts["query"].tolist() == [[1, 2], [1, 2]]
    assert counts.by_token[0].tolist() == [[0, 0, 2, 0, 0, 0], [0, 0, 0, 1, 0, 3]]
    assert counts.by_token[1].tolist() == [[0, 0, 1, 1, 0, 0], [0, 0, 1, 0, 0, 3]]
    assert shares(counts.tokens["query"]).tolist() == [[1 / 3, 2 / 3]] * 2
    assert counts.alike() == [[0], [1]]


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_batches_padding_and_order_change_nothing(cut, seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 5, 6)
    ids = random.integers(0, 9, (6, 4))
    experts = np.where(np.arange(4) < lengths[:, None], random.integers(0, 3, (2, 6, 4)), -1)
    one, other = (RoutingCounts((0, 1), 3, 9) for _ in range(2))
    one.add("passage", experts, ids)
    wide = np.pad(experts, [(0, 0), (0, 0), (2, 1)], constant_values=-1)
    order = random.permutation(6)
    for rows in (order[:cut], order[cut:]):
        other.add("passage", wide[:, rows], np.pad(ids, [(0, 0), (2, 1)])[rows])
    assert np.array_equal(one.by_token, other.by_token)
    assert np.array_equal(one.tokens["passage"], other.tokens["passage"])
    assert np.array_equal(one.texts["passage"], other.texts["passage"])
    assert one.tokens["passage"].sum(axis=1).tolist() == [lengths.sum()] * 2
    assert one.texts["passage"].sum(axis=1).tolist() == [6, 6]


def test_attraction_is_the_log_odds_of_its_formula():
    counts = counted()
    found = counts.attracted(0, 1, 5)
    # Expert 1 reads 4 of 6 tokens: p = 2/3. Token 5: 3 of 3 readings; token 3: 1 of 1.
    odds = math.log(2)
    expected = [math.log((n + 20 / 3) / (0 + 10 / 3)) - odds for n in (3, 1)]
    assert [(of.token, of.count, of.total) for of in found] == [(5, 3, 3), (3, 1, 1)]
    assert [of.log_odds for of in found] == pytest.approx(expected)
    assert [of.token for of in counts.attracted(0, 0, 5)] == [2]
    assert len(counts.attracted(0, 1, 1)) == 1


def test_an_expert_that_reads_all_or_nothing_attracts_nothing():
    counts = RoutingCounts((0,), 2, 3)
    counts.add("query", np.zeros((1, 2, 2), dtype=np.int64), np.array([[1, 2], [0, 1]]))
    assert counts.attracted(0, 0, 5) == counts.attracted(0, 1, 5) == []
    assert shares(np.zeros((1, 2), dtype=np.int64)).tolist() == [[0.0, 0.0]]


def test_layers_that_route_alike_are_one_group_only_if_both_sides_agree():
    counts = RoutingCounts((0, 1), 2, 3)
    for side, expert in (("query", 0), ("passage", 1)):
        counts.add(side, np.full((2, 1, 1), expert), np.array([[1]]))
    assert counts.alike() == [[0, 1]]
    swapped = RoutingCounts((0, 1), 2, 3)
    swapped.add("query", np.array([[[0]], [[1]]]), np.array([[1]]))
    swapped.add("passage", np.array([[[1]], [[0]]]), np.array([[1]]))
    assert np.array_equal(swapped.by_token[0], swapped.by_token[1])
    assert swapped.alike() == [[0], [1]]


def test_overlap_and_experts_in_use():
    one, other = (
        np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8]]),
        np.array([[0.0, 1.0], [0.5, 0.5], [0.6, 0.4]]),
    )
    assert overlap(one, other) == pytest.approx([0.0, 1.0, 0.6])
    assert experts_in_use(one) == pytest.approx([1.0, 2.0, 0.2**-0.2 * 0.8**-0.8])
    assert experts_in_use(np.full((1, 4), 0.25)) == pytest.approx([4.0])
