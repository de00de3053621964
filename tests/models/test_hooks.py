"""Packing keeps every token of every text; a layout says where each stands."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dretrieve.models.hooks import Layout
from dretrieve.models.packed import pack


def test_pack_sorts_by_length_and_says_where_each_text_went(batch_of):
    batch = batch_of([2, 5, 1, 5])
    ids, positions, lengths, order = pack(batch)
    assert lengths == [5, 5, 2, 1]
    assert order.tolist() == [1, 3, 0, 2]
    assert positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 0]
    parts = np.split(ids.numpy(), np.cumsum(lengths)[:-1])
    for place, row in enumerate(order.tolist()):
        assert parts[place].tolist() == batch.input_ids[row][batch.mask[row]].tolist()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_layout_says_the_same_of_packed_and_padded_states(batch_of, side):
    batch = batch_of([2, 5, 1, 5], side, width=7)
    ids, _, lengths, order = pack(batch)
    packed, whole = Layout(batch.mask, lengths, order), Layout(batch.mask)
    assert torch.equal(packed.padded(ids, -1), batch.input_ids.masked_fill(~batch.mask, -1))
    assert torch.equal(whole.padded(batch.input_ids, -1), packed.padded(ids, -1))
    assert torch.equal(packed.first(ids)[order.argsort()], whole.first(batch.input_ids))
    numbers = torch.arange(8).view(4, 2)
    found = packed.padded(packed.spread(packed.of_texts(numbers)), -1)
    assert torch.equal(found, whole.padded(whole.spread(numbers), -1))
