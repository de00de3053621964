"""The engine without padding is the transformers module: same states, in any batch, for every family."""

from __future__ import annotations

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

from dretrieve.models import packed_linear
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
    "bert": lambda **more: BertModel(BertConfig(**SIZES, **more), add_pooling_layer=False),
    "roberta": lambda **more: RobertaModel(RobertaConfig(**SIZES, **more), add_pooling_layer=False),
    "xlm-roberta": lambda **more: XLMRobertaModel(XLMRobertaConfig(**SIZES, **more), add_pooling_layer=False),
}


def make(family, **more):
    torch.manual_seed(3)
    module = FAMILIES[family](**more).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module


def rows_of(found):
    """Split the engine's answer into the states of each text, in the batch's order."""
    states, layout, _ = found
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

    def stand_in(query, key, value, bounds, bounds_again, longest, longest_again, *, scale):
        assert bounds is bounds_again
        assert query.shape[-1] % 8 == 0  # torch's own function refuses others
        assert bounds.dtype == torch.int32
        assert longest == longest_again == int(bounds.diff().max())
        found = torch.empty_like(query)
        for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            parts = (part[start:stop].transpose(0, 1) for part in (query, key, value))
            found[start:stop] = torch.nn.functional.scaled_dot_product_attention(
                *parts, scale=scale
            ).transpose(0, 1)
        return found

    engine = PackedEncoder(make("bert"), torch.device("cpu"), torch.float32)
    batch = batch_of([7, 1, 12, 7, 30])
    expected = rows_of(engine(batch))
    monkeypatch.setattr(engine, "_varlen", stand_in)
    for one, other in zip(expected, rows_of(engine(batch)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_gives_the_states_of_the_cpu(batch_of, dtype):
    batch = batch_of([7, 1, 12, 7, 30])
    exact = rows_of(PackedEncoder(make("bert"), torch.device("cpu"), torch.float32)(batch))
    found = rows_of(PackedEncoder(make("bert"), torch.device("cuda"), dtype)(batch))
    for one, other in zip(exact, found, strict=True):
        assert torch.cosine_similarity(one, other.cpu(), dim=-1).min() > 0.999
