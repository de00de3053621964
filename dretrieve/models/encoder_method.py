"""What methods that stand on a transformers encoder have in common: building, saving, loading.

A method's folder is its backbone as a plain folder, and beside it whatever else it has learnt, in one
safetensors file for each set of sides that depends on it (`EncoderMethod.part_sides`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Literal, Self, TypeVar, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.models import packed
from dretrieve.models.backbone import explained_weights, load_module
from dretrieve.models.base import Method, TokenBatch
from dretrieve.models.bi_encoder_config import AUTO, POOLINGS, EncoderConfig
from dretrieve.models.cards import read_card
from dretrieve.models.encoder import Encoder, PooledEncoder
from dretrieve.models.head import load_head
from dretrieve.models.model_folder import save_encoder, save_modules
from dretrieve.models.places import PACKAGED, find_model
from dretrieve.models.pooling import Pooling
from dretrieve.models.weights import heeds_padding, lay_in, takes
from dretrieve.options import options
from dretrieve.store.atomic import filling, make_folder
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.tokens.tokenizer import given_types
from dretrieve.types import SIDES, ScoreName, Side, VectorSpec

Sides = tuple[Side, ...]
AnyConfig = TypeVar("AnyConfig", bound=EncoderConfig)
NORMALIZED_TEMPERATURE = 0.05
# Where a backbone stands that has something beside it: a folder that no AutoModel opens as the whole.
INNER = "backbone"
# What of a side's card decides its vectors beside the files.
OF_SIDE = ("template", "pair", "max_tokens", "pooling", "normalize")
PART_FILES: dict[tuple[Side, ...], str] = {
    SIDES: "method.safetensors",
    ("query",): "query.safetensors",
    ("passage",): "passage.safetensors",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """What a method is built on.

    Attributes:
        cards: of both sides, with what the method's options change.
        modules: each side's encoder; one object where both sides share it.
        places: the folders that they were read from.
        sides: of the vectors that the encoder takes as its own, for the model card's source: by side the
            ``fingerprint`` of the model that makes them, and which options of the method (``changed``) the
            encoder would make others with.
    """

    name: str
    cards: dict[Side, SideCard]
    modules: dict[Side, nn.Module]
    places: dict[Side, Path]
    sides: Mapping[str, Any] = field(default_factory=dict)


class Unread(nn.Module):
    """Stands where an encoder is not needed: `EncoderMethod.load_block`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.config = SimpleNamespace(hidden_size=dim)


