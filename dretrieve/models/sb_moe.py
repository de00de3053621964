"""``sb-moe``: one encoder, and behind its vectors one block of experts.

Sokli, Kasela, Peikos and Pasi, "Investigating Mixture of Experts in Dense Retrieval" (arXiv 2412.11864) and
"Mixture of Experts Approaches in Dense Retrieval Tasks" (arXiv 2510.15683). Queries and passages go through
the same encoder and the same block; the block's formula, its gates and where we differ stand in
`dretrieve.models.mixture`. With experts that give zeros the method is its encoder.

The authors train the block at a rate of 1e-4 and the encoder at a hundredth of it, constant, without warm-up
or clipping, with in-batch passages alone: ``--learning-rate 1e-4 --lr-scheduler-type constant --warmup-ratio
0 --max-grad-norm 0 --weight-decay .01 --train-group-size 1 --per-device-train-batch-size 64``. Their scores
are dot products of vectors that have no fixed length (``--normalize no``), divided in training by .05 (the
first study) or 1; with ``--normalize yes`` both x and y have length 1. Their texts are lower-cased; here that
is the tokenizer's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from dretrieve.models.base import Encoded, ParameterGroup, TokenBatch
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.config import Phase
from dretrieve.models.encoder import PooledEncoder
from dretrieve.models.encoder_method import Backbone, pack_pair, pooled_encoder
from dretrieve.models.mixture import Gate, Mixed, Mixture, balance
from dretrieve.models.pooling import unit
from dretrieve.models.sb_moe_config import SbMoeChoices, SbMoeConfig
from dretrieve.types import SIDES, Side

ALL_EXPERTS = ("soft", "uniform")  # gates whose models are trained with all experts kept


class SbMoe(BiEncoder):
    """One encoder and a block of experts.

    Attributes:
        encoder: gives x.
        block: gives y, for both sides or, with ``--block sides``, for queries.
        passage_block: of passages, with ``--block sides``.
    """

    name = "sb_moe"
    config_class = SbMoeConfig
    part_sides: ClassVar[Mapping[str, tuple[Side, ...]]] = {
        "query_block.": ("query",),
        "passage_block.": ("passage",),
    }
    config: SbMoeConfig
    encoder: PooledEncoder

    def __init__(self, config: SbMoeConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.encoder = pooled_encoder(self, backbone, "query")
        names = ("block",) if config.block == "shared" else tuple(f"{side}_block" for side in SIDES)
        for name in names:
            block = Mixture(
                self.encoder.dim,
                config.num_experts,
                hidden=config.expert_hidden or self.encoder.dim // 2,
                gate=cast(Gate, config.gate),
                gate_layers=config.gate_layers,
                activation=config.activation,
            )
            setattr(self, name, block)

    def mixture(self, side: Side) -> Mixture:
        """Return the block that a side's vectors go through."""
        found = getattr(self, "block" if self.config.block == "shared" else f"{side}_block")
        assert isinstance(found, Mixture)
        return found

    @classmethod
    def structure(cls, config: SbMoeConfig, side: Side) -> dict[str, Any]:
        """Return which block there is, and how it acts."""
        names = ("num_experts", "expert_hidden", "gate", "gate_layers", "activation", "block")
        return {name: getattr(config, name) for name in names}

    def default_choices(self) -> SbMoeChoices:
        """Return one expert, or all where the gate was trained with all: with one such weights collapse."""
        return SbMoeChoices(activated=0 if self.config.gate in ALL_EXPERTS else 1)

    @property
    def keeps_encoder(self) -> bool:
        """Whether its share of the learning rate is 0."""
        return self.config.encoder_scale == 0

    @classmethod
    def takes_vectors(cls, config: SbMoeConfig, side: Side) -> bool:
        """Return whether the encoder is frozen."""
        return config.encoder_scale == 0

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return y [B, dim] of texts, or of their x."""
        vectors = self.encoder(batch) if batch.vectors is None else batch.vectors
        return self._encoded(self.mixed(vectors, side, batch.text_ids))

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return both sides from one forward of the encoder and of a block that both share."""
        given = [of.vectors for of in (query, passage) if of.vectors is not None]
        if len(given) == 1:
            return self.encode_side(query, "query"), self.encode_side(passage, "passage")
        vectors = torch.cat(given) if given else self.encoder(pack_pair(query, passage))
        size, ids = len(query), query.text_ids + passage.text_ids
        if self.config.block == "sides":
            return (
                self._encoded(self.mixed(vectors[:size], "query", ids[:size])),
                self._encoded(self.mixed(vectors[size:], "passage", ids[size:])),
            )
        mixed = self.mixed(vectors, "query", ids)
        return self._encoded(mixed.rows(0, size)), self._encoded(mixed.rows(size, len(vectors)))

    def mixed(self, vectors: Tensor, side: Side, text_ids: tuple[str, ...] = ()) -> Mixed:
        """Return what the block makes of x [B, dim]; y has length 1 where x has."""
        found: Mixed = self.mixture(side)(vectors, self.choices.activated, text_ids)
        if not self.encoder.normalize:
            return found
        y = unit(found.vectors)
        if not self.training:  # a vector that the block leaves as it is keeps its bits
            y = torch.where((found.vectors != vectors).any(dim=1, keepdim=True), y, vectors.float())
        return replace(found, vectors=y)

    def _encoded(self, mixed: Mixed) -> Encoded:
        weight = self.config.balance_weight
        if not self.training or weight == 0:
            return Encoded(mixed.vectors)
        return Encoded(mixed.vectors, auxiliary={"balance": weight * balance(mixed)})

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return the block at the given rate, the encoder at its share; the noise layer is in no group."""
        inside = {id(of) for of in self.encoder.parameters()}
        noise = {id(of) for name, of in self.named_parameters() if ".noise." in name}
        block = tuple(of for of in self.parameters() if id(of) not in inside | noise)
        groups = [ParameterGroup("block", block)]
        if self.config.encoder_scale:
            encoder = tuple(of for of in self.encoder.parameters() if of.requires_grad)
            groups.append(ParameterGroup("encoder", encoder, scale=self.config.encoder_scale))
        return groups
