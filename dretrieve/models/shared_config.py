"""Options of `dretrieve.models.shared`."""

from __future__ import annotations

from dataclasses import dataclass

from dretrieve.errors import UsageError
from dretrieve.models.bi_encoder_config import BiEncoderConfig
from dretrieve.options import option

OF_LORA = ("lora_r", "lora_alpha", "lora_dropout", "lora_target_modules")


@dataclass(frozen=True, kw_only=True, slots=True)
class SharedConfig(BiEncoderConfig):
    """One encoder for queries and passages, whole or by low-rank adapters."""

    lora: bool = option(False, "Train low-rank adapters only; they are merged when saved.")
    lora_r: int = option(8, "Rank of the adapters.")
    lora_alpha: int = option(16, "Scale of the adapters, divided by the rank.")
    lora_dropout: float = option(0.05, "Dropout before the adapters.")
    lora_target_modules: str = option("query,value", "Names of the linear layers that get adapters.")

    def __post_init__(self) -> None:
        BiEncoderConfig.__post_init__(self)
        if self.lora and self.lora_r < 1:
            raise UsageError(f"--lora-r {self.lora_r} must be 1 or more")
