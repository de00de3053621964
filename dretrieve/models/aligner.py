"""``aligner``: one encoder, a vector for each token, compared by a sparse alignment of tokens.

Qian et al., Multi-Vector Retrieval as Sparse Alignment (ALIGNER), 2022. A token's vector is its last state
through a linear layer without bias, of length 1; every real token has one, [CLS], [SEP] and </s> too. The
score is equation 1 with the alignment of equation 2, Ã ⊙ (u of the query ⊗ u of the passage): Ã by
``--alignment`` (`dretrieve.scoring.alignment`), u, the salience, by ``--salience`` (`models.salience`).
Trained with the cross-entropy over every passage of the batch. Any alignment can be searched over one index,
for it changes no vector.

Where the paper is silent: the temperature is .05; what a salience reads are the last states, each brought to
mean 0 and variance 1, through a layer of its own for each side. With top-1 and no salience the score is the
mean MaxSim, bit for bit.

A folder of `colbert` without markers and [MASK]s is a backbone: its projection is where training begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from dretrieve.errors import PreconditionError
from dretrieve.models.aligner_config import LENGTHS, NONE, AlignerChoices, AlignerConfig
from dretrieve.models.alignment import aligned
from dretrieve.models.base import Encoded, Loss, Targets, TokenBatch
from dretrieve.models.cards import read_card
from dretrieve.models.colbert import PROJECTION, Colbert
from dretrieve.models.colbert_config import BARE
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.encoder import States
from dretrieve.models.encoder_method import (
    Backbone,
    EncoderMethod,
    check_positions,
    completed,
    options_of,
)
from dretrieve.models.places import find_model
from dretrieve.models.salience import Salience
from dretrieve.models.token_encoder import TokenEncoder
from dretrieve.models.weights import lay_in
from dretrieve.scoring.alignment import parse_alignment
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.types import SIDES, ScoreName, Side

OPEN = {
    "query_max_len": LENGTHS["query"],
    "passage_max_len": LENGTHS["passage"],
    "dim": 128,
    "alignment": "top1",
    "salience": NONE,
}
OPEN_SHARES = {"alpha_query": 0.5, "alpha_passage": 0.4}
OPEN_ENTROPY = {"epsilon": 0.002, "solver": "exact"}


class Aligner(EncoderMethod):
    """One encoder with a vector, and perhaps a salience, for each token.

    Attributes:
        query_salience: with ``--salience``, of queries.
    """

    name = "aligner"
    config_class = AlignerConfig
    kind = "many"
    score: ClassVar[ScoreName] = "alignment"
    may_drop = (Colbert.name,)
    part_sides: ClassVar[Mapping[str, tuple[Side, ...]]] = {
        "query_salience.": ("query",),
        "passage_salience.": ("passage",),
    }
    config: AlignerConfig
    encoder: TokenEncoder

    def __init__(self, config: AlignerConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        module, place = backbone.modules["passage"], backbone.places["passage"]
        self.encoder = TokenEncoder(module, config.dim, normalize=True, **options_of(module, place))
        self._trained_alignment = parse_alignment(config.alignment)
        if config.salience != NONE:
            how = {name: getattr(config, name) for name in ("epsilon", "solver", "iterations")}
            for side in SIDES:
                share = getattr(config, f"alpha_{side}")
                gate = Salience(self.encoder.width, rule=config.salience, share=share, **how)
                setattr(self, f"{side}_salience", gate)

    @classmethod
    def build(cls, config: AlignerConfig, backbone: str) -> Self:
        """Return the method on an encoder, or trained further; see `EncoderMethod.build`.

        Raises:
            UsageError: an alignment of another grammar, options of a salience that there is not.
            PreconditionError: a ColBERT that adds tokens, which this method does not.
        """
        folder = find_model(backbone)
        known, _ = read_card(folder)
        projected = known.method == Colbert.name
        if projected:
            _check_bare(folder, known)
            config = replace(config, dim=config.dim or known.vectors.dim)
        lowercase = "yes" if known.passage.settings.get("lowercase") else "no"
        config = completed(config, known, cls.name, OPEN | {"lowercase": lowercase})
        if config.salience in ("entropy", "hard"):
            config = completed(config, known, cls.name, OPEN_SHARES)
        if config.salience == "entropy":
            config = completed(config, known, cls.name, OPEN_ENTROPY)
            if config.solver != "exact":
                config = completed(config, known, cls.name, {"iterations": 20})
        method = super().build(config, backbone)
        if projected:
            places = {PROJECTION: method.encoder.projection.weight}
            lay_in(places, Colbert.read_parts(folder, known), folder, f"give --dim {known.vectors.dim}")
        return method

    @classmethod
    def _side_card(cls, config: Any, backbone: ModelCard, side: Side) -> SideCard:
        found = super()._side_card(config, backbone, side)
        lowercase = config.lowercase == "yes"
        template = found.template.lower() if lowercase else found.template
        settings = {**found.settings, "lowercase": lowercase}
        return replace(found, template=template, normalize=True, settings=settings)

    def default_choices(self) -> AlignerChoices:
        """Return the alignment and the length that it was trained with."""
        return AlignerChoices(alignment=self.config.alignment, max_tokens=self.cards["passage"].max_tokens)

    def choose(self, inference: Mapping[str, str | int | float | bool]) -> None:
        """Take the inference choices.

        Raises:
            UsageError: passages that the encoder has no positions for.
        """
        super().choose(inference)
        longest = replace(self.cards["passage"], max_tokens=self.choices.max_tokens)
        check_positions(self.encoder.backbone, longest)

    @property
    def dim(self) -> int:
        """Numbers a token."""
        return self.config.dim

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, T, dim], which tokens are real, and their salience where the method has one."""
        states = self.encoder.states(batch)
        vectors = self.encoder.projected(states)
        mask = batch.mask.to(vectors.device)
        if self.config.salience == NONE:
            return Encoded(vectors, mask)
        return Encoded(vectors, mask, self.gate(side).weights(self.salience_scores(states, side), mask))

    def gate(self, side: Side) -> Salience:
        """Return what weighs that side's tokens; only of a method with salience."""
        found: Salience = getattr(self, f"{side}_salience")
        return found

    def salience_scores(self, states: States, side: Side) -> Tensor:
        """Return s of equation 3, [B, T], of the encoder's states; only of a method with salience."""
        return states.mapped(self.gate(side)).padded().squeeze(-1)

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        """Return the cross-entropy over every passage of the batch (`models.contrastive`)."""
        scores = aligned(query, passage, self._trained_alignment)
        return in_batch_loss(scores, targets, temperature=self.config.temperature)


def _check_bare(folder: Path, known: ModelCard) -> None:
    if {name: known.method_config[name] for name in BARE} != BARE:
        options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in BARE.items())
        raise PreconditionError(
            f"{folder} is a ColBERT whose texts get markers or [MASK]s, which aligner does not add; give one "
            f"that was trained with {options}, or its backbone"
        )
