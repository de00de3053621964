"""Attention in training is torch's, but for which weights are dropped."""

import json

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import BertConfig, BertModel

from dretrieve.models import attention
from dretrieve.models.encoder import Encoder

MASKS = {
    "none": None,
    "texts": torch.arange(7).view(1, 1, 1, 7) < torch.tensor([7, 3, 1]).view(3, 1, 1, 1),
    "tokens": torch.arange(7).view(1, 1, 1, 7) <= torch.arange(5).view(1, 1, 5, 1),
}


@pytest.fixture(params=MASKS)
def mask(request: pytest.FixtureRequest) -> Tensor | None:
    found: Tensor | None = MASKS[request.param]
    return found


def rows(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return queries, keys and values, [3, 2, T, 4], in memory as a linear layer leaves them."""
    generator = torch.Generator().manual_seed(3)
    shapes = ((3, tokens, 2, 4) for tokens in (5, 7, 7))
    found = (torch.randn(shape, generator=generator, dtype=dtype).transpose(1, 2) for shape in shapes)
    return [of.requires_grad_() for of in found]


def test_a_rate_of_nothing_is_torchs_attention(mask: Tensor | None) -> None:
    given = rows()
    found = attention._dropped(*given, mask, 0.0, None)
    wanted = scaled_dot_product_attention(*given, attn_mask=mask)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(found.square().sum(), given),
        torch.autograd.grad(wanted.square().sum(), given),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_gradient_is_that_of_what_was_drawn(mask: Tensor | None) -> None:
    def drawn(*given: Tensor) -> Tensor:
        torch.manual_seed(5)
        return attention._dropped(*given, mask, 0.25, 0.3)

    assert torch.autograd.gradcheck(drawn, rows())


def test_what_is_kept_makes_up_for_what_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    given = [of.detach().repeat(500, 1, 1, 1) for of in rows(torch.float32)]
    wanted = scaled_dot_product_attention(*given)[:3]
    torch.manual_seed(7)
    found = attention._dropped(*given, None, 0.1, None)
    assert (found.view(500, 3, 2, 5, 4).mean(dim=0) - wanted).abs().max() < 0.1
    for name in ("WEIGHTS", "WEIGHTS_SHARED"):  # however many at a time, and however many threads
        monkeypatch.setattr(attention, name, 1)
    torch.manual_seed(7)
    torch.testing.assert_close(attention._dropped(*given, None, 0.1, None), found)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_are_dropped_at_the_rate_forward_and_backward(dtype: torch.dtype) -> None:
    backbone = BertModel(BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2))
    attention.use(backbone)
    drop = backbone.embeddings.dropout
    states = torch.full((999, 1000), 3.0, dtype=dtype, requires_grad=True)
    assert drop.eval()(states) is states
    torch.manual_seed(1)
    found = drop.train()(states)
    assert float((found == 0).float().mean()) == pytest.approx(0.1, abs=0.001)
    torch.testing.assert_close(found[found != 0], (states / 0.9)[found != 0], rtol=1e-2, atol=0)
    (gradient,) = torch.autograd.grad(found.sum(), states)
    torch.testing.assert_close(gradient * 3, found.detach(), rtol=1e-2, atol=0)


def test_a_saved_encoder_does_not_name_it(tmp_path) -> None:
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    encoder = Encoder(BertModel(config, add_pooling_layer=False))
    assert encoder.backbone.config._attn_implementation == attention.NAME
    encoder.backbone.save_pretrained(tmp_path)
    assert attention.NAME not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


def test_a_pass_that_is_repeated_drops_the_same() -> None:
    config = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=2, num_attention_heads=2)
    backbone = Encoder(BertModel(config, add_pooling_layer=False)).backbone.train()
    ids = torch.arange(1, 13).view(2, 6)
    found = []
    for grad in (True, False):
        torch.manual_seed(11)
        with torch.set_grad_enabled(grad), torch.autocast("cpu", dtype=torch.bfloat16):
            found.append(backbone(input_ids=ids).last_hidden_state.detach())
    assert torch.equal(*found)
