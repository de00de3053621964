"""``colbert``: one encoder, a vector for each token, and MaxSim between the two sides' vectors.

Khattab and Zaharia, ColBERT (SIGIR 2020), equation 3: s(q, p) = sum over the query's vectors of the largest
product with a vector of the passage. A token's vector is its last state through a linear layer without bias,
divided by its length. Behind [CLS] stands a marker that tells queries from passages ([unused0], [unused1]); a
query is filled up with [MASK] to its length, and those vectors take part in the score although no token reads
them (``--query-augmentation attended`` lets them be read); a passage's punctuation has no vector. The
authors train with the cross-entropy over a query's passages, first without and then with those of the batch,
and in their second version (NAACL 2022) with a teacher's scores (``--distil-weight``); here over the batch's.

With one vector a text, MaxSim is the dot product, bit for bit (`dretrieve.scoring.maxsim`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from string import punctuation
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from dretrieve.errors import UsageError
from dretrieve.models.backbone import load_module
from dretrieve.models.base import Encoded, Loss, Targets, TokenBatch
from dretrieve.models.bi_encoder_config import AUTO
from dretrieve.models.cards import read_card
from dretrieve.models.colbert_config import MARKERS, NONE, QUERY_LENGTH, ColbertConfig
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.encoder_method import Backbone, EncoderMethod, completed, options_of
from dretrieve.models.maxsim import maxsim
from dretrieve.models.places import find_model
from dretrieve.models.token_encoder import TokenEncoder
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.tokens.template import literal
from dretrieve.tokens.tokenizer import token_numbers
from dretrieve.types import SIDES, ScoreName, Side

PROJECTION, THEIRS = "encoder.projection.weight", "linear.weight"
MASKS = ("[MASK]", "<mask>")
OPEN = {"query_max_len": QUERY_LENGTH, "dim": 128, "query_augmentation": "yes", "skip_punctuation": "yes"}


class Colbert(EncoderMethod):
    """One encoder with a vector for each token."""

    name = "colbert"
    config_class = ColbertConfig
    kind = "many"
    score: ClassVar[ScoreName] = "maxsim_sum"
    config: ColbertConfig
    encoder: TokenEncoder
    _skipped: Tensor  # numbers of the tokens that have no vector

    def __init__(self, config: ColbertConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        module, place = backbone.modules["passage"], backbone.places["passage"]
        self.encoder = TokenEncoder(
            module, config.dim, normalize=config.normalize == "yes", **options_of(module, place)
        )
        numbers = token_numbers(place)
        masks = [numbers[name] for name in MASKS if name in numbers]
        if config.query_augmentation != "no" and not masks:
            raise UsageError(
                f"{backbone.name} has no [MASK] token to fill queries up with; give --query-augmentation no"
            )
        self._mask = masks[0] if masks else 0
        skipped = [numbers[sign] for sign in punctuation if sign in numbers]
        skips = config.skip_punctuation == "yes"
        self.register_buffer(
            "_skipped", torch.tensor(skipped if skips else [], dtype=torch.int64), persistent=False
        )

    @classmethod
    def build(cls, config: ColbertConfig, backbone: str) -> Self:
        """Return the method on an encoder, or trained further; see `EncoderMethod.build`.

        Raises:
            UsageError: a marker that the vocabulary lacks, no [MASK] to fill queries up with.
        """
        folder = find_model(backbone)
        known, _ = read_card(folder)
        markers: dict[str, Any] = {f"{side}_marker": _marker(config, known, folder, side) for side in SIDES}
        return super().build(replace(completed(config, known, cls.name, OPEN), **markers), backbone)

    @classmethod
    def _side_card(cls, config: Any, backbone: ModelCard, side: Side) -> SideCard:
        found = super()._side_card(config, backbone, side)
        marker = literal(config.structure(side)["marker"] or "")
        return replace(found, template=marker + found.template.removeprefix(marker))

    @classmethod
    def read(cls, places: Mapping[Side, Path]) -> dict[Side, nn.Module]:
        """Return the encoder; the projection may stand among its weights, as Stanford's code has it."""
        return dict.fromkeys(SIDES, load_module(places["passage"], beside=(THEIRS,)))

    @classmethod
    def read_parts(cls, folder: Path, card: ModelCard) -> dict[str, Tensor]:
        """Return the projection; of a folder of another tool by our name."""
        found = super().read_parts(folder, card)
        return {PROJECTION: found[THEIRS]} if THEIRS in found else found

    @property
    def dim(self) -> int:
        """Numbers a token."""
        return self.config.dim

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, T, dim], and which tokens take part; queries are filled up, so that their T is one."""
        if side == "query":
            batch, read = self._filled(batch)
            vectors = self.encoder(batch, read)
            return Encoded(vectors, batch.mask.to(vectors.device), tokens=batch.input_ids)
        vectors, skipped = self.encoder(batch), self._skipped.to(batch.input_ids.device)
        kept = batch.mask & ~torch.isin(batch.input_ids, skipped)
        return Encoded(vectors, kept.to(vectors.device))

    def _filled(self, batch: TokenBatch) -> tuple[TokenBatch, Tensor | None]:
        """Return queries with [MASK] up to their length, and what is read of them: None for everything."""
        rule, width = self.config.query_augmentation, self.cards["query"].max_tokens
        if rule == "no":
            return batch, None
        lengths = batch.mask.sum(dim=1, keepdim=True)
        place = torch.arange(width, device=batch.mask.device)
        own = place < lengths
        ids = batch.input_ids.new_full(own.shape, self._mask)
        ids[own] = batch.input_ids[batch.mask]  # wherever padding stood
        filled = replace(batch, input_ids=ids, mask=torch.ones_like(own))
        return filled, None if rule == "attended" else own

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        """Return the cross-entropy over every passage of the batch (`models.contrastive`)."""
        return in_batch_loss(maxsim(query, passage), targets, temperature=self.config.temperature)


def _marker(config: ColbertConfig, known: ModelCard, folder: Path, side: Side) -> str:
    """Return a side's marker: as given, as a colbert backbone has it, else the usual one, if any."""
    said = getattr(config, f"{side}_marker")
    if said == AUTO and known.method == Colbert.name:
        said = known.method_config[f"{side}_marker"]
    numbers = token_numbers(folder / known.side(side).folder)
    if said == AUTO:
        return MARKERS[side] if MARKERS[side] in numbers else NONE
    if said != NONE and said not in numbers:
        raise UsageError(
            f"--{side}-marker {said}: the vocabulary of {folder} has no such token; give one of its tokens, "
            f"or {NONE}"
        )
    return str(said)
