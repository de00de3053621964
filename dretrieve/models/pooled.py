"""One encoder with its pooling: the part that `dpr`, `shared` and every one-vector method stand on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dretrieve.models import packed, packing
from dretrieve.models.base import TokenBatch
from dretrieve.models.pooling import Pooling, pool, pool_packed, unit
from dretrieve.models.weights import states_of


class PooledEncoder(nn.Module):
    """Token ids to one vector a text: backbone, pooling, head, and division by the length if ``normalize``.

    While training, the transformers module runs. After `prepare`, an encoder of a known family answers
    without padding and in the wanted number type (`models.packed`); others are converted as they are.

    Args:
        backbone: a transformers encoder whose output has ``last_hidden_state``.
        pooling: see `models.pooling`.
        normalize: whether vectors get Euclidean length 1.
        head: modules behind the pooling, vectors to vectors, in float32.
        unpadded: texts of each length go through the backbone without padding, which would move its states.
        token_types: the type of each special token that has one other than 0; None where the backbone is
            given no types.
    """

    def __init__(
        self,
        backbone: nn.Module,
        pooling: Pooling,
        *,
        normalize: bool,
        head: nn.Sequential | None = None,
        unpadded: bool = False,
        token_types: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.pooling, self.normalize = backbone, pooling, normalize
        self.head = nn.Sequential() if head is None else head
        self._unpadded, self._token_types = unpadded, token_types
        self._packed: packed.PackedEncoder | None = None

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        config: Any = self.backbone.config
        parts: Any = self.head
        found = [int(of.linear.out_features) for of in parts if hasattr(of, "linear")]
        width = getattr(config, "word_embed_proj_dim", None) or config.hidden_size
        return found[-1] if found else int(width)

    @property
    def engine(self) -> str:
        """What computes: ``packed`` or ``transformers``."""
        return "packed" if self._packed is not None else "transformers"

    def prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make ready for inference: copies the weights for the packed engine where the family is known."""
        self.eval()
        self._packed = (
            packed.PackedEncoder(self.backbone, device, dtype) if packed.supported(self.backbone) else None
        )
        self.head.to(device)
        if self._packed is None:
            self.backbone.to(device, dtype)

    def release(self) -> None:
        """Forget the copy that `prepare` made (training goes on with the module's own weights)."""
        self._packed = None

    @property
    def answers_packed(self) -> bool:
        """Whether the next forward runs without padding."""
        return self._packed is not None and not self.training

    def forward(self, batch: TokenBatch) -> Tensor:
        """Return [B, D] float32."""
        if self.answers_packed:
            return self.packed_vectors(batch)
        if not self._unpadded:
            return self.padded_vectors(self._last_states(batch.input_ids, batch.mask), batch.mask)
        lengths = batch.mask.sum(dim=1)
        parts, rows = [], []
        for length in lengths.unique():
            rows.append((lengths == length).nonzero().flatten())
            ids = batch.input_ids[rows[-1]][batch.mask[rows[-1]]].view(len(rows[-1]), -1)
            mask = torch.ones_like(ids, dtype=torch.bool)
            parts.append(self.padded_vectors(self._last_states(ids, mask), mask))
        return torch.cat(parts)[torch.cat(rows).argsort()]

    def _last_states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return [B, T, D], the backbone's last states."""
        types = None
        if self._token_types is not None:
            types = torch.zeros_like(ids)
            for token, number in self._token_types.items():
                types[ids == token] = number
        return states_of(self.backbone, ids, mask, types)

    def packed_vectors(self, batch: TokenBatch, route: packed.Route | None = None) -> Tensor:
        """Return [B, D] float32 by the engine without padding; ``route`` where layers have experts."""
        assert self._packed is not None, "prepare makes the engine"
        states, lengths, places = self._packed(batch, route)
        return self._finished(packing.unpacked(pool_packed(states, lengths, self.pooling), places, lengths))

    def padded_vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return [B, D] float32 of padded states [B, T, D] and their mask [B, T]."""
        return self._finished(pool(states, mask, self.pooling))

    def _finished(self, vectors: Tensor) -> Tensor:
        if len(self.head):
            vectors = self.head(vectors)
        return unit(vectors) if self.normalize else vectors


@contextmanager
def prepared(module: nn.Module, device: torch.device, dtype: torch.dtype) -> Iterator[None]:
    """Answer with a model in training: packed copies of its encoders for the block, then back to training.

    Encoders of other families answer as they are, in the number type of their weights.
    """
    encoders = [part for part in module.modules() if isinstance(part, PooledEncoder)]
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
