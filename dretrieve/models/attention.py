"""Attention and dropout while training on a CPU, where torch draws its dropped numbers one by one.

Equal to ``scaled_dot_product_attention`` (there it has no fused way with dropout and a slow one in bfloat16)
but for which weights are dropped. A few texts at a time, so that what is computed of them in float32 stays in
the cache; the backward pass goes from the saved weights to the gradients without the copies of the general
way. The dropout of states draws in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from dretrieve.kernels.dropped import drop_shares, fill_drawn, pull_shares

NAME = "dretrieve"
WEIGHTS = 1 << 18  # so many at a time, a MiB
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
    return (states * _Drawn(rate).kept(states.shape)).mul_(1 / (1 - rate))


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

    Queries are [B, heads, T, D], keys and values [B, heads, S, D], of any type and order in memory; products
    are taken in float32, a block of R = texts x heads at a time.
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
        wide = torch.promote_types(query.dtype, torch.float32)
        queries, keys, values = (_laid(of, wide) for of in (query, key, value))
        signed = queries.new_empty((*query.shape[:-1], key.shape[-2]))
        found, drawn = torch.empty_like(queries), _Drawn(rate)
        for some in _blocks(signed):
            block, shares = signed[some], _rows(signed, some)
            products = _rows(queries, some), _rows(keys, some).transpose(1, 2)
            torch.baddbmm(shares, *products, beta=0, alpha=scaling, out=shares)
            if mask is not None and not bool((read := mask[some[0]]).all()):
                block.masked_fill_(~read, -torch.inf)
            torch.softmax(shares, dim=-1, out=shares)
            kept = torch.empty_like(shares)
            # no share is below 0, so that the sign is free to say which are dropped
            drawn.share(shares, kept, int(block.storage_offset()))
            torch.bmm(kept, _rows(values, some), out=_rows(found, some))
        context.save_for_backward(query, key, value, signed)
        context.rate, context.scaling = rate, scaling
        return _given(found, query.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries, keys and values, in memory as the result is."""
        *given, signed = context.saved_tensors
        query, key, value, above = (_laid(of, signed.dtype) for of in (*given, gradients[0]))
        of_query, of_key, of_value = (torch.empty_like(of) for of in (query, key, value))
        for some in _blocks(signed):
            before = _rows(above, some)
            change = torch.bmm(before, _rows(value, some).transpose(1, 2))
            kept = torch.empty_like(change)
            arrays = _table(change), _table(_rows(signed, some)), _table(kept)
            of = arrays[0].dtype.type
            _over_rows(pull_shares, *arrays, of(1 / (1 - context.rate)), of(context.scaling))
            torch.bmm(change, _rows(key, some), out=_rows(of_query, some))
            torch.bmm(change.transpose(1, 2), _rows(query, some), out=_rows(of_key, some))
            torch.bmm(kept.transpose(1, 2), before, out=_rows(of_value, some))
        return *(_given(of, given[0].dtype) for of in (of_query, of_key, of_value)), None, None, None


def _laid(of: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the same numbers of that type, in memory in the order of their dimensions."""
    # the second copies where the first had nothing to do
    return of.to(dtype, memory_format=torch.contiguous_format).contiguous()


def _given(found: Tensor, dtype: torch.dtype) -> Tensor:
    """Return [B, heads, T, D] of that type, in memory [B, T, heads, D]."""
    return _laid(found.transpose(1, 2), dtype).transpose(1, 2)


def _rows(of: Tensor, some: tuple[slice, slice]) -> Tensor:
    """Return some texts' heads as they lie, [R, T, D]."""
    return of[some].view(-1, *of.shape[2:])


def _table(of: Tensor) -> NDArray[Any]:
    return of.view(-1, of.shape[-1]).numpy()


def _over_rows(kernel: Callable[..., None], table: NDArray[Any], *more: Any) -> None:
    """Run a kernel over the rows of a table, in as many parts as torch has threads."""
    threads = torch.get_num_threads()
    if threads == 1:
        kernel(0, len(table), table, *more)
        return
    bounds = [len(table) * part // threads for part in range(threads + 1)]
    parts = [_pool(threads).submit(kernel, *pair, table, *more) for pair in pairwise(bounds)]
    for part in parts:
        part.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "attention")


os.register_at_fork(after_in_child=_pool.cache_clear)  # no thread survives a fork


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
        self._first, key = torch.randint(2**32, (2,)).tolist()
        self._rate, self._key, self._limit = rate, np.uint32(key), np.uint32(rate * 2**32)

    def kept(self, shape: torch.Size) -> Tensor:
        """Return the tensor's numbers as a mask, False where one is dropped."""
        found = torch.empty(shape, dtype=torch.bool)
        fill_drawn(found.flatten().numpy(), self._at(0), self._key, self._limit, np.False_, np.True_)
        return found

    def share(self, shares: Tensor, kept: Tensor, place: int) -> None:
        """Turn the sign of the shares that are dropped; write those that are kept, made larger for these."""
        arrays = _table(shares), _table(kept)
        more = arrays[0].dtype.type(1 / (1 - self._rate))
        _over_rows(drop_shares, *arrays, self._at(place), self._key, self._limit, more)

    def _at(self, place: int) -> np.uint32:
        return np.uint32((self._first + place) % 2**32)


ALL_ATTENTION_FUNCTIONS.register(NAME, _attend)
ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
