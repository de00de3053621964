"""Packing keeps every token of every text, and says where each text went."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dretrieve.models.base import TokenBatch
from dretrieve.models.packing import pack, padded, unpacked


def batch_of(lengths, side="right", width=None):
    generator = torch.Generator().manual_seed(sum(lengths))
    width = width or max(lengths)
    ids = torch.full((len(lengths), width), 1)
    mask = torch.zeros(len(lengths), width, dtype=torch.bool)
    for row, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(width - length, width)
        ids[row, place] = torch.randint(2, 60, (length,), generator=generator)
        mask[row, place] = True
    return TokenBatch(ids, mask)


def test_pack_sorts_by_length_and_says_where_each_text_went():
    batch = batch_of([2, 5, 1, 5])
    ids, positions, lengths, places = pack(batch)
    assert lengths == [5, 5, 2, 1]
    assert places.tolist() == [2, 0, 3, 1]
    assert positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 0]
    parts = np.split(ids.numpy(), np.cumsum(lengths)[:-1])
    for row, place in enumerate(places.tolist()):
        assert parts[place].tolist() == batch.input_ids[row][batch.mask[row]].tolist()


@pytest.mark.parametrize("side", ["right", "left"])
def test_padded_undoes_pack(side):
    batch = batch_of([2, 5, 1, 5], side, width=7)
    ids = pack(batch)[0]
    assert torch.equal(padded(ids, batch.mask, -1), batch.input_ids.masked_fill(~batch.mask, -1))


def test_unpacked_puts_vectors_in_the_batch_s_order():
    _, _, lengths, places = pack(batch_of([2, 5, 1, 5]))
    vectors = torch.tensor(lengths)[:, None] * torch.ones(4, 3)
    assert unpacked(vectors, places, lengths)[:, 0].tolist() == [2, 5, 1, 5]
