"""Grouped experts are the dense sum over all experts, values and gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

from dretrieve.models.encoder import Encoder
from dretrieve.models.experts import PADDING, Experts, by_rows, by_tokens, permuted

SIZES = {
    "vocab_size": 30,
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "hidden_dropout_prob": 0.0,
}


def run_of(experts):
    return lambda states, number: experts[number](states)


def different_experts(count):
    torch.manual_seed(count)
    module = BertModel(BertConfig(**SIZES), add_pooling_layer=False).double()
    experts = Experts.copies(module.encoder.layer[0], count)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return experts


def case(count, *, padding=True):
    """Return states [3, 5, 8], experts [3, 5] and entries [3, 5, I] as a gate gives them."""
    torch.manual_seed(7)
    states = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(3, 5, count, dtype=torch.float64, requires_grad=True)
    soft = logits.softmax(-1)
    chosen = logits.argmax(-1)
    entries = functional.one_hot(chosen, count) + (soft - soft.detach())
    if padding:
        mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]], dtype=torch.bool)
        chosen = chosen.masked_fill(~mask, PADDING)
    return states, logits, chosen, entries


def gradients(value, states, logits, experts):
    """Gradients of a sum with unequal weights, so that no term cancels."""
    weights = torch.arange(1.0, value.numel() + 1, dtype=value.dtype).view_as(value).sin()
    for tensor in (states, logits, *experts.parameters()):
        tensor.grad = None
    (value * weights).sum().backward()
    return [states.grad, logits.grad, *(parameter.grad for parameter in experts.parameters())]


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("padding", [True, False])
def test_rest_gives_equation_3_in_full(count, padding):
    """By hand: sum_i entry_i FFN_i(u) over all experts, with the gradient that autograd finds."""
    experts = different_experts(count)
    states, logits, chosen, entries = case(count, padding=padding)
    dense = sum(entries[..., i, None] * expert(states) for i, expert in enumerate(experts))
    dense = dense * (chosen != PADDING).unsqueeze(-1)
    expected = gradients(dense, states, logits, experts)
    states, logits, chosen, entries = case(count, padding=padding)
    found = by_tokens(run_of(experts), states, chosen, len(experts), entries, rest=True)
    torch.testing.assert_close(found, dense)
    for one, other in zip(gradients(found, states, logits, experts), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_without_the_rest_only_the_chosen_entry_learns_from_the_task():
    experts = different_experts(3)
    states, logits, chosen, entries = case(3)
    kept = functional.one_hot(chosen.clamp(min=0), 3) * entries
    dense = sum(kept[..., i, None] * expert(states) for i, expert in enumerate(experts))
    dense = dense * (chosen != PADDING).unsqueeze(-1)
    expected = gradients(dense, states, logits, experts)
    assert expected[1].abs().sum() > 0.1
    states, logits, chosen, entries = case(3)
    found = by_tokens(run_of(experts), states, chosen, len(experts), entries, rest=False)
    torch.testing.assert_close(found, dense)
    for one, other in zip(gradients(found, states, logits, experts), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_entries_of_one_and_none_at_all_give_the_same_bits():
    experts = different_experts(3).float()
    states, _, chosen, entries = case(3)
    with_entries = by_tokens(
        run_of(experts), states.float(), chosen, len(experts), entries.float(), rest=True
    )
    assert torch.equal(
        with_entries, by_tokens(run_of(experts), states.float(), chosen, len(experts), None, rest=False)
    )


def test_each_token_goes_through_its_own_expert_only():
    experts = different_experts(3)
    seen = [0, 0, 0]

    def count(number):
        return lambda module, inputs: seen.__setitem__(number, seen[number] + len(inputs[0]))

    for number, expert in enumerate(experts):
        expert.register_forward_pre_hook(count(number))
    states, _, chosen, _ = case(3)
    by_tokens(run_of(experts), states, chosen, len(experts), None, rest=False)
    assert seen == [int((chosen == number).sum()) for number in range(3)]
    assert sum(seen) == int((chosen != PADDING).sum()) < chosen.numel()


def test_an_expert_that_nobody_chose_has_a_gradient_of_zero():
    """So Adam treats it alike whether one process or several share the batch."""
    experts = different_experts(2)
    states = torch.randn(2, 3, 8, dtype=torch.float64)
    by_tokens(run_of(experts), states, torch.zeros(2, 3, dtype=torch.int64), 2).sum().backward()
    assert all(not parameter.grad.any() for parameter in experts[1].parameters())
    assert experts[0].intermediate.dense.weight.grad.any()


def test_by_rows_is_two_slices():
    experts = different_experts(2)
    states = torch.randn(5, 3, 8, dtype=torch.float64)
    found = by_rows(run_of(experts), states, (2, 3))
    torch.testing.assert_close(found[:2], experts[0](states[:2]))
    torch.testing.assert_close(found[2:], experts[1](states[2:]))
    torch.testing.assert_close(by_rows(run_of(experts), states, (0, 5)), experts[1](states))


def test_permuted_gives_the_gradient_back_to_where_the_rows_came_from():
    rows = torch.randn(4, 2, dtype=torch.float64, requires_grad=True)
    order = torch.tensor([3, 0, 2, 1])
    assert torch.equal(permuted(rows, order, order.argsort()), rows[order])
    assert torch.autograd.gradcheck(lambda of: permuted(of, order, order.argsort()), rows)


@pytest.mark.parametrize("kind", [(BertModel, BertConfig), (RobertaModel, RobertaConfig)])
def test_experts_are_copies_that_part(kind):
    model, config = kind
    module = model(config(**SIZES), add_pooling_layer=False)
    before = module.encoder.layer[2].intermediate.dense.weight.detach().clone()
    encoder = Encoder(module)
    encoder.add_experts((2,), 2)
    first, (second,) = module.encoder.layer[2], encoder.experts["2"]
    assert torch.equal(second.intermediate.dense.weight, before)
    assert torch.equal(first.output.LayerNorm.weight, second.output.LayerNorm.weight)
    own = (*first.intermediate.parameters(), *first.output.parameters())
    assert len({id(of) for of in (*own, *second.parameters())}) == 12
    assert list(encoder.experts) == ["2"]
