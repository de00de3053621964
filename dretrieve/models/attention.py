"""Attention and dropout while training on a CPU, where torch draws its dropped numbers one by one.

Equal to ``scaled_dot_product_attention`` (there it has no fused way with dropout and a slow one in bfloat16)
but for which weights are dropped. A few texts at a time, so that what is computed of them in float32 stays in
the cache; the backward pass goes from the saved weights to the gradients without the copies of the general
way. The dropout of states draws in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dretrieve.kernels.dropped import fill_drawn

NAME = "dretrieve"
WEIGHTS = 1 << 17  # so many at a time, half a MiB
# And where several threads share them, who wait for each other after each operation: fewer and larger ones.
WEIGHTS_SHARED = 1 << 20


def use(backbone: Any) -> None:
    """Let a transformers encoder laid out as BERT attend and drop its states by this module."""
    backbone.set_attn_implementation(NAME)
    for module in backbone.modules():
        if type(module) is nn.Dropout:
            module.__class__ = Dropout  # it has nothing but its rate


def drop(states: Tensor, rate: float) -> Tensor:
    """Return ``torch.nn.functional.dropout``."""
    # An expert without tokens is run in some passes alone: it must draw no key.
    if states.device.type != "cpu" or not 0 < rate < 1 or not states.numel():
        return functional.dropout(states, rate)
    kept = torch.empty(states.shape, dtype=torch.bool)
    _Drawn(rate).fill(kept, 0, False, True)
    return (states * kept).mul_(1 / (1 - rate))


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
        if dropout:
            return _dropped(query, key, value, attention_mask, dropout, scaling).transpose(1, 2), None
        # one copy each, into the type and the order in memory that are read
        one_copy: Any = {"dtype": torch.float32, "memory_format": torch.contiguous_format}
        wide = query.to(**one_copy), key.to(**one_copy), value.to(**one_copy)
        attended = functional.scaled_dot_product_attention(*wide, attn_mask=attention_mask, scale=scaling)
        return attended.transpose(1, 2).to(query.dtype, memory_format=torch.contiguous_format), None


def _dropped(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rate: float, scaling: float | None
) -> Tensor:
    """Return [B, heads, T, D], as torch's function does."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    apply: Callable[..., Tensor] = _Dropped.apply
    return apply(query, key, value, mask, rate, scaling)


class _Dropped(torch.autograd.Function):
    """Attention whose weights are dropped at a rate, the others made larger by as much.

    Queries are [B, heads, T, D], keys and values [B, heads, S, D], of any type and order in memory: a block
    of them at a time becomes rows of float32, R = texts x heads.
    """

    @staticmethod
    def forward(
        context: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None,
        rate: float,
        scaling: float,
    ) -> Tensor:
        """Return [B, heads, T, D], in memory [B, T, heads, D].

        The mask, [B, 1, 1 or T, S], is True where a token is read.
        """
        texts, heads, tokens, _ = query.shape
        wide = torch.promote_types(query.dtype, torch.float32)
        signed = query.new_empty((texts, heads, tokens, key.shape[-2]), dtype=wide)
        found, drawn = _new(query), _Drawn(rate)
        for some in _blocks(signed):
            weights = torch.bmm(_rows(query, some, wide) * scaling, _rows(key, some, wide).transpose(1, 2))
            block = signed[some]
            if mask is not None and not bool((read := mask[some[0]]).all()):
                weights.view(block.shape).masked_fill_(~read, -torch.inf)
            torch.softmax(weights, dim=-1, out=block.flatten(0, 1))
            # no weight is below 0, so that the sign is free to say which are dropped
            signs = torch.empty_like(weights)
            drawn.fill(signs, int(block.storage_offset()), -1, 1)
            kept = torch.relu(block.flatten(0, 1).copysign_(signs))
            rows = torch.bmm(kept, _rows(value, some, wide)).mul_(1 / (1 - rate))
            found[some] = rows.view(*block.shape[:-1], -1)
        context.save_for_backward(query, key, value, signed)
        context.rate, context.scaling = rate, scaling
        return found

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries, keys and values, in memory as the result is."""
        *given, signed = context.saved_tensors
        of_given = [_new(of) for of in given]
        for some in _blocks(signed):
            query, key, value, above = (_rows(of, some, signed.dtype) for of in (*given, gradients[0]))
            above *= 1 / (1 - context.rate)
            weights = signed[some].flatten(0, 1)
            kept = torch.relu(weights)
            change = torch.bmm(above, value.transpose(1, 2)).mul_(kept)
            # less the mean of each row, weighted by its weights: what the softmax takes away
            change.addcmul_(weights.abs(), change.sum(dim=-1, keepdim=True), value=-1).mul_(context.scaling)
            rows = (
                torch.bmm(change, key),
                torch.bmm(change.transpose(1, 2), query),
                torch.bmm(kept.transpose(1, 2), above),
            )
            for of, into in zip(rows, of_given, strict=True):
                block = into[some]
                block.copy_(of.view(block.shape))
        return *of_given, None, None, None


def _new(like: Tensor) -> Tensor:
    """Return [B, heads, T, D] without values, in memory [B, T, heads, D]."""
    texts, heads, tokens, dim = like.shape
    return like.new_empty((texts, tokens, heads, dim)).transpose(1, 2)


def _rows(of: Tensor, some: tuple[slice, slice], wide: torch.dtype) -> Tensor:
    """Return a copy of some texts' heads, [R, T, D]."""
    return of[some].to(wide, memory_format=torch.contiguous_format, copy=True).flatten(0, 1)


def _blocks(weights: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield texts and heads, whole texts where that is a block's worth: `WEIGHTS` numbers, or one head's."""
    most = WEIGHTS if torch.get_num_threads() == 1 else WEIGHTS_SHARED
    texts, heads = weights.shape[:2]
    rows = max(1, most // weights[0, 0].numel())
    for text in range(0, texts, max(1, rows // heads)):
        for head in range(0, heads, min(rows, heads)):
            yield slice(text, text + max(1, rows // heads)), slice(head, head + min(rows, heads))


class _Drawn:
    """Which numbers of a tensor are dropped: by their places in it, with a key of torch's generator."""

    def __init__(self, rate: float) -> None:
        first, key = torch.randint(2**32, (2,)).tolist()
        self._first, self._key, self._limit = first, np.uint32(key), np.uint32(rate * 2**32)

    def fill(self, numbers: Tensor, place: int, dropped: float, kept: float) -> None:
        """Fill a part of the tensor that begins at that place with either value."""
        first = np.uint32((self._first + place) % 2**32)
        flat = numbers.flatten().numpy()
        fill_drawn(flat, first, self._key, self._limit, flat.dtype.type(dropped), flat.dtype.type(kept))


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
