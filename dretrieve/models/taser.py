"""``taser``: one encoder for both sides, in which every third layer has experts; the dot product as score.

Cheng et al., "Task-Aware Specialization for Efficient and Robust Dense Retrieval for Open-Domain Question
Answering" (2023). ``--router`` says who chooses a token's expert (appendix A of the paper):

* det (Det-R): expert 0 reads queries, expert 1 passages. Only the one expert that is needed runs, so a step
  costs what `shared` costs.
* seq, tok (Seq-R, Tok-R): a gate, on the text's [CLS] or on the token (`dretrieve.models.routing`).
* none, or one expert: the method `shared`.

Differs from the released code: segments, pooling, lengths and normalisation are the backbone's unless said
otherwise (the paper's: [CLS], 256 tokens, not normalised); each token runs through its own expert only; see
`dretrieve.models.routing` for what is amended in learned routing, `dretrieve.models.contrastive` for the
loss. The released code scales learning rates by .8 per layer (``--layer-decay .8``), the paper does not say.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dretrieve.errors import PreconditionError
from dretrieve.models.backbone import (
    BACKBONE_PART,
    STRUCTURE,
    WEIGHTS,
    empty_module,
    explained_weights,
    load_module,
    own_form,
    part_of,
)
from dretrieve.models.base import Encoded, ParameterGroup, Routes, TokenBatch
from dretrieve.models.bi_encoder import (
    SIDES,
    BiEncoder,
    check_positions,
    one_encoder,
    pack_pair,
    settled,
    side_card,
)
from dretrieve.models.config import MethodConfig, Phase
from dretrieve.models.experts import PADDING, specialise, specialised_layers
from dretrieve.models.model_folder import save_tokenizer
from dretrieve.models.packing import padded
from dretrieve.models.pooled import PooledEncoder
from dretrieve.models.pooling import Pooling
from dretrieve.models.routing import Decision, Router, Unit
from dretrieve.models.taser_config import TaserConfig
from dretrieve.store.atomic import filling, make_folder, write_json
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.types import Side

ROUTER_PART = "router."
EXPERT: dict[Side, int] = {"query": 0, "passage": 1}
# Rows of each expert, in order (Det-R), or the gates.
Route = tuple[int, ...] | Router


class RoutedEncoder(PooledEncoder):
    """An encoder of BERT's layout with its pooling, whose layers may have experts.

    Args:
        backbone: after `models.experts.specialise`.
        pooling: cls, mean or last.
        normalize: whether vectors get Euclidean length 1.
        rest: `Experts.by_tokens` runs the experts that were not chosen too.
    """

    def __init__(self, backbone: nn.Module, pooling: Pooling, *, normalize: bool, rest: bool) -> None:
        super().__init__(backbone, pooling, normalize=normalize)
        self.rest = rest

    def encode(self, batch: TokenBatch, route: Route | None) -> tuple[Tensor, list[Decision]]:
        """Return vectors [B, D] and what the gates decided, layer by layer (only while not packed)."""
        if self.answers_packed:
            return self.packed_vectors(batch, lambda *asked: _packed_choice(route, *asked)), []
        states, decisions = self._states(batch, route)
        return self.padded_vectors(states, batch.mask), decisions

    def decided(self, batch: TokenBatch, router: Router) -> list[Tensor]:
        """Return each layer's experts [B, T], `PADDING` where padding stands, as `encode` uses them."""
        if not self.answers_packed:
            return [decision.experts for decision in self._states(batch, router)[1]]
        found: list[Tensor] = []

        def watched(layer: int, states: Tensor, lengths: Sequence[int]) -> Tensor:
            found.append(router.packed(layer, states, lengths))
            return found[-1]

        self.packed_vectors(batch, watched)
        return [padded(experts, batch.mask, PADDING) for experts in found]

    def _states(self, batch: TokenBatch, route: Route | None) -> tuple[Tensor, list[Decision]]:
        """Return the last layer's states [B, T, D] and the gates' decisions.

        The route is an argument of every layer, so that gradient checkpointing repeats the layer with it; the
        gates' noise is repeated as dropout is.
        """
        backbone: Any = self.backbone
        states = backbone.embeddings(input_ids=batch.input_ids)
        attend = None if bool(batch.mask.all()) else batch.mask[:, None, None, :]
        decisions = []
        for number, layer in enumerate(backbone.encoder.layer):
            run = partial(self._layer, number)
            if getattr(layer, "gradient_checkpointing", False) and self.training:
                states, decision = checkpoint(run, states, attend, batch.mask, route, use_reentrant=False)
            else:
                states, decision = run(states, attend, batch.mask, route)
            if decision is not None:
                decisions.append(decision)
        return states, decisions

    def _layer(
        self, number: int, states: Tensor, attend: Tensor | None, mask: Tensor, route: Route | None
    ) -> tuple[Tensor, Decision | None]:
        backbone: Any = self.backbone
        layer = backbone.encoder.layer[number]
        attended = layer.attention(states, attend)[0]
        if not hasattr(layer, "experts"):
            return layer.output(layer.intermediate(attended), attended), None
        if isinstance(route, Router):
            decision = route(number, attended, mask)
            entries = decision.entries if self.training else None
            return layer.experts.by_tokens(attended, decision.experts, entries, rest=self.rest), decision
        assert route is not None, "a layer has experts"
        return layer.experts.by_rows(attended, route), None


