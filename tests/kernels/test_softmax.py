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
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.01, 1, 30]),
)
def test_is_torch_softmax_to_the_precision_of_bfloat16(squares, length, extra, seed, scale):
    torch.manual_seed(seed)
    scores = (torch.randn(squares, length + extra, length + extra) * scale).bfloat16()
    found = bits(scores)
    softmax_squares(found, length)
    expected = torch.softmax(scores[:, :length, :length].float(), dim=-1)
    torch.testing.assert_close(numbers(found)[:, :length, :length], expected, rtol=2**-7, atol=1e-30)
    assert not numbers(found)[:, :length, length:].any()
    plain = bits(scores)
    softmax_squares_numpy(plain, length)
    torch.testing.assert_close(numbers(plain), numbers(found), rtol=2**-7, atol=1e-30)


def test_huge_and_all_negative_scores_do_not_overflow():
    scores = torch.tensor([[[300.0, 299.0, -500.0], [-900.0, -901.0, -2000.0], [-0.0, 0.0, -1.0]]])
    found = bits(scores)
    softmax_squares(found, 3)
    torch.testing.assert_close(
        numbers(found), torch.softmax(scores.bfloat16().float(), -1), rtol=0.01, atol=1e-6
    )


def test_a_single_token_attends_to_itself_whatever_stands_beside_it():
    found = bits(torch.tensor([[[-3.0, 900.0], [7.0, 8.0]]]))
    softmax_squares(found, 1)
    assert numbers(found)[0, 0].tolist() == [1.0, 0.0]
