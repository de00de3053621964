from __future__ import annotations

import torch

from dretrieve.models.base import Encoded, TokenBatch


def test_rows_are_cut_to_the_columns_they_use():
    ids = torch.arange(12).view(3, 4)
    mask = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    columns = {"domain": ("law", "news", "law"), "grade": torch.tensor([3, 1, 2])}
    part = TokenBatch(ids, mask, ("a", "b", "c"), columns).to(torch.device("cpu")).rows(0, 2)
    assert part.input_ids.tolist() == [[0, 1], [4, 5]]
    assert part.text_ids == ("a", "b")
    assert part.columns["domain"] == ("law", "news")
    assert part.columns["grade"].tolist() == [3, 1]
    left = TokenBatch(ids, mask.flip(1)).rows(1, 2)
    assert left.input_ids.tolist() == [[7]]


def test_salience_is_cached_with_the_vectors():
    encoded = Encoded(torch.ones(2, 3, 4), torch.ones(2, 3, dtype=torch.bool), torch.ones(2, 3))
    again = encoded.replace_cached(tensor * 2 for tensor in encoded.cached())
    assert len(encoded.cached()) == 2
    assert again.vectors.sum() == 48
    assert again.salience is not None
    assert again.salience.sum() == 12
    assert len(Encoded(torch.ones(2, 4)).cached()) == 1
