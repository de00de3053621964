from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from dretrieve.errors import UsageError
from dretrieve.models.base import TokenBatch
from dretrieve.models.bi_encoder_config import POOLINGS
from dretrieve.models.encoder import PooledEncoder, prepared
from dretrieve.models.hooks import Hooks, Layout

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


class Changed(Hooks):
    """Keys and values in front, alike for all texts or each text's own; another output of a layer."""

    def __init__(self, per_text):
        torch.manual_seed(9)
        self.keys, self.values = torch.randn(2, 2, 3, 16), torch.randn(2, 2, 3, 16)
        self.weights = torch.randn(3, 1, 1) if per_text else None

    def keys_values(self, layer, states, layout):
        pair = self.keys[layer, 0], self.values[layer, 0]
        if self.weights is None:
            return pair
        weights = layout.of_texts(self.weights)
        return pair[0] * weights, pair[1] * weights

    def feed_forward(self, layer, states, layout, run):
        if layer == 0:
            return None
        sizes = layout.spread(layout.of_texts(torch.arange(1.0, 4.0)).to(states.dtype))
        first = layout.spread(layout.first(states)) if self.weights is None else states
        return run(states, 0) + 0.1 * first * sizes.unsqueeze(-1)


@pytest.mark.parametrize("per_text", [True, False])
@pytest.mark.parametrize("side", ["right", "left"])
def test_both_engines_honour_the_hooks(per_text, side):
    ours, hooks = encoder(normalize=False), Changed(per_text)
    with torch.no_grad():
        plain, padded = ours(batch()), ours(batch(), hooks)
        ours.prepare(CPU, torch.float32)
        torch.testing.assert_close(ours(batch(side), hooks), padded, rtol=1e-5, atol=1e-5)
        assert ours.ran == {("packed", "fp32", "sdpa by length")}
        torch.testing.assert_close(ours(batch()), plain, rtol=1e-5, atol=1e-5)
        states = ours.states(batch(side), hooks)
        assert torch.equal(states.padded()[~batch(side).mask], torch.zeros(3, 16))
        ours.prepare(CPU, torch.bfloat16)
        assert torch.cosine_similarity(ours(batch(side), hooks), padded).min() > 0.99
        ours(batch())
        assert ours.ran == {("packed", "bf16", "own")}
    assert not torch.allclose(plain, padded, atol=1e-2)


def test_keys_and_values_in_front_are_attention_by_hand():
    """One layer, one head: softmax over the prefix's keys and the text's own."""
    ours, hooks = encoder(normalize=False), Changed(per_text=False)
    layer = ours.layers[0]
    with torch.no_grad():
        states = ours.backbone.embeddings(input_ids=batch().input_ids)
        before = hooks.keys_values(0, states, Layout(batch().mask))
        found = ours._layer(0, states, Layout(batch().mask), hooks)
        own = layer.attention.self
        query = own.query(states[0, :3])
        keys, values = (
            torch.cat([front, part(states[0, :3])])
            for front, part in zip(before, (own.key, own.value), strict=True)
        )
        heads = [slice(0, 8), slice(8, 16)]
        context = torch.cat(
            [(query[:, of] @ keys[:, of].T / 8**0.5).softmax(-1) @ values[:, of] for of in heads], dim=1
        )
        attended = layer.attention.output(context, states[0, :3])
        expected = layer.output(layer.intermediate(attended), attended)
    torch.testing.assert_close(found[0, :3], expected, rtol=1e-5, atol=1e-5)


def test_hooks_reach_gradients_also_with_gradient_checkpointing():
    ours, hooks = encoder(normalize=False), Changed(per_text=False)
    hooks.keys.requires_grad_()

    def gradient():
        hooks.keys.grad = None
        ours(batch(), hooks).sum().backward()
        return hooks.keys.grad.clone()

    for part in ours.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    ours.train()
    plain = gradient()
    for layer in ours.layers:
        layer.gradient_checkpointing = True
    assert plain.abs().sum() > 0
    torch.testing.assert_close(gradient(), plain)


def test_a_family_of_another_layout_takes_no_hooks():
    with pytest.raises(
        UsageError, match="a distilbert backbone is laid out otherwise; give .* bert, roberta"
    ):
        encoder(known=False)(batch(), Hooks())
