"""What methods with one vector a text and the dot product have in common; no method by itself."""

from __future__ import annotations

import re
from abc import abstractmethod
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.models import packed
from dretrieve.models.base import Encoded, Loss, Method, Targets, TokenBatch
from dretrieve.models.bi_encoder_config import AUTO, POOLINGS, BiEncoderConfig
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.head import load_head
from dretrieve.models.places import find_model, read_card
from dretrieve.models.pooled import PooledEncoder
from dretrieve.models.pooling import Pooling
from dretrieve.models.weights import heeds_padding, takes
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.tokens.tokenizer import given_types
from dretrieve.types import Side, VectorSpec

SIDES: tuple[Side, Side] = ("query", "passage")
NORMALIZED_TEMPERATURE = 0.05
AnyConfig = TypeVar("AnyConfig", bound=BiEncoderConfig)


def side_card(config: BiEncoderConfig, backbone: ModelCard, side: Side, folder: str = ".") -> SideCard:
    """Return a side's card: the options given, else what the backbone's card says.

    Raises:
        PreconditionError: the backbone gives many vectors a text and no ``--pooling`` is given.
    """
    known = backbone.side(side)
    if known.pooling == "tokens" and config.pooling == AUTO:
        raise PreconditionError(
            f"the backbone is a {backbone.method} model with a vector for each token; "
            f"give --pooling {', '.join(POOLINGS[:-1])} or {POOLINGS[-1]}"
        )
    template = config.query_template if side == "query" else config.passage_template
    length = config.query_max_len if side == "query" else config.passage_max_len
    template = template or known.template
    if known.settings.get("lowercase"):
        template = template.lower()  # as everything that this tokenizer gets
    own = backbone.method_config  # what its method chose (experts …) says nothing of another method's model
    return replace(
        known,
        folder=folder,
        files={},
        template=template,
        pair=known.pair if config.pair == AUTO else config.pair == "yes",
        max_tokens=length or known.max_tokens,
        pooling=known.pooling if config.pooling == AUTO else cast(Pooling, config.pooling),
        normalize=known.normalize if config.normalize == AUTO else config.normalize == "yes",
        settings={
            name: [Path(path).name for path in value] if name == "head" else value
            for name, value in known.settings.items()
            if name not in own
        },
    )


def one_encoder(backbone: str) -> tuple[Path, ModelCard]:
    """Return the folder of the encoder that serves both sides of a backbone, and the backbone's card.

    Raises:
        PreconditionError: the backbone is a model with an encoder for each side.
    """
    folder = find_model(backbone)
    known, _ = read_card(folder)
    if known.query.folder != known.passage.folder:
        raise PreconditionError(
            f"{backbone} has an encoder for each side; give one of them as --backbone: "
            f"{folder / known.passage.folder}"
        )
    return folder / known.query.folder, known


def check_positions(module: nn.Module, card: SideCard) -> None:
    """Refuse texts that the encoder has no positions for.

    Raises:
        UsageError: the side's texts may be longer than that.
    """
    config: Any = module.config
    named = getattr(config, "max_position_embeddings", None)
    if not isinstance(named, int) or named < 1:
        return
    # A padding token among the positions: those up to it are never given to a token.
    tables = [
        of
        for name, of in module.named_modules()
        if re.search(r"(^|\.)(position_embeddings|embed_positions)$", name)
    ]
    unused = max(
        (int(of.padding_idx) + 1 for of in tables if getattr(of, "padding_idx", None) is not None), default=0
    )
    if card.max_tokens > named - unused:
        of_them = f" (max_position_embeddings {named}, {unused} of which no token gets)" if unused else ""
        raise UsageError(
            f"texts of {card.max_tokens} tokens are too long: this model has {named - unused} "
            f"positions{of_them}; lower max_seq_length in its files, in training --query-max-len and "
            "--passage-max-len"
        )


def pooled_encoder(module: nn.Module, card: SideCard, place: Path) -> PooledEncoder:
    """Return the encoder with its side's pooling.

    Args:
        module: the encoder.
        card: of the side.
        place: the folder that the encoder was read from.

    Raises:
        UsageError: the side's texts may be longer than the encoder has positions.
        DataError: modules behind the pooling that do not fit.
    """
    assert card.pooling != "tokens", "one vector a text"
    check_positions(module, card)
    encoder = PooledEncoder(module, card.pooling, normalize=card.normalize)
    head = load_head(place, card.settings.get("head", ()), encoder.dim)
    if packed.supported(module):
        return PooledEncoder(module, card.pooling, normalize=card.normalize, head=head)
    return PooledEncoder(
        module,
        card.pooling,
        normalize=card.normalize,
        head=head,
        unpadded=heeds_padding(module),
        token_types=given_types(place) if takes(module, "token_type_ids") else None,
    )


def settled(config: AnyConfig, query: SideCard, passage: SideCard) -> AnyConfig:
    """Return the config with every ``auto`` replaced by what the cards say."""
    return replace(
        config,
        pooling=query.pooling,
        normalize="yes" if query.normalize else "no",
        temperature=config.temperature or (NORMALIZED_TEMPERATURE if query.normalize else 1.0),
        query_max_len=query.max_tokens,
        passage_max_len=passage.max_tokens,
        query_template=query.template,
        passage_template=passage.template,
        pair="yes" if passage.pair else "no",
    )


def pack_pair(query: TokenBatch, passage: TokenBatch) -> TokenBatch:
    """Return both batches as one, queries first, padded to the longer; the sides' columns stay apart."""
    width = max(query.input_ids.shape[1], passage.input_ids.shape[1])

    def widened(tensor: Tensor) -> Tensor:
        return functional.pad(tensor, [0, width - tensor.shape[1]])

    return TokenBatch(
        torch.cat([widened(query.input_ids), widened(passage.input_ids)]),
        torch.cat([widened(query.mask), widened(passage.mask)]),
        query.text_ids + passage.text_ids,
    )


class BiEncoder(Method):
    """A method whose score is the dot product of two vectors.

    Attributes:
        config: with everything settled.
        cards: of both sides.
        tokenizers: folder of each side's tokenizer.
        backbone_name: as given, for the card.
    """

    config: BiEncoderConfig

    def __init__(
        self,
        config: BiEncoderConfig,
        cards: dict[Side, SideCard],
        tokenizers: dict[Side, Path],
        backbone_name: str,
    ) -> None:
        super().__init__()
        self.config, self.cards = config, cards
        self.tokenizers, self.backbone_name = tokenizers, backbone_name

    @property
    @abstractmethod
    def dim(self) -> int:
        """Numbers per vector."""

    @property
    def spec(self) -> VectorSpec:
        """Return one vector a text, compared by the dot product."""
        return VectorSpec(self.dim, "one", "dot")

    def loss(self, query: Encoded, passage: Encoded, targets: Targets) -> Loss:
        """Return the cross-entropy over every passage of the batch (`models.contrastive`)."""
        scores = query.vectors @ passage.vectors.T
        return in_batch_loss(scores, targets, temperature=self.config.temperature)

    def card(self) -> ModelCard:
        """Return the card; checksums come when the files stand."""
        return ModelCard(
            method=self.name,
            vectors=self.spec,
            query=self.cards["query"],
            passage=self.cards["passage"],
            method_config=asdict(self.config),
            source={"backbone": self.backbone_name},
        )
