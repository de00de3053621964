"""An encoder: a backbone and the engine that runs it, up to the last states of the tokens.

While training, the transformers module runs. After `Encoder.prepare` an encoder of a known family answers
without padding, in the wanted number type (`models.packed`); others are converted as they are. Both honour
`models.hooks`; a family whose layers are not laid out as BERT's takes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dretrieve.errors import UsageError, quoted
from dretrieve.models import attention, packed
from dretrieve.models.base import TokenBatch
from dretrieve.models.experts import Experts
from dretrieve.models.hooks import Hooks, Layout, split_heads
from dretrieve.models.pooling import Pooling, pool, pool_packed, unit
from dretrieve.models.weights import states_of
from dretrieve.types import Engine

PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
# Families whose layers are laid out as BERT's.
BERT_LIKE = ("bert", "roberta", "xlm-roberta", "camembert")


@dataclass(frozen=True, slots=True)
class States:
    """The last states of a batch's tokens: [B, T, D], or [N, D] of the real ones alone (`Layout`)."""

    values: Tensor
    layout: Layout

    def pooled(self, how: Pooling) -> Tensor:
        """Return one vector a text, [B, D] float32."""
        lengths, order = self.layout.lengths, self.layout.order
        if lengths is None or order is None:
            return pool(self.values, self.layout.mask, how)
        found = pool_packed(self.values, lengths, how)
        return found[order.argsort().to(found.device, non_blocking=True)]

    def mapped(self, change: nn.Module) -> States:
        """Return the same with each token's state changed (a projection), in float32."""
        return replace(self, values=change(self.values.float()))

    def padded(self) -> Tensor:
        """Return [B, T, D], zeros where padding stands."""
        return self.layout.padded(self.values)


