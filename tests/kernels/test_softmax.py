"""The compiled softmax against torch and its plain twin."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.softmax import softmax_squares, softmax_squares_numpy


def bits(values: torch.Tensor) -> np.ndarray:
    return values.to(torch.bfloat16).view(torch.int16).numpy().copy()


def numbers(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).view(torch.bfloat16).float()


@given(
    squares=st.integers(1, 3),
    length=st.integers(1, 40),
    extra=st.integers(0, 9),
    more=st.integers(0, 40),
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.01, 1, 30]),
)
def test_is_torch_softmax_to_the_precision_of_bfloat16(squares, length, extra, more, seed, scale):
    torch.manual_seed(seed)
    width = length + extra
    scores = (torch.randn(squares, width, width + more) * scale).bfloat16()
    parts = scores[:, :, :width], scores[:, :, width:]
    found, before = map(bits, parts)
    softmax_squares(found, before, length)
    joined = torch.cat([parts[0][:, :length, :length], parts[1][:, :length]], dim=2)
    expected = torch.softmax(joined.float(), dim=-1)
    ours = torch.cat([numbers(found)[:, :length, :length], numbers(before)[:, :length]], dim=2)
    torch.testing.assert_close(ours, expected, rtol=2**-7, atol=1e-30)
    assert not numbers(found)[:, :length, length:].any()
    plain, plain_before = map(bits, parts)
    softmax_squares_numpy(plain, plain_before, length)
    for one, other in ((plain, found), (plain_before, before)):
        torch.testing.assert_close(numbers(one), numbers(other), rtol=2**-7, atol=1e-30)


def nothing(scores: np.ndarray) -> np.ndarray:
    return np.empty((*scores.shape[:2], 0), np.int16)


def test_huge_and_all_negative_scores_do_not_overflow():
    scores = torch.tensor([[[300.0, 299.0, -500.0], [-900.0, -901.0, -2000.0], [-0.0, 0.0, -1.0]]])
    found = bits(scores)
    softmax_squares(found, nothing(found), 3)
    torch.testing.assert_close(
        numbers(found), torch.softmax(scores.bfloat16().float(), -1), rtol=0.01, atol=1e-6
    )


def test_a_single_token_attends_to_itself_whatever_stands_beside_it():
    found = bits(torch.tensor([[[-3.0, 900.0], [7.0, 8.0]]]))
    softmax_squares(found, nothing(found), 1)
    assert numbers(found)[0, 0].tolist() == [1.0, 0.0]
