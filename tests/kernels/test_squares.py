"""Attention around its products: the compiled powers against torch and their plain twin; texts in squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.squares import empty_squares, fill_squares, raise_squares
from tests.kernels import twins


def bits(values: torch.Tensor) -> np.ndarray:
    return values.to(torch.bfloat16).view(torch.int16).numpy().copy()


def numbers(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).view(torch.bfloat16).float()


@given(
    heads=st.integers(1, 3),
    sizes=st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=3),
    extra=st.integers(0, 9),
    more=st.integers(0, 40),
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.01, 1, 30]),
)
def test_is_torch_softmax_to_the_precision_of_bfloat16(heads, sizes, extra, more, seed, scale):
    torch.manual_seed(seed)
    lengths = np.array([length for length, _ in sizes])
    reads = np.array([max(1, round(length * share)) for length, share in sizes])
    width = int(lengths.max()) + extra
    scores = (torch.randn(heads * len(sizes), width, width + more) * scale).bfloat16()
    parts = scores[:, :, :width], scores[:, :, width:]
    found, before = map(bits, parts)
    scales, plain_scales = np.full((2, len(scores), width), np.nan, np.float32)
    raise_squares(found, before, lengths, reads, scales)
    plain, plain_before = map(bits, parts)
    twins.raise_squares(plain, plain_before, lengths, reads, plain_scales)
    np.testing.assert_allclose(scales, plain_scales, rtol=1e-4)
    for one, other in ((plain, found), (plain_before, before)):
        torch.testing.assert_close(numbers(one), numbers(other), rtol=2**-7, atol=1e-30)
    for square in range(len(scores)):
        length, read = lengths[square % len(sizes)], reads[square % len(sizes)]
        joined = torch.cat([parts[0][square, :length, :read], parts[1][square, :length]], dim=1)
        ours = torch.cat([numbers(found)[square, :length, :read], numbers(before)[square, :length]], dim=1)
        ours *= torch.from_numpy(scales[square, :length, None])
        torch.testing.assert_close(ours, torch.softmax(joined.float(), dim=-1), rtol=2**-7, atol=1e-30)
        assert not numbers(found)[square, :length, read:].any()
        assert torch.equal(numbers(found)[square, length:], parts[0][square, length:].float())


def softmax_of(scores: torch.Tensor, *lengths: int) -> torch.Tensor:
    found, scales = bits(scores), np.ones(scores.shape[:2], np.float32)
    sizes = np.array(lengths)
    raise_squares(found, np.empty((*found.shape[:2], 0), np.int16), sizes, sizes, scales)
    return numbers(found) * torch.from_numpy(scales).unsqueeze(2)


def test_huge_and_all_negative_scores_do_not_overflow():
    scores = torch.tensor([[[300.0, 299.0, -500.0], [-900.0, -901.0, -2000.0], [-0.0, 0.0, -1.0]]])
    expected = torch.softmax(scores.bfloat16().float(), -1)
    torch.testing.assert_close(softmax_of(scores, 3), expected, rtol=0.01, atol=1e-6)


def test_a_single_token_attends_to_itself_whatever_stands_beside_it():
    found = softmax_of(torch.tensor([[[-3.0, 900.0], [7.0, 8.0]]]), 1)
    assert found[0, 0].bfloat16().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("word", [np.int16, np.int64])
def test_texts_are_moved_to_their_squares_and_back(word):
    heads, dim, width, lengths, first = 3, 8, 5, np.array([5, 2, 4]), 6
    rows = np.random.default_rng(0).integers(1, 9, (20, 3 * heads * dim), dtype=np.int16)
    parts = np.full((3, heads, len(lengths), width, dim), -1, dtype=np.int16)
    fill_squares(rows.view(word), first, lengths, parts.view(word))
    for text, start in enumerate([6, 11, 13]):
        own = rows[start : start + lengths[text]].reshape(-1, 3, heads, dim).transpose(1, 2, 0, 3)
        assert np.array_equal(parts[:, :, text, : lengths[text]], own)
        assert not parts[:, :, text, lengths[text] :].any()
    back = np.zeros((20, heads * dim), dtype=np.int16)
    scales = np.full((heads, len(lengths), width), 2, dtype=np.float32)
    parts[1] += 0x3F80 - 1  # bits of numbers between 1 and 2: twice as much is one more of the exponent
    empty_squares(parts[1], scales, lengths, back, first)
    assert np.array_equal(back[6:17], rows[6:17, heads * dim : 2 * heads * dim] + 0x3F80 - 1 + 0x80)
    assert not back[:6].any()
    assert not back[17:].any()
