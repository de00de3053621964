"""The linear layer of the packed engine is torch's, in every number type, with weights in either layout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dretrieve.models import packed_linear
from dretrieve.models.packed_linear import PackedLinear, Workspace


def parts(dtype, rows=37, wide=48, out=80):
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(size, generator=generator) for size in ((rows, wide), (wide, out), (out,))]
    return [part.to(dtype) for part in drawn]


@pytest.mark.parametrize("behind", ["nothing", "gelu", "plus"])
@pytest.mark.parametrize("blocks", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_torch_s_linear_layer(monkeypatch, dtype, blocks, behind):
    if not blocks:
        monkeypatch.setattr(packed_linear, "_blocks", lambda weight: None)
    states, weight, bias = parts(dtype)
    with torch.inference_mode():
        around = torch.randn(len(states), len(bias), generator=torch.Generator().manual_seed(2)).to(dtype)
        wanted = functional.linear(states.double(), weight.double().t(), bias.double())
        options = {"gelu": True} if behind == "gelu" else {"plus": around} if behind == "plus" else {}
        found = PackedLinear(weight, bias)(states, Workspace(), "x", **options)
        wanted = functional.gelu(wanted) if behind == "gelu" else wanted
        wanted = wanted + around.double() if behind == "plus" else wanted
    assert found.dtype == dtype
    torch.testing.assert_close(
        found.double(), wanted, rtol=2**-7 if dtype == torch.bfloat16 else 1e-5, atol=0.02
    )


def test_a_row_does_not_depend_on_how_many_stand_beside_it():
    states, weight, bias = parts(torch.bfloat16, rows=256)
    layer = PackedLinear(weight, bias)
    with torch.inference_mode():
        whole = layer(states, Workspace(), "x").clone()
        assert torch.equal(layer(states[:128].clone(), Workspace(), "x"), whole[:128])


def test_a_buffer_grows_and_stays():
    buffers, like = Workspace(), torch.empty(0)
    first = buffers.take("a", like, 4, 5)
    assert first.shape == (4, 5)
    assert buffers.take("a", like, 2, 5).data_ptr() == first.data_ptr()
    assert buffers.take("a", like, 8, 5).shape == (8, 5)
    assert buffers.take("b", like, 4, 5).data_ptr() != first.data_ptr()
