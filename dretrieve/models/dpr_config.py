"""Options of `dretrieve.models.dpr`."""

from __future__ import annotations

from dataclasses import dataclass

from dretrieve.models.bi_encoder_config import BiEncoderConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class DprConfig(BiEncoderConfig):
    """Two encoders that start from the same backbone and then part."""
