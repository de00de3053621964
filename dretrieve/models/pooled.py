"""One encoder with its pooling: the part that `dpr`, `shared` and every one-vector method stand on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dretrieve.models import packed, packing
from dretrieve.models.base import TokenBatch
from dretrieve.models.pooling import Pooling, pool, pool_packed, unit


class PooledEncoder(nn.Module):
    """Token ids to one vector a text: backbone, pooling, and division by the length if ``normalize``.

    While training, the transformers module runs. After `prepare`, an encoder of a known family answers
    without padding and in the wanted number type (`models.packed`); others are converted as they are.

    Args:
        backbone: a transformers encoder whose output has ``last_hidden_state``.
        pooling: cls, mean or last.
        normalize: whether vectors get Euclidean length 1.
    """

    def __init__(self, backbone: nn.Module, pooling: Pooling, *, normalize: bool) -> None:
        super().__init__()
        self.backbone, self.pooling, self.normalize = backbone, pooling, normalize
        self._packed: packed.PackedEncoder | None = None

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        config: Any = self.backbone.config
        return int(config.hidden_size)

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
        output = self.backbone(input_ids=batch.input_ids, attention_mask=batch.mask.long())
        return self.padded_vectors(output.last_hidden_state, batch.mask)

    def packed_vectors(self, batch: TokenBatch, route: packed.Route | None = None) -> Tensor:
        """Return [B, D] float32 by the engine without padding; ``route`` where layers have experts."""
        assert self._packed is not None, "prepare makes the engine"
        states, lengths, places = self._packed(batch, route)
        vectors = packing.unpacked(pool_packed(states, lengths, self.pooling), places, lengths)
        return unit(vectors) if self.normalize else vectors

    def padded_vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return [B, D] float32 of padded states [B, T, D] and their mask [B, T]."""
        vectors = pool(states, mask, self.pooling)
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
