"""``shared``: one encoder for queries and passages, the dot product as score.

The baseline of TASER ("Shared, I = 1"), SB-MoE and DDR. Both sides go through the encoder in one forward.
With ``--lora`` only low-rank adapters are trained (peft); they are merged into the weights when saved, so
that the folder is a plain encoder.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any, Self

from torch import nn

from dretrieve.errors import UsageError
from dretrieve.models.backbone import load_module
from dretrieve.models.base import Encoded, TokenBatch
from dretrieve.models.bi_encoder import (
    SIDES,
    BiEncoder,
    check_positions,
    one_encoder,
    pack_pair,
    pooled_encoder,
    settled,
    side_card,
)
from dretrieve.models.config import MethodConfig
from dretrieve.models.model_folder import save_encoder
from dretrieve.models.shared_config import SharedConfig
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.types import Side


class Shared(BiEncoder):
    """One encoder for both sides."""

    name = "shared"
    config_class = SharedConfig
    config: SharedConfig

    def __init__(
        self,
        config: SharedConfig,
        cards: dict[Side, SideCard],
        module: nn.Module,
        tokenizer: Path,
        backbone_name: str,
    ) -> None:
        super().__init__(config, cards, {"query": tokenizer, "passage": tokenizer}, backbone_name)
        check_positions(module, cards["passage"])
        self.encoder = pooled_encoder(module, cards["query"], tokenizer)

    @classmethod
    def build(cls, config: MethodConfig, backbone: str) -> Self:
        """Return the method on a backbone: a plain folder or a model with one encoder.

        Raises:
            PreconditionError: the backbone is a model with an encoder for each side.
        """
        assert isinstance(config, SharedConfig)
        folder, known = one_encoder(backbone)
        cards = {side: side_card(config, known, side) for side in SIDES}
        module = load_module(folder)
        if config.lora:
            module = with_adapters(module, config)
        return cls(settled(config, cards["query"], cards["passage"]), cards, module, folder, backbone)

    @classmethod
    def load(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote."""
        cards: dict[Side, SideCard] = {"query": card.query, "passage": card.passage}
        place = folder / card.query.folder
        config = SharedConfig(**card.method_config)
        return cls(config, cards, load_module(place), place, str(card.source.get("backbone", folder)))

    def save(self, folder: Path) -> None:
        """Write the encoder, adapters merged."""
        module: Any = self.encoder.backbone
        adapted = hasattr(module, "merge_and_unload")
        merged = copy.deepcopy(module).merge_and_unload() if adapted else None
        save_encoder(folder, self.encoder, self.tokenizers["query"], self.cards, merged)

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.encoder.dim

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


METHOD = Shared
