"""Inference of BERT-type encoders without padding: the tokens of a batch stand one after the other.

Linear layers, norms and activations see only real tokens. Attention runs over groups of texts of equal
length, so that it needs no mask either; on a GPU over the whole batch at once where torch has
variable-length attention. On a CPU in bfloat16 the attention of a group is two batched products around
`kernels.softmax`, which costs a third of torch's fused form. Everything is written into buffers that a
thread keeps: fresh memory for every layer costs as much as the arithmetic in it. Where a layer has experts
(`models.experts`), a route says which of them reads a token, and each reads its own tokens only.

The result equals that of the transformers module whose weights are taken (a test says how closely);
`supported` says which modules those are.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.kernels.softmax import softmax_squares
from dretrieve.models.base import TokenBatch
from dretrieve.models.packed_linear import PackedLinear, Workspace
from dretrieve.models.packing import pack

# Raised when a change here, in the kernels or in the cutting into batches gives the same texts other bits.
# 3: norms by torch.
ENGINE_VERSION = 3
# How the position of the first token is numbered, by transformers' model type.
FAMILIES = {"bert": 0, "roberta": 1, "xlm-roberta": 1}
# Scores of one block of attention: half a mebibyte, so that they stay in the processor's own cache.
BLOCK_SCORES = 1 << 18
# oneDNN compiles code for every new shape (half a millisecond) and keeps it (a megabyte): on a CPU the
# number of rows and the width of attention come in steps, and texts go through attention by powers of two.
ROWS_STEP, WIDTH_STEP = 64, 16


def supported(module: nn.Module) -> bool:
    """Return whether the module is an encoder whose forward is exactly the one here."""
    config: Any = getattr(module, "config", None)
    if (
        getattr(config, "model_type", None) not in FAMILIES
        or module.__class__.__module__.split(".")[0] != "transformers"
    ):
        return False
    plain = (
        getattr(config, "position_embedding_type", "absolute") in (None, "absolute")
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and not getattr(config, "add_cross_attention", False)
        and hasattr(module, "embeddings")
        and hasattr(module, "encoder")
    )
    if not plain:
        return False
    linear = [
        part
        for name, part in module.named_modules()
        if name.rpartition(".")[2] in ("query", "key", "value", "dense")
    ]
    return all(type(part) is nn.Linear for part in linear)


class Route(Protocol):
    """Says which expert reads a token."""

    def __call__(self, layer: int, states: Tensor, lengths: Sequence[int]) -> int | Tensor:
        """Return the expert of all tokens, or that of each [N].

        Args:
            layer: number of a layer with experts.
            states: [N, D], the input of its feed-forward part.
            lengths: tokens per text, in order.
        """
        ...


class Norm:
    """A layer norm over the rows of [N, D]; ``part`` is transformers' own."""

    def __init__(self, part: Any, device: torch.device, dtype: torch.dtype) -> None:
        self._eps = float(part.eps)
        kept = torch.float32 if device.type == "cpu" else dtype  # torch's CPU kernel takes both together
        self._weight, self._bias = (
            tensor.detach().to(device, kept, copy=True).contiguous() for tensor in (part.weight, part.bias)
        )

    def __call__(self, states: Tensor) -> Tensor:
        """Return the norm of each row."""
        return functional.layer_norm(states, states.shape[1:], self._weight, self._bias, self._eps)


