from __future__ import annotations

import numpy as np
import torch

from dretrieve.encoding.pieces import Piece, assemble, token_batch
from dretrieve.models.base import Encoded
from dretrieve.tokens.tokenizer import Tokenized
from dretrieve.types import VectorSpec


def tokens():
    lengths = [3, 1, 4]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Tokenized(np.arange(10, 18, dtype=np.int32), offsets)


def test_padding_stands_right():
    batch = token_batch(tokens(), np.array([2, 1]), 0, ["a", "b", "c"])
    assert batch.input_ids.tolist() == [[14, 15, 16, 17], [13, 0, 0, 0]]
    assert (batch.input_ids != 0).tolist() == batch.mask.tolist()
    assert batch.text_ids == ("c", "b")


def test_pieces_come_back_in_row_order():
    pieces = [
        Piece(np.array([2, 0]), Encoded(torch.tensor([[2.0, 2.0], [0.0, 0.0]]))),
        Piece(np.array([1]), Encoded(torch.tensor([[1.0, 1.0]]))),
    ]
    found = assemble(pieces, tokens(), VectorSpec(2, "one", "dot"))
    assert found.values.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert (len(found), found.offsets, found.weights) == (3, None, None)


def test_token_vectors_keep_only_what_the_mask_keeps():
    vectors = torch.arange(8.0).view(2, 2, 2)
    mask = torch.tensor([[True, False], [True, True]])
    weights = torch.tensor([[0.5, 0.0], [0.25, 0.75]])
    pieces = [
        Piece(np.array([2, 0]), Encoded(vectors, mask, weights, tokens=torch.tensor([[7, 8], [5, 6]]))),
        Piece(np.array([1]), Encoded(vectors[:1] + 10, mask[:1] & False, weights[:1], tokens=mask[:1] * 1)),
    ]
    found = assemble(pieces, tokens(), VectorSpec(2, "many", "maxsim_sum"))
    assert found.offsets is not None
    assert found.offsets.tolist() == [0, 2, 2, 3]
    assert found.values.tolist() == [[4, 5], [6, 7], [0, 1]]
    assert found.weights is not None
    assert found.weights.tolist() == [0.25, 0.75, 0.5]
    assert found.tokens is not None
    assert (found.tokens.tolist(), found.tokens.dtype) == ([5, 6, 7], np.int32)
    assert len(found) == 3
