"""Pooling from the mask alone: padding on either side, packed or padded, gives the same vectors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.models.bi_encoder_config import POOLINGS
from dretrieve.models.pooling import pool, pool_packed, unit


def states_of(lengths, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(length, 5, generator=generator) for length in lengths]


def padded(states, side, width):
    batch = torch.full((len(states), width, 5), 1e4)
    mask = torch.zeros(len(states), width, dtype=torch.bool)
    for row, state in enumerate(states):
        place = slice(0, len(state)) if side == "right" else slice(width - len(state), width)
        batch[row, place], mask[row, place] = state, True
    return batch, mask


def by_hand(states, how):
    one = {
        "cls": lambda s: s[0],
        "last": lambda s: s[-1],
        "mean": lambda s: s.mean(0),
        "max": lambda s: s.max(0).values,
        "weightedmean": lambda s: sum(n * row for n, row in enumerate(s, 1)) / sum(range(len(s) + 1)),
        "mean_sqrt_len": lambda s: s.sum(0) / len(s) ** 0.5,
    }[how]
    return torch.stack([one(s) for s in states])


@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    extra=st.integers(0, 3),
    side=st.sampled_from(["right", "left"]),
    how=st.sampled_from(POOLINGS),
    seed=st.integers(0, 99),
)
def test_padding_changes_nothing(lengths, extra, side, how, seed):
    states = states_of(lengths, seed)
    expected = by_hand(states, how)
    torch.testing.assert_close(pool(*padded(states, side, max(lengths) + extra), how), expected)
    torch.testing.assert_close(pool_packed(torch.cat(states), lengths, how), expected)


@pytest.mark.parametrize("how", POOLINGS)
def test_half_precision_states_are_pooled_in_float32(how):
    states = torch.randn(2, 7, 4).bfloat16()
    assert pool(states, torch.ones(2, 7, dtype=torch.bool), how).dtype == torch.float32
    assert pool_packed(states[0], [3, 4], how).dtype == torch.float32


def test_unit_keeps_zeros():
    vectors = unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(vectors, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