class EncoderMethod(Method):
    """A method on a backbone. A subclass makes its encoders in ``__init__``, and encodes.

    Attributes:
        shares: one encoder reads both sides.
        keeps_head: the method does what sentence-transformers' modules behind the pooling say.
        may_drop: methods whose folders it takes as backbone, leaving out what they have beside it.
        inside: what it has acts inside its encoder, so that vectors that it is given are its own.
        part_sides: beginning of a parameter's name to the sides whose vectors depend on it; both for others.
    """

    shares: ClassVar[bool] = True
    kind: ClassVar[Literal["one", "many"]] = "one"
    score: ClassVar[ScoreName] = "dot"
    keeps_head: ClassVar[bool] = False
    may_drop: ClassVar[tuple[str, ...]] = ()
    inside: ClassVar[bool] = False
    part_sides: ClassVar[Mapping[str, tuple[Side, ...]]] = {}

    config: EncoderConfig
    encoder: Encoder

    def __init__(self, config: EncoderConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config, self.cards = config, backbone.cards
        self.tokenizers, self.backbone_name = backbone.places, backbone.name
        self.backbone_sides = backbone.sides
        self.choices = self.default_choices()
        for side, module in backbone.modules.items():
            check_positions(module, self.cards[side])

    @classmethod
    def build(cls, config: Any, backbone: str) -> Self:
        """Return the method on a backbone: a plain folder, or a model of ours; one of its own goes on.

        Raises:
            PreconditionError: a model with something beside its encoder that the method would drop, with an
                encoder for each side where one is wanted, with other parts than the method's options ask for.
            UsageError: options that do not fit the backbone.
        """
        folder = find_model(backbone)
        known, _ = read_card(folder)
        cls._check_backbone(folder, known)
        places = {side: folder / known.side(side).folder for side in SIDES}
        cards = {side: cls._side_card(config, known, side) for side in SIDES}
        sides = cls._known_sides(known, cards)
        stand = Backbone(name=backbone, cards=cards, modules=cls.read(places), places=places, sides=sides)
        method = cls(settled(config, cards), stand)
        known_parts = cls.read_parts(folder, known) if known.method == cls.name else {}
        if known_parts:
            method._fill(folder, known, known_parts)
        return method

    @classmethod
    def load(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote.

        Raises:
            PreconditionError: weights that are not those of the card.
        """
        places = {side: folder / card.side(side).folder for side in SIDES}
        return cls._loaded(folder, card, cls.read(places))

    @classmethod
    def load_block(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote, without its encoder unless what the method has acts inside."""
        if cls.inside:
            return cls.load(folder, card)
        return cls._loaded(folder, card, dict.fromkeys(SIDES, Unread(card.vectors.dim)))

    @classmethod
    def _loaded(cls, folder: Path, card: ModelCard, modules: dict[Side, nn.Module]) -> Self:
        stand = Backbone(
            name=str(card.source.get("backbone", folder)),
            cards={side: card.side(side) for side in SIDES},
            modules=modules,
            places={side: folder / card.side(side).folder for side in SIDES},
            sides=card.source.get("sides", {}),
        )
        method = cls(cls.config_class(**card.method_config), stand)
        method._fill(folder, card, cls.read_parts(folder, card))
        return method

    @classmethod
    def _known_sides(cls, known: ModelCard, cards: Mapping[Side, SideCard]) -> dict[str, Any]:
        """Return `Backbone.sides`; what a model of the method's own gives lies behind the block already."""
        found = dict[str, Any]()
        for side, card in cards.items():
            before: Mapping[str, Any] = {"fingerprint": known.fingerprint(side)}
            if known.method == cls.name and not cls.inside:
                before = known.source.get("sides", {}).get(side, {})
            changed = [of for of in OF_SIDE if getattr(card, of) != getattr(known.side(side), of)]
            found[side] = {**before, "changed": [*before.get("changed", ()), *changed]}
        return found

    @classmethod
    def read(cls, places: Mapping[Side, Path]) -> dict[Side, nn.Module]:
        """Return each side's encoder; the same one where both sides share it, else copies of their own."""
        found = {"passage": load_module(places["passage"])}
        found["query"] = found["passage"] if cls.shares else load_module(places["query"])
        return {side: found[side] for side in SIDES}

    @classmethod
    def _check_backbone(cls, folder: Path, known: ModelCard) -> None:
        if cls.shares and known.query.folder != known.passage.folder:
            raise PreconditionError(
                f"{folder} has an encoder for each side; give one of them as --backbone: "
                f"{folder / known.passage.folder}"
            )
        parts = sorted({*known.query.parts, *known.passage.parts})
        if parts and known.method not in (cls.name, *cls.may_drop):
            raise PreconditionError(
                f"{folder} is a model of the method {known.method}, and {cls.name} would drop what it has "
                f"beside its encoder ({', '.join(parts)}); give the backbone that it was trained from, or, "
                f"to leave that out knowingly, {folder / known.passage.folder}"
            )
        head = known.query.settings.get("head")
        if head and not cls.keeps_head:
            raise PreconditionError(
                f"{folder} has modules behind its pooling ({', '.join(head)}), for which {cls.name} has no "
                "place; give a backbone without them"
            )

    @classmethod
    def _side_card(cls, config: EncoderConfig, backbone: ModelCard, side: Side) -> SideCard:
        """Return a side's card: the options given, else what the backbone's card says."""
        known = backbone.side(side)
        pooling, normalize = getattr(config, "pooling", AUTO), getattr(config, "normalize", AUTO)
        if cls.kind == "many":
            pooling, normalize = "tokens", normalize if normalize != AUTO else "no"
        elif known.pooling == "tokens" and pooling == AUTO:
            raise PreconditionError(
                f"the backbone is a {backbone.method} model with a vector for each token; "
                f"give --pooling {', '.join(POOLINGS[:-1])} or {POOLINGS[-1]}"
            )
        template = config.query_template if side == "query" else config.passage_template
        length = config.query_max_len if side == "query" else config.passage_max_len
        template = template or known.template
        if known.settings.get("lowercase"):
            template = template.lower()  # as everything that this tokenizer gets
        own = backbone.method_config  # what its method chose says nothing of another method's model
        settings = {
            name: [Path(path).name for path in value] if name == "head" else value
            for name, value in known.settings.items()
            if name not in own
        }
        return replace(
            known,
            folder="." if cls.shares else side,
            files={},
            parts={},
            template=template,
            pair=known.pair if config.pair == AUTO else config.pair == "yes",
            max_tokens=length or known.max_tokens,
            pooling=known.pooling if pooling == AUTO else cast(Pooling, pooling),
            normalize=known.normalize if normalize == AUTO else normalize == "yes",
            settings=settings,
        )

    @classmethod
    def structure(cls, config: Any, side: Side) -> dict[str, Any]:
        """Return what a side's vectors depend on beside files: which parts there are, and how they act.

        It stands in the side's card; a model with another is neither loaded nor trained further. What the
        config alone says of it, its own `structure` has.
        """
        found: dict[str, Any] = config.structure(side)
        return found

    def encoders(self) -> dict[Side, Encoder]:
        """Return the encoder of each side."""
        return {"query": self.encoder, "passage": self.encoder}

    @property
    def keeps_encoder(self) -> bool:
        """Whether no training changes the encoder; then it has no dropout either, and saving links it."""
        return False

    def train(self, mode: bool = True) -> Self:
        """Set the mode; see `keeps_encoder`."""
        super().train(mode)
        for encoder in self.encoders().values() if self.keeps_encoder else ():
            encoder.eval()
        return self

    def written(self, encoder: Encoder) -> nn.Module:
        """Return the backbone as `save` writes it."""
        found: nn.Module = encoder.backbone
        return found

    @classmethod
    def place_of(cls, name: str) -> tuple[Sides, str]:
        """Return the sides whose vectors depend on a part, and the file that it stands in."""
        sides = next((found for start, found in cls.part_sides.items() if name.startswith(start)), SIDES)
        return sides, PART_FILES[sides]

    def about(self, folder: Path, file: str) -> dict[str, str]:
        """Return what a file of parts says of itself: one entry, for safetensors writes several in any order.

        The backbone stands in the folder by then, and files of parts that are named before.
        """
        return {"format": "pt"}

    def files(self, side: Side) -> tuple[str, ...]:
        """Return the files beside the backbone that the side's vectors depend on."""
        places = [self.place_of(name) for name in self._parts()]
        return tuple(dict.fromkeys(file for sides, file in places if side in sides))

    def _parts(self) -> dict[str, Tensor]:
        """Return what the method has beside its backbones, by name."""
        inside = {
            id(of)
            for encoder in self.encoders().values()
            for part in (encoder.backbone, *([encoder.head] if isinstance(encoder, PooledEncoder) else []))
            for of in (*part.parameters(), *part.buffers())
        }
        every = self.state_dict(keep_vars=True)
        return {name: of for name, of in every.items() if id(of) not in inside}

    def save(self, folder: Path) -> None:
        """Write backbones, tokenizers and parts; the caller writes the card."""
        make_folder(folder)
        plain = self.kind == "one" and not self._parts()
        # a package's files may change under a link
        unchanged = self.keeps_encoder and self.backbone_name not in PACKAGED
        cards: dict[Side, SideCard] = {"query": self.card().query, "passage": self.card().passage}
        for place in dict.fromkeys(of.folder for of in cards.values()):
            here = {side: of for side, of in cards.items() if of.folder == place}
            side = next(iter(here))
            encoder = self.encoders()[side]
            module = self.written(encoder)
            save_encoder(folder / place, module, self.tokenizers[side], here, unchanged=unchanged)
            if plain:
                save_modules(folder / place, encoder, module, here)
        files: dict[str, dict[str, Tensor]] = {}
        for name, of in self._parts().items():
            files.setdefault(self.place_of(name)[1], {})[name] = of.detach().cpu().contiguous()
        for file, parts in files.items():
            with filling((folder / file).parent) as inside:
                save_file(parts, inside / Path(file).name, metadata=self.about(folder, file))

    @classmethod
    def read_parts(cls, folder: Path, card: ModelCard) -> dict[str, Tensor]:
        """Return what stands in a folder of the method beside its backbones."""
        found: dict[str, Tensor] = {}
        for file in sorted({*card.query.parts, *card.passage.parts}):
            with explained_weights(folder / file):
                found |= load_file(folder / file)
        return found

    def _fill(self, folder: Path, card: ModelCard, parts: Mapping[str, Tensor]) -> None:
        """Take these parts."""
        for side in SIDES:
            mine = self.structure(self.config, side)
            theirs = {name: card.side(side).settings.get(name) for name in mine}
            if theirs != mine:
                raise PreconditionError(
                    f"{folder} is a {self.name} model with {_in_words(theirs)}; {_in_words(mine)} was asked "
                    "for: give its options, or the plain encoder that it was trained from as --backbone"
                )
        lay_in(self._parts(), parts, folder, "give the options that it was trained with, or save it again")

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        encoder = self.encoders()["passage"]
        return encoder.dim if isinstance(encoder, PooledEncoder) else encoder.width

    @property
    def spec(self) -> VectorSpec:
        """Return dim, kind and score of the vectors."""
        return VectorSpec(self.dim, self.kind, self.score)

    def card(self) -> ModelCard:
        """Return the card; checksums come when the files stand."""
        choices = self.default_choices()
        place = INNER if self._parts() else "."
        sides = {
            side: replace(
                card,
                folder=place if self.shares else str(Path(place) / side),
                settings={**card.settings, **self.structure(self.config, side)},
            )
            for side, card in self.cards.items()
        }
        return ModelCard(
            method=self.name,
            vectors=self.spec,
            query=sides["query"],
            passage=sides["passage"],
            method_config=asdict(self.config),
            inference=asdict(choices),
            inference_sides={of.name: cast(Sides, known.sides) for of, known in options(choices)},
            source={
                "backbone": self.backbone_name,
                **({"sides": self._taken()} if self._taken() else {}),
            },
        )

    def _taken(self) -> dict[str, Any]:
        """Return `Backbone.sides` of the sides that take vectors."""
        every = self.backbone_sides
        return {side: every.get(side, {}) for side in SIDES if self.takes_vectors(self.config, side)}


def _in_words(structure: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{name} {value}" for name, value in structure.items() if value is not None) or "no parts"
    )


def check_positions(module: nn.Module, card: SideCard, before: int = 0) -> None:
    """Refuse texts that the encoder has no positions for, behind ``before`` that none of their tokens has.

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
    if card.max_tokens + before > named - unused:
        behind = f" behind {before} positions of a prefix" if before else ""
        of_them = f" (max_position_embeddings {named}, {unused} of which no token gets)" if unused else ""
        raise UsageError(
            f"texts of {card.max_tokens} tokens{behind} are too long: this model has {named - unused} "
            f"positions{of_them}; lower max_seq_length in its files, in training --query-max-len and "
            "--passage-max-len"
        )


def options_of(module: nn.Module, place: Path) -> dict[str, Any]:
    """Return how that backbone wants its texts: `Encoder`'s options."""
    if packed.supported(module) or isinstance(module, Unread):
        return {}
    types = given_types(place) if takes(module, "token_type_ids") else None
    return {"unpadded": heeds_padding(module), "token_types": types}


def pooled_encoder(method: EncoderMethod, backbone: Backbone, side: Side) -> PooledEncoder:
    """Return a side's encoder with its pooling.

    Raises:
        DataError: modules behind the pooling that do not fit.
    """
    module, card, place = backbone.modules[side], method.cards[side], backbone.places[side]
    assert card.pooling != "tokens", "one vector a text"
    encoder = PooledEncoder(module, card.pooling, normalize=card.normalize, **options_of(module, place))
    encoder.head = load_head(place, card.settings.get("head", ()), encoder.dim)
    return encoder


def settled(config: AnyConfig, cards: Mapping[Side, SideCard]) -> AnyConfig:
    """Return the config with every ``auto`` replaced by what the cards say."""
    query, passage = cards["query"], cards["passage"]
    known: dict[str, Any] = {
        "pooling": query.pooling,
        "normalize": "yes" if query.normalize else "no",
        "temperature": config.temperature or (NORMALIZED_TEMPERATURE if query.normalize else 1.0),
        "query_max_len": query.max_tokens,
        "passage_max_len": passage.max_tokens,
        "query_template": query.template,
        "passage_template": passage.template,
        "pair": "yes" if passage.pair else "no",
    }
    return replace(config, **{of.name: known[of.name] for of in fields(config) if of.name in known})


def completed(config: AnyConfig, known: ModelCard, name: str, otherwise: Mapping[str, Any]) -> AnyConfig:
    """Return the config with what it leaves open (``auto``, 0, ``''``) as a backbone of that method has it.

    ``otherwise`` names the options that may be left open, with what they are where nothing says it.
    """
    theirs = known.method_config if known.method == name else {}
    every = {of: (getattr(config, of), theirs.get(of, AUTO), value) for of, value in otherwise.items()}
    left_open = (AUTO, 0, "")
    return replace(config, **{of: next(x for x in said if x not in left_open) for of, said in every.items()})


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
