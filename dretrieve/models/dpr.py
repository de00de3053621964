"""``dpr``: an encoder for queries and another for passages, the dot product as score.

Karpukhin et al., "Dense Passage Retrieval for Open-Domain Question Answering" (2020). Both encoders start
from the same backbone, or, in a second stage, from the two of a `dpr` model. Differs from the released
code: a query's other positives in the batch are left out of the loss, and each passage stands in it once.
"""

from __future__ import annotations

from dretrieve.models.base import Encoded, TokenBatch
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.encoder import Encoder
from dretrieve.models.encoder_method import Backbone, pooled_encoder
from dretrieve.types import Side


class Dpr(BiEncoder):
    """Two encoders."""

    name = "dpr"
    config_class = DprConfig
    shares = False
    keeps_head = True
    config: DprConfig

    def __init__(self, config: DprConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.query_encoder = pooled_encoder(self, backbone, "query")
        self.passage_encoder = pooled_encoder(self, backbone, "passage")

    def encoders(self) -> dict[Side, Encoder]:
        """Return the encoder of each side."""
        return {"query": self.query_encoder, "passage": self.passage_encoder}

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim] from that side's encoder."""
        return Encoded(self.encoders()[side](batch))
