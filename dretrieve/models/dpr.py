"""``dpr``: an encoder for queries and another for passages, the dot product as score.

Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering" (2020). Both encoders start
from the same backbone, or, in a second stage, from the two of a `dpr` model. Differs from the released
code: a query's other positives in the batch are left out of the loss, and each passage stands in it once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

from torch import nn

from dretrieve.models.backbone import load_module
from dretrieve.models.base import Encoded, TokenBatch
from dretrieve.models.bi_encoder import SIDES, BiEncoder, pooled_encoder, settled, side_card
from dretrieve.models.config import MethodConfig
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.model_folder import save_encoder
from dretrieve.models.places import find_model, read_card
from dretrieve.models.pooled import PooledEncoder
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.types import Side


class Dpr(BiEncoder):
    """Two encoders."""

    name = "dpr"
    config_class = DprConfig
    config: DprConfig

    def __init__(
        self,
        config: DprConfig,
        cards: dict[Side, SideCard],
        modules: dict[Side, nn.Module],
        tokenizers: dict[Side, Path],
        backbone_name: str,
    ) -> None:
        super().__init__(config, cards, tokenizers, backbone_name)
        self.query_encoder = pooled_encoder(modules["query"], cards["query"], tokenizers["query"])
        self.passage_encoder = pooled_encoder(modules["passage"], cards["passage"], tokenizers["passage"])

    @classmethod
    def build(cls, config: MethodConfig, backbone: str) -> Self:
        """Return the method on a backbone: one encoder copied for both sides, or both of a `dpr` model."""
        assert isinstance(config, DprConfig)
        folder = find_model(backbone)
        known, _ = read_card(folder)
        cards = {side: side_card(config, known, side, folder=side) for side in SIDES}
        places = {side: folder / known.side(side).folder for side in SIDES}
        modules: dict[Side, nn.Module] = {side: load_module(place) for side, place in places.items()}
        return cls(settled(config, cards["query"], cards["passage"]), cards, modules, places, backbone)

    @classmethod
    def load(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote."""
        cards: dict[Side, SideCard] = {"query": card.query, "passage": card.passage}
        places = {side: folder / of.folder for side, of in cards.items()}
        modules: dict[Side, nn.Module] = {side: load_module(place) for side, place in places.items()}
        name = str(card.source.get("backbone", folder))
        return cls(DprConfig(**card.method_config), cards, modules, places, name)

    def save(self, folder: Path) -> None:
        """Write both encoders, each a folder of its own."""
        for side, encoder in self._encoders().items():
            card = self.cards[side]
            save_encoder(folder / card.folder, encoder, self.tokenizers[side], {side: card})

    def _encoders(self) -> dict[Side, PooledEncoder]:
        return {"query": self.query_encoder, "passage": self.passage_encoder}

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.passage_encoder.dim

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim] from that side's encoder."""
        return Encoded(self._encoders()[side](batch))


METHOD = Dpr
