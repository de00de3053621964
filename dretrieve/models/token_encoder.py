"""An encoder whose texts keep a vector for each token: the last states, projected."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dretrieve.models.base import TokenBatch
from dretrieve.models.encoder import Encoder, States
from dretrieve.models.pooling import unit


class TokenEncoder(Encoder):
    """Token ids to token vectors, by a linear layer without bias that stays in float32."""

    def __init__(self, backbone: nn.Module, dim: int, *, normalize: bool, **more: Any) -> None:
        super().__init__(backbone, **more)
        self.projection = nn.Linear(self.width, dim, bias=False)
        self.normalize = normalize

    def prepare(self, device: torch.device, dtype: torch.dtype) -> None:
        """Make ready for inference."""
        super().prepare(device, dtype)
        self.projection.to(device)

    def forward(self, batch: TokenBatch, read: Tensor | None = None) -> Tensor:
        """Return [B, T, dim] float32, zeros where padding stands; ``read`` is of `Encoder.states`."""
        return self.projected(self.states(batch, read=read))

    def projected(self, states: States) -> Tensor:
        """Return [B, T, dim] float32 of the last states."""
        vectors = states.mapped(self.projection).padded()
        return unit(vectors) if self.normalize else vectors
