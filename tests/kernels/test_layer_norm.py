"""The compiled layer norm against torch and its plain twin."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.layer_norm import layer_norm, layer_norm_numpy


def bits(values: torch.Tensor) -> np.ndarray:
    return values.to(torch.bfloat16).view(torch.int16).numpy().copy()


def numbers(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).view(torch.bfloat16).float()


@given(
    rows=st.integers(0, 4),
    width=st.integers(1, 70),
    seed=st.integers(0, 999),
    scale=st.sampled_from([0.01, 1, 300]),
    shift=st.sampled_from([0, -5]),
)
def test_is_torch_layer_norm_to_the_precision_of_bfloat16(rows, width, seed, scale, shift):
    torch.manual_seed(seed)
    states = (torch.randn(rows, width) * scale + shift).bfloat16()
    weight, bias = torch.randn(width), torch.randn(width)
    found, plain = bits(states), bits(states)
    layer_norm(found, weight.numpy(), bias.numpy(), 1e-5)
    layer_norm_numpy(plain, weight.numpy(), bias.numpy(), 1e-5)
    expected = torch.nn.functional.layer_norm(states.float(), (width,), weight, bias, 1e-5)
    torch.testing.assert_close(numbers(found), expected, rtol=2**-8, atol=1e-3)
    torch.testing.assert_close(numbers(plain), numbers(found), rtol=2**-7, atol=1e-3)


def test_a_row_of_equal_numbers_becomes_the_bias():
    found = bits(torch.full((2, 8), 3.5))
    layer_norm(found, np.full(8, 2, np.float32), np.arange(8, dtype=np.float32), 1e-12)
    assert numbers(found).tolist() == [list(range(8))] * 2