def _packed_choice(route: Route | None, layer: int, states: Tensor, lengths: Sequence[int]) -> int | Tensor:
    if isinstance(route, Router):
        return route.packed(layer, states, lengths)
    assert route is not None
    assert sum(size > 0 for size in route) == 1, "texts of one side at a time"
    return next(expert for expert, size in enumerate(route) if size > 0)


class Taser(BiEncoder):
    """One encoder with experts.

    Attributes:
        encoder: backbone and pooling.
        router: the gates; None for Det-R and for one expert.
        layers: numbers of the layers with experts, from 0; empty for one expert.
    """

    name = "taser"
    config_class = TaserConfig
    config: TaserConfig

    def __init__(
        self,
        config: TaserConfig,
        cards: dict[Side, SideCard],
        module: nn.Module,
        tokenizer: Path,
        backbone_name: str,
    ) -> None:
        routing = {side: _settings(config, side) for side in SIDES}
        cards = {
            side: replace(cards[side], settings={**cards[side].settings, **routing[side]}) for side in SIDES
        }
        super().__init__(config, cards, {"query": tokenizer, "passage": tokenizer}, backbone_name)
        for side in SIDES:
            check_positions(module, cards[side])
        card = cards["query"]
        rest = config.router_gradient == "all"
        self.encoder = RoutedEncoder(module, cast(Pooling, card.pooling), normalize=card.normalize, rest=rest)
        self.layers = routed_layers(config, module)
        self.router: Router | None = None
        if config.learned:
            self.router = Router(
                self.layers,
                self.encoder.dim,
                config.num_experts,
                unit=cast(Unit, config.router),
                shared=config.share_router,
            )

    @classmethod
    def build(cls, config: MethodConfig, backbone: str) -> Self:
        """Return the method on a backbone: a plain folder, a model with one encoder, or a `taser` model.

        Training of a `taser` model goes on with its experts; of one without, with any.

        Raises:
            PreconditionError: the backbone has an encoder for each side, or other experts than wanted.
            UsageError: layers that experts do not fit.
        """
        assert isinstance(config, TaserConfig)
        folder, known = one_encoder(backbone)
        cards = {side: side_card(config, known, side) for side in SIDES}
        if known.query.settings.get("head"):
            raise PreconditionError(
                f"{backbone} has modules behind its pooling ({', '.join(known.query.settings['head'])}), for "
                "which taser has no place; give a backbone without them"
            )
        own = settled(config, cards["query"], cards["passage"])
        before = TaserConfig(**known.method_config) if known.method == cls.name else None
        if before is not None and (before.routed or not config.routed):
            _check_experts(before, config, folder)
            return cls._with_weights(own, cards, folder, backbone)
        module = load_module(folder)
        specialise(module, routed_layers(config, module), config.num_experts)
        return cls(own, cards, module, folder, backbone)

    @classmethod
    def load(cls, folder: Path, card: ModelCard) -> Self:
        """Return the model that `save` wrote.

        Raises:
            PreconditionError: the weights are not those of the card's experts.
        """
        cards: dict[Side, SideCard] = {"query": card.query, "passage": card.passage}
        config = TaserConfig(**card.method_config)
        return cls._with_weights(
            config, cards, folder / card.query.folder, str(card.source.get("backbone", folder))
        )

    @classmethod
    def _with_weights(
        cls, config: TaserConfig, cards: dict[Side, SideCard], place: Path, backbone_name: str
    ) -> Self:
        described = json.loads((place / "config.json").read_bytes())
        if described.get(STRUCTURE) != _structure(config):
            raise PreconditionError(
                f"{place} holds {_in_words(described.get(STRUCTURE))}, its card says "
                f"{_in_words(_structure(config))}; card and weights are of different models"
            )
        module = empty_module(described)
        specialise(module, routed_layers(config, module), config.num_experts)
        method = cls(config, cards, module, place, backbone_name)
        with explained_weights(place):
            tensors = load_file(place / WEIGHTS)
            module.load_state_dict(part_of(tensors, BACKBONE_PART), assign=True)
            if method.router is not None:
                method.router.load_state_dict(part_of(tensors, ROUTER_PART))
        return method

    def save(self, folder: Path) -> None:
        """Write encoder and gates into one file, the encoder's configuration, the tokenizer."""
        make_folder(folder)
        parts: dict[str, nn.Module] = {BACKBONE_PART: self.encoder.backbone}
        if self.router is not None:
            parts[ROUTER_PART] = self.router
        tensors = {
            prefix + name: tensor.contiguous()
            for prefix, part in parts.items()
            for name, tensor in part.state_dict().items()
        }
        with filling(folder) as place:
            save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})
        write_json(
            folder / "config.json", own_form(self.encoder.backbone, self.name, _structure(self.config))
        )
        save_tokenizer(folder, self.tokenizers["query"], self.cards["query"])

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.encoder.dim

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim]; Det-R uses the side, the gates do not."""
        sizes = (len(batch), 0) if side == "query" else (0, len(batch))
        vectors, decisions = self.encoder.encode(batch, self._route(sizes))
        return Encoded(vectors, auxiliary=self._auxiliary(decisions))

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return both sides from one forward."""
        both = pack_pair(query, passage)
        vectors, decisions = self.encoder.encode(both, self._route((len(query), len(passage))))
        terms = self._auxiliary(decisions)

        def part(rows: slice) -> Encoded:
            return Encoded(vectors[rows], auxiliary={name: of[rows] for name, of in terms.items()})

        return part(slice(0, len(query))), part(slice(len(query), None))

    def _route(self, sizes: tuple[int, int]) -> Route | None:
        if not self.config.routed:
            return None
        return sizes if self.router is None else self.router

    def _auxiliary(self, decisions: list[Decision]) -> dict[str, Tensor]:
        """Return - beta H [B], the mean over the layers with experts; training minimises it."""
        if not decisions or not self.training or self.config.entropy_weight == 0:
            return {}
        mean = torch.stack([decision.entropy for decision in decisions]).mean(dim=0)
        return {"entropy": -self.config.entropy_weight * mean}

    def routes(self, batch: TokenBatch, side: Side) -> Routes | None:
        """Return who read what; None for one expert."""
        if not self.config.routed:
            return None
        assert not self.training, "training draws its routes"
        if self.router is None:
            experts = torch.full(batch.mask.shape, EXPERT[side]).masked_fill(~batch.mask.cpu(), PADDING)
            found = [experts] * len(self.layers)
        else:
            with torch.no_grad():
                found = [of.cpu() for of in self.encoder.decided(batch, self.router)]
        return Routes(self.layers, torch.stack(found), self.config.num_experts)

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return one group, or with ``--layer-decay`` d one per depth, its rate times d^(L + 2 - depth).

        L is the number of layers. Depth: 0 the embeddings, i + 1 layer i and its own gate; one gate for all
        layers stands at their mean depth, rounded up (8 of 12 in the released code).
        """
        decay = self.config.layer_decay
        if decay == 1:
            return super().parameter_groups(phase)
        backbone: Any = self.encoder.backbone
        layers = backbone.encoder.layer
        placed: list[tuple[int, nn.Module]] = [(0, backbone.embeddings)]
        placed += [(number + 1, layer) for number, layer in enumerate(layers)]
        if self.router is not None:
            depths = [layer + 1 for layer in self.layers]
            if self.config.share_router:
                depths = [math.ceil(sum(depths) / len(depths))]
            placed += zip(depths, self.router.gates, strict=True)
        groups: dict[int, list[nn.Parameter]] = {}
        for depth, part in placed:
            groups.setdefault(depth, []).extend(of for of in part.parameters() if of.requires_grad)
        return [
            ParameterGroup(f"depth {depth}", tuple(groups[depth]), scale=decay ** (len(layers) + 2 - depth))
            for depth in sorted(groups)
        ]


def routed_layers(config: TaserConfig, module: nn.Module) -> tuple[int, ...]:
    """Return the numbers of the layers with experts, from 0.

    Raises:
        UsageError: ``--every`` or the backbone leaves none.
    """
    layers = specialised_layers(module.config, config.every if config.routed else 1)
    return layers if config.routed else ()


def _settings(config: TaserConfig, side: Side) -> dict[str, Any]:
    """Return what a side's vectors depend on, beside the files."""
    structure = _structure(config)
    return structure | {"expert": EXPERT[side]} if config.router == "det" and config.routed else structure


def _structure(config: TaserConfig) -> dict[str, Any]:
    """Return what decides which modules there are, and who chooses."""
    if not config.routed:
        return {"router": "none", "num_experts": 1}
    structure = {"router": config.router, "num_experts": config.num_experts, "every": config.every}
    return structure | ({"share_router": config.share_router} if config.learned else {})


def _in_words(structure: Mapping[str, Any] | None) -> str:
    if not structure:
        return "no experts of taser"
    return ", ".join(f"{name} {value}" for name, value in structure.items())


def _check_experts(known: TaserConfig, wanted: TaserConfig, folder: Path) -> None:
    """Refuse to go on training with other experts.

    Raises:
        PreconditionError: says both.
    """
    have, want = _structure(known), _structure(wanted)
    if have != want:
        raise PreconditionError(
            f"{folder} is a taser model with {_in_words(have)}; {_in_words(want)} was asked for: give its "
            "options, or the plain encoder that it was trained from as --backbone"
        )


METHOD = Taser