@dataclass(frozen=True, slots=True)
class FeedForward:
    """A feed-forward part and its norm."""

    up: PackedLinear
    down: PackedLinear
    norm: Norm


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer; more than one feed-forward part where it has experts."""

    qkv: PackedLinear
    out: PackedLinear
    out_norm: Norm
    experts: tuple[FeedForward, ...]


class PackedEncoder:
    """A BERT, RoBERTa or XLM-RoBERTa encoder of transformers, its weights copied once.

    Args:
        module: one that is `supported`, weights in float32 for best results.
        device: where to compute.
        dtype: float32, bfloat16 or (GPU only) float16.
    """

    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        source: Any = module
        config = source.config
        self.device, self.dtype = device, dtype
        self.num_heads = int(config.num_attention_heads)
        self._threads = threading.local()
        # The CPU's bfloat16 attention wants its scale inside the query weights; there it costs nothing.
        self._own_softmax = device.type == "cpu" and dtype == torch.bfloat16
        half = dtype in (torch.bfloat16, torch.float16)
        self._varlen: Any = _find_varlen_attn() if device.type == "cuda" and half else None
        self._head_dim = int(config.hidden_size) // self.num_heads
        scale = self._head_dim**-0.5 if self._own_softmax else 1.0
        with torch.no_grad():
            parts = source.embeddings
            self._words = self._taken(parts.word_embeddings.weight)
            kind = parts.token_type_embeddings.weight[0]
            first = FAMILIES[config.model_type] and int(parts.padding_idx) + 1
            self._positions = self._taken(parts.position_embeddings.weight[first:] + kind)
            self._norm = Norm(parts.LayerNorm, device, dtype)
            self._layers = [self._layer(layer, scale) for layer in source.encoder.layer]

    def _taken(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self.device, self.dtype, copy=True).contiguous()

    def _pair(self, part: Any, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        return self._taken((part.weight * scale).t()), self._taken(part.bias * scale)

    def _layer(self, layer: Any, scale: float) -> Layer:
        own = layer.attention.self
        query, key, value = self._pair(own.query, scale), self._pair(own.key), self._pair(own.value)
        return Layer(
            qkv=PackedLinear(
                torch.cat([query[0], key[0], value[0]], dim=1), torch.cat([query[1], key[1], value[1]])
            ),
            out=PackedLinear(*self._pair(layer.attention.output.dense)),
            out_norm=Norm(layer.attention.output.LayerNorm, self.device, self.dtype),
            experts=tuple(
                FeedForward(
                    PackedLinear(*self._pair(part.intermediate.dense)),
                    PackedLinear(*self._pair(part.output.dense)),
                    Norm(part.output.LayerNorm, self.device, self.dtype),
                )
                for part in getattr(layer, "experts", [layer])
            ),
        )

    @property
    def max_positions(self) -> int:
        """The longest text that has positions."""
        return len(self._positions)

    def __call__(self, batch: TokenBatch, route: Route | None = None) -> tuple[Tensor, list[int], Tensor]:
        """Return the last layer's states.

        Args:
            batch: the texts.
            route: asked at each layer with experts, in order; needed only where there are any.

        Returns:
            states [N, D] of the real tokens, texts of equal length beside each other; the texts' lengths in
            that order; for each text of the batch its place in that order [B].
        """
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self._encode(batch, route)

    def _encode(self, batch: TokenBatch, route: Route | None) -> tuple[Tensor, list[int], Tensor]:
        ids, positions, lengths, places = pack(batch)
        rows = len(ids)
        if self.device.type == "cpu":  # more rows, of no text
            ids, positions = (functional.pad(part, [0, -rows % ROWS_STEP]) for part in (ids, positions))
        states = functional.embedding(self._sent(ids), self._words)
        states.add_(functional.embedding(self._sent(positions), self._positions))
        states = self._norm(states)
        attend = self._attention(lengths)
        buffers = self._workspace()
        for number, layer in enumerate(self._layers):
            states = self._attended(layer, states, attend, buffers)
            if len(layer.experts) == 1:
                states = self._feed_forward(layer.experts[0], states, buffers)
                continue
            assert route is not None, "a layer has experts"
            experts = route(number, states[:rows], lengths)
            if isinstance(experts, int):
                states = self._feed_forward(layer.experts[experts], states, buffers)
            else:
                states = self._grouped(layer, states, experts, buffers)
        return states[:rows], lengths, places

    def _sent(self, indices: Tensor) -> Tensor:
        """Return the indices on the device; the copy does not hold up the thread that feeds it."""
        if self.device.type == "cuda":
            indices = indices.pin_memory()
        return indices.to(self.device, non_blocking=True)

    def _workspace(self) -> Workspace:
        if not hasattr(self._threads, "buffers"):
            self._threads.buffers = Workspace()
        return self._threads.buffers  # type: ignore[no-any-return]  # a thread-local has no declared type

    def _attended(self, layer: Layer, states: Tensor, attend: Any, buffers: Workspace) -> Tensor:
        rows, width = states.shape
        qkv = layer.qkv(states, buffers, "qkv")
        context = attend(qkv, buffers.take("context", states, rows, width), buffers)
        return layer.out_norm(layer.out(context, buffers, "attended", plus=states))

    def _feed_forward(self, part: FeedForward, states: Tensor, buffers: Workspace) -> Tensor:
        inner = part.up(states, buffers, "inner", gelu=True)
        return part.norm(part.down(inner, buffers, "fed", plus=states))

    def _grouped(self, layer: Layer, states: Tensor, experts: Tensor, buffers: Workspace) -> Tensor:
        """Return the states after each token's own expert; experts [N], states [N or more rows, D]."""
        order = experts.argsort(stable=True)
        numbers = torch.arange(len(layer.experts), device=self.device)
        counts = (experts == numbers.unsqueeze(1)).sum(dim=1).tolist()
        found = torch.empty_like(states)
        found[len(experts) :] = 0
        for part, chosen in zip(layer.experts, order.split(counts), strict=True):
            if len(chosen):
                step = len(chosen) % ROWS_STEP if self.device.type == "cpu" else 0
                rows = len(chosen) + (ROWS_STEP - step if step else 0)
                mine = buffers.take("mine", states, rows, states.shape[1])
                mine[len(chosen) :] = 0
                torch.index_select(states, 0, chosen, out=mine[: len(chosen)])
                found.index_copy_(0, chosen, self._feed_forward(part, mine, buffers)[: len(chosen)])
        return found

    def _attention(self, lengths: list[int]) -> Any:
        """Return the function (qkv, context, buffers) -> context for texts of these lengths."""
        if self._varlen is not None:
            bounds = self._sent(torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32))
            longest = max(lengths)
            dim = self._head_dim

            def at_once(qkv: Tensor, context: Tensor, buffers: Workspace) -> Tensor:
                # The kernel takes heads of a multiple of 8 numbers; zeros behind them change no product.
                parts = functional.pad(qkv.view(len(qkv), 3, self.num_heads, dim), (0, -dim % 8))
                query, key, value = parts.unbind(1)
                found: Tensor = self._varlen(
                    query, key, value, bounds, bounds, longest, longest, scale=dim**-0.5
                )
                return found[..., :dim].reshape(context.shape)

            return at_once
        groups = [(length, len(list(same))) for length, same in groupby(lengths)]

        def by_groups(qkv: Tensor, context: Tensor, buffers: Workspace) -> Tensor:
            start = 0
            for length, texts in groups:
                stop = start + length * texts
                if self._own_softmax:
                    self._attend_blocks(qkv[start:stop], context[start:stop], length, buffers)
                else:
                    self._attend_group(qkv[start:stop], context[start:stop], length)
                start = stop
            context[start:] = 0
            return context

        return by_groups

    def _attend_group(self, qkv: Tensor, context: Tensor, length: int) -> None:
        """Attention inside texts of one length, by torch. qkv [n·L, 3·D], context [n·L, D] is filled."""
        split = qkv.view(-1, length, 3, self.num_heads, context.shape[1] // self.num_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(query, key, value)
        context.view(-1, length, self.num_heads, found.shape[-1]).copy_(found.transpose(1, 2))

    def _attend_blocks(self, qkv: Tensor, context: Tensor, length: int, buffers: Workspace) -> None:
        """The same in bfloat16 on the CPU, a few texts at a time; the scale is in the query weights."""
        heads, width = self.num_heads, context.shape[1]
        texts, dim = len(context) // length, width // heads
        square = -(-length // WIDTH_STEP) * WIDTH_STEP
        most = max(1, BLOCK_SCORES // (heads * square * square))
        first = 0
        while first < texts:
            some = 1 << (min(most, texts - first).bit_length() - 1)
            rows = slice(first * length, (first + some) * length)
            parts = buffers.take("parts", qkv, 3, some, heads, square, dim)
            parts[:, :, :, length:] = 0
            parts[:, :, :, :length] = qkv[rows].view(some, length, 3, heads, dim).permute(2, 0, 3, 1, 4)
            query, key, value = parts.view(3, some * heads, square, dim)
            scores = buffers.take("scores", qkv, some * heads, square, square)
            torch.bmm(query, key.transpose(1, 2), out=scores)
            softmax_squares(scores.view(torch.int16).numpy(), length)
            found = torch.bmm(scores, value, out=query).view(some, heads, square, dim)[:, :, :length]
            context[rows].view(some, length, heads, dim).copy_(found.transpose(1, 2))
            first += some


def _find_varlen_attn() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn
