"""The engine without padding is the transformers module: same states, in any batch, for every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from dretrieve.kernels.squares import raise_squares
from dretrieve.models import packed_linear
from dretrieve.models.encoder import Encoder
from dretrieve.models.experts import Experts, by_tokens
from dretrieve.models.hooks import Hooks
from dretrieve.models.packed import PackedEncoder, supported

SIZES = {
    "vocab_size": 60,
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 80,
    "max_position_embeddings": 40,
}
FAMILIES = {
    "bert": lambda **more: BertModel(BertConfig(**SIZES | more), add_pooling_layer=False),
    "roberta": lambda **more: RobertaModel(RobertaConfig(**SIZES | more), add_pooling_layer=False),
    "xlm-roberta": lambda **more: XLMRobertaModel(XLMRobertaConfig(**SIZES | more), add_pooling_layer=False),
}


class Before(Hooks):
    """P keys and values before each layer's own: one pair for all texts, or each text's own."""

    def __init__(self, texts, length=5):
        self.pairs = torch.randn(3, 2, texts, length, 48, generator=torch.Generator().manual_seed(7))

    def keys_values(self, layer, states, layout):
        keys, values = self.pairs[layer].to(states.device)
        return (keys[0], values[0]) if len(keys) == 1 else (layout.of_texts(keys), layout.of_texts(values))

    def of_text(self, row):
        """Return the hook of one text alone."""
        alone = Before(1)
        alone.pairs = self.pairs if self.pairs.shape[2] == 1 else self.pairs[:, :, row : row + 1]
        return alone


def make(family, **more):
    torch.manual_seed(3)
    module = FAMILIES[family](**more).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


def rows_of(found):
    """Split the engine's answer into the states of each text, in the batch's order."""
    states, layout = found
    parts = torch.split(states.float(), layout.lengths)
    return [parts[place] for place in layout.order.argsort().tolist()]


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_states_are_those_of_transformers(batch_of, family):
    module = make(family)
    assert supported(module)
    batch = batch_of([7, 1, 12, 7, 30, 2])
    engine = PackedEncoder(module, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        theirs = module(input_ids=batch.input_ids, attention_mask=batch.mask.long()).last_hidden_state
    for row, states in enumerate(rows_of(engine(batch))):
        torch.testing.assert_close(states, theirs[row][batch.mask[row]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lengths", [[3], [40, 40], [5, 9, 9, 9, 1], [33] * 7 + [32, 31, 1]])
@pytest.mark.parametrize("blocks", [True, False])
def test_bfloat16_states_keep_their_direction(batch_of, lengths, blocks, monkeypatch):
    if not blocks:  # a torch without oneDNN's blocks; all results stand in kept buffers then
        monkeypatch.setattr(packed_linear, "_blocks", lambda weight: None)
    module = make("bert")
    batch = batch_of(lengths)
    exact = rows_of(PackedEncoder(module, torch.device("cpu"), torch.float32)(batch))
    fast = rows_of(PackedEncoder(module, torch.device("cpu"), torch.bfloat16)(batch))
    for one, other in zip(exact, fast, strict=True):
        assert torch.cosine_similarity(one, other, dim=-1).min() > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_text_does_not_depend_on_its_company(batch_of, dtype):
    engine = PackedEncoder(make("bert"), torch.device("cpu"), dtype)
    lengths = [7, 1, 12, 7, 30]
    batch = batch_of(lengths)
    together = rows_of(engine(batch))
    for row in range(len(lengths)):
        alone = rows_of(engine(batch.rows(row, row + 1)))[0]
        torch.testing.assert_close(
            alone, together[row], rtol=1e-2, atol=1e-2 if dtype == torch.bfloat16 else 1e-5
        )


def test_padding_side_and_width_change_nothing(batch_of):
    engine = PackedEncoder(make("bert"), torch.device("cpu"), torch.float32)
    lengths = [4, 9, 1]
    usual = rows_of(engine(batch_of(lengths)))
    for other in (batch_of(lengths, "left"), batch_of(lengths, "right", 20), batch_of(lengths, "left", 13)):
        for one, two in zip(usual, rows_of(engine(other)), strict=True):
            assert torch.equal(one, two)


def test_scores_above_the_range_of_exp_are_handled(batch_of):
    module = make("bert")
    with torch.no_grad():
        for layer in module.encoder.layer:
            layer.attention.self.query.weight.mul_(30)
    batch = batch_of([20, 6])
    engine = PackedEncoder(module, torch.device("cpu"), torch.bfloat16)
    assert all(torch.isfinite(states).all() for states in rows_of(engine(batch)))


@pytest.mark.parametrize("each", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("lengths", [[3], [7, 1, 12, 7, 30, 2], [33] * 7 + [32, 31, 1]])
def test_keys_and_values_before_the_texts_are_those_of_training(batch_of, each, dtype, lengths):
    """The layers of transformers, driven one by one, and the packed engine; all texts together and alone."""
    module, batch = make("bert"), batch_of(lengths)
    hooks = Before(len(lengths) if each else 1, length=37)
    with torch.no_grad():
        trained = Encoder(module).states(batch, hooks).values
    engine = PackedEncoder(module, torch.device("cpu"), dtype)
    together = rows_of(engine(batch, hooks))
    for row, states in enumerate(together):
        expected = trained[row][batch.mask[row]]
        alone = rows_of(engine(batch.rows(row, row + 1), hooks.of_text(row)))[0]
        if dtype == torch.float32:
            torch.testing.assert_close(states, expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(alone, states, rtol=1e-5, atol=1e-5)
        else:
            mean = torch.cosine_similarity(states.mean(dim=0), expected.mean(dim=0), dim=0)
            assert mean > 0.9999
            assert torch.cosine_similarity(alone, states, dim=-1).min() > 0.999
    assert (together[0] - rows_of(engine(batch))[0]).abs().max() > 0.1


def test_one_prefix_for_all_is_the_same_prefix_for_each(batch_of):
    engine = PackedEncoder(make("bert"), torch.device("cpu"), torch.bfloat16)
    batch, one, each = batch_of([33] * 7 + [32, 31, 1]), Before(1), Before(10)
    each.pairs = one.pairs.expand(-1, -1, 10, -1, -1)
    for shared, own in zip(rows_of(engine(batch, one)), rows_of(engine(batch, each)), strict=True):
        torch.testing.assert_close(shared, own, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("heads", [4, 8])  # of 12 numbers, and of 6
def test_without_a_prefix_attention_keeps_its_bits(heads):
    """Version 5: two products around the powers, of each text and head, in squares of a multiple of 16."""
    engine = PackedEncoder(make("bert", num_attention_heads=heads), torch.device("cpu"), torch.bfloat16)
    lengths, row = [40, 33, 33, 33, 32, 17, 16, 1, 1], 0
    torch.manual_seed(heads)
    qkv, found = (torch.randn(sum(lengths) + 3, of).bfloat16() for of in (144, 48))
    engine._attention(lengths, lengths)(qkv, found, engine._workspace(), None)
    for length in lengths:
        square, dim = -(-length // 16) * 16, 48 // heads
        parts = torch.zeros(3, heads, square, dim, dtype=torch.bfloat16)
        rows = slice(row, row + length)
        parts[:, :, :length] = qkv[rows].view(length, 3, heads, dim).permute(1, 2, 0, 3)
        scores = torch.bmm(parts[0], parts[1].transpose(1, 2))
        none, scales = np.empty((heads, square, 0), np.int16), np.empty((heads, square), np.float32)
        raise_squares(scores.view(torch.int16).numpy(), none, *[np.array([length])] * 2, scales)
        weighed = torch.bmm(scores, parts[2]).float() * torch.from_numpy(scales).unsqueeze(2)
        rounded = (weighed.view(torch.int32) + 0x8000).bitwise_and_(-0x10000).view(torch.float32).bfloat16()
        expected = rounded[:, :length].transpose(0, 1)
        assert torch.equal(found[rows], expected.reshape(length, 48))
        row = rows.stop
    assert not found[row:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_token_is_read_by_the_expert_of_its_route(batch_of, dtype):
    """The last layer has three experts: any route mixes the answers of the three alone, token by token."""
    module = make("bert")
    beside = Experts.copies(module.encoder.layer[2], 2)
    with torch.no_grad():
        for parameter in (*module.encoder.layer[2].output.parameters(), *beside.parameters()):
            parameter.add_(torch.randn_like(parameter) * 0.2)
    engine = PackedEncoder(module, torch.device("cpu"), dtype, {"2": beside})
    batch = batch_of([33] * 7 + [32, 31, 1])
    asked = []

    class Route(Hooks):
        def __init__(self, experts):
            self.experts = experts

        def feed_forward(self, layer, states, layout, run):
            asked.append((layer, tuple(states.shape), sum(layout.lengths)))
            if layer != 2:
                return None
            if isinstance(self.experts, int):
                return run(states, self.experts)
            return by_tokens(run, states, self.experts, 3)

    alone = torch.stack([engine(batch, Route(number))[0] for number in range(3)])
    assert asked == [(layer, (295, 48), 295) for layer in range(3)] * 3
    assert (alone[0] - alone[1]).abs().max() > 0.1
    for experts in (torch.arange(295) % 3, torch.full((295,), 2), (torch.arange(295) > 200).long()):
        mixed = engine(batch, Route(experts))[0]
        tolerance = 1e-5 if dtype == torch.float32 else 5e-2
        torch.testing.assert_close(mixed, alone[experts, torch.arange(295)], rtol=tolerance, atol=tolerance)


def test_other_architectures_are_left_to_transformers():
    assert not supported(
        DistilBertModel(DistilBertConfig(dim=16, n_heads=2, n_layers=1, hidden_dim=16, vocab_size=20))
    )
    assert not supported(make("bert", hidden_act="relu"))
    assert not supported(make("bert", is_decoder=True))
    assert not supported(torch.nn.Linear(2, 2))
    adapted = make("bert")
    adapted.encoder.layer[0].attention.self.query = torch.nn.Sequential(torch.nn.Linear(48, 48))
    assert not supported(adapted)


def test_a_subclass_may_differ_and_is_left_alone():
    class Own(BertModel):
        pass

    assert not supported(Own(BertConfig(**SIZES), add_pooling_layer=False))


def test_variable_length_attention_over_the_whole_batch_is_the_same(batch_of, monkeypatch):
    """On a GPU all texts attend at once; here a plain stand-in is called the way torch's function is."""

    def stand_in(query, key, value, bounds, key_bounds, longest, longest_keys, *, scale):
        assert query.shape[-1] % 8 == 0  # torch's own function refuses others
        assert key.shape == value.shape
        assert bounds.dtype == key_bounds.dtype == torch.int32
        assert longest == int(bounds.diff().max())
        assert longest_keys == int(key_bounds.diff().max())
        found = torch.empty_like(query)
        for text in range(len(bounds) - 1):
            rows, more = (slice(*of[text : text + 2].tolist()) for of in (bounds, key_bounds))
            parts = (of.transpose(0, 1) for of in (query[rows], key[more], value[more]))
            found[rows] = torch.nn.functional.scaled_dot_product_attention(*parts, scale=scale).transpose(
                0, 1
            )
        return found

    engine = PackedEncoder(make("bert"), torch.device("cpu"), torch.float32)
    batch = batch_of([7, 1, 12, 7, 30])
    every = None, Before(1), Before(5)
    expected = [rows_of(engine(batch, hooks)) for hooks in every]
    monkeypatch.setattr(engine, "_varlen", stand_in)
    for hooks, states in zip(every, expected, strict=True):
        for one, other in zip(states, rows_of(engine(batch, hooks)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("hooks", [None, Before(1), Before(5)], ids=["plain", "shared", "each"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_gives_the_states_of_the_cpu(batch_of, dtype, hooks):
    batch = batch_of([7, 1, 12, 7, 30])
    exact = rows_of(PackedEncoder(make("bert"), torch.device("cpu"), torch.float32)(batch, hooks))
    found = rows_of(PackedEncoder(make("bert"), torch.device("cuda"), dtype)(batch, hooks))
    for one, other in zip(exact, found, strict=True):
        assert torch.cosine_similarity(one, other.cpu(), dim=-1).min() > 0.999