class Encoder(nn.Module):
    """Token ids to states.

    Args:
        backbone: a transformers encoder whose output has ``last_hidden_state``.
        unpadded: texts of each length go through the backbone without padding, which would move its states.
        token_types: the type of each special token that has one other than 0; None where the backbone is
            given no types.

    Attributes:
        experts: by number of the layer, feed-forward parts beside its own (`Hooks.feed_forward` runs them).
        ran: every engine that has answered since `prepare`.
    """

    backbone: Any  # transformers' modules say little of their types

    def __init__(
        self, backbone: nn.Module, *, unpadded: bool = False, token_types: Mapping[int, int] | None = None
    ) -> None:
        super().__init__()
        self.backbone, self.experts = backbone, nn.ModuleDict()
        self.ran: set[Engine] = set()
        self._unpadded, self._token_types = unpadded, token_types
        self._packed: packed.PackedEncoder | None = None
        if packed.supported(backbone):
            attention.use(backbone)

    @property
    def width(self) -> int:
        """Numbers per state."""
        config = self.backbone.config
        return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)

    @property
    def layers(self) -> Sequence[Any]:
        """The layers, where they are laid out as BERT's.

        Raises:
            UsageError: they are laid out otherwise.
        """
        config = self.backbone.config
        if config.model_type not in BERT_LIKE or getattr(config, "is_decoder", False):
            raise UsageError(
                "layers are changed as BERT has them (experts in the place of a feed-forward part, keys and "
                "values before a layer's own, layers left out), and a "
                f"{config.model_type} backbone is laid out otherwise; give an encoder of type "
                f"{', '.join(BERT_LIKE)}"
            )
        found: Sequence[Any] = self.backbone.encoder.layer
        return found

    def keep_layers(self, named: str) -> None:
        """Drop every layer but those named, "0,2,4", counted from 0.

        Raises:
            UsageError: names that are no layers, twice or out of order; layers laid out otherwise.
        """
        numbers = {str(number): number for number in range(len(self.layers))}
        kept = [numbers.get(name, -1) for name in named.split(",")]
        if kept != sorted(set(kept) - {-1}):
            raise UsageError(
                f"layers {quoted(named)} of a model of {len(numbers)}: give numbers from 0 to "
                f"{len(numbers) - 1}, each once and in order, such as 0,{len(numbers) - 1}"
            )
        self.backbone.encoder.layer = nn.ModuleList(self.layers[number] for number in kept)
        self.backbone.config.num_hidden_layers = len(kept)

    def add_experts(self, layers: Sequence[int], count: int) -> None:
        """Give those layers ``count`` feed-forward parts, the first their own, the others its copies."""
        for number in layers:
            self.experts[str(number)] = Experts.copies(self.layers[number], count - 1)

    @property
    def engine(self) -> Engine:
        """What computes the next batch."""
        if self._packed is not None and not self.training:
            return Engine("packed", PRECISIONS[self._packed.dtype], self._packed.attention)
        kind = next(self.backbone.parameters()).dtype
        return Engine("transformers", PRECISIONS[kind], str(self.backbone.config._attn_implementation))

    def prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make ready for inference: copies the weights for the packed engine where the family is known."""
        self.eval()
        self.ran.clear()
        known = packed.supported(self.backbone)
        experts: dict[str, Any] = dict(self.experts.items())
        self._packed = packed.PackedEncoder(self.backbone, device, dtype, experts) if known else None
        if not known:
            # rounded, the angles of late positions are others; transformers never rounds them
            angles = {name: of for name, of in self.backbone.named_buffers() if name.endswith("inv_freq")}
            self.backbone.to(device, dtype)
            for name, of in self.backbone.named_buffers():
                if name in angles:
                    of.data = angles[name].to(device)
            self.experts.to(device, dtype)
            # what transformers keeps in float32 when it loads the family in float16, whose range it leaves
            kept = getattr(self.backbone, "_keep_in_fp32_modules", None) if dtype == torch.float16 else None
            for name, part in self.backbone.named_modules():
                if name.rpartition(".")[2] in (kept or ()):
                    part.float()

    def release(self) -> None:
        """Forget the copy that `prepare` made (training goes on with the module's own weights)."""
        self._packed = None

    def states(self, batch: TokenBatch, hooks: Hooks | None = None, *, read: Tensor | None = None) -> States:
        """Return the last states of a batch; ``hooks`` change something inside the layers.

        ``read`` [B, T] are the first of each text's tokens, those that its tokens read; None: all.

        Raises:
            UsageError: ``hooks`` or ``read`` for a backbone that takes none.
        """
        if self._packed is not None and not self.training:
            self.ran.add(self.engine)
            return States(*self._packed(batch, hooks, read))
        if not self.training:
            self.ran.add(self.engine)
        layout = Layout(batch.mask)
        if hooks is not None:
            return States(self._hooked(batch, layout, hooks), layout)
        if not self._unpadded:
            return States(self._last(batch.input_ids, batch.mask if read is None else read), layout)
        if read is not None:
            raise UsageError(
                "this backbone's states move with padding, so that every token of a text is read by all; "
                "give an option with which they are, such as --query-augmentation attended"
            )
        lengths = batch.mask.sum(dim=1)
        values: Tensor | None = None
        for length in lengths.unique():
            some = (lengths == length).unsqueeze(1) & batch.mask
            ids = batch.input_ids[some].view(-1, int(length))
            found = self._last(ids, torch.ones_like(ids, dtype=torch.bool))
            values = found.new_zeros(*batch.mask.shape, found.shape[-1]) if values is None else values
            values[some] = found.reshape(-1, found.shape[-1])
        assert values is not None, "a batch holds a text"
        return States(values, layout)

    def _last(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return [B, T, D], the backbone's last states."""
        types = None
        if self._token_types is not None:
            types = torch.zeros_like(ids)
            for token, number in self._token_types.items():
                types[ids == token] = number
        return states_of(self.backbone, ids, mask, types)

    def _hooked(self, batch: TokenBatch, layout: Layout, hooks: Hooks) -> Tensor:
        """Return [B, T, D] with the layers driven one by one.

        The hooks are an argument of every layer, so that gradient checkpointing repeats the layer with them;
        what they draw at random is repeated as dropout is.
        """
        layers, ids, first = self.layers, batch.input_ids, hooks.first_position
        states: Tensor = self.backbone.embeddings(input_ids=ids, past_key_values_length=first)
        for number, layer in enumerate(layers):
            if getattr(layer, "gradient_checkpointing", False) and torch.is_grad_enabled():
                states = checkpoint(self._layer, number, states, layout, hooks, use_reentrant=False)
            else:
                states = self._layer(number, states, layout, hooks)
        return states

    def _layer(self, number: int, states: Tensor, layout: Layout, hooks: Hooks) -> Tensor:
        layer: Any = self.layers[number]
        beside: Any = self.experts[str(number)] if str(number) in self.experts else ()
        parts = [layer, *beside]
        before = hooks.keys_values(number, states, layout)
        attend = None if bool(layout.mask.all()) else layout.mask[:, None, None, :]
        if before is None:
            attended = layer.attention(states, attend)[0]
        else:
            if attend is not None:
                attend = nn.functional.pad(attend, (before[0].shape[-2], 0), value=True)
            attended = layer.attention(states, attend, past_key_values=_Before(*before))[0]

        def run(some: Tensor, part: int) -> Tensor:
            found: Tensor = parts[part].output(parts[part].intermediate(some), some)
            return found

        fed = hooks.feed_forward(number, attended, layout, run)
        return run(attended, 0) if fed is None else fed


class _Before:
    """Keys and values as transformers' attention asks a cache for them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._pair = keys, values

    def update(self, keys: Tensor, values: Tensor, layer: int) -> tuple[Tensor, Tensor]:
        """Return [B, heads, P + T, D / heads] of both."""
        found = [
            torch.cat([split_heads(before, of.shape[1]).expand(len(of), -1, -1, -1).to(of.dtype), of], dim=2)
            for before, of in zip(self._pair, (keys, values), strict=True)
        ]
        return found[0], found[1]


class PooledEncoder(Encoder):
    """An encoder whose texts become one vector each: pooling, head, and, if so wanted, length 1.

    The head, empty at first, are modules of vectors to vectors, in float32.
    """

    def __init__(self, backbone: nn.Module, pooling: Pooling, *, normalize: bool, **more: Any) -> None:
        super().__init__(backbone, **more)
        self.pooling, self.normalize, self.head = pooling, normalize, nn.Sequential()

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        parts: Any = self.head
        found = [int(of.linear.out_features) for of in parts if hasattr(of, "linear")]
        return found[-1] if found else self.width

    def prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make ready for inference; the head stays in float32."""
        super().prepare(device, dtype)
        self.head.to(device)

    def forward(self, batch: TokenBatch, hooks: Hooks | None = None) -> Tensor:
        """Return [B, D] float32."""
        vectors = self.states(batch, hooks).pooled(self.pooling)
        if len(self.head):
            vectors = self.head(vectors)
        return unit(vectors) if self.normalize else vectors


def encoders_of(module: nn.Module) -> list[Encoder]:
    """Return the encoders inside a method."""
    return [part for part in module.modules() if isinstance(part, Encoder)]


@contextmanager
def prepared(module: nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Answer with a model in training: packed copies of its encoders for the block, then back to training.

    Encoders of other families answer as they are, in the number type of their weights.
    """
    encoders = encoders_of(module)
    was_training = module.training
    module.eval()
    try:
        for encoder in encoders:
            if packed.supported(encoder.backbone):
                encoder.prepare(device, dtype)
        yield
    finally:
        for encoder in encoders:
            encoder.release()
        module.train(was_training)
