"""Inference of BERT-type encoders without padding: the tokens of a batch stand one after the other.

Linear layers, norms and activations see only real tokens. Attention runs over groups of texts of equal
length, so that it needs no mask either; on a GPU over the whole batch at once where torch has
variable-length attention. On a CPU in bfloat16 it is two batched products around `kernels.squares`, over
texts of nearly one length, which costs a third of torch's fused form; keys and values before a text's own
that all texts share are read once for all. Everything is written into buffers that a thread keeps: fresh
memory for every layer costs as much as the arithmetic in it.

The result equals that of the transformers module whose weights are taken (a test says how closely);
`supported` says which modules those are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.kernels.squares import empty_squares, fill_squares, raise_squares
from dretrieve.models.base import TokenBatch
from dretrieve.models.hooks import Hooks, KeysValues, Layout, split_heads
from dretrieve.models.packed_linear import PackedLinear, Workspace

# Raised when a change here, in the kernels, in how backbones are loaded or in the cutting into batches gives
# the same texts other bits. 6: rotary angles stay in float32.
ENGINE_VERSION = 6
# How the position of the first token is numbered, by transformers' model type.
FAMILIES = {"bert": 0, "roberta": 1, "xlm-roberta": 1}
BY_LENGTH = "sdpa by length"
# Scores of one block of attention: a mebibyte, so that they stay in the processor's own cache.
BLOCK_SCORES = 1 << 19
# oneDNN compiles code for every new shape (half a millisecond) and keeps it (a megabyte): on a CPU the
# number of rows and the width of attention come in steps, and texts go through attention by powers of two.
ROWS_STEP, WIDTH_STEP = 32, 16


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
    """The weights of one layer: its own feed-forward part, then the experts beside it."""

    qkv: PackedLinear
    out: PackedLinear
    out_norm: Norm
    parts: tuple[FeedForward, ...]


class PackedEncoder:
    """An encoder of transformers that is `supported`, its weights (best in float32) copied once.

    ``dtype`` is float32, bfloat16 or (GPU only) float16; ``experts`` are, by number of the layer,
    feed-forward parts beside its own.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        experts: Mapping[str, Iterable[Any]] | None = None,
    ) -> None:
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
            self._layers = [
                self._layer(layer, [layer, *(experts or {}).get(str(number), ())], scale)
                for number, layer in enumerate(source.encoder.layer)
            ]

    def _taken(self, weight: Tensor) -> Tensor:
        return weight.detach().to(self.device, self.dtype, copy=True).contiguous()

    def _pair(self, part: Any, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        return self._taken((part.weight * scale).t()), self._taken(part.bias * scale)

    def _layer(self, layer: Any, parts: Sequence[Any], scale: float) -> Layer:
        own = layer.attention.self
        query, key, value = self._pair(own.query, scale), self._pair(own.key), self._pair(own.value)
        return Layer(
            qkv=PackedLinear(
                torch.cat([query[0], key[0], value[0]], dim=1), torch.cat([query[1], key[1], value[1]])
            ),
            out=PackedLinear(*self._pair(layer.attention.output.dense)),
            out_norm=Norm(layer.attention.output.LayerNorm, self.device, self.dtype),
            parts=tuple(
                FeedForward(
                    PackedLinear(*self._pair(part.intermediate.dense)),
                    PackedLinear(*self._pair(part.output.dense)),
                    Norm(part.output.LayerNorm, self.device, self.dtype),
                )
                for part in parts
            ),
        )

    @property
    def attention(self) -> str:
        """Which attention runs."""
        if self._varlen is not None:
            return "varlen"
        return "own" if self._own_softmax else BY_LENGTH

    def __call__(
        self, batch: TokenBatch, hooks: Hooks | None = None, read: Tensor | None = None
    ) -> tuple[Tensor, Layout]:
        """Return the last layer's states [N, D] of the real tokens, and where they stand.

        Texts of equal length stand beside each other. ``read`` is of `Encoder.states`.
        """
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            return self._encode(batch, hooks, read)

    def _encode(self, batch: TokenBatch, hooks: Hooks | None, read: Tensor | None) -> tuple[Tensor, Layout]:
        ids, positions, lengths, order = pack(batch, read)
        reads = lengths if read is None else read.cpu()[order].sum(dim=1).tolist()
        if hooks is not None and hooks.first_position:
            positions += hooks.first_position
        rows = len(ids)
        if self.device.type == "cpu":  # more rows, of no text
            ids, positions = (functional.pad(part, [0, -rows % ROWS_STEP]) for part in (ids, positions))
        layout = Layout(batch.mask, lengths, order)
        states = functional.embedding(self._sent(ids), self._words)
        states.add_(functional.embedding(self._sent(positions), self._positions))
        states = self._norm(states)
        attend = self._attention(lengths, reads)
        buffers = self._workspace()
        for number, layer in enumerate(self._layers):
            before = hooks.keys_values(number, states[:rows], layout) if hooks is not None else None
            qkv, context = layer.qkv(states, buffers, "qkv"), buffers.take("context", states, *states.shape)
            attend(qkv, context, buffers, None if before is None else self._before(before))
            states = layer.out_norm(layer.out(context, buffers, "attended", plus=states))
            states = self._fed(number, layer, states, layout, hooks, buffers)
        return states[:rows], layout

    def _sent(self, indices: Tensor) -> Tensor:
        """Return the indices on the device; the copy does not hold up the thread that feeds it."""
        if self.device.type == "cuda":
            indices = indices.pin_memory()
        return indices.to(self.device, non_blocking=True)

    def _workspace(self) -> Workspace:
        if not hasattr(self._threads, "buffers"):
            self._threads.buffers = Workspace()
        return self._threads.buffers  # type: ignore[no-any-return]  # a thread-local has no declared type

    def _feed_forward(self, part: FeedForward, states: Tensor, buffers: Workspace) -> Tensor:
        inner = part.up(states, buffers, "inner", gelu=True)
        return part.norm(part.down(inner, buffers, "fed", plus=states))

    def _fed(
        self,
        number: int,
        layer: Layer,
        states: Tensor,
        layout: Layout,
        hooks: Hooks | None,
        buffers: Workspace,
    ) -> Tensor:
        """Return the states after the layer's feed-forward part, or what the hook puts in its place."""
        assert layout.lengths is not None
        real = states[: sum(layout.lengths)]

        def run(some: Tensor, part: int) -> Tensor:
            return self._feed_forward(layer.parts[part], self._stepped(some, buffers), buffers)[: len(some)]

        found = hooks.feed_forward(number, real, layout, run) if hooks is not None else None
        if found is None:
            return self._feed_forward(layer.parts[0], states, buffers)
        return functional.pad(found, [0, 0, 0, len(states) - len(found)])

    def _stepped(self, rows: Tensor, buffers: Workspace) -> Tensor:
        """Return the rows with zeros behind them, up to a number of rows that is known."""
        more = -len(rows) % ROWS_STEP if self.device.type == "cpu" else 0
        if more == 0:
            return rows
        mine = buffers.take("mine", rows, len(rows) + more, rows.shape[1])
        mine[len(rows) :] = 0
        mine[: len(rows)] = rows
        return mine

    def _before(self, before: KeysValues) -> KeysValues:
        """Return a hook's keys and values in the engine's own form.

        Both are [n, heads, P, D / heads]: n is 1 where all texts share them, else B in the packed order.
        """
        keys, values = (split_heads(of.to(self.device, self.dtype), self.num_heads) for of in before)
        if len(keys) == 1:  # read by every block as they lie
            return keys.contiguous(), values.contiguous()
        return keys, values

    def _attention(self, lengths: list[int], reads: list[int]) -> Callable[..., None]:
        """Return the function that fills ``context`` [N, D] for texts of these lengths.

        Of each text the first ``reads`` tokens are read. The function takes qkv [N, 3 * D], the context,
        buffers, and the keys and values before a text's own, or None.
        """
        if self._varlen is not None:
            return self._attention_at_once(lengths, reads)
        if self._own_softmax:
            return self._attention_in_squares(lengths, reads)
        groups = [(both, len(list(same))) for both, same in groupby(zip(lengths, reads, strict=True))]

        def by_groups(qkv: Tensor, context: Tensor, buffers: Workspace, before: KeysValues | None) -> None:
            row = text = 0
            for (length, read), texts in groups:
                rows, some = slice(row, row + length * texts), slice(text, text + texts)
                self._attend_group(qkv[rows], context[rows], length, read, _of_texts(before, some))
                row, text = rows.stop, some.stop
            context[row:] = 0

        return by_groups

    def _attention_at_once(self, lengths: list[int], reads: list[int]) -> Callable[..., None]:
        """The same where torch attends to texts of any lengths at once.

        Before each text's own keys and values stand P others: so many more lie between its bounds.
        """
        sizes = torch.tensor(reads)
        starts, bounds = (
            functional.pad(torch.tensor(of).cumsum(0), (1, 0)).to(torch.int32) for of in (lengths, reads)
        )
        sent, longest, most, dim = self._sent(starts), max(lengths), max(reads), self._head_dim
        own_bounds, kept = sent, None
        if reads != lengths:  # rows of the tokens that are read
            skipped = (starts - bounds)[:-1].repeat_interleave(sizes)
            own_bounds, kept = self._sent(bounds), self._sent(torch.arange(sum(reads)) + skipped)
        numbers = torch.arange(len(lengths) + 1, dtype=torch.int32)
        places: dict[int, tuple[Tensor, ...]] = {}  # of P: those of texts' own rows, of the P before, bounds

        def joined(own: Tensor, before: Tensor) -> Tensor:
            """Return [N + B * P, heads, …], each text's P rows and then its own."""
            mine, theirs, _ = places[before.shape[2]]
            found = own.new_zeros(len(mine) + len(theirs), *own.shape[1:])
            found[mine] = own[: len(mine)]
            found[theirs, :, :dim] = before.expand(len(lengths), -1, -1, -1).transpose(1, 2).flatten(0, 1)
            return found

        def at_once(qkv: Tensor, context: Tensor, buffers: Workspace, before: KeysValues | None) -> None:
            # The kernel takes heads of a multiple of 8 numbers; zeros behind them change no product.
            parts = functional.pad(qkv.view(len(qkv), 3, self.num_heads, dim), (0, -dim % 8))
            query, key, value = parts.unbind(1)
            if kept is not None:
                key, value = key[kept], value[kept]
            key_bounds, more = own_bounds, 0
            if before is not None:
                more = before[0].shape[2]
                if more not in places:
                    wider = bounds + numbers * more
                    mine = torch.arange(sum(reads)) + (numbers[1:] * more).repeat_interleave(sizes)
                    theirs = wider[:-1, None] + torch.arange(more)
                    places[more] = self._sent(mine), self._sent(theirs.flatten()), self._sent(wider)
                key, value, key_bounds = joined(key, before[0]), joined(value, before[1]), places[more][2]
            found: Tensor = self._varlen(
                query, key, value, sent, key_bounds, longest, most + more, scale=dim**-0.5
            )
            context.copy_(found[..., :dim].reshape(context.shape))

        return at_once

    def _attend_group(
        self, qkv: Tensor, context: Tensor, length: int, read: int, before: KeysValues | None
    ) -> None:
        """Attention inside texts of one length, of which ``read`` tokens are read, by torch."""
        split = qkv.view(-1, length, 3, self.num_heads, self._head_dim)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        key, value = key[:, :, :read], value[:, :, :read]
        if before is not None:
            key, value = (
                torch.cat([of.expand(len(own), -1, -1, -1), own], dim=2)
                for of, own in zip(before, (key, value), strict=True)
            )
        found = functional.scaled_dot_product_attention(query, key, value)
        context.view(-1, length, self.num_heads, self._head_dim).copy_(found.transpose(1, 2))

    def _attention_in_squares(self, lengths: list[int], reads: list[int]) -> Callable[..., None]:
        """The same in bfloat16 on the CPU, a few texts at a time; the scale is in the query weights."""
        heads, dim = self.num_heads, self._head_dim
        sizes, seen = np.array(lengths), np.array(reads)
        ends = np.cumsum(sizes).tolist()
        squares = (-(-sizes // WIDTH_STEP) * WIDTH_STEP).tolist()
        word = torch.int64 if dim % 4 == 0 else torch.int16

        def in_squares(qkv: Tensor, context: Tensor, buffers: Workspace, before: KeysValues | None) -> None:
            more = 0 if before is None else before[0].shape[2]
            rows, into = qkv.view(word).numpy(), context.view(torch.int16).numpy()
            for square, texts in _blocks(squares, heads, more):
                own, some = sizes[texts], texts.stop - texts.start
                first = ends[texts.start] - int(own[0])
                # Heads before texts: where all share the keys before their own, a head's are one product.
                parts = buffers.take("parts", qkv, 3, heads, some, square, dim)
                query, key, value = parts.view(3, heads * some, square, dim)
                scores = buffers.take("scores", qkv, heads * some, square, square)
                others = buffers.take("others", qkv, heads * some, square, more)
                scales = np.empty((heads, some, square), dtype=np.float32)
                fill_squares(rows, first, own, parts.view(word).numpy())
                torch.bmm(query, key.transpose(1, 2), out=scores)
                pair = _of_texts(before, texts)
                if pair is not None:
                    keys, values = (of.transpose(0, 1).reshape(-1, more, dim) for of in pair)
                    shape = len(keys), -1, more
                    torch.bmm(query.view(len(keys), -1, dim), keys.transpose(1, 2), out=others.view(shape))
                bits = scores.view(torch.int16).numpy(), others.view(torch.int16).numpy()
                raise_squares(*bits, own, seen[texts], scales.reshape(-1, square))
                torch.bmm(scores, value, out=query)
                if pair is not None:
                    query.view(len(values), -1, dim).baddbmm_(others.view(shape), values)
                empty_squares(parts[0].view(torch.int16).numpy(), scales, own, into, first)
            context[ends[-1] :] = 0

        return in_squares


def _blocks(squares: list[int], heads: int, more: int) -> Iterator[tuple[int, slice]]:
    """Yield texts whose squares are of one size, and that size, by powers of two up to so many scores."""
    first = 0
    for square, same in groupby(squares):
        left = len(list(same))
        most = max(1, BLOCK_SCORES // (heads * square * (square + more)))
        while left:
            some = 1 << (min(most, left).bit_length() - 1)
            yield square, slice(first, first + some)
            first, left = first + some, left - some


def _of_texts(before: KeysValues | None, some: slice) -> KeysValues | None:
    """Return the keys and values of some texts, or those that all share."""
    if before is None or len(before[0]) == 1:
        return before
    return before[0][some], before[1][some]


def pack(batch: TokenBatch, read: Tensor | None = None) -> tuple[Tensor, Tensor, list[int], Tensor]:
    """Return the real tokens of a batch, longest texts first, of equal ones those of which more is read.

    Returns:
        ids [N] int64; positions [N] from 0 within each text; the texts' lengths in packed order; the batch's
        rows in that order [B].
    """
    mask = batch.mask.cpu().numpy()
    lengths = mask.sum(axis=1)
    reads = lengths if read is None else read.cpu().numpy().sum(axis=1)
    order = np.lexsort((-reads, -lengths))
    sizes = lengths[order]
    ids = batch.input_ids.cpu().numpy()[order][mask[order]]
    starts = np.cumsum(sizes) - sizes
    positions = np.arange(len(ids)) - np.repeat(starts, sizes)
    return torch.from_numpy(ids), torch.from_numpy(positions), sizes.tolist(), torch.from_numpy(order)


def _find_varlen_attn() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn
