"""Attention and dropout while training on a CPU, where torch draws its dropped numbers one by one.

Equal to ``scaled_dot_product_attention`` (there it has no fused way with dropout and a slow one in bfloat16)
but for which weights are dropped. A few texts at a time, so that their weights stay in the cache, in float32;
the backward pass goes from the saved weights to the gradients without the copies of the general way. A step
of MiniLM takes a quarter less time. The dropout of states draws in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

NAME = "dretrieve"
WEIGHTS = 1 << 18  # so many at a time, 1 MiB
# And where several threads share them, who wait for each other after each operation: fewer and larger ones.
WEIGHTS_SHARED = 1 << 20


def use(backbone: Any) -> None:
    """Let a transformers encoder laid out as BERT attend, and drop its states, by this module."""
    backbone.set_attn_implementation(NAME)
    for module in backbone.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout  # it has nothing but its rate


def drop_rate(asked: float) -> float:
    """Return the nearest rate that is drawn: a multiple of 2^-16."""
    return round(asked * 65536) / 65536


def drop(states: Tensor, rate: float) -> Tensor:
    """Return ``torch.nn.functional.dropout``, on a CPU at the nearest rate that is drawn."""
    drawn = drop_rate(rate)
    if states.device.type != "cpu" or not 0 < drawn < 1:
        return functional.dropout(states, rate)
    return (states * (_drawn(states.shape, drawn) > 0)).mul_(1 / (1 - drawn))


class Dropout(nn.Dropout):
    """torch's, by `drop`."""

    def forward(self, states: Tensor) -> Tensor:
        """Return the states; in training a share of their numbers is dropped."""
        return drop(states, self.p) if self.training else states


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Return [B, T, heads, D / heads], as transformers asks for it."""
    if query.device.type != "cpu":
        found = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **more
        )
        return found[0], None
    if attention_mask is not None and bool(attention_mask.all()):
        attention_mask = None
    with torch.autocast("cpu", enabled=False):
        # one copy each, into the type and the order in memory that are read
        one_copy: Any = {"dtype": torch.float32, "memory_format": torch.contiguous_format}
        wide = query.to(**one_copy), key.to(**one_copy), value.to(**one_copy)
        attended = (
            _dropped(*wide, attention_mask, dropout, scaling)
            if dropout
            else functional.scaled_dot_product_attention(*wide, attn_mask=attention_mask, scale=scaling)
        )
        attended = attended.transpose(1, 2).to(query.dtype, memory_format=torch.contiguous_format)
    return attended, None


def _dropped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rate: float, scaling: float | None
) -> Tensor:
    """Return [B, heads, T, D], as torch's function does."""
    shape, (tokens, beside) = query.shape, (query.shape[-2], key.shape[-2])
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if mask is not None:
        mask = mask.expand(*shape[:2], -1, beside).flatten(0, 1)
    rows = ((query * scaling).flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1))
    apply: Callable[..., Tensor] = _Dropped.apply
    found = apply(*rows, mask, drop_rate(rate))
    return found.view(*shape[:2], tokens, -1)


class _Dropped(torch.autograd.Function):
    """Attention whose weights are dropped at a rate, the others made larger by as much.

    Every tensor has texts and heads as one first dimension, R = B x heads.
    """

    @staticmethod
    def forward(
        context: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rate: float
    ) -> Tensor:
        """Return [R, T, D] of scaled queries [R, T, D], keys and values [R, S, D].

        The mask, [R, 1 or T, S], is True where a token is read.
        """
        signed = query.new_empty((*query.shape[:-1], key.shape[-2]))
        found = torch.empty_like(query)
        for some in _blocks(signed):
            weights = torch.bmm(query[some], key[some].transpose(1, 2))
            if mask is not None and not mask[some].all():
                weights.masked_fill_(~mask[some], -torch.inf)
            torch.softmax(weights, dim=-1, out=signed[some])
            # no weight is below 0, so that the sign is free to say which are dropped
            signed[some].copysign_(_drawn(weights.shape, rate))
            torch.bmm(torch.relu(signed[some]), value[some], out=found[some])
        found.mul_(1 / (1 - rate))
        context.save_for_backward(query, key, value, signed, found)
        context.rate = rate
        return found

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries, keys and values."""
        query, key, value, signed, found = context.saved_tensors
        above = gradients[0] * (1 / (1 - context.rate))
        of_query, of_key, of_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        # of each row of weights the mean gradient, weighted by them: what the softmax takes away
        mean = (gradients[0] * found).sum(dim=-1, keepdim=True)
        for some in _blocks(signed):
            kept = torch.relu(signed[some])
            torch.bmm(kept.transpose(1, 2), above[some], out=of_value[some])
            change = torch.bmm(above[some], value[some].transpose(1, 2)).mul_(kept)
            change.addcmul_(signed[some].abs(), mean[some], value=-1)
            torch.bmm(change, key[some], out=of_query[some])
            torch.bmm(change.transpose(1, 2), query[some], out=of_key[some])
        return of_query, of_key, of_value, None, None


def _blocks(weights: Tensor) -> list[slice]:
    """Return slices of the first dimension with at most `WEIGHTS` numbers each, or one row."""
    most = WEIGHTS if torch.get_num_threads() == 1 else WEIGHTS_SHARED
    number = max(1, most // (weights.shape[1] * weights.shape[2]))
    return [slice(start, start + number) for start in range(0, len(weights), number)]


def _drawn(shape: torch.Size, rate: float) -> Tensor:
    """Return numbers of torch's generator, sixteen bits for each; those below 0 say what is dropped.

    Some rows of a tensor, and then the others, draw what all do at once.
    """
    width = shape[1:].numel()
    words = torch.empty(shape[0], -(-width // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[:, :width].to(torch.float32, memory_format=torch.contiguous_format)
    # by a half more, so that none is 0
    return bits.view(shape).add_(32768.5 - round(rate * 65536))


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
