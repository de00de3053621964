"""A method with a vector for each token, in one file: late interaction over one linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from dretrieve.models.base import Encoded, Loss, Targets, TokenBatch
from dretrieve.models.bi_encoder_config import EncoderConfig
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.encoder import Encoder
from dretrieve.models.encoder_method import Backbone, EncoderMethod, options_of
from dretrieve.models.pooling import unit
from dretrieve.options import option
from dretrieve.store.seeds import generator
from dretrieve.types import Side


@dataclass(frozen=True, kw_only=True, slots=True)
class LateChoices:
    """What is open after training."""

    keep: float = option(
        1.0, "Share of a passage's tokens that is kept, drawn by its id.", above=0, most=1, sides=("passage",)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LateConfig(EncoderConfig):
    """Options."""

    choices: ClassVar[type] = LateChoices

    token_dim: int = option(16, "Numbers a token.", least=1)


class LateInteraction(EncoderMethod):
    """score(q, p) = sum over the query's tokens of the largest product with a token of the passage."""

    name = "late_interaction"
    config_class = LateConfig
    kind = "many"
    score = "maxsim_sum"
    config: LateConfig

    def __init__(self, config: LateConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        module = backbone.modules["passage"]
        self.encoder = Encoder(module, **options_of(module, backbone.places["passage"]))
        self.projection = nn.Linear(self.encoder.width, config.token_dim, bias=False)

    @property
    def dim(self) -> int:
        """Numbers a token."""
        return self.config.token_dim

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, T, dim] of unit length, and which tokens count."""
        vectors = unit(self.encoder.states(batch).mapped(self.projection).padded())
        mask = batch.mask.to(vectors.device)
        if side == "passage" and not self.training and self.choices.keep < 1:
            mask = mask & self._drawn(batch).to(vectors.device)
        return Encoded(vectors, mask)

    def _drawn(self, batch: TokenBatch) -> Tensor:
        """Return [B, T], the tokens that are kept: a text's own draw, whatever its company."""
        kept = torch.zeros(batch.mask.shape, dtype=torch.bool)
        for row, text_id in enumerate(batch.text_ids):
            places = batch.mask[row].nonzero().flatten().cpu().numpy()
            count = max(1, round(self.choices.keep * len(places)))
            kept[row, generator(0, "keep", text_id).permutation(places)[:count]] = True
        return kept

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        """Return the cross-entropy over the batch's passages."""
        assert query.mask is not None
        assert passage.mask is not None
        products = torch.einsum("qid,pjd->qpij", query.vectors, passage.vectors)
        products = products.masked_fill(~passage.mask[None, :, None], -torch.inf)
        scores = (products.amax(dim=-1) * query.mask[:, None]).sum(dim=-1)
        return in_batch_loss(scores, targets, temperature=self.config.temperature)
