from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from dretrieve.models.base import TokenBatch
from dretrieve.models.bi_encoder_config import POOLINGS
from dretrieve.models.encoder import PooledEncoder, prepared

CPU = torch.device("cpu")


def encoder(how="mean", *, normalize=True, known=True):
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "max_position_embeddings": 20}
    if known:
        config = BertConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, **sizes
        )
        return PooledEncoder(BertModel(config, add_pooling_layer=False).eval(), how, normalize=normalize)
    config = DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, **sizes)
    return PooledEncoder(DistilBertModel(config).eval(), how, normalize=normalize)


def batch(side="right"):
    ids = torch.tensor([[2, 9, 4, 0], [7, 3, 0, 0], [5, 6, 8, 11]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]], dtype=torch.bool)
    if side == "left":
        ids = torch.tensor([[0, 2, 9, 4], [0, 0, 7, 3], [5, 6, 8, 11]])
        mask = mask.flip(1)
    return TokenBatch(ids, mask)


@pytest.mark.parametrize("how", POOLINGS)
@pytest.mark.parametrize("side", ["right", "left"])
def test_the_prepared_engine_answers_as_the_module(how, side):
    ours = encoder(how)
    with torch.no_grad():
        theirs = ours(batch())
        ours.prepare(CPU, torch.float32)
        assert ours.engine.name == "packed"
        torch.testing.assert_close(ours(batch(side)), theirs, rtol=1e-5, atol=1e-6)
    assert torch.allclose(theirs.norm(dim=1), torch.ones(3))


def test_a_family_that_is_not_known_is_converted_and_answers_itself():
    ours = encoder(known=False)
    with torch.no_grad():
        exact = ours(batch())
        ours.prepare(CPU, torch.bfloat16)
        assert ours.engine.name == "transformers"
        assert torch.cosine_similarity(ours(batch()), exact).min() > 0.99


def test_prepared_for_a_block_then_training_goes_on_with_the_modules_own_weights():
    ours = encoder(normalize=False).train()
    with prepared(ours, CPU, torch.float32), torch.no_grad():
        assert not ours.training
        before = ours(batch())
    assert ours.training
    assert ours.engine.name == "transformers"
    with torch.no_grad():
        ours.backbone.embeddings.word_embeddings.weight.mul_(2)
    with prepared(ours, CPU, torch.float32), torch.no_grad():
        assert not torch.allclose(ours(batch()), before, atol=1e-3)


def test_gradients_flow_while_training():
    ours = encoder().train()
    ours(batch()).sum().backward()
    assert ours.backbone.embeddings.word_embeddings.weight.grad is not None


def test_dim_is_the_width_of_the_states():
    assert encoder().dim == encoder()(batch()).shape[1] == 16
