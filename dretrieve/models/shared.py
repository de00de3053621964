"""``shared``: one encoder for queries and passages, the dot product as score.

The baseline of TASER ("Shared, I = 1"), SB-MoE and DDR. Both sides go through the encoder in one forward.
With ``--lora`` only low-rank adapters are trained (peft); they are merged into the weights when saved, so
that the folder is a plain encoder.
"""

from __future__ import annotations

import copy
import warnings
from typing import Self

from torch import nn

from dretrieve.errors import UsageError
from dretrieve.models.base import Encoded, TokenBatch
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.encoder import Encoder, PooledEncoder
from dretrieve.models.encoder_method import Backbone, pack_pair, pooled_encoder
from dretrieve.models.shared_config import OF_LORA, SharedConfig
from dretrieve.options import refuse_given
from dretrieve.types import Side


class Shared(BiEncoder):
    """One encoder for both sides."""

    name = "shared"
    config_class = SharedConfig
    keeps_head = True
    config: SharedConfig
    encoder: PooledEncoder

    def __init__(self, config: SharedConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.encoder = pooled_encoder(self, backbone, "query")

    @classmethod
    def build(cls, config: SharedConfig, backbone: str) -> Self:
        """Return the method on a backbone, with fresh adapters if they are to be trained.

        Raises:
            UsageError: options of adapters without ``lora``; no layer has such a name.
        """
        method = super().build(config, backbone)
        if method.config.lora:  # a saved model has them in its weights
            method.encoder.backbone = with_adapters(method.encoder.backbone, method.config)
        else:  # not in the config itself: older models with such options load
            why = "is of low-rank adapters; give --lora too, or leave it out"
            refuse_given(method.config, OF_LORA, why)
        return method

    def written(self, encoder: Encoder) -> nn.Module:
        """Return the backbone, adapters merged."""
        module: nn.Module = encoder.backbone
        if hasattr(module, "merge_and_unload"):
            module = copy.deepcopy(encoder.backbone).merge_and_unload()
        return module

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim]; both sides are encoded alike."""
        return Encoded(self.encoder(batch))

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return both sides from one forward."""
        both = self.encoder(pack_pair(query, passage))
        return Encoded(both[: len(query)]), Encoded(both[len(query) :])


def with_adapters(module: nn.Module, config: SharedConfig) -> nn.Module:
    """Return the encoder frozen, with low-rank adapters beside the named linear layers.

    Raises:
        UsageError: no layer has such a name.
    """
    from peft import LoraConfig, get_peft_model

    wanted = [name for name in config.lora_target_modules.split(",") if name]
    linear = {name.rpartition(".")[2] for name, part in module.named_modules() if isinstance(part, nn.Linear)}
    unknown = [name for name in wanted if name not in linear]
    if unknown or not wanted:
        raise UsageError(
            f"--lora-target-modules {config.lora_target_modules!r}: the backbone has no layer "
            f"{', '.join(unknown) or 'without a name'}; its linear layers are {', '.join(sorted(linear))}"
        )
    adapters = LoraConfig(
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=wanted,
        bias="none",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by its older names
        found: nn.Module = get_peft_model(module, adapters)
    return found
